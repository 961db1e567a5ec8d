//! One instruction in the kernel's and LLVM's form.

mod control;
mod memory;
mod wide;

use super::Builder;
use super::token::{Cursor, Kind, Parsed, register};
use crate::ebpf::insn::{AluOp, CallTarget, Insn, Operand, Reg, SwapKind, Wide, Width};
use control::{branch, call, target, target16};
use memory::{address, atomic_call, fetching, load, lock, narrow, pointed, store};
use wide::wide;

/// Reads the instruction and appends it.
pub(super) fn instruction(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<()> {
    let line = cursor.line();
    let insn = parse(cursor, program)?;
    program.push(insn, line);
    Ok(())
}

fn parse(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<Insn> {
    if let Some((width, dst)) = cursor.take_register() {
        return assignment(cursor, program, width, dst);
    }
    match cursor.peek().map_or("", |token| token.text) {
        "*" => store(cursor),
        "lock" => {
            cursor.advance();
            lock(cursor)
        }
        "if" => {
            cursor.advance();
            branch(cursor, program)
        }
        "goto" => {
            cursor.advance();
            let offset = i32::from(target16(cursor, program)?);
            Ok(Insn::Jump {
                offset,
                long: false,
            })
        }
        "gotol" => {
            cursor.advance();
            let offset = target(cursor, program, i32::MIN, i32::MAX)?;
            Ok(Insn::Jump { offset, long: true })
        }
        "may_goto" => {
            cursor.advance();
            Ok(Insn::MayGoto {
                offset: target16(cursor, program)?,
            })
        }
        "call" => {
            cursor.advance();
            call(cursor, program)
        }
        "callx" => {
            cursor.advance();
            Ok(Insn::Call(CallTarget::Reg(cursor.register64()?)))
        }
        "exit" => {
            cursor.advance();
            Ok(Insn::Exit)
        }
        "store_release" => {
            cursor.advance();
            cursor.need("(", "`(`")?;
            let size = pointed(cursor)?;
            let (base, offset) = address(cursor)?;
            cursor.need(",", "`,`")?;
            let (_, src) = cursor.register_for(size)?;
            cursor.need(")", "`)`")?;
            Ok(Insn::StoreRelease {
                size,
                base,
                offset,
                src,
            })
        }
        _ => cursor.expected("an instruction"),
    }
}

/// What follows a register at the start of a line.
fn assignment(
    cursor: &mut Cursor<'_>,
    program: &mut Builder,
    width: Width,
    dst: Reg,
) -> Parsed<Insn> {
    if cursor.take("=") {
        return value(cursor, program, width, dst);
    }
    let Some(op) = operator(cursor, &AluOp::ALL, AluOp::operator) else {
        return cursor.expected("`=` or an operator such as `+=`, `s/=`, `s>>=`");
    };
    Ok(Insn::Alu {
        op,
        width,
        dst,
        src: operand(cursor, width)?,
    })
}

/// The operation whose operator is next, also with an `s` before it.
fn operator<T: Copy>(cursor: &mut Cursor<'_>, all: &[T], text: fn(T) -> &'static str) -> Option<T> {
    let first = cursor.peek()?;
    let signed = first.text == "s";
    let sign = if signed {
        cursor.ahead(1)?.text
    } else {
        first.text
    };
    let found = all
        .iter()
        .copied()
        .find(|&op| match text(op).strip_prefix('s') {
            Some(rest) => signed && rest == sign,
            None => !signed && text(op) == sign,
        })?;
    cursor.advance();
    if signed {
        cursor.advance();
    }
    Some(found)
}

/// A register or an immediate of this width.
fn operand(cursor: &mut Cursor<'_>, width: Width) -> Parsed<Operand> {
    if cursor.at_number() {
        return Ok(Operand::Imm(cursor.immediate(width)?));
    }
    if cursor
        .peek()
        .is_some_and(|token| register(token.text).is_some())
    {
        return Ok(Operand::Reg(cursor.register_of(width)?));
    }
    cursor.expected("a register or a number")
}

/// What follows `REGISTER =`.
fn value(cursor: &mut Cursor<'_>, program: &mut Builder, width: Width, dst: Reg) -> Parsed<Insn> {
    if cursor.at_number() {
        return number(cursor, width, dst);
    }
    let Some(token) = cursor.peek() else {
        return cursor.expected("a value");
    };
    if let (Width::W64, Some((Width::W32, src))) = (width, register(token.text)) {
        // Clang writes `r8 = w2` for the 32-bit move, which zero-extends.
        cursor.advance();
        let src = Operand::Reg(src);
        return Ok(Insn::Alu {
            op: AluOp::Mov,
            width: Width::W32,
            dst,
            src,
        });
    }
    if register(token.text).is_some() {
        let src = Operand::Reg(cursor.register_of(width)?);
        return Ok(Insn::Alu {
            op: AluOp::Mov,
            width,
            dst,
            src,
        });
    }
    match token.text {
        "-" => {
            cursor.advance();
            cursor.register_again(width, dst)?;
            Ok(Insn::Neg { width, dst })
        }
        "(" => sign_extension(cursor, width, dst),
        "*" => load(cursor, width, dst),
        "load_acquire" => {
            cursor.advance();
            cursor.need("(", "`(`")?;
            let size = pointed(cursor)?;
            narrow(cursor, token, width, size)?;
            let (base, offset) = address(cursor)?;
            cursor.need(")", "`)`")?;
            Ok(Insn::LoadAcquire {
                size,
                dst,
                base,
                offset,
            })
        }
        text => {
            if let Some((kind, bits)) = swap(text) {
                if width == Width::W32 {
                    return cursor.expected("a swap of a 64-bit register (r0 to r10)");
                }
                cursor.advance();
                cursor.register_again(width, dst)?;
                Ok(Insn::Swap { kind, bits, dst })
            } else if let Some((op, size)) = fetching(text)
                && cursor.ahead(1).is_some_and(|next| next.text == "(")
            {
                cursor.advance();
                atomic_call(cursor, width, dst, op, size)
            } else if token.kind == Kind::Word
                && width == Width::W64
                && cursor
                    .ahead(1)
                    .is_some_and(|next| matches!(next.text, "[" | "+" | "ll"))
            {
                wide(cursor, program, dst)
            } else {
                cursor.expected("a register, a number, a name with `ll`, or an access to memory")
            }
        }
    }
}

/// `7`, or `0x1122334455667788 ll`.
fn number(cursor: &mut Cursor<'_>, width: Width, dst: Reg) -> Parsed<Insn> {
    let signed = cursor.peek().is_some_and(|token| token.kind == Kind::Sign);
    if cursor
        .ahead(if signed { 2 } else { 1 })
        .is_some_and(|token| token.text == "ll")
    {
        if width == Width::W32 {
            return cursor.expected("a 32-bit number without `ll` for a 32-bit register");
        }
        let value = cursor.number("the number", i64::MIN.into(), u64::MAX.into())?;
        cursor.advance();
        return Ok(Insn::LoadWide {
            dst,
            value: Wide::Value(value as u64),
        });
    }
    let src = Operand::Imm(cursor.immediate(width)?);
    Ok(Insn::Alu {
        op: AluOp::Mov,
        width,
        dst,
        src,
    })
}

/// `(s8)r2`.
fn sign_extension(cursor: &mut Cursor<'_>, width: Width, dst: Reg) -> Parsed<Insn> {
    cursor.need("(", "`(`")?;
    let bits = match (cursor.peek().map_or("", |token| token.text), width) {
        ("s8", _) => 8,
        ("s16", _) => 16,
        ("s32", Width::W64) => 32,
        (_, Width::W64) => return cursor.expected("s8, s16 or s32"),
        (_, Width::W32) => return cursor.expected("s8 or s16"),
    };
    cursor.advance();
    cursor.need(")", "`)`")?;
    let src = cursor.register_of(width)?;
    Ok(Insn::MovSx {
        width,
        dst,
        src,
        bits,
    })
}

/// `le16`, `be32`, `bswap64` (also `swap64`).
fn swap(text: &str) -> Option<(SwapKind, u8)> {
    let (kind, bits) = if let Some(bits) = text.strip_prefix("le") {
        (SwapKind::ToLe, bits)
    } else if let Some(bits) = text.strip_prefix("be") {
        (SwapKind::ToBe, bits)
    } else {
        (
            SwapKind::Bswap,
            text.strip_prefix("bswap")
                .or_else(|| text.strip_prefix("swap"))?,
        )
    };
    match bits {
        "16" => Some((kind, 16)),
        "32" => Some((kind, 32)),
        "64" => Some((kind, 64)),
        _ => None,
    }
}
