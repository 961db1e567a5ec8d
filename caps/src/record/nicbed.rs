//! Our own record: a header and type-length-value entries, all little-endian.
//!
//! ```text
//! header   "NICB"  u16 version = 1  u16 0  u32 length of the whole record
//! entry    u16 type  u16 0  u32 length of the value  value; no padding
//! ```
//!
//! A type is the `tag` of its row in [`schema::ROWS`]; the form of the value follows the row's
//! kind. `state` is 0 for a value that follows, 1 unlimited (lists: all), 2 as the host has,
//! 3 unknown.
//!
//! ```text
//! number    u8 state  u64 value, if state is 0
//! limit     u8 state  u8 unit  u8 scope  u8 0  u32 granule  u64 value, if state is 0
//!           unit: 0 insns, 1 rows, 2 slots, 3 bytes, 4 entries; scope: 0 program, 1 map, 2 all maps
//! flag      u8 0 or 1, or 3
//! choice    the word, UTF-8
//! names     u8 state  then for each name: u8 length, bytes
//! interval  u8 state  i64 least  i64 largest, if state is 0
//! ```
//!
//! The value of a helper's constraint begins with the helper's number, u32. Entries of unknown
//! type are skipped: a newer device may say more than an older driver understands.

use std::collections::BTreeSet;

use crate::profile::Caps;
use crate::schema::{self, Kind, Row};
use crate::value::{Bound, By, Limit, Names, Scope, Unit, Value};

/// First four bytes of a record.
pub const MAGIC: [u8; 4] = *b"NICB";
/// The version this module writes and reads.
pub const VERSION: u16 = 1;
/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 12;
/// Length of an entry without its value, in bytes.
pub const ENTRY_BYTES: usize = 8;

const VALUE: u8 = 0;
const UNLIMITED: u8 = 1;
const HOST: u8 = 2;
const UNKNOWN: u8 = 3;

/// What a record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Facts by full key, in the order of the record.
    pub facts: Vec<(String, Value)>,
    /// Entries of unknown type: (offset, type).
    pub skipped: Vec<(usize, u16)>,
}

/// Why a record cannot be read. Offsets count bytes from the record's start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends in the middle of something.
    #[error("ends at byte {len}, but {what} at byte {offset} takes {needs} bytes")]
    Truncated {
        /// Where what is cut off begins.
        offset: usize,
        /// What it is.
        what: &'static str,
        /// Bytes it takes.
        needs: usize,
        /// Length of the record.
        len: usize,
    },
    /// It does not begin with [`MAGIC`].
    #[error("begins with {found:02x?}, expected \"NICB\"")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Another version.
    #[error("is of version {found}, this driver reads version {VERSION}")]
    Version {
        /// What it says.
        found: u16,
    },
    /// The length in the header is not the record's.
    #[error("says that it is {declared} bytes long, but is {len}")]
    Length {
        /// What the header says.
        declared: u32,
        /// What there is.
        len: usize,
    },
    /// A reserved field is not 0.
    #[error("reserved field at byte {offset} is {found}, expected 0")]
    Reserved {
        /// Where.
        offset: usize,
        /// What is there.
        found: u16,
    },
    /// A fact is there twice.
    #[error("entry at byte {offset} says `{key}` a second time")]
    Duplicate {
        /// Where the second entry begins.
        offset: usize,
        /// The fact.
        key: String,
    },
    /// A field holds a value it cannot have.
    #[error("`{key}` at byte {offset}: {what} is {found}, allowed is {allowed}")]
    Value {
        /// Where.
        offset: usize,
        /// The fact.
        key: String,
        /// Which field.
        what: &'static str,
        /// What is there.
        found: u64,
        /// What is allowed.
        allowed: String,
    },
    /// A word or name that the fact does not know.
    #[error("`{key}` at byte {offset}: there is no {what} {found:?}")]
    Name {
        /// Where.
        offset: usize,
        /// The fact.
        key: String,
        /// What it should be.
        what: &'static str,
        /// What is there.
        found: String,
    },
    /// A value is longer than its fact takes.
    #[error("`{key}`: {left} bytes are left at byte {offset}, after the value")]
    Trailing {
        /// Where the rest begins.
        offset: usize,
        /// The fact.
        key: String,
        /// How many bytes.
        left: usize,
    },
}

/// The record of a device with these capabilities.
pub fn encode(caps: &Caps) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    for (key, fact) in caps.facts() {
        let Some(found) = schema::find(key) else {
            continue;
        };
        if found.by != By::Device || found.row.tag == 0 {
            continue;
        }
        let mut value = Vec::new();
        if let Some(helper) = found.helper {
            let id = bpf::helper::id_by_name(helper).unwrap_or_default();
            value.extend_from_slice(&id.to_le_bytes());
        }
        put(&mut value, &fact.value);
        out.extend_from_slice(&found.row.tag.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(&value);
    }
    let length = out.len() as u32;
    out[8..12].copy_from_slice(&length.to_le_bytes());
    out
}

fn state(bound: Bound) -> u8 {
    match bound {
        Bound::Known(_) => VALUE,
        Bound::Unlimited => UNLIMITED,
        Bound::Host => HOST,
        Bound::Unknown => UNKNOWN,
    }
}

fn put(out: &mut Vec<u8>, value: &Value) {
    let put_number = |out: &mut Vec<u8>, bound: Bound| {
        if let Bound::Known(n) = bound {
            out.extend_from_slice(&n.to_le_bytes());
        }
    };
    match value {
        Value::Number(bound) => {
            out.push(state(*bound));
            put_number(out, *bound);
        }
        Value::Limit(limit) => {
            out.extend_from_slice(&[state(limit.value), limit.unit as u8, limit.scope as u8, 0]);
            out.extend_from_slice(&(limit.granule as u32).to_le_bytes());
            put_number(out, limit.value);
        }
        Value::Flag(flag) => out.push(u8::from(*flag)),
        Value::Choice(word) => out.extend_from_slice(word.as_bytes()),
        Value::Names(Names::All) => out.push(UNLIMITED),
        Value::Names(Names::List(list)) => {
            out.push(VALUE);
            for name in list {
                out.push(name.len() as u8);
                out.extend_from_slice(name.as_bytes());
            }
        }
        Value::Interval(low, high) => {
            out.push(VALUE);
            out.extend_from_slice(&low.to_le_bytes());
            out.extend_from_slice(&high.to_le_bytes());
        }
        Value::Unknown => out.push(UNKNOWN),
    }
}

/// Reads a record.
///
/// # Errors
/// [`DecodeError`] with the first thing that is wrong and its offset.
pub fn decode(record: &[u8]) -> Result<Decoded, DecodeError> {
    let mut cursor = Cursor {
        bytes: record,
        at: 0,
        end: record.len(),
    };
    let found: [u8; 4] = cursor.take("the header")?;
    if found != MAGIC {
        return Err(DecodeError::Magic { found });
    }
    let found = u16::from_le_bytes(cursor.take("the header")?);
    if found != VERSION {
        return Err(DecodeError::Version { found });
    }
    cursor.reserved("the header")?;
    let declared = u32::from_le_bytes(cursor.take("the header")?);
    if declared as usize != record.len() {
        return Err(DecodeError::Length {
            declared,
            len: record.len(),
        });
    }
    let mut decoded = Decoded::default();
    let mut seen = BTreeSet::new();
    while cursor.at < record.len() {
        let offset = cursor.at;
        let tag = u16::from_le_bytes(cursor.take("an entry")?);
        cursor.reserved("an entry")?;
        let length = u32::from_le_bytes(cursor.take("an entry")?) as usize;
        let end = cursor.at.saturating_add(length);
        if end > record.len() {
            return Err(DecodeError::Truncated {
                offset: cursor.at,
                what: "the value",
                needs: length,
                len: record.len(),
            });
        }
        let row = schema::ROWS.iter().find(|row| row.tag == tag && tag != 0);
        let Some(row) = row else {
            decoded.skipped.push((offset, tag));
            cursor.at = end;
            continue;
        };
        cursor.end = end;
        let (key, value) = cursor.fact(row)?;
        if cursor.at != end {
            return Err(DecodeError::Trailing {
                offset: cursor.at,
                key,
                left: end - cursor.at,
            });
        }
        cursor.end = record.len();
        if !seen.insert(key.clone()) {
            return Err(DecodeError::Duplicate { offset, key });
        }
        decoded.facts.push((key, value));
    }
    Ok(decoded)
}

/// A place in a record, and where the part being read ends.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    fn slice(&mut self, what: &'static str, needs: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.saturating_add(needs);
        match self.bytes.get(self.at..end) {
            Some(slice) if end <= self.end => {
                self.at = end;
                Ok(slice)
            }
            _ => Err(DecodeError::Truncated {
                offset: self.at,
                what,
                needs,
                len: self.end,
            }),
        }
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.slice(what, N)?);
        Ok(out)
    }

    fn reserved(&mut self, what: &'static str) -> Result<(), DecodeError> {
        let offset = self.at;
        match u16::from_le_bytes(self.take(what)?) {
            0 => Ok(()),
            found => Err(DecodeError::Reserved { offset, found }),
        }
    }

    fn fact(&mut self, row: &'static Row) -> Result<(String, Value), DecodeError> {
        let mut key = row.key.to_owned();
        if row.key.contains('*') {
            let offset = self.at;
            let id = u32::from_le_bytes(self.take("a helper's number")?);
            let name = bpf::helper::name(id).ok_or_else(|| DecodeError::Value {
                offset,
                key: key.clone(),
                what: "helper",
                found: u64::from(id),
                allowed: "a helper of the kernel".to_owned(),
            })?;
            key = row.key.replace('*', name);
        }
        let value = self.value(row.kind, &key)?;
        Ok((key, value))
    }

    fn value(&mut self, kind: Kind, key: &str) -> Result<Value, DecodeError> {
        let bad = |offset, what, found, allowed: String| DecodeError::Value {
            offset,
            key: key.to_owned(),
            what,
            found,
            allowed,
        };
        let offset = self.at;
        if let Kind::Choice(words) = kind {
            let bytes = self.slice("the word", self.end - self.at)?;
            let word = String::from_utf8_lossy(bytes).into_owned();
            if word == "unknown" || bytes == [UNKNOWN] {
                return Ok(Value::Unknown);
            }
            return if words.contains(&word.as_str()) {
                Ok(Value::Choice(word))
            } else {
                Err(DecodeError::Name {
                    offset,
                    key: key.to_owned(),
                    what: "word",
                    found: word,
                })
            };
        }
        let [state] = self.take("the state")?;
        let allowed_states = |text: &str| bad(offset, "state", u64::from(state), text.to_owned());
        match kind {
            Kind::Number(min, max, words) => {
                let bound = self.bound(state, offset, key, words)?;
                match bound {
                    Bound::Known(n) if !(min..=max).contains(&n) => {
                        Err(bad(offset + 1, "value", n, format!("{min} to {max}")))
                    }
                    bound => Ok(Value::Number(bound)),
                }
            }
            Kind::Limit(units, scope) => {
                let [unit, scope_number, reserved] = self.take("unit and scope")?;
                let unit = Unit::ALL
                    .into_iter()
                    .find(|u| *u as u8 == unit && units.contains(u))
                    .ok_or_else(|| {
                        let names: Vec<&str> = units.iter().map(|u| u.name()).collect();
                        bad(offset + 1, "unit", u64::from(unit), names.join(", "))
                    })?;
                let scope = Scope::ALL
                    .into_iter()
                    .find(|s| *s as u8 == scope_number && *s == scope)
                    .ok_or_else(|| {
                        let found = u64::from(scope_number);
                        bad(offset + 2, "scope", found, scope.name().to_owned())
                    })?;
                if reserved != 0 {
                    return Err(DecodeError::Reserved {
                        offset: offset + 3,
                        found: u16::from(reserved),
                    });
                }
                let granule = u64::from(u32::from_le_bytes(self.take("the granule")?));
                if !(1..=1 << 20).contains(&granule) {
                    return Err(bad(
                        offset + 4,
                        "granule",
                        granule,
                        "1 to 1048576".to_owned(),
                    ));
                }
                let value = self.bound(state, offset, key, &["unlimited", "unknown"])?;
                if value.known().is_some_and(|n| n > 1 << 48) {
                    let found = value.known().unwrap_or_default();
                    return Err(bad(offset + 8, "value", found, "0 to 2^48".to_owned()));
                }
                Ok(Value::Limit(Limit {
                    value,
                    unit,
                    scope,
                    granule,
                }))
            }
            Kind::Flag => match state {
                0 => Ok(Value::Flag(false)),
                1 => Ok(Value::Flag(true)),
                UNKNOWN => Ok(Value::Unknown),
                _ => Err(allowed_states("0, 1, 3")),
            },
            Kind::Names(domain) => match state {
                UNLIMITED => Ok(Value::Names(Names::All)),
                UNKNOWN => Ok(Value::Unknown),
                VALUE => {
                    let known = domain.names();
                    let mut list = Vec::new();
                    while self.at < self.end {
                        let offset = self.at;
                        let [length] = self.take("a name's length")?;
                        let bytes = self.slice("a name", usize::from(length))?;
                        let name = String::from_utf8_lossy(bytes);
                        if !known.contains(&name.as_ref()) {
                            return Err(DecodeError::Name {
                                offset,
                                key: key.to_owned(),
                                what: domain.what(),
                                found: name.into_owned(),
                            });
                        }
                        list.push(name.into_owned());
                    }
                    Ok(Value::Names(Names::List(list)))
                }
                _ => Err(allowed_states("0, 1, 3")),
            },
            Kind::Interval => match state {
                VALUE => {
                    let low = i64::from_le_bytes(self.take("the interval")?);
                    let high = i64::from_le_bytes(self.take("the interval")?);
                    if low > high {
                        let found = low as u64;
                        return Err(bad(offset + 1, "least", found, format!("up to {high}")));
                    }
                    Ok(Value::Interval(low, high))
                }
                UNKNOWN => Ok(Value::Unknown),
                _ => Err(allowed_states("0, 3")),
            },
            Kind::Choice(_) | Kind::Absent => Ok(Value::Unknown),
        }
    }

    fn bound(
        &mut self,
        state: u8,
        offset: usize,
        key: &str,
        words: &[&str],
    ) -> Result<Bound, DecodeError> {
        let bound = match state {
            VALUE => return Ok(Bound::Known(u64::from_le_bytes(self.take("the number")?))),
            UNLIMITED => Bound::Unlimited,
            HOST => Bound::Host,
            _ => Bound::Unknown,
        };
        let is_allowed = bound.word().is_some_and(|w| words.contains(&w));
        if is_allowed && state <= UNKNOWN {
            Ok(bound)
        } else {
            Err(DecodeError::Value {
                offset,
                key: key.to_owned(),
                what: "state",
                found: u64::from(state),
                allowed: format!("0 or {}", words.join(" or ")),
            })
        }
    }
}
