//! Jumps and calls.

use super::super::token::{Cursor, Kind, Parsed};
use super::super::{Builder, Use};
use super::wide::{keyed, module};
use super::{operand, operator};
use crate::ebpf::insn::{CallTarget, Cond, Insn};

/// `r1 > 7 goto +3`, after `if`.
pub(super) fn branch(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<Insn> {
    let Some((width, dst)) = cursor.take_register() else {
        return cursor.expected("a register (r0 to r10, w0 to w10)");
    };
    let Some(cond) = operator(cursor, &Cond::ALL, Cond::operator) else {
        return cursor.expected("a comparison: == != > >= < <= s> s>= s< s<= &");
    };
    let src = operand(cursor, width)?;
    cursor.need("goto", "`goto`")?;
    Ok(Insn::Branch {
        cond,
        width,
        dst,
        src,
        offset: target16(cursor, program)?,
    })
}

pub(super) fn target16(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<i16> {
    Ok(target(cursor, program, i16::MIN.into(), i16::MAX.into())? as i16)
}

/// `+3`, `-3`, `pc+3`, or a label, for which 0 stands until it is resolved.
pub(super) fn target(
    cursor: &mut Cursor<'_>,
    program: &mut Builder,
    min: i32,
    max: i32,
) -> Parsed<i32> {
    let relative = cursor.peek().is_some_and(|token| token.text == "pc")
        && cursor
            .ahead(1)
            .is_some_and(|token| matches!(token.text, "+" | "-"));
    if relative {
        cursor.advance();
    }
    let local = cursor.peek().filter(|token| {
        token.kind == Kind::Number
            && !token.text.starts_with("0x")
            && token.text.ends_with(['b', 'f'])
    });
    if cursor.at_number() && local.is_none() {
        return Ok(cursor.number("the offset", min.into(), max.into())? as i32);
    }
    let name = match local {
        Some(token) => {
            cursor.advance();
            token
        }
        None => cursor.word("a label, or an offset such as +3")?,
    };
    program.refer(name, cursor.line(), Use::Jump);
    Ok(0)
}

/// What follows `call`.
pub(super) fn call(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<Insn> {
    if cursor.at_number() {
        let id = cursor.number("the helper's id", i32::MIN.into(), u32::MAX.into())?;
        return Ok(Insn::Call(CallTarget::Helper(id as u32)));
    }
    let name = cursor.word("a helper's number or name, a label, or pc+N")?;
    match (name.text, cursor.peek().map(|token| token.text)) {
        ("pc", Some("+" | "-")) => {
            let offset = cursor.number("the offset", i32::MIN.into(), i32::MAX.into())? as i32;
            Ok(Insn::Call(CallTarget::Local { offset }))
        }
        ("kfunc", Some("[")) => {
            cursor.advance();
            if cursor.peek().is_some_and(|token| token.text != "id") {
                let name = cursor.word("the name of a kernel function, or `id:`")?;
                cursor.need("]", "`]`")?;
                program.refer(name, cursor.line(), Use::CallKfunc);
                return Ok(Insn::Call(CallTarget::Local { offset: 0 }));
            }
            let id = keyed(cursor, "id", "`id:` of the kernel function")?;
            let module = if cursor.take(",") { module(cursor)? } else { 0 };
            cursor.need("]", "`]`")?;
            Ok(Insn::Call(CallTarget::Kfunc { id, module }))
        }
        _ => {
            program.refer(name, cursor.line(), Use::Call);
            Ok(Insn::Call(CallTarget::Local { offset: 0 }))
        }
    }
}
