//! What compilers put after legacy packet loads, whose result is 32 bits wide already.

use isa::ebpf::{AluOp, Insn, MemSize, Operand, Reg, Width};

use crate::nfp::plan::Plan;

/// The operation on all of r0 with an immediate.
fn on_r0(insn: &Insn) -> Option<(AluOp, i32)> {
    match *insn {
        Insn::Alu {
            op,
            width: Width::W64,
            dst: Reg::R0,
            src: Operand::Imm(imm),
        } => Some((op, imm)),
        _ => None,
    }
}

/// Whether two shifts leave the lower half alone: left, then right. The driver takes the other
/// order, which leaves 0, for the same.
fn keeps_lower_half(one: Option<(AluOp, i32)>, other: Option<(AluOp, i32)>, exact: bool) -> bool {
    let (left, right) = (Some((AluOp::Lsh, 32)), Some((AluOp::Rsh, 32)));
    (one, other) == (left, right) || exact && (one, other) == (right, left)
}

pub(super) fn run(plan: &mut Plan<'_>) {
    let exact = plan.exact;
    for pc in 0..plan.steps.len() {
        let Some([load, rest @ ..]) = plan.steps.get_mut(pc..) else {
            return;
        };
        let Insn::LoadPacket { size, .. } = load.insn else {
            continue;
        };
        let mask = match size {
            MemSize::B => 0xff,
            MemSize::H => 0xffff,
            MemSize::W | MemSize::DW => -1,
        };
        match rest {
            [next, ..] if !next.target && on_r0(&next.insn) == Some((AluOp::And, mask)) => {
                next.removed = Some("the load leaves no other bits");
            }
            [one, other, ..]
                if size == MemSize::W
                    && !one.target
                    && !other.target
                    && keeps_lower_half(on_r0(&one.insn), on_r0(&other.insn), exact) =>
            {
                for step in [one, other] {
                    step.removed = Some("the load leaves no upper half");
                }
            }
            _ => {}
        }
    }
}
