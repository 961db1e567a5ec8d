//! JSON values as the bytes of keys and values whose type is known.

use serde_json::{Map, Value};

use super::bytes::{BytesError, bytes, number, number_fits, prefix};
use crate::map::{Layout, LayoutKind, MapDef, MapType, MemberLayout};

/// The bytes of a field of `size` bytes that `layout` describes, as the module above says:
/// objects are structures, lists arrays; whatever else goes as in [`bytes`].
///
/// # Errors
/// [`BytesError`].
pub fn typed_bytes(
    value: &Value,
    size: usize,
    layout: Option<&Layout>,
) -> Result<Vec<u8>, BytesError> {
    let Some(layout) = layout.filter(|layout| layout.size as usize == size) else {
        return bytes(value, size);
    };
    match (&layout.kind, value) {
        (LayoutKind::Composite { members }, Value::Object(given)) => {
            structure(members, given, size)
        }
        (LayoutKind::Array { element, count }, Value::Array(given)) => {
            array(element, *count as usize, given, size)
        }
        (LayoutKind::Enum { values, .. }, Value::String(name)) => {
            match values.iter().find(|(known, _)| known == name) {
                Some((_, number)) => {
                    let mut bytes = number.to_le_bytes().to_vec();
                    bytes.resize(size, 0);
                    Ok(bytes)
                }
                None => bytes(value, size).map_err(|problem| match problem {
                    BytesError::Hex { text } => BytesError::Enumerator {
                        name: text,
                        known: values.iter().map(|(name, _)| name.clone()).collect(),
                    },
                    problem => problem,
                }),
            }
        }
        _ => bytes(value, size),
    }
}

/// The bytes of a key of a map: as in [`typed_bytes`], and in a longest-prefix map also of a string
/// `ADDRESS/LENGTH`.
///
/// # Errors
/// [`BytesError`].
pub fn key_bytes(def: &MapDef, key: &Value) -> Result<Vec<u8>, BytesError> {
    let size = def.key_size as usize;
    if def.kind == MapType::LpmTrie
        && let Value::String(text) = key
        && text.contains('/')
    {
        return prefix(text, size).ok_or_else(|| BytesError::Prefix {
            text: text.clone(),
            bytes: size,
        });
    }
    typed_bytes(key, size, def.key_layout.as_deref())
}

fn structure(
    members: &[MemberLayout],
    given: &Map<String, Value>,
    size: usize,
) -> Result<Vec<u8>, BytesError> {
    let mut bytes = vec![0; size];
    let mut taken: Vec<&MemberLayout> = Vec::new();
    for (name, value) in given {
        let Some(member) = members.iter().find(|member| member.name == *name) else {
            return Err(BytesError::Member {
                name: name.clone(),
                known: members.iter().map(|member| member.name.clone()).collect(),
            });
        };
        if let Some(other) = taken.iter().find(|other| overlap(other, member)) {
            return Err(BytesError::Overlap {
                name: name.clone(),
                other: other.name.clone(),
            });
        }
        taken.push(member);
        put(&mut bytes, member, value).map_err(|problem| BytesError::In {
            member: format!(".{name}"),
            problem: Box::new(problem),
        })?;
    }
    Ok(bytes)
}

/// Whether two members share bits, as those of a union do.
fn overlap(a: &MemberLayout, b: &MemberLayout) -> bool {
    let range = |member: &MemberLayout| {
        let start = u64::from(member.bit_offset);
        (start, start + member.bit_size())
    };
    let ((a_start, a_end), (b_start, b_end)) = (range(a), range(b));
    a_start < b_end && b_start < a_end
}

/// Writes a member into the bytes of its structure.
fn put(structure: &mut [u8], member: &MemberLayout, value: &Value) -> Result<(), BytesError> {
    let outside = BytesError::Length {
        got: structure.len(),
        expected: (u64::from(member.bit_offset) + member.bit_size()).div_ceil(8) as usize,
    };
    let start = member.bit_offset as usize;
    if let Some(bits) = member.bits {
        let number = match value {
            Value::Bool(set) => i128::from(*set),
            Value::Number(given) => number(given, member.layout.size as usize)?,
            _ => return Err(BytesError::BitField),
        };
        if !number_fits(number, bits) {
            return Err(BytesError::BitRange {
                number: value.to_string(),
                bits,
            });
        }
        for bit in 0..bits as usize {
            let at = start + bit;
            let byte = structure.get_mut(at / 8).ok_or_else(|| outside.clone())?;
            *byte |= ((number >> bit & 1) as u8) << (at % 8);
        }
        return Ok(());
    }
    let size = member.layout.size as usize;
    let place = structure
        .get_mut(start / 8..)
        .and_then(|rest| rest.get_mut(..size))
        .ok_or(outside)?;
    place.copy_from_slice(&typed_bytes(value, size, Some(&member.layout))?);
    Ok(())
}

/// A list of as many numbers as there are bytes is the bytes; else it is the elements, of which
/// the last may be missing.
fn array(
    element: &Layout,
    count: usize,
    given: &[Value],
    size: usize,
) -> Result<Vec<u8>, BytesError> {
    if given.len() == size && count != size {
        return bytes(&Value::Array(given.to_vec()), size);
    }
    if given.len() > count {
        return Err(BytesError::Elements {
            got: given.len(),
            most: count,
        });
    }
    let mut bytes = Vec::with_capacity(size);
    for (at, value) in given.iter().enumerate() {
        let part = typed_bytes(value, element.size as usize, Some(element));
        bytes.extend(part.map_err(|problem| BytesError::In {
            member: format!("[{at}]"),
            problem: Box::new(problem),
        })?);
    }
    bytes.resize(size, 0);
    Ok(bytes)
}
