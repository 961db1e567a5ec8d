//! The maps of an object: definitions with BTF (`btf_defined`), definitions without
//! (`legacy`), sections of global data (`data`), and the kernel's configuration (`config`).

mod btf_defined;
mod config;
mod data;
mod declared;
mod layout;
mod legacy;

use std::collections::BTreeMap;

use super::elf::Elf;
use super::error::{MapProblem, ObjectError};
use super::function::Functions;
use super::{LoadOptions, Notes};
use crate::btf::Btf;
use crate::map::{MapDef, MapType};

pub(super) use config::config_values;
pub(super) use declared::declare;

/// A map of so many bytes is refused: no machine has them.
const MAX_MAP_BYTES: u64 = 1 << 40;

/// More maps than this are refused for one object; Linux lets one program use 64.
pub(super) const MAX_MAPS: usize = 1024;

/// The ring buffer's size is a multiple of the page and a power of two, as libbpf makes it.
const PAGE: u32 = 4096;

/// Maps of an object, with the places by which instructions name them.
#[derive(Debug, Default)]
pub(super) struct Maps {
    pub(super) defs: Vec<MapDef>,
    /// Definitions by (section, byte offset).
    defined: BTreeMap<(usize, u64), usize>,
    /// Sections of global data.
    data: BTreeMap<usize, usize>,
    /// iproute2's numbers of maps.
    ids: BTreeMap<u32, usize>,
}

/// What an address in a section means as a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapPlace {
    /// The map itself.
    Map(usize),
    /// Into the value of a map that holds global data.
    Data(usize),
    /// No map is defined there.
    Nothing,
    /// Not a section of maps or global data.
    OtherSection,
}

impl Maps {
    /// Reads all definitions, in libbpf's order: legacy ones, those with BTF, global data.
    pub(super) fn find(
        object: &str,
        elf: &Elf<'_>,
        btf: Option<&Btf<'_>>,
        functions: &Functions,
        notes: &mut Notes,
    ) -> Result<Maps, ObjectError> {
        let mut maps = Maps::default();
        legacy::find(object, elf, &mut maps, notes)?;
        if let Some(btf) = btf {
            btf_defined::find(object, elf, btf, functions, &mut maps, notes)?;
        }
        data::find(object, elf, &mut maps)?;
        Ok(maps)
    }

    /// What the address `offset` in `section` means.
    pub(super) fn at(&self, elf: &Elf<'_>, section: usize, offset: u64) -> MapPlace {
        if let Some(map) = self.defined.get(&(section, offset)) {
            return MapPlace::Map(*map);
        }
        if let Some(map) = self.data.get(&section) {
            return MapPlace::Data(*map);
        }
        let name = elf.sections.get(section).map(|s| s.name.as_ref());
        match name {
            Some(name) if name == ".maps" || legacy::is_legacy(name) => MapPlace::Nothing,
            _ => MapPlace::OtherSection,
        }
    }

    /// The map that holds a section of global data.
    pub(super) fn of_section(&self, section: usize) -> Option<usize> {
        self.data.get(&section).copied()
    }

    /// The map with iproute2's number `id`.
    pub(super) fn with_id(&self, id: u32) -> Option<usize> {
        self.ids.get(&id).copied()
    }

    fn define(&mut self, section: usize, offset: u64, def: MapDef) -> usize {
        let index = self.defs.len();
        self.defined.insert((section, offset), index);
        self.defs.push(def);
        index
    }

    /// Whether one more map can be taken.
    fn check_room(&self, object: &str) -> Result<(), ObjectError> {
        if self.defs.len() < MAX_MAPS {
            return Ok(());
        }
        Err(ObjectError::TooLarge {
            object: object.to_owned(),
            what: "maps",
            found: self.defs.len() as u64 + 1,
            limit: MAX_MAPS as u64,
        })
    }
}

/// Applies what the user sets and what libbpf adjusts, and refuses impossible sizes.
pub(super) fn finish(
    object: &str,
    defs: &mut [MapDef],
    options: &LoadOptions<'_>,
) -> Result<(), ObjectError> {
    for (name, entries) in &options.map_entries {
        let known = || defs.iter().map(|d| d.name.clone()).collect();
        let Some(at) = defs.iter().position(|def| def.name == *name) else {
            return Err(ObjectError::NoSuchMap {
                object: object.to_owned(),
                map: name.clone(),
                known: known(),
            });
        };
        if let Some(def) = defs.get_mut(at) {
            def.max_entries = *entries;
        }
    }
    for def in defs {
        adjust(def, options);
        if let Some(inner) = &mut def.inner {
            adjust(inner, options);
            check_size(object, inner)?;
        }
        check_size(object, def)?;
    }
    Ok(())
}

fn adjust(def: &mut MapDef, options: &LoadOptions<'_>) {
    match def.kind {
        MapType::PerfEventArray if def.max_entries == 0 => {
            def.max_entries = options.queues.max(1);
        }
        MapType::Ringbuf | MapType::UserRingbuf if def.max_entries != 0 => {
            let pages = def.max_entries.div_ceil(PAGE).checked_next_power_of_two();
            if let Some(bytes) = pages.and_then(|pages| pages.checked_mul(PAGE)) {
                def.max_entries = bytes;
            }
        }
        _ => {}
    }
}

fn check_size(object: &str, def: &MapDef) -> Result<(), ObjectError> {
    let bytes = if matches!(def.kind, MapType::Ringbuf | MapType::UserRingbuf) {
        u64::from(def.max_entries)
    } else {
        (u64::from(def.key_size) + u64::from(def.value_size))
            .saturating_mul(u64::from(def.max_entries))
    };
    if bytes >= MAX_MAP_BYTES {
        return Err(ObjectError::Map {
            object: object.to_owned(),
            map: def.name.clone(),
            problem: MapProblem::TooLarge {
                bytes,
                key: def.key_size,
                value: def.value_size,
                entries: def.max_entries,
                limit: MAX_MAP_BYTES,
            },
        });
    }
    Ok(())
}

/// A definition of nothing yet.
pub(super) fn blank(name: &str, kind: MapType) -> MapDef {
    MapDef::new(name, kind)
}
