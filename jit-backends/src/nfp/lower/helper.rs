//! Helpers: some the firmware has, as routines at their addresses, some become a few words here.

use isa::ebpf::{CallTarget, Insn, Reg};
use isa::nfp::Operand::{A, B, Both, Imm};
use isa::nfp::abi::{self, call, csr, vector as words};
use isa::nfp::{AluOp, Condition, Insn as Nfp, Operand, Shift};
use verifier::facts::{RegKind, Region};

use super::{FRAME, IMM_A, IMM_B, LENGTH, Lowering, Outcome, high, low, untranslated, vector};
use crate::nfp::emit::Target;
use crate::nfp::plan::{Function, Plan};

const MAP_LOOKUP: u32 = 1;
const MAP_UPDATE: u32 = 2;
const MAP_DELETE: u32 = 3;
const RANDOM: u32 = 7;
const EVENT_OUTPUT: u32 = 25;
const ADJUST_HEAD: u32 = 44;
const ADJUST_TAIL: u32 = 65;

/// The shortest frame (Ethernet's header), and the shortest that comes from the wire.
const HEADER: u8 = 14;
const SHORTEST: i64 = 60;
/// -EINVAL.
const INVALID: i32 = -22;

impl Lowering<'_> {
    pub(super) fn helper(&mut self, pc: usize, id: u32, function: &Function) -> Outcome {
        match id {
            MAP_LOOKUP | MAP_UPDATE | MAP_DELETE => self.map_helper(pc, id, function),
            EVENT_OUTPUT => self.event_output(pc)?,
            RANDOM => self.random(),
            ADJUST_HEAD if adjusts_safely(self.plan) => self.adjust_head_unchecked(),
            ADJUST_HEAD => self.adjust_head(),
            ADJUST_TAIL => self.adjust_tail(),
            _ => return Err(untranslated("this helper")),
        }
        Ok(())
    }

    fn arg(reg: u8) -> Operand {
        A(abi::gpr(reg))
    }

    /// Jumps to the firmware; two words follow in the jump's slots, of which this is the second.
    fn enter_firmware(&mut self, id: u32, first: impl FnOnce(&mut Self)) {
        self.helpers.push(id);
        let back = Target::Word(self.e.here() + 3);
        self.e.br(Condition::Always, 2, Target::Helper(id));
        first(self);
        self.e.address(B(call::RETURN), back);
    }

    fn map_helper(&mut self, pc: usize, id: u32, function: &Function) {
        let facts = self.plan.facts(pc);
        let at_base = facts
            .call
            .as_ref()
            .and_then(|c| c.key)
            .is_some_and(|(region, offset)| {
                region == Region::Stack { up: 0 } && i64::from(function.pointer()) + offset == 0
            });
        if !at_base {
            self.e.insn(Nfp::CsrWrite {
                address: csr::LM0,
                src: B(low(Reg::R2)),
            });
        }
        if id == MAP_UPDATE {
            self.e.insn(Nfp::CsrWrite {
                address: csr::LM2,
                src: B(low(Reg::R3)),
            });
        }
        self.enter_firmware(id, |lowering| lowering.e.mov(A(call::MAP), A(low(Reg::R1))));
        if !at_base {
            self.e.insn(Nfp::CsrWrite {
                address: csr::LM0,
                src: FRAME,
            });
            self.e.nops(3);
        }
    }

    fn event_output(&mut self, pc: usize) -> Outcome {
        let kind = self.plan.facts(pc).registers[Reg::R4.index()].kind;
        let number = match kind {
            RegKind::Scalar => call::SCALAR,
            RegKind::MapValue { .. } => call::MAP_VALUE,
            RegKind::Stack { .. } => call::STACK,
            RegKind::Packet => call::PACKET,
            _ => return Err(untranslated("an event from this kind of memory")),
        };
        self.enter_firmware(EVENT_OUTPUT, |lowering| {
            lowering.e.mov(A(call::POINTER_TYPE), Imm(number));
        });
        Ok(())
    }

    /// The `immed` after the read of a register delivers its value.
    fn random(&mut self) {
        self.e.insn(Nfp::CsrRead {
            address: csr::PSEUDO_RANDOM,
        });
        self.e.load(Both(low(Reg::R0)), 0);
        self.e.load(Both(high(Reg::R0)), 0);
    }

    fn result(&mut self, value: i32) {
        self.e.load(Both(low(Reg::R0)), value as u32);
        self.e.load(Both(high(Reg::R0)), (value >> 31) as u32);
    }

    /// The packet's start moves by a number that the card always has room for.
    fn adjust_head_unchecked(&mut self) {
        let delta = Self::arg(2);
        let (start, length) = (vector(words::PACKET), vector(words::LENGTH));
        self.e.alu(start, delta, AluOp::Add, start);
        self.e.alu(LENGTH, LENGTH, AluOp::Sub, delta);
        self.e.alu(length, length, AluOp::Sub, delta);
        self.result(0);
    }

    fn adjust_head(&mut self) {
        let delta = Self::arg(2);
        let (start, length) = (vector(words::PACKET), vector(words::LENGTH));
        let (least, most) = (
            self.plan.declared("nfp.adjust_head_min_offset_bytes") as u8,
            self.plan.declared("nfp.adjust_head_max_offset_bytes") as u8,
        );
        let fail = Target::Word(self.e.here() + 14);
        let end = Target::Word(self.e.here() + 16);
        let e = &mut self.e;
        // The new start as an offset in the buffer.
        e.alu(IMM_A, delta, AluOp::Add16, start);
        e.test(IMM_A, AluOp::Sub, Imm(least));
        e.br(Condition::CarryClear, 0, fail);
        e.test(Imm(most), AluOp::Sub, IMM_A);
        e.br(Condition::CarryClear, 0, fail);
        e.alu(IMM_B, LENGTH, AluOp::Sub, delta);
        e.test(IMM_B, AluOp::Sub, Imm(HEADER));
        e.br(Condition::Minus, 0, fail);
        self.result(0);
        let e = &mut self.e;
        e.field(start, 0b0011, IMM_A, Shift::None);
        e.br(Condition::Always, 2, end);
        e.alu(LENGTH, LENGTH, AluOp::Sub, delta);
        e.alu(length, length, AluOp::Sub, delta);
        self.result(INVALID);
    }

    /// A frame can only shrink.
    fn adjust_tail(&mut self) {
        let delta = Self::arg(2);
        let length = vector(words::LENGTH);
        let fail = Target::Word(self.e.here() + 9);
        let end = Target::Word(self.e.here() + 11);
        let e = &mut self.e;
        e.alu(IMM_A, LENGTH, AluOp::Add, delta);
        e.br(Condition::CarryClear, 0, fail);
        e.test(IMM_A, AluOp::Sub, Imm(HEADER));
        e.br(Condition::Minus, 0, fail);
        e.alu(LENGTH, LENGTH, AluOp::Add, delta);
        e.alu(length, length, AluOp::Add, delta);
        e.br(Condition::Always, 2, end);
        self.result(0);
        self.result(INVALID);
    }
}

/// Whether the only `adjust_head` of the program moves the start by one number, and the card
/// declares that it has room for that.
fn adjusts_safely(plan: &Plan<'_>) -> bool {
    let mut calls = plan.steps.iter().enumerate().filter(|(_, step)| {
        step.removed.is_none() && step.insn == Insn::Call(CallTarget::Helper(ADJUST_HEAD))
    });
    let (Some((pc, _)), None) = (calls.next(), calls.next()) else {
        return false;
    };
    let delta = plan.facts(pc).registers[Reg::R2.index()]
        .range
        .as_constant();
    let Some(delta) = delta.map(|delta| i64::from(delta as i32)) else {
        return false;
    };
    let room = |key| i64::try_from(plan.declared(key)).unwrap_or(0);
    delta <= SHORTEST - i64::from(HEADER)
        && delta >= -room("nfp.adjust_head_guaranteed_sub_bytes")
        && delta <= room("nfp.adjust_head_guaranteed_add_bytes")
}
