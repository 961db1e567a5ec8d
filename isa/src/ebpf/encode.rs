//! From instructions to bytes.

use super::decode::SLOT_BYTES;
use super::form::{Fields, Form};
use super::insn::Insn;
use super::table::{Field, Row};
use thiserror::Error;

/// An instruction that no bytes stand for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("insn {pc}: {kind}")]
pub struct EncodeError {
    /// The slot.
    pub pc: usize,
    /// What is wrong with it.
    pub kind: EncodeErrorKind,
}

/// Why an instruction has no encoding.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeErrorKind {
    /// A combination that does not exist: an atomic of 1 byte, a swap of 24 bits, a
    /// sign-extending load of 8 bytes, a short jump over more than 32767 slots.
    #[error("no encoding for {insn:?}")]
    Unencodable {
        /// The instruction.
        insn: Insn,
    },
    /// A two-slot load is not followed by [`Insn::WideTail`].
    #[error("a 64-bit immediate load is not followed by its second slot")]
    MissingTail,
    /// [`Insn::WideTail`] does not follow a two-slot load.
    #[error("the second slot of a 64-bit immediate load stands alone")]
    StrayTail,
}

/// Encodes slot-indexed instructions, little-endian, 8 bytes a slot: the inverse of
/// [`decode`](super::decode()).
///
/// # Errors
/// The first instruction without an encoding, or a two-slot load without its tail.
pub fn encode(insns: &[Insn]) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(insns.len() * SLOT_BYTES);
    let mut open = None;
    for (pc, insn) in insns.iter().enumerate() {
        let error = |kind| EncodeError { pc, kind };
        let row = insn.row();
        let fields = match (row.form, open.take()) {
            (Form::Tail, Some(next_imm)) => Fields {
                imm: next_imm,
                ..Fields::default()
            },
            (Form::Tail, None) => return Err(error(EncodeErrorKind::StrayTail)),
            (_, Some(_)) => {
                return Err(EncodeError {
                    pc: pc - 1,
                    kind: EncodeErrorKind::MissingTail,
                });
            }
            (Form::Unencodable, None) => {
                return Err(error(EncodeErrorKind::Unencodable { insn: *insn }));
            }
            (form, None) => {
                let fields = insn.fields();
                if matches!(form, Form::Wide(_)) {
                    open = Some(fields.next_imm);
                }
                fields
            }
        };
        bytes.extend_from_slice(&slot(row, fields));
    }
    match open {
        Some(_) => Err(EncodeError {
            pc: insns.len() - 1,
            kind: EncodeErrorKind::MissingTail,
        }),
        None => Ok(bytes),
    }
}

/// The eight bytes: the row's required values, the operands elsewhere.
fn slot(row: &Row, operands: Fields) -> [u8; SLOT_BYTES] {
    let pick = |field, operand| match field {
        Field::Is(value) => value,
        Field::Operand => operand,
    };
    let dst = pick(row.dst(), operands.dst.into()) as u8;
    let src = pick(row.src(), operands.src.into()) as u8;
    let offset = pick(row.offset(), operands.offset.into()) as i16;
    let imm = pick(row.imm(), operands.imm);
    let [offset_0, offset_1] = offset.to_le_bytes();
    let [imm_0, imm_1, imm_2, imm_3] = imm.to_le_bytes();
    [
        row.opcode(),
        src << 4 | dst,
        offset_0,
        offset_1,
        imm_0,
        imm_1,
        imm_2,
        imm_3,
    ]
}
