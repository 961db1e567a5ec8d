//! The host's side of a map: what bpf(2) does, with numbers in place of file descriptors.
//!
//! A `prog_array`'s value is the number its programs are known by, a map-in-map's value is a
//! [`MapId`](super::MapId), a devmap's an interface index (and a program's number), an xskmap's
//! the number of a socket. A per-CPU map's value is the values of all CPUs, each rounded up to 8
//! bytes. That such a number names something is the caller's to see.

use super::bloom::Bloom;
use super::runtime::Layout;
use super::table::{Table, Update};
use super::values::{F_LOCK, hide};
use super::{Errno, Map, MapType, UpdateFlags, ValueAt, index_of};

impl Map {
    /// Bytes of a whole value as the host reads and writes it.
    pub fn host_value_size(&self) -> usize {
        let size = self.def().value_size as usize;
        if self.kind().is_percpu() {
            size.next_multiple_of(8) * self.cpus() as usize
        } else {
            size
        }
    }

    fn copied(&self, at: ValueAt, size: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; size];
        self.memory().read(at.0, &mut bytes).ok_or(Errno::Efault)?;
        hide(&mut bytes, &self.def().special);
        Ok(bytes)
    }

    /// The value of `key` (`BPF_MAP_LOOKUP_ELEM`); it does not count as a use in an LRU map. A
    /// queue or stack ignores the key and gives its next value; a Bloom filter is asked about a
    /// value in place of the key, and gives it back.
    ///
    /// # Errors
    /// As Linux: ENOENT; EOPNOTSUPP for an xskmap, ENOTSUPP for types that cannot be read.
    pub fn host_lookup(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let size = self.def().value_size as usize;
        match (&self.layout, self.kind()) {
            (_, MapType::Xskmap) => Err(Errno::Eopnotsupp),
            (_, MapType::PerfEventArray | MapType::Ringbuf) => Err(Errno::Enotsupp),
            (Layout::Fifo(fifo), _) => {
                let mut value = vec![0; size];
                fifo.take(self.memory(), &mut value, false)?;
                Ok(value)
            }
            (Layout::Bloom(bloom), _) => {
                bloom.peek(self.memory(), key)?;
                Ok(key.to_vec())
            }
            _ => self.element(key).ok_or(Errno::Enoent),
        }
    }

    /// Contents of an element of any type with keys, also where bpf(2) gives none.
    pub(super) fn element(&self, key: &[u8]) -> Option<Vec<u8>> {
        let size = self.def().value_size as usize;
        let place = |cpu| match &self.layout {
            Layout::Array(array) => array.at(index_of(key)?, cpu),
            Layout::Table(table) => table.peek(self.memory(), key, cpu),
            Layout::Lpm(lpm) => lpm.lookup(self.memory(), key),
            Layout::Slots(slots) => slots.get(self.memory(), index_of(key)?),
            Layout::Fifo(_) | Layout::Bloom(_) | Layout::Ring(_) => None,
        };
        if !self.kind().is_percpu() {
            return self.copied(place(0)?, size).ok();
        }
        let mut values = Vec::with_capacity(self.host_value_size());
        for cpu in 0..self.cpus() {
            values.extend(self.copied(place(cpu)?, size).ok()?);
            values.resize(values.len().next_multiple_of(8), 0);
        }
        Some(values)
    }

    /// Sets the value of `key` (`BPF_MAP_UPDATE_ELEM`); of [`Map::host_value_size`] bytes. A
    /// queue, stack or Bloom filter ignores the key and takes the value in.
    ///
    /// # Errors
    /// As Linux: EINVAL (also for a value of another size), E2BIG, EEXIST, ENOENT, ENOSPC,
    /// EOVERFLOW, ENOTSUPP.
    pub fn host_update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        if value.len() != self.host_value_size() {
            return Err(Errno::Einval);
        }
        match (&self.layout, self.kind()) {
            (Layout::Array(array), MapType::PercpuArray) => {
                array.update_all(self.memory(), key, value, UpdateFlags::new(flags)?)
            }
            (Layout::Table(table), MapType::PercpuHash | MapType::LruPercpuHash) => {
                let update = Update {
                    value,
                    special: &self.def().special,
                    in_place: false,
                    flags: UpdateFlags::new(flags)?,
                    cpu: 0,
                    all: true,
                    full: Errno::E2big,
                    watch: None,
                };
                table.update(self.memory(), key, update).map(|_| ())
            }
            (Layout::Table(table), MapType::DevmapHash) => {
                devmap_hash_update(self, table, key, value, flags)
            }
            (Layout::Array(_), _) => {
                // The system call looks at flags before the map does.
                if flags & F_LOCK == 0 || !self.def().has_lock() {
                    UpdateFlags::new(flags)?;
                }
                self.update_by(key, value, flags, 0, None)
            }
            _ => self.update_by(key, value, flags, 0, None),
        }
    }

    /// Takes `key` away (`BPF_MAP_DELETE_ELEM`).
    ///
    /// # Errors
    /// As Linux: ENOENT; EINVAL or E2BIG for an index outside and for types whose elements stay.
    pub fn host_delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.delete_by(key, 0, None)
    }

    /// Looks a value up and takes it away (`BPF_MAP_LOOKUP_AND_DELETE_ELEM`).
    ///
    /// # Errors
    /// As Linux: ENOENT; ENOTSUPP for types that cannot.
    pub fn host_take(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        match (&self.layout, self.kind()) {
            (Layout::Fifo(fifo), _) => {
                let mut value = vec![0; self.def().value_size as usize];
                fifo.take(self.memory(), &mut value, true)?;
                Ok(value)
            }
            (
                Layout::Table(_),
                MapType::Hash | MapType::PercpuHash | MapType::LruHash | MapType::LruPercpuHash,
            ) => {
                let value = self.element(key).ok_or(Errno::Enoent)?;
                self.delete_by(key, 0, None)?;
                Ok(value)
            }
            _ => Err(Errno::Enotsupp),
        }
    }

    /// All keys that are present, in a fixed order: arrays by index, all others sorted by the
    /// bytes of the key. None for queues, stacks, Bloom filters and ring buffers.
    pub fn host_keys(&self) -> Vec<Vec<u8>> {
        match &self.layout {
            Layout::Array(_) => (0..self.def().max_entries)
                .map(|index| index.to_le_bytes().to_vec())
                .collect(),
            Layout::Table(table) => table.keys(self.memory()),
            Layout::Lpm(lpm) => lpm.keys(self.memory()),
            Layout::Slots(slots) => (0..self.def().max_entries)
                .filter(|index| slots.get(self.memory(), *index).is_some())
                .map(|index| index.to_le_bytes().to_vec())
                .collect(),
            Layout::Fifo(_) | Layout::Bloom(_) | Layout::Ring(_) => Vec::new(),
        }
    }

    /// The values of a queue or stack, the oldest first; none for other types. Of a Bloom filter
    /// the first `max_entries` that set a bit nobody had set before: see [`Map::is_told`].
    pub fn host_values(&self) -> Vec<Vec<u8>> {
        match &self.layout {
            Layout::Fifo(fifo) => fifo.values(self.memory()),
            Layout::Bloom(bloom) => bloom.values(self.memory()),
            _ => Vec::new(),
        }
    }

    /// Whether [`Map::host_keys`] and [`Map::host_values`] tell all of it, so that they make
    /// another map like it. They do not for a Bloom filter that took in more than `max_entries`
    /// values.
    pub fn is_told(&self) -> bool {
        match &self.layout {
            Layout::Bloom(_) => Bloom::is_told(self.memory()),
            _ => true,
        }
    }

    /// How many elements there are: for an array all, for others those that are present.
    pub fn host_len(&self) -> usize {
        match &self.layout {
            Layout::Array(array) => array.max_entries as usize,
            Layout::Table(_) | Layout::Lpm(_) => Table::len(self.memory()) as usize,
            Layout::Slots(_) => self.host_keys().len(),
            Layout::Fifo(_) | Layout::Bloom(_) => self.host_values().len(),
            Layout::Ring(_) => 0,
        }
    }
}

/// A `devmap_hash` knows no "only if it is there", and interface 0 is nothing.
fn devmap_hash_update(
    map: &Map,
    table: &Table,
    key: &[u8],
    value: &[u8],
    flags: u64,
) -> Result<(), Errno> {
    let mut flags = UpdateFlags::new(flags)?;
    if flags == UpdateFlags::Exist {
        flags = UpdateFlags::Any;
    }
    if value.get(..4) == Some(&[0; 4]) {
        return Err(Errno::Einval);
    }
    let update = Update {
        value,
        special: &[],
        in_place: false,
        flags,
        cpu: 0,
        all: false,
        full: Errno::E2big,
        watch: None,
    };
    table.update(map.memory(), key, update).map(|_| ())
}
