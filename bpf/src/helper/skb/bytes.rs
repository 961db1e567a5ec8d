//! Copying between a packet and the program's memory, and making a packet linear.

use super::{Packet, packet};
use crate::helper::Machine;
use crate::helper::map::Copied;
use crate::map::{Errno, to_r0};
use crate::run::TrapCause;

/// Flags of `bpf_skb_store_bytes`: keep the packet's checksum right (none is kept), forget the
/// hash.
const RECOMPUTE_CSUM: u64 = 1;
const INVALIDATE_HASH: u64 = 2;
/// Largest offset from a header.
const MAX_RELATIVE: u32 = 0xffff;

/// The bytes from `offset` to `offset + len` that lie before `limit`.
fn part<'p>(
    packet: &'p mut Packet<'_>,
    offset: u32,
    len: u32,
    limit: u32,
) -> Result<&'p mut [u8], Errno> {
    let end = offset.checked_add(len).filter(|end| *end <= limit);
    let end = end.ok_or(Errno::Efault)? as usize;
    packet
        .bytes()
        .get_mut(offset as usize..end)
        .ok_or(Errno::Efault)
}

/// Copies to the program; where there is nothing to copy its memory becomes zero.
fn hand_over<M: Machine>(
    machine: &mut M,
    to: u64,
    len: u32,
    found: Result<Copied, Errno>,
) -> Result<u64, TrapCause> {
    match found {
        Ok(bytes) => {
            machine.write(to, bytes.bytes())?;
            Ok(0)
        }
        Err(errno) => {
            machine.write(to, &vec![0; len as usize])?;
            Ok(errno.to_r0())
        }
    }
}

/// `bpf_skb_load_bytes(ctx, offset, to, len)`: linear or not.
pub(super) fn load<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, offset, to, len, _] = args;
    let (offset, len) = (offset as u32, len as u32);
    let mut packet = packet(machine, 26)?;
    let limit = packet.len();
    let found = part(&mut packet, offset, len, limit).map(|bytes| Copied::of(bytes));
    hand_over(machine, to, len, found)
}

/// `bpf_skb_load_bytes_relative(ctx, offset, to, len, start)`: from the link header (start 0) or
/// the network header (1), and of the linear part only.
pub(super) fn load_relative<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, offset, to, len, start] = args;
    let (offset, len) = (offset as u32, len as u32);
    let mut packet = packet(machine, 68)?;
    let header = match start as u32 {
        0 => Some(0),
        1 => Some(packet.skb.network),
        _ => None,
    };
    let limit = packet.skb.linear;
    let at = header.filter(|_| offset <= MAX_RELATIVE);
    let found = at
        .ok_or(Errno::Efault)
        .and_then(|header| part(&mut packet, header + offset, len, limit))
        .map(|bytes| Copied::of(bytes));
    hand_over(machine, to, len, found)
}

/// `bpf_skb_store_bytes(ctx, offset, from, len, flags)`.
pub(super) fn store<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, offset, from, len, flags] = args;
    let (offset, len) = (offset as u32, len as u32);
    if flags & !(RECOMPUTE_CSUM | INVALIDATE_HASH) != 0 {
        return Ok(Errno::Einval.to_r0());
    }
    // Checked first: a length that no packet has must not be copied.
    let limit = packet(machine, 9)?.len();
    let Some(end) = offset.checked_add(len).filter(|end| *end <= limit) else {
        return Ok(Errno::Efault.to_r0());
    };
    let bytes = Copied::new(machine, from, len as usize)?;
    let mut packet = packet(machine, 9)?;
    let result = packet
        .pull(end)
        .and_then(|()| part(&mut packet, offset, len, limit))
        .map(|to| to.copy_from_slice(bytes.bytes()));
    if result.is_ok() && flags & INVALIDATE_HASH != 0 {
        packet.skb.forget_hash();
    }
    Ok(to_r0(result))
}

/// `bpf_skb_pull_data(ctx, len)`: makes that much linear; 0 is what is linear already.
pub(super) fn pull<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let mut packet = packet(machine, 39)?;
    Ok(to_r0(packet.pull(args[1] as u32)))
}
