//! Dynptrs (`struct bpf_dynptr`): what a program holds in place of the address of memory whose size
//! only running tells. Their 16 bytes lie on the program's stack, where nobody else reads them:
//! the address (of map memory; 0 for packets), the size with kind and rights, and the offset.
//!
//! Which errors there are and in which order is Linux 6.18's, as `linux/bpf.h` and the kernel
//! documentation describe them; `tests/cases/dynptr` asks it.

use super::map::Copied;
use super::{Machine, event, packet, skb};
use crate::map::Errno;
use crate::run::TrapCause;

/// Largest size: 24 bits (`DYNPTR_MAX_SIZE` of Linux).
const MAX_SIZE: u32 = (1 << 24) - 1;
/// Bits of the size's word where the kind lies, and the one for memory that may only be read.
const KIND_SHIFT: u32 = 28;
const READ_ONLY: u32 = 1 << 31;
/// Ids of the helpers that copy from and to a tc packet.
const SKB_STORE: u32 = 9;
const SKB_LOAD: u32 = 26;

/// What a dynptr stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Memory of a map's value.
    Local,
    /// A ring buffer record.
    Record,
    /// The packet of an XDP program.
    Xdp,
    /// The packet of a tc program.
    Skb,
    /// The metadata before a tc packet.
    Meta,
}

/// A dynptr, taken apart.
#[derive(Clone, Copy, Debug)]
struct Dynptr {
    kind: Kind,
    read_only: bool,
    size: u32,
    offset: u32,
    /// 0 for packets.
    base: u64,
}

impl Dynptr {
    /// The dynptr at an address; `None` for one that stands for nothing.
    fn load<M: Machine>(machine: &M, at: u64) -> Result<Option<Dynptr>, TrapCause> {
        let mut bytes = [0; 16];
        machine.read(at, &mut bytes)?;
        let word = |from: usize| {
            let part = &bytes[from..from + 4];
            part.iter().rev().fold(0, |v, b| v << 8 | u32::from(*b))
        };
        let size = word(8);
        let kind = match (size >> KIND_SHIFT) & 7 {
            1 => Kind::Local,
            2 => Kind::Record,
            3 => Kind::Xdp,
            4 => Kind::Skb,
            5 => Kind::Meta,
            _ => return Ok(None),
        };
        Ok(Some(Dynptr {
            kind,
            read_only: size & READ_ONLY != 0,
            size: size & MAX_SIZE,
            offset: word(12),
            base: u64::from(word(4)) << 32 | u64::from(word(0)),
        }))
    }

    fn store<M: Machine>(self, machine: &mut M, at: u64) -> Result<(), TrapCause> {
        let kind = match self.kind {
            Kind::Local => 1,
            Kind::Record => 2,
            Kind::Xdp => 3,
            Kind::Skb => 4,
            Kind::Meta => 5,
        };
        let rights = if self.read_only { READ_ONLY } else { 0 };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.base.to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.size | kind << KIND_SHIFT | rights).to_le_bytes());
        bytes[12..].copy_from_slice(&self.offset.to_le_bytes());
        machine.write(at, &bytes)
    }

    /// Whether `len` bytes at `offset` lie inside.
    fn holds(self, offset: u32, len: u32) -> Result<(), Errno> {
        match self.size.checked_sub(len) {
            Some(last) if offset <= last => Ok(()),
            _ => Err(Errno::E2big),
        }
    }

    /// The address of `len` bytes at `offset`, which lie inside; `None` where they are in no one
    /// piece.
    fn address<M: Machine>(self, machine: &mut M, offset: u32, len: u32) -> Option<u64> {
        let from = self.offset + offset;
        match self.kind {
            Kind::Local | Kind::Record => Some(self.base + u64::from(from)),
            Kind::Meta => {
                let start = *machine.window().meta;
                Some(machine.packet_address(start + from))
            }
            Kind::Xdp | Kind::Skb => {
                let linear = machine.skb().map(|(_, skb)| skb.linear);
                let window = machine.window();
                let start = *window.data;
                let linear = linear.unwrap_or(window.end.saturating_sub(start));
                (from + len <= linear).then(|| machine.packet_address(start + from))
            }
        }
    }
}

/// Leaves a dynptr that stands for nothing, and gives the error.
fn nothing<M: Machine>(machine: &mut M, at: u64, errno: Errno) -> Result<u64, TrapCause> {
    machine.write(at, &[0; 16])?;
    Ok(errno.to_r0())
}

/// `bpf_dynptr_from_mem(data, size, flags, dynptr)`.
pub(super) fn from_mem<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [data, size, flags, at, _] = args;
    let size = size as u32;
    if size > MAX_SIZE {
        return nothing(machine, at, Errno::E2big);
    }
    if flags != 0 {
        return nothing(machine, at, Errno::Einval);
    }
    new(machine, at, Kind::Local, size, data)
}

fn new<M: Machine>(
    machine: &mut M,
    at: u64,
    kind: Kind,
    size: u32,
    base: u64,
) -> Result<u64, TrapCause> {
    let dynptr = Dynptr {
        kind,
        read_only: false,
        size,
        offset: 0,
        base,
    };
    dynptr.store(machine, at)?;
    Ok(0)
}

/// `bpf_ringbuf_reserve_dynptr(map, size, flags, dynptr)`.
pub(super) fn reserve<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [map, size, flags, at, _] = args;
    let size = size as u32;
    if flags != 0 {
        return nothing(machine, at, Errno::Einval);
    }
    if size > MAX_SIZE {
        return nothing(machine, at, Errno::E2big);
    }
    match event::ringbuf_reserve(machine, [map, u64::from(size), 0, 0, 0])? {
        0 => nothing(machine, at, Errno::Einval),
        record => new(machine, at, Kind::Record, size, record),
    }
}

/// `bpf_ringbuf_submit_dynptr(dynptr, flags)`, and with `discard` `bpf_ringbuf_discard_dynptr`.
pub(super) fn finish<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
    discard: bool,
) -> Result<u64, TrapCause> {
    let Some(dynptr) = Dynptr::load(machine, args[0])? else {
        return Ok(0);
    };
    event::ringbuf_finish(machine, [dynptr.base, args[1], 0, 0, 0], discard)?;
    machine.write(args[0], &[0; 16])?;
    Ok(0)
}

/// `bpf_dynptr_from_xdp(ctx, flags, dynptr)`, `bpf_dynptr_from_skb` and
/// `bpf_dynptr_from_skb_meta`, which is `meta`.
pub(super) fn from_packet<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
    meta: bool,
) -> Result<u64, TrapCause> {
    let [_, flags, at, ..] = args;
    if flags != 0 {
        return nothing(machine, at, Errno::Einval).map(as_int);
    }
    let is_skb = machine.skb().is_some();
    let window = machine.window();
    let (kind, size) = match (meta, is_skb) {
        (true, _) => (Kind::Meta, window.data.saturating_sub(*window.meta)),
        (false, true) => (Kind::Skb, window.end.saturating_sub(*window.data)),
        (false, false) => (Kind::Xdp, window.end.saturating_sub(*window.data)),
    };
    new(machine, at, kind, size.min(MAX_SIZE), 0)
}

/// `bpf_dynptr_read(to, len, dynptr, offset, flags)`.
pub(super) fn read<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [to, len, at, offset, flags] = args;
    let (len, offset) = (len as u32, offset as u32);
    let dynptr = match Dynptr::load(machine, at)? {
        Some(dynptr) if flags == 0 => dynptr,
        _ => return Ok(Errno::Einval.to_r0()),
    };
    if let Err(errno) = dynptr.holds(offset, len) {
        return Ok(errno.to_r0());
    }
    copy_out(machine, dynptr, (offset, len), to)
}

/// Copies bytes that lie inside to the program's memory.
fn copy_out<M: Machine>(
    machine: &mut M,
    dynptr: Dynptr,
    (offset, len): (u32, u32),
    to: u64,
) -> Result<u64, TrapCause> {
    let from = u64::from(dynptr.offset + offset);
    match dynptr.kind {
        Kind::Xdp => packet::load_bytes(machine, [0, from, to, u64::from(len), 0]),
        Kind::Skb => of_skb(machine, SKB_LOAD, [0, from, to, u64::from(len), 0]),
        Kind::Local | Kind::Record | Kind::Meta => {
            let from = dynptr.address(machine, offset, len).unwrap_or(0);
            let bytes = Copied::new(machine, from, len as usize)?;
            machine.write(to, bytes.bytes())?;
            Ok(0)
        }
    }
}

fn of_skb<M: Machine>(machine: &mut M, id: u32, args: [u64; 5]) -> Result<u64, TrapCause> {
    skb::call(id, machine, args).unwrap_or(Err(TrapCause::BadHelper { id }))
}

/// `bpf_dynptr_write(dynptr, offset, from, len, flags)`.
pub(super) fn write<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [at, offset, from, len, flags] = args;
    let (len, offset) = (len as u32, offset as u32);
    let dynptr = match Dynptr::load(machine, at)? {
        Some(dynptr) if !dynptr.read_only => dynptr,
        _ => return Ok(Errno::Einval.to_r0()),
    };
    if let Err(errno) = dynptr.holds(offset, len) {
        return Ok(errno.to_r0());
    }
    let to = u64::from(dynptr.offset + offset);
    let len64 = u64::from(len);
    match dynptr.kind {
        Kind::Skb => of_skb(machine, SKB_STORE, [0, to, from, len64, flags]),
        _ if flags != 0 => Ok(Errno::Einval.to_r0()),
        Kind::Xdp => packet::store_bytes(machine, [0, to, from, len64, 0]),
        Kind::Local | Kind::Record | Kind::Meta => {
            let to = dynptr.address(machine, offset, len).unwrap_or(0);
            let bytes = Copied::new(machine, from, len as usize)?;
            machine.write(to, bytes.bytes())?;
            Ok(0)
        }
    }
}

/// `bpf_dynptr_data(dynptr, offset, len)`: the address, or null; of packets always null.
pub(super) fn data<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let (offset, len) = (args[1] as u32, args[2] as u32);
    let usable = |d: &Dynptr| {
        !d.read_only && matches!(d.kind, Kind::Local | Kind::Record) && d.holds(offset, len).is_ok()
    };
    let dynptr = Dynptr::load(machine, args[0])?.filter(usable);
    Ok(dynptr
        .and_then(|d| d.address(machine, offset, len))
        .unwrap_or(0))
}

/// `bpf_dynptr_slice(dynptr, offset, buffer, len)`, and with `writes` `bpf_dynptr_slice_rdwr`: the
/// address of the bytes where they lie in one piece, else of the buffer with a copy; or null.
pub(super) fn slice<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
    writes: bool,
) -> Result<u64, TrapCause> {
    let [at, offset, buffer, len, _] = args;
    let (offset, len) = (offset as u32, len as u32);
    let usable = |d: &Dynptr| !(writes && d.read_only) && d.holds(offset, len).is_ok();
    let Some(dynptr) = Dynptr::load(machine, at)?.filter(usable) else {
        return Ok(0);
    };
    if let Some(address) = dynptr.address(machine, offset, len) {
        return Ok(address);
    }
    if buffer == 0 {
        return Ok(0);
    }
    let r0 = copy_out(machine, dynptr, (offset, len), buffer)?;
    Ok(if r0 == 0 { buffer } else { 0 })
}

/// r0 of a kernel function that gives an `int`: the upper half is 0.
fn as_int(r0: u64) -> u64 {
    u64::from(r0 as u32)
}

/// `bpf_dynptr_adjust(dynptr, start, end)`: from now on it stands for the bytes from `start` to
/// before `end`.
pub(super) fn adjust<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let (start, end) = (args[1] as u32, args[2] as u32);
    let dynptr = match Dynptr::load(machine, args[0])? {
        Some(dynptr) if start <= end => dynptr,
        _ => return Ok(as_int(Errno::Einval.to_r0())),
    };
    if end > dynptr.size {
        return Ok(as_int(Errno::Erange.to_r0()));
    }
    let adjusted = Dynptr {
        offset: dynptr.offset + start,
        size: end - start,
        ..dynptr
    };
    adjusted.store(machine, args[0])?;
    Ok(0)
}

/// `bpf_dynptr_is_null(dynptr)`.
pub(super) fn is_null<M: Machine>(machine: &M, args: [u64; 5]) -> Result<u64, TrapCause> {
    Ok(Dynptr::load(machine, args[0])?.is_none().into())
}

/// `bpf_dynptr_is_rdonly(dynptr)`.
pub(super) fn is_read_only<M: Machine>(machine: &M, args: [u64; 5]) -> Result<u64, TrapCause> {
    Ok(Dynptr::load(machine, args[0])?
        .is_some_and(|d| d.read_only)
        .into())
}

/// `bpf_dynptr_size(dynptr)`.
pub(super) fn size<M: Machine>(machine: &M, args: [u64; 5]) -> Result<u64, TrapCause> {
    Ok(match Dynptr::load(machine, args[0])? {
        Some(dynptr) => u64::from(dynptr.size),
        None => as_int(Errno::Einval.to_r0()),
    })
}

/// `bpf_dynptr_clone(dynptr, clone)`.
pub(super) fn clone<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    match Dynptr::load(machine, args[0])? {
        Some(dynptr) => dynptr.store(machine, args[1]).map(|()| 0),
        None => nothing(machine, args[1], Errno::Einval).map(as_int),
    }
}
