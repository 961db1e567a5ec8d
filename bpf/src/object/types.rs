//! The object's type information as libbpf hands it to the kernel.
//!
//! clang leaves sizes of sections and places of variables to the loader, and some of what it
//! writes (externs, sections that are no maps) the kernel does not take.

use std::collections::{BTreeMap, BTreeSet};

use super::elf::{Elf, Place};
use super::function::Functions;
use crate::btf::ext::{FunctionRecord, InSection};
use crate::btf::{Btf, Change, Kind, Linkage, TypeId};
use crate::map::MapDef;

/// Gives functions the types that `.BTF.ext` names.
pub(super) fn of_functions(
    elf: &Elf<'_>,
    groups: &[InSection<'_, FunctionRecord>],
    functions: &mut Functions,
) {
    for group in groups {
        let Some((section, _)) = elf.section_named(group.section) else {
            continue;
        };
        for record in &group.records {
            functions.set_type(section, u64::from(record.offset), record.ty);
        }
    }
}

/// The bytes for the kernel. Maps of global data get the type of their section.
pub(super) fn for_kernel(
    elf: &Elf<'_>,
    btf: &Btf<'_>,
    functions: &Functions,
    maps: &mut [MapDef],
) -> Vec<u8> {
    let mut changes: BTreeMap<TypeId, Change> = BTreeMap::new();
    let mut placed = BTreeSet::new();
    for (id, ty) in btf.iter() {
        let Kind::Section { .. } = ty.kind else {
            continue;
        };
        let def = maps
            .iter_mut()
            .find(|def| def.data.is_some() && def.name == ty.name && def.value_type == 0);
        let change = def.and_then(|def| {
            let variables = places(elf, btf, ty.name, id)?;
            def.value_type = id;
            placed.extend(variables.iter().map(|(variable, ..)| *variable));
            Some(Change::Section(def.value_size, variables))
        });
        changes.insert(id, change.unwrap_or(Change::Blank));
    }
    for function in &functions.all {
        let is_function = |ty: crate::btf::Type<'_>| matches!(ty.kind, Kind::Function { .. });
        if !btf.get(function.ty).is_some_and(is_function) {
            continue;
        }
        let linkage = if function.global {
            Linkage::Global
        } else {
            Linkage::Static
        };
        changes.insert(function.ty, Change::Linkage(linkage));
    }
    for (id, ty) in btf.iter() {
        let refused = match ty.kind {
            Kind::Variable { .. } => !placed.contains(&id),
            Kind::Function { linkage, .. } => linkage == Linkage::Extern,
            _ => false,
        };
        if refused {
            changes.insert(id, Change::Blank);
        }
    }
    btf.rewritten(|id| changes.remove(&id).unwrap_or(Change::Keep))
}

/// Notes the special fields in sections of global data, whose places the bytes for the kernel
/// tell.
pub(super) fn special_data(for_kernel: &[u8], maps: &mut [MapDef]) {
    let Ok(btf) = Btf::parse(for_kernel) else {
        return;
    };
    for def in maps.iter_mut().filter(|def| def.data.is_some()) {
        def.special = btf.special_fields(def.value_type);
    }
}

/// The variables of a section by ascending place; `None` unless all are known.
fn places(elf: &Elf<'_>, btf: &Btf<'_>, name: &str, id: TypeId) -> Option<Vec<(TypeId, u32, u32)>> {
    let Kind::Section { variables, .. } = btf.get(id)?.kind else {
        return None;
    };
    let (section, _) = elf.section_named(name)?;
    let symbols: BTreeMap<&str, u64> = elf
        .symbols_in(section)
        .filter(|s| s.place == Place::Section(section))
        .map(|s| (s.name.as_ref(), s.value))
        .collect();
    let mut found = Vec::new();
    for entry in variables.iter() {
        let offset = *symbols.get(btf.get(entry.variable)?.name)?;
        found.push((entry.variable, u32::try_from(offset).ok()?, entry.size));
    }
    found.sort_by_key(|(_, offset, _)| *offset);
    Some(found)
}
