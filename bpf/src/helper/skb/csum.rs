//! Checksums in the packet.

use super::{Answer, Packet, packet, r0};
use crate::helper::Machine;
use crate::helper::csum::{add, fold};
use crate::map::Errno;
use crate::run::TrapCause;

/// How many bytes the replaced field has (`BPF_F_HDR_FIELD_MASK`): 2, 4, or 0 for a difference.
const SIZE: u64 = 0xf;
/// `BPF_F_PSEUDO_HDR`: the field is of the pseudo header.
const PSEUDO_HEADER: u64 = 1 << 4;
/// `BPF_F_MARK_MANGLED_0`: 0 means that there is no checksum.
const MARK_MANGLED_0: u64 = 1 << 5;
/// `BPF_F_MARK_ENFORCE`: compute one all the same.
const MARK_ENFORCE: u64 = 1 << 6;
/// `BPF_F_IPV6`: of an IPv6 header.
const IPV6: u64 = 1 << 7;
/// Largest offset of a checksum.
const MAX_OFFSET: u32 = 0xffff;
/// Highest `csum_level` (`SKB_MAX_CSUM_LEVEL`).
const MAX_LEVEL: u8 = 3;

/// The 16 bits of a ones' complement sum, negated.
fn negated(sum: u32) -> u16 {
    !(fold(sum) as u16)
}

/// A checksum after a field of 4 bytes changed, or of 2 within them.
fn replaced(old: u16, from: u32, to: u32) -> u16 {
    negated(add(add(!u32::from(old), !from), to))
}

/// A checksum after words changed whose sum differs by `difference`.
fn shifted(old: u16, difference: u32) -> u16 {
    negated(add(difference, !u32::from(old)))
}

/// The checksum of an IP header after 2 bytes of it changed.
fn replaced_in_ip(old: u16, from: u16, to: u16) -> u16 {
    let add16 = |a: u16, b: u16| {
        let (sum, carry) = a.overflowing_add(b);
        sum + u16::from(carry)
    };
    !add16(add16(!old, !from), to)
}

/// The checksum at an offset, made linear.
fn checksum<'p>(packet: &'p mut Packet<'_>, offset: u64) -> Result<&'p mut [u8; 2], Errno> {
    let offset = offset as u32;
    if offset > MAX_OFFSET || !offset.is_multiple_of(2) {
        return Err(Errno::Efault);
    }
    packet.pull(offset + 2).map_err(|_enomem| Errno::Efault)?;
    let from = packet.bytes().get_mut(offset as usize..);
    from.and_then(<[u8]>::first_chunk_mut).ok_or(Errno::Efault)
}

/// `bpf_l3_csum_replace(ctx, offset, from, to, flags)`.
pub(super) fn replace_l3<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, offset, from, to, flags] = args;
    let mut packet = packet(machine, 10)?;
    let mut replace = || -> Answer {
        if flags & !SIZE != 0 {
            return Err(Errno::Einval);
        }
        let place = checksum(&mut packet, offset)?;
        let old = u16::from_le_bytes(*place);
        let new = match flags & SIZE {
            0 if from == 0 => shifted(old, to as u32),
            2 => replaced_in_ip(old, from as u16, to as u16),
            4 => replaced(old, from as u32, to as u32),
            _ => return Err(Errno::Einval),
        };
        *place = new.to_le_bytes();
        Ok(0)
    };
    Ok(r0(replace()))
}

/// `bpf_l4_csum_replace(ctx, offset, from, to, flags)`. With [`MARK_MANGLED_0`] a checksum of 0
/// stays, and one that becomes 0 is 0xffff.
pub(super) fn replace_l4<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, offset, from, to, flags] = args;
    let mut packet = packet(machine, 11)?;
    let mut replace = || -> Answer {
        let known = SIZE | PSEUDO_HEADER | MARK_MANGLED_0 | MARK_ENFORCE | IPV6;
        if flags & !known != 0 {
            return Err(Errno::Einval);
        }
        let place = checksum(&mut packet, offset)?;
        let old = u16::from_le_bytes(*place);
        let marked = flags & MARK_MANGLED_0 != 0;
        if marked && flags & MARK_ENFORCE == 0 && old == 0 {
            return Ok(0);
        }
        let new = match flags & SIZE {
            0 if from == 0 => shifted(old, to as u32),
            2 => replaced(old, from as u32 & 0xffff, to as u32 & 0xffff),
            4 => replaced(old, from as u32, to as u32),
            _ => return Err(Errno::Einval),
        };
        let new = if marked && new == 0 { 0xffff } else { new };
        *place = new.to_le_bytes();
        Ok(0)
    };
    Ok(r0(replace()))
}

/// `bpf_csum_level(ctx, what)`: ask (0), one more (1), one less (2), none checked (3).
pub(super) fn level<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let level = &mut packet(machine, 135)?.skb.csum_level;
    let answer = match (args[1], *level) {
        (0, None) => Err(Errno::Eacces),
        (0, Some(level)) => Ok(u64::from(level)),
        (1, known) => {
            *level = Some(known.map_or(0, |known| MAX_LEVEL.min(known + 1)));
            Ok(0)
        }
        (2, known) => {
            *level = known.and_then(|known| known.checked_sub(1));
            Ok(0)
        }
        (3, _) => {
            *level = None;
            Ok(0)
        }
        _ => Err(Errno::Einval),
    };
    Ok(r0(answer))
}
