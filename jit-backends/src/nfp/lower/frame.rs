//! Start and end of the program and of its functions, and the routines that save registers.

use isa::ebpf::Insn;
use isa::nfp::Operand::{A, B, Both, Imm};
use isa::nfp::{AluOp, Condition, Insn as Nfp, Operand, ShfOp, Shift, Width, abi};

use super::{FRAME, IMM_A, IMM_B, LENGTH, Lowering, callee, vector};
use crate::nfp::emit::Target;
use crate::nfp::plan::Function;

/// GPR of the lower half of r6, the first that is saved; the other seven follow.
const FIRST_SAVED: u8 = abi::gpr(6);
const SAVED: u8 = 8;
/// Position of the action code in ld_field's byte mask: the upper half of the result.
const ACTION_BYTES: u8 = 0b1100;

/// A word of the running function's frame.
pub(super) const fn frame_word(offset: u8) -> Operand {
    Operand::Lm {
        index: abi::LM_STACK,
        offset,
    }
}

impl Lowering<'_> {
    /// Keeps the packet's length, without the bits above it.
    pub(super) fn prologue(&mut self) {
        self.e.load(LENGTH, abi::vector::LENGTH_MASK);
        self.e
            .alu(LENGTH, LENGTH, AluOp::And, vector(abi::vector::LENGTH));
    }

    /// Start of a called function: keeps the return address.
    pub(super) fn enter(&mut self) {
        self.e.mov(frame_word(0), IMM_A);
    }

    pub(super) fn exit(&mut self, function: &Function) {
        if function.start == 0 {
            self.e.br(Condition::Always, 0, Target::Out);
        } else if function.saves {
            self.e.br(Condition::Always, 1, Target::Pop);
            self.e.mov(IMM_A, frame_word(0));
        } else {
            self.e.mov(IMM_A, frame_word(0));
            self.e.insn(Nfp::Rtn {
                src: IMM_A,
                defer: 0,
            });
        }
    }

    /// A call of a function of the program.
    pub(super) fn call(&mut self, pc: usize, function: &Function) {
        let insn: &Insn = &self.plan.steps[pc].insn;
        let target = callee(insn, pc);
        let stride = function.stride();
        if stride != 0 {
            self.move_frame(AluOp::Add, stride);
        }
        let saves = |f: &Function| Target::Function(f.start) == target && f.saves;
        if self.plan.functions.iter().any(saves) {
            let back = Target::Word(self.e.here() + 3);
            self.e.br(Condition::Always, 2, Target::Push);
            self.e.address(IMM_B, target);
            self.e.address(IMM_A, back);
        } else {
            let back = Target::Word(self.e.here() + 2);
            self.e.br(Condition::Always, 1, target);
            self.e.address(IMM_A, back);
        }
        if stride != 0 {
            self.move_frame(AluOp::Sub, stride);
            self.e.nops(3);
        }
    }

    fn move_frame(&mut self, op: AluOp, bytes: u32) {
        let distance = self.e.constant(bytes, IMM_B);
        self.e.alu(FRAME, FRAME, op, distance);
        self.e.insn(Nfp::CsrWrite {
            address: abi::csr::LM0,
            src: FRAME,
        });
    }

    /// The ways out of the program: word indices of the one without r0 and of the one with it.
    pub(super) fn epilogue(&mut self) -> (usize, usize) {
        if self.plan.is_xdp() {
            self.xdp_epilogue()
        } else {
            self.tc_epilogue()
        }
    }

    fn xdp_epilogue(&mut self) -> (usize, usize) {
        let abort = self.e.here();
        self.leave();
        self.e.mov(A(0), Imm(0));
        self.action(Imm(abi::result::XDP_ABORTED));
        let out = self.e.here();
        self.e.test(Imm(3), AluOp::Sub, B(0));
        self.e.br(Condition::CarryClear, 0, Target::Word(abort));
        self.table(B(2), abi::result::XDP);
        // Eight bits a code.
        self.e.shift(A(1), B(0), Shift::Left(3));
        self.e.test(A(1), AluOp::Or, Imm(0));
        self.e
            .shf(B(2), Imm(0xff), ShfOp::And, B(2), Shift::RightIndirect);
        self.leave();
        self.e.mov(A(0), Imm(0));
        self.action(B(2));
        (abort, out)
    }

    fn tc_epilogue(&mut self) -> (usize, usize) {
        let abort = self.e.here();
        self.leave();
        self.e.mov(A(0), Imm(0));
        self.action(Imm(abi::result::TC_ABORTED));
        let out = self.e.here();
        self.e.test(Imm(7), AluOp::Sub, B(0));
        self.e.br(Condition::CarryClear, 0, Target::Word(abort));
        self.e.mov(A(0), Imm(0));
        self.table(B(2), abi::result::TC_ACTION);
        self.table(B(3), abi::result::TC_STATISTIC);
        // Four bits a code, in two tables.
        self.e.shift(A(1), B(0), Shift::Left(2));
        self.e.test(A(1), AluOp::Or, Imm(0));
        self.e
            .shf(A(2), Imm(0xf), ShfOp::And, B(2), Shift::RightIndirect);
        self.e.test(A(1), AluOp::Or, Imm(0));
        self.e
            .shf(B(2), Imm(0xf), ShfOp::And, B(3), Shift::RightIndirect);
        self.leave();
        self.e.shf(B(2), A(2), ShfOp::Or, B(2), Shift::Left(4));
        self.action(B(2));
        (abort, out)
    }

    fn leave(&mut self) {
        self.e.br(Condition::Always, 2, Target::NextPacket);
    }

    fn action(&mut self, code: Operand) {
        self.e.field(
            A(0),
            ACTION_BYTES,
            code,
            Shift::Left(abi::result::ACTION_SHIFT as u8),
        );
    }

    /// A table of codes, always in two words.
    fn table(&mut self, dst: Operand, codes: u32) {
        for (value, width, shift) in [(codes, Width::All, 0), (codes >> 16, Width::Word, 2)] {
            self.e.insn(Nfp::Immed {
                dst,
                value: value as u16,
                width,
                invert: false,
                shift,
            });
        }
    }

    /// Saves r6 to r9 in the callee's frame, then enters it (its address is in B21).
    pub(super) fn push(&mut self) {
        for index in 0..SAVED {
            if index == SAVED - 3 {
                self.e.insn(Nfp::Rtn {
                    src: IMM_B,
                    defer: 3,
                });
            }
            self.e.mov(frame_word(1 + index), B(FIRST_SAVED + index));
        }
    }

    /// Restores them, then returns (the address is in A21).
    pub(super) fn pop(&mut self) {
        for index in 0..SAVED {
            if index == SAVED - 3 {
                self.e.insn(Nfp::Rtn {
                    src: IMM_A,
                    defer: 3,
                });
            }
            self.e.mov(Both(FIRST_SAVED + index), frame_word(1 + index));
        }
    }
}
