//! What goes wrong where queues run in parallel: a schedule explorer.
//!
//! A NIC's cores work on several queues at once, so two packets can meet in a map that queues
//! share. The explorer takes pairs of packets of different queues that touch the same part of
//! such a map, one of them writing, and runs both on the reference from the state that all
//! packets before left, under every schedule within its bounds: [`PREEMPTIONS`] switches before
//! an access to a map that both touch, each packet first. It compares each result with those of
//! the two serial schedules (one packet after the other, either first):
//!
//! * `race/lost-update`: a map ends as in neither, and one packet wrote what it had read before
//!   the other wrote it;
//! * `race/state`: a map ends as in neither in another way;
//! * `race/verdict`: a packet's outcome, together with the other's, is that of neither;
//! * `race/order`: an outcome depends on which of the packets comes first as a whole.
//!
//! What is switched between are instructions and helper calls: a helper is one step, as it holds
//! the map's lock, and so is a section between `bpf_spin_lock` and `bpf_spin_unlock`. Packets between the two of a pair are left out of its schedules, as if both
//! had come at the same time. Events are not compared. All of it is deterministic.
//!
//! [`crate::replay::access`] knows the accesses, `pairs` chooses, `schedule` runs two packets,
//! `judge` compares.

mod judge;
mod pairs;
mod schedule;

use bpf::map::MapError;
use bpf::run::Arrival;
use bpf::{Finding, Hook};
use cpu_reference::Reference;
use serde_json::{Value, json};
use verifier::Verified;

use crate::replay::access::Points;
use crate::report::Style;

/// Packets of a capture that are looked at.
pub const MOST_PACKETS: usize = 1 << 16;

/// How far apart in the capture the two packets of a pair may be.
pub const WINDOW: usize = 256;

/// Pairs that are explored; of pairs whose packets make the same accesses only the first.
pub const MOST_PAIRS: usize = 64;

/// Times that a packet is interrupted in a schedule.
pub const PREEMPTIONS: usize = 2;

/// Accesses of a packet before which it is interrupted; later ones are not.
pub const MOST_POINTS: usize = 24;

/// Schedules that are run at most.
pub const MOST_SCHEDULES: u64 = 20_000;

/// A frame of the capture.
#[derive(Clone, Debug)]
pub struct Packet {
    /// How it comes in.
    pub arrival: Arrival,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Bytes of room before and after it.
    pub room: (usize, usize),
}

/// What exploring has come to.
#[derive(Clone, Debug, Default)]
pub struct Races {
    /// Packets looked at.
    pub packets: usize,
    /// Pairs explored.
    pub pairs: usize,
    /// Pairs that would have been, but for [`MOST_PAIRS`].
    pub pairs_left_out: usize,
    /// Schedules run.
    pub schedules: u64,
    /// Whether a bound cut schedules off.
    pub cut: bool,
    /// Names of the maps on which the order between queues can matter.
    pub maps: Vec<String>,
    /// What was found, by rule and place.
    pub findings: Vec<Finding>,
}

/// Explores the schedules of a capture's packets. `reference` holds the programs, with maps as
/// they are before the first packet, and must be able to show its instructions.
///
/// # Errors
/// [`MapError`] if there is no memory for copies of the maps.
pub fn explore(
    programs: &[&Verified],
    hook: &Hook,
    reference: &dyn Reference,
    packets: &[Packet],
) -> Result<Races, MapError> {
    let points = Points::new(programs);
    let mut races = Races {
        packets: packets.len(),
        maps: points
            .shared
            .iter()
            .filter_map(|id| Some(reference.maps().get(*id)?.def().name.clone()))
            .collect(),
        ..Races::default()
    };
    if points.shared.is_empty() {
        return Ok(races);
    }
    let start = reference.maps().snapshot()?;
    let (pairs, left_out) = pairs::choose(&points, reference, packets);
    races.pairs_left_out = left_out;
    reference.maps().copy_from(&start);
    let mut judge = judge::Judge::new(programs, hook, &points, reference)?;
    let mut next = 0;
    for (first, second) in pairs {
        // The packets before the pair, as they came.
        for packet in &packets[next..first] {
            pairs::process(&points, reference, packet);
        }
        next = first;
        races.pairs += 1;
        judge.pair(&packets[first], &packets[second], &mut races);
    }
    races.findings = judge.findings();
    Ok(races)
}

impl Races {
    /// As text; findings apart.
    pub fn to_text(&self, style: Style) -> String {
        if self.maps.is_empty() {
            return format!(
                "{} on no map can the order between queues matter\n",
                style.head("races:")
            );
        }
        let more = match self.pairs_left_out {
            0 => String::new(),
            n => format!(", {n} more pairs left out"),
        };
        let cut = if self.cut { ", cut off at a bound" } else { "" };
        let found = match self.findings.len() {
            0 => style.good("nothing depends on the schedule"),
            n => style.warn(&format!("{n} found")),
        };
        format!(
            "{} {} packets, {} pairs of different queues that meet in {}, {} schedules of at most \
             {PREEMPTIONS} interruptions{more}{cut}: {found}\n",
            style.head("races:"),
            self.packets,
            self.pairs,
            self.maps.join(", "),
            self.schedules,
        )
    }

    /// As JSON, under `races` in the document of a run.
    pub fn to_json(&self) -> Value {
        json!({
            "packets": self.packets,
            "pairs": self.pairs,
            "pairs_left_out": self.pairs_left_out,
            "schedules": self.schedules,
            "preemptions": PREEMPTIONS,
            "cut": self.cut,
            "maps": self.maps,
            "findings": self.findings,
        })
    }
}
