//! From bytes to instructions.

use super::form::{Fields, Form, build};
use super::insn::{Insn, Reg};
use super::table::{Field, Row, rows_of};
use thiserror::Error;

/// Bytes in a slot.
pub const SLOT_BYTES: usize = 8;

/// Bytes that are no instruction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("insn {pc} (byte {offset:#x}): {kind}")]
pub struct DecodeError {
    /// The slot, counted from the start of the bytes.
    pub pc: usize,
    /// Offset of the offending byte, counted from the start of the bytes.
    pub offset: usize,
    /// What is wrong there.
    pub kind: DecodeErrorKind,
}

/// What is wrong with an instruction's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeErrorKind {
    /// The code ends inside a slot.
    #[error("code ends after {found} of the {SLOT_BYTES} bytes of an instruction")]
    CutShort {
        /// Bytes left, 1 to 7.
        found: usize,
    },
    /// No instruction has this opcode byte.
    #[error("unknown opcode {opcode:#04x}")]
    Opcode {
        /// The byte.
        opcode: u8,
    },
    /// A field that selects the operation, or is reserved, holds something else.
    #[error("{field} of opcode {opcode:#04x} is {found}, expected {}", Expected(.expected))]
    Field {
        /// The opcode byte.
        opcode: u8,
        /// Which field.
        field: FieldName,
        /// Its value.
        found: i32,
        /// What an instruction with this opcode can have there, in table order.
        expected: Vec<i32>,
    },
    /// A register number above 10.
    #[error("{field} of opcode {opcode:#04x} is {found}, expected a register, 0 to 10")]
    Register {
        /// The opcode byte.
        opcode: u8,
        /// Which field.
        field: FieldName,
        /// The number, 11 to 15.
        found: u8,
    },
    /// A two-slot load is the last slot.
    #[error("code ends between the two slots of a 64-bit immediate load")]
    WideCutShort,
    /// The second slot of a two-slot load has a value where zero is required.
    #[error("{field} of the second slot of a 64-bit immediate load is {found}, expected 0")]
    WideTail {
        /// Which field.
        field: FieldName,
        /// Its value.
        found: i32,
    },
    /// Linux's `addr_space_cast` (6.9, arenas), which is not supported.
    #[error("addr_space_cast (a register move with offset 1) is not supported")]
    AddrSpaceCast,
}

/// A field of a slot, by the RFC's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldName {
    /// Byte 0.
    Opcode,
    /// Low nibble of byte 1.
    DstReg,
    /// High nibble of byte 1.
    SrcReg,
    /// Bytes 2 and 3.
    Offset,
    /// Bytes 4 to 7.
    Imm,
    /// Bytes 4 to 7 of the second slot.
    NextImm,
}

impl FieldName {
    /// Where the field starts in its slot, in bytes.
    const fn byte(self) -> usize {
        match self {
            FieldName::Opcode => 0,
            FieldName::DstReg | FieldName::SrcReg => 1,
            FieldName::Offset => 2,
            FieldName::Imm | FieldName::NextImm => 4,
        }
    }
}

impl std::fmt::Display for FieldName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FieldName::Opcode => "opcode",
            FieldName::DstReg => "dst_reg",
            FieldName::SrcReg => "src_reg",
            FieldName::Offset => "offset",
            FieldName::Imm | FieldName::NextImm => "imm",
        })
    }
}

/// Writes `0`, `0 or 1`, `16, 32 or 64`.
struct Expected<'a>(&'a [i32]);

impl std::fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, value) in self.0.iter().enumerate() {
            let before = match index {
                0 => "",
                _ if index + 1 == self.0.len() => " or ",
                _ => ", ",
            };
            write!(f, "{before}{value}")?;
        }
        Ok(())
    }
}

/// Decodes little-endian code, one [`Insn`] a slot: after each [`Insn::LoadWide`] stands
/// [`Insn::WideTail`].
///
/// ```
/// use isa::ebpf::{Insn, decode};
/// let code = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
/// let insns = decode(&code)?;
/// assert_eq!(insns[0].to_string(), "r0 = 2");
/// assert_eq!(insns[1], Insn::Exit);
/// # Ok::<(), isa::ebpf::DecodeError>(())
/// ```
///
/// # Errors
/// The first slot that is no instruction. Reserved fields that are not zero are errors, as for
/// Linux; Linux however overlooks an offset in `exit`.
pub fn decode(bytes: &[u8]) -> Result<Vec<Insn>, DecodeError> {
    let mut insns = Vec::with_capacity(bytes.len() / SLOT_BYTES);
    let mut rest = bytes;
    while !rest.is_empty() {
        let pc = insns.len();
        let insn = decode_one(rest).map_err(|error| DecodeError {
            pc: pc + error.pc,
            offset: pc * SLOT_BYTES + error.offset,
            kind: error.kind,
        })?;
        insns.push(insn);
        if insn.slots() == 2 {
            insns.push(Insn::WideTail);
        }
        rest = rest.get(insn.slots() * SLOT_BYTES..).unwrap_or_default();
    }
    Ok(insns)
}

/// Decodes the instruction at the start of the bytes; it takes [`Insn::slots`] slots. What
/// follows is not looked at.
///
/// # Errors
/// As [`decode`]; `pc` and `offset` count from the start of these bytes. No bytes at all are
/// [`DecodeErrorKind::CutShort`].
pub fn decode_one(bytes: &[u8]) -> Result<Insn, DecodeError> {
    let slot = slot(bytes).ok_or(DecodeError {
        pc: 0,
        offset: 0,
        kind: DecodeErrorKind::CutShort { found: bytes.len() },
    })?;
    let raw = Raw::new(*slot);
    let row = select(&raw)?;
    let dst = register(&raw, row.dst(), FieldName::DstReg, raw.fields.dst)?;
    let src = register(&raw, row.src(), FieldName::SrcReg, raw.fields.src)?;
    let mut fields = raw.fields;
    if matches!(row.form, Form::Wide(_)) {
        fields.next_imm = next_imm(row.form, &bytes[SLOT_BYTES..])?;
    }
    Ok(build(row.form, fields, dst, src))
}

/// The first eight bytes.
fn slot(bytes: &[u8]) -> Option<&[u8; SLOT_BYTES]> {
    bytes.first_chunk()
}

/// A slot taken apart.
struct Raw {
    opcode: u8,
    fields: Fields,
}

/// Something is wrong with this field of the first slot.
fn error_at(field: FieldName, kind: DecodeErrorKind) -> DecodeError {
    DecodeError {
        pc: 0,
        offset: field.byte(),
        kind,
    }
}

impl Raw {
    fn new(slot: [u8; SLOT_BYTES]) -> Raw {
        let [opcode, regs, offset_0, offset_1, imm @ ..] = slot;
        Raw {
            opcode,
            fields: Fields {
                dst: regs & 15,
                src: regs >> 4,
                offset: i16::from_le_bytes([offset_0, offset_1]),
                imm: i32::from_le_bytes(imm),
                next_imm: 0,
            },
        }
    }
}

/// The one row whose required values all stand in the slot.
fn select(raw: &Raw) -> Result<&'static Row, DecodeError> {
    let Raw { opcode, fields } = *raw;
    let matching = rows_of(opcode).find(|row| {
        row.src().admits(fields.src.into())
            && row.offset().admits(fields.offset.into())
            && row.imm().admits(fields.imm)
            && row.dst().admits(fields.dst.into())
    });
    matching.ok_or_else(|| mismatch(raw))
}

/// A field, its value, and what a row says of it.
type Check = (FieldName, i32, fn(&Row) -> Field);

/// Why no row fits: the first field, in the order in which fields select, that rules out every
/// row left by the fields before it.
fn mismatch(raw: &Raw) -> DecodeError {
    let Raw { opcode, fields } = *raw;
    let mut rows: Vec<&Row> = rows_of(opcode).collect();
    if rows.is_empty() {
        return error_at(FieldName::Opcode, DecodeErrorKind::Opcode { opcode });
    }
    if opcode == ADDR_SPACE_CAST && fields.offset == 1 {
        return error_at(FieldName::Offset, DecodeErrorKind::AddrSpaceCast);
    }
    let order: [Check; 4] = [
        (FieldName::SrcReg, fields.src.into(), Row::src),
        (FieldName::Offset, fields.offset.into(), Row::offset),
        (FieldName::Imm, fields.imm, Row::imm),
        (FieldName::DstReg, fields.dst.into(), Row::dst),
    ];
    for (field, found, get) in order {
        let mut expected: Vec<i32> = Vec::new();
        for row in &rows {
            if let Field::Is(value) = get(row)
                && !expected.contains(&value)
            {
                expected.push(value);
            }
        }
        rows.retain(|row| get(row).admits(found));
        if rows.is_empty() {
            return error_at(
                field,
                DecodeErrorKind::Field {
                    opcode,
                    field,
                    found,
                    expected,
                },
            );
        }
    }
    error_at(FieldName::Opcode, DecodeErrorKind::Opcode { opcode })
}

/// A 64-bit register move; offset 1 makes it `addr_space_cast`.
const ADDR_SPACE_CAST: u8 = 0xbf;

/// The register in a field, r0 where the field holds none.
fn register(raw: &Raw, field: Field, name: FieldName, number: u8) -> Result<Reg, DecodeError> {
    if field != Field::Operand {
        return Ok(Reg::R0);
    }
    Reg::new(number).ok_or_else(|| {
        error_at(
            name,
            DecodeErrorKind::Register {
                opcode: raw.opcode,
                field: name,
                found: number,
            },
        )
    })
}

/// The immediate of the second slot of a two-slot load.
fn next_imm(form: Form, bytes: &[u8]) -> Result<i32, DecodeError> {
    let error = |field: FieldName, kind| DecodeError {
        pc: 1,
        offset: SLOT_BYTES + field.byte(),
        kind,
    };
    let second =
        slot(bytes).ok_or_else(|| error(FieldName::Opcode, DecodeErrorKind::WideCutShort))?;
    let Raw { opcode, fields } = Raw::new(*second);
    let reserved = [
        (FieldName::Opcode, i32::from(opcode)),
        (FieldName::DstReg, i32::from(fields.dst)),
        (FieldName::SrcReg, i32::from(fields.src)),
        (FieldName::Offset, i32::from(fields.offset)),
        (
            FieldName::NextImm,
            if form.uses_next_imm() { 0 } else { fields.imm },
        ),
    ];
    match reserved.into_iter().find(|&(_, found)| found != 0) {
        Some((field, found)) => Err(error(field, DecodeErrorKind::WideTail { field, found })),
        None => Ok(fields.imm),
    }
}
