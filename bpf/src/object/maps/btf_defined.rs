//! Maps defined by types: variables in section `.maps` whose structure type says what the map
//! is (`__uint(type, ...)`, `__type(key, ...)`, `__array(values, ...)` of `bpf_helpers.h`).
//!
//! Numbers are the lengths of arrays that members point to; key and value are the types that
//! members point to. The variable's own bytes hold only the addresses of slots' contents, as
//! relocations.

use std::collections::BTreeMap;

use super::Maps;
use super::layout::Layouts;
use crate::btf::{Btf, Kind, Linkage, TypeId};
use crate::map::{InitialSlot, MapDef, MapType, SlotValue};
use crate::object::Notes;
use crate::object::elf::{Elf, Place, Section, Symbol};
use crate::object::error::{MapProblem, ObjectError};
use crate::object::function::Functions;

/// A variable of `.maps`.
struct Variable<'d> {
    name: &'d str,
    map: usize,
    /// Byte offset of `values` in the section.
    values: Option<u64>,
}

pub(super) fn find(
    object: &str,
    elf: &Elf<'_>,
    btf: &Btf<'_>,
    functions: &Functions,
    maps: &mut Maps,
    notes: &mut Notes,
) -> Result<(), ObjectError> {
    let Some((section_index, section)) = elf.section_named(".maps") else {
        return Ok(());
    };
    let Some(Kind::Section { variables, .. }) = btf.section(".maps").map(|ty| ty.kind) else {
        return Ok(());
    };
    let mut symbols = BTreeMap::new();
    for symbol in elf.symbols_in(section_index) {
        symbols.entry(symbol.name.as_ref()).or_insert(symbol);
    }
    let mut found = BTreeMap::new();
    let mut layouts = Layouts::new(btf);
    for entry in variables.iter() {
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
        maps.check_room(object)?;
        let error = |problem| ObjectError::Map {
            object: object.to_owned(),
            map: ty.name.to_owned(),
            problem,
        };
        let offset = match symbols.get(ty.name) {
            Some(symbol) if linkage != Linkage::Static || entry.offset == 0 => symbol.value,
            _ => u64::from(entry.offset),
        };
        let size = btf.size_of(type_id).unwrap_or(0);
        if offset
            .checked_add(size)
            .is_none_or(|end| end > section.data.len() as u64)
        {
            return Err(error(MapProblem::OutsideSection {
                section: ".maps".to_owned(),
                offset,
            }));
        }
        let definition = define(btf, &mut layouts, ty.name, type_id, false).map_err(error)?;
        if definition.pinned {
            notes.pinning(ty.name);
        }
        let map = maps.define(section_index, offset, definition.def);
        found.insert(
            offset,
            Variable {
                name: ty.name,
                map,
                values: definition.values.map(|values| offset + values),
            },
        );
    }
    fill_slots(object, elf, section, &found, functions, maps)
}

/// A definition read from its type.
struct Definition {
    def: MapDef,
    /// Byte offset of `values` in the variable.
    values: Option<u64>,
    pinned: bool,
}

fn define(
    btf: &Btf<'_>,
    layouts: &mut Layouts<'_, '_>,
    name: &str,
    type_id: TypeId,
    is_inner: bool,
) -> Result<Definition, MapProblem> {
    let member_error = |member: &str, problem| MapProblem::Member {
        member: member.to_owned(),
        problem,
    };
    let Some(Kind::Composite {
        union: false,
        members,
        ..
    }) = btf.strip(type_id).map(|(_, ty)| ty.kind)
    else {
        return Err(member_error("", "its type is no structure"));
    };
    let mut def = super::blank(name, MapType::Array);
    let mut kind = None;
    let (mut key, mut value) = (Size::default(), Size::default());
    let mut values = None;
    let mut pinned = false;
    for member in members.iter() {
        let number = || {
            number(btf, member.ty)
                .ok_or_else(|| member_error(member.name, "expected a pointer to an array of int"))
        };
        let size = || {
            pointee(btf, member.ty)
                .and_then(|ty| btf.size_of(ty))
                .and_then(|size| u32::try_from(size).ok())
                .ok_or_else(|| {
                    member_error(member.name, "expected a pointer to a type with a size")
                })
        };
        match member.name {
            "type" => kind = Some(number()?),
            "max_entries" => def.max_entries = number()?,
            "map_flags" => def.flags = number()?,
            "map_extra" => def.extra = u64::from(number()?),
            "key_size" => key.number = Some(number()?),
            "value_size" => value.number = Some(number()?),
            "key" => {
                key.ty = Some(size()?);
                def.key_type = pointee(btf, member.ty).unwrap_or(0);
                def.key_layout = pointee(btf, member.ty).and_then(|ty| layouts.of(ty));
            }
            "value" => {
                value.ty = Some(size()?);
                def.value_type = pointee(btf, member.ty).unwrap_or(0);
                def.special = btf.special_fields(def.value_type);
                def.value_layout = pointee(btf, member.ty).and_then(|ty| layouts.of(ty));
            }
            "pinning" => pinned = number()? != 0,
            "values" => {
                if is_inner {
                    return Err(member_error("values", "maps nest only once"));
                }
                values = Some(u64::from(member.bit_offset) / 8);
                def.inner = inner(btf, layouts, name, member.ty)?;
                value.ty = Some(value.ty.unwrap_or(4));
            }
            // NUMA node, and whatever newer libraries know: no matter here.
            _ => {}
        }
    }
    let kind = kind.ok_or(MapProblem::NoType)?;
    def.kind = MapType::from_number(kind).ok_or(MapProblem::UnknownType { found: kind })?;
    def.key_size = key.resolve("key_size")?;
    def.value_size = value.resolve("value_size")?;
    Ok(Definition {
        def,
        values,
        pinned,
    })
}

/// A size that is given as a number, by a type, or both.
#[derive(Default)]
struct Size {
    number: Option<u32>,
    ty: Option<u32>,
}

impl Size {
    fn resolve(&self, what: &'static str) -> Result<u32, MapProblem> {
        match (self.number, self.ty) {
            (Some(first), Some(second)) if first != second => Err(MapProblem::SizeConflict {
                what,
                first,
                second,
            }),
            (number, ty) => Ok(number.or(ty).unwrap_or(0)),
        }
    }
}

/// The number that a member encodes: the length of the array it points to, or (`__ulong`) the
/// only value of the enumeration it is.
fn number(btf: &Btf<'_>, ty: TypeId) -> Option<u32> {
    match btf.strip(ty)?.1.kind {
        Kind::Pointer { to } => match btf.strip(to)?.1.kind {
            Kind::Array { count, .. } => Some(count),
            _ => None,
        },
        Kind::Enum { values, .. } => values.get(0)?.value.try_into().ok(),
        _ => None,
    }
}

fn pointee(btf: &Btf<'_>, ty: TypeId) -> Option<TypeId> {
    match btf.strip(ty)?.1.kind {
        Kind::Pointer { to } => Some(to),
        _ => None,
    }
}

/// The definition of inner maps that `values` (an array of pointers) gives; none if it points
/// to functions.
fn inner(
    btf: &Btf<'_>,
    layouts: &mut Layouts<'_, '_>,
    name: &str,
    ty: TypeId,
) -> Result<Option<Box<MapDef>>, MapProblem> {
    let bad = |problem| MapProblem::Member {
        member: "values".to_owned(),
        problem,
    };
    let Some(Kind::Array { element, .. }) = btf.strip(ty).map(|(_, ty)| ty.kind) else {
        return Err(bad("expected an array"));
    };
    let target = pointee(btf, element).ok_or_else(|| bad("expected an array of pointers"))?;
    match btf.strip(target).map(|(_, ty)| ty.kind) {
        Some(Kind::Prototype { .. }) => Ok(None),
        Some(Kind::Composite { .. }) => {
            let inner = define(btf, layouts, &format!("{name}.inner"), target, true)?;
            Ok(Some(Box::new(inner.def)))
        }
        _ => Err(bad("expected pointers to functions or to map definitions")),
    }
}

/// Fills slots from the relocations of `.maps`.
fn fill_slots(
    object: &str,
    elf: &Elf<'_>,
    section: &Section<'_>,
    variables: &BTreeMap<u64, Variable<'_>>,
    functions: &Functions,
    maps: &mut Maps,
) -> Result<(), ObjectError> {
    for relocation in &section.relocations {
        let Some((_, variable)) = variables.range(..=relocation.offset).next_back() else {
            continue;
        };
        let Some(start) = variable.values else {
            continue;
        };
        let Some(bytes) = relocation.offset.checked_sub(start) else {
            continue;
        };
        let Some(symbol) = elf.symbols.get(relocation.symbol) else {
            continue;
        };
        let slot = bytes / 8;
        let value = slot_value(
            elf,
            section,
            relocation.offset,
            relocation.addend,
            symbol,
            functions,
            maps,
        );
        let holds_maps = maps
            .defs
            .get(variable.map)
            .is_some_and(|def| def.inner.is_some());
        match (u32::try_from(slot), value, maps.defs.get_mut(variable.map)) {
            (Ok(index), Some(value), Some(def))
                if holds_maps == matches!(value, SlotValue::Map(_)) =>
            {
                def.slots.push(InitialSlot { index, value });
            }
            _ => {
                return Err(ObjectError::Map {
                    object: object.to_owned(),
                    map: variable.name.to_owned(),
                    problem: MapProblem::Slot {
                        slot,
                        target: symbol.name.clone().into_owned(),
                        expected: if holds_maps { "map" } else { "program" },
                    },
                });
            }
        }
    }
    Ok(())
}

/// What a slot's relocation names. Through a section's symbol the addend, which stands in the
/// section's bytes unless the relocation carries it, tells the place.
fn slot_value(
    elf: &Elf<'_>,
    section: &Section<'_>,
    offset: u64,
    addend: Option<i64>,
    symbol: &Symbol<'_>,
    functions: &Functions,
    maps: &Maps,
) -> Option<SlotValue> {
    let Place::Section(target) = symbol.place else {
        return None;
    };
    let in_place = || {
        section
            .data
            .get(offset as usize..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| i64::from_le_bytes(*bytes))
    };
    let place = symbol
        .value
        .wrapping_add_signed(addend.unwrap_or_else(in_place));
    if let Some(function) = functions.at(target, place) {
        return functions
            .all
            .get(function)
            .map(|f| SlotValue::Program(f.name.clone()));
    }
    match maps.at(elf, target, place) {
        super::MapPlace::Map(map) => maps.defs.get(map).map(|d| SlotValue::Map(d.name.clone())),
        _ => None,
    }
}
