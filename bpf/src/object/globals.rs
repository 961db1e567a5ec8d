//! Global variables: which there are, and the values that the user gives them.
//!
//! Names, places and types come from BTF; where that tells nothing, from symbols, and a value
//! is then read by size alone.

use std::collections::BTreeMap;

use super::elf::{Elf, SymbolKind};
use super::error::{GlobalProblem, ObjectError};
use super::maps::Maps;
use crate::btf::{Btf, Kind, Linkage, TypeId};
use crate::map::MapDef;
use crate::program::{Global, GlobalKind};

/// The variables of an object, and the type of each where BTF tells it.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) list: Vec<Global>,
    types: Vec<Option<TypeId>>,
}

impl Variables {
    /// Finds the variables in all sections of global data.
    pub(super) fn find(elf: &Elf<'_>, btf: Option<&Btf<'_>>, maps: &Maps) -> Variables {
        let mut variables = Variables::default();
        for (index, section) in elf.sections.iter().enumerate() {
            let Some(map) = maps.of_section(index) else {
                continue;
            };
            // Symbols by place: name and size. Names local to a function have the function's
            // in front (`f.counter`); BTF knows the last part.
            let mut symbols: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
            let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
            for symbol in elf.symbols_in(index) {
                if symbol.kind == SymbolKind::Other && !symbol.name.is_empty() {
                    symbols.insert(symbol.value, (&symbol.name, symbol.size));
                    by_name.entry(&symbol.name).or_insert(symbol.value);
                }
            }
            let described = btf.and_then(|btf| Some((btf, btf.section(&section.name)?.kind)));
            if let Some((
                btf,
                Kind::Section {
                    variables: entries, ..
                },
            )) = described
            {
                for entry in entries.iter() {
                    let Some(ty) = btf.get(entry.variable) else {
                        continue;
                    };
                    let Kind::Variable {
                        ty: type_id,
                        linkage,
                    } = ty.kind
                    else {
                        continue;
                    };
                    let offset = match by_name.get(ty.name) {
                        Some(offset) if linkage != Linkage::Static || entry.offset == 0 => *offset,
                        _ => u64::from(entry.offset),
                    };
                    let size = btf.size_of(type_id).unwrap_or(u64::from(entry.size));
                    symbols.remove(&offset);
                    variables.push(
                        ty.name,
                        map,
                        offset,
                        size,
                        kind(btf, type_id),
                        Some(type_id),
                    );
                }
            }
            for (offset, (name, size)) in symbols {
                variables.push(name, map, offset, size, GlobalKind::Bytes, None);
            }
        }
        variables
    }

    /// Adds a variable whose type is known, at (byte offset, size) in a map.
    pub(super) fn push_typed(
        &mut self,
        btf: &Btf<'_>,
        name: &str,
        map: usize,
        (offset, size): (u32, u32),
        ty: TypeId,
    ) {
        let (offset, size) = (u64::from(offset), u64::from(size));
        self.push(name, map, offset, size, kind(btf, ty), Some(ty));
    }

    fn push(
        &mut self,
        name: &str,
        map: usize,
        offset: u64,
        size: u64,
        kind: GlobalKind,
        ty: Option<TypeId>,
    ) {
        let (Ok(offset), Ok(size)) = (u32::try_from(offset), u32::try_from(size)) else {
            return;
        };
        self.list.push(Global {
            name: name.to_owned(),
            map,
            offset,
            size,
            kind,
        });
        self.types.push(ty);
    }

    /// Writes the user's values into the contents of the maps.
    pub(super) fn apply(
        &self,
        object: &str,
        btf: Option<&Btf<'_>>,
        defs: &mut [MapDef],
        values: &[(String, String)],
    ) -> Result<(), ObjectError> {
        for (name, value) in values {
            self.set(btf, defs, name, value)
                .map_err(|problem| ObjectError::Global {
                    object: object.to_owned(),
                    global: name.clone(),
                    problem,
                })?;
        }
        Ok(())
    }

    fn set(
        &self,
        btf: Option<&Btf<'_>>,
        defs: &mut [MapDef],
        name: &str,
        value: &str,
    ) -> Result<(), GlobalProblem> {
        // The longest variable name that `name` starts with: names themselves may have a dot.
        let whole = self
            .list
            .iter()
            .filter_map(|g| Some((g.name.as_str(), name.strip_prefix(g.name.as_str())?)))
            .filter(|(_, path)| path.is_empty() || path.starts_with(['.', '[']))
            .max_by_key(|(head, _)| head.len());
        let (head, path) =
            whole.unwrap_or_else(|| name.split_at(name.find(['.', '[']).unwrap_or(name.len())));
        let is_meant = |global: &Global| match whole {
            Some(_) => global.name == head,
            // `counter` for the `counter` of a function, `function.counter`.
            None => global
                .name
                .rsplit_once('.')
                .is_some_and(|(_, last)| last == head),
        };
        let mut found = self
            .list
            .iter()
            .zip(&self.types)
            .filter(|(global, _)| is_meant(global));
        let Some((global, ty)) = found.next() else {
            return Err(GlobalProblem::Unknown {
                known: self.list.iter().map(|g| g.name.clone()).collect(),
            });
        };
        let others = found.count();
        if others > 0 {
            return Err(GlobalProblem::Ambiguous { count: others + 1 });
        }
        let whole = Place {
            offset: u64::from(global.offset),
            size: u64::from(global.size),
            ty: *ty,
        };
        let place = match btf {
            Some(btf) => walk(btf, whole, path)?,
            None if path.is_empty() => whole,
            None => return Err(no_member(path, Vec::new())),
        };
        let outside = || GlobalProblem::OutsideSection {
            size: place.size,
            offset: place.offset,
        };
        let start = usize::try_from(place.offset).map_err(|_error| outside())?;
        let end = place.offset.checked_add(place.size).ok_or_else(outside)?;
        let bytes = defs
            .get_mut(global.map)
            .and_then(|def| def.initial.as_mut())
            .and_then(|bytes| bytes.get_mut(start..end as usize))
            .ok_or_else(outside)?;
        write(btf, place.ty, bytes, value.trim()).map_err(|expected| GlobalProblem::Value {
            value: value.chars().take(60).collect(),
            expected,
        })
    }
}

/// How a variable's bytes are read.
fn kind(btf: &Btf<'_>, ty: TypeId) -> GlobalKind {
    match btf.strip(ty).map(|(_, ty)| ty.kind) {
        Some(Kind::Int { bool: true, .. }) => GlobalKind::Bool,
        Some(Kind::Int { signed: true, .. } | Kind::Enum { signed: true, .. }) => {
            GlobalKind::Signed
        }
        Some(Kind::Int { .. } | Kind::Enum { .. }) => GlobalKind::Unsigned,
        Some(Kind::Array { element, .. }) if is_char(btf, element) => GlobalKind::Text,
        _ => GlobalKind::Bytes,
    }
}

fn is_char(btf: &Btf<'_>, ty: TypeId) -> bool {
    btf.strip(ty)
        .is_some_and(|(_, ty)| ty.name == "char" && matches!(ty.kind, Kind::Int { size: 1, .. }))
}

/// A part of a variable.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    size: u64,
    ty: Option<TypeId>,
}

fn no_member(member: &str, known: Vec<String>) -> GlobalProblem {
    GlobalProblem::Member {
        member: member.chars().take(60).collect(),
        known,
    }
}

/// Goes the path `.member[index]…` into a variable.
fn walk(btf: &Btf<'_>, mut place: Place, path: &str) -> Result<Place, GlobalProblem> {
    let mut rest = path;
    while !rest.is_empty() {
        let stripped = place.ty.and_then(|ty| btf.strip(ty)).map(|(_, ty)| ty.kind);
        if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after
                .split_once(']')
                .ok_or_else(|| no_member(rest, Vec::new()))?;
            let Some(Kind::Array { element, count }) = stripped else {
                return Err(no_member(&format!("[{index}]"), Vec::new()));
            };
            let range = || {
                no_member(
                    &format!("[{index}]"),
                    vec![format!("[0] to [{}]", i64::from(count) - 1)],
                )
            };
            let number: u64 = index.trim().parse().map_err(|_error| range())?;
            if number >= u64::from(count) {
                return Err(range());
            }
            let size = btf.size_of(element).ok_or_else(range)?;
            place = Place {
                offset: place.offset.saturating_add(number.saturating_mul(size)),
                size,
                ty: Some(element),
            };
            rest = after;
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at(end);
            let Some(Kind::Composite { members, .. }) = stripped else {
                return Err(no_member(name, Vec::new()));
            };
            let unknown = || {
                let names = members.iter().map(|m| m.name.to_owned());
                no_member(name, names.filter(|n| !n.is_empty()).collect())
            };
            let member = members
                .iter()
                .find(|m| m.name == name && m.bit_size == 0)
                .ok_or_else(unknown)?;
            place = Place {
                offset: place
                    .offset
                    .saturating_add(u64::from(member.bit_offset / 8)),
                size: btf.size_of(member.ty).ok_or_else(unknown)?,
                ty: Some(member.ty),
            };
            rest = after;
        }
    }
    Ok(place)
}

/// Writes `value` as the type wants it; the error says what was expected.
fn write(
    btf: Option<&Btf<'_>>,
    ty: Option<TypeId>,
    bytes: &mut [u8],
    value: &str,
) -> Result<(), String> {
    if let Some(digits) = value.strip_prefix("hex:") {
        return write_hex(bytes, digits);
    }
    let stripped = btf.zip(ty).and_then(|(btf, ty)| btf.strip(ty));
    match (stripped.map(|(_, ty)| ty.kind), btf) {
        (Some(Kind::Int { bool: true, .. }), _) => {
            let number = match value {
                "true" | "1" => 1,
                "false" | "0" => 0,
                _ => return Err("true or false".to_owned()),
            };
            bytes.fill(0);
            if let Some(first) = bytes.first_mut() {
                *first = number;
            }
            Ok(())
        }
        (Some(Kind::Int { signed, .. }), _) => write_number(bytes, value, Some(signed)),
        (Some(Kind::Enum { signed, values, .. }), _) => {
            match values.iter().find(|v| v.name == value) {
                Some(found) => {
                    put(bytes, found.value);
                    Ok(())
                }
                None => write_number(bytes, value, Some(signed))
                    .map_err(|expected| format!("{expected}, or a name of the enumeration")),
            }
        }
        (Some(Kind::Pointer { .. }), _) => write_number(bytes, value, Some(false)),
        (Some(Kind::Array { element, count }), Some(btf)) => {
            if is_char(btf, element) {
                if value.len() > bytes.len() {
                    return Err(format!("text of at most {} bytes", bytes.len()));
                }
                bytes.fill(0);
                for (to, from) in bytes.iter_mut().zip(value.bytes()) {
                    *to = from;
                }
                return Ok(());
            }
            let size = bytes.len().checked_div(count as usize).unwrap_or(0);
            let elements: Vec<&str> = value.split(',').map(str::trim).collect();
            if elements.len() != count as usize || size == 0 {
                return Err(format!(
                    "{count} elements by comma, or hex: and {} bytes",
                    bytes.len()
                ));
            }
            for (chunk, element_value) in bytes.chunks_mut(size).zip(elements) {
                write(Some(btf), Some(element), chunk, element_value)?;
            }
            Ok(())
        }
        (Some(_), _) => Err(format!(
            "hex: and {} bytes in memory order; its members can be set one by one",
            bytes.len()
        )),
        (None, _) if matches!(bytes.len(), 1 | 2 | 4 | 8) => write_number(bytes, value, None),
        (None, _) => Err(format!("hex: and {} bytes in memory order", bytes.len())),
    }
}

fn put(bytes: &mut [u8], number: u64) {
    for (to, from) in bytes.iter_mut().zip(number.to_le_bytes()) {
        *to = from;
    }
}

/// Writes a number that fits; where signedness is not known it may be of either.
fn write_number(bytes: &mut [u8], value: &str, signed: Option<bool>) -> Result<(), String> {
    let bits = bytes.len() as u32 * 8;
    if bits > 64 {
        return Err(format!("hex: and {} bytes in memory order", bytes.len()));
    }
    let low = if signed == Some(false) {
        0
    } else {
        -(1_i128 << (bits.max(1) - 1))
    };
    let high = if signed == Some(true) {
        (1_i128 << (bits.max(1) - 1)) - 1
    } else {
        (1_i128 << bits) - 1
    };
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let magnitude = match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let number = magnitude.ok().map(|m| {
        if negative {
            -i128::from(m)
        } else {
            i128::from(m)
        }
    });
    match number.filter(|n| (low..=high).contains(n)) {
        Some(number) => {
            put(bytes, number as u64);
            Ok(())
        }
        None => Err(format!("a number from {low} to {high}")),
    }
}

fn write_hex(bytes: &mut [u8], digits: &str) -> Result<(), String> {
    let expected = || format!("hex: and {} bytes, two digits each", bytes.len());
    let nibbles: Option<Vec<u8>> = digits
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect();
    let nibbles = nibbles
        .filter(|n| n.len() == bytes.len() * 2)
        .ok_or_else(expected)?;
    for (to, pair) in bytes.iter_mut().zip(nibbles.chunks_exact(2)) {
        if let [high, low] = pair {
            *to = high << 4 | low;
        }
    }
    Ok(())
}
