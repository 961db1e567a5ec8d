//! Pieces that call: functions, and helpers that are not about a map's elements or the packet's
//! ends.

use isa::ebpf::{AluOp, CallTarget, Insn, MemSize, Operand, Reg};

use super::builder::{Builder, FUNCTIONS, Holds};
use super::maps::{EVENTS, PORTS, PROGRAMS, RING};
use crate::Hook;

/// Helpers without arguments, whose answer the kernel gives otherwise.
const AMBIENT: [u32; 8] = [5, 7, 8, 42, 118, 125, 160, 208];
const TRACE_PRINTK: u32 = 6;
const REDIRECT: u32 = 23;
const TAIL_CALL: u32 = 12;
const PERF_OUTPUT: u32 = 25;
const CSUM_DIFF: u32 = 28;
const REDIRECT_MAP: u32 = 51;
const RINGBUF_OUTPUT: u32 = 130;
const RINGBUF_RESERVE: u32 = 131;
const RINGBUF_SUBMIT: u32 = 132;
const RINGBUF_DISCARD: u32 = 133;
/// `BPF_F_CURRENT_CPU`.
const CURRENT_CPU: u32 = 0xffff_ffff;

impl Builder<'_> {
    /// Calls a function that comes later in the program.
    pub(super) fn function_call(&mut self) {
        let next = self.function + 1;
        if next > FUNCTIONS {
            return self.compute();
        }
        let later = (FUNCTIONS - self.function) as u64;
        let index = next + self.random.below(later) as usize;
        self.workspace(Reg::R1);
        let from = self.number();
        self.alu(AluOp::Mov, Reg::R2, Operand::Reg(from));
        self.set(Reg::R1, Holds::Nothing);
        let target = CallTarget::Local { offset: 0 };
        let at = self.called(target, Holds::Number);
        self.calls.push((at, index));
        self.refill();
    }

    /// Goes on with the program itself, or with nothing.
    fn tail_call(&mut self) {
        let Some(ctx) = self.ctx() else { return };
        let from = self.number();
        self.alu(AluOp::Mov, Reg::R3, Operand::Reg(from));
        let mask = self.random.choose(&[3, 7, 255]);
        self.alu(AluOp::And, Reg::R3, Operand::Imm(mask));
        self.alu(AluOp::Mov, Reg::R1, Operand::Reg(ctx));
        self.map(Reg::R2, PROGRAMS);
        self.called(CallTarget::Helper(TAIL_CALL), Holds::Nothing);
        self.constant(Reg::R0);
    }

    /// Calls a helper.
    pub(super) fn helper(&mut self) {
        let packet_hook = !matches!(self.spec.hook, Hook::Raw { .. });
        if self.spec.tail_calls && self.function == 0 && self.random.percent(25) {
            self.tail_call();
            return self.refill();
        }
        match self.random.below(8) {
            0..=2 if self.spec.ambient => {
                let helper = self.random.choose(&AMBIENT);
                self.called(CallTarget::Helper(helper), Holds::Number);
            }
            3 | 4 => self.checksum(),
            5 if packet_hook => self.redirect(),
            6 if packet_hook => self.event(),
            7 => self.record(),
            _ => return self.compute(),
        }
        self.refill();
    }

    fn checksum(&mut self) {
        let at = self.scratch(4);
        for word in 0..4 {
            self.store_scratch(at + 8 * word);
        }
        let seed = self.number();
        self.alu(AluOp::Mov, Reg::R5, Operand::Reg(seed));
        let from = self.random.choose(&[0, 4, 8, 16]);
        let to = self.random.choose(&[0, 4, 12, 16]);
        if from == 0 && self.random.percent(50) {
            self.alu(AluOp::Mov, Reg::R1, Operand::Imm(0));
        } else {
            self.stack_address(Reg::R1, at);
        }
        self.alu(AluOp::Mov, Reg::R2, Operand::Imm(from));
        self.stack_address(Reg::R3, at + 16);
        self.alu(AluOp::Mov, Reg::R4, Operand::Imm(to));
        self.called(CallTarget::Helper(CSUM_DIFF), Holds::Number);
    }

    fn redirect(&mut self) {
        let is_tc = matches!(self.spec.hook, Hook::Tc { .. });
        if is_tc || self.random.percent(50) {
            let port = self.random.below(3) as i32;
            self.alu(AluOp::Mov, Reg::R1, Operand::Imm(port));
            self.alu(AluOp::Mov, Reg::R2, Operand::Imm(0));
            self.called(CallTarget::Helper(REDIRECT), Holds::Number);
        } else {
            let key = self.random.below(6) as i32;
            let flags = self.random.choose(&[0, 1, 2, 3]);
            self.map(Reg::R1, PORTS);
            self.alu(AluOp::Mov, Reg::R2, Operand::Imm(key));
            self.alu(AluOp::Mov, Reg::R3, Operand::Imm(flags));
            self.called(CallTarget::Helper(REDIRECT_MAP), Holds::Number);
        }
    }

    /// A perf event, or a line of the trace.
    fn event(&mut self) {
        let at = self.scratch(2);
        if self.random.percent(30) {
            // "%d" with its end.
            self.push(Insn::Store {
                size: MemSize::DW,
                base: Reg::R10,
                offset: at,
                src: Operand::Imm(0x0000_6425),
            });
            let number = self.number();
            self.alu(AluOp::Mov, Reg::R3, Operand::Reg(number));
            self.stack_address(Reg::R1, at);
            self.alu(AluOp::Mov, Reg::R2, Operand::Imm(3));
            self.called(CallTarget::Helper(TRACE_PRINTK), Holds::Number);
            return;
        }
        let Some(ctx) = self.ctx() else { return };
        for word in 0..2 {
            self.store_scratch(at + 8 * word);
        }
        self.alu(AluOp::Mov, Reg::R1, Operand::Reg(ctx));
        self.map(Reg::R2, EVENTS);
        self.push(Insn::LoadWide {
            dst: Reg::R3,
            value: isa::ebpf::Wide::Value(u64::from(CURRENT_CPU)),
        });
        self.stack_address(Reg::R4, at);
        let bytes = 1 + self.random.below(16) as i32;
        self.alu(AluOp::Mov, Reg::R5, Operand::Imm(bytes));
        self.called(CallTarget::Helper(PERF_OUTPUT), Holds::Number);
    }

    /// A record in the ring buffer.
    fn record(&mut self) {
        if self.random.percent(50) {
            let at = self.scratch(2);
            for word in 0..2 {
                self.store_scratch(at + 8 * word);
            }
            self.map(Reg::R1, RING);
            self.stack_address(Reg::R2, at);
            let bytes = 1 + self.random.below(16) as i32;
            self.alu(AluOp::Mov, Reg::R3, Operand::Imm(bytes));
            self.alu(AluOp::Mov, Reg::R4, Operand::Imm(0));
            self.called(CallTarget::Helper(RINGBUF_OUTPUT), Holds::Number);
            return;
        }
        self.map(Reg::R1, RING);
        self.alu(AluOp::Mov, Reg::R2, Operand::Imm(16));
        self.alu(AluOp::Mov, Reg::R3, Operand::Imm(0));
        self.called(CallTarget::Helper(RINGBUF_RESERVE), Holds::Nothing);
        let before = self.state.clone();
        let none = self.push(Insn::Branch {
            cond: isa::ebpf::Cond::Eq,
            width: isa::ebpf::Width::W64,
            dst: Reg::R0,
            src: Operand::Imm(0),
            offset: 0,
        });
        self.set(Reg::R0, Holds::Value(16));
        for word in 0..2 {
            let src = Operand::Reg(self.number());
            self.push(Insn::Store {
                size: MemSize::DW,
                base: Reg::R0,
                offset: 8 * word,
                src,
            });
        }
        self.alu(AluOp::Mov, Reg::R1, Operand::Reg(Reg::R0));
        self.alu(AluOp::Mov, Reg::R2, Operand::Imm(0));
        let helper = self.random.choose(&[RINGBUF_SUBMIT, RINGBUF_DISCARD]);
        self.called(CallTarget::Helper(helper), Holds::Nothing);
        self.land(none);
        self.state.join(&before);
        self.constant(Reg::R0);
    }
}
