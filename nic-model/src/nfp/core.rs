//! [`Core`]: what a thread of the microengine holds, and the instructions that change only that.

use bpf::run::TrapCause;
use isa::nfp::{AluOp, Condition, ShfOp, Shift};

use super::local::{LocalMemory, Outside};
use super::step::{self, CELLS, LOCAL_IN, LOCAL_OUT, Op, Step, VOLATILE};

/// Registers, condition codes and local memory of one thread.
#[derive(Debug)]
pub(super) struct Core {
    cells: [u32; CELLS],
    /// Result of the last `alu`: negative and zero are read off it.
    result: u32,
    carry: bool,
    overflow: bool,
    /// Result of the last instruction that has one.
    pub(super) previous: u32,
    /// A operand of the last `alu`, by which an indirect shift shifts.
    amount: u32,
    multiply: Multiply,
    pub(super) local: LocalMemory,
}

/// The multiplier: each step adds the product with one byte.
#[derive(Debug, Default)]
struct Multiply {
    left: u32,
    right: u32,
    sum: u64,
}

impl From<Outside> for TrapCause {
    fn from(outside: Outside) -> TrapCause {
        // Whether it is a write does not matter to whoever reads the address.
        TrapCause::OutOfBounds {
            address: u64::from(outside.0),
            size: 4,
            write: false,
        }
    }
}

impl Core {
    /// With so many bytes of stack.
    pub(super) fn new(stack_bytes: u32) -> Core {
        Core {
            cells: step::fresh_cells(),
            result: 0,
            carry: false,
            overflow: false,
            previous: 0,
            amount: 0,
            multiply: Multiply::default(),
            local: LocalMemory::new(stack_bytes),
        }
    }

    /// Makes it as a program finds it.
    pub(super) fn reset(&mut self, length: u32, packet: u32) {
        self.cells[..VOLATILE].fill(0);
        self.result = 0;
        self.carry = false;
        self.overflow = false;
        self.previous = 0;
        self.amount = 0;
        self.multiply = Multiply::default();
        self.local.reset(length, packet);
    }

    /// What a cell holds.
    #[inline]
    pub(super) fn get(&self, cell: u16) -> u32 {
        self.cells[usize::from(cell) % CELLS]
    }

    /// Sets a cell.
    #[inline]
    pub(super) fn set(&mut self, cell: u16, value: u32) {
        self.cells[usize::from(cell) % CELLS] = value;
    }

    /// Writes a register of both banks.
    pub(super) fn set_both(&mut self, register: u8, value: u32) {
        self.set(step::A + u16::from(register), value);
        self.set(step::B + u16::from(register), value);
    }

    /// An eBPF register: the pair of GPRs, low half first.
    pub(super) fn ebpf_register(&self, number: u8) -> u64 {
        let low = step::A + u16::from(isa::nfp::abi::gpr(number));
        u64::from(self.get(low)) | u64::from(self.get(low + 1)) << 32
    }

    /// Fetches the operand in local memory, if there is one.
    #[inline]
    pub(super) fn fetch(&mut self, step: &Step, cycle: u64) -> Result<(), TrapCause> {
        if let Some(local) = step.local_in {
            let value = self.local.load(local, cycle)?;
            self.set(LOCAL_IN, value);
        }
        Ok(())
    }

    #[inline]
    fn finish(&mut self, step: &Step, value: u32) {
        self.set(step.dst[0], value);
        self.set(step.dst[1], value);
    }

    /// Executes an instruction that is neither a branch nor a memory command, its operand in local
    /// memory fetched.
    #[inline]
    pub(super) fn execute(&mut self, step: &Step, cycle: u64) -> Result<(), TrapCause> {
        match step.op {
            Op::Alu(op) => self.alu(step, op),
            Op::Shf(op) => {
                let (left, right) = (self.get(step.left), self.get(step.right));
                let shifted = match op {
                    ShfOp::Arithmetic => self.arithmetic(step.shift, right),
                    _ => self.shifted(step.shift, left, right),
                };
                let value = match op {
                    ShfOp::Right | ShfOp::Arithmetic => shifted,
                    ShfOp::And => left & shifted,
                    ShfOp::Or => left | shifted,
                };
                self.previous = value;
                self.finish(step, value);
            }
            Op::LdField => {
                let (left, right) = (self.get(step.left), self.get(step.right));
                let shifted = self.shifted(step.shift, left, right);
                let kept = if step.flag { 0 } else { left & !step.value };
                let value = kept | shifted & step.value;
                self.previous = value;
                self.finish(step, value);
            }
            Op::Immed => {
                self.previous = step.value;
                self.finish(step, step.value);
            }
            Op::ImmedPart => {
                let part = step.part();
                let value = self.get(step.left) & !part | step.value & part;
                self.previous = value;
                self.finish(step, value);
            }
            Op::MulStart => {
                self.multiply = Multiply {
                    left: self.get(step.left),
                    right: self.get(step.right),
                    sum: 0,
                };
            }
            Op::MulStep => {
                let shift = 8 * u32::from(step.amount & 3);
                let byte = u64::from(self.multiply.right >> shift & 0xff);
                let left = u64::from(self.multiply.left & step.value);
                self.multiply.sum = self.multiply.sum.wrapping_add((left * byte) << shift);
            }
            Op::MulLow => self.finish(step, self.multiply.sum as u32),
            Op::MulHigh => self.finish(step, (self.multiply.sum >> 32) as u32),
            Op::SetLocal => self.local.point(step.amount, self.get(step.left), cycle),
            Op::Random | Op::Command | Op::Branch(_) | Op::BranchBit | Op::Return => {
                return Err(TrapCause::BadInstruction);
            }
        }
        if let Some(local) = step.local_out {
            self.local.store(local, self.get(LOCAL_OUT), cycle)?;
        }
        Ok(())
    }

    /// Delivers what a read of a register gave, as an `immed` delivers its constant.
    pub(super) fn deliver(&mut self, step: &Step, value: u32, cycle: u64) -> Result<(), TrapCause> {
        self.previous = value;
        self.finish(step, value);
        if let Some(local) = step.local_out {
            self.local.store(local, value, cycle)?;
        }
        Ok(())
    }

    #[inline]
    fn alu(&mut self, step: &Step, op: AluOp) {
        let (left, right) = (self.get(step.left), self.get(step.right));
        self.amount = self.get(step.a);
        let value = match op {
            AluOp::Right => right,
            AluOp::Not => !right,
            AluOp::And => left & right,
            AluOp::NotAnd => !left & right,
            AluOp::AndNot => left & !right,
            AluOp::Or => left | right,
            AluOp::Xor => left ^ right,
            AluOp::Add => self.sum(left, right, false),
            AluOp::Add16 => self.sum(left, right & 0xffff, false),
            AluOp::AddCarry => self.sum(left, right, self.carry),
            AluOp::Sub => self.sum(left, !right, true),
            AluOp::SubCarry => self.sum(left, !right, self.carry),
        };
        self.result = value;
        self.previous = value;
        self.finish(step, value);
    }

    /// Adds, and sets carry and overflow. A subtraction adds the complement with the carry set, so
    /// that carry means no borrow.
    #[inline]
    fn sum(&mut self, left: u32, right: u32, carry: bool) -> u32 {
        let wide = u64::from(left) + u64::from(right) + u64::from(carry);
        let value = wide as u32;
        self.carry = wide >> 32 != 0;
        self.overflow = (left ^ value) & (right ^ value) & 1 << 31 != 0;
        value
    }

    #[inline]
    fn shifted(&self, shift: Shift, left: u32, right: u32) -> u32 {
        let double = |n: u32| ((u64::from(left) << 32 | u64::from(right)) >> n) as u32;
        match shift {
            Shift::None => right,
            Shift::Rotate(n) => right.rotate_right(u32::from(n)),
            Shift::Right(n) => right >> (n & 31),
            Shift::Left(n) => right << (n & 31),
            Shift::Double(n) => double(u32::from(n & 31)),
            Shift::RightIndirect => right >> (self.amount & 31),
            Shift::LeftIndirect => right << (self.amount & 31),
            Shift::DoubleIndirect => double(self.amount & 31),
        }
    }

    /// A shift to the right that fills with the sign of the previous result.
    fn arithmetic(&self, shift: Shift, right: u32) -> u32 {
        let n = match shift {
            Shift::Right(n) => u32::from(n),
            Shift::RightIndirect => self.amount,
            // No other shift to the right is known with this operation.
            _ => 0,
        } & 31;
        let sign = self.previous & 1 << 31 != 0;
        let fill = if sign { !(u32::MAX >> n) } else { 0 };
        right >> n | fill
    }

    /// Whether a branch of this condition is taken.
    #[inline]
    pub(super) fn holds(&self, condition: Condition) -> bool {
        let negative = self.result >> 31 != 0;
        match condition {
            Condition::Always => true,
            Condition::Equal => self.result == 0,
            Condition::NotEqual => self.result != 0,
            Condition::Minus => negative,
            Condition::CarrySet => self.carry,
            Condition::CarryClear => !self.carry,
            Condition::GreaterEqual => negative == self.overflow,
            Condition::Less => negative != self.overflow,
        }
    }
}
