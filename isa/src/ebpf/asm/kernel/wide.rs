//! Two-slot loads of anything but a number, and the bracketed numbers they share with calls.

use super::super::token::{Cursor, Parsed};
use super::super::{Builder, Use};
use crate::ebpf::insn::{Insn, Reg, Wide};

/// `KEY:5`.
pub(super) fn keyed(cursor: &mut Cursor<'_>, key: &str, expected: &'static str) -> Parsed<i32> {
    cursor.need(key, expected)?;
    cursor.need(":", "`:`")?;
    Ok(cursor.number("the number", i32::MIN.into(), u32::MAX.into())? as i32)
}

/// `module:5`.
pub(super) fn module(cursor: &mut Cursor<'_>) -> Parsed<i16> {
    cursor.need("module", "`module:` of the kernel function")?;
    cursor.need(":", "`:`")?;
    Ok(cursor.number("the module", i16::MIN.into(), i16::MAX.into())? as i16)
}

/// A two-slot load that does not start with a number: maps, functions, kernel variables.
pub(super) fn wide(cursor: &mut Cursor<'_>, program: &mut Builder, dst: Reg) -> Parsed<Insn> {
    let name = cursor.word("a value")?;
    let bracket = cursor.peek().is_some_and(|token| token.text == "[");
    let value = match name.text {
        "map" if bracket => map(cursor, program)?,
        "btf" if bracket => {
            cursor.advance();
            let id = keyed(cursor, "id", "`id:` of the variable")?;
            let module = if cursor.take(",") {
                keyed(cursor, "fd", "`fd:`")?
            } else {
                0
            };
            cursor.need("]", "`]`")?;
            Wide::BtfId { id, module }
        }
        "subprog" if bracket => {
            cursor.advance();
            let offset = cursor.number("the offset", i32::MIN.into(), i32::MAX.into())? as i32;
            cursor.need("]", "`]`")?;
            Wide::Function { offset }
        }
        _ => {
            program.refer(name, cursor.line(), Use::Load);
            if cursor.take("+") {
                let offset = value_offset(cursor)?;
                Wide::MapValue { map: 0, offset }
            } else {
                Wide::Map(0)
            }
        }
    };
    cursor.need("ll", "`ll`")?;
    Ok(Insn::LoadWide { dst, value })
}

/// `[NAME]`, `[fd:5]` or `[idx:0]`, each also with `[0]+8` behind.
fn map(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<Wide> {
    cursor.need("[", "`[`")?;
    let numbered = cursor.ahead(1).is_some_and(|token| token.text == ":");
    let (fd, number) = if numbered {
        let fd = cursor.take("fd");
        if !fd && !cursor.take("idx") {
            return cursor.expected("`fd:` or `idx:`");
        }
        cursor.need(":", "`:`")?;
        (
            fd,
            cursor.number("the number", i32::MIN.into(), u32::MAX.into())? as u32,
        )
    } else {
        let name = cursor.word("the name of a map")?;
        program.refer(name, cursor.line(), Use::Map);
        (false, 0)
    };
    cursor.need("]", "`]`")?;
    let in_value = if cursor.take("[") {
        cursor.need("0", "`0`: only the first value has an address")?;
        cursor.need("]", "`]`")?;
        true
    } else {
        cursor.peek().is_some_and(|token| token.text == "+")
    };
    let offset = if in_value {
        if cursor.take("+") {
            Some(value_offset(cursor)?)
        } else {
            Some(0)
        }
    } else {
        None
    };
    Ok(match (fd, offset) {
        (true, None) => Wide::MapFd(number as i32),
        (true, Some(offset)) => Wide::MapFdValue {
            fd: number as i32,
            offset,
        },
        (false, None) => Wide::Map(number),
        (false, Some(offset)) => Wide::MapValue {
            map: number,
            offset,
        },
    })
}

fn value_offset(cursor: &mut Cursor<'_>) -> Parsed<u32> {
    Ok(cursor.number("the offset in the value", 0, u32::MAX.into())? as u32)
}
