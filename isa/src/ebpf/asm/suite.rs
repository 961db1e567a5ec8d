//! One instruction in the conformance suite's form.

use super::error::AsmErrorKind;
use super::token::{Cursor, Kind, Parsed};
use super::{Builder, Use};
use crate::ebpf::form::{Form, Source};
use crate::ebpf::insn::{CallTarget, Insn, Operand, PacketBase, Reg, Wide, Width};
use crate::ebpf::table::table;

/// Reads the instruction and appends it.
pub(super) fn instruction(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<()> {
    let line = cursor.line();
    let form = mnemonic(cursor)?;
    let insn = operands(cursor, program, form)?;
    program.push(insn, line);
    Ok(())
}

/// The first form with the mnemonic; immediate or register is for the operands to say.
fn mnemonic(cursor: &mut Cursor<'_>) -> Parsed<Form> {
    let expected = "a mnemonic of the conformance suite";
    let first = cursor.word(expected)?;
    let mut name = first.text.to_ascii_lowercase();
    if matches!(name.as_str(), "lock" | "call") {
        let fetch = cursor.peek().is_some_and(|token| token.text == "fetch");
        let parts = match name.as_str() {
            "lock" => 1 + usize::from(fetch),
            _ => usize::from(cursor.peek().is_some_and(|token| token.text == "local")),
        };
        for _ in 0..parts {
            let part = cursor.word("an atomic operation")?;
            name.push(' ');
            name.push_str(
                &part
                    .text
                    .to_ascii_lowercase()
                    .replacen("fetch_", "fetch ", 1),
            );
        }
    }
    if name.starts_with("swap") {
        // The suite has two names for the unconditional swap.
        name.insert(0, 'b');
    }
    find(&name)
        .or_else(|| find(name.strip_suffix("64")?))
        .ok_or_else(|| cursor.error_at(first, AsmErrorKind::Expected { expected }))
}

/// The first row's form.
fn find(name: &str) -> Option<Form> {
    table()
        .iter()
        .find(|row| row.suite() == Some(name))
        .map(|row| row.form)
}

fn operands(cursor: &mut Cursor<'_>, program: &mut Builder, form: Form) -> Parsed<Insn> {
    Ok(match form {
        Form::Alu(op, width, _) => {
            let dst = first_register(cursor)?;
            Insn::Alu {
                op,
                width,
                dst,
                src: operand(cursor)?,
            }
        }
        Form::Neg(width) => Insn::Neg {
            width,
            dst: register(cursor)?,
        },
        Form::MovSx(width, bits) => {
            let dst = first_register(cursor)?;
            Insn::MovSx {
                width,
                dst,
                src: register(cursor)?,
                bits,
            }
        }
        Form::Swap(kind, bits) => Insn::Swap {
            kind,
            bits,
            dst: register(cursor)?,
        },
        Form::Wide(_) => {
            let dst = first_register(cursor)?;
            let value = cursor.number("the number", i64::MIN.into(), u64::MAX.into())?;
            Insn::LoadWide {
                dst,
                value: Wide::Value(value as u64),
            }
        }
        Form::Load(size, signed) => {
            let dst = first_register(cursor)?;
            let (base, offset) = address(cursor)?;
            Insn::Load {
                size,
                signed,
                dst,
                base,
                offset,
            }
        }
        Form::Store(size, source) => {
            let (base, offset) = address(cursor)?;
            comma(cursor)?;
            let src = match source {
                Source::Imm => Operand::Imm(cursor.immediate(Width::W32)?),
                Source::Reg => Operand::Reg(register(cursor)?),
            };
            Insn::Store {
                size,
                base,
                offset,
                src,
            }
        }
        Form::Atomic(op, size) => {
            let (base, offset) = address(cursor)?;
            comma(cursor)?;
            Insn::Atomic {
                op,
                size,
                base,
                offset,
                src: register(cursor)?,
            }
        }
        Form::PacketAbs(size) => Insn::LoadPacket {
            size,
            base: PacketBase::Abs,
            offset: packet_offset(cursor)?,
        },
        Form::PacketInd(size) => {
            let base = PacketBase::Ind(first_register(cursor)?);
            Insn::LoadPacket {
                size,
                base,
                offset: packet_offset(cursor)?,
            }
        }
        Form::Jump(long) => {
            let bounds = if long { (i32::MIN, i32::MAX) } else { SHORT };
            Insn::Jump {
                offset: target(cursor, program, Use::Jump, bounds)?,
                long,
            }
        }
        Form::Branch(cond, width, _) => {
            let dst = first_register(cursor)?;
            let src = operand(cursor)?;
            comma(cursor)?;
            let offset = target(cursor, program, Use::Jump, SHORT)? as i16;
            Insn::Branch {
                cond,
                width,
                dst,
                src,
                offset,
            }
        }
        Form::CallHelper => {
            let id = cursor.number("the helper's id", i32::MIN.into(), u32::MAX.into())?;
            Insn::Call(CallTarget::Helper(id as u32))
        }
        Form::CallLocal => {
            let bounds = (i32::MIN, i32::MAX);
            let offset = target(cursor, program, Use::CallLocal, bounds)?;
            Insn::Call(CallTarget::Local { offset })
        }
        Form::CallReg => Insn::Call(CallTarget::Reg(register(cursor)?)),
        Form::Exit => Insn::Exit,
        Form::LoadAcquire(_)
        | Form::StoreRelease(_)
        | Form::MayGoto
        | Form::CallKfunc
        | Form::Tail
        | Form::Unencodable => return cursor.expected("an instruction that the suite has"),
    })
}

/// What a 16-bit offset can be.
const SHORT: (i32, i32) = (i16::MIN as i32, i16::MAX as i32);

/// `%r3` or `r3`.
fn register(cursor: &mut Cursor<'_>) -> Parsed<Reg> {
    cursor.take("%");
    cursor.register64()
}

/// A register with a comma behind it.
fn first_register(cursor: &mut Cursor<'_>) -> Parsed<Reg> {
    let reg = register(cursor)?;
    comma(cursor)?;
    Ok(reg)
}

fn comma(cursor: &mut Cursor<'_>) -> Parsed<()> {
    cursor.need(",", "`,`")
}

/// A register or a number. The suite writes 32-bit numbers without a sign in 64-bit operations
/// too; they are the bits of the immediate.
fn operand(cursor: &mut Cursor<'_>) -> Parsed<Operand> {
    if cursor.at_number() {
        return Ok(Operand::Imm(cursor.immediate(Width::W32)?));
    }
    match cursor.peek() {
        Some(token) if token.text == "%" || token.kind == Kind::Word => {
            Ok(Operand::Reg(register(cursor)?))
        }
        _ => cursor.expected("a register or a number"),
    }
}

/// `[%r1+4]`.
fn address(cursor: &mut Cursor<'_>) -> Parsed<(Reg, i16)> {
    cursor.need("[", "`[`")?;
    let found = (register(cursor)?, cursor.offset()?);
    cursor.need("]", "`]`")?;
    Ok(found)
}

fn packet_offset(cursor: &mut Cursor<'_>) -> Parsed<i32> {
    Ok(cursor.number("the offset", i32::MIN.into(), i32::MAX.into())? as i32)
}

/// `+2`, or a label, for which 0 stands until it is resolved.
fn target(
    cursor: &mut Cursor<'_>,
    program: &mut Builder,
    used: Use,
    (min, max): (i32, i32),
) -> Parsed<i32> {
    if cursor.at_number() {
        return Ok(cursor.number("the offset", min.into(), max.into())? as i32);
    }
    let name = cursor.word("a label, or an offset such as +3")?;
    program.refer(name, cursor.line(), used);
    Ok(0)
}
