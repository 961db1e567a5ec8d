//! What is known of each instruction: the verifier's facts, in the questions that lowering asks.

use std::collections::BTreeSet;

use bpf::Hook;
use isa::ebpf::{Operand, Reg, Width};
use verifier::Verified;
use verifier::facts::{RegKind, Region, Ways};

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

/// The verifier's facts.
pub(super) struct Known<'a> {
    verified: &'a Verified,
    stores_into: BTreeSet<usize>,
}

impl<'a> Known<'a> {
    pub(super) fn new(verified: &'a Verified) -> Known<'a> {
        Known {
            verified,
            stores_into: verified.stores_into(),
        }
    }

    /// Whether lookups in this map have to mark what they find while maps are watched.
    pub(super) fn marks(&self, map: usize) -> bool {
        self.stores_into.contains(&map)
    }

    /// Whether any path reaches `pc`.
    pub(super) fn reachable(&self, pc: usize) -> bool {
        self.verified.facts(pc).reachable
    }

    /// Bytes of its frame that the function with this index uses, a multiple of 8.
    pub(super) fn frame_bytes(&self, function: usize) -> i32 {
        self.verified.frame_bytes(function) as i32
    }

    /// Which ways the branch at `pc` can go.
    pub(super) fn ways(&self, pc: usize) -> Ways {
        self.verified.facts(pc).branch.unwrap_or(Ways {
            taken: true,
            fall_through: true,
        })
    }

    /// What the access at `pc` has to do with the context.
    pub(super) fn touches(&self, pc: usize, base: Reg, offset: i16) -> Touches {
        if matches!(self.verified.program().hook, Hook::Raw { .. }) {
            return Touches::Memory;
        }
        let facts = self.verified.facts(pc);
        match facts.access {
            Some(access) if access.region == Region::Ctx && access.min == access.max => {
                Touches::Context(access.min)
            }
            Some(access) if access.region == Region::Ctx => Touches::ContextSomewhere,
            None if facts.registers[base.index()].kind == RegKind::Ctx => {
                Touches::Context(i64::from(offset))
            }
            Some(_) | None => Touches::Memory,
        }
    }

    /// The map that the call at `pc` is given, if it is the same on all paths.
    pub(super) fn call_map(&self, pc: usize) -> Option<usize> {
        self.verified.facts(pc).call.as_ref()?.map
    }

    /// The key that the call at `pc` is given, if it is a constant.
    pub(super) fn constant_key(&self, pc: usize) -> Option<u64> {
        self.verified.facts(pc).call.as_ref()?.constant_key
    }

    /// Whether the operand at `pc` can be zero at this width.
    pub(super) fn may_be_zero(&self, pc: usize, operand: Operand, width: Width) -> bool {
        match operand {
            Operand::Imm(imm) => imm == 0,
            Operand::Reg(reg) => {
                let fact = self.verified.facts(pc).registers[reg.index()];
                fact.kind != RegKind::Scalar
                    || match width {
                        Width::W32 => fact.range.u32_min == 0,
                        Width::W64 => fact.range.umin == 0,
                    }
            }
        }
    }
}
