//! Arithmetic, moves and byte swaps. 32-bit instructions clear the upper half by themselves.

use dynasmrt::{DynasmApi, DynasmLabelApi};
use isa::ebpf::{AluOp, Operand, Reg, SwapKind, Width};

use super::super::abi::{Hard, RAX, RCX, RDX};
use super::super::emit::x64;
use super::Lowering;

/// `op dst, src` in the shortest of its forms.
macro_rules! two_operands {
    ($e:expr, $op:ident, $width:expr, $dst:expr, $src:expr) => {{
        let dst = $dst;
        match ($width, $src) {
            (Width::W64, Source::Reg(src)) => x64!($e; $op Rq(dst), Rq(src)),
            (Width::W32, Source::Reg(src)) => x64!($e; $op Rd(dst), Rd(src)),
            (Width::W64, Source::Short(imm)) => x64!($e; $op Rq(dst), BYTE imm),
            (Width::W32, Source::Short(imm)) => x64!($e; $op Rd(dst), BYTE imm),
            (Width::W64, Source::Imm(imm)) => x64!($e; $op Rq(dst), imm),
            (Width::W32, Source::Imm(imm)) => x64!($e; $op Rd(dst), imm),
        }
    }};
}

/// `op dst, amount`, or by the amount in cl.
macro_rules! shift {
    ($self:expr, $op:ident, $width:expr, $dst:expr, $src:expr) => {{
        let dst = $dst;
        let by_register = match $src {
            Operand::Reg(reg) => Some($self.hard(reg)),
            Operand::Imm(_) => None,
        };
        let e = &mut $self.e;
        match (by_register, $src, $width) {
            (Some(amount), _, Width::W64) => {
                x64!(e; mov ecx, Rd(amount));
                x64!(e; $op Rq(dst), cl);
            }
            (Some(amount), _, Width::W32) => {
                x64!(e; mov ecx, Rd(amount));
                x64!(e; $op Rd(dst), cl);
            }
            (None, Operand::Imm(imm), Width::W64) => {
                let amount = (imm & 63) as i8;
                if amount != 0 {
                    x64!(e; $op Rq(dst), BYTE amount);
                }
            }
            (None, Operand::Imm(imm), Width::W32) => {
                let amount = (imm & 31) as i8;
                if amount == 0 {
                    x64!(e; mov Rd(dst), Rd(dst));
                } else {
                    x64!(e; $op Rd(dst), BYTE amount);
                }
            }
            (None, Operand::Reg(_), _) => {}
        }
    }};
}

/// A second operand, immediates by the size they need.
#[derive(Clone, Copy)]
enum Source {
    Reg(Hard),
    Short(i8),
    Imm(i32),
}

/// What a division leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Quotient,
    Remainder,
}

impl Lowering<'_> {
    fn source(&self, operand: Operand) -> Source {
        match operand {
            Operand::Reg(reg) => Source::Reg(self.hard(reg)),
            Operand::Imm(imm) => i8::try_from(imm).map_or(Source::Imm(imm), Source::Short),
        }
    }

    pub(super) fn alu(&mut self, pc: usize, op: AluOp, width: Width, dst: Reg, src: Operand) {
        let d = self.hard(dst);
        let source = self.source(src);
        match op {
            AluOp::Add => two_operands!(&mut self.e, add, width, d, source),
            AluOp::Sub => two_operands!(&mut self.e, sub, width, d, source),
            AluOp::Or => two_operands!(&mut self.e, or, width, d, source),
            AluOp::And => two_operands!(&mut self.e, and, width, d, source),
            AluOp::Xor => two_operands!(&mut self.e, xor, width, d, source),
            AluOp::Mul => self.multiply(width, d, source),
            AluOp::Mov => self.mov(pc, width, dst, src),
            AluOp::Lsh => {
                self.note_null_shift(pc, width, src);
                shift!(self, shl, width, d, src);
            }
            AluOp::Rsh => {
                self.note_null_shift(pc, width, src);
                shift!(self, shr, width, d, src);
            }
            AluOp::Arsh => {
                self.note_null_shift(pc, width, src);
                shift!(self, sar, width, d, src);
            }
            AluOp::Div => self.divide(pc, (Part::Quotient, false), width, dst, src),
            AluOp::Mod => self.divide(pc, (Part::Remainder, false), width, dst, src),
            AluOp::Sdiv => self.divide(pc, (Part::Quotient, true), width, dst, src),
            AluOp::Smod => self.divide(pc, (Part::Remainder, true), width, dst, src),
        }
    }

    fn note_null_shift(&mut self, pc: usize, width: Width, src: Operand) {
        if width == Width::W64 && matches!(src, Operand::Imm(imm) if imm % 64 == 0) {
            self.remove(pc, "shifts by nothing");
        }
    }

    fn multiply(&mut self, width: Width, d: Hard, source: Source) {
        let e = &mut self.e;
        match (width, source) {
            (Width::W64, Source::Reg(s)) => x64!(e; imul Rq(d), Rq(s)),
            (Width::W32, Source::Reg(s)) => x64!(e; imul Rd(d), Rd(s)),
            (Width::W64, Source::Short(imm)) => x64!(e; imul Rq(d), Rq(d), BYTE imm),
            (Width::W32, Source::Short(imm)) => x64!(e; imul Rd(d), Rd(d), BYTE imm),
            (Width::W64, Source::Imm(imm)) => x64!(e; imul Rq(d), Rq(d), imm),
            (Width::W32, Source::Imm(imm)) => x64!(e; imul Rd(d), Rd(d), imm),
        }
    }

    fn mov(&mut self, pc: usize, width: Width, dst: Reg, src: Operand) {
        let d = self.hard(dst);
        match src {
            Operand::Reg(src) => {
                let s = self.hard(src);
                match width {
                    Width::W64 if s == d => self.remove(pc, "moves a register to itself"),
                    Width::W64 => x64!(&mut self.e; mov Rq(d), Rq(s)),
                    Width::W32 => x64!(&mut self.e; mov Rd(d), Rd(s)),
                }
            }
            Operand::Imm(0) => x64!(&mut self.e; xor Rd(d), Rd(d)),
            Operand::Imm(imm) => {
                let value = match width {
                    Width::W32 => u64::from(imm as u32),
                    Width::W64 => i64::from(imm) as u64,
                };
                self.e.load_constant(d, value);
            }
        }
    }

    pub(super) fn neg(&mut self, width: Width, dst: Reg) {
        let d = self.hard(dst);
        match width {
            Width::W64 => x64!(&mut self.e; neg Rq(d)),
            Width::W32 => x64!(&mut self.e; neg Rd(d)),
        }
    }

    pub(super) fn mov_sx(&mut self, width: Width, dst: Reg, src: Reg, bits: u8) {
        let (d, s) = (self.hard(dst), self.hard(src));
        let e = &mut self.e;
        match (width, bits) {
            (Width::W64, 8) => x64!(e; movsx Rq(d), Rb(s)),
            (Width::W64, 16) => x64!(e; movsx Rq(d), Rw(s)),
            (Width::W64, _) => x64!(e; movsxd Rq(d), Rd(s)),
            (Width::W32, 8) => x64!(e; movsx Rd(d), Rb(s)),
            (Width::W32, 16) => x64!(e; movsx Rd(d), Rw(s)),
            (Width::W32, _) => x64!(e; mov Rd(d), Rd(s)),
        }
    }

    pub(super) fn swap(&mut self, pc: usize, kind: SwapKind, bits: u8, dst: Reg) {
        let d = self.hard(dst);
        let e = &mut self.e;
        match (kind, bits) {
            (SwapKind::ToLe, 16) => x64!(e; movzx Rd(d), Rw(d)),
            (SwapKind::ToLe, 32) => x64!(e; mov Rd(d), Rd(d)),
            (SwapKind::ToLe, _) => self.remove(pc, "the host is little-endian"),
            (SwapKind::ToBe | SwapKind::Bswap, 16) => {
                x64!(e; rol Rw(d), BYTE 8);
                x64!(e; movzx Rd(d), Rw(d));
            }
            (SwapKind::ToBe | SwapKind::Bswap, 32) => x64!(e; bswap Rd(d)),
            (SwapKind::ToBe | SwapKind::Bswap, _) => x64!(e; bswap Rq(d)),
        }
    }

    /// Division and remainder with eBPF's rules: by zero the quotient is 0 and the remainder the
    /// dividend; the smallest number by -1 overflows to itself, with remainder 0.
    fn divide(
        &mut self,
        pc: usize,
        (part, signed): (Part, bool),
        width: Width,
        dst: Reg,
        src: Operand,
    ) {
        let d = self.hard(dst);
        if let Operand::Imm(imm) = src
            && self.divide_by_constant(pc, (part, signed), width, d, imm)
        {
            return;
        }
        match (src, width) {
            (Operand::Reg(reg), Width::W64) => {
                let s = self.hard(reg);
                x64!(&mut self.e; mov rcx, Rq(s));
            }
            (Operand::Reg(reg), Width::W32) => {
                let s = self.hard(reg);
                x64!(&mut self.e; mov ecx, Rd(s));
            }
            (Operand::Imm(imm), Width::W64) => {
                self.e.load_constant(RCX, i64::from(imm) as u64);
            }
            (Operand::Imm(imm), Width::W32) => self.e.load_constant(RCX, u64::from(imm as u32)),
        }
        let done = self.e.new_label();
        if self.known.may_be_zero(pc, src, width) {
            let divisible = self.e.new_label();
            match width {
                Width::W64 => x64!(&mut self.e; test rcx, rcx),
                Width::W32 => x64!(&mut self.e; test ecx, ecx),
            }
            x64!(&mut self.e; jne =>divisible);
            self.divided_by_zero(part, width, d);
            x64!(&mut self.e; jmp =>done);
            self.e.bind(divisible);
        }
        if signed && !matches!(src, Operand::Imm(_)) {
            let regular = self.e.new_label();
            match width {
                Width::W64 => x64!(&mut self.e; cmp rcx, -1),
                Width::W32 => x64!(&mut self.e; cmp ecx, -1),
            }
            x64!(&mut self.e; jne =>regular);
            self.divided_by_minus_one(part, width, d);
            x64!(&mut self.e; jmp =>done);
            self.e.bind(regular);
        }
        self.divide_by_scratch((part, signed), width, d);
        self.e.bind(done);
    }

    /// Divides `d` by rcx, which is neither 0 nor, if signed, -1. Only `d` and rcx change.
    fn divide_by_scratch(&mut self, (part, signed): (Part, bool), width: Width, d: Hard) {
        let e = &mut self.e;
        if d != RAX {
            x64!(e; push rax);
            x64!(e; mov rax, Rq(d));
        }
        if d != RDX {
            x64!(e; push rdx);
        }
        match (signed, width) {
            (false, _) => x64!(e; xor edx, edx),
            (true, Width::W64) => x64!(e; cqo),
            (true, Width::W32) => x64!(e; cdq),
        }
        match (signed, width) {
            (false, Width::W64) => x64!(e; div rcx),
            (false, Width::W32) => x64!(e; div ecx),
            (true, Width::W64) => x64!(e; idiv rcx),
            (true, Width::W32) => x64!(e; idiv ecx),
        }
        let result = if part == Part::Quotient { RAX } else { RDX };
        if d == RAX || d == RDX {
            let other = if d == RAX { RDX } else { RAX };
            if result != d {
                x64!(e; mov Rq(d), Rq(result));
            }
            x64!(e; pop Rq(other));
        } else {
            x64!(e; mov Rq(d), Rq(result));
            x64!(e; pop rdx);
            x64!(e; pop rax);
        }
    }

    fn divided_by_zero(&mut self, part: Part, width: Width, d: Hard) {
        match (part, width) {
            (Part::Quotient, _) => x64!(&mut self.e; xor Rd(d), Rd(d)),
            (Part::Remainder, Width::W64) => {}
            (Part::Remainder, Width::W32) => x64!(&mut self.e; mov Rd(d), Rd(d)),
        }
    }

    fn divided_by_minus_one(&mut self, part: Part, width: Width, d: Hard) {
        match (part, width) {
            (Part::Remainder, _) => x64!(&mut self.e; xor Rd(d), Rd(d)),
            (Part::Quotient, Width::W64) => x64!(&mut self.e; neg Rq(d)),
            (Part::Quotient, Width::W32) => x64!(&mut self.e; neg Rd(d)),
        }
    }

    /// Handles the constants that need no division instruction; `false` for all others.
    fn divide_by_constant(
        &mut self,
        pc: usize,
        (part, signed): (Part, bool),
        width: Width,
        d: Hard,
        imm: i32,
    ) -> bool {
        if imm == 0 {
            if part == Part::Remainder && width == Width::W64 {
                self.remove(pc, "the remainder by 0 is the dividend");
            }
            self.divided_by_zero(part, width, d);
            return true;
        }
        if signed && imm == -1 {
            self.divided_by_minus_one(part, width, d);
            return true;
        }
        if signed || imm < 0 || !imm.cast_unsigned().is_power_of_two() {
            return false;
        }
        let shift = imm.trailing_zeros() as i8;
        let e = &mut self.e;
        match (part, width) {
            (Part::Quotient, Width::W64) if shift == 0 => {
                self.remove(pc, "the quotient by 1 is the dividend");
            }
            (Part::Quotient, Width::W32) if shift == 0 => x64!(e; mov Rd(d), Rd(d)),
            (Part::Quotient, Width::W64) => x64!(e; shr Rq(d), BYTE shift),
            (Part::Quotient, Width::W32) => x64!(e; shr Rd(d), BYTE shift),
            // The mask is below 2^31, so the upper half of the result is 0 at either width.
            (Part::Remainder, _) => x64!(e; and Rd(d), imm - 1),
        }
        true
    }
}
