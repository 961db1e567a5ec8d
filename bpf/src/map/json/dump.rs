//! From maps to JSON.

use super::bytes::{global_value, to_hex};
use super::{EntryJson, MapsJson};
use crate::map::{DataSection, Map, MapSet, MapType, index_of};
use crate::program::Global;

/// All contents of maps and global variables. `program` gives the name of a program by its
/// number. Maps that hold global variables are left out where `globals` names them; ring
/// buffers and perf event arrays have nothing to dump.
pub fn dump(
    maps: &MapSet,
    globals: &[Global],
    mut program: impl FnMut(u32) -> Option<String>,
) -> MapsJson {
    let mut json = MapsJson::default();
    for global in globals {
        let Some(map) = maps.get(global.map) else {
            continue;
        };
        let mut bytes = vec![0; global.size as usize];
        let at = map.array().and_then(|array| array.at(0, 0));
        if map.def().data != Some(DataSection::Rodata)
            && let Some(at) = at
            && map
                .memory()
                .read(at.0 + global.offset as usize, &mut bytes)
                .is_some()
        {
            json.globals
                .insert(global.name.clone(), global_value(global, &bytes));
        }
    }
    for (id, map) in maps.iter().enumerate() {
        let named = map.def().data.is_some() && globals.iter().any(|global| global.map == id);
        let constant = map.def().data == Some(DataSection::Rodata);
        let silent = matches!(map.kind(), MapType::Ringbuf | MapType::PerfEventArray);
        if !(named || constant || silent) {
            let entries = dump_map(maps, map, &mut program);
            json.maps.insert(map.def().name.clone(), entries);
        }
    }
    json
}

fn dump_map(
    maps: &MapSet,
    map: &Map,
    program: &mut dyn FnMut(u32) -> Option<String>,
) -> Vec<EntryJson> {
    let kind = map.kind();
    if matches!(kind, MapType::Queue | MapType::Stack | MapType::BloomFilter) {
        return map
            .host_values()
            .iter()
            .map(|value| EntryJson {
                value: Some(to_hex(value)),
                ..EntryJson::default()
            })
            .collect();
    }
    let indexed = !matches!(
        kind,
        MapType::Hash
            | MapType::PercpuHash
            | MapType::LruHash
            | MapType::LruPercpuHash
            | MapType::LpmTrie
            | MapType::HashOfMaps
    );
    let array = matches!(kind, MapType::Array | MapType::PercpuArray);
    // Not all keys at once: an array may have many, nearly all of them zero.
    let keys: Box<dyn Iterator<Item = Vec<u8>>> = if array {
        Box::new((0..map.def().max_entries).map(|index| index.to_le_bytes().to_vec()))
    } else {
        Box::new(map.host_keys().into_iter())
    };
    let mut entries = Vec::new();
    for key in keys {
        let Some(value) = map.element(&key) else {
            continue;
        };
        if array && value.iter().all(|byte| *byte == 0) {
            continue;
        }
        let number = index_of(value.get(..4).unwrap_or(&[]));
        let mut entry = EntryJson {
            key: Some(match index_of(&key) {
                Some(index) if indexed => index.into(),
                _ => to_hex(&key),
            }),
            ..EntryJson::default()
        };
        match kind {
            MapType::ProgArray => entry.program = number.and_then(&mut *program),
            MapType::ArrayOfMaps | MapType::HashOfMaps => {
                entry.map = number
                    .and_then(|id| maps.get(id as usize))
                    .map(|inner| inner.def().name.clone());
            }
            MapType::Devmap | MapType::DevmapHash => {
                entry.ifindex = number;
                entry.program = value
                    .get(4..8)
                    .and_then(index_of)
                    .filter(|number| *number != 0)
                    .and_then(&mut *program);
            }
            _ if kind.is_percpu() => {
                let size = map.def().value_size as usize;
                entry.values = Some(
                    value
                        .chunks(size.next_multiple_of(8).max(1))
                        .map(|chunk| to_hex(chunk.get(..size).unwrap_or(chunk)))
                        .collect(),
                );
            }
            _ => entry.value = Some(to_hex(&value)),
        }
        entries.push(entry);
    }
    entries
}
