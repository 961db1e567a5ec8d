//! Shifts: by a number, and by the lower half of a register.
//!
//! An indirect shift takes its amount from the A operand of the ALU instruction before it; an
//! arithmetic one its sign from that instruction's result.

use isa::ebpf::{AluOp as Op, Operand as Source, Reg, Width};
use isa::nfp::Operand::{A, B, Both, Imm};
use isa::nfp::abi::ATOMIC_TEMPORARY;
use isa::nfp::{AluOp, Condition, Operand, ShfOp, Shift};

use super::{IMM, IMM_A, Lowering, high, low};
use crate::nfp::emit::Target;

/// How far a shift by a register can go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Below32,
    From32,
    Either,
}

impl Lowering<'_> {
    pub(super) fn shift(&mut self, pc: usize, op: Op, width: Width, dst: Reg, src: Source) {
        let amount = match src {
            Source::Imm(imm) => Some(imm as u8),
            Source::Reg(_) => {
                let (least, most) = self.plan.operands(pc, dst, src).src;
                (least == most).then_some(least as u8)
            }
        };
        match (amount, src, width) {
            (Some(n), _, Width::W64) => self.shift64_by(op, dst, n & 63),
            (Some(n), _, Width::W32) => self.shift32_by(op, dst, n & 31),
            (None, Source::Reg(src), Width::W64) => self.shift64_variable(pc, op, dst, src),
            (None, Source::Reg(src), Width::W32) => self.shift32_variable(pc, op, dst, src),
            (None, Source::Imm(_), _) => {}
        }
        if width == Width::W32 {
            self.zext(pc, dst);
        }
    }

    fn ashr(&mut self, dst: u8, src: u8, shift: Shift) {
        self.e
            .shf(Both(dst), Operand::None, ShfOp::Arithmetic, B(src), shift);
    }

    /// The lower half of the double word shifted right.
    fn funnel(&mut self, dst: Operand, high: Operand, low: Operand, shift: Shift) {
        self.e.shf(dst, high, ShfOp::Right, low, shift);
    }

    fn shift64_by(&mut self, op: Op, dst: Reg, n: u8) {
        let (lo, hi) = (low(dst), high(dst));
        let e = &mut self.e;
        match (op, n) {
            (_, 0) => {}
            (Op::Lsh, 1..=31) => {
                self.funnel(Both(hi), A(hi), B(lo), Shift::Double(32 - n));
                self.e.shift(Both(lo), B(lo), Shift::Left(n));
            }
            (Op::Lsh, 32) => {
                e.mov(Both(hi), B(lo));
                e.load(Both(lo), 0);
            }
            (Op::Lsh, _) => {
                e.shift(Both(hi), B(lo), Shift::Left(n - 32));
                e.load(Both(lo), 0);
            }
            (Op::Rsh, 1..=31) => {
                self.funnel(Both(lo), A(hi), B(lo), Shift::Double(n));
                self.e.shift(Both(hi), B(hi), Shift::Right(n));
            }
            (Op::Rsh, 32) => {
                e.mov(Both(lo), B(hi));
                e.load(Both(hi), 0);
            }
            (Op::Rsh, _) => {
                e.shift(Both(lo), B(hi), Shift::Right(n - 32));
                e.load(Both(hi), 0);
            }
            (_, 1..=31) => {
                self.funnel(Both(lo), A(hi), B(lo), Shift::Double(n));
                self.e.test(A(hi), AluOp::Or, Imm(0));
                self.ashr(hi, hi, Shift::Right(n));
            }
            (_, 32) => {
                e.mov(Both(lo), B(hi));
                self.ashr(hi, hi, Shift::Right(31));
            }
            _ => {
                e.test(A(hi), AluOp::Or, Imm(0));
                self.ashr(lo, hi, Shift::Right(n - 32));
                self.ashr(hi, hi, Shift::Right(31));
            }
        }
    }

    fn shift32_by(&mut self, op: Op, dst: Reg, n: u8) {
        let lo = low(dst);
        match (op, n) {
            (_, 0) => {}
            (Op::Lsh, _) => self.e.shift(Both(lo), B(lo), Shift::Left(n)),
            (Op::Rsh, _) => self.e.shift(Both(lo), B(lo), Shift::Right(n)),
            _ => {
                self.e.test(A(lo), AluOp::Or, Imm(0));
                self.ashr(lo, lo, Shift::Right(n));
            }
        }
    }

    /// The next shift goes as far as a bank A register says.
    fn amount(&mut self, src: Operand) {
        self.e.test(src, AluOp::Or, Imm(0));
    }

    /// Whether the lower half of a register may have its uppermost bit set.
    fn may_have_sign(&self, pc: usize, reg: Reg) -> bool {
        let range = &self.plan.facts(pc).registers[reg.index()].range;
        range.u32_max > i32::MAX as u32
    }

    /// The amount without the bits that an arithmetic shift would take for a sign.
    fn masked_amount(&mut self, src: Reg) -> Operand {
        self.e
            .note("the amount without its upper bits: the driver takes one of them for the sign");
        self.e.alu(IMM_A, A(low(src)), AluOp::And, Imm(63));
        IMM_A
    }

    fn shift32_variable(&mut self, pc: usize, op: Op, dst: Reg, src: Reg) {
        let lo = low(dst);
        match op {
            Op::Lsh => {
                self.amount(A(low(src)));
                self.e.shift(Both(lo), B(lo), Shift::LeftIndirect);
            }
            Op::Rsh => {
                self.amount(A(low(src)));
                self.e.shift(Both(lo), B(lo), Shift::RightIndirect);
            }
            _ => {
                let amount = if self.may_have_sign(pc, src) && !self.plan.exact {
                    self.masked_amount(src)
                } else {
                    A(low(src))
                };
                self.e.test(amount, AluOp::Or, B(lo));
                self.ashr(lo, lo, Shift::RightIndirect);
            }
        }
    }

    fn shift64_variable(&mut self, pc: usize, op: Op, dst: Reg, src: Reg) {
        let (least, most) = self.plan.operands(pc, dst, Source::Reg(src)).src;
        let exact = self.plan.exact;
        let reach = match (least, most) {
            (_, 0..=31) => Reach::Below32,
            (32.., 0..=63) => Reach::From32,
            (32.., _) if exact => Reach::From32,
            _ => Reach::Either,
        };
        let amount = if exact {
            A(low(src))
        } else if op == Op::Arsh && self.may_have_sign(pc, src) {
            self.masked_amount(src)
        } else if src == dst && op != Op::Lsh && reach != Reach::From32 {
            self.e
                .note("the amount is kept: the driver reads it after it is shifted");
            self.e.mov(IMM_A, B(low(src)));
            IMM_A
        } else {
            A(low(src))
        };
        match op {
            Op::Lsh => self.left_variable(dst, src, reach, least == 0 && !exact),
            Op::Rsh => self.right_variable(dst, amount, reach, false),
            _ => self.right_variable(dst, amount, reach, true),
        }
    }

    fn left_variable(&mut self, dst: Reg, src: Reg, reach: Reach, may_be_zero: bool) {
        let (lo, hi) = (low(dst), high(dst));
        let s = low(src);
        // A shift by 0 would take the upper half from 32 - 0 = 32, of which 5 bits are 0.
        let parts = if may_be_zero { 5 } else { 3 };
        if reach == Reach::Either {
            let far = self.e.here() + 1 + parts + 1 + 2;
            self.e.br_bit_set(A(s), 5, Target::Word(far));
        }
        if reach != Reach::From32 {
            if may_be_zero {
                self.e
                    .note("shifted in two steps: by 0 the driver's sequence ruins the upper half");
                let (a, b) = (A(ATOMIC_TEMPORARY), B(ATOMIC_TEMPORARY));
                self.funnel(b, A(hi), B(lo), Shift::Double(1));
                self.e.shift(a, B(hi), Shift::Right(1));
                self.e.alu(IMM_A, Operand::None, AluOp::Not, B(s));
                self.amount(IMM_A);
                self.funnel(Both(hi), a, b, Shift::DoubleIndirect);
            } else {
                self.e.alu(IMM, Imm(32), AluOp::Sub, B(s));
                self.amount(IMM_A);
                self.funnel(Both(hi), A(hi), B(lo), Shift::DoubleIndirect);
            }
            if reach == Reach::Either {
                let end = self.e.here() + 1 + 2 + 3;
                self.e.br(Condition::Always, 2, Target::Word(end));
            }
            self.amount(A(s));
            self.e.shift(Both(lo), B(lo), Shift::LeftIndirect);
        }
        if reach != Reach::Below32 {
            self.amount(A(s));
            self.e.shift(Both(hi), B(lo), Shift::LeftIndirect);
            self.e.load(Both(lo), 0);
        }
    }

    fn right_variable(&mut self, dst: Reg, amount: Operand, reach: Reach, signed: bool) {
        let (lo, hi) = (low(dst), high(dst));
        if reach == Reach::Either {
            let far = self.e.here() + 1 + 2 + 1 + 2;
            self.e.br_bit_set(amount, 5, Target::Word(far));
        }
        if reach != Reach::From32 {
            self.amount(amount);
            self.funnel(Both(lo), A(hi), B(lo), Shift::DoubleIndirect);
            if reach == Reach::Either {
                let end = self.e.here() + 1 + 2 + 3;
                self.e.br(Condition::Always, 2, Target::Word(end));
            }
            if signed {
                self.e.test(amount, AluOp::Or, B(hi));
                self.ashr(hi, hi, Shift::RightIndirect);
            } else {
                self.amount(amount);
                self.e.shift(Both(hi), B(hi), Shift::RightIndirect);
            }
        }
        if reach != Reach::Below32 {
            if signed {
                self.e.test(amount, AluOp::Or, B(hi));
                self.ashr(lo, hi, Shift::RightIndirect);
                self.ashr(hi, hi, Shift::Right(31));
            } else {
                self.amount(amount);
                self.e.shift(Both(lo), B(hi), Shift::RightIndirect);
                self.e.load(Both(hi), 0);
            }
        }
    }
}
