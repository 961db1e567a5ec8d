//! BTF, the type information that clang and the kernel carry (kernel documentation,
//! "BPF Type Format (BTF)").
//!
//! [`Btf`] reads types, [`ext`] the records of `.BTF.ext` (functions, lines, CO-RE), [`core`]
//! resolves CO-RE relocations. What maps and variables mean is the object loader's to say.
//!
//! Nothing is copied: types are read from the bytes when asked for. Only the place of each type
//! is kept, so the kernel's own BTF (some 150,000 types) opens in a few milliseconds.

#![deny(clippy::indexing_slicing)]

pub mod build;
pub mod core;
pub mod ext;
pub mod fields;
mod kernel;
mod layout;
pub mod signature;
mod types;
pub mod walk;

pub(crate) use kernel::Change;
pub use types::{Enumerator, Kind, Linkage, Member, Members, Parameter, Type, Values, VarSecInfo};

use std::collections::BTreeMap;

use thiserror::Error;

/// Id of a type: 0 is `void`, then types in the order of the section.
pub type TypeId = u32;

/// Why BTF cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BtfError {
    /// The section does not start with BTF's magic number.
    #[error(
        "offset 0: magic is {found:#06x}, expected 0xeb9f; is it the BTF of a little-endian machine?"
    )]
    Magic {
        /// What stands there.
        found: u16,
    },
    /// A version other than 1.
    #[error("offset 2: version is {found}, expected 1")]
    Version {
        /// What stands there.
        found: u8,
    },
    /// A part lies outside the section.
    #[error("offset {offset:#x}: {what} lies outside the section of {size} bytes")]
    Outside {
        /// Byte offset in the section.
        offset: u64,
        /// Which part.
        what: &'static str,
        /// Size of the section.
        size: u64,
    },
    /// A type of an unknown kind.
    #[error("offset {offset:#x}: type {id} has kind {kind}, expected 1 to 19")]
    UnknownKind {
        /// Byte offset in the section.
        offset: u64,
        /// The type.
        id: TypeId,
        /// Its kind.
        kind: u32,
    },
    /// A record size below what the format has.
    #[error("offset {offset:#x}: {what} records of {found} bytes, expected at least {least}")]
    RecordSize {
        /// Byte offset in the section.
        offset: u64,
        /// Which records.
        what: &'static str,
        /// Their size.
        found: u32,
        /// The least size.
        least: u32,
    },
}

/// Bytes of BTF with the place of every type.
#[derive(Clone, Debug)]
pub struct Btf<'d> {
    types: &'d [u8],
    strings: &'d [u8],
    /// Byte offset in `types` of type id, for ids from 1.
    offsets: Vec<u32>,
    /// Section descriptions by name.
    sections: BTreeMap<&'d str, TypeId>,
}

const HEADER: usize = 24;

impl<'d> Btf<'d> {
    /// Reads a `.BTF` section, or what the kernel shows in `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// [`BtfError`] if a header field or a type record is malformed. References between types
    /// are not followed here.
    pub fn parse(bytes: &'d [u8]) -> Result<Btf<'d>, BtfError> {
        let outside = |offset: usize, what| BtfError::Outside {
            offset: offset as u64,
            what,
            size: bytes.len() as u64,
        };
        let header = bytes.get(..HEADER).ok_or(outside(0, "the header"))?;
        let magic = u16_at(header, 0);
        if magic != 0xeb9f {
            return Err(BtfError::Magic { found: magic });
        }
        let version = header.get(2).copied().unwrap_or(0);
        if version != 1 {
            return Err(BtfError::Version { found: version });
        }
        let part = |offset_at: usize, what| {
            let start = (u32_at(header, 4) as usize)
                .checked_add(u32_at(header, offset_at) as usize)
                .ok_or(outside(offset_at, what))?;
            let end = start
                .checked_add(u32_at(header, offset_at + 4) as usize)
                .ok_or(outside(offset_at, what))?;
            let slice = bytes.get(start..end).ok_or(outside(offset_at, what))?;
            Ok((start, slice))
        };
        let (types_start, types) = part(8, "the type section")?;
        let (_, strings) = part(16, "the string section")?;
        let mut offsets = Vec::with_capacity(types.len() / 16);
        let mut sections = BTreeMap::new();
        let mut at = 0;
        while at < types.len() {
            let record = types.get(at..).unwrap_or_default();
            let id = offsets.len() as u32 + 1;
            if record.len() < 12 {
                return Err(outside(types_start + at, "a type"));
            }
            let length = 12
                + types::extra_length(record).ok_or(BtfError::UnknownKind {
                    offset: (types_start + at) as u64,
                    id,
                    kind: types::kind_number(record),
                })?;
            if record.len() < length {
                return Err(outside(types_start + at, "a type"));
            }
            if types::is_section(record) {
                sections
                    .entry(string_at(strings, u32_at(record, 0)))
                    .or_insert(id);
            }
            offsets.push(at as u32);
            at += length;
        }
        Ok(Btf {
            types,
            strings,
            offsets,
            sections,
        })
    }

    /// How many types there are, `void` included: ids are below this.
    pub fn len(&self) -> TypeId {
        self.offsets.len() as TypeId + 1
    }

    /// Whether there is no type but `void`.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The type with this id; `None` if there is none.
    pub fn get(&self, id: TypeId) -> Option<Type<'d>> {
        if id == 0 {
            return Some(Type {
                name: "",
                kind: Kind::Void,
            });
        }
        let at = *self.offsets.get(id as usize - 1)? as usize;
        types::decode(self.types.get(at..)?, self.strings)
    }

    /// All types but `void`, with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, Type<'d>)> {
        (1..self.len()).filter_map(|id| Some((id, self.get(id)?)))
    }

    /// The string at this offset of the string section; empty if there is none.
    pub fn string(&self, offset: u32) -> &'d str {
        string_at(self.strings, offset)
    }

    /// The section description (`BTF_KIND_DATASEC`) of this name.
    pub fn section(&self, name: &str) -> Option<Type<'d>> {
        self.get(*self.sections.get(name)?)
    }
}

/// Longer strings are cut: names and lines of source are far shorter.
const MAX_STRING: usize = 4096;

/// The NUL-terminated string at `offset`, as far as it is UTF-8; empty where there is none.
fn string_at(strings: &[u8], offset: u32) -> &str {
    let rest = strings.get(offset as usize..).unwrap_or_default();
    let rest = rest.get(..MAX_STRING).unwrap_or(rest);
    let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    let bytes = rest.get(..end).unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_else(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        std::str::from_utf8(valid).unwrap_or_default()
    })
}

/// The little-endian number at `offset`; 0 beyond the end.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}

/// The little-endian number at `offset`; 0 beyond the end.
fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |b| u16::from_le_bytes(*b))
}
