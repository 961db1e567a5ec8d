//! Leading copies of the context pointer, which nothing needs: accesses to the context ignore
//! their base.

use isa::ebpf::{AluOp, Insn, Operand, Reg, Width};

use crate::nfp::plan::Plan;

pub(super) fn run(plan: &mut Plan<'_>) {
    for step in plan.steps.iter_mut().filter(|step| step.is_live()) {
        let Insn::Alu {
            op,
            width: Width::W64,
            dst,
            src: Operand::Reg(src),
        } = step.insn
        else {
            return;
        };
        match op {
            AluOp::Xor if dst == src => {}
            AluOp::Mov if (dst, src) == (Reg::R6, Reg::R1) => {
                step.removed = Some("the context pointer is not used");
            }
            _ => return,
        }
    }
}
