//! What replaying in chunks needs of a map: copies to redo a chunk from, the watch over the order
//! between queues, and bringing uses into the order of packets.

use std::sync::OnceLock;

use super::runtime::Layout;
use super::table::Table;
use super::watch::{QUEUE_MASK, Watch, WatchShape};
use super::{Map, MapError, Memory, seqlock};

impl Map {
    /// Notes which packet `cpu` works on. Only LRU maps care, see [`Map::settle`].
    #[inline]
    pub fn set_packet(&self, cpu: u32, number: u64) {
        if let Layout::Table(table) = &self.layout {
            table.set_packet(&self.memory, cpu, number);
        }
    }

    /// Brings the uses of an LRU map since packet `since` into the order of their packets, after
    /// several queues used it side by side. Nothing else may use the map meanwhile.
    pub fn settle(&self, since: u64) {
        if let Layout::Table(table) = &self.layout {
            table.settle(&self.memory, since);
        }
    }

    /// Makes the contents those of `other`, which must have the same definition and CPUs; gives
    /// whether it has. Only what is in use is copied. Nothing else may use either meanwhile.
    pub fn copy_from(&self, other: &Map) -> bool {
        if self.memory.len() != other.memory.len() || self.def.kind != other.def.kind {
            return false;
        }
        // What is in use on either side: what only this side has must become as it is there.
        let mut parts = match &self.layout {
            Layout::Table(table) => table.live(&self.memory),
            Layout::Lpm(lpm) => lpm.live(&self.memory),
            Layout::Ring(ring) => ring.live(&self.memory),
            _ => vec![(0, self.memory.len())],
        };
        match &other.layout {
            Layout::Table(table) => parts.extend(table.live(&other.memory)),
            Layout::Lpm(lpm) => parts.extend(lpm.live(&other.memory)),
            Layout::Ring(ring) => parts.extend(ring.live(&other.memory)),
            _ => {}
        }
        parts.into_iter().all(|(start, end)| {
            self.memory
                .copy_range_from(&other.memory, start, end)
                .is_some()
        })
    }

    /// A copy of its own as of now, in private memory.
    ///
    /// # Errors
    /// [`MapError::OutOfMemory`].
    pub fn snapshot(&self) -> Result<Map, MapError> {
        let memory = Memory::private(self.memory.len()).ok_or_else(|| MapError::OutOfMemory {
            name: self.def.name.clone(),
            bytes: self.memory.len(),
        })?;
        let copy = Map {
            def: self.def.clone(),
            cpus: self.cpus,
            memory,
            layout: self.layout,
            watch: OnceLock::new(),
        };
        copy.copy_from(self);
        Ok(copy)
    }

    /// Watches from now on whether what programs do could depend on the order between queues
    /// (see [`watch`](super::watch)). `lookups_write`: programs may store into values, so that a
    /// lookup counts as a write. Without effect on types that have nothing to watch: ring
    /// buffers, and slots that only the host fills. What the host does is never
    /// watched. For worker processes it must be called before they are forked.
    ///
    /// # Errors
    /// [`MapError`] if there is no memory for the cells, or there are more queues than a cell
    /// can tell apart.
    pub fn watch(&self, lookups_write: bool) -> Result<(), MapError> {
        let (cells, keyed) = match &self.layout {
            Layout::Array(array) if array.cpu_stride == 0 => (array.max_entries, false),
            Layout::Table(table) => (table.entries(), true),
            // One cell for the whole; of a per-CPU array it is not marked, but reading another
            // CPU's value is noted (`note_conflict`).
            Layout::Array(_) | Layout::Lpm(_) | Layout::Fifo(_) | Layout::Bloom(_) => (1, false),
            Layout::Slots(_) | Layout::Ring(_) => return Ok(()),
        };
        if self.watch.get().is_some() {
            return Ok(());
        }
        if self.cpus > QUEUE_MASK {
            return Err(MapError::Size {
                name: self.def.name.clone(),
                what: "number of queues",
                value: u64::from(self.cpus),
                allowed: "at most 16383 where the map is watched",
            });
        }
        let watch = Watch::new(WatchShape {
            queues: self.cpus,
            max_entries: self.def.max_entries,
            cells,
            keyed,
            lookups_write,
            shared: self.memory.is_shared(),
        })
        .ok_or_else(|| MapError::OutOfMemory {
            name: self.def.name.clone(),
            bytes: 4 * cells as usize,
        })?;
        watch.begin(self.live());
        let _ = self.watch.set(watch);
        Ok(())
    }

    /// Marks an element of a watched array that a program reaches without a lookup (a section of
    /// global data is element 0), and gives whether that is a conflict. False if the map is not
    /// watched, has a value for each CPU, or is no array.
    pub fn touch_element(&self, index: u32, cpu: u32, write: bool) -> bool {
        match (&self.layout, self.marking()) {
            (Layout::Array(array), Some(watch))
                if array.cpu_stride == 0 && index < array.max_entries =>
            {
                watch.touch(index, cpu, write)
            }
            _ => false,
        }
    }

    /// What watches this map, if it is watched and not paused.
    #[inline]
    pub(super) fn marking(&self) -> Option<&Watch> {
        self.watch.get().filter(|watch| !watch.is_paused())
    }

    /// Marks nothing until the next chunk begins: for chunks that go in arrival order.
    pub fn pause_watch(&self) {
        if let Some(watch) = self.watch.get() {
            watch.pause();
        }
    }

    /// What watches this map, if it is watched.
    pub fn watched(&self) -> Option<&Watch> {
        self.watch.get()
    }

    /// Entries that count against `max_entries`.
    fn live(&self) -> u32 {
        match &self.layout {
            Layout::Table(_) | Layout::Lpm(_) => Table::len(&self.memory),
            _ => 0,
        }
    }

    /// Begins a chunk: nothing is touched any more.
    pub fn begin_chunk(&self) {
        if let Some(watch) = self.watch.get() {
            watch.begin(self.live());
        }
    }

    /// Whether what queues did since the chunk began may depend on the order between them.
    pub fn conflicts(&self) -> bool {
        self.watch.get().is_some_and(Watch::conflicts)
    }

    /// Marks a conflict outright: something was read that belongs to another queue (another
    /// CPU's value), or the map was iterated.
    pub fn note_conflict(&self) {
        if let Some(watch) = self.watch.get() {
            watch.conflict();
        }
    }

    /// Opens the map's lock after the process that held it is gone; its contents may then be
    /// half changed and should be restored from a copy.
    pub fn recover(&self) {
        seqlock::force_open(&self.memory);
    }

    /// The same if one change of structure is not over after twenty of `pause`: for a map that
    /// others may be using.
    pub fn recover_if_stuck(&self, mut pause: impl FnMut()) {
        let Some(version) = seqlock::held(&self.memory) else {
            return;
        };
        for _ in 0..20 {
            pause();
            if seqlock::held(&self.memory) != Some(version) {
                return;
            }
        }
        self.recover();
    }
}
