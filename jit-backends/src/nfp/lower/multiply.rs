//! Products: the machine multiplies in steps, 16 by 16 or 32 by 32 bits.

use isa::ebpf::{Operand as Source, Reg, Width};
use isa::nfp::Operand::{A, B, Both};
use isa::nfp::abi::ATOMIC_TEMPORARY;
use isa::nfp::{AluOp, Insn, MulSize, MulStep, Operand, Sources};

use super::{IMM_A, IMM_B, Lowering, high, low};

impl Lowering<'_> {
    pub(super) fn multiply(&mut self, pc: usize, width: Width, dst: Reg, src: Source) {
        let operands = self.plan.operands(pc, dst, src);
        let most = operands.dst.1.max(operands.src.1);
        let too_wide = most > u64::from(u32::MAX) || src_is_negative(src);
        if width == Width::W64 && too_wide && !self.plan.exact {
            self.multiply64(dst, src);
            return;
        }
        let operand = match src {
            Source::Reg(src) => B(low(src)),
            Source::Imm(imm) => self.e.constant(imm as u32, IMM_B),
        };
        let factor = A(low(dst));
        if most <= 0xffff {
            self.steps(MulSize::M16x16, 2, factor, operand);
            self.last(MulSize::M16x16, false, Both(low(dst)));
            return;
        }
        match width {
            Width::W64 => {
                let halves = (Some(Both(high(dst))), Some(Both(low(dst))));
                self.product32(halves.0, halves.1, factor, operand);
            }
            Width::W32 => {
                self.product32(None, Some(Both(low(dst))), factor, operand);
                self.e.load(Both(high(dst)), 0);
            }
        }
    }

    /// All 64 bits of both operands. The driver's check lets no path here that the kernel
    /// follows; what the kernel prunes can still be wider.
    fn multiply64(&mut self, dst: Reg, src: Source) {
        self.e
            .note("64 by 64 bits: a path that the kernel prunes brings more than 32");
        let upper = Both(ATOMIC_TEMPORARY);
        match src {
            Source::Reg(src) => {
                self.product32(None, Some(upper), A(high(dst)), B(low(src)));
                self.product32(None, Some(IMM_A), A(low(dst)), B(high(src)));
                self.e.alu(upper, IMM_A, AluOp::Add, B(ATOMIC_TEMPORARY));
                self.product32(
                    Some(Both(high(dst))),
                    Some(Both(low(dst))),
                    A(low(dst)),
                    B(low(src)),
                );
            }
            Source::Imm(imm) => {
                let factor = self.e.constant(imm as u32, IMM_B);
                self.product32(None, Some(upper), A(high(dst)), factor);
                if imm < 0 {
                    // The upper half of the immediate is -1.
                    self.e
                        .alu(upper, A(ATOMIC_TEMPORARY), AluOp::Sub, B(low(dst)));
                }
                self.product32(
                    Some(Both(high(dst))),
                    Some(Both(low(dst))),
                    A(low(dst)),
                    factor,
                );
            }
        }
        self.e.alu(
            Both(high(dst)),
            A(high(dst)),
            AluOp::Add,
            B(ATOMIC_TEMPORARY),
        );
    }

    /// `left` by `right`, 32 bits each; a half that is `None` is not wanted. With no half, the
    /// steps are left out that would deliver it, but for the low half, which comes first.
    pub(super) fn product32(
        &mut self,
        high: Option<Operand>,
        low: Option<Operand>,
        left: Operand,
        right: Operand,
    ) {
        self.steps(MulSize::M32x32, 4, left, right);
        self.last(MulSize::M32x32, false, low.unwrap_or(Operand::None));
        if let Some(high) = high {
            self.last(MulSize::M32x32, true, high);
        }
    }

    fn steps(&mut self, size: MulSize, count: u8, left: Operand, right: Operand) {
        self.step_of(MulSize::Start, 1, left, right);
        for step in 1..=count {
            self.step_of(size, step, left, right);
        }
    }

    fn step_of(&mut self, size: MulSize, step: u8, left: Operand, right: Operand) {
        // The operands come from different banks, or one from the word itself.
        let src = Sources::new(left, right).unwrap_or(Sources {
            a: left,
            b: right,
            swap: false,
        });
        self.e.insn(Insn::Mul {
            size,
            step: MulStep::Step(step),
            src,
        });
    }

    fn last(&mut self, size: MulSize, high: bool, dst: Operand) {
        self.e.insn(Insn::MulLast { size, high, dst });
    }
}

fn src_is_negative(src: Source) -> bool {
    matches!(src, Source::Imm(imm) if imm < 0)
}
