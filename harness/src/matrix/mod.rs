//! The compatibility matrix: programs × NICs, one cell a verdict with what binds it.
//!
//! [`Matrix`] is data: [`cells`] makes it from programs and NICs on all cores, [`select`] sorts
//! and filters it, [`baseline`] holds it against an earlier one, [`minimal`] asks what a NIC
//! would have to declare, and each of [`table`], [`csv`], [`markdown`], [`sarif`], [`junit`],
//! [`github`] and [`html`] writes it in one form.

pub mod baseline;
pub mod cells;
pub mod csv;
pub mod github;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod minimal;
pub mod sarif;
pub mod select;
pub mod table;

use std::sync::Arc;

use bpf::finding::{Finding, Stage};
use caps::Headroom;

use crate::decide::Verdict;
use crate::pipeline::Assessment;

/// Programs × NICs.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// Names of the NICs, in the order of the columns.
    pub nics: Vec<String>,
    /// One for each program, in the order of the objects.
    pub rows: Vec<Row>,
}

/// A program on every NIC.
#[derive(Clone, Debug)]
pub struct Row {
    /// Object as the user named it.
    pub object: String,
    /// Program name; empty where the object could not be read.
    pub program: String,
    /// `xdp`, `tc` or none where the program has no packet hook.
    pub hook: Option<String>,
    /// One cell for each NIC; empty where there is nothing to check, see [`Row::error`].
    pub cells: Vec<Cell>,
    /// Why there is nothing to check.
    pub error: Option<String>,
    /// What the loader found, where it refused the program.
    pub refused: Vec<Finding>,
}

/// A program on one NIC.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Name of the NIC.
    pub nic: String,
    /// The answer.
    pub verdict: Verdict,
    /// The stage that decided against offloading.
    pub stage: Option<Stage>,
    /// Everything the stages had to say.
    pub findings: Vec<Finding>,
    /// What the program uses of each limit; empty if the verifier rejected it.
    pub rooms: Vec<Headroom>,
    /// How far the program got; none where the loader refused it.
    pub assessment: Option<Arc<Assessment>>,
}

impl Cell {
    /// What decides the cell: the rule of the first error, else the limit with the least room.
    pub fn binding(&self) -> Option<Binding<'_>> {
        if let Some(finding) = self.findings.iter().find(|f| f.is_error()) {
            return Some(Binding::Finding(finding));
        }
        // Of equally tight limits the first, in the order of the profile's tables; a program
        // of one function has nothing to save on frames.
        self.rooms
            .iter()
            .filter(|room| room.key != "calls.frames" || room.used > Some(1))
            .filter_map(|room| Some((room.permille()?, room)))
            .fold(None, |best: Option<(u64, &Headroom)>, next| match best {
                Some(best) if best.0 >= next.0 => Some(best),
                _ => Some(next),
            })
            .filter(|(share, _)| *share > 0)
            .map(|(_, room)| Binding::Room(room))
    }

    /// How many findings are errors.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|f| f.is_error()).count()
    }
}

/// What decides a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding<'a> {
    /// An error.
    Finding(&'a Finding),
    /// The tightest limit.
    Room(&'a Headroom),
}

impl Binding<'_> {
    /// In a few words: `map/type`, or `517/2560 insns`.
    pub fn short(&self) -> String {
        match self {
            Binding::Finding(finding) => finding.rule.clone(),
            Binding::Room(room) => format!(
                "{}/{} {}",
                room.used.unwrap_or(0),
                room.available.unwrap_or(0),
                unit(room)
            ),
        }
    }
}

/// What a limit counts, in a word that stands alone: `stack bytes`, `insns`.
pub fn unit(room: &Headroom) -> String {
    match room.key {
        "stack.bytes" => "stack bytes".to_owned(),
        "map.total_bytes" => "map bytes".to_owned(),
        "map.total_entries" => "map entries".to_owned(),
        "image.length" if room.unit == "bytes" => "image bytes".to_owned(),
        _ => room.unit.to_owned(),
    }
}
