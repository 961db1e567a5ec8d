//! Helpers on maps.

use std::sync::Arc;

use super::Machine;
use crate::map::{Map, MapId, MapType, ValueAt, to_r0};
use crate::run::TrapCause;

/// Keys and values up to this many bytes are copied through the stack.
const SMALL: usize = 64;

/// Bytes copied from the program: on the stack if they are few.
pub(super) enum Copied {
    Few([u8; SMALL], usize),
    Many(Vec<u8>),
}

impl Copied {
    /// Copies `size` bytes at `address`.
    #[inline]
    pub(super) fn new<M: Machine>(
        machine: &M,
        address: u64,
        size: usize,
    ) -> Result<Copied, TrapCause> {
        if size <= SMALL {
            let mut bytes = [0; SMALL];
            machine.read(address, &mut bytes[..size])?;
            Ok(Copied::Few(bytes, size))
        } else {
            let mut bytes = vec![0; size];
            machine.read(address, &mut bytes)?;
            Ok(Copied::Many(bytes))
        }
    }

    /// A copy of these bytes.
    pub(super) fn of(from: &[u8]) -> Copied {
        if from.len() <= SMALL {
            let mut bytes = [0; SMALL];
            bytes[..from.len()].copy_from_slice(from);
            Copied::Few(bytes, from.len())
        } else {
            Copied::Many(from.to_vec())
        }
    }

    /// The bytes.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Copied::Few(bytes, size) => &bytes[..*size],
            Copied::Many(bytes) => bytes,
        }
    }
}

/// The map a handle names.
#[inline]
pub(super) fn map_of<M: Machine>(
    machine: &M,
    handle: u64,
) -> Result<(MapId, &Arc<Map>), TrapCause> {
    let id = machine.map_id(handle)?;
    let map = machine
        .maps()
        .get(id)
        .ok_or(TrapCause::BadMap { value: handle })?;
    Ok((id, map))
}

/// Tells an LRU map which packet uses it.
#[inline]
fn note_packet<M: Machine>(machine: &M, map: &Map) {
    if matches!(map.kind(), MapType::LruHash | MapType::LruPercpuHash) {
        map.set_packet(machine.cpu(), machine.packet());
    }
}

/// `bpf_map_lookup_elem(map, key)`.
pub(super) fn lookup<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let cpu = machine.cpu();
    lookup_on(machine, args, cpu)
}

/// `bpf_map_lookup_percpu_elem(map, key, cpu)`.
pub(super) fn lookup_percpu<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let cpu = args[2] as u32;
    if cpu != machine.cpu() {
        map_of(machine, args[0])?.1.note_conflict();
    }
    lookup_on(machine, args, cpu)
}

#[inline]
fn lookup_on<M: Machine>(machine: &mut M, args: [u64; 5], cpu: u32) -> Result<u64, TrapCause> {
    let (id, map) = map_of(machine, args[0])?;
    let key = Copied::new(machine, args[1], map.def().key_size as usize)?;
    if matches!(map.kind(), MapType::ArrayOfMaps | MapType::HashOfMaps) {
        return Ok(map
            .inner(key.bytes())
            .map_or(0, |inner| machine.map_handle(inner)));
    }
    note_packet(machine, map);
    Ok(map
        .lookup(key.bytes(), cpu)
        .map_or(0, |at: ValueAt| machine.value_address(id, at)))
}

/// `bpf_map_update_elem(map, key, value, flags)`.
pub(super) fn update<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let (_, map) = map_of(machine, args[0])?;
    let key = Copied::new(machine, args[1], map.def().key_size as usize)?;
    let value = Copied::new(machine, args[2], map.def().value_size as usize)?;
    note_packet(machine, map);
    Ok(to_r0(map.update(
        key.bytes(),
        value.bytes(),
        args[3],
        machine.cpu(),
    )))
}

/// `bpf_map_delete_elem(map, key)`.
pub(super) fn delete<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let (_, map) = map_of(machine, args[0])?;
    let key = Copied::new(machine, args[1], map.def().key_size as usize)?;
    Ok(to_r0(map.delete(key.bytes(), machine.cpu())))
}

/// `bpf_map_push_elem(map, value, flags)`.
pub(super) fn push<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let (_, map) = map_of(machine, args[0])?;
    let value = Copied::new(machine, args[1], map.def().value_size as usize)?;
    Ok(to_r0(map.push(value.bytes(), args[2], machine.cpu())))
}

/// `bpf_map_pop_elem(map, value)`, and without `remove` `bpf_map_peek_elem`. An empty map makes
/// the value zero; a Bloom filter is asked about the value and leaves it.
pub(super) fn take<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
    remove: bool,
) -> Result<u64, TrapCause> {
    let (_, map) = map_of(machine, args[0])?;
    let mut value = vec![0; map.def().value_size as usize];
    if map.kind() == MapType::BloomFilter {
        machine.read(args[1], &mut value)?;
        return Ok(to_r0(map.peek(&mut value, machine.cpu())));
    }
    let result = if remove {
        map.pop(&mut value, machine.cpu())
    } else {
        map.peek(&mut value, machine.cpu())
    };
    machine.write(args[1], &value)?;
    Ok(to_r0(result))
}

/// Where `bpf_tail_call(ctx, map, index)` goes: the number the `prog_array`'s slot was filled
/// with, or `None` if the call falls through. The engine counts calls in a row and falls through
/// after [`MAX_TAIL_CALLS`](super::MAX_TAIL_CALLS).
///
/// # Errors
/// [`TrapCause::BadMap`] if `handle` names no `prog_array`.
pub fn tail_call_target<M: Machine>(
    machine: &M,
    handle: u64,
    index: u64,
) -> Result<Option<u32>, TrapCause> {
    let (_, map) = map_of(machine, handle)?;
    if map.kind() != MapType::ProgArray {
        return Err(TrapCause::BadMap { value: handle });
    }
    Ok(map.program(index as u32))
}
