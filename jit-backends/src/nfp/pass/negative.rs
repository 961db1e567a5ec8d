//! Negative immediates become positive ones, which fit an operand: additions become subtractions
//! and the other way round, comparisons are made by an addition.

use isa::ebpf::{AluOp, Cond, Insn, Operand, Width};

use crate::nfp::plan::Plan;

pub(super) fn run(plan: &mut Plan<'_>) {
    let exact = plan.exact;
    for step in &mut plan.steps {
        match &mut step.insn {
            Insn::Alu {
                op: op @ (AluOp::Add | AluOp::Sub),
                width,
                src: Operand::Imm(imm),
                ..
            } if *imm < 0 => {
                // -2^31 has no positive counterpart; in 32 bits it is its own.
                if *imm == i32::MIN && *width == Width::W64 && !exact {
                    continue;
                }
                *op = if *op == AluOp::Add {
                    AluOp::Sub
                } else {
                    AluOp::Add
                };
                *imm = imm.wrapping_neg();
            }
            Insn::Branch {
                cond: Cond::Ge | Cond::Sge | Cond::Lt | Cond::Slt,
                src: Operand::Imm(imm),
                ..
            } if *imm < 0 && (*imm != i32::MIN || exact) => {
                *imm = imm.wrapping_neg();
                step.negated = true;
            }
            _ => {}
        }
    }
}
