//! Relocations: where helpers, maps and values really are.

use std::sync::Arc;

use bpf::map::{Map, MapId, MapSet};
use isa::x86_64::abi::{CPU_STRIDE32, RUNTIME_LOAD_PACKET, RUNTIME_TAIL_CALL};
use isa::{Image, RelocationKind, Symbol};

use super::entries;
use crate::LoadError;

/// What a map handle in a register points to.
#[derive(Debug)]
pub(super) struct MapEntry {
    /// Id on the NIC.
    pub(super) id: MapId,
    /// The map.
    pub(super) map: Arc<Map>,
}

impl MapEntry {
    /// The handle that names this map in a register.
    pub(super) fn handle(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }
}

/// An entry for every map, by id.
pub(super) fn entries(maps: &MapSet) -> Box<[MapEntry]> {
    maps.iter()
        .enumerate()
        .map(|(id, map)| MapEntry {
            id,
            map: Arc::clone(map),
        })
        .collect()
}

/// Fills the relocations of `image` in `code`, a copy of its code; `ids` gives for each map of
/// the program its id on the NIC.
pub(super) fn relocate(
    code: &mut [u8],
    image: &Image,
    ids: &[MapId],
    maps: &[MapEntry],
) -> Result<(), LoadError> {
    for relocation in &image.relocations {
        let at = relocation.at;
        let malformed = |what| LoadError::Malformed { offset: at, what };
        let value = value(relocation.kind, relocation.symbol, ids, maps).map_err(malformed)?;
        match relocation.kind {
            RelocationKind::Absolute64 => store(code, at, &value.to_le_bytes()),
            RelocationKind::Absolute32 | RelocationKind::Target(CPU_STRIDE32) => {
                if value > u64::from(u32::MAX) {
                    return Err(malformed("the value takes more than four bytes"));
                }
                store(code, at, &value.to_le_bytes()[..4])
            }
            RelocationKind::EbpfWide | RelocationKind::Target(_) => {
                return Err(malformed("x86-64 has no such relocation"));
            }
        }
        .ok_or_else(|| malformed("a relocation lies outside the code"))?;
    }
    Ok(())
}

fn store(code: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    let end = at.checked_add(bytes.len())?;
    code.get_mut(at..end)?.copy_from_slice(bytes);
    Some(())
}

fn value(
    kind: RelocationKind,
    symbol: Symbol,
    ids: &[MapId],
    maps: &[MapEntry],
) -> Result<u64, &'static str> {
    let entry = |map: usize| {
        ids.get(map)
            .and_then(|id| maps.get(*id))
            .ok_or("a relocation names a map that the program does not have")
    };
    match symbol {
        Symbol::Helper(id) => entries::helper(id).ok_or("a relocation names no helper"),
        Symbol::Map(map) => Ok(entry(map)?.handle()),
        Symbol::MapValues { map, offset } => {
            let map = &entry(map)?.map;
            let array = map
                .array()
                .ok_or("a relocation asks for the values of a map that is no array")?;
            if kind == RelocationKind::Target(CPU_STRIDE32) {
                // The code multiplies by it as a signed number of 32 bits.
                if i32::try_from(array.cpu_stride).is_err() {
                    return Err("the values of one CPU take more than 2 GiB");
                }
                return Ok(array.cpu_stride as u64);
            }
            let offset = usize::try_from(offset)
                .ok()
                .and_then(|offset| array.base.checked_add(offset))
                .filter(|offset| *offset < map.memory().len())
                .ok_or("a relocation lies outside its map")?;
            Ok(map.memory().address() + offset as u64)
        }
        Symbol::Runtime(RUNTIME_TAIL_CALL) => Ok(entries::tail_call_address()),
        Symbol::Runtime(RUNTIME_LOAD_PACKET) => Ok(entries::load_packet_address()),
        Symbol::Runtime(_) | Symbol::Code(_) => Err("the engine has no such entry"),
    }
}
