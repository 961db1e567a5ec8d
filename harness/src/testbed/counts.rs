//! What is counted packet by packet.

use std::collections::BTreeMap;

use bpf::finding::{Finding, Stage};
use cpu_reference::Untold;

use crate::fault::Faults;
use crate::replay::device::RanOn;
use crate::replay::lanes::{Processed, Spent, refused};
use crate::replay::meeting::Meeting;
use crate::report::run::{FirstMismatch, NotRun};

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) verdicts: BTreeMap<&'static str, u64>,
    pub(super) not_run: BTreeMap<NotRun, u64>,
    pub(super) compared: u64,
    /// Packets not compared, since the kernel may have evicted elements of an LRU map.
    pub(super) evicted: u64,
    /// Frames that the reference refused, by errno.
    pub(super) refused: BTreeMap<i32, u64>,
    pub(super) mismatched: u64,
    /// What native code was stopped for.
    pub(super) faults: Faults,
    pub(super) first: Option<FirstMismatch>,
    pub(super) cycles: u64,
    pub(super) cycle_packets: u64,
    pub(super) spent: Spent,
    /// Where queues met first, if they did.
    pub(super) meeting: Option<Meeting>,
    /// Chunks that were looked at for that.
    pub(super) looked_at: usize,
    /// Packets that the NIC handed to the host.
    pub(super) punted: u64,
    /// Packets that the host ran after a fallback.
    pub(super) on_host: u64,
    /// The packet before which the program left the NIC first.
    pub(super) fell_back: Option<u64>,
    /// Whether it left because it differed.
    pub(super) quarantined: bool,
}

impl Counts {
    /// Counts a packet; with `evicted` without comparing it.
    pub(super) fn note(&mut self, packet: &Processed<'_>, evicted: bool) {
        *self.verdicts.entry(packet.nic.verdict.name()).or_default() += 1;
        match packet.ran_on {
            RanOn::Nic => {}
            RanOn::Punted => self.punted += 1,
            RanOn::Fallback => self.on_host += 1,
        }
        if let Some(trap) = packet.nic.trap {
            self.faults.note(trap, packet.nic.packet);
        }
        if packet.nic.cost.cycles > 0 {
            self.cycles += packet.nic.cost.cycles;
            self.cycle_packets += 1;
        }
        if evicted {
            self.evicted += 1;
            return;
        }
        match packet.reference.as_ref().map(refused) {
            None => {}
            Some(None) => self.compared += 1,
            Some(Some(errno)) => *self.refused.entry(errno).or_default() += 1,
        }
        if !packet.differences.is_empty() {
            self.mismatched += 1;
            if self.first.is_none() {
                self.first = Some(FirstMismatch {
                    packet: packet.nic.packet,
                    queue: packet.queue,
                    original: packet.original.to_vec(),
                    differences: packet.differences.to_vec(),
                });
            }
        }
    }

    /// The frames that were not compared.
    pub(super) fn untold(&self) -> impl Iterator<Item = Untold> {
        let evicted = (self.evicted > 0).then(|| Untold {
            what: "evicted",
            why: format!(
                "{} packets, since the kernel may have evicted elements of a full LRU map",
                self.evicted
            ),
        });
        self.refused_frames().into_iter().chain(evicted)
    }

    fn refused_frames(&self) -> Option<Untold> {
        let frames: u64 = self.refused.values().sum();
        let errors = self
            .refused
            .keys()
            .map(|e| std::io::Error::from_raw_os_error(*e).to_string());
        (frames > 0).then(|| Untold {
            what: "frames",
            why: format!(
                "the reference ran nothing on {frames} frames ({})",
                errors.collect::<Vec<_>>().join(", ")
            ),
        })
    }

    pub(super) fn add_spent(&mut self, spent: Spent) {
        self.spent.nic += spent.nic;
        self.spent.reference += spent.reference;
    }

    pub(super) fn mismatch_finding(&self) -> Finding {
        let (packet, field) = self
            .first
            .as_ref()
            .map_or((0, "outcome"), |f| (f.packet, f.differences[0].field()));
        Finding::error(
            "behaviour/mismatch",
            Stage::Behaviour,
            field,
            format!(
                "{} of {} packets differ from the reference, first packet {packet} in {field}",
                self.mismatched, self.compared
            ),
        )
        .why("the NIC must do what the CPU does, for every packet")
        .help("the first difference is shown in full; --outcomes FILE writes every outcome")
    }
}
