//! [`DeviceHooks`]: how a vendor's driver extends the verifier, as the kernel's offload core
//! lets it.

use std::sync::Arc;

use bpf::Finding;
use isa::ebpf::Insn;

use crate::Facts;

/// An instruction on a path, and what is known before it there.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// Slot.
    pub pc: usize,
    /// Instruction.
    pub insn: &'a Insn,
    /// What holds on this path before the instruction (not joined).
    pub facts: &'a Facts,
}

/// What is known of a whole program once exploration has ended.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// What the verifier spent, and how deep calls and stack go.
    pub stats: &'a crate::Stats,
    /// Bytes of its stack frame that each function uses, in whole slots of 8, by the order of
    /// the program's functions.
    pub frames: &'a [u32],
    /// First byte behind all that loads, stores and atomics may touch of the packet, from its
    /// start (through a pointer that was moved by a number: by the largest it can be). `None`
    /// if they touch nothing of it.
    pub packet_end: Option<u64>,
}

/// A driver's own checks. Each method returns findings; exploration goes on unless it cannot.
/// They are called in this order: `begin`, `map` for each map, `instruction` while paths are
/// followed, and once the program is safe `branch_hardwired`, `removed`, `finalize`, `attach`, `learned`.
/// The defaults find nothing. Rule ids start with the backend: `nfp/…`.
pub trait DeviceHooks {
    /// Verification of this program begins.
    fn begin(&mut self, program: &Arc<bpf::Program>) {
        let _ = program;
    }

    /// An instruction is visited.
    fn instruction(&mut self, visit: &Visit<'_>) -> Vec<Finding> {
        let _ = visit;
        Vec::new()
    }

    /// Exploration has ended and the program is safe.
    fn finalize(&mut self, summary: &Summary<'_>) -> Vec<Finding> {
        let _ = summary;
        Vec::new()
    }

    /// A branch at `pc` always goes the same way.
    fn branch_hardwired(&mut self, pc: usize, taken: bool) -> Vec<Finding> {
        let _ = (pc, taken);
        Vec::new()
    }

    /// Instructions are removed as unreachable.
    fn removed(&mut self, pcs: std::ops::Range<usize>) -> Vec<Finding> {
        let _ = pcs;
        Vec::new()
    }

    /// A map of the program.
    fn map(&mut self, map: &bpf::map::MapDef) -> Vec<Finding> {
        let _ = map;
        Vec::new()
    }

    /// The program is safe, and is to be attached to a port (ifindex).
    fn attach(&mut self, port: u32) -> Vec<Finding> {
        let _ = port;
        Vec::new()
    }

    /// What the backend's `translate` and `Nic::load` need of what was learned.
    fn learned(&self) -> Vec<u64> {
        Vec::new()
    }
}
