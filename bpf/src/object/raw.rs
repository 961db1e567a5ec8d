//! Raw instructions: bytes as they are, or as hexadecimal text.

use std::sync::Arc;

use isa::ebpf::{self, Insn, Wide};

use super::error::ObjectError;
use super::{LoadOptions, maps, stem};
use crate::Hook;
use crate::map::MapDef;
use crate::program::{Program, ProgramSet};

/// Reads a file of hexadecimal digits: two a byte in memory order, spaces, commas and `0x`
/// allowed between bytes, `#` and `;` starting a comment.
pub(super) fn load_hex(
    object: &str,
    text: &[u8],
    options: &LoadOptions<'_>,
) -> Result<ProgramSet, ObjectError> {
    let text = String::from_utf8_lossy(text);
    let mut nibbles = Vec::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        let code = line.split(['#', ';']).next().unwrap_or_default();
        let code = code.replace("0x", "  ");
        for (column, found) in code.chars().enumerate() {
            if let Some(digit) = found.to_digit(16) {
                nibbles.push(digit as u8);
            } else if !found.is_whitespace() && found != ',' {
                return Err(ObjectError::Hex {
                    object: object.to_owned(),
                    line: number + 1,
                    column: column + 1,
                    found,
                });
            }
        }
    }
    let bytes: Vec<u8> = nibbles
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble))
        .collect();
    load(object, &bytes, options)
}

/// Reads instructions in little-endian order. The hook is XDP unless the options say another.
pub(super) fn load(
    object: &str,
    bytes: &[u8],
    options: &LoadOptions<'_>,
) -> Result<ProgramSet, ObjectError> {
    if bytes.is_empty() {
        return Err(ObjectError::NoProgram {
            object: object.to_owned(),
        });
    }
    let insns = ebpf::decode(bytes).map_err(|error| ObjectError::Decode {
        object: object.to_owned(),
        error,
    })?;
    let mut defs = declared(object, options)?;
    maps::finish(object, &mut defs, options)?;
    build(
        object,
        options.hook.clone().unwrap_or(Hook::XDP),
        insns,
        defs.into(),
    )
}

/// The maps that the options declare.
pub(super) fn declared(
    object: &str,
    options: &LoadOptions<'_>,
) -> Result<Vec<MapDef>, ObjectError> {
    options
        .raw_maps
        .iter()
        .map(|(name, text)| {
            maps::declare(name, text).map_err(|problem| ObjectError::Map {
                object: object.to_owned(),
                map: name.clone(),
                problem,
            })
        })
        .collect()
}

fn build(
    object: &str,
    hook: Hook,
    mut insns: Vec<Insn>,
    maps: Arc<[MapDef]>,
) -> Result<ProgramSet, ObjectError> {
    bind_maps(object, &mut insns, maps.len())?;
    let program = Program {
        maps: Arc::clone(&maps),
        ..Program::of_instructions(stem(object), hook, insns)
    };
    Ok(ProgramSet {
        object: object.to_owned(),
        programs: vec![program],
        maps,
        refused: Vec::new(),
        notes: Vec::new(),
    })
}

/// Turns file descriptors into indices of the declared maps: raw instructions name the n-th
/// declared map by n, as a file descriptor or as an index.
fn bind_maps(object: &str, insns: &mut [Insn], declared: usize) -> Result<(), ObjectError> {
    for (pc, insn) in insns.iter_mut().enumerate() {
        let Insn::LoadWide { value, .. } = insn else {
            continue;
        };
        let (index, bound) = match *value {
            Wide::MapFd(fd) => (i64::from(fd), Wide::Map(fd as u32)),
            Wide::MapFdValue { fd, offset } => (
                i64::from(fd),
                Wide::MapValue {
                    map: fd as u32,
                    offset,
                },
            ),
            Wide::Map(map) | Wide::MapValue { map, .. } => (i64::from(map), *value),
            Wide::Value(_) | Wide::BtfId { .. } | Wide::Function { .. } => continue,
        };
        if index < 0 || index >= declared as i64 {
            return Err(ObjectError::UndeclaredMap {
                object: object.to_owned(),
                pc,
                index,
                declared,
            });
        }
        *value = bound;
    }
    Ok(())
}
