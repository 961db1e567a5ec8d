//! What a program uses of a NIC.

use std::collections::BTreeSet;

use isa::ebpf::Insn;
use serde::Serialize;
use verifier::Verified;

use crate::check::{deepest_stack, flow_loops, maps_sizes, maps_used, packet_reach, reachable};

/// What a program uses of a NIC, counted before translation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Slots of the linked program.
    pub insns: usize,
    /// Instructions that a path reaches.
    pub reachable_insns: usize,
    /// Stack over the deepest chain of calls, in bytes; frames are not rounded up.
    pub stack_bytes: u64,
    /// Functions in the deepest chain of calls.
    pub call_depth: u32,
    /// Instructions that close a loop.
    pub loops: usize,
    /// Maps that the code refers to.
    pub maps: usize,
    /// Entries of these maps.
    pub map_entries: u64,
    /// Keys and values of these maps, in bytes, all entries counted.
    pub map_bytes: u64,
    /// Names of the helpers it calls, sorted.
    pub helpers: Vec<String>,
    /// Mnemonics of the instructions it executes, sorted.
    pub opcodes: Vec<&'static str>,
    /// Bytes of a frame, from its first, that it can touch directly; 0 if none.
    pub packet_bytes: u64,
}

/// What a program uses.
pub fn usage(program: &Verified) -> Usage {
    let mut usage = Usage {
        insns: program.program().insns.len(),
        stack_bytes: deepest_stack(program, 1).0,
        call_depth: program.stats().call_depth,
        loops: flow_loops(program),
        ..Usage::default()
    };
    let mut helpers = BTreeSet::new();
    let mut opcodes = BTreeSet::new();
    for (_, insn, facts) in reachable(program) {
        usage.reachable_insns += 1;
        opcodes.insert(insn.row().mnemonic());
        if let Insn::Call(target) = insn
            && let Some(id) = bpf::kfunc::callee(*target)
        {
            let name = bpf::helper::name(id);
            helpers.insert(name.map_or_else(|| format!("helper {id}"), str::to_owned));
        }
        let reach = packet_reach(insn, facts).unwrap_or(0);
        usage.packet_bytes = usage.packet_bytes.max(reach);
    }
    usage.helpers = helpers.into_iter().collect();
    usage.opcodes = opcodes.into_iter().collect();
    let maps = maps_used(program);
    usage.maps = maps.len();
    let defs = &program.program().maps;
    (usage.map_entries, usage.map_bytes) =
        maps_sizes(maps.iter().filter_map(|(map, _)| defs.get(*map)));
    usage
}
