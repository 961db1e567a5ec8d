//! Helpers that move the packet's borders or copy its bytes.

use super::map::Copied;
use super::{Machine, Window};
use crate::map::{Errno, to_r0};
use crate::run::{TrapCause, XDP_FRAME_SIZE, XDP_MAX_META, XDP_MIN_FRAME};

/// Offsets and lengths above this are refused, whatever the packet.
const MAX_ACCESS: u32 = 0xffff;

/// A border moved by a signed offset, if it stays between `low` and `high` inclusive.
fn moved(border: u32, by: u64, low: i64, high: i64) -> Option<u32> {
    let to = i64::from(border) + i64::from(by as i32);
    (to >= low && to <= high).then_some(to as u32)
}

/// `bpf_xdp_adjust_head(ctx, delta)`: moves the packet's first byte, and the metadata with it.
/// The head of the headroom belongs to the kernel, and an Ethernet header must remain.
pub(super) fn adjust_head<M: Machine>(machine: &mut M, args: [u64; 5]) -> u64 {
    let Window {
        area,
        meta,
        data,
        end,
    } = machine.window();
    let meta_len = data.saturating_sub(*meta);
    let low = XDP_FRAME_SIZE as i64 + i64::from(meta_len);
    let high = i64::from(*end) - XDP_MIN_FRAME as i64;
    let Some(to) = moved(*data, args[1], low, high) else {
        return Errno::Einval.to_r0();
    };
    let from = *meta as usize..*data as usize;
    let meta_to = to - meta_len;
    if from.end <= area.len() && to as usize <= area.len() {
        area.copy_within(from, meta_to as usize);
    }
    *meta = meta_to;
    *data = to;
    0
}

/// `bpf_xdp_adjust_meta(ctx, delta)`: moves the start of the metadata. Its length must be a
/// multiple of 4 and at most 255 bytes.
pub(super) fn adjust_meta<M: Machine>(machine: &mut M, args: [u64; 5]) -> u64 {
    let Window { meta, data, .. } = machine.window();
    let Some(to) = moved(*meta, args[1], XDP_FRAME_SIZE as i64, i64::from(*data)) else {
        return Errno::Einval.to_r0();
    };
    let len = *data - to;
    if !len.is_multiple_of(4) || len as usize > XDP_MAX_META {
        return Errno::Eacces.to_r0();
    }
    *meta = to;
    0
}

/// `bpf_xdp_adjust_tail(ctx, delta)`: moves the packet's end. New bytes are zero; an Ethernet
/// header must remain.
pub(super) fn adjust_tail<M: Machine>(machine: &mut M, args: [u64; 5]) -> u64 {
    let Window {
        area, data, end, ..
    } = machine.window();
    let low = i64::from(*data) + XDP_MIN_FRAME as i64;
    let Some(to) = moved(*end, args[1], low, area.len() as i64) else {
        return Errno::Einval.to_r0();
    };
    if let Some(new) = area.get_mut(*end as usize..to as usize) {
        new.fill(0);
    }
    *end = to;
    0
}

/// `bpf_xdp_get_buff_len(ctx)`.
pub(super) fn buff_len<M: Machine>(machine: &mut M) -> u64 {
    let Window { data, end, .. } = machine.window();
    u64::from(end.saturating_sub(*data))
}

/// The bytes `len` at `offset` in the packet, as the copying helpers check them.
fn part(window: Window<'_>, offset: u64, len: u64) -> Result<&mut [u8], Errno> {
    let Window {
        area,
        data,
        end: packet_end,
        ..
    } = window;
    let (offset, len) = (offset as u32, len as u32);
    if offset > MAX_ACCESS || len > MAX_ACCESS {
        return Err(Errno::Efault);
    }
    let start = (*data + offset) as usize;
    let end = start + len as usize;
    if end > *packet_end as usize {
        return Err(Errno::Einval);
    }
    area.get_mut(start..end).ok_or(Errno::Einval)
}

/// `bpf_xdp_load_bytes(ctx, offset, buf, len)`.
pub(super) fn load_bytes<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, offset, buf, len, _] = args;
    let bytes = match part(machine.window(), offset, len) {
        Ok(bytes) => bytes.to_vec(),
        Err(errno) => return Ok(errno.to_r0()),
    };
    machine.write(buf, &bytes)?;
    Ok(0)
}

/// `bpf_xdp_store_bytes(ctx, offset, buf, len)`.
pub(super) fn store_bytes<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, offset, buf, len, _] = args;
    // Checked first: a length that no packet has must not be copied.
    if let Err(errno) = part(machine.window(), offset, len) {
        return Ok(errno.to_r0());
    }
    let bytes = Copied::new(machine, buf, len as u32 as usize)?;
    let result = part(machine.window(), offset, len).map(|to| to.copy_from_slice(bytes.bytes()));
    Ok(to_r0(result))
}
