//! The kernel's configuration as programs see it: variables of section `.kconfig`, declared but
//! not defined by the object.

use super::Maps;
use super::data::RDONLY_PROG;
use crate::btf::{Btf, Kind, TypeId};
use crate::map::{DataSection, MapDef, MapType};

/// Further variables are overlooked.
const MAX_CONFIG_VALUES: usize = 1024;

/// A variable of `.kconfig`, at its place in the map that holds them.
pub(in crate::object) struct ConfigValue<'d> {
    pub(in crate::object) name: &'d str,
    pub(in crate::object) offset: u32,
    pub(in crate::object) size: u32,
    pub(in crate::object) ty: TypeId,
}

/// The variables of `.kconfig`, placed as libbpf places them: aligned to their size, the largest
/// first, then by name.
pub(in crate::object) fn config_values<'d>(btf: Option<&Btf<'d>>) -> Vec<ConfigValue<'d>> {
    let section = btf.and_then(|btf| Some((btf, btf.section(".kconfig")?.kind)));
    let Some((btf, Kind::Section { variables, .. })) = section else {
        return Vec::new();
    };
    let mut found: Vec<ConfigValue<'d>> = variables
        .iter()
        .take(MAX_CONFIG_VALUES)
        .filter_map(|entry| {
            let variable = btf.get(entry.variable)?;
            let Kind::Variable { ty, .. } = variable.kind else {
                return None;
            };
            // Numbers and short texts; nothing else is there.
            let size = btf.size_of(ty)?.clamp(1, 4096) as u32;
            Some(ConfigValue {
                name: variable.name,
                offset: 0,
                size,
                ty,
            })
        })
        .collect();
    found.sort_by_key(|value| (std::cmp::Reverse(value.size), value.name));
    found.dedup_by_key(|value| value.name);
    let mut end: u32 = 0;
    for value in &mut found {
        value.offset = end.next_multiple_of(value.size.min(8).next_power_of_two());
        end = value.offset.saturating_add(value.size);
    }
    found
}

impl Maps {
    /// Adds the map that libbpf puts `.kconfig` into, if there is such a section: what the user
    /// gives no value is absent, so 0.
    pub(in crate::object) fn add_config(&mut self, values: &[ConfigValue<'_>]) -> Option<usize> {
        let last = values.last()?;
        let bytes = last.offset.saturating_add(last.size);
        self.defs.push(MapDef {
            key_size: 4,
            value_size: bytes,
            max_entries: 1,
            flags: RDONLY_PROG,
            data: Some(DataSection::Rodata),
            initial: Some(vec![0; bytes as usize]),
            ..super::blank(".kconfig", MapType::Array)
        });
        Some(self.defs.len() - 1)
    }
}
