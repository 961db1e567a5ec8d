//! What an address is on this engine: a region in the upper 32 bits, a byte offset in the lower.
//!
//! Adding to a pointer stays in its region as long as a verified program adds, and an address
//! made up by a wrong image names no region or an offset that the region does not have.

use bpf::map::MapId;

/// Region of the context.
pub const CTX: u32 = 1;
/// Region of the packet's area: headroom, bytes, tailroom.
pub const PACKET: u32 = 2;
/// Region of the stack: frame `n` ends at offset `(n + 1) * 512`.
pub const STACK: u32 = 3;
/// Region of the socket that a tc packet belongs to.
pub const SOCK: u32 = 4;
/// Functions: the offset is that of the first slot. No memory lies there.
pub const FUNCTIONS: u32 = 5;
/// Keys that a helper hands to a function it calls: that of the call which has `n` callers lies
/// at `n * KEY_STRIDE`. They can be read.
pub const KEYS: u32 = 6;
/// Distance of those keys: no key is longer than 512 bytes.
pub const KEY_STRIDE: u32 = 1024;
/// Region of map 0; map `n` is `MAPS + n`.
pub const MAPS: u32 = 0x100;
/// Handle of map 0 (no memory lies there); map `n` is `HANDLES + n`.
pub const HANDLES: u32 = 0x8000_0000;

/// Offset of the context's first byte, and lower half of a handle: compilers compare the lower
/// half of a pointer with 0, so none may be 0 there.
pub const BASE: u32 = 0x1000;

/// The address of a byte.
pub const fn at(region: u32, offset: u32) -> u64 {
    (region as u64) << 32 | offset as u64
}

/// The address of the function that begins at a slot.
pub const fn function(slot: usize) -> u64 {
    at(FUNCTIONS, BASE + slot as u32)
}

/// The slot that the address of a function names.
pub const fn function_slot(address: u64) -> Option<usize> {
    let offset = address as u32;
    if (address >> 32) as u32 == FUNCTIONS && offset >= BASE {
        Some((offset - BASE) as usize)
    } else {
        None
    }
}

/// Where the function that is called with so many callers finds its key.
pub const fn key(callers: usize) -> u64 {
    at(KEYS, BASE + callers as u32 * KEY_STRIDE)
}

/// What names a map in a register.
pub const fn handle(map: MapId) -> u64 {
    at(HANDLES + map as u32, BASE)
}

/// The address of byte `offset` of a map's memory.
pub const fn map_value(map: MapId, offset: usize) -> u64 {
    at(MAPS + map as u32, offset as u32)
}

/// The map that a handle names.
pub const fn handle_map(value: u64) -> Option<MapId> {
    let region = (value >> 32) as u32;
    if value as u32 == BASE && region >= HANDLES {
        Some((region - HANDLES) as usize)
    } else {
        None
    }
}

/// The map whose memory an address lies in.
pub const fn value_map(address: u64) -> Option<MapId> {
    let region = (address >> 32) as u32;
    if region >= MAPS && region < HANDLES {
        Some((region - MAPS) as usize)
    } else {
        None
    }
}
