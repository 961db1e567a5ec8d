//! Jumps, branches and `may_goto`.

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi};
use isa::ebpf::{Cond, Insn, Operand, Reg, Width};

use super::super::abi::FRAME_BYTES;
use super::super::emit::x64;
use super::Lowering;

/// How far below rbp the counter of `may_goto` turns lies, in bytes.
pub(super) const TURNS: i32 = FRAME_BYTES + 8;

impl Lowering<'_> {
    /// The label of the instruction that `insn` jumps to; a finding where there is none.
    fn target(&mut self, pc: usize, insn: &Insn) -> Option<DynamicLabel> {
        let label = insn
            .jump_target(pc)
            .and_then(|t| usize::try_from(t).ok())
            .filter(|t| self.program.subprogram_at(*t) == self.program.subprogram_at(pc))
            .and_then(|t| self.labels.get(t).copied());
        if label.is_none() {
            self.refuse(
                pc,
                "translate/jump",
                insn.row().mnemonic(),
                "the jump leaves its function",
            );
        }
        label
    }

    pub(super) fn jump(&mut self, pc: usize, insn: &Insn) {
        let Some(label) = self.target(pc, insn) else {
            return;
        };
        if self.is_next(pc, insn) {
            self.remove(pc, "jumps to the next instruction");
        } else {
            x64!(&mut self.e; jmp =>label);
        }
    }

    /// Whether nothing is emitted between the jump at `pc` and its target.
    fn is_next(&self, pc: usize, insn: &Insn) -> bool {
        insn.jump_target(pc)
            .and_then(|t| usize::try_from(t).ok())
            .is_some_and(|t| t > pc && (pc + 1..t).all(|p| !self.known.reachable(p)))
    }

    pub(super) fn branch(
        &mut self,
        pc: usize,
        insn: &Insn,
        (cond, width, dst, src): (Cond, Width, Reg, Operand),
    ) {
        let Some(label) = self.target(pc, insn) else {
            return;
        };
        let ways = self.known.ways(pc);
        if !ways.taken {
            self.remove(pc, "the branch is never taken");
            return;
        }
        if self.is_next(pc, insn) {
            self.remove(pc, "both ways lead to the next instruction");
            return;
        }
        if !ways.fall_through {
            x64!(&mut self.e; jmp =>label);
            return;
        }
        self.compare(cond, width, dst, src);
        let e = &mut self.e;
        match cond {
            Cond::Eq => x64!(e; je =>label),
            Cond::Ne | Cond::Set => x64!(e; jne =>label),
            Cond::Gt => x64!(e; ja =>label),
            Cond::Ge => x64!(e; jae =>label),
            Cond::Lt => x64!(e; jb =>label),
            Cond::Le => x64!(e; jbe =>label),
            Cond::Sgt => x64!(e; jg =>label),
            Cond::Sge => x64!(e; jge =>label),
            Cond::Slt => x64!(e; jl =>label),
            Cond::Sle => x64!(e; jle =>label),
        }
    }

    /// Sets the flags for `dst cond src`.
    fn compare(&mut self, cond: Cond, width: Width, dst: Reg, src: Operand) {
        let d = self.hard(dst);
        let src = match src {
            Operand::Reg(reg) => Ok(self.hard(reg)),
            Operand::Imm(imm) => Err(imm),
        };
        let e = &mut self.e;
        match (cond == Cond::Set, width, src) {
            (true, Width::W64, Ok(s)) => x64!(e; test Rq(d), Rq(s)),
            (true, Width::W32, Ok(s)) => x64!(e; test Rd(d), Rd(s)),
            (true, Width::W64, Err(imm)) if imm >= 0 => x64!(e; test Rd(d), imm),
            (true, Width::W64, Err(imm)) => x64!(e; test Rq(d), imm),
            (true, Width::W32, Err(imm)) => x64!(e; test Rd(d), imm),
            // Compared with 0, `test r, r` sets the same flags as `cmp r, 0`.
            (false, Width::W64, Err(0)) => x64!(e; test Rq(d), Rq(d)),
            (false, Width::W32, Err(0)) => x64!(e; test Rd(d), Rd(d)),
            (false, Width::W64, Ok(s)) => x64!(e; cmp Rq(d), Rq(s)),
            (false, Width::W32, Ok(s)) => x64!(e; cmp Rd(d), Rd(s)),
            (false, width, Err(imm)) => {
                if let Ok(short) = i8::try_from(imm) {
                    self.compare_short(width, d, short);
                } else if width == Width::W64 {
                    x64!(e; cmp Rq(d), imm);
                } else {
                    x64!(e; cmp Rd(d), imm);
                }
            }
        }
    }

    /// `cmp dst, imm8`: dynasm's table gives `cmp` an immediate of four bytes only.
    fn compare_short(&mut self, width: Width, dst: u8, imm: i8) {
        let rex = 0x40 | (u8::from(width == Width::W64) << 3) | (dst >> 3);
        if rex != 0x40 {
            self.e.ops.push(rex);
        }
        self.e.ops.push(0x83);
        self.e.ops.push(0xf8 | (dst & 7));
        self.e.ops.push_i8(imm);
        self.e.instructions += 1;
    }

    pub(super) fn may_goto(&mut self, pc: usize, insn: &Insn) {
        let Some(label) = self.target(pc, insn) else {
            return;
        };
        x64!(&mut self.e; cmp QWORD [rbp - TURNS], 0);
        x64!(&mut self.e; je =>label);
        x64!(&mut self.e; sub QWORD [rbp - TURNS], 1);
    }
}
