//! Loads, stores and atomics.

use super::super::error::AsmErrorKind;
use super::super::token::{Cursor, Parsed, Token};
use crate::ebpf::insn::{AtomicOp, Insn, MemSize, Operand, PacketBase, Reg, Width};

/// The operation of an atomic written as a call, and its size where the name tells it.
pub(super) fn fetching(text: &str) -> Option<(AtomicOp, Option<MemSize>)> {
    Some(match text {
        "atomic_fetch_add" | "atomic64_fetch_add" => (AtomicOp::FetchAdd, None),
        "atomic_fetch_or" | "atomic64_fetch_or" => (AtomicOp::FetchOr, None),
        "atomic_fetch_and" | "atomic64_fetch_and" => (AtomicOp::FetchAnd, None),
        "atomic_fetch_xor" | "atomic64_fetch_xor" => (AtomicOp::FetchXor, None),
        "atomic_xchg" | "atomic64_xchg" => (AtomicOp::Xchg, None),
        "atomic_cmpxchg" | "atomic64_cmpxchg" => (AtomicOp::Cmpxchg, None),
        "xchg_64" => (AtomicOp::Xchg, Some(MemSize::DW)),
        "xchg32_32" => (AtomicOp::Xchg, Some(MemSize::W)),
        "cmpxchg_64" => (AtomicOp::Cmpxchg, Some(MemSize::DW)),
        "cmpxchg32_32" => (AtomicOp::Cmpxchg, Some(MemSize::W)),
        _ => return None,
    })
}

/// `((u64 *)(r1 + 0), r2)`, `(r1 + 0, r0, r2)`.
pub(super) fn atomic_call(
    cursor: &mut Cursor<'_>,
    width: Width,
    dst: Reg,
    op: AtomicOp,
    size: Option<MemSize>,
) -> Parsed<Insn> {
    if op == AtomicOp::Cmpxchg && dst != Reg::R0 {
        return cursor.expected("r0 on the left: it receives the old value of cmpxchg");
    }
    cursor.need("(", "`(`")?;
    let (size, (base, offset)) = match size {
        Some(size) => (size, base_and_offset(cursor)?),
        None => (atomic_size(cursor)?, address(cursor)?),
    };
    if width == Width::W32 && size == MemSize::DW {
        return cursor.expected("a 64-bit register to receive 8 bytes");
    }
    cursor.need(",", "`,`")?;
    let src = if op == AtomicOp::Cmpxchg {
        cursor.register_again(width, Reg::R0)?;
        cursor.need(",", "`,`")?;
        cursor.register_of(width)?
    } else {
        cursor.register_again(width, dst)?;
        dst
    };
    cursor.need(")", "`)`")?;
    Ok(Insn::Atomic {
        op,
        size,
        base,
        offset,
        src,
    })
}

/// `(u32 *)` or `(u64 *)`.
fn atomic_size(cursor: &mut Cursor<'_>) -> Parsed<MemSize> {
    let at = cursor.ahead(1);
    match (pointed(cursor)?, at) {
        (size @ (MemSize::W | MemSize::DW), _) | (size, None) => Ok(size),
        (_, Some(token)) => {
            let expected = "u32 or u64: atomics are 4 or 8 bytes wide";
            Err(cursor.error_at(token, AsmErrorKind::Expected { expected }))
        }
    }
}

/// A 32-bit register cannot take 8 bytes.
pub(super) fn narrow(
    cursor: &Cursor<'_>,
    at: Token<'_>,
    width: Width,
    size: MemSize,
) -> Parsed<()> {
    if width == Width::W32 && size == MemSize::DW {
        let expected = "a 64-bit register (r0 to r10) for 8 bytes";
        return Err(cursor.error_at(at, AsmErrorKind::Expected { expected }));
    }
    Ok(())
}

/// `*(u32 *)(r1 + 4)` or `*(u16 *)skb[4]`.
pub(super) fn load(cursor: &mut Cursor<'_>, width: Width, dst: Reg) -> Parsed<Insn> {
    cursor.need("*", "`*`")?;
    let at = cursor.ahead(1);
    let (size, signed) = pointer_type(cursor)?;
    if cursor.take("skb") {
        if dst != Reg::R0 {
            return cursor.expected("r0 on the left of a packet load");
        }
        if let (true, Some(at)) = (signed || size == MemSize::DW, at) {
            let expected = "u8, u16 or u32 for a packet load";
            return Err(cursor.error_at(at, AsmErrorKind::Expected { expected }));
        }
        return packet(cursor, size);
    }
    if width == Width::W32 && (signed || size == MemSize::DW) {
        return cursor.expected("a load of at most 4 bytes, without sign, into a 32-bit register");
    }
    let (base, offset) = address(cursor)?;
    Ok(Insn::Load {
        size,
        signed,
        dst,
        base,
        offset,
    })
}

/// `[4]`, `[r3]`, `[r3 + 4]`.
fn packet(cursor: &mut Cursor<'_>, size: MemSize) -> Parsed<Insn> {
    let bounds = (i128::from(i32::MIN), i128::from(i32::MAX));
    cursor.need("[", "`[`")?;
    let (base, offset) = if cursor.at_number() {
        (
            PacketBase::Abs,
            cursor.number("the offset", bounds.0, bounds.1)? as i32,
        )
    } else {
        let base = PacketBase::Ind(cursor.register64()?);
        let more = cursor.at_number();
        (
            base,
            if more {
                cursor.number("the offset", bounds.0, bounds.1)? as i32
            } else {
                0
            },
        )
    };
    cursor.need("]", "`]`")?;
    Ok(Insn::LoadPacket { size, base, offset })
}

/// `(u32 *)`: size, and whether signed.
fn pointer_type(cursor: &mut Cursor<'_>) -> Parsed<(MemSize, bool)> {
    cursor.need("(", "`(`")?;
    let found = match cursor.peek().map_or("", |token| token.text) {
        "u8" => (MemSize::B, false),
        "u16" => (MemSize::H, false),
        "u32" => (MemSize::W, false),
        "u64" => (MemSize::DW, false),
        "s8" => (MemSize::B, true),
        "s16" => (MemSize::H, true),
        "s32" => (MemSize::W, true),
        _ => return cursor.expected("one of u8, u16, u32, u64, s8, s16, s32"),
    };
    cursor.advance();
    cursor.need("*", "`*`")?;
    cursor.need(")", "`)`")?;
    Ok(found)
}

/// `(u32 *)`, unsigned.
pub(super) fn pointed(cursor: &mut Cursor<'_>) -> Parsed<MemSize> {
    let at = cursor.ahead(1);
    match (pointer_type(cursor)?, at) {
        ((_, true), Some(token)) => {
            let expected = "one of u8, u16, u32, u64";
            Err(cursor.error_at(token, AsmErrorKind::Expected { expected }))
        }
        ((size, _), _) => Ok(size),
    }
}

/// `(r1 + 4)`.
pub(super) fn address(cursor: &mut Cursor<'_>) -> Parsed<(Reg, i16)> {
    cursor.need("(", "`(`")?;
    let found = base_and_offset(cursor)?;
    cursor.need(")", "`)`")?;
    Ok(found)
}

/// `r1 + 4`.
fn base_and_offset(cursor: &mut Cursor<'_>) -> Parsed<(Reg, i16)> {
    Ok((cursor.register64()?, cursor.offset()?))
}

/// `*(u32 *)(r1 + 4) = r2`.
pub(super) fn store(cursor: &mut Cursor<'_>) -> Parsed<Insn> {
    cursor.need("*", "`*`")?;
    let size = pointed(cursor)?;
    let (base, offset) = address(cursor)?;
    cursor.need("=", "`=` (a read-modify-write begins with `lock`)")?;
    let src = if cursor.at_number() {
        let width = if size == MemSize::DW {
            Width::W64
        } else {
            Width::W32
        };
        Operand::Imm(cursor.immediate(width)?)
    } else {
        Operand::Reg(cursor.register_for(size)?.1)
    };
    Ok(Insn::Store {
        size,
        base,
        offset,
        src,
    })
}

/// `*(u64 *)(r1 + 0) += r2`, after `lock`.
pub(super) fn lock(cursor: &mut Cursor<'_>) -> Parsed<Insn> {
    cursor.need("*", "`*`")?;
    let size = atomic_size(cursor)?;
    let (base, offset) = address(cursor)?;
    let op = match cursor.peek().map_or("", |token| token.text) {
        "+=" => AtomicOp::Add,
        "|=" => AtomicOp::Or,
        "&=" => AtomicOp::And,
        "^=" => AtomicOp::Xor,
        _ => return cursor.expected("`+=`, `|=`, `&=` or `^=`"),
    };
    cursor.advance();
    let (_, src) = cursor.register_for(size)?;
    Ok(Insn::Atomic {
        op,
        size,
        base,
        offset,
        src,
    })
}
