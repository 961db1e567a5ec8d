//! Pairs of packets that are worth exploring.

use std::collections::{BTreeSet, VecDeque};

use bpf::run::Batch;
use bpf::trace::{Moment, Observer};
use cpu_reference::Reference;

use super::{MOST_PAIRS, Packet, WINDOW};
use crate::replay::access::{Access, Points};

/// Collects the accesses of one packet.
struct Collector<'a> {
    points: &'a Points,
    accesses: Vec<Access>,
}

impl Observer for Collector<'_> {
    fn before(&mut self, moment: &dyn Moment) {
        self.accesses.extend(self.points.at(moment));
    }
}

/// A batch with one packet.
pub(super) fn batch(packet: &Packet) -> Batch {
    let mut batch = Batch::new();
    let (head, tail) = packet.room;
    batch.push(packet.arrival, &packet.bytes, head, tail);
    batch
}

/// Processes a packet alone and gives its accesses to shared maps.
pub(super) fn process(points: &Points, reference: &dyn Reference, packet: &Packet) -> Vec<Access> {
    let mut collector = Collector {
        points,
        accesses: Vec::new(),
    };
    reference.runner().trace(&mut batch(packet), &mut collector);
    collector.accesses
}

/// Which instructions a packet uses shared maps with.
type Signature = Vec<(u32, usize)>;

/// Indices of the pairs to explore, ascending by the first packet, and how many more there were.
/// A pair is of different queues, meets in a part of a map that one of them writes, and makes
/// other accesses than every pair before it.
pub(super) fn choose(
    points: &Points,
    reference: &dyn Reference,
    packets: &[Packet],
) -> (Vec<(usize, usize)>, usize) {
    let mut window: VecDeque<(usize, Vec<Access>)> = VecDeque::with_capacity(WINDOW);
    let mut seen: BTreeSet<(Signature, Signature)> = BTreeSet::new();
    let mut pairs = Vec::new();
    let signature =
        |accesses: &[Access]| -> Signature { accesses.iter().map(|a| (a.program, a.pc)).collect() };
    for (index, packet) in packets.iter().enumerate() {
        let accesses = process(points, reference, packet);
        if accesses.is_empty() {
            continue;
        }
        for (earlier, others) in &window {
            let apart = packets[*earlier].arrival.queue != packet.arrival.queue;
            let meets = || {
                let mut all = accesses.iter();
                all.any(|a| others.iter().any(|b| a.conflicts(b)))
            };
            if apart && meets() && seen.insert((signature(others), signature(&accesses))) {
                pairs.push((*earlier, index));
            }
        }
        if window.len() == WINDOW {
            window.pop_front();
        }
        window.push_back((index, accesses));
    }
    let left_out = pairs.len().saturating_sub(MOST_PAIRS);
    pairs.truncate(MOST_PAIRS);
    pairs.sort_unstable();
    (pairs, left_out)
}
