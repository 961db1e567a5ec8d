//! One packet on NIC and reference, instruction by instruction.
//!
//! Both sides are recorded ([`bpf::trace`]) while they process the packet as always, so that a
//! trace changes nothing. [`sites`] says which of an engine's numbers are addresses, `align`
//! puts both runs side by side and finds where they part, `show` makes text and JSON of it.
//!
//! What is compared before each instruction: the registers that some path still reads, as far as
//! the verifier knows what they hold; after a store the bytes stored and their neighbours.

mod align;
mod show;
mod sites;

use std::collections::BTreeSet;
use std::sync::Arc;

use bpf::Program;
use bpf::trace::{MOST_STEPS, Recorder, Site, Step};
use isa::Image;

pub use align::{Differs, Row};
pub use sites::sites;

use crate::compare::Difference;

/// One packet's run on both sides.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The packet.
    pub packet: Traced,
    /// The instructions in order.
    pub rows: Vec<Row>,
    /// Steps of NIC and reference that are not kept, since there are too many.
    pub left_out: [u64; 2],
    /// Why a side has no steps, where that is so: NIC, reference.
    pub silent: [Option<String>; 2],
    /// In which fields the outcomes differ.
    pub differences: Vec<Difference>,
    /// What the programs are, by number.
    pub programs: Vec<Part>,
}

/// A program that takes part.
#[derive(Clone, Debug)]
pub struct Part {
    /// The program.
    pub program: Arc<Program>,
    /// Its image on the NIC.
    pub image: Option<Arc<Image>>,
    /// Name of the backend that made it.
    pub backend: String,
}

/// A side's recorded run, before both are put together.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The steps kept.
    pub steps: Vec<Step>,
    /// How many more there were.
    pub left_out: u64,
    /// Whether the side could show what it did.
    pub shown: bool,
}

impl Recorded {
    /// Records what `run` shows to the observer it is given; it says whether it could show it.
    pub fn of(sites: &Arc<[Vec<Site>]>, run: impl FnOnce(&mut Recorder) -> bool) -> Recorded {
        let mut recorder = Recorder::new(Arc::clone(sites), MOST_STEPS);
        let shown = run(&mut recorder);
        let (steps, left_out) = recorder.finish();
        Recorded {
            steps,
            left_out,
            shown,
        }
    }
}

/// The packet that was traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Its number, from 0 over all captures.
    pub number: u64,
    /// Its queue.
    pub queue: u32,
    /// Bytes of room before it.
    pub headroom: usize,
    /// The frame as it came in.
    pub frame: Vec<u8>,
}

impl Trace {
    /// Puts two recorded runs side by side: the NIC's, the reference's. `programs` are those that
    /// run together, by number.
    pub fn new(packet: Traced, programs: Vec<Part>, [nic, reference]: [Recorded; 2]) -> Trace {
        let coded: BTreeSet<(u32, usize)> = programs
            .iter()
            .zip(0..)
            .flat_map(|(part, number)| {
                let ranges = part.image.iter().flat_map(|image| &image.source_map);
                ranges.filter_map(move |range| Some((number, *range.pcs.first()?)))
            })
            .collect();
        let written = |program: u32, pc: usize| {
            let part = programs.get(program as usize);
            part.and_then(|part| part.program.insns.get(pc))
                .map_or(0, isa::ebpf::Insn::writes)
        };
        let left_out = [nic.left_out, reference.left_out];
        let silent = [
            (nic.shown, "the NIC's engine"),
            (reference.shown, "the reference"),
        ]
        .map(|(shown, side)| (!shown).then(|| format!("{side} cannot show its instructions")));
        Trace {
            packet,
            rows: align::align(&coded, &written, nic.steps, reference.steps),
            left_out,
            silent,
            differences: Vec::new(),
            programs,
        }
    }

    /// Index of the row of the first instruction after which the sides differ, if they do.
    pub fn first(&self) -> Option<usize> {
        self.rows.iter().position(|row| !row.differs.is_empty())
    }
}
