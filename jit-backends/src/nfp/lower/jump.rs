//! Jumps. Every branch of one eBPF jump goes to the same place, and the last word is a branch.

use isa::ebpf::{Cond, Insn, Operand as Source, Reg, Width};
use isa::nfp::Operand::{A, B};
use isa::nfp::{AluOp, Condition, Operand};

use super::{IMM_A, IMM_B, Lowering, high, low};
use crate::nfp::emit::Target;

/// How a comparison is made: a subtraction and a branch on its condition codes.
struct Comparison {
    condition: Condition,
    /// The second operand minus the first.
    swapped: bool,
}

/// The comparison of a condition; `None` for those that are no order.
fn comparison(cond: Cond) -> Option<Comparison> {
    let (condition, swapped) = match cond {
        Cond::Gt => (Condition::CarryClear, true),
        Cond::Ge => (Condition::CarrySet, false),
        Cond::Lt => (Condition::CarryClear, false),
        Cond::Le => (Condition::CarrySet, true),
        Cond::Sgt => (Condition::Less, true),
        Cond::Sge => (Condition::GreaterEqual, false),
        Cond::Slt => (Condition::Less, false),
        Cond::Sle => (Condition::GreaterEqual, true),
        Cond::Eq | Cond::Ne | Cond::Set => return None,
    };
    Some(Comparison { condition, swapped })
}

/// A branch of the program that is being translated.
struct Branch {
    target: Target,
    wide: bool,
    dst: Reg,
}

impl Lowering<'_> {
    pub(super) fn jump(&mut self, pc: usize) {
        let step = &self.plan.steps[pc];
        let target = step.insn.jump_target(pc).unwrap_or(0);
        let target = Target::Pc(usize::try_from(target).unwrap_or(0));
        let Insn::Branch {
            cond,
            width,
            dst,
            src,
            ..
        } = step.insn
        else {
            self.e.br(Condition::Always, 0, target);
            return;
        };
        let branch = Branch {
            target,
            wide: width == Width::W64,
            dst,
        };
        match (comparison(cond), src) {
            (Some(comparison), Source::Reg(src)) => self.compare(&branch, &comparison, src),
            (Some(comparison), Source::Imm(imm)) => {
                self.compare_constant(&branch, &comparison, imm, step.negated);
            }
            (None, Source::Reg(src)) => self.bits(&branch, cond, src),
            (None, Source::Imm(imm)) => self.bits_constant(&branch, cond, imm),
        }
        debug_assert!(self.e.ends_in_branch());
    }

    fn compare(&mut self, branch: &Branch, comparison: &Comparison, src: Reg) {
        let (left, right) = if comparison.swapped {
            (src, branch.dst)
        } else {
            (branch.dst, src)
        };
        self.e.test(A(low(left)), AluOp::Sub, B(low(right)));
        if branch.wide {
            self.e.test(A(high(left)), AluOp::SubCarry, B(high(right)));
        }
        self.e.br(comparison.condition, 0, branch.target);
    }

    /// `negated`: the immediate is minus the number that is compared with.
    fn compare_constant(
        &mut self,
        branch: &Branch,
        comparison: &Comparison,
        imm: i32,
        negated: bool,
    ) {
        if imm == i32::MIN && !comparison.swapped && branch.wide && !self.plan.exact {
            self.e.note("the driver takes the immediate for +2^31");
        }
        let (lower, upper) = if negated {
            (AluOp::Add, AluOp::AddCarry)
        } else {
            (AluOp::Sub, AluOp::SubCarry)
        };
        let halves = [
            (low(branch.dst), lower, imm as u32),
            (high(branch.dst), upper, (imm >> 31) as u32),
        ];
        for (gpr, op, value) in halves.into_iter().take(1 + usize::from(branch.wide)) {
            let constant = self.e.constant(value, IMM_B);
            if comparison.swapped {
                self.e.test(constant, op, A(gpr));
            } else {
                self.e.test(A(gpr), op, constant);
            }
        }
        self.e.br(comparison.condition, 0, branch.target);
    }

    fn bits(&mut self, branch: &Branch, cond: Cond, src: Reg) {
        let dst = branch.dst;
        if cond == Cond::Eq {
            self.e.alu(IMM_A, A(low(dst)), AluOp::Xor, B(low(src)));
            if branch.wide {
                self.e.alu(IMM_B, A(high(dst)), AluOp::Xor, B(high(src)));
                self.e.test(IMM_A, AluOp::Or, IMM_B);
            }
            self.e.br(Condition::Equal, 0, branch.target);
            return;
        }
        let op = if cond == Cond::Set {
            AluOp::And
        } else {
            AluOp::Xor
        };
        self.e.test(A(low(dst)), op, B(low(src)));
        self.e.br(Condition::NotEqual, 0, branch.target);
        if branch.wide {
            self.e.test(A(high(dst)), op, B(high(src)));
            self.e.br(Condition::NotEqual, 0, branch.target);
        }
    }

    fn bits_constant(&mut self, branch: &Branch, cond: Cond, imm: i32) {
        let (lo, hi) = (low(branch.dst), high(branch.dst));
        let (lower, upper) = (imm as u32, (imm >> 31) as u32);
        match cond {
            Cond::Eq if branch.wide => {
                let one = self.difference(A(lo), lower, IMM_A);
                let other = match upper {
                    0 => B(hi),
                    _ => self.difference(A(hi), upper, IMM_B),
                };
                self.e.test(one, AluOp::Or, other);
                self.e.br(Condition::Equal, 0, branch.target);
            }
            Cond::Eq => {
                let constant = self.e.constant(lower, IMM_B);
                self.e.test(A(lo), AluOp::Xor, constant);
                self.e.br(Condition::Equal, 0, branch.target);
            }
            Cond::Set => {
                let constant = self.e.constant(lower, IMM_B);
                self.e.alu(IMM_B, A(lo), AluOp::And, constant);
                if branch.wide && upper != 0 {
                    self.e.test(A(hi), AluOp::Or, IMM_B);
                }
                self.e.br(Condition::NotEqual, 0, branch.target);
            }
            _ if imm == 0 => {
                if branch.wide {
                    self.e.test(A(lo), AluOp::Or, B(hi));
                } else {
                    self.e.mov(Operand::None, B(lo));
                }
                self.e.br(Condition::NotEqual, 0, branch.target);
            }
            _ => {
                let halves = [(lo, lower), (hi, upper)];
                for (gpr, value) in halves.into_iter().take(1 + usize::from(branch.wide)) {
                    let constant = self.e.constant(value, IMM_B);
                    self.e.test(A(gpr), AluOp::Xor, constant);
                    self.e.br(Condition::NotEqual, 0, branch.target);
                }
            }
        }
    }

    /// Where a half differs from a constant: in `dst`, or in the half itself where that is 0.
    fn difference(&mut self, half: Operand, value: u32, dst: Operand) -> Operand {
        if value == 0 {
            return half;
        }
        let constant = self.e.constant(value, IMM_B);
        self.e.alu(dst, half, AluOp::Xor, constant);
        dst
    }
}
