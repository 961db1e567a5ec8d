//! [`Meeting`]: the first two accesses with which queues meet in a map, in arrival order.
//!
//! There the cores of a real NIC, which run in parallel, would race. Only packets of one chunk can
//! meet: those of different chunks are far apart. The search runs on interp, over a copy of the
//! maps, so that its answer does not depend on threads or on how maps are watched.

use std::collections::BTreeMap;

use bpf::map::MapId;
use bpf::run::Batch;
use bpf::trace::{Moment, Observer};
use cpu_reference::Reference;
use serde_json::{Value, json};
use verifier::Verified;

use super::access::{Access, Cell, Does, Points};
use super::chunk::Chunk;
use super::lanes::Room;

/// Chunks that are searched, from the first on.
pub const MOST_CHUNKS: usize = 4;

/// Bytes of maps that are copied for the search at most.
pub const MOST_COPIED: usize = 16 << 20;

/// Where two queues met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Name of the map.
    pub map: String,
    /// The earlier access, and the one with which the other queue met it.
    pub accesses: [Met; 2],
}

/// One of the accesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Number of the packet.
    pub packet: u64,
    /// Its queue.
    pub queue: u32,
    /// Slot of the instruction.
    pub pc: usize,
    /// Its C line: file and number, if known.
    pub line: Option<(String, u32)>,
    /// What it does.
    pub does: Does,
}

impl Meeting {
    /// One line of text.
    pub fn text(&self) -> String {
        let met = |met: &Met| {
            let line = met.line.as_ref();
            let line = line.map_or_else(String::new, |(file, line)| format!(", {file}:{line}"));
            format!(
                "packet {} (queue {}) {} it at insn {}{line}",
                met.packet,
                met.queue,
                met.does.verb(),
                met.pc
            )
        };
        let [first, second] = &self.accesses;
        format!("map {}: {}, then {}", self.map, met(first), met(second))
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let met = |met: &Met| {
            json!({
                "packet": met.packet,
                "queue": met.queue,
                "pc": met.pc,
                "file": met.line.as_ref().map(|(file, _)| file),
                "line": met.line.as_ref().map(|(_, line)| line),
                "does": met.does.verb(),
            })
        };
        json!({ "map": self.map, "accesses": self.accesses.iter().map(met).collect::<Vec<_>>() })
    }
}

/// An access by a packet of a queue.
type By = (u64, u32, Access);

/// Who has touched what in a chunk.
struct Search<'a> {
    points: &'a Points,
    packet: u64,
    queue: u32,
    /// For each part of a map the accesses to it that differ in queue or kind.
    touched: BTreeMap<(MapId, Cell), Vec<By>>,
    found: Option<[By; 2]>,
}

impl Observer for Search<'_> {
    fn before(&mut self, moment: &dyn Moment) {
        if self.found.is_some() {
            return;
        }
        let Some(access) = self.points.at(moment) else {
            return;
        };
        for cell in parts(&access.cell) {
            let touched = self.touched.entry((access.map, cell)).or_default();
            let now = (self.packet, self.queue, access.clone());
            let other = touched
                .iter()
                .find(|(_, queue, other)| *queue != self.queue && access.conflicts(other));
            if let Some(other) = other {
                self.found = Some([other.clone(), now]);
                return;
            }
            let known = |(_, queue, other): &By| *queue == self.queue && other.does == access.does;
            if !touched.iter().any(known) {
                touched.push(now);
            }
        }
    }
}

/// Bytes one by one, so that accesses of any size meet.
fn parts(cell: &Cell) -> Vec<Cell> {
    match cell {
        Cell::Bytes { at, size } => (0..i64::from(*size))
            .map(|byte| Cell::Bytes {
                at: at + byte,
                size: 1,
            })
            .collect(),
        whole => vec![whole.clone()],
    }
}

/// The first meeting in a chunk. `reference` has maps of its own, as they are before the chunk, and
/// must be able to show its instructions.
pub fn search(
    programs: &[&Verified],
    reference: &dyn Reference,
    chunk: &Chunk,
    room: Room,
) -> Option<Meeting> {
    let points = Points::new(programs);
    let mut search = Search {
        points: &points,
        packet: 0,
        queue: 0,
        touched: BTreeMap::new(),
        found: None,
    };
    let mut runner = reference.runner();
    let mut batch = Batch::new();
    for (arrival, frame) in chunk.iter() {
        (search.packet, search.queue) = (arrival.number, arrival.queue);
        batch.clear();
        batch.push(arrival, frame, room.headroom, room.tail(frame.len()));
        runner.trace(&mut batch, &mut search);
        if search.found.is_some() {
            break;
        }
    }
    let accesses = search.found?;
    let map = accesses[0].2.map;
    let met = |(packet, queue, access): &By| {
        let program = programs.get(access.program as usize).map(|p| p.program());
        let place = program.and_then(|p| p.source.place_at(access.pc));
        Met {
            packet: *packet,
            queue: *queue,
            pc: access.pc,
            line: place.map(|(file, line)| (file.to_owned(), line)),
            does: access.does,
        }
    };
    Some(Meeting {
        map: reference.maps().get(map)?.def().name.clone(),
        accesses: [met(&accesses[0]), met(&accesses[1])],
    })
}
