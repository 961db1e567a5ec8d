//! Which fields of the context a program may read: found by following where the context may be.

use std::collections::{BTreeMap, BTreeSet};

use bpf::Program;
use isa::ebpf::{AluOp, CallTarget, Insn, MemSize, Operand, Reg};

/// r0 to r5, which calls clobber.
const CALLER_SAVED: u16 = 0x3f;
/// r1 to r5, which calls pass.
const ARGUMENTS: u16 = 0x3e;

/// Offsets at which the program may load from its context. Never too few.
pub(super) fn context_fields(program: &Program) -> BTreeSet<i16> {
    let mut walk = Walk {
        program,
        before: BTreeMap::new(),
        spilled: BTreeSet::new(),
        work: Vec::new(),
        fields: BTreeSet::new(),
    };
    walk.reach(0, bit(Reg::R1));
    while let Some(pc) = walk.work.pop() {
        walk.step(pc);
    }
    walk.fields
}

/// The registers that may hold the context, as bits, at each pc that can be reached.
struct Walk<'a> {
    program: &'a Program,
    before: BTreeMap<usize, u16>,
    /// Stack slots that may hold it, by function and offset.
    spilled: BTreeSet<(Option<usize>, i16)>,
    work: Vec<usize>,
    fields: BTreeSet<i16>,
}

fn bit(reg: Reg) -> u16 {
    1 << reg.number()
}

impl Walk<'_> {
    fn reach(&mut self, pc: usize, holders: u16) {
        let known = self.before.get(&pc).copied();
        let joined = known.unwrap_or(0) | holders;
        if known != Some(joined) {
            self.before.insert(pc, joined);
            self.work.push(pc);
        }
    }

    fn reach_target(&mut self, target: Option<i64>, holders: u16) {
        if let Some(target) = target.and_then(|t| usize::try_from(t).ok()) {
            self.reach(target, holders);
        }
    }

    fn step(&mut self, pc: usize) {
        let Some(insn) = self.program.insns.get(pc).copied() else {
            return;
        };
        let mut holders = self.before.get(&pc).copied().unwrap_or(0);
        let function = self.program.subprogram_at(pc);
        let holds = |holders: u16, reg: Reg| holders & bit(reg) != 0;
        match insn {
            Insn::Alu { op, dst, src, .. } => {
                let from = matches!(src, Operand::Reg(src) if holds(holders, src));
                let keeps = op != AluOp::Mov && holds(holders, dst);
                holders &= !bit(dst);
                // Arithmetic on the context gives nothing that may be loaded from, but is followed.
                if from || keeps {
                    holders |= bit(dst);
                }
            }
            Insn::Load {
                size,
                dst,
                base,
                offset,
                ..
            }
            | Insn::LoadAcquire {
                size,
                dst,
                base,
                offset,
            } => {
                if holds(holders, base) {
                    self.fields.insert(offset);
                }
                let filled = base == Reg::R10
                    && size == MemSize::DW
                    && self.spilled.contains(&(function, offset));
                holders &= !bit(dst);
                if filled {
                    holders |= bit(dst);
                }
            }
            Insn::Store {
                base: Reg::R10,
                offset,
                src: Operand::Reg(src),
                ..
            } if holds(holders, src) && self.spilled.insert((function, offset)) => {
                // Loads that were passed before must be looked at again.
                self.work.extend(self.before.keys());
            }
            Insn::LoadWide { dst, .. } | Insn::MovSx { dst, .. } => {
                holders &= !bit(dst);
                if let Some(function) = insn.function_target(pc) {
                    // A callback's arguments: the context may be handed on.
                    self.reach_target(Some(function), ARGUMENTS);
                }
            }
            Insn::Call(target) => {
                if let CallTarget::Local { .. } = target {
                    self.reach_target(insn.function_target(pc), holders & ARGUMENTS);
                }
                holders &= !CALLER_SAVED;
            }
            Insn::Exit => return,
            _ => {}
        }
        self.reach_target(insn.jump_target(pc), holders);
        if !matches!(insn, Insn::Jump { .. }) {
            self.reach(pc + insn.slots(), holders);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<i16> {
        let options = bpf::object::LoadOptions::default();
        let set = bpf::object::load("a.bpf", text.as_bytes(), &options).expect("assembly");
        context_fields(&set.programs[0]).into_iter().collect()
    }

    #[test]
    fn only_loads_from_the_context_count() {
        let text = "r6 = r1
            r2 = *(u32 *)(r6 + 0)
            r3 = *(u32 *)(r2 + 16)
            r0 = *(u32 *)(r6 + 12)
            exit";
        assert_eq!(fields(text), [0, 12]);
    }

    #[test]
    fn through_the_stack_functions_and_branches() {
        let text = "*(u64 *)(r10 - 8) = r1
            r1 = 0
            r2 = *(u64 *)(r10 - 8)
            if r1 == 0 goto call
            r2 = r10
            call:
            r1 = r2
            call reads
            exit
            reads:
            r0 = *(u32 *)(r1 + 16)
            exit";
        assert_eq!(fields(text), [16]);
    }
}
