//! The context: three fields that can be read, one that can be written.

use isa::ebpf::{MemSize, Reg};
use isa::nfp::Operand::{A, B, Both, Imm};
use isa::nfp::abi::vector as words;
use isa::nfp::{AluOp, Condition, ShfOp, Shift};

use super::{LENGTH, Lowering, Outcome, Refused, high, low, vector};
use crate::nfp::emit::Target;

/// What stands for every queue that the card cannot name.
const NO_QUEUE: u8 = 64;

impl Lowering<'_> {
    pub(super) fn load_context(&mut self, pc: usize, size: MemSize, dst: Reg) -> Outcome {
        let offset = self.plan.facts(pc).access.map_or(-1, |access| access.min);
        let lo = Both(low(dst));
        let data = vector(words::PACKET);
        match (self.plan.is_xdp(), offset, size) {
            (true, 0, MemSize::W) | (false, 76, MemSize::W) => self.e.mov(lo, data),
            (true, 4, MemSize::W) | (false, 80, MemSize::W) => {
                self.e.alu(lo, LENGTH, AluOp::Add, data);
            }
            (false, 0, MemSize::W) => self.e.mov(lo, LENGTH),
            _ => {
                return Err(Refused {
                    rule: "translate/context",
                    message: format!(
                        "the context's field at offset {offset} has no translation for this card"
                    ),
                    why: "the driver knows data, data_end and the length alone: `Translation failed with error -95`, and nothing in the verifier's log",
                    help: "do without this field",
                });
            }
        }
        self.e.load(Both(high(dst)), 0);
        Ok(())
    }

    /// A store to the number of the receive queue.
    pub(super) fn select_queue(&mut self, src: Reg) {
        let end = self.e.here() + 5;
        let flags = vector(words::FLAGS);
        let queue = vector(words::QUEUE);
        self.e.test(A(low(src)), AluOp::AndNot, Imm(0xff));
        self.e.br(Condition::Equal, 2, Target::Word(end));
        let flag = words::QUEUE_SELECTED.trailing_zeros() as u8;
        self.e
            .shf(flags, flags, ShfOp::Or, Imm(1), Shift::Left(flag));
        self.e.field(queue, 0b0001, B(low(src)), Shift::None);
        self.e.field(queue, 0b0001, Imm(NO_QUEUE), Shift::None);
    }
}
