//! `.BTF.ext`: for each section of code, which function and which source line an instruction
//! belongs to, and its CO-RE relocations.

use super::{Btf, BtfError, TypeId, u16_at, u32_at};

/// The records of `.BTF.ext`.
#[derive(Clone, Debug, Default)]
pub struct Ext<'d> {
    /// Functions, by section.
    pub functions: Vec<InSection<'d, FunctionRecord>>,
    /// Lines, by section.
    pub lines: Vec<InSection<'d, LineRecord<'d>>>,
    /// CO-RE relocations, by section.
    pub relocations: Vec<InSection<'d, CoreRecord<'d>>>,
}

/// The records of one section, in the order of the file.
#[derive(Clone, Debug)]
pub struct InSection<'d, R> {
    /// Name of the section.
    pub section: &'d str,
    /// Its records.
    pub records: Vec<R>,
}

/// The function that starts at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRecord {
    /// Byte offset in the section.
    pub offset: u32,
    /// The function's type.
    pub ty: TypeId,
}

/// The line that starts at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRecord<'d> {
    /// Byte offset in the section.
    pub offset: u32,
    /// Source file.
    pub file: &'d str,
    /// Text of the line.
    pub text: &'d str,
    /// Line from 1.
    pub line: u32,
    /// Column from 1; 0 where unknown.
    pub column: u32,
}

/// A CO-RE relocation of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRecord<'d> {
    /// Byte offset in the section.
    pub offset: u32,
    /// The type it starts from, in the object's BTF.
    pub ty: TypeId,
    /// The way into it, such as `0:1:2`.
    pub access: &'d str,
    /// What is asked (`enum bpf_core_relo_kind`).
    pub kind: u32,
}

impl<'d> Ext<'d> {
    /// Reads a `.BTF.ext` section; `btf` holds its strings.
    ///
    /// # Errors
    /// [`BtfError`] if a header field or the extent of a group of records is malformed.
    pub fn parse(bytes: &'d [u8], btf: &Btf<'d>) -> Result<Ext<'d>, BtfError> {
        let outside = |offset: usize, what| BtfError::Outside {
            offset: offset as u64,
            what,
            size: bytes.len() as u64,
        };
        if bytes.len() < 24 {
            return Err(outside(0, "the header"));
        }
        let magic = u16_at(bytes, 0);
        if magic != 0xeb9f {
            return Err(BtfError::Magic { found: magic });
        }
        let version = bytes.get(2).copied().unwrap_or(0);
        if version != 1 {
            return Err(BtfError::Version { found: version });
        }
        let header = u32_at(bytes, 4) as usize;
        let part = |offset_at: usize, what| -> Result<(usize, &'d [u8]), BtfError> {
            // A shorter header has no such part.
            if header < offset_at + 8 {
                return Ok((0, &[]));
            }
            let start = header.saturating_add(u32_at(bytes, offset_at) as usize);
            let end = start.saturating_add(u32_at(bytes, offset_at + 4) as usize);
            let slice = bytes.get(start..end).ok_or(outside(offset_at, what))?;
            Ok((start, slice))
        };
        Ok(Ext {
            functions: groups(part(8, "function info")?, "function", 8, btf, |r| {
                FunctionRecord {
                    offset: u32_at(r, 0),
                    ty: u32_at(r, 4),
                }
            })?,
            lines: groups(part(16, "line info")?, "line", 16, btf, |r| LineRecord {
                offset: u32_at(r, 0),
                file: btf.string(u32_at(r, 4)),
                text: btf.string(u32_at(r, 8)),
                line: u32_at(r, 12) >> 10,
                column: u32_at(r, 12) & 0x3ff,
            })?,
            relocations: groups(part(24, "CO-RE relocations")?, "CO-RE", 16, btf, |r| {
                CoreRecord {
                    offset: u32_at(r, 0),
                    ty: u32_at(r, 4),
                    access: btf.string(u32_at(r, 8)),
                    kind: u32_at(r, 12),
                }
            })?,
        })
    }
}

/// Reads one part: the record size, then for each section its name, a count, and the records.
fn groups<'d, R>(
    (start, bytes): (usize, &'d [u8]),
    what: &'static str,
    least: u32,
    btf: &Btf<'d>,
    decode: impl Fn(&'d [u8]) -> R,
) -> Result<Vec<InSection<'d, R>>, BtfError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let outside = |at: usize| BtfError::Outside {
        offset: (start + at) as u64,
        what,
        size: (start + bytes.len()) as u64,
    };
    let size = u32_at(bytes, 0);
    if size < least {
        return Err(BtfError::RecordSize {
            offset: start as u64,
            what,
            found: size,
            least,
        });
    }
    let mut groups = Vec::new();
    let mut at = 4;
    while at < bytes.len() {
        let head = bytes.get(at..at + 8).ok_or(outside(at))?;
        let length = (u32_at(head, 4) as usize)
            .checked_mul(size as usize)
            .ok_or(outside(at))?;
        at += 8;
        let end = at.checked_add(length).ok_or(outside(at))?;
        let records = bytes.get(at..end).ok_or(outside(at))?;
        groups.push(InSection {
            section: btf.string(u32_at(head, 0)),
            records: records.chunks_exact(size as usize).map(&decode).collect(),
        });
        at = end;
    }
    Ok(groups)
}
