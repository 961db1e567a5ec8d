//! What is known of each instruction: the verifier's facts, in the questions that lowering asks.

use bpf::Hook;
use isa::ebpf::{Insn, Operand, Reg, Width};
use verifier::Verified;
use verifier::facts::{Facts, RegKind, Region, Ways};

use super::context::ContextFlow;

/// What an access touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touches {
    /// Memory, at the address in the register.
    Memory,
    /// The context, at this byte offset.
    Context(i64),
    /// The context, at an offset that is not one constant.
    ContextSomewhere,
}

/// Answers from facts, or, where the verifier gave none at all, the careful answer.
pub(super) struct Known<'a> {
    verified: &'a Verified,
    /// Context pointers, found without facts; `None` where facts tell.
    flow: Option<ContextFlow>,
}

impl<'a> Known<'a> {
    pub(super) fn new(verified: &'a Verified) -> Known<'a> {
        let program = verified.program();
        let missing = !(0..program.insns.len()).any(|pc| verified.facts(pc).reachable);
        Known {
            verified,
            flow: missing.then(|| ContextFlow::new(program)),
        }
    }

    fn facts(&self, pc: usize) -> Option<&'a Facts> {
        self.flow.is_none().then(|| self.verified.facts(pc))
    }

    /// Whether any path reaches `pc`.
    pub(super) fn reachable(&self, pc: usize) -> bool {
        match self.facts(pc) {
            Some(facts) => facts.reachable,
            None => !matches!(self.verified.program().insns[pc], Insn::WideTail),
        }
    }

    /// Which ways the branch at `pc` can go.
    pub(super) fn ways(&self, pc: usize) -> Ways {
        self.facts(pc).and_then(|f| f.branch).unwrap_or(Ways {
            taken: true,
            fall_through: true,
        })
    }

    /// What the access at `pc` has to do with the context.
    pub(super) fn touches(&self, pc: usize, base: Reg, offset: i16) -> Touches {
        if matches!(self.verified.program().hook, Hook::Raw { .. }) {
            return Touches::Memory;
        }
        let at_base = |context: bool| {
            if context {
                Touches::Context(i64::from(offset))
            } else {
                Touches::Memory
            }
        };
        if let Some(flow) = &self.flow {
            return at_base(flow.holds_context(pc, base));
        }
        let facts = self.verified.facts(pc);
        match facts.access {
            Some(access) if access.region == Region::Ctx && access.min == access.max => {
                Touches::Context(access.min)
            }
            Some(access) if access.region == Region::Ctx => Touches::ContextSomewhere,
            Some(_) => Touches::Memory,
            None => at_base(facts.registers[base.index()].kind == RegKind::Ctx),
        }
    }

    /// The map that the call at `pc` is given, if it is the same on all paths.
    pub(super) fn call_map(&self, pc: usize) -> Option<usize> {
        self.facts(pc)?.call.as_ref()?.map
    }

    /// The key that the call at `pc` is given, if it is a constant.
    pub(super) fn constant_key(&self, pc: usize) -> Option<u64> {
        self.facts(pc)?.call.as_ref()?.constant_key
    }

    /// Whether the operand at `pc` can be zero at this width.
    pub(super) fn may_be_zero(&self, pc: usize, operand: Operand, width: Width) -> bool {
        match operand {
            Operand::Imm(imm) => imm == 0,
            Operand::Reg(reg) => self.facts(pc).is_none_or(|facts| {
                let fact = facts.registers[reg.index()];
                fact.kind != RegKind::Scalar
                    || match width {
                        Width::W32 => fact.range.u32_min == 0,
                        Width::W64 => fact.range.umin == 0,
                    }
            }),
        }
    }
}
