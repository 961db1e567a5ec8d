//! Map definitions without BTF: a `struct bpf_map_def` (or what came before and beside it) in
//! section `maps`.
//!
//! All of them start with type, key size, value size and number of entries; from 20 bytes on
//! flags follow. Then traditions part: the samples' loader had 28 bytes (index of the inner
//! map, NUMA node), early iproute2 28 (id, pinning), later iproute2 36 (id, pinning, id of the
//! inner map, slot as an inner map). Tails of zeros are taken at any length.

use super::Maps;
use crate::map::{InitialSlot, MapType, SlotValue};
use crate::object::Notes;
use crate::object::elf::Elf;
use crate::object::error::{MapProblem, ObjectError};

/// Type, key size, value size, entries.
const LEAST: u64 = 16;

/// iproute2's `struct bpf_elf_map`.
const IPROUTE2: usize = 36;

/// gobpf's definition: a pinning mode and a namespace of 256 bytes behind the five fields.
const GOBPF: usize = 280;

/// Whether a section of this name holds legacy definitions.
pub(super) fn is_legacy(name: &str) -> bool {
    name == "maps" || name.starts_with("maps/")
}

/// What a definition says beyond the map itself.
struct Relations {
    map: usize,
    /// iproute2's number of the map, 0 for none.
    id: u32,
    /// The inner map's number, 0 for none.
    inner_id: u32,
    /// The inner map's index in the section (samples).
    inner_index: Option<u32>,
    /// Slot in the outer map.
    inner_slot: Option<u32>,
}

pub(super) fn find(
    object: &str,
    elf: &Elf<'_>,
    maps: &mut Maps,
    notes: &mut Notes,
) -> Result<(), ObjectError> {
    let mut relations = Vec::new();
    for (index, section) in elf.sections.iter().enumerate() {
        if !is_legacy(&section.name) {
            continue;
        }
        let mut symbols: Vec<_> = elf
            .symbols_in(index)
            .filter(|symbol| !symbol.name.is_empty())
            .collect();
        symbols.sort_by_key(|symbol| symbol.value);
        symbols.dedup_by_key(|symbol| symbol.value);
        let ends: Vec<u64> = symbols
            .iter()
            .skip(1)
            .map(|symbol| symbol.value)
            .chain([section.data.len() as u64])
            .collect();
        for (symbol, next) in symbols.iter().zip(ends) {
            maps.check_room(object)?;
            let end = if symbol.size == 0 {
                next
            } else {
                symbol.value.saturating_add(symbol.size)
            };
            let error = |problem| ObjectError::Map {
                object: object.to_owned(),
                map: symbol.name.clone().into_owned(),
                problem,
            };
            let bytes = section
                .data
                .get(symbol.value as usize..end as usize)
                .ok_or_else(|| {
                    error(MapProblem::OutsideSection {
                        section: section.name.clone().into_owned(),
                        offset: symbol.value,
                    })
                })?;
            let relation =
                define(&symbol.name, index, symbol.value, bytes, maps, notes).map_err(error)?;
            relations.push(relation);
        }
    }
    relate(object, &relations, maps)
}

fn define(
    name: &str,
    section: usize,
    offset: u64,
    bytes: &[u8],
    maps: &mut Maps,
    notes: &mut Notes,
) -> Result<Relations, MapProblem> {
    if (bytes.len() as u64) < LEAST {
        return Err(MapProblem::LegacySize {
            size: bytes.len() as u64,
        });
    }
    let word = |index: usize| -> u32 {
        bytes
            .get(index * 4..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |b| u32::from_le_bytes(*b))
    };
    let kind = MapType::from_number(word(0)).ok_or(MapProblem::UnknownType { found: word(0) })?;
    let nested = matches!(kind, MapType::ArrayOfMaps | MapType::HashOfMaps);
    let gobpf = bytes.len() == GOBPF;
    let iproute2 = bytes.len() >= IPROUTE2 && !gobpf;
    if !gobpf
        && let Some(tail) = bytes.get(IPROUTE2..)
        && let Some(at) = tail.iter().position(|b| *b != 0)
    {
        return Err(MapProblem::LegacyTail {
            offset: (IPROUTE2 + at) as u64,
        });
    }
    let samples_nested = nested && !iproute2 && !gobpf;
    let pinning = if gobpf { word(5) } else { word(6) };
    if pinning != 0 && !samples_nested {
        notes.pinning(name);
    }
    let mut def = super::blank(name, kind);
    def.key_size = word(1);
    def.value_size = word(2);
    def.max_entries = word(3);
    def.flags = word(4);
    let map = maps.define(section, offset, def);
    let id = if samples_nested || gobpf { 0 } else { word(5) };
    if id != 0 {
        maps.ids.entry(id).or_insert(map);
    }
    Ok(Relations {
        map,
        id,
        inner_id: if iproute2 && nested { word(7) } else { 0 },
        inner_index: samples_nested.then(|| word(5)),
        inner_slot: (iproute2 && word(8) != u32::MAX).then(|| word(8)),
    })
}

/// Gives maps of maps the definition of their inner map, and fills slots as iproute2 does.
fn relate(object: &str, relations: &[Relations], maps: &mut Maps) -> Result<(), ObjectError> {
    for outer in relations {
        let name = |map: usize| {
            maps.defs
                .get(map)
                .map(|d| d.name.clone())
                .unwrap_or_default()
        };
        let missing = |inner: String| ObjectError::Map {
            object: object.to_owned(),
            map: name(outer.map),
            problem: MapProblem::NoInner { inner },
        };
        let inner = if outer.inner_id != 0 {
            relations
                .iter()
                .find(|inner| inner.id == outer.inner_id)
                .ok_or_else(|| missing(format!("with id {}", outer.inner_id)))?
        } else if let Some(index) = outer.inner_index {
            relations
                .get(index as usize)
                .filter(|inner| inner.map != outer.map)
                .ok_or_else(|| missing(format!("with index {index}")))?
        } else {
            continue;
        };
        let template = maps.defs.get(inner.map).cloned();
        let slots: Vec<InitialSlot> = relations
            .iter()
            .filter(|other| outer.inner_id != 0 && other.id == outer.inner_id)
            .filter_map(|other| {
                Some(InitialSlot {
                    index: other.inner_slot?,
                    value: SlotValue::Map(name(other.map)),
                })
            })
            .collect();
        if let (Some(def), Some(mut template)) = (maps.defs.get_mut(outer.map), template) {
            template.slots.clear();
            template.inner = None;
            def.inner = Some(Box::new(template));
            def.slots.extend(slots);
        }
    }
    Ok(())
}
