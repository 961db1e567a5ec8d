//! From JSON into maps.

use serde_json::Value;

use super::bytes::{BytesError, global_bytes};
use super::typed::{key_bytes, typed_bytes};
use super::{EntryJson, JsonError, MapsJson};
use crate::map::{DataSection, Errno, Map, MapId, MapSet, MapType};
use crate::program::Global;

/// One entry on its way into its map.
struct Place<'a> {
    name: &'a str,
    index: usize,
    map: &'a Map,
    entry: &'a EntryJson,
}

impl Place<'_> {
    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Field {
            map: self.name.to_owned(),
            index: self.index,
            expected,
        }
    }

    fn problem(&self, field: &'static str, problem: BytesError) -> JsonError {
        JsonError::Bytes {
            map: self.name.to_owned(),
            index: self.index,
            field,
            problem,
        }
    }

    fn no_target(&self, what: &'static str, target: &str) -> JsonError {
        JsonError::NoTarget {
            map: self.name.to_owned(),
            index: self.index,
            what,
            target: target.to_owned(),
        }
    }

    fn refused(&self, errno: Errno) -> JsonError {
        JsonError::Refused {
            map: self.name.to_owned(),
            index: self.index,
            errno,
        }
    }

    fn key(&self) -> Result<Vec<u8>, JsonError> {
        let Some(key) = &self.entry.key else {
            return Err(self.expected("a `key`"));
        };
        key_bytes(self.map.def(), key).map_err(|problem| self.problem("key", problem))
    }

    fn typed_value(&self, field: &'static str, value: &Value) -> Result<Vec<u8>, JsonError> {
        let def = self.map.def();
        typed_bytes(value, def.value_size as usize, def.value_layout.as_deref())
            .map_err(|problem| self.problem(field, problem))
    }

    /// The one value, of the size a program sees.
    fn value(&self) -> Result<Vec<u8>, JsonError> {
        let Some(value) = &self.entry.value else {
            return Err(self.expected("a `value`"));
        };
        self.typed_value("value", value)
    }

    /// The values of all CPUs.
    fn values(&self) -> Result<Vec<u8>, JsonError> {
        let room = (self.map.def().value_size as usize).next_multiple_of(8);
        let mut all = Vec::with_capacity(self.map.host_value_size());
        if let Some(values) = &self.entry.values {
            if values.len() > self.map.cpus() as usize {
                return Err(self.expected("no more `values` than there are CPUs (queues)"));
            }
            for value in values {
                all.extend(self.typed_value("values", value)?);
                all.resize(all.len().next_multiple_of(8), 0);
            }
        } else {
            let value = self.value()?;
            for _ in 0..self.map.cpus() {
                all.extend(&value);
                all.resize(all.len().next_multiple_of(8), 0);
            }
        }
        all.resize(room * self.map.cpus() as usize, 0);
        Ok(all)
    }

    /// A field of the entry that this type of map does not take.
    fn foreign(&self) -> Option<&'static str> {
        let kind = self.map.kind();
        let devmap = matches!(kind, MapType::Devmap | MapType::DevmapHash);
        let entry = self.entry;
        if entry.map.is_some() && !matches!(kind, MapType::ArrayOfMaps | MapType::HashOfMaps) {
            return Some("no `map`: this is no map of maps");
        }
        if entry.program.is_some() && kind != MapType::ProgArray && !devmap {
            return Some("no `program`: this is neither a prog_array nor a devmap");
        }
        if entry.ifindex.is_some() && !devmap {
            return Some("no `ifindex`: this is no devmap");
        }
        if entry.values.is_some() && !kind.is_percpu() {
            return Some("no `values`: this is no per-CPU map");
        }
        None
    }
}

/// Puts contents into maps and global variables. `program` gives the number by which a program
/// is known to whoever runs it (in a devmap 0 means none). What comes before an error has been put in.
///
/// # Errors
/// [`JsonError`], naming the map, the index of the entry and what was expected.
pub fn apply(
    maps: &MapSet,
    globals: &[Global],
    json: &MapsJson,
    mut program: impl FnMut(&str) -> Option<u32>,
) -> Result<(), JsonError> {
    for (name, value) in &json.globals {
        apply_global(maps, globals, name, value)?;
    }
    for (name, entries) in &json.maps {
        let id = maps.by_name(name).ok_or_else(|| JsonError::NoMap {
            map: name.clone(),
            have: maps.iter().map(|map| map.def().name.clone()).collect(),
        })?;
        let Some(map) = maps.get(id) else { continue };
        for (index, entry) in entries.iter().enumerate() {
            let place = Place {
                name,
                index,
                map,
                entry,
            };
            apply_entry(maps, id, &place, &mut program)?;
        }
    }
    Ok(())
}

fn apply_entry(
    maps: &MapSet,
    id: MapId,
    place: &Place<'_>,
    program: &mut dyn FnMut(&str) -> Option<u32>,
) -> Result<(), JsonError> {
    let (map, entry) = (place.map, place.entry);
    if let Some(foreign) = place.foreign() {
        return Err(place.expected(foreign));
    }
    let mut number = |name: &str| program(name).ok_or_else(|| place.no_target("program", name));
    let result = match map.kind() {
        MapType::Queue | MapType::Stack | MapType::BloomFilter => {
            if entry.key.is_some() {
                return Err(place.expected("no `key`: queues, stacks and Bloom filters have none"));
            }
            map.host_update(&[], &place.value()?, 0)
        }
        MapType::ProgArray => {
            let Some(name) = &entry.program else {
                return Err(place.expected("a `program` by name"));
            };
            map.host_update(&place.key()?, &number(name)?.to_le_bytes(), 0)
        }
        MapType::ArrayOfMaps | MapType::HashOfMaps => {
            let Some(name) = &entry.map else {
                return Err(place.expected("a `map` by name"));
            };
            let inner = maps
                .by_name(name)
                .ok_or_else(|| place.no_target("map", name))?;
            maps.put_inner(id, &place.key()?, inner, 0)
        }
        MapType::Devmap | MapType::DevmapHash if entry.value.is_none() => {
            let Some(ifindex) = entry.ifindex else {
                return Err(place.expected("an `ifindex`"));
            };
            let mut value = ifindex.to_le_bytes().to_vec();
            if let Some(name) = &entry.program {
                value.extend(number(name)?.to_le_bytes());
            } else {
                value.resize(map.def().value_size as usize, 0);
            }
            map.host_update(&place.key()?, &value, 0)
        }
        kind if kind.is_percpu() => map.host_update(&place.key()?, &place.values()?, 0),
        _ => map.host_update(&place.key()?, &place.value()?, 0),
    };
    result.map_err(|errno| place.refused(errno))
}

fn apply_global(
    maps: &MapSet,
    globals: &[Global],
    name: &str,
    value: &Value,
) -> Result<(), JsonError> {
    let no_global = || JsonError::NoGlobal {
        name: name.to_owned(),
    };
    let global = globals
        .iter()
        .find(|global| global.name == name)
        .ok_or_else(no_global)?;
    let map = maps.get(global.map).ok_or_else(no_global)?;
    if map.def().data == Some(DataSection::Rodata) {
        return Err(JsonError::Constant {
            name: name.to_owned(),
        });
    }
    let bytes = global_bytes(global, value).map_err(|problem| JsonError::Global {
        name: name.to_owned(),
        problem,
    })?;
    let at = map.array().and_then(|array| array.at(0, 0));
    at.and_then(|at| map.memory().write(at.0 + global.offset as usize, &bytes))
        .ok_or_else(no_global)
}
