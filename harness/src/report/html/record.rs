//! What the page of a run needs of each packet, in memory that does not grow with the capture.

use std::collections::BTreeMap;

use bpf::run::Verdict;

use super::packet;
use super::plot::Series;
use crate::compare::Difference;
use crate::replay::device::RanOn;
use crate::replay::lanes::Processed;

/// Most steps of time; when a capture is longer steps are joined in pairs.
const STEPS: usize = 120;
/// Packets that are shown of those that differ.
const SHOWN: usize = 8;
/// Flows on the host that are counted one by one.
const FLOWS: usize = 4096;

/// A packet on which NIC and reference differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its number, from 0 over all captures.
    pub packet: u64,
    /// Its queue.
    pub queue: u32,
    /// The frame as it came in.
    pub original: Vec<u8>,
    /// As the NIC left it.
    pub nic: Vec<u8>,
    /// As the reference left it.
    pub reference: Vec<u8>,
    /// Every field that differs.
    pub differences: Vec<Difference>,
}

/// Packets of a flow that the host ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnHost {
    /// Packets that the NIC handed up.
    pub punted: u64,
    /// Packets after a fallback.
    pub fallen_back: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    first_ns: u64,
    step_ns: u64,
    /// Packets of each step, by verdict.
    steps: Vec<BTreeMap<Verdict, u64>>,
    /// The first packets that differ.
    pub mismatches: Vec<Mismatch>,
    flows: BTreeMap<String, OnHost>,
    /// Those of flows that are not counted one by one.
    pub other_flows: OnHost,
}

impl Record {
    /// Notes a packet; packets come in arrival order.
    pub fn note(&mut self, packet: &Processed<'_>) {
        self.note_time(packet.arrival_ns, packet.nic.verdict);
        if packet.ran_on != RanOn::Nic {
            let flow = packet::flow(packet.original);
            let counts = if self.flows.len() < FLOWS || self.flows.contains_key(&flow) {
                self.flows.entry(flow).or_default()
            } else {
                &mut self.other_flows
            };
            match packet.ran_on {
                RanOn::Punted => counts.punted += 1,
                RanOn::Nic | RanOn::Fallback => counts.fallen_back += 1,
            }
            counts.bytes += packet.original.len() as u64;
        }
        if !packet.differences.is_empty() && self.mismatches.len() < SHOWN {
            let reference = packet.reference.as_ref();
            self.mismatches.push(Mismatch {
                packet: packet.nic.packet,
                queue: packet.queue,
                original: packet.original.to_vec(),
                nic: packet.nic.frame.to_vec(),
                reference: reference.map_or(&[][..], |r| r.frame).to_vec(),
                differences: packet.differences.to_vec(),
            });
        }
    }

    fn note_time(&mut self, arrival_ns: u64, verdict: Verdict) {
        if self.steps.is_empty() {
            self.first_ns = arrival_ns;
            self.step_ns = 1;
        }
        let since = arrival_ns.saturating_sub(self.first_ns);
        while since / self.step_ns >= STEPS as u64 {
            self.join();
        }
        let step = (since / self.step_ns) as usize;
        if self.steps.len() <= step {
            self.steps.resize(step + 1, BTreeMap::new());
        }
        *self.steps[step].entry(verdict).or_default() += 1;
    }

    /// Makes steps twice as long.
    fn join(&mut self) {
        self.step_ns *= 2;
        let joined = self.steps.chunks(2).map(|pair| {
            let mut sum = BTreeMap::new();
            for (verdict, count) in pair.iter().flatten() {
                *sum.entry(*verdict).or_default() += count;
            }
            sum
        });
        self.steps = joined.collect();
    }

    /// Length of a step in nanoseconds, and packets of each verdict by step.
    pub fn over_time(&self) -> (u64, Vec<Series>) {
        let mut verdicts: Vec<Verdict> =
            self.steps.iter().flat_map(|s| s.keys().copied()).collect();
        verdicts.sort();
        verdicts.dedup();
        let series = verdicts.iter().map(|verdict| Series {
            name: verdict.name(),
            colour: colour(*verdict),
            amounts: self
                .steps
                .iter()
                .map(|step| step.get(verdict).copied().unwrap_or(0))
                .collect(),
        });
        (self.step_ns, series.collect())
    }

    /// Flows that the host ran, most packets first.
    pub fn flows(&self) -> Vec<(&str, OnHost)> {
        let mut flows: Vec<(&str, OnHost)> = self
            .flows
            .iter()
            .map(|(name, n)| (name.as_str(), *n))
            .collect();
        flows.sort_by_key(|(_, n)| std::cmp::Reverse(n.punted + n.fallen_back));
        flows
    }
}

/// What goes on in one colour, what is dropped in another.
const fn colour(verdict: Verdict) -> u8 {
    use bpf::run::{TcAction, XdpAction};
    match verdict {
        Verdict::Xdp(XdpAction::Pass) | Verdict::Tc(TcAction::Ok) => 1,
        Verdict::Xdp(XdpAction::Drop) | Verdict::Tc(TcAction::Shot) => 2,
        Verdict::Xdp(XdpAction::Tx) | Verdict::Tc(TcAction::Unspec | TcAction::Pipe) => 3,
        Verdict::Xdp(XdpAction::Redirect) | Verdict::Tc(TcAction::Redirect) => 4,
        Verdict::Xdp(XdpAction::Aborted)
        | Verdict::Tc(TcAction::Stolen | TcAction::Queued | TcAction::Trap) => 5,
        Verdict::Tc(TcAction::Reclassify | TcAction::Repeat) | Verdict::Raw => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf::run::XdpAction;

    #[test]
    fn steps_are_joined_and_lose_no_packet() {
        let mut record = Record::default();
        for n in 0..10_000u64 {
            let verdict = [XdpAction::Pass, XdpAction::Drop][(n % 4 == 0) as usize];
            record.note_time(5_000 + n * 1_000, Verdict::Xdp(verdict));
        }
        let (step, series) = record.over_time();
        assert!(series[0].amounts.len() <= STEPS && series[0].amounts.len() > STEPS / 2 - 1);
        assert!(step * series[0].amounts.len() as u64 >= 9_999_000);
        let sums: Vec<(&str, u64)> = series
            .iter()
            .map(|s| (s.name, s.amounts.iter().sum()))
            .collect();
        assert_eq!(sums, [("XDP_DROP", 2_500), ("XDP_PASS", 7_500)]);
    }
}
