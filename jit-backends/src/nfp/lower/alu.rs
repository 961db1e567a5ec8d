//! Arithmetic and logic, moves and byte swaps; shifts, products and quotients have files of
//! their own.

use isa::ebpf::{AluOp as Op, Operand as Source, Reg, Width};
use isa::nfp::Operand::{A, B, Both, Imm};
use isa::nfp::{AluOp, Operand, Shift};

use super::{FRAME, IMM_A, IMM_B, Lowering, Outcome, accepted_but_wrong, high, low, untranslated};
use crate::nfp::plan::Function;

impl Lowering<'_> {
    pub(super) fn alu(
        &mut self,
        pc: usize,
        op: Op,
        width: Width,
        dst: Reg,
        src: Source,
        function: &Function,
    ) -> Outcome {
        match op {
            Op::Mov => {
                self.mov(width, dst, src, function);
                return Ok(());
            }
            Op::Add => self.carried(width, dst, AluOp::Add, AluOp::AddCarry, src),
            Op::Sub => self.carried(width, dst, AluOp::Sub, AluOp::SubCarry, src),
            Op::And => self.logic(width, dst, AluOp::And, src),
            Op::Or => self.logic(width, dst, AluOp::Or, src),
            Op::Xor => self.logic(width, dst, AluOp::Xor, src),
            Op::Mul => {
                self.multiply(pc, width, dst, src);
                return Ok(());
            }
            Op::Div => return self.divide(pc, width, dst, src),
            Op::Lsh | Op::Rsh | Op::Arsh => {
                self.shift(pc, op, width, dst, src);
                return Ok(());
            }
            Op::Sdiv => {
                return Err(accepted_but_wrong(
                    "a signed division is translated as an unsigned one",
                    "the driver does not look at the field that tells the two apart",
                    "compile with -mcpu=v3",
                ));
            }
            Op::Mod | Op::Smod => return Err(untranslated("a remainder")),
        }
        if width == Width::W32 {
            self.zext(pc, dst);
        }
        Ok(())
    }

    fn mov(&mut self, width: Width, dst: Reg, src: Source, function: &Function) {
        match (src, width) {
            (Source::Reg(Reg::R10), _) => {
                let distance = self.e.constant(function.pointer(), IMM_B);
                self.e.alu(Both(low(dst)), FRAME, AluOp::Add, distance);
                self.e.load(Both(high(dst)), 0);
            }
            (Source::Reg(src), Width::W64) => {
                self.e.mov(Both(low(dst)), B(low(src)));
                self.e.mov(Both(high(dst)), B(high(src)));
            }
            (Source::Reg(src), Width::W32) => {
                self.e.mov(Both(low(dst)), B(low(src)));
                self.e.load(Both(high(dst)), 0);
            }
            (Source::Imm(imm), width) => {
                self.e.load(Both(low(dst)), imm as u32);
                let sign = if width == Width::W64 { imm >> 31 } else { 0 };
                self.e.load(Both(high(dst)), sign as u32);
            }
        }
    }

    /// Addition and subtraction: the upper half with the carry of the lower one. What loads the
    /// upper constant stands between the two and leaves the carry alone.
    fn carried(&mut self, width: Width, dst: Reg, lower: AluOp, upper: AluOp, src: Source) {
        if let Source::Imm(i32::MIN) = src
            && width == Width::W64
            && !self.plan.exact
        {
            self.e.note("the driver takes the immediate for +2^31");
        }
        let right = match src {
            Source::Reg(src) => B(low(src)),
            Source::Imm(imm) => self.e.constant(imm as u32, IMM_B),
        };
        self.e.alu(Both(low(dst)), A(low(dst)), lower, right);
        if width == Width::W64 {
            let right = match src {
                Source::Reg(src) => B(high(src)),
                Source::Imm(imm) => self.e.constant((imm >> 31) as u32, IMM_B),
            };
            self.e.alu(Both(high(dst)), A(high(dst)), upper, right);
        }
    }

    fn logic(&mut self, width: Width, dst: Reg, op: AluOp, src: Source) {
        let half = |lowering: &mut Self, gpr: u8, src: Source, upper: bool| match src {
            Source::Reg(src) => {
                let right = if upper { high(src) } else { low(src) };
                lowering.e.alu(Both(gpr), A(gpr), op, B(right));
            }
            Source::Imm(imm) => {
                let value = if upper { imm >> 31 } else { imm };
                lowering.logic_constant(gpr, op, value as u32);
            }
        };
        half(self, low(dst), src, false);
        if width == Width::W64 {
            half(self, high(dst), src, true);
        }
    }

    fn logic_constant(&mut self, gpr: u8, op: AluOp, value: u32) {
        match (op, value) {
            (AluOp::And, 0) | (AluOp::Or, u32::MAX) => self.e.load(Both(gpr), value),
            (AluOp::And, u32::MAX) | (AluOp::Or | AluOp::Xor, 0) => {}
            (AluOp::Xor, u32::MAX) => {
                self.e.alu(Both(gpr), Operand::None, AluOp::Not, B(gpr));
            }
            _ => {
                let right = self.e.constant(value, IMM_B);
                self.e.alu(Both(gpr), A(gpr), op, right);
            }
        }
    }

    pub(super) fn negate(&mut self, pc: usize, width: Width, dst: Reg) {
        self.e.alu(Both(low(dst)), Imm(0), AluOp::Sub, B(low(dst)));
        match width {
            Width::W64 => {
                self.e
                    .alu(Both(high(dst)), Imm(0), AluOp::SubCarry, B(high(dst)));
            }
            Width::W32 => self.zext(pc, dst),
        }
    }

    /// To big-endian.
    pub(super) fn swap(&mut self, bits: u8, dst: Reg) {
        let (lo, hi) = (low(dst), high(dst));
        match bits {
            16 => {
                self.e.field(Both(lo), 0b1001, B(lo), Shift::Rotate(8));
                self.e.field(Both(lo), 0b1110, A(lo), Shift::Right(16));
                self.e.load(Both(hi), 0);
            }
            32 => {
                self.swap32(lo, A(lo));
                self.e.load(Both(hi), 0);
            }
            _ => {
                self.e.mov(IMM_A, B(hi));
                self.swap32(hi, A(lo));
                self.swap32(lo, IMM_A);
            }
        }
    }

    fn swap32(&mut self, dst: u8, src: Operand) {
        self.e.field(Both(dst), 0b1111, src, Shift::Rotate(8));
        self.e.field(Both(dst), 0b0101, A(dst), Shift::Rotate(16));
    }
}
