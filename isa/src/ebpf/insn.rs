//! The decoded instruction.

use std::fmt;

/// One of the registers r0 to r10.
///
/// r0 holds return values, r1 to r5 arguments (clobbered by calls), r6 to r9 are preserved by
/// calls, r10 is the read-only frame pointer (RFC 9669 §2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg(u8);

impl Reg {
    /// Return value, and the verdict at the entry function's exit.
    pub const R0: Reg = Reg(0);
    /// First argument; the context at entry.
    pub const R1: Reg = Reg(1);
    /// Second argument.
    pub const R2: Reg = Reg(2);
    /// Third argument.
    pub const R3: Reg = Reg(3);
    /// Fourth argument.
    pub const R4: Reg = Reg(4);
    /// Fifth argument.
    pub const R5: Reg = Reg(5);
    /// Preserved by calls.
    pub const R6: Reg = Reg(6);
    /// Preserved by calls.
    pub const R7: Reg = Reg(7);
    /// Preserved by calls.
    pub const R8: Reg = Reg(8);
    /// Preserved by calls.
    pub const R9: Reg = Reg(9);
    /// Frame pointer, read only: the address just past the frame's 512 bytes.
    pub const R10: Reg = Reg(10);

    /// How many registers there are.
    pub const COUNT: usize = 11;

    /// The register with this number, or `None` above 10.
    pub const fn new(number: u8) -> Option<Reg> {
        if number <= 10 {
            Some(Reg(number))
        } else {
            None
        }
    }

    /// The number, 0 to 10.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The number as an index, 0 to 10.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All registers in order.
    pub fn all() -> impl Iterator<Item = Reg> {
        (0..=10).map(Reg)
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Debug for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// Operand width of ALU and jump instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// Lower halves are used; an ALU result zero-extends to 64 bits.
    W32,
    /// Whole registers are used; an immediate is sign-extended.
    W64,
}

/// Width of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemSize {
    /// 1 byte.
    B,
    /// 2 bytes.
    H,
    /// 4 bytes.
    W,
    /// 8 bytes.
    DW,
}

impl MemSize {
    /// The width in bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u8 {
        match self {
            MemSize::B => 1,
            MemSize::H => 2,
            MemSize::W => 4,
            MemSize::DW => 8,
        }
    }

    /// The width of so many bytes, or `None` if it is not 1, 2, 4 or 8.
    pub const fn from_bytes(bytes: u8) -> Option<MemSize> {
        match bytes {
            1 => Some(MemSize::B),
            2 => Some(MemSize::H),
            4 => Some(MemSize::W),
            8 => Some(MemSize::DW),
            _ => None,
        }
    }
}

/// The second operand of an ALU, jump or store instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// A 32-bit immediate; sign-extended where the operation is 64 bits wide.
    Imm(i32),
}

/// Two-operand arithmetic: `dst = dst op src` (RFC 9669 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AluOp {
    /// Wrapping addition.
    Add,
    /// Wrapping subtraction.
    Sub,
    /// Wrapping multiplication.
    Mul,
    /// Unsigned division; by zero gives 0.
    Div,
    /// Signed division, truncating; by zero gives 0, MIN / -1 gives MIN.
    Sdiv,
    /// Unsigned remainder; by zero leaves `dst` (32-bit: its lower half, zero-extended).
    Mod,
    /// Signed remainder, sign of the dividend; by zero leaves `dst`, MIN % -1 gives 0.
    Smod,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Bitwise exclusive or.
    Xor,
    /// Copy.
    Mov,
    /// Shift left; the amount is taken modulo the width.
    Lsh,
    /// Logical shift right; the amount is taken modulo the width.
    Rsh,
    /// Arithmetic shift right; the amount is taken modulo the width.
    Arsh,
}

/// Byte-order conversion (RFC 9669 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwapKind {
    /// Host to little-endian: on a little-endian machine, truncation to the width.
    ToLe,
    /// Host to big-endian: on a little-endian machine, a swap; truncates to the width.
    ToBe,
    /// Unconditional swap (v4); truncates to the width.
    Bswap,
}

/// Condition of a two-operand jump: taken if `dst cond src` (RFC 9669 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Unsigned greater.
    Gt,
    /// Unsigned greater or equal.
    Ge,
    /// Unsigned less.
    Lt,
    /// Unsigned less or equal.
    Le,
    /// Signed greater.
    Sgt,
    /// Signed greater or equal.
    Sge,
    /// Signed less.
    Slt,
    /// Signed less or equal.
    Sle,
    /// `dst & src` is not zero.
    Set,
}

/// Atomic read-modify-write (RFC 9669 §5.3), on 4 or 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AtomicOp {
    /// `*(dst + off) += src`.
    Add,
    /// `*(dst + off) |= src`.
    Or,
    /// `*(dst + off) &= src`.
    And,
    /// `*(dst + off) ^= src`.
    Xor,
    /// As [`AtomicOp::Add`]; `src` receives the old value.
    FetchAdd,
    /// As [`AtomicOp::Or`]; `src` receives the old value.
    FetchOr,
    /// As [`AtomicOp::And`]; `src` receives the old value.
    FetchAnd,
    /// As [`AtomicOp::Xor`]; `src` receives the old value.
    FetchXor,
    /// Exchange with `src`, which receives the old value.
    Xchg,
    /// If equal to r0, store `src`; r0 receives the old value in any case.
    Cmpxchg,
}

impl AtomicOp {
    /// Whether a register receives the old value (`src`, or r0 for [`AtomicOp::Cmpxchg`]).
    pub const fn fetches(self) -> bool {
        !matches!(
            self,
            AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor
        )
    }
}

/// What a two-slot load (LDDW) puts into its register (RFC 9669 §5.4; the names in brackets are
/// the kernel's pseudo sources).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wide {
    /// The 64-bit number (source 0).
    Value(u64),
    /// The map with this file descriptor (`BPF_PSEUDO_MAP_FD`, 1).
    MapFd(i32),
    /// An address inside the only value of the map with this file descriptor
    /// (`BPF_PSEUDO_MAP_VALUE`, 2).
    MapFdValue {
        /// File descriptor.
        fd: i32,
        /// Byte offset in the value.
        offset: u32,
    },
    /// A kernel variable by BTF id (`BPF_PSEUDO_BTF_ID`, 3).
    BtfId {
        /// BTF type id.
        id: i32,
        /// File descriptor of the module's BTF, 0 for the kernel.
        module: i32,
    },
    /// The address of a function, `offset` slots after the next instruction's slot
    /// (`BPF_PSEUDO_FUNC`, 4).
    Function {
        /// Slots, relative to this instruction's pc + 1.
        offset: i32,
    },
    /// The map with this index in the program's map list (`BPF_PSEUDO_MAP_IDX`, 5). Linked
    /// programs use only this and [`Wide::MapValue`] for maps.
    Map(u32),
    /// An address inside value 0 of the map with this index (`BPF_PSEUDO_MAP_IDX_VALUE`, 6).
    MapValue {
        /// Index in the program's map list.
        map: u32,
        /// Byte offset in the value.
        offset: u32,
    },
}

/// What a call instruction calls (RFC 9669 §4.3.1, §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallTarget {
    /// A helper by its static id.
    Helper(u32),
    /// A function of the program, `offset` slots after the next instruction.
    Local {
        /// Slots, relative to this instruction's pc + 1.
        offset: i32,
    },
    /// A kernel function by BTF id (`BPF_PSEUDO_KFUNC_CALL`).
    Kfunc {
        /// BTF id of the function; -1 as clang emits it before relocation.
        id: i32,
        /// Index of the module's BTF in the fd array, 0 for the kernel.
        module: i16,
    },
    /// The address in a register (`callx`); no Linux version accepts it.
    Reg(Reg),
}

/// Base of a legacy packet load (RFC 9669 §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketBase {
    /// `LD_ABS`: the immediate alone.
    Abs,
    /// `LD_IND`: register + immediate.
    Ind(Reg),
}

/// A decoded instruction. All jump offsets count slots relative to the next slot (pc + 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Insn {
    /// `dst = dst op src`.
    Alu {
        /// Operation.
        op: AluOp,
        /// Width of the operation.
        width: Width,
        /// Destination and first operand.
        dst: Reg,
        /// Second operand.
        src: Operand,
    },
    /// `dst = -dst`, wrapping.
    Neg {
        /// Width of the operation.
        width: Width,
        /// Operand and destination.
        dst: Reg,
    },
    /// `dst = (s8/s16/s32) src` (v4); a 32-bit form zero-extends its 32-bit result.
    MovSx {
        /// Width of the result.
        width: Width,
        /// Destination.
        dst: Reg,
        /// Source.
        src: Reg,
        /// Bits taken from `src`: 8, 16, or (64-bit form only) 32.
        bits: u8,
    },
    /// Byte-order conversion of `dst`.
    Swap {
        /// Which conversion.
        kind: SwapKind,
        /// 16, 32 or 64.
        bits: u8,
        /// Operand and destination.
        dst: Reg,
    },
    /// Two-slot load of 64 bits (LDDW). The next slot is [`Insn::WideTail`].
    LoadWide {
        /// Destination.
        dst: Reg,
        /// What is loaded.
        value: Wide,
    },
    /// Second slot of [`Insn::LoadWide`]; never executed, never a jump target.
    WideTail,
    /// `dst = *(size *)(base + offset)`.
    Load {
        /// Width of the access.
        size: MemSize,
        /// Sign-extend to 64 bits (v4); else zero-extend.
        signed: bool,
        /// Destination.
        dst: Reg,
        /// Address register.
        base: Reg,
        /// Byte offset.
        offset: i16,
    },
    /// `*(size *)(base + offset) = src`; an immediate is sign-extended to 64 bits, then
    /// truncated to the size.
    Store {
        /// Width of the access.
        size: MemSize,
        /// Address register.
        base: Reg,
        /// Byte offset.
        offset: i16,
        /// What is stored.
        src: Operand,
    },
    /// Atomic read-modify-write of `*(size *)(base + offset)`.
    Atomic {
        /// Operation.
        op: AtomicOp,
        /// [`MemSize::W`] or [`MemSize::DW`].
        size: MemSize,
        /// Address register.
        base: Reg,
        /// Byte offset.
        offset: i16,
        /// Operand; receives the old value if the operation fetches (but for cmpxchg).
        src: Reg,
    },
    /// `dst = load_acquire((size *)(base + offset))` (Linux 6.15), zero-extended.
    LoadAcquire {
        /// Width of the access.
        size: MemSize,
        /// Destination.
        dst: Reg,
        /// Address register.
        base: Reg,
        /// Byte offset.
        offset: i16,
    },
    /// `store_release((size *)(base + offset), src)` (Linux 6.15).
    StoreRelease {
        /// Width of the access.
        size: MemSize,
        /// Address register.
        base: Reg,
        /// Byte offset.
        offset: i16,
        /// What is stored.
        src: Reg,
    },
    /// Legacy packet load into r0, big-endian to host; r6 is the context, r1 to r5 are
    /// clobbered, and out of bounds ends the program with 0.
    LoadPacket {
        /// Width of the access (1, 2 or 4 bytes).
        size: MemSize,
        /// Absolute or register-relative.
        base: PacketBase,
        /// Byte offset in the packet.
        offset: i32,
    },
    /// Unconditional jump.
    Jump {
        /// Slots, relative to pc + 1.
        offset: i32,
        /// Encoded as `gotol` (v4, 32-bit offset in the immediate).
        long: bool,
    },
    /// Jump if `dst cond src`.
    Branch {
        /// Condition.
        cond: Cond,
        /// Width of the comparison.
        width: Width,
        /// First operand.
        dst: Reg,
        /// Second operand.
        src: Operand,
        /// Slots, relative to pc + 1.
        offset: i16,
    },
    /// `may_goto` (Linux 6.9): jumps once its hidden iteration budget is used up.
    MayGoto {
        /// Slots, relative to pc + 1.
        offset: i16,
    },
    /// Function call; r0 receives the result, r1 to r5 are clobbered.
    Call(CallTarget),
    /// Return from the function, or end the program with r0.
    Exit,
}

impl Insn {
    /// The pc of the instruction that a jump, branch or `may_goto` at `pc` goes to when taken;
    /// `None` for every other instruction. The result can lie outside the program.
    pub fn jump_target(&self, pc: usize) -> Option<i64> {
        let offset = match *self {
            Insn::Jump { offset, .. } => i64::from(offset),
            Insn::Branch { offset, .. } | Insn::MayGoto { offset } => i64::from(offset),
            _ => return None,
        };
        Some(pc as i64 + 1 + offset)
    }

    /// The pc of the first instruction of the function that a local call, or a load of a
    /// function's address, at `pc` names; `None` for every other instruction.
    pub fn function_target(&self, pc: usize) -> Option<i64> {
        match *self {
            Insn::Call(CallTarget::Local { offset })
            | Insn::LoadWide {
                value: Wide::Function { offset },
                ..
            } => Some(pc as i64 + 1 + i64::from(offset)),
            _ => None,
        }
    }

    /// How many slots the instruction takes: 2 for [`Insn::LoadWide`], else 1.
    pub const fn slots(&self) -> usize {
        if matches!(self, Insn::LoadWide { .. }) {
            2
        } else {
            1
        }
    }
}
