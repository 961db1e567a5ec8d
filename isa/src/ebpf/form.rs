//! From a row's operation and the fields of a slot to an [`Insn`], and back.
//!
//! [`Form`] is what is left of an instruction without its operands; each row of the table has
//! one of its own.

use super::insn::{
    AluOp, AtomicOp, CallTarget, Cond, Insn, MemSize, Operand, PacketBase, Reg, SwapKind, Wide,
    Width,
};

/// Where the second operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The immediate.
    Imm,
    /// The source register.
    Reg,
}

/// What a two-slot load loads; the order is that of the source field, 0 to 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WideKind {
    Value,
    MapFd,
    MapFdValue,
    BtfId,
    Function,
    Map,
    MapValue,
}

/// An instruction without its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Alu(AluOp, Width, Source),
    Neg(Width),
    /// Result width; bits taken: 8, 16 or 32.
    MovSx(Width, u8),
    /// 16, 32 or 64 bits.
    Swap(SwapKind, u8),
    Wide(WideKind),
    /// Sign-extending or not.
    Load(MemSize, bool),
    Store(MemSize, Source),
    Atomic(AtomicOp, MemSize),
    LoadAcquire(MemSize),
    StoreRelease(MemSize),
    PacketAbs(MemSize),
    PacketInd(MemSize),
    /// `gotol` or not.
    Jump(bool),
    Branch(Cond, Width, Source),
    MayGoto,
    CallHelper,
    CallLocal,
    CallKfunc,
    CallReg,
    Exit,
    /// The second slot of a two-slot load.
    Tail,
    /// A value of [`Insn`] that no bytes stand for.
    Unencodable,
}

const ALU: usize = 0;
const NEG: usize = ALU + 14 * 4;
const MOVSX: usize = NEG + 2;
const SWAP: usize = MOVSX + 2 * 4;
const WIDE: usize = SWAP + 3 * 4;
const LOAD: usize = WIDE + 7;
const STORE: usize = LOAD + 4 * 2;
const ATOMIC: usize = STORE + 4 * 2;
const LOAD_ACQUIRE: usize = ATOMIC + 10 * 4;
const STORE_RELEASE: usize = LOAD_ACQUIRE + 4;
const PACKET_ABS: usize = STORE_RELEASE + 4;
const PACKET_IND: usize = PACKET_ABS + 4;
const JUMP: usize = PACKET_IND + 4;
const BRANCH: usize = JUMP + 2;
const REST: usize = BRANCH + 11 * 4;

/// 0 to 3 for 8, 16, 32 and 64 bits; a number of bits outside these has no row of its own.
const fn bits_index(bits: u8) -> usize {
    match bits {
        8 => 0,
        16 => 1,
        32 => 2,
        _ => 3,
    }
}

impl Form {
    /// One more than the largest key.
    pub(super) const KEYS: usize = REST + 8;

    /// A small number, different for each form.
    pub(super) const fn key(self) -> usize {
        match self {
            Form::Alu(op, width, source) => {
                ALU + op as usize * 4 + width as usize * 2 + source as usize
            }
            Form::Neg(width) => NEG + width as usize,
            Form::MovSx(width, bits) => MOVSX + width as usize * 4 + bits_index(bits),
            Form::Swap(kind, bits) => SWAP + kind as usize * 4 + bits_index(bits),
            Form::Wide(kind) => WIDE + kind as usize,
            Form::Load(size, signed) => LOAD + size as usize * 2 + signed as usize,
            Form::Store(size, source) => STORE + size as usize * 2 + source as usize,
            Form::Atomic(op, size) => ATOMIC + op as usize * 4 + size as usize,
            Form::LoadAcquire(size) => LOAD_ACQUIRE + size as usize,
            Form::StoreRelease(size) => STORE_RELEASE + size as usize,
            Form::PacketAbs(size) => PACKET_ABS + size as usize,
            Form::PacketInd(size) => PACKET_IND + size as usize,
            Form::Jump(long) => JUMP + long as usize,
            Form::Branch(cond, width, source) => {
                BRANCH + cond as usize * 4 + width as usize * 2 + source as usize
            }
            Form::MayGoto => REST,
            Form::CallHelper => REST + 1,
            Form::CallLocal => REST + 2,
            Form::CallKfunc => REST + 3,
            Form::CallReg => REST + 4,
            Form::Exit => REST + 5,
            Form::Tail => REST + 6,
            Form::Unencodable => REST + 7,
        }
    }
}

impl Form {
    /// Whether the second slot of a two-slot load has an operand of its own.
    pub(super) const fn uses_next_imm(self) -> bool {
        matches!(
            self,
            Form::Wide(
                WideKind::Value | WideKind::MapFdValue | WideKind::BtfId | WideKind::MapValue
            )
        )
    }
}

/// The fields of a slot, and the immediate of the next one for two-slot loads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// Register number.
    pub(super) dst: u8,
    /// Register number, or a selector.
    pub(super) src: u8,
    /// Offset.
    pub(super) offset: i16,
    /// Immediate.
    pub(super) imm: i32,
    /// Immediate of the second slot.
    pub(super) next_imm: i32,
}

impl Source {
    const fn of(operand: Operand) -> Source {
        match operand {
            Operand::Imm(_) => Source::Imm,
            Operand::Reg(_) => Source::Reg,
        }
    }
}

impl Insn {
    /// The instruction without its operands.
    pub(super) const fn form(&self) -> Form {
        match *self {
            Insn::Alu { op, width, src, .. } => Form::Alu(op, width, Source::of(src)),
            Insn::Neg { width, .. } => Form::Neg(width),
            Insn::MovSx { width, bits, .. } => match (width, bits) {
                (_, 8 | 16) | (Width::W64, 32) => Form::MovSx(width, bits),
                _ => Form::Unencodable,
            },
            Insn::Swap { kind, bits, .. } => match bits {
                16 | 32 | 64 => Form::Swap(kind, bits),
                _ => Form::Unencodable,
            },
            Insn::LoadWide { value, .. } => Form::Wide(match value {
                Wide::Value(_) => WideKind::Value,
                Wide::MapFd(_) => WideKind::MapFd,
                Wide::MapFdValue { .. } => WideKind::MapFdValue,
                Wide::BtfId { .. } => WideKind::BtfId,
                Wide::Function { .. } => WideKind::Function,
                Wide::Map(_) => WideKind::Map,
                Wide::MapValue { .. } => WideKind::MapValue,
            }),
            Insn::WideTail => Form::Tail,
            Insn::Load {
                size: MemSize::DW,
                signed: true,
                ..
            }
            | Insn::Atomic {
                size: MemSize::B | MemSize::H,
                ..
            }
            | Insn::LoadPacket {
                size: MemSize::DW, ..
            } => Form::Unencodable,
            Insn::Load { size, signed, .. } => Form::Load(size, signed),
            Insn::Store { size, src, .. } => Form::Store(size, Source::of(src)),
            Insn::Atomic { op, size, .. } => Form::Atomic(op, size),
            Insn::LoadAcquire { size, .. } => Form::LoadAcquire(size),
            Insn::StoreRelease { size, .. } => Form::StoreRelease(size),
            Insn::LoadPacket {
                size,
                base: PacketBase::Abs,
                ..
            } => Form::PacketAbs(size),
            Insn::LoadPacket {
                size,
                base: PacketBase::Ind(_),
                ..
            } => Form::PacketInd(size),
            Insn::Jump { offset, long } => {
                if long || offset as i16 as i32 == offset {
                    Form::Jump(long)
                } else {
                    Form::Unencodable
                }
            }
            Insn::Branch {
                cond, width, src, ..
            } => Form::Branch(cond, width, Source::of(src)),
            Insn::MayGoto { .. } => Form::MayGoto,
            Insn::Call(CallTarget::Helper(_)) => Form::CallHelper,
            Insn::Call(CallTarget::Local { .. }) => Form::CallLocal,
            Insn::Call(CallTarget::Kfunc { .. }) => Form::CallKfunc,
            Insn::Call(CallTarget::Reg(_)) => Form::CallReg,
            Insn::Exit => Form::Exit,
        }
    }

    /// The operands in their fields; selectors and reserved fields are 0.
    pub(super) const fn fields(&self) -> Fields {
        const ZERO: Fields = Fields {
            dst: 0,
            src: 0,
            offset: 0,
            imm: 0,
            next_imm: 0,
        };
        /// Destination and operand.
        const fn operand(dst: Reg, src: Operand, offset: i16) -> Fields {
            match src {
                Operand::Reg(src) => registers(dst, src, offset),
                Operand::Imm(imm) => Fields {
                    dst: dst.number(),
                    offset,
                    imm,
                    ..ZERO
                },
            }
        }
        /// Two registers and an offset.
        const fn registers(dst: Reg, src: Reg, offset: i16) -> Fields {
            Fields {
                dst: dst.number(),
                src: src.number(),
                offset,
                ..ZERO
            }
        }
        match *self {
            Insn::Alu { dst, src, .. } => operand(dst, src, 0),
            Insn::Neg { dst, .. } | Insn::Swap { dst, .. } => Fields {
                dst: dst.number(),
                ..ZERO
            },
            Insn::MovSx { dst, src, .. } => registers(dst, src, 0),
            Insn::LoadWide { dst, value } => {
                let (imm, next_imm) = match value {
                    Wide::Value(value) => (value as i32, (value >> 32) as i32),
                    Wide::MapFd(fd) => (fd, 0),
                    Wide::MapFdValue { fd, offset } => (fd, offset as i32),
                    Wide::BtfId { id, module } => (id, module),
                    Wide::Function { offset } => (offset, 0),
                    Wide::Map(index) => (index as i32, 0),
                    Wide::MapValue { map, offset } => (map as i32, offset as i32),
                };
                Fields {
                    dst: dst.number(),
                    imm,
                    next_imm,
                    ..ZERO
                }
            }
            Insn::Load {
                dst, base, offset, ..
            }
            | Insn::LoadAcquire {
                dst, base, offset, ..
            } => registers(dst, base, offset),
            Insn::Store {
                base, offset, src, ..
            } => operand(base, src, offset),
            Insn::Atomic {
                base, offset, src, ..
            }
            | Insn::StoreRelease {
                base, offset, src, ..
            } => registers(base, src, offset),
            Insn::LoadPacket { base, offset, .. } => match base {
                PacketBase::Abs => Fields {
                    imm: offset,
                    ..ZERO
                },
                PacketBase::Ind(src) => Fields {
                    src: src.number(),
                    imm: offset,
                    ..ZERO
                },
            },
            Insn::Jump { offset, long: true } | Insn::Call(CallTarget::Local { offset }) => {
                Fields {
                    imm: offset,
                    ..ZERO
                }
            }
            Insn::Jump {
                offset,
                long: false,
            } => Fields {
                offset: offset as i16,
                ..ZERO
            },
            Insn::Branch {
                dst, src, offset, ..
            } => operand(dst, src, offset),
            Insn::MayGoto { offset } => Fields { offset, ..ZERO },
            Insn::Call(CallTarget::Helper(id)) => Fields {
                imm: id as i32,
                ..ZERO
            },
            Insn::Call(CallTarget::Kfunc { id, module }) => Fields {
                imm: id,
                offset: module,
                ..ZERO
            },
            Insn::Call(CallTarget::Reg(reg)) => Fields {
                dst: reg.number(),
                ..ZERO
            },
            Insn::WideTail | Insn::Exit => ZERO,
        }
    }
}

/// The instruction of this form with these operands. The register fields must be 0 to 10 where
/// the form takes registers from them.
pub(super) fn build(form: Form, fields: Fields, dst: Reg, src: Reg) -> Insn {
    let Fields {
        offset,
        imm,
        next_imm,
        ..
    } = fields;
    let operand = |source| match source {
        Source::Imm => Operand::Imm(imm),
        Source::Reg => Operand::Reg(src),
    };
    match form {
        Form::Alu(op, width, source) => Insn::Alu {
            op,
            width,
            dst,
            src: operand(source),
        },
        Form::Neg(width) => Insn::Neg { width, dst },
        Form::MovSx(width, bits) => Insn::MovSx {
            width,
            dst,
            src,
            bits,
        },
        Form::Swap(kind, bits) => Insn::Swap { kind, bits, dst },
        Form::Wide(kind) => Insn::LoadWide {
            dst,
            value: match kind {
                WideKind::Value => {
                    Wide::Value(u64::from(next_imm as u32) << 32 | u64::from(imm as u32))
                }
                WideKind::MapFd => Wide::MapFd(imm),
                WideKind::MapFdValue => Wide::MapFdValue {
                    fd: imm,
                    offset: next_imm as u32,
                },
                WideKind::BtfId => Wide::BtfId {
                    id: imm,
                    module: next_imm,
                },
                WideKind::Function => Wide::Function { offset: imm },
                WideKind::Map => Wide::Map(imm as u32),
                WideKind::MapValue => Wide::MapValue {
                    map: imm as u32,
                    offset: next_imm as u32,
                },
            },
        },
        Form::Load(size, signed) => Insn::Load {
            size,
            signed,
            dst,
            base: src,
            offset,
        },
        Form::Store(size, source) => Insn::Store {
            size,
            base: dst,
            offset,
            src: operand(source),
        },
        Form::Atomic(op, size) => Insn::Atomic {
            op,
            size,
            base: dst,
            offset,
            src,
        },
        Form::LoadAcquire(size) => Insn::LoadAcquire {
            size,
            dst,
            base: src,
            offset,
        },
        Form::StoreRelease(size) => Insn::StoreRelease {
            size,
            base: dst,
            offset,
            src,
        },
        Form::PacketAbs(size) => Insn::LoadPacket {
            size,
            base: PacketBase::Abs,
            offset: imm,
        },
        Form::PacketInd(size) => Insn::LoadPacket {
            size,
            base: PacketBase::Ind(src),
            offset: imm,
        },
        Form::Jump(false) => Insn::Jump {
            offset: i32::from(offset),
            long: false,
        },
        Form::Jump(true) => Insn::Jump {
            offset: imm,
            long: true,
        },
        Form::Branch(cond, width, source) => Insn::Branch {
            cond,
            width,
            dst,
            src: operand(source),
            offset,
        },
        Form::MayGoto => Insn::MayGoto { offset },
        Form::CallHelper => Insn::Call(CallTarget::Helper(imm as u32)),
        Form::CallLocal => Insn::Call(CallTarget::Local { offset: imm }),
        Form::CallKfunc => Insn::Call(CallTarget::Kfunc {
            id: imm,
            module: offset,
        }),
        Form::CallReg => Insn::Call(CallTarget::Reg(dst)),
        Form::Exit => Insn::Exit,
        Form::Tail | Form::Unencodable => Insn::WideTail,
    }
}
