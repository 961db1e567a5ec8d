//! The addresses a program sees, and what lies behind them.
//!
//! An address is a *region* in its upper half and a byte offset in its lower half. Regions below
//! [`FIRST_VALUE`] are fixed; every place in the maps' memory where a value can start (a multiple
//! of 8) has a region of its own, so that an access is held against the bounds of the single
//! value and an address stays the same however often the value is looked up. Region 0 is no
//! memory: it holds null and small numbers. Pointer arithmetic that leaves the lower half ends
//! in a neighbouring region with an offset that no value is long enough for.

use std::sync::Arc;

use bpf::helper::MAX_TAIL_CALLS;
use bpf::map::{DataSection, Map, MapId, MapSet, MapType, ValueAt};

/// The context.
pub(super) const CTX: u32 = 1;
/// The packet's area; also the memory block of a program without hook.
pub(super) const PACKET: u32 = 2;
/// The stack: frame `n` lies from `n * FRAME_STRIDE + FRAME_STRIDE - FRAME_BYTES` to the next
/// multiple of `FRAME_STRIDE`, so that no access can reach from one frame into another.
pub(super) const STACK: u32 = 3;
/// Maps themselves: the offset is the map's id. Nothing can be accessed.
const HANDLE: u32 = 4;
/// Functions: the offset is the index of their first cell. Nothing can be accessed.
const FUNCTION: u32 = 5;
/// The socket that a tc packet belongs to. It can be read.
pub(super) const SOCK: u32 = 6;
/// Keys that a helper hands to a function it calls: that of the call at depth `n` lies at
/// `n * KEY_STRIDE`. They can be read.
pub(super) const KEY: u32 = 7;
/// Distance of those keys: no key is longer than 512 bytes (`MAX_BPF_STACK` of Linux).
const KEY_STRIDE: u32 = 1024;
/// First region of map values.
const FIRST_VALUE: u32 = 1 << CHUNK_BITS;
/// Regions are given to maps in chunks of so many bits.
const CHUNK_BITS: u32 = 16;

/// Offset of the first byte of the context, of a value and of the first map's handle: compilers
/// compare the lower half of a pointer with 0, so none may be 0 there. (Packet and stack begin
/// behind their rooms.)
pub(super) const BASE: u32 = 0x1000;

/// Bytes of stack in a frame.
pub(super) const FRAME_BYTES: usize = 512;
/// Distance of the frames' ends in the stack's region.
pub(super) const FRAME_STRIDE: usize = 1024;
/// Most frames on the stack at once: 8 of each program, and a tail call in a function takes the
/// place of that function alone, its callers stay.
pub(super) const FRAMES: usize = 8 * (MAX_TAIL_CALLS as usize + 1);

/// `BPF_F_RDONLY_PROG`: programs may only read.
const F_RDONLY_PROG: u32 = 1 << 7;
/// `BPF_F_WRONLY_PROG`: programs may only write.
const F_WRONLY_PROG: u32 = 1 << 8;

/// The address of `offset` in `region`.
#[inline]
pub(super) const fn address(region: u32, offset: u32) -> u64 {
    (region as u64) << 32 | offset as u64
}

/// The region of an address.
#[inline]
pub(super) const fn region(address: u64) -> u32 {
    (address >> 32) as u32
}

/// The address of the function that starts at `cell`.
pub(super) const fn function(cell: u32) -> u64 {
    address(FUNCTION, cell)
}

/// The cell that the address of a function names.
pub(super) fn of_function(address: u64, cells: usize) -> Option<usize> {
    let cell = address as u32 as usize;
    (region(address) == FUNCTION && cell < cells).then_some(cell)
}

/// Where the function that is called at `depth` finds its key.
pub(super) const fn key(depth: usize) -> u64 {
    address(KEY, BASE + depth as u32 * KEY_STRIDE)
}

/// The depth of the call whose key an address of the keys' region lies in, and the byte in it.
pub(super) fn in_key(address: u64) -> (usize, usize) {
    let offset = (address as u32).wrapping_sub(BASE);
    (
        (offset / KEY_STRIDE) as usize,
        (offset % KEY_STRIDE) as usize,
    )
}

/// The frame pointer of the function at `depth` (0 is the entry).
#[inline]
pub(super) const fn frame_pointer(depth: usize) -> u64 {
    address(STACK, ((depth + 1) * FRAME_STRIDE) as u32)
}

/// A map, and the regions of its values.
#[derive(Debug)]
struct MapRegion {
    map: Arc<Map>,
    /// Region of a value at offset 0 of the map's memory.
    first: u32,
    value_size: u32,
    readable: bool,
    writable: bool,
    /// Values are records with a length of their own.
    records: bool,
}

/// The regions of all maps.
#[derive(Debug, Default)]
pub(super) struct MapRegions {
    maps: Vec<MapRegion>,
    /// For each chunk of regions, from that of [`FIRST_VALUE`], the map it belongs to.
    chunks: Vec<u16>,
}

/// A value found behind an address.
pub(super) struct Found<'a> {
    pub(super) map: &'a Map,
    /// Byte offset in the map's memory.
    pub(super) at: usize,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl MapRegions {
    /// Regions for all maps; `None` if they have too much memory for the addresses there are
    /// (about 32 GiB).
    pub(super) fn new(maps: &MapSet) -> Option<MapRegions> {
        let mut regions = MapRegions::default();
        for (id, map) in maps.iter().enumerate() {
            let def = map.def();
            let first = FIRST_VALUE + ((regions.chunks.len() as u32) << CHUNK_BITS);
            let chunks = ((map.memory().len() / 8) >> CHUNK_BITS) + 1;
            if regions.chunks.len() + chunks >= (1 << CHUNK_BITS) - 1 {
                return None;
            }
            let id = u16::try_from(id).ok()?;
            regions.chunks.extend(std::iter::repeat_n(id, chunks));
            regions.maps.push(MapRegion {
                map: Arc::clone(map),
                first,
                value_size: def.value_size,
                readable: def.flags & F_WRONLY_PROG == 0,
                writable: def.flags & F_RDONLY_PROG == 0 && def.data != Some(DataSection::Rodata),
                records: def.kind == MapType::Ringbuf,
            });
        }
        Some(regions)
    }

    /// What names a map in a register.
    pub(super) fn handle(&self, map: MapId) -> Option<u64> {
        (map < self.maps.len()).then(|| address(HANDLE, BASE + map as u32))
    }

    /// The map that a handle names.
    #[inline]
    pub(super) fn of_handle(&self, handle: u64) -> Option<MapId> {
        let map = (handle as u32).wrapping_sub(BASE) as usize;
        (region(handle) == HANDLE && map < self.maps.len()).then_some(map)
    }

    /// The address of byte `offset` in the first value of a map.
    pub(super) fn first_value(&self, map: MapId, offset: u32) -> Option<u64> {
        let at = self.maps.get(map)?.map.lookup(&[0; 4], 0)?;
        Some(self.address_of(map, at)?.wrapping_add(u64::from(offset)))
    }

    /// The address of a value.
    #[inline]
    pub(super) fn address_of(&self, map: MapId, at: ValueAt) -> Option<u64> {
        let map = self.maps.get(map)?;
        Some(address(map.first.wrapping_add((at.0 / 8) as u32), BASE))
    }

    /// The map and the start of the value that an address lies in, if its region is one of a
    /// value; whether there is a value is not checked.
    #[inline]
    fn entry(&self, address: u64) -> Option<(MapId, &MapRegion, usize)> {
        let region = region(address).wrapping_sub(FIRST_VALUE);
        let id = *self.chunks.get((region >> CHUNK_BITS) as usize)?;
        let entry = self.maps.get(usize::from(id))?;
        let start = (region - (entry.first - FIRST_VALUE)) as usize * 8;
        Some((usize::from(id), entry, start))
    }

    /// The map whose memory an address lies in, and where.
    pub(super) fn value_at(&self, address: u64) -> Option<(MapId, ValueAt)> {
        let (id, _, start) = self.entry(address)?;
        let offset = (address as u32).checked_sub(BASE)?;
        Some((id, ValueAt(start + offset as usize)))
    }

    /// The `size` bytes at an address, if they lie inside one value.
    #[inline]
    pub(super) fn find(&self, address: u64, size: usize) -> Option<Found<'_>> {
        let (_, entry, start) = self.entry(address)?;
        let offset = (address as u32).checked_sub(BASE)? as usize;
        let len = if entry.records {
            record_len(&entry.map, start)
        } else {
            entry.value_size as usize
        };
        (offset + size <= len).then(|| Found {
            map: &entry.map,
            at: start + offset,
            readable: entry.readable,
            writable: entry.writable,
        })
    }
}

/// Length of the ring buffer record whose bytes begin at `start`: as its header says while it is
/// reserved, 0 where no record is.
fn record_len(map: &Map, start: usize) -> usize {
    /// Set while a record is reserved (`BPF_RINGBUF_BUSY_BIT`).
    const BUSY: u64 = 1 << 31;
    let header = start.checked_sub(8).and_then(|at| map.memory().load(at, 4));
    header
        .and_then(|word| word.checked_sub(BUSY))
        .map_or(0, |len| len as usize)
}
