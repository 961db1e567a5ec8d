//! Writing what a CO-RE record comes to into its instruction.

use thiserror::Error;

use super::{Change, FieldSizes, POISON, Resolution};

/// Why an instruction cannot take a relocation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatchError {
    /// The code ends at or inside the instruction.
    #[error("there is no instruction")]
    NoInstruction,
    /// The instruction has no number that a relocation could mean.
    #[error("opcode {opcode:#04x} takes no CO-RE relocation")]
    Opcode {
        /// The opcode byte.
        opcode: u8,
    },
    /// The instruction does not hold what the record says it does.
    #[error("the instruction holds {found}, but by the object's types it should be {expected}")]
    Unexpected {
        /// What it holds.
        found: i64,
        /// What it should hold.
        expected: u64,
    },
    /// The new offset does not fit the instruction's 16 bits.
    #[error("the field's offset {offset} does not fit a load or store")]
    Range {
        /// The new offset in bytes.
        offset: u64,
    },
    /// The load or store is of another size than its field.
    #[error("the instruction accesses {found} bytes of a field of {expected}")]
    Size {
        /// What it accesses, in bytes.
        found: u64,
        /// The field's size.
        expected: u64,
    },
}

const LDDW: u8 = 0x18;

/// Bytes of a load or store by the size bits of its opcode.
const SIZES: [(u8, u64); 4] = [(0x00, 4), (0x08, 2), (0x10, 1), (0x18, 8)];

/// Patches the instruction at byte `offset` of `code`. A load of a signed or otherwise
/// differing field whose size has changed becomes a call of [`POISON`].
///
/// # Errors
/// [`PatchError`] if there is no instruction, or none that can hold the number.
pub fn patch(code: &mut [u8], offset: usize, resolution: &Resolution) -> Result<(), PatchError> {
    let (slot, rest) = code
        .get_mut(offset..)
        .filter(|_| offset.is_multiple_of(8))
        .and_then(|rest| rest.split_first_chunk_mut::<8>())
        .ok_or(PatchError::NoInstruction)?;
    let tail = rest.first_chunk_mut::<8>();
    let change = match resolution {
        Resolution::Poison => {
            poison(slot, tail);
            return Ok(());
        }
        Resolution::Number(change) => change,
    };
    let opcode = slot[0];
    match opcode & 0x07 {
        // Arithmetic with an immediate.
        0x04 | 0x07 if opcode & 0x08 == 0 => {
            let imm = i32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]);
            expect(
                i64::from(imm),
                change.from.map(|from| i64::from(from as i32)),
                change,
            )?;
            slot[4..].copy_from_slice(&(change.to as u32).to_le_bytes());
        }
        // Loads and stores.
        0x01..=0x03 => {
            let held = i16::from_le_bytes([slot[2], slot[3]]);
            expect(i64::from(held), change.from.map(|from| from as i64), change)?;
            let to = i16::try_from(change.to)
                .map_err(|_error| PatchError::Range { offset: change.to })?;
            if let Some(sizes) = change.access
                && sizes.from != sizes.to
            {
                if !sizes.adjustable {
                    poison(slot, None);
                    return Ok(());
                }
                slot[0] = resize(opcode, sizes)?;
            }
            slot[2..4].copy_from_slice(&to.to_le_bytes());
        }
        0x00 if opcode == LDDW => {
            let tail = tail.ok_or(PatchError::NoInstruction)?;
            let low = u32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]);
            let high = u32::from_le_bytes([tail[4], tail[5], tail[6], tail[7]]);
            let held = u64::from(low) | u64::from(high) << 32;
            expect(held as i64, change.from.map(|from| from as i64), change)?;
            slot[4..].copy_from_slice(&(change.to as u32).to_le_bytes());
            tail[4..].copy_from_slice(&((change.to >> 32) as u32).to_le_bytes());
        }
        _ => return Err(PatchError::Opcode { opcode }),
    }
    Ok(())
}

fn expect(found: i64, expected: Option<i64>, change: &Change) -> Result<(), PatchError> {
    match (expected, change.from) {
        (Some(expected), Some(from)) if expected != found => Err(PatchError::Unexpected {
            found,
            expected: from,
        }),
        _ => Ok(()),
    }
}

/// The opcode with the target's size.
fn resize(opcode: u8, sizes: FieldSizes) -> Result<u8, PatchError> {
    let bytes = SIZES
        .iter()
        .find(|(bits, _)| *bits == opcode & 0x18)
        .map_or(0, |(_, bytes)| *bytes);
    if bytes != sizes.from {
        return Err(PatchError::Size {
            found: bytes,
            expected: sizes.from,
        });
    }
    match SIZES.iter().find(|(_, bytes)| *bytes == sizes.to) {
        Some((bits, _)) => Ok(opcode & !0x18 | bits),
        None => Err(PatchError::Size {
            found: bytes,
            expected: sizes.to,
        }),
    }
}

/// Makes a call of [`POISON`] of the instruction, both slots of a wide load.
fn poison(slot: &mut [u8; 8], tail: Option<&mut [u8; 8]>) {
    let [a, b, c, d] = POISON.to_le_bytes();
    let call = [0x85, 0, 0, 0, a, b, c, d];
    if slot[0] == LDDW
        && let Some(tail) = tail
    {
        *tail = call;
    }
    *slot = call;
}
