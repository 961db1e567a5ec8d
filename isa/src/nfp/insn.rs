//! [`Insn`]: the decoded instruction, and the codes its fields hold.

use super::operand::{Operand, OperandError, Sources};

/// Operation of an `alu` instruction, on 32 bits; left and right are its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AluOp {
    /// The right operand.
    Right,
    /// Left plus right; sets all condition codes.
    Add,
    /// The right operand inverted.
    Not,
    /// Left plus the low 16 bits of right.
    Add16,
    /// Left and right.
    And,
    /// Inverted left and right.
    NotAnd,
    /// Left minus right minus the borrow of the previous subtraction.
    SubCarry,
    /// Left and inverted right.
    AndNot,
    /// Left plus right plus carry.
    AddCarry,
    /// Left or right.
    Or,
    /// Left minus right; carry is set if there was no borrow.
    Sub,
    /// Left exclusive-or right.
    Xor,
}

/// Every `alu` operation: code, name in text.
pub const ALU_OPS: [(AluOp, u64, &str); 12] = [
    (AluOp::Right, 0x00, "B"),
    (AluOp::Add, 0x01, "+"),
    (AluOp::Not, 0x04, "~B"),
    (AluOp::Add16, 0x05, "+16"),
    (AluOp::And, 0x08, "AND"),
    (AluOp::NotAnd, 0x0c, "~AND"),
    (AluOp::SubCarry, 0x0d, "-carry"),
    (AluOp::AndNot, 0x10, "AND~"),
    (AluOp::AddCarry, 0x11, "+carry"),
    (AluOp::Or, 0x14, "OR"),
    (AluOp::Sub, 0x15, "-"),
    (AluOp::Xor, 0x18, "XOR"),
];

/// Operation of an `alu_shf` instruction on the left and the shifted right operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShfOp {
    /// The shifted right operand.
    Right,
    /// Left and shifted right.
    And,
    /// Left or shifted right.
    Or,
    /// Arithmetic right shift, filled with the sign of the previous ALU result.
    Arithmetic,
}

/// Every `alu_shf` operation: code, name in text.
pub const SHF_OPS: [(ShfOp, u64, &str); 4] = [
    (ShfOp::Right, 0, "B"),
    (ShfOp::And, 2, "AND"),
    (ShfOp::Or, 5, "OR"),
    (ShfOp::Arithmetic, 6, "ASHR"),
];

/// How the right operand of `alu_shf` and `ld_field` is shifted. Amounts are 1 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shift {
    /// Not at all.
    None,
    /// Rotated right.
    Rotate(u8),
    /// Right, zeros in.
    Right(u8),
    /// Left, zeros in.
    Left(u8),
    /// Right, with the left operand as the upper 32 bits.
    Double(u8),
    /// As [`Shift::Right`], by the low 5 bits of the A operand of the previous ALU instruction.
    RightIndirect,
    /// As [`Shift::Left`], by that amount.
    LeftIndirect,
    /// As [`Shift::Double`], by that amount.
    DoubleIndirect,
}

impl Shift {
    /// The codes of the direction and of the amount.
    pub(super) fn codes(self) -> Result<(u64, u64), OperandError> {
        let amount = |n: u8| {
            if (1..=31).contains(&n) {
                Ok(u64::from(n))
            } else {
                Err(OperandError::TooLarge {
                    what: "shift amount (1 to 31)",
                    value: u64::from(n),
                    max: 31,
                })
            }
        };
        Ok(match self {
            Shift::None => (0, 0),
            Shift::Rotate(n) => (0, amount(n)?),
            Shift::Right(n) => (1, amount(n)?),
            Shift::Left(n) => (2, 32 - amount(n)?),
            Shift::Double(n) => (3, amount(n)?),
            Shift::RightIndirect => (1, 0),
            Shift::LeftIndirect => (2, 0),
            Shift::DoubleIndirect => (3, 0),
        })
    }

    /// The shift of a direction (0 to 3) and an amount (0 to 31).
    pub(super) fn from_codes(direction: u64, amount: u64) -> Shift {
        let n = amount as u8;
        match (direction, n) {
            (0, 0) => Shift::None,
            (0, _) => Shift::Rotate(n),
            (1, 0) => Shift::RightIndirect,
            (1, _) => Shift::Right(n),
            (2, 0) => Shift::LeftIndirect,
            (2, _) => Shift::Left(32 - n),
            (_, 0) => Shift::DoubleIndirect,
            _ => Shift::Double(n),
        }
    }
}

/// Condition of a branch, on the condition codes of the last instruction that set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Always.
    Always,
    /// Zero.
    Equal,
    /// Not zero.
    NotEqual,
    /// Negative.
    Minus,
    /// Carry set: unsigned higher or same after a subtraction.
    CarrySet,
    /// Carry clear: unsigned lower after a subtraction.
    CarryClear,
    /// Signed greater or equal.
    GreaterEqual,
    /// Signed less.
    Less,
}

/// Every condition: code, mnemonic.
pub const CONDITIONS: [(Condition, u64, &str); 8] = [
    (Condition::Always, 0x18, "br"),
    (Condition::Equal, 0, "beq"),
    (Condition::NotEqual, 1, "bne"),
    (Condition::Minus, 2, "bmi"),
    (Condition::CarrySet, 4, "bcs"),
    (Condition::CarryClear, 5, "bcc"),
    (Condition::GreaterEqual, 8, "bge"),
    (Condition::Less, 9, "blt"),
];

/// Which part of its destination `immed` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// All 32 bits.
    All,
    /// A byte, as the shift says; the others stay.
    Byte,
    /// 16 bits, as the shift says; the others stay.
    Word,
}

/// Size of the operands of a multiplication, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MulSize {
    /// Latches the operands of a multiplication that follows.
    Start,
    /// 24 by 8.
    M24x8,
    /// 16 by 16: one step.
    M16x16,
    /// 32 by 32: four steps.
    M32x32,
}

/// Step of a multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MulStep {
    /// Step 1 to 4; the first one too of a [`MulSize::Start`].
    Step(u8),
    /// Delivers the low 32 bits of the product.
    Last,
    /// Delivers the high 32 bits.
    LastHigh,
}

/// Whether a thread sleeps until its memory command is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContextSwap {
    /// Sleeps at once.
    Swap,
    /// Executes one more instruction, whose results the command sees.
    SwapDefer1,
    /// Executes two more.
    SwapDefer2,
    /// Goes on.
    None,
}

/// How a memory command's address is made of its two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressMode {
    /// 40 bits, the A operand on top.
    Bits40AB,
    /// 40 bits, the B operand on top.
    Bits40BA,
    /// 32 bits: the sum of the two.
    Bits32,
}

/// What a memory command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Reads bytes, the first into the top of the first transfer register.
    Read8,
    /// Reads words in the host's byte order, in the NFP's word order.
    Read32,
    /// Reads words, little-endian.
    Read32Le,
    /// Reads words, the first byte into the bottom of the first transfer register.
    Read32Swap,
    /// Reads 64-bit words, little-endian.
    ReadLe,
    /// Reads 64-bit words, little-endian, halves exchanged.
    ReadSwapLe,
    /// Writes bytes, the first from the bottom of the first transfer register.
    Write8Swap,
    /// Writes words, likewise.
    Write32Swap,
    /// Adds transfer registers to memory, atomically, on big-endian words.
    Add,
    /// Adds 16 bits that come with the previous ALU result.
    AddImm,
}

/// Every command: token, target and command, name in text.
pub const COMMANDS: [(Command, u64, u64, &str); 10] = [
    (Command::Read8, 1, 0x43, "read8"),
    (Command::Read32, 0, 0x5c, "read32"),
    (Command::Read32Le, 1, 0x5c, "read32_le"),
    (Command::Read32Swap, 2, 0x5c, "read32_swap"),
    (Command::ReadLe, 1, 0x40, "read_le"),
    (Command::ReadSwapLe, 3, 0x40, "read_swap_le"),
    (Command::Write8Swap, 2, 0x42, "write8_swap"),
    (Command::Write32Swap, 2, 0x5f, "write32_swap"),
    (Command::Add, 0, 0x47, "add"),
    (Command::AddImm, 2, 0x47, "add_imm"),
];

/// An instruction of the NFP microengine, as far as eBPF images use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Insn {
    /// `dst = left op right`; sets the condition codes.
    Alu {
        /// The operation.
        op: AluOp,
        /// Where the result goes.
        dst: Operand,
        /// Unrestricted sources.
        src: Sources,
    },
    /// `dst = left op shifted right`.
    Shf {
        /// The operation.
        op: ShfOp,
        /// How the right operand is shifted.
        shift: Shift,
        /// Where the result goes; restricted.
        dst: Operand,
        /// Restricted sources.
        src: Sources,
    },
    /// Bytes of the left operand, which is the destination too, replaced by bytes of the shifted
    /// right one.
    LdField {
        /// Bytes that are not replaced become zero.
        clear: bool,
        /// Which bytes are replaced, bit 0 the lowest.
        mask: u8,
        /// How the right operand is shifted.
        shift: Shift,
        /// The destination is written in both banks.
        both: bool,
        /// Restricted sources.
        src: Sources,
    },
    /// A 16-bit constant.
    Immed {
        /// Where it goes.
        dst: Operand,
        /// The constant.
        value: u16,
        /// Which part of the destination is written.
        width: Width,
        /// The shifted constant is inverted.
        invert: bool,
        /// Shift to the left in bytes, 0 to 2.
        shift: u8,
    },
    /// A step of a multiplication.
    Mul {
        /// Size of the operands.
        size: MulSize,
        /// Which step; not a `Last`.
        step: MulStep,
        /// Unrestricted sources.
        src: Sources,
    },
    /// The result of a multiplication.
    MulLast {
        /// Size of the operands.
        size: MulSize,
        /// The high half of the product.
        high: bool,
        /// Where it goes.
        dst: Operand,
    },
    /// A branch.
    Br {
        /// When.
        condition: Condition,
        /// Instructions still executed, 0 to 3.
        defer: u8,
        /// Address in instructions, 14 bits.
        target: u16,
    },
    /// A branch on a bit.
    BrBit {
        /// The register.
        src: Operand,
        /// The bit, 0 to 31.
        bit: u8,
        /// Branches if the bit is set, else if clear.
        set: bool,
        /// Instructions still executed.
        defer: u8,
        /// Address in instructions, 14 bits.
        target: u16,
    },
    /// A jump to the address in a register.
    Rtn {
        /// The register.
        src: Operand,
        /// Instructions still executed.
        defer: u8,
    },
    /// A read of a control and status register; the next `immed` delivers the value.
    CsrRead {
        /// Byte address, a multiple of 4.
        address: u16,
    },
    /// A write to a control and status register.
    CsrWrite {
        /// Byte address, a multiple of 4.
        address: u16,
        /// What is written.
        src: Operand,
    },
    /// A memory command.
    Cmd {
        /// What it does.
        command: Command,
        /// First transfer register, 0 to 31.
        xfer: u8,
        /// Length minus one in the command's unit (bytes for byte commands, words else), 0 to 7.
        count: u8,
        /// Restricted sources that make the address.
        src: Sources,
        /// How they make it.
        mode: AddressMode,
        /// Whether the thread sleeps.
        swap: ContextSwap,
        /// Length or data are overridden by the previous ALU result.
        indirect: bool,
    },
}

impl Insn {
    /// Does nothing.
    pub const NOP: Insn = Insn::Immed {
        dst: Operand::None,
        value: 0,
        width: Width::All,
        invert: false,
        shift: 0,
    };

    /// `dst = left op right`.
    ///
    /// # Errors
    /// The sources cannot be read together.
    pub fn alu(
        dst: Operand,
        left: Operand,
        op: AluOp,
        right: Operand,
    ) -> Result<Insn, OperandError> {
        Ok(Insn::Alu {
            op,
            dst,
            src: Sources::new(left, right)?,
        })
    }

    /// `dst = left op shifted right`.
    ///
    /// # Errors
    /// The sources cannot be read together.
    pub fn shf(
        dst: Operand,
        left: Operand,
        op: ShfOp,
        right: Operand,
        shift: Shift,
    ) -> Result<Insn, OperandError> {
        Ok(Insn::Shf {
            op,
            shift,
            dst,
            src: Sources::new(left, right)?,
        })
    }

    /// Bytes of `dst` in `mask` replaced by those of the shifted `right`; the others stay, or
    /// with `clear` become zero.
    ///
    /// # Errors
    /// The sources cannot be read together.
    pub fn ld_field(
        dst: Operand,
        mask: u8,
        right: Operand,
        shift: Shift,
        clear: bool,
    ) -> Result<Insn, OperandError> {
        Ok(Insn::LdField {
            clear,
            mask,
            shift,
            both: matches!(dst, Operand::Both(_)),
            src: Sources::new(dst, right)?,
        })
    }

    /// The destination, if the instruction writes a register or local memory.
    pub fn dst(&self) -> Option<Operand> {
        let dst = match *self {
            Insn::Alu { dst, .. }
            | Insn::Shf { dst, .. }
            | Insn::Immed { dst, .. }
            | Insn::MulLast { dst, .. } => dst,
            Insn::LdField { both, src, .. } => match src.left() {
                Operand::A(n) | Operand::B(n) if both => Operand::Both(n),
                dst => dst,
            },
            _ => Operand::None,
        };
        (dst != Operand::None).then_some(dst)
    }

    /// The branch address, if the instruction has one.
    pub fn target(&self) -> Option<u16> {
        match *self {
            Insn::Br { target, .. } | Insn::BrBit { target, .. } => Some(target),
            _ => None,
        }
    }

    /// The instruction with another branch address; unchanged if it has none.
    #[must_use]
    pub fn with_target(mut self, new: u16) -> Insn {
        if let Insn::Br { target, .. } | Insn::BrBit { target, .. } = &mut self {
            *target = new;
        }
        self
    }
}
