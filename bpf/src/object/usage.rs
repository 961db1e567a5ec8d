//! What a program uses, by its instructions alone: for listings such as `nicbed inspect`. Dead
//! branches count; what is reached is the verifier's to say.

use std::collections::BTreeMap;

use isa::ebpf::{CallTarget, CpuVersion, Group, Insn, Wide};

use crate::program::Program;

/// What a program uses. Numbers count instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Instructions, a 64-bit load counted once.
    pub instructions: usize,
    /// Instructions by conformance group, in the order of the groups.
    pub groups: BTreeMap<Group, usize>,
    /// The lowest CPU version that has all its instructions; `None` for an empty program.
    pub cpu: Option<CpuVersion>,
    /// Helpers called, by id.
    pub helpers: BTreeMap<u32, usize>,
    /// Kernel functions called, by BTF id.
    pub kernel_functions: BTreeMap<i32, usize>,
    /// Maps whose address, or a value of which, is loaded, by index in the program's map list.
    pub maps: BTreeMap<usize, usize>,
    /// Atomic instructions.
    pub atomics: usize,
    /// Jumps and branches that go back: loops, mostly.
    pub backward_jumps: usize,
}

impl Program {
    /// What the program uses, by its instructions alone.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for (pc, insn) in self.insns.iter().enumerate() {
            if matches!(insn, Insn::WideTail) {
                continue;
            }
            let row = insn.row();
            usage.instructions += 1;
            *usage.groups.entry(row.group()).or_default() += 1;
            usage.cpu = usage.cpu.max(Some(row.cpu()));
            match *insn {
                Insn::Call(CallTarget::Helper(id)) => *usage.helpers.entry(id).or_default() += 1,
                Insn::Call(CallTarget::Kfunc { id, .. }) => {
                    *usage.kernel_functions.entry(id).or_default() += 1;
                }
                Insn::LoadWide {
                    value: Wide::Map(map) | Wide::MapValue { map, .. },
                    ..
                } => *usage.maps.entry(map as usize).or_default() += 1,
                Insn::Atomic { .. } | Insn::LoadAcquire { .. } | Insn::StoreRelease { .. } => {
                    usage.atomics += 1;
                }
                _ => {}
            }
            if insn
                .jump_target(pc)
                .is_some_and(|target| target <= pc as i64)
            {
                usage.backward_jumps += 1;
            }
        }
        usage
    }
}
