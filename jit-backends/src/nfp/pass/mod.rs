//! What the driver does to a program before it translates, each pass over all of it, in this
//! order. A removed instruction keeps its step, with the reason.

mod cache;
mod gather;
mod legacy;
mod moves;
mod negative;

use isa::ebpf::Reg;

use super::plan::{Plan, Step};

/// A run of bytes of the packet that one load reads into transfer registers for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// First byte, from the base register.
    pub(super) start: i16,
    /// First byte after it.
    pub(super) end: i16,
    /// Whether this load reads it.
    pub(super) first: bool,
}

/// A run of loads and stores that copies bytes into the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// Base and lowest offset of the source.
    pub(super) from: (Reg, i32),
    /// Whether the source is a map value; else it is the packet.
    pub(super) from_map: bool,
    /// Base and lowest offset of the destination.
    pub(super) to: (Reg, i32),
    /// How many bytes.
    pub(super) bytes: usize,
    /// The program goes from the highest offset down.
    pub(super) descending: bool,
    /// Slots of the program, loads and stores, of which this is the first.
    pub(super) slots: usize,
}

/// Runs all passes.
pub(super) fn run(plan: &mut Plan<'_>) {
    moves::run(plan);
    negative::run(plan);
    legacy::run(plan);
    gather::run(plan);
    cache::run(plan);
}

/// The pcs whose code is that of `pc`, ascending.
pub(super) fn sources(plan: &Plan<'_>, pc: usize) -> Vec<usize> {
    let slots = plan.steps[pc].copy.map_or(1, |copy| copy.slots);
    (pc..pc + slots).collect()
}

impl Step {
    /// Whether it is to be translated.
    pub(super) fn is_live(&self) -> bool {
        self.removed.is_none()
    }
}
