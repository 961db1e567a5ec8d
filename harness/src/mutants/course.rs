//! [`Course`]: the packets of one program, and what the interpreter makes of them.

use bpf::Hook;
use bpf::run::{Arrival, Batch};
use verifier::Verified;

use super::Bench;
use crate::compare::{self, Told};
use crate::error::Error;
use crate::mapdiff;
use crate::packets::Packets;
use crate::side::{Loaded, Side};

/// Most packets that are run before anything is compared: a mutant that never returns is not to
/// do so often.
const MOST: u64 = 32;
/// Room before and behind a frame, in bytes.
const ROOM: (usize, usize) = (256, 64);

/// Packets that all mutants of a program are run over, from empty maps on. They are made when the
/// first mutant gets that far.
pub(super) struct Course {
    source: Packets,
    packets: u64,
    /// What goes in, and what the interpreter makes of it, a few packets each.
    made: Vec<(Batch, Batch)>,
    /// The interpreter after the packets made so far.
    reference: Loaded,
}

impl Course {
    pub(super) fn new(
        bench: &Bench<'_>,
        verified: &Verified,
        seed: u64,
        packets: u64,
    ) -> Result<Course, Error> {
        let reference = Side::Interp
            .load(verified, &bench.environment)
            .map_err(|e| Error::environment(e.to_string()))?;
        Ok(Course {
            source: Packets::new(verified.program(), seed),
            packets,
            made: Vec::new(),
            reference,
        })
    }

    /// Number of the first packet on which `mutant` is seen; that behind the last if only the
    /// maps show it.
    pub(super) fn differs(&mut self, mutant: &mut Loaded, verified: &Verified) -> Option<u64> {
        let hook = &verified.program().hook;
        let (mut step, mut first) = (0, 0);
        while first < self.packets {
            if self.made.len() == step {
                let count = (first + 1).min(MOST).min(self.packets - first);
                let before = batch(&mut self.source, first, count);
                let mut after = before.clone();
                self.reference.process(&mut after);
                self.made.push((before, after));
            }
            let (before, expected) = self.made.get(step)?;
            let mut batch = before.clone();
            mutant.process(&mut batch);
            if let Some(index) = first_difference(&batch, expected, hook) {
                return Some(first + index as u64);
            }
            first += before.frames.len() as u64;
            step += 1;
        }
        let maps = &verified.program().maps;
        let differences = mapdiff::compare(maps, mutant.maps(), self.reference.maps());
        (!differences.is_empty()).then_some(self.packets)
    }
}

/// The next `count` packets, numbered from `first`, all on queue 0.
fn batch(source: &mut Packets, first: u64, count: u64) -> Batch {
    let mut batch = Batch::new();
    for number in first..first + count {
        let arrival = Arrival {
            number,
            arrival_ns: 1_700_000_000_000_000_000 + number * 1000,
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
