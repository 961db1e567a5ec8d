//! [`Course`]: the packets of one program, and what the interpreter makes of them.

use bpf::Hook;
use bpf::map::MapSet;
use bpf::run::{Arrival, Batch};
use verifier::Verified;

use super::Bench;
use crate::compare::{self, Told};
use crate::error::Error;
use crate::mapdiff;
use crate::packets::{Aimed, ROOM, arrival_ns};
use crate::side::{Loaded, Side};

/// Most packets that are run before anything is compared: a mutant that never returns is not to
/// do so often.
const MOST: u64 = 32;

/// Packets that all mutants of a program are run over, from empty maps on. They are made when the
/// first mutant gets that far.
pub(super) struct Course {
    source: Aimed,
    packets: u64,
    /// A few packets each.
    made: Vec<Step>,
    /// The interpreter after the packets made so far.
    reference: Loaded,
}

struct Step {
    before: Batch,
    /// What the interpreter makes of it.
    after: Batch,
    /// Its maps then.
    maps: MapSet,
}

impl Course {
    /// The first packets that `source` makes.
    pub(super) fn new(
        bench: &Bench<'_>,
        verified: &Verified,
        source: Aimed,
        packets: u64,
    ) -> Result<Course, Error> {
        let reference = Side::Interp
            .load(verified, &bench.environment)
            .map_err(|e| Error::environment(e.to_string()))?;
        Ok(Course {
            source,
            packets,
            made: Vec::new(),
            reference,
        })
    }

    /// Number of the first packet on which `mutant` is seen; that behind some if only the maps show
    /// it.
    pub(super) fn differs(&mut self, mutant: &mut Loaded, verified: &Verified) -> Option<u64> {
        let program = verified.program();
        let (mut index, mut first) = (0, 0);
        while first < self.packets {
            if self.made.len() == index {
                let count = (first + 1).min(MOST).min(self.packets - first);
                self.make(first, count)?;
            }
            let step = self.made.get(index)?;
            let mut batch = step.before.clone();
            mutant.process(&mut batch);
            if let Some(index) = first_difference(&batch, &step.after, &program.hook) {
                return Some(first + index as u64);
            }
            first += batch.frames.len() as u64;
            if !mapdiff::compare(&program.maps, mutant.maps(), &step.maps).is_empty() {
                return Some(first);
            }
            index += 1;
        }
        None
    }

    /// `None` if there is no memory for copies of the maps.
    fn make(&mut self, first: u64, count: u64) -> Option<()> {
        let before = batch(&mut self.source, first, count);
        let mut after = before.clone();
        self.reference.process(&mut after);
        let maps = self.reference.maps().snapshot().ok()?;
        self.made.push(Step {
            before,
            after,
            maps,
        });
        Some(())
    }
}

/// The next `count` packets, numbered from `first`, all on queue 0.
fn batch(source: &mut Aimed, first: u64, count: u64) -> Batch {
    let mut batch = Batch::new();
    for number in first..first + count {
        let arrival = Arrival {
            number,
            arrival_ns: arrival_ns(number),
            port: 1,
            queue: 0,
        };
        batch.push(arrival, &source.packet(), ROOM.0, ROOM.1);
    }
    batch
}

/// Index of the first frame in which two runs of one batch differ.
fn first_difference(nic: &Batch, reference: &Batch, hook: &Hook) -> Option<usize> {
    let told = Told::default();
    let frame = (0..nic.frames.len()).find(|index| {
        let (a, b) = (nic.outcome(*index, hook), reference.outcome(*index, hook));
        !compare::outcomes(&a, &b, told).is_empty()
    });
    let events = || compare::events(&nic.events, &reference.events, told).map(|_| 0);
    frame.or_else(events)
}
