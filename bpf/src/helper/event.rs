//! Helpers that hand bytes to the host.

use super::Machine;
use super::map::{Copied, map_of};
use crate::map::{Errno, Map, MapId, MapType};
use crate::run::{EventKind, TrapCause};

/// Which CPU's channel: the lower half of the flags; all ones is the current one.
const INDEX_MASK: u64 = 0xffff_ffff;
/// How many bytes of the packet follow: these bits of the flags.
const PACKET_LEN_MASK: u64 = 0xf_ffff << 32;
/// `BPF_RB_NO_WAKEUP` and `BPF_RB_FORCE_WAKEUP`.
const WAKEUP_FLAGS: u64 = 3;
/// Most arguments of `bpf_trace_vprintk`.
const MAX_ARGS: usize = 12;

/// `bpf_perf_event_output(ctx, map, flags, data, size)`: the host is taken to listen on the
/// channel of every CPU.
pub(super) fn perf_event_output<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
) -> Result<u64, TrapCause> {
    let [_, handle, flags, address, size] = args;
    let cpu = machine.cpu();
    let (id, map) = map_of(machine, handle)?;
    if map.kind() != MapType::PerfEventArray {
        return Err(TrapCause::BadMap { value: handle });
    }
    if flags & !(INDEX_MASK | PACKET_LEN_MASK) != 0 {
        return Ok(Errno::Einval.to_r0());
    }
    let entries = map.def().max_entries;
    let packet_len = ((flags & PACKET_LEN_MASK) >> 32) as usize;
    let window = machine.window();
    let (data, end) = (*window.data as usize, *window.end as usize);
    if packet_len > end.saturating_sub(data) {
        return Ok(Errno::Efault.to_r0());
    }
    let index = match flags & INDEX_MASK {
        INDEX_MASK => cpu,
        index => index as u32,
    };
    if index >= entries {
        return Ok(Errno::E2big.to_r0());
    }
    if index != cpu {
        return Ok(Errno::Eopnotsupp.to_r0());
    }
    let packet = window
        .area
        .get(data..data + packet_len)
        .unwrap_or(&[])
        .to_vec();
    let data = Copied::new(machine, address, size as u32 as usize)?;
    let mut bytes = data.bytes().to_vec();
    bytes.extend_from_slice(&packet);
    machine.emit(EventKind::Perf { map: id }, &bytes);
    Ok(0)
}

/// `bpf_trace_printk(fmt, fmt_size, …)`: r0 is the number of bytes printed.
pub(super) fn trace_printk<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    print(machine, args[0], args[1], &args[2..])
}

/// `bpf_trace_vprintk(fmt, fmt_size, data, data_len)`: up to 12 arguments of 8 bytes at `data`.
pub(super) fn trace_vprintk<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let (data, len) = (args[2], args[3] as u32 as usize);
    if !len.is_multiple_of(8) || len > 8 * MAX_ARGS || (len > 0 && data == 0) {
        return Ok(Errno::Einval.to_r0());
    }
    let values = words(machine, data, len)?;
    print(machine, args[0], args[1], &values)
}

/// The 8-byte numbers in `len` bytes of memory.
pub(super) fn words<M: Machine>(
    machine: &M,
    address: u64,
    len: usize,
) -> Result<Vec<u64>, TrapCause> {
    let bytes = Copied::new(machine, address, len)?;
    let number = |word: &[u8]| word.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b));
    Ok(bytes.bytes().chunks_exact(8).map(number).collect())
}

fn print<M: Machine>(
    machine: &mut M,
    format: u64,
    size: u64,
    args: &[u64],
) -> Result<u64, TrapCause> {
    let format = Copied::new(machine, format, size as u32 as usize)?;
    match super::format::format(machine, format.bytes(), args, usize::MAX) {
        Ok(text) => {
            machine.emit(EventKind::Trace, &text);
            Ok(text.len() as u64)
        }
        Err(errno) => Ok(errno.to_r0()),
    }
}

/// The ring buffer a handle names.
fn ring_of<M: Machine>(machine: &M, handle: u64) -> Result<(MapId, &Map), TrapCause> {
    let (id, map) = map_of(machine, handle)?;
    if map.kind() != MapType::Ringbuf {
        return Err(TrapCause::BadMap { value: handle });
    }
    Ok((id, map))
}

/// `bpf_ringbuf_output(map, data, size, flags)`.
pub(super) fn ringbuf_output<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
) -> Result<u64, TrapCause> {
    let [handle, data, size, flags, _] = args;
    let cpu = machine.cpu();
    let (_, ring) = ring_of(machine, handle)?;
    if flags & !WAKEUP_FLAGS != 0 {
        return Ok(Errno::Einval.to_r0());
    }
    let Some(at) = ring.reserve(size, cpu) else {
        return Ok(Errno::Eagain.to_r0());
    };
    let copied = Copied::new(machine, data, size as usize);
    let (_, ring) = ring_of(machine, handle)?;
    if let Ok(bytes) = &copied {
        ring.memory().write(at.0, bytes.bytes());
    }
    // A record whose bytes cannot be read is skipped, so that the ring goes on.
    let _ = ring.finish(at, copied.is_err());
    copied.map(|_| 0)
}

/// `bpf_ringbuf_reserve(map, size, flags)`: flags must be 0.
pub(super) fn ringbuf_reserve<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
) -> Result<u64, TrapCause> {
    let [handle, size, flags, ..] = args;
    let (id, ring) = ring_of(machine, handle)?;
    if flags != 0 {
        return Ok(0);
    }
    Ok(ring
        .reserve(size, machine.cpu())
        .map_or(0, |at| machine.value_address(id, at)))
}

/// `bpf_ringbuf_submit(record, flags)`, and with `discard` `bpf_ringbuf_discard`: flags only
/// wake the host up. r0 is unspecified; it is 0.
pub(super) fn ringbuf_finish<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
    discard: bool,
) -> Result<u64, TrapCause> {
    let (id, at) = machine.value_at(args[0])?;
    let bad = TrapCause::BadMap { value: args[0] };
    let ring = machine.maps().get(id).ok_or(bad)?;
    match ring.finish(at, discard) {
        Ok(()) => Ok(0),
        Err(_) => Err(bad),
    }
}

/// `bpf_ringbuf_query(map, what)`.
pub(super) fn ringbuf_query<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let (_, ring) = ring_of(machine, args[0])?;
    Ok(ring.ring_query(args[1], machine.cpu()))
}
