//! Helpers that hand bytes to the host.

use super::Machine;
use super::map::{Copied, map_of};
use crate::map::{Errno, MapType};
use crate::run::{EventKind, TrapCause};

/// Which CPU's channel: the lower half of the flags; all ones is the current one.
const INDEX_MASK: u64 = 0xffff_ffff;
/// How many bytes of the packet follow: these bits of the flags.
const PACKET_LEN_MASK: u64 = 0xf_ffff << 32;

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

/// `bpf_trace_printk(fmt, fmt_size, …)`.
pub(super) fn trace_printk<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let text = Copied::new(machine, args[0], args[1] as u32 as usize)?;
    let Some(len) = text.bytes().iter().position(|b| *b == 0) else {
        return Ok(Errno::Einval.to_r0());
    };
    machine.emit(EventKind::Trace, &text.bytes()[..len]);
    Ok(len as u64)
}
