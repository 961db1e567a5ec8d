//! A map at run time.

use super::array::ArrayLayout;
use super::bloom::Bloom;
use super::fifo::Fifo;
use super::lpm::Lpm;
use super::ring::Ring;
use super::slots::Slots;
use super::table::{Table, TableShape, Update};
use super::values::F_LOCK;
use super::watch::Watch;
use super::{Errno, MapDef, MapType, Memory};

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// Bytes before the first structure in every map's memory: version and counters.
pub(super) const HEADER: usize = 64;

/// Index of a map in a [`MapSet`](super::MapSet): the object's maps by their index in the
/// program's map list, then maps that only map-in-map slots name.
pub type MapId = usize;

/// Why a map cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The type is not modelled.
    #[error("map {name}: type {kind} is not modelled")]
    Type {
        /// Map name.
        name: String,
        /// Its type.
        kind: MapType,
    },
    /// A size outside what the kernel takes.
    #[error("map {name}: {what} is {value}, allowed is {allowed}")]
    Size {
        /// Map name.
        name: String,
        /// Which size.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What the kernel takes.
        allowed: &'static str,
    },
    /// More memory than the limit for one map.
    #[error("map {name} needs {bytes} bytes, more than the limit of {limit}")]
    Memory {
        /// Map name.
        name: String,
        /// Bytes it needs.
        bytes: u128,
        /// The limit.
        limit: u128,
    },
    /// The system has no memory for it.
    #[error("map {name} needs {bytes} bytes, which the system does not give")]
    OutOfMemory {
        /// Map name.
        name: String,
        /// Bytes it needs.
        bytes: usize,
    },
}

/// Where a value lies: a byte offset in the memory of its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueAt(pub usize);

/// What an update does with a key that is there, or is not (`BPF_ANY`, `BPF_NOEXIST`,
/// `BPF_EXIST`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateFlags {
    /// Sets the value in either case.
    Any,
    /// Only a key that is not there: else EEXIST.
    NoExist,
    /// Only a key that is there: else ENOENT.
    Exist,
}

impl UpdateFlags {
    /// Reads a helper's or system call's flags.
    ///
    /// # Errors
    /// [`Errno::Einval`] for any other value; so also for `BPF_F_LOCK`, which is looked at before.
    pub const fn new(flags: u64) -> Result<UpdateFlags, Errno> {
        match flags {
            0 => Ok(UpdateFlags::Any),
            1 => Ok(UpdateFlags::NoExist),
            2 => Ok(UpdateFlags::Exist),
            _ => Err(Errno::Einval),
        }
    }
}

/// A key of 4 bytes as an index.
#[inline]
pub(super) fn index_of(key: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(key.try_into().ok()?))
}

/// Where a map's memory comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Memory of this process.
    #[default]
    Private,
    /// Memory that worker processes can share.
    Shared,
}

/// How the map's state lies in its memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    Array(ArrayLayout),
    Table(Table),
    Lpm(Lpm),
    Slots(Slots),
    Fifo(Fifo),
    Bloom(Bloom),
    Ring(Ring),
}

/// One map at run time; shared by all queues.
///
/// A program's side of it is [`lookup`](Map::lookup), [`update`](Map::update),
/// [`delete`](Map::delete) and what suits its type; the host's side are the methods that begin
/// with `host_`, which behave as bpf(2) does.
///
/// ```
/// use bpf::map::{Map, MapDef, MapType, Errno};
/// let def = MapDef { key_size: 4, value_size: 8, max_entries: 1, ..MapDef::new("flows", MapType::Hash) };
/// let map = Map::new(&def, 1)?;
/// map.update(&[1, 0, 0, 0], &7u64.to_le_bytes(), 0, 0).unwrap();
/// let at = map.lookup(&[1, 0, 0, 0], 0).unwrap();
/// assert_eq!(map.memory().load(at.0, 8), Some(7));
/// assert_eq!(map.update(&[2, 0, 0, 0], &[0; 8], 0, 0), Err(Errno::E2big));
/// # Ok::<(), bpf::map::MapError>(())
/// ```
#[derive(Debug)]
pub struct Map {
    pub(super) def: MapDef,
    pub(super) cpus: u32,
    pub(super) memory: Memory,
    pub(super) layout: Layout,
    pub(super) watch: OnceLock<Watch>,
}

impl Map {
    /// Most bytes one map may take (a limit of nicbed's own; Linux takes what memory there is).
    pub const MAX_BYTES: u128 = 1 << 32;

    /// A new map for `cpus` CPUs (queues), in private memory.
    ///
    /// # Errors
    /// [`MapError`] if the type is not modelled, a size is outside what the kernel takes, or
    /// there is no memory for it.
    pub fn new(def: &MapDef, cpus: u32) -> Result<Map, MapError> {
        Map::placed(def, cpus, Placement::Private)
    }

    /// A new map for `cpus` CPUs (queues), in memory of the given kind.
    ///
    /// # Errors
    /// As [`Map::new`].
    pub fn placed(def: &MapDef, cpus: u32, placement: Placement) -> Result<Map, MapError> {
        let map = Map::laid_out(def, cpus, |bytes| match placement {
            Placement::Private => Memory::private(bytes),
            Placement::Shared => Memory::shared(bytes),
        })?;
        if let (Some(initial), Layout::Array(array)) = (&def.initial, map.layout) {
            let size = initial.len().min(def.value_size as usize);
            map.memory.write(array.base, &initial[..size]);
        }
        Ok(map)
    }

    /// A map that lives in another process in shared memory, whose file this is; the definition
    /// and the number of CPUs must be the same there.
    ///
    /// # Errors
    /// As [`Map::new`], also if the file is too short.
    pub fn attach(def: &MapDef, cpus: u32, file: OwnedFd) -> Result<Map, MapError> {
        Map::laid_out(def, cpus, |bytes| Memory::attach(file, bytes))
    }

    /// A map in the memory that `place` gives for so many bytes.
    fn laid_out(
        def: &MapDef,
        cpus: u32,
        place: impl FnOnce(usize) -> Option<Memory>,
    ) -> Result<Map, MapError> {
        super::limits::check(def)?;
        let cpus = cpus.max(1);
        let table = |percpu, evicts| {
            let (table, bytes) = Table::new(TableShape {
                key_size: def.key_size,
                value_size: def.value_size,
                max_entries: def.max_entries,
                cpus,
                percpu,
                evicts,
            });
            (Layout::Table(table), bytes)
        };
        let (layout, bytes) = match def.kind {
            MapType::Array | MapType::PercpuArray => {
                let (array, bytes) = ArrayLayout::new(
                    def.value_size,
                    def.max_entries,
                    def.kind.is_percpu().then_some(cpus),
                );
                (Layout::Array(array), bytes)
            }
            MapType::Hash | MapType::DevmapHash | MapType::HashOfMaps => table(false, false),
            MapType::PercpuHash => table(true, false),
            MapType::LruHash => table(false, true),
            MapType::LruPercpuHash => table(true, true),
            MapType::ProgArray
            | MapType::PerfEventArray
            | MapType::ArrayOfMaps
            | MapType::Devmap
            | MapType::Cpumap
            | MapType::Xskmap => {
                let (slots, bytes) = Slots::new(def.kind, def.value_size, def.max_entries);
                (Layout::Slots(slots), bytes)
            }
            MapType::LpmTrie => {
                let (lpm, bytes) = Lpm::new(def.key_size, def.value_size, def.max_entries, cpus);
                (Layout::Lpm(lpm), bytes)
            }
            MapType::Queue | MapType::Stack => {
                let stack = def.kind == MapType::Stack;
                let (fifo, bytes) = Fifo::new(def.value_size, def.max_entries, stack);
                (Layout::Fifo(fifo), bytes)
            }
            MapType::BloomFilter => {
                let (bloom, bytes) = Bloom::new(def.value_size, def.max_entries, def.extra as u32);
                (Layout::Bloom(bloom), bytes)
            }
            MapType::Ringbuf => {
                let (ring, bytes) = Ring::new(def.max_entries, cpus);
                (Layout::Ring(ring), bytes)
            }
            kind => {
                return Err(MapError::Type {
                    name: def.name.clone(),
                    kind,
                });
            }
        };
        if bytes > Map::MAX_BYTES {
            return Err(MapError::Memory {
                name: def.name.clone(),
                bytes,
                limit: Map::MAX_BYTES,
            });
        }
        let memory = place(bytes as usize).ok_or_else(|| MapError::OutOfMemory {
            name: def.name.clone(),
            bytes: bytes as usize,
        })?;
        Ok(Map {
            def: def.clone(),
            cpus,
            memory,
            layout,
            watch: OnceLock::new(),
        })
    }

    /// What the object declares of it.
    pub fn def(&self) -> &MapDef {
        &self.def
    }

    /// Type.
    pub fn kind(&self) -> MapType {
        self.def.kind
    }

    /// CPUs (queues) that may use it.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The bytes its state lies in.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Where elements lie, if it is an array: for engines that inline lookups.
    pub fn array(&self) -> Option<&ArrayLayout> {
        match &self.layout {
            Layout::Array(array) => Some(array),
            _ => None,
        }
    }

    /// Program side: where the value of `key` lies for `cpu`, if it is present. In an LRU map
    /// this counts as a use. `None` for types without values of their own (map-in-map:
    /// [`Map::inner`]).
    #[inline]
    pub fn lookup(&self, key: &[u8], cpu: u32) -> Option<ValueAt> {
        match &self.layout {
            Layout::Array(array) => {
                let index = index_of(key)?;
                let at = array.at(index, cpu)?;
                if let Some(watch) = self.marking()
                    && array.cpu_stride == 0
                {
                    watch.touch(index, cpu, watch.lookups_write());
                }
                Some(at)
            }
            Layout::Table(table) => table.lookup(&self.memory, key, cpu, self.marking()),
            Layout::Lpm(lpm) => {
                if let Some(watch) = self.marking() {
                    watch.touch(0, cpu, watch.lookups_write());
                }
                lpm.lookup(&self.memory, key)
            }
            Layout::Slots(slots) => slots.get(&self.memory, index_of(key)?),
            Layout::Fifo(_) | Layout::Bloom(_) | Layout::Ring(_) => None,
        }
    }

    /// Marks the whole of a map that has one cell, if it is watched.
    fn touch_whole(&self, cpu: u32, write: bool) {
        if let Some(watch) = self.marking() {
            watch.touch(0, cpu, write);
        }
    }

    /// Program side: sets the value of `key` for `cpu`.
    ///
    /// # Errors
    /// As Linux: EINVAL for flags, EEXIST, ENOENT, E2BIG for an index outside or a full map.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64, cpu: u32) -> Result<(), Errno> {
        let watch = self.marking();
        if let Some(watch) = watch {
            match &self.layout {
                Layout::Array(array) if array.cpu_stride == 0 => {
                    if let Some(index) = index_of(key).filter(|i| *i < array.max_entries) {
                        watch.touch(index, cpu, true);
                    }
                }
                Layout::Lpm(_) => self.touch_whole(cpu, true),
                _ => {}
            }
        }
        self.update_by(key, value, flags, cpu, watch)
    }

    pub(super) fn update_by(
        &self,
        key: &[u8],
        value: &[u8],
        flags: u64,
        cpu: u32,
        watch: Option<&Watch>,
    ) -> Result<(), Errno> {
        match &self.layout {
            Layout::Array(array) => array.update((&self.memory, &self.def), key, value, flags, cpu),
            Layout::Table(table) => {
                let in_place = flags & F_LOCK != 0 && self.def.has_lock();
                let flags = if in_place { flags & !F_LOCK } else { flags };
                let update = Update {
                    value,
                    special: &self.def.special,
                    in_place,
                    flags: UpdateFlags::new(flags)?,
                    cpu,
                    all: false,
                    full: Errno::E2big,
                    watch,
                };
                table.update(&self.memory, key, update).map(|_| ())
            }
            Layout::Lpm(lpm) => lpm.update(&self.memory, key, value, UpdateFlags::new(flags)?, cpu),
            Layout::Slots(slots) => slots.update(&self.memory, key, value, flags),
            Layout::Fifo(fifo) => fifo.push(&self.memory, value, flags),
            Layout::Bloom(bloom) => bloom.push(&self.memory, value, flags),
            Layout::Ring(_) => Err(Errno::Enotsupp),
        }
    }

    /// Program side: takes `key` away.
    ///
    /// # Errors
    /// As Linux: ENOENT; EINVAL for arrays, whose elements stay.
    pub fn delete(&self, key: &[u8], cpu: u32) -> Result<(), Errno> {
        if matches!(self.layout, Layout::Lpm(_)) {
            self.touch_whole(cpu, true);
        }
        self.delete_by(key, cpu, self.marking())
    }

    pub(super) fn delete_by(
        &self,
        key: &[u8],
        cpu: u32,
        watch: Option<&Watch>,
    ) -> Result<(), Errno> {
        match &self.layout {
            Layout::Array(_) | Layout::Fifo(_) => Err(Errno::Einval),
            Layout::Bloom(_) => Err(Errno::Eopnotsupp),
            Layout::Table(table) => table.delete(&self.memory, key, cpu, watch),
            Layout::Lpm(lpm) => lpm.delete(&self.memory, key),
            Layout::Slots(slots) => slots.delete(&self.memory, key),
            Layout::Ring(_) => Err(Errno::Enotsupp),
        }
    }

    /// Adds a value to a queue, stack or Bloom filter. `flags` is 0, or `BPF_EXIST` to drop the
    /// oldest value of a full queue or stack.
    ///
    /// # Errors
    /// As Linux: E2BIG if full, EINVAL for other flags (and other types of map).
    pub fn push(&self, value: &[u8], flags: u64, cpu: u32) -> Result<(), Errno> {
        self.touch_whole(cpu, true);
        match &self.layout {
            Layout::Fifo(fifo) => fifo.push(&self.memory, value, flags),
            Layout::Bloom(bloom) => bloom.push(&self.memory, value, flags),
            _ => Err(Errno::Einval),
        }
    }

    /// Takes the next value out of a queue (the oldest) or stack (the newest).
    ///
    /// # Errors
    /// ENOENT if empty (`into` is then zero), EINVAL if `into` is not of the value size or this
    /// is no queue or stack.
    pub fn pop(&self, into: &mut [u8], cpu: u32) -> Result<(), Errno> {
        self.touch_whole(cpu, true);
        match &self.layout {
            Layout::Fifo(fifo) => fifo.take(&self.memory, into, true),
            _ => Err(Errno::Einval),
        }
    }

    /// Copies the value that [`Map::pop`] would take; asks a Bloom filter about the value that
    /// `into` holds.
    ///
    /// # Errors
    /// As [`Map::pop`]; ENOENT for a value that is not in the filter.
    pub fn peek(&self, into: &mut [u8], cpu: u32) -> Result<(), Errno> {
        self.touch_whole(cpu, false);
        match &self.layout {
            Layout::Fifo(fifo) => fifo.take(&self.memory, into, false),
            Layout::Bloom(bloom) => bloom.peek(&self.memory, into),
            _ => Err(Errno::Einval),
        }
    }

    /// Reserves a ring buffer record of `size` bytes, all zero; `None` if there is no room. Each
    /// CPU has a ring of its own of the full size, which the host drains after each packet.
    pub fn reserve(&self, size: u64, cpu: u32) -> Option<ValueAt> {
        match &self.layout {
            Layout::Ring(ring) => ring.reserve(&self.memory, size, cpu),
            _ => None,
        }
    }

    /// Gives a reserved record to the host; with `discard` the host skips it.
    ///
    /// # Errors
    /// [`Errno::Einval`] if no record is reserved there.
    pub fn finish(&self, record: ValueAt, discard: bool) -> Result<(), Errno> {
        match &self.layout {
            Layout::Ring(ring) => ring.finish(&self.memory, record, discard),
            _ => Err(Errno::Einval),
        }
    }

    /// What `bpf_ringbuf_query` answers on this CPU: bytes not yet read, size, consumer's and
    /// producer's position for 0 to 3.
    pub fn ring_query(&self, what: u64, cpu: u32) -> u64 {
        match &self.layout {
            Layout::Ring(ring) => ring.query(&self.memory, what, cpu),
            _ => 0,
        }
    }

    /// The host reads all records that `cpu` submitted to a ring buffer, in order.
    pub fn drain(&self, cpu: u32, each: impl FnMut(&[u8])) {
        if let Layout::Ring(ring) = &self.layout {
            ring.drain(&self.memory, cpu, each);
        }
    }

    /// The program in slot `index` of a `prog_array`, by the number it was filled with.
    #[inline]
    pub fn program(&self, index: u32) -> Option<u32> {
        match &self.layout {
            Layout::Slots(slots) if self.def.kind == MapType::ProgArray => {
                slots.number(&self.memory, index)
            }
            _ => None,
        }
    }

    /// The map that `key` names in a map-in-map.
    #[inline]
    pub fn inner(&self, key: &[u8]) -> Option<MapId> {
        let number = match (&self.layout, self.def.kind) {
            (Layout::Slots(slots), MapType::ArrayOfMaps) => {
                slots.number(&self.memory, index_of(key)?)?
            }
            (Layout::Table(table), MapType::HashOfMaps) => {
                let at = table.lookup(&self.memory, key, 0, None)?;
                self.memory.load(at.0, 4)? as u32
            }
            _ => return None,
        };
        Some(number as MapId)
    }

    /// Whether a redirect map (devmap and the like) has a target under `key`.
    #[inline]
    pub fn has_target(&self, key: u32) -> bool {
        match &self.layout {
            Layout::Slots(slots) => slots.get(&self.memory, key).is_some(),
            Layout::Table(table) => table.peek(&self.memory, &key.to_le_bytes(), 0).is_some(),
            _ => false,
        }
    }
}
