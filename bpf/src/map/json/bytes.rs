//! JSON values as the bytes of keys, values and global variables, and back.

use std::net::IpAddr;

use serde_json::Value;

use crate::program::{Global, GlobalKind};

/// Why a JSON value is not the bytes that are expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// Neither number, string nor list of bytes.
    #[error("is neither a number, hexadecimal digits nor a list of bytes")]
    Kind,
    /// An object where no members are known.
    #[error(
        "is an object, but its type is no structure that the object's BTF tells: write a number, \
         hexadecimal digits or a list of bytes"
    )]
    Object,
    /// A structure has no such member.
    #[error("has no member `{name}`; there are: {}", known.join(", "))]
    Member {
        /// The name.
        name: String,
        /// Members there are.
        known: Vec<String>,
    },
    /// Two members of a union, which lie on one another.
    #[error("has both `{name}` and `{other}`, which share their bytes: give one of them")]
    Overlap {
        /// The later one.
        name: String,
        /// The earlier one.
        other: String,
    },
    /// An enumeration has no such name, and it is not hexadecimal either.
    #[error("`{name}` is neither hexadecimal digits nor one of {}", known.join(", "))]
    Enumerator {
        /// What stands there.
        name: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// More elements than the array has.
    #[error("has {got} elements, the array {most}")]
    Elements {
        /// How many are given.
        got: usize,
        /// How many there are.
        most: usize,
    },
    /// A bit field takes numbers only.
    #[error("is not a number, as a bit field needs")]
    BitField,
    /// A number that does not fit a bit field.
    #[error("{number} does not fit into {bits} bits")]
    BitRange {
        /// The number, as written.
        number: String,
        /// Bits of the field.
        bits: u32,
    },
    /// What is wrong lies inside.
    #[error("{}", inside(member, problem))]
    In {
        /// `.NAME` or `[INDEX]`.
        member: String,
        /// What is wrong there.
        problem: Box<BytesError>,
    },
    /// Something else than pairs of hexadecimal digits.
    #[error("`{text}` is not pairs of hexadecimal digits")]
    Hex {
        /// What stands there.
        text: String,
    },
    /// Another number of bytes.
    #[error("has {got} bytes, expected are {expected}")]
    Length {
        /// How many it has.
        got: usize,
        /// How many are expected.
        expected: usize,
    },
    /// A number that does not fit.
    #[error("{number} does not fit into {bytes} bytes")]
    Range {
        /// The number, as written.
        number: String,
        /// Size of the field.
        bytes: usize,
    },
    /// A list with something else than numbers from 0 to 255.
    #[error("has something else than a number from 0 to 255 at position {at}")]
    List {
        /// Position in the list, from 0.
        at: usize,
    },
    /// A prefix that is none, or does not fit the key.
    #[error("`{text}` is no prefix that fits a key of {bytes} bytes")]
    Prefix {
        /// What stands there.
        text: String,
        /// Key size.
        bytes: usize,
    },
}

/// The path to the innermost problem, and that.
fn inside(member: &str, problem: &BytesError) -> String {
    let (mut path, mut problem) = (member.to_owned(), problem);
    while let BytesError::In {
        member,
        problem: deeper,
    } = problem
    {
        path.push_str(member);
        problem = deeper;
    }
    format!("at {path}: {problem}")
}

/// Whether a signed or unsigned number of so many bits (at most 64) can be `number`.
pub(super) fn number_fits(number: i128, bits: u32) -> bool {
    (1..=64).contains(&bits) && number < 1 << bits && number >= -(1 << (bits - 1))
}

/// An integer; `size` is the field's, for the error.
pub(super) fn number(number: &serde_json::Number, size: usize) -> Result<i128, BytesError> {
    let text = number.to_string();
    text.parse().map_err(|_error| BytesError::Range {
        number: text,
        bytes: size,
    })
}

fn number_bytes(text: String, number: i128, size: usize) -> Result<Vec<u8>, BytesError> {
    if !number_fits(number, 8 * size.min(8) as u32) {
        return Err(BytesError::Range {
            number: text,
            bytes: size,
        });
    }
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(size.min(8), 0);
    // A field wider than 8 bytes is filled up with the sign.
    bytes.resize(size, if number < 0 { 0xff } else { 0 });
    Ok(bytes)
}

/// The bytes of a field of `size` bytes, as this module describes.
///
/// # Errors
/// [`BytesError`].
pub fn bytes(value: &Value, size: usize) -> Result<Vec<u8>, BytesError> {
    let bytes = match value {
        Value::Bool(set) => return number_bytes(set.to_string(), i128::from(*set), size),
        Value::Number(given) => {
            return number_bytes(given.to_string(), number(given, size)?, size);
        }
        Value::String(text) => hex(text).ok_or_else(|| BytesError::Hex { text: text.clone() })?,
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                byte.as_u64()
                    .and_then(|byte| u8::try_from(byte).ok())
                    .ok_or(BytesError::List { at })
            })
            .collect::<Result<_, _>>()?,
        Value::Object(_) => return Err(BytesError::Object),
        Value::Null => return Err(BytesError::Kind),
    };
    if bytes.len() != size {
        return Err(BytesError::Length {
            got: bytes.len(),
            expected: size,
        });
    }
    Ok(bytes)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).bytes();
    let digits: Vec<u8> = digits.filter(|c| !c.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => {
                let digit = |c: &u8| char::from(*c).to_digit(16);
                Some((digit(high)? << 4 | digit(low)?) as u8)
            }
            _ => None,
        })
        .collect()
}

pub(super) fn to_hex(bytes: &[u8]) -> Value {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    Value::String(text)
}

/// The key of a longest-prefix map for `ADDRESS/LENGTH`.
pub(super) fn prefix(text: &str, size: usize) -> Option<Vec<u8>> {
    let (address, length) = text.split_once('/')?;
    let mut key = length.parse::<u32>().ok()?.to_le_bytes().to_vec();
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(v4) => key.extend(v4.octets()),
        IpAddr::V6(v6) => key.extend(v6.octets()),
    }
    (key.len() == size).then_some(key)
}

/// The bytes of a global variable for a JSON value: for text a plain string, filled up with
/// NULs; else as for keys and values.
///
/// # Errors
/// [`BytesError`].
pub fn global_bytes(global: &Global, value: &Value) -> Result<Vec<u8>, BytesError> {
    let size = global.size as usize;
    match (global.kind, value) {
        (GlobalKind::Text, Value::String(text)) => {
            if text.len() > size {
                return Err(BytesError::Length {
                    got: text.len(),
                    expected: size,
                });
            }
            let mut bytes = text.clone().into_bytes();
            bytes.resize(size, 0);
            Ok(bytes)
        }
        _ => bytes(value, size),
    }
}

/// The JSON value of a global variable.
pub(super) fn global_value(global: &Global, bytes: &[u8]) -> Value {
    let number = |fill: u8| {
        let mut word = [fill; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    match global.kind {
        GlobalKind::Bool if bytes.len() == 1 => Value::Bool(bytes != [0]),
        GlobalKind::Unsigned if bytes.len() <= 8 => number(0).into(),
        GlobalKind::Signed if bytes.len() <= 8 => {
            let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
            (number(if negative { 0xff } else { 0 }) as i64).into()
        }
        GlobalKind::Text => {
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            match std::str::from_utf8(&bytes[..end]) {
                // Bytes after the end would be lost.
                Ok(text) if bytes[end..].iter().all(|b| *b == 0) => text.into(),
                _ => Value::Array(bytes.iter().map(|b| Value::from(*b)).collect()),
            }
        }
        _ => to_hex(bytes),
    }
}
