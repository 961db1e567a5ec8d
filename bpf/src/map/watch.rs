//! Watching whether what queues do to a map could depend on the order between them.
//!
//! Queues that are replayed side by side each mark what they touch. A *cell* is an element of an
//! array; an entry of a hash-like map; a slot, found by the hash of the key, for a key that is
//! not there (two keys of the same 32-bit hash, or that find their part of the table taken, share
//! one: that costs a needless redo, never a wrong answer); the whole map
//! for longest-prefix maps, queues and stacks. A cell is untouched, owned by one queue that has
//! read it or written it, or shared by queues that have read it. A conflict is an access by a
//! second queue to a written cell, or a write to a cell that another queue has touched.
//!
//! In a per-CPU hash map only the presence of keys is shared, so only inserting and deleting are
//! writes; elements of per-CPU arrays and ring buffers (which are per CPU here) are not watched,
//! but reading another CPU's value is a conflict. Programs
//! write values through the address a lookup gives: where a program may store into the map, the
//! caller says so ([`Map::watch`](super::Map::watch)) and a lookup counts as a write. Sections of
//! global data are reached without a lookup: whoever runs the program marks them
//! ([`Map::touch_element`](super::Map::touch_element)).
//!
//! Whether a map was full is decided at the end of the chunk: if the entries at its start and
//! the most that each queue had added at any time do not fit together, the order may have
//! mattered, whether or not an insertion failed. If only one queue added or took away anything,
//! it did not. Evicting is a conflict.
//!
//! ```
//! use bpf::map::{Map, MapDef, MapSet, MapType};
//! let def = MapDef { key_size: 4, value_size: 8, max_entries: 8, ..MapDef::new("seen", MapType::Hash) };
//! let mut maps = MapSet::new();
//! let id = maps.push(Map::new(&def, 2)?);
//! let map = &maps.get(id).unwrap();
//! map.watch(true)?; // programs may store into values: a lookup counts as a write
//!
//! let copy = maps.snapshot()?;
//! let first_packet = 0;
//! maps.begin_chunk();
//! // Two queues work side by side: each on a key of its own, then both on key 3.
//! for (queue, key) in [(0, 1u32), (1, 2), (0, 3), (1, 3)] {
//!     map.update(&key.to_le_bytes(), &[0; 8], 0, queue).unwrap();
//! }
//! if maps.conflicts().is_empty() {
//!     maps.settle(first_packet);
//! } else {
//!     maps.copy_from(&copy); // and redo the chunk in arrival order
//! }
//! assert_eq!(map.host_len(), 0);
//! # Ok::<(), bpf::map::MapError>(())
//! ```
//!
//! Cells are words in a memory of their own, of the same kind as the map's, so that worker
//! processes mark them too. A word holds the chunk's number (the *epoch*), the state and the
//! queue, so that a new chunk costs one addition: states of another epoch are untouched.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::Memory;

/// The epoch begins at this bit of a cell.
pub const EPOCH_SHIFT: u32 = 16;
/// The state lies at this bit, in two bits.
pub const STATE_SHIFT: u32 = 14;
/// The queue lies in these bits.
pub const QUEUE_MASK: u32 = (1 << STATE_SHIFT) - 1;
/// State: owned by a queue that has only read.
pub const OWNED_READ: u32 = 1;
/// State: owned by a queue that has written.
pub const OWNED_WRITTEN: u32 = 2;
/// State: read by several queues.
pub const SHARED_READ: u32 = 3;
/// Last epoch before all cells are cleared and counting begins again at 1.
const LAST_EPOCH: u32 = 0xffff;

/// Number of the current chunk, in the watch's memory.
const EPOCH: usize = 0;
/// How many conflicts there were in this chunk.
const CONFLICTS: usize = 4;
/// Entries that were live when the chunk began.
const LIVE: usize = 8;
/// Whether marking rests until the next chunk.
const PAUSED: usize = 12;
/// Per-queue counters begin here.
const QUEUES: usize = 64;
/// Bytes of one queue's counters: a cache line.
const QUEUE: usize = 64;
/// Within a queue's counters: insertions less deletions.
const NET: usize = 0;
/// The most that `NET` has been.
const PEAK: usize = 4;
/// Whether the queue inserted, tried to, or deleted.
const CHANGED: usize = 8;

/// Slots for keys that are not there: at least and at most so many.
const MIN_SLOTS: u32 = 1 << 10;
const MAX_SLOTS: u32 = 1 << 18;
/// A key's slot is one of so many that follow each other.
const PROBES: u32 = 8;

/// State of every cell of one map.
#[derive(Debug)]
pub struct Watch {
    memory: Memory,
    queues: u32,
    max_entries: u32,
    cells: usize,
    slots: usize,
    slot_mask: u32,
    lookups_write: bool,
}

/// What an access does to a cell.
enum Step {
    Stay,
    Go(u32),
    Conflict,
}

/// What a map's watch is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct WatchShape {
    pub(super) queues: u32,
    pub(super) max_entries: u32,
    /// How many cells.
    pub(super) cells: u32,
    /// Whether keys can be absent.
    pub(super) keyed: bool,
    pub(super) lookups_write: bool,
    pub(super) shared: bool,
}

impl Watch {
    /// `None` if the system has no memory for it.
    pub(super) fn new(shape: WatchShape) -> Option<Watch> {
        let slots = if shape.keyed {
            shape
                .max_entries
                .saturating_mul(4)
                .clamp(MIN_SLOTS, MAX_SLOTS)
                .next_power_of_two()
        } else {
            1
        };
        let cells = QUEUES + QUEUE * shape.queues as usize;
        let slots_at = (cells + 4 * shape.cells as usize).next_multiple_of(64);
        let bytes = slots_at + 8 * slots as usize;
        let memory = if shape.shared {
            Memory::shared(bytes)
        } else {
            Memory::private(bytes)
        }?;
        memory.word(EPOCH).store(1, Relaxed);
        Some(Watch {
            memory,
            queues: shape.queues,
            max_entries: shape.max_entries,
            cells,
            slots: slots_at,
            slot_mask: slots - 1,
            lookups_write: shape.lookups_write,
        })
    }

    /// Whether a lookup counts as a write, since programs may store into the map.
    pub fn lookups_write(&self) -> bool {
        self.lookups_write
    }

    /// Address of the word that holds the epoch, for emitted code.
    pub fn epoch_address(&self) -> u64 {
        self.memory.address() + EPOCH as u64
    }

    /// Address of cell 0, for emitted code; cells are 4 bytes each. Emitted code may pass by a
    /// cell that already holds what [`Watch::touch`] would leave, and must call it otherwise.
    pub fn cells_address(&self) -> u64 {
        self.memory.address() + self.cells as u64
    }

    /// What a cell of the current epoch holds that `queue` owns and has written; `queue` is cut
    /// to its lower 14 bits.
    pub fn written_by(&self, queue: u32) -> u32 {
        self.word(OWNED_WRITTEN, queue)
    }

    fn word(&self, state: u32, queue: u32) -> u32 {
        let epoch = self.memory.word(EPOCH).load(Relaxed);
        epoch << EPOCH_SHIFT | state << STATE_SHIFT | (queue & QUEUE_MASK)
    }

    fn cell(&self, cell: u32) -> &AtomicU32 {
        self.memory.word(self.cells + 4 * cell as usize)
    }

    /// Marks a cell as read or written by `queue`, and gives whether that is a conflict.
    #[inline]
    pub fn touch(&self, cell: u32, queue: u32, write: bool) -> bool {
        let cell = self.cell(cell);
        let mut now = cell.load(Relaxed);
        loop {
            let next = match self.step(now, queue, write) {
                Step::Stay => return false,
                Step::Conflict => {
                    self.conflict();
                    return true;
                }
                Step::Go(next) => next,
            };
            match cell.compare_exchange_weak(now, next, Relaxed, Relaxed) {
                Ok(_) => return false,
                Err(other) => now = other,
            }
        }
    }

    /// Marks the absence of a key of this hash as seen (or, with `write`, as ended or begun).
    ///
    /// A slot is a cell below the hash it was taken for. Slots are never given back within an
    /// epoch, so a key that finds all its slots taken does so until the epoch ends, and then
    /// shares the first of them.
    pub(super) fn touch_missing(&self, hash: u32, queue: u32, write: bool) -> bool {
        for probe in 0..PROBES {
            if let Some(conflict) = self.mark_slot(hash, probe, queue, write, false) {
                return conflict;
            }
        }
        self.mark_slot(hash, 0, queue, write, true).unwrap_or(true)
    }

    /// Marks one slot, if it is free or this hash's (or with `any`, whosever it is): gives
    /// whether that is a conflict.
    fn mark_slot(&self, hash: u32, probe: u32, queue: u32, write: bool, any: bool) -> Option<bool> {
        let place = hash.wrapping_add(probe) & self.slot_mask;
        let slot = self.memory.atomic64(self.slots + 8 * place as usize)?;
        let mut now = slot.load(Relaxed);
        loop {
            let (taken_for, word) = ((now >> 32) as u32, now as u32);
            let free = word >> EPOCH_SHIFT != self.memory.word(EPOCH).load(Relaxed);
            if !(free || any || taken_for == hash) {
                return None;
            }
            let next = match self.step(word, queue, write) {
                Step::Stay => return Some(false),
                Step::Conflict => {
                    self.conflict();
                    return Some(true);
                }
                Step::Go(next) => next,
            };
            let owner = if free { hash } else { taken_for };
            let next = u64::from(owner) << 32 | u64::from(next);
            match slot.compare_exchange_weak(now, next, Relaxed, Relaxed) {
                Ok(_) => return Some(false),
                Err(other) => now = other,
            }
        }
    }

    /// What becomes of a cell that holds `now`.
    #[inline]
    fn step(&self, now: u32, queue: u32, write: bool) -> Step {
        let written = self.word(OWNED_WRITTEN, queue);
        let read = self.word(OWNED_READ, queue);
        let state = (now >> STATE_SHIFT) & 3;
        if now == written || (now == read && !write) {
            Step::Stay
        } else if now >> EPOCH_SHIFT != written >> EPOCH_SHIFT {
            Step::Go(if write { written } else { read })
        } else if now == read {
            Step::Go(written)
        } else if write || state == OWNED_WRITTEN {
            Step::Conflict
        } else if state == SHARED_READ {
            Step::Stay
        } else {
            Step::Go(self.word(SHARED_READ, 0))
        }
    }

    /// Makes `queue` the owner that has written a cell which only now stands for a key.
    pub(super) fn own(&self, cell: u32, queue: u32) {
        self.cell(cell)
            .store(self.word(OWNED_WRITTEN, queue), Relaxed);
    }

    /// Notes something that depends on the order between queues by itself.
    pub(super) fn conflict(&self) {
        self.memory.word(CONFLICTS).fetch_add(1, Relaxed);
    }

    fn counter(&self, queue: u32, which: usize) -> &AtomicU32 {
        let queue = queue.min(self.queues.saturating_sub(1)) as usize;
        self.memory.word(QUEUES + QUEUE * queue + which)
    }

    /// Notes that `queue` inserted a key, or tried to and found the map full.
    pub(super) fn inserted(&self, queue: u32, full: bool) {
        let net = self.counter(queue, NET);
        let peak = self.counter(queue, PEAK);
        let now = (net.load(Relaxed) as i32).wrapping_add(1);
        if !full {
            net.store(now as u32, Relaxed);
        }
        peak.store((peak.load(Relaxed) as i32).max(now) as u32, Relaxed);
        self.counter(queue, CHANGED).store(1, Relaxed);
    }

    /// Notes that `queue` deleted a key.
    pub(super) fn deleted(&self, queue: u32) {
        let net = self.counter(queue, NET);
        net.store(net.load(Relaxed).wrapping_sub(1), Relaxed);
        self.counter(queue, CHANGED).store(1, Relaxed);
    }

    /// Marking rests until the next chunk begins.
    pub(super) fn pause(&self) {
        self.memory.word(PAUSED).store(1, Relaxed);
    }

    /// Whether marking rests.
    pub fn is_paused(&self) -> bool {
        self.memory.word(PAUSED).load(Relaxed) != 0
    }

    /// Begins a chunk: every cell is untouched, `live` entries are there.
    pub(super) fn begin(&self, live: u32) {
        let epoch = self.memory.word(EPOCH);
        let mut next = epoch.load(Relaxed) + 1;
        if next > LAST_EPOCH {
            self.memory.zero(self.cells, self.memory.len() - self.cells);
            next = 1;
        }
        epoch.store(next, Relaxed);
        self.memory.word(PAUSED).store(0, Relaxed);
        self.memory.word(CONFLICTS).store(0, Relaxed);
        self.memory.word(LIVE).store(live, Relaxed);
        self.memory.zero(QUEUES, QUEUE * self.queues as usize);
    }

    /// How many conflicting accesses there were since the chunk began.
    pub fn conflicting_accesses(&self) -> u32 {
        self.memory.word(CONFLICTS).load(Relaxed)
    }

    /// Whether the map may have been full in some order of the queues.
    pub fn may_have_been_full(&self) -> bool {
        let live = u64::from(self.memory.word(LIVE).load(Relaxed));
        let mut changers = 0;
        let mut most = live;
        for queue in 0..self.queues {
            changers += self.counter(queue, CHANGED).load(Relaxed);
            most += u64::from(self.counter(queue, PEAK).load(Relaxed));
        }
        changers > 1 && most > u64::from(self.max_entries)
    }

    /// Whether the chunk must be redone in arrival order.
    pub fn conflicts(&self) -> bool {
        self.conflicting_accesses() > 0 || self.may_have_been_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(cells: u32) -> Watch {
        Watch::new(WatchShape {
            queues: 3,
            max_entries: 10,
            cells,
            keyed: true,
            lookups_write: false,
            shared: false,
        })
        .unwrap()
    }

    /// The state that a series of (queue, write) leaves, and whether the last was a conflict.
    fn after(steps: &[(u32, bool)]) -> (u32, u32, bool) {
        let watch = watch(4);
        watch.begin(0);
        let mut conflict = false;
        for (queue, write) in steps {
            conflict = watch.touch(2, *queue, *write);
        }
        let word = watch.cell(2).load(Relaxed);
        assert_eq!(watch.cell(1).load(Relaxed), 0);
        assert_eq!(watch.cell(3).load(Relaxed), 0);
        assert_eq!(watch.conflicts(), watch.conflicting_accesses() > 0);
        ((word >> STATE_SHIFT) & 3, word & QUEUE_MASK, conflict)
    }

    #[test]
    fn each_transition() {
        const R: bool = false;
        const W: bool = true;
        // From untouched.
        assert_eq!(after(&[(1, R)]), (OWNED_READ, 1, false));
        assert_eq!(after(&[(1, W)]), (OWNED_WRITTEN, 1, false));
        // From owned and read.
        assert_eq!(after(&[(1, R), (1, R)]), (OWNED_READ, 1, false));
        assert_eq!(after(&[(1, R), (1, W)]), (OWNED_WRITTEN, 1, false));
        assert_eq!(after(&[(1, R), (2, R)]), (SHARED_READ, 0, false));
        assert!(after(&[(1, R), (2, W)]).2);
        // From owned and written.
        assert_eq!(after(&[(1, W), (1, R)]), (OWNED_WRITTEN, 1, false));
        assert_eq!(after(&[(1, W), (1, W)]), (OWNED_WRITTEN, 1, false));
        assert!(after(&[(1, W), (2, R)]).2);
        assert!(after(&[(1, W), (2, W)]).2);
        // From shared.
        assert_eq!(after(&[(1, R), (2, R), (0, R)]), (SHARED_READ, 0, false));
        assert_eq!(after(&[(1, R), (2, R), (1, R)]), (SHARED_READ, 0, false));
        assert!(after(&[(1, R), (2, R), (0, W)]).2);
        assert!(after(&[(1, R), (2, R), (1, W)]).2);
    }

    #[test]
    fn a_new_chunk_forgets() {
        let watch = watch(1);
        watch.begin(0);
        watch.touch(0, 1, true);
        assert!(watch.touch(0, 2, true));
        assert!(watch.conflicts());
        watch.begin(0);
        assert!(!watch.conflicts());
        assert!(!watch.touch(0, 2, true));
    }

    #[test]
    fn old_marks_do_not_come_back_when_epochs_begin_again() {
        let watch = watch(1);
        watch.begin(0);
        watch.touch(0, 1, true);
        watch.touch_missing(7, 1, true);
        for _ in 0..=LAST_EPOCH {
            watch.begin(0);
            let epoch = watch.memory.word(EPOCH).load(Relaxed);
            assert_ne!(watch.cell(0).load(Relaxed) >> EPOCH_SHIFT, epoch);
        }
        assert!(!watch.touch(0, 2, true));
        assert!(!watch.touch_missing(7, 2, true));
    }

    #[test]
    fn fullness_is_judged_over_all_orders() {
        let watch = watch(10);
        // 8 live and 2 places: one queue adds two, another none.
        watch.begin(8);
        watch.inserted(0, false);
        watch.inserted(0, false);
        assert!(!watch.may_have_been_full());
        // The other queue takes away and adds: at its peak it is where it was.
        watch.deleted(1);
        watch.inserted(1, false);
        assert!(!watch.may_have_been_full());
        // But with one more it may have met a full map, though it did not.
        watch.inserted(1, false);
        assert!(watch.may_have_been_full());
        // What a queue adds and takes away again still counts.
        watch.begin(9);
        for queue in 0..2 {
            watch.inserted(queue, false);
            watch.deleted(queue);
        }
        assert!(watch.may_have_been_full());
        // One queue alone meets its own fullness in every order.
        watch.begin(9);
        watch.inserted(0, false);
        watch.inserted(0, true);
        assert!(!watch.may_have_been_full());
        // A failed insertion counts as one.
        watch.begin(9);
        watch.inserted(0, false);
        watch.inserted(1, true);
        assert!(watch.may_have_been_full());
    }
}
