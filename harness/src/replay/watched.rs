//! [`Watched`]: queues side by side on maps that they share, and what makes that safe.
//!
//! Before a chunk the maps of both sides that programs write are copied; while queues work on it each map marks who
//! touches what ([`bpf::map::Map::watch`]); at its end either nothing depended on the order between
//! queues, or the maps become the copies again and the chunk is redone in arrival order.
//!
//! Whether a chunk is redone can depend on how threads happened to run: keys that are not there
//! share slots where their part of the watch's table is crowded. Its outcomes cannot.

use std::collections::BTreeSet;

use bpf::map::{Map, MapError, MapId, MapSet};

/// Bytes of written maps on each side above which copies cost more than queues side by side gain.
pub const MOST_WATCHED: usize = 2 << 20;

/// Most chunks in a row that go in arrival order without trying, after others were redone.
const LONGEST_PAUSE: u32 = 64;

/// Fewest threads with which queues run side by side on watched maps. In arrival order NIC and
/// reference already keep two busy, and marking and copying cost about a quarter of the time of
/// one packet: on two cores queues side by side were the slower way.
pub const FEWEST_THREADS: usize = 4;

/// How a map is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Programs write values through what a lookup gives, in ways that do not commute.
    pub lookups_write: bool,
}

/// The maps of both sides, watched.
#[derive(Debug)]
pub struct Watched {
    sides: Vec<Side>,
    /// Chunks left that go in arrival order without trying.
    pause: u32,
    /// Length of the pause after the next conflict.
    next_pause: u32,
    redone: u64,
}

#[derive(Debug)]
struct Side {
    maps: MapSet,
    /// Copies of those that programs write.
    copies: Vec<(MapId, Map)>,
}

impl Side {
    /// Copies what programs write; gives whether it could.
    fn save(&self) -> bool {
        let mut copies = self.copies.iter();
        copies.all(|(id, copy)| self.maps.get(*id).is_some_and(|map| copy.copy_from(map)))
    }

    /// Makes the maps what they were when they were saved.
    fn restore(&self) {
        for (id, copy) in &self.copies {
            if let Some(map) = self.maps.get(*id) {
                map.copy_from(copy);
            }
        }
    }
}

impl Watched {
    /// Whether the maps that programs write are small enough to be copied before each chunk.
    pub fn affordable(maps: &MapSet, written: &BTreeSet<MapId>) -> bool {
        let written = written.iter().filter_map(|id| maps.get(*id));
        written.map(|m| m.memory().len()).sum::<usize>() <= MOST_WATCHED
    }

    /// Watches these maps of each side from now on; `written` are all that programs write.
    ///
    /// # Errors
    /// [`MapError`] if there is no memory for cells and copies.
    pub fn new(
        sides: impl IntoIterator<Item = MapSet>,
        watches: &[(MapId, Watch)],
        written: &BTreeSet<MapId>,
    ) -> Result<Watched, MapError> {
        let sides = sides.into_iter().map(|maps| {
            for (id, watch) in watches {
                if let Some(map) = maps.get(*id) {
                    map.watch(watch.lookups_write)?;
                }
            }
            let copies = written
                .iter()
                .filter_map(|id| Some((*id, maps.get(*id)?.snapshot())))
                .map(|(id, copy)| Ok((id, copy?)))
                .collect::<Result<_, MapError>>()?;
            Ok(Side { maps, copies })
        });
        Ok(Watched {
            sides: sides.collect::<Result<_, MapError>>()?,
            pause: 0,
            next_pause: 1,
            redone: 0,
        })
    }

    /// Begins a chunk; gives whether queues should try it side by side.
    pub fn begin(&mut self) -> bool {
        if let Some(left) = self.pause.checked_sub(1) {
            self.pause = left;
            return false;
        }
        self.sides.iter().all(|side| {
            side.maps.begin_chunk();
            side.save()
        })
    }

    /// Ends a chunk that was tried, which began with packet `first`; gives whether it stands.
    /// If not, the maps are as they were, and the chunk is to be redone in arrival order.
    pub fn end(&mut self, first: u64) -> bool {
        let stands = self.sides.iter().all(|s| s.maps.conflicts().is_empty());
        if stands {
            self.next_pause = (self.next_pause / 2).max(1);
            self.sides.iter().for_each(|side| side.maps.settle(first));
        } else {
            for side in &self.sides {
                side.restore();
                side.maps.pause_watch();
            }
            self.redone += 1;
            self.pause = self.next_pause;
            self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
        }
        stands
    }

    /// How many chunks were redone.
    pub fn redone(&self) -> u64 {
        self.redone
    }
}
