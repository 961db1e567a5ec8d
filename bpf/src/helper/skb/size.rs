//! Longer and shorter packets.

use super::{insert, make_head, packet, remove};
use crate::helper::Machine;
use crate::map::{Errno, to_r0};
use crate::run::TrapCause;
use crate::skb::{ETH_P_IP, ETH_P_IPV6, SKB_MAX_LEN, Skb, Word};

/// By how many bytes an IPv6 header is longer than one of IPv4.
const LONGER: u32 = 20;

/// What is known of segments does not hold for a packet of another length.
fn forget_segments(skb: &mut Skb) {
    if skb[Word::GsoSize] != 0 {
        skb[Word::GsoSize] = 0;
        skb[Word::GsoSegs] = 0;
    }
}

/// `bpf_skb_change_tail(ctx, len, flags)`: new bytes are zero, and all is linear. The packet must
/// reach to its transport header, or where there is none to its network header,
/// and not be in a tunnel that [`room`](super::room) made.
pub(super) fn change_tail<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let len = args[1] as u32;
    let old = packet(machine, 38)?;
    if args[2] != 0 || len > SKB_MAX_LEN || len < old.skb.min_len() {
        return Ok(Errno::Einval.to_r0());
    }
    if old.skb.encapsulated {
        return Ok(Errno::Enotsupp.to_r0());
    }
    let has = (old.window.area.len() as u32).saturating_sub(*old.window.data);
    let head = *old.window.data;
    if has < len {
        let end = *old.window.end - head;
        machine.make_room(head, len - end);
    }
    let mut packet = packet(machine, 38)?;
    let old_len = packet.len();
    *packet.window.end = *packet.window.data + len;
    if len > old_len {
        packet.bytes()[old_len as usize..].fill(0);
    }
    packet.skb.linear = len;
    packet.settle();
    forget_segments(packet.skb);
    Ok(0)
}

/// `bpf_skb_change_head(ctx, len, flags)`: that many zero bytes more at the front.
pub(super) fn change_head<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let by = args[1] as u32;
    let len = packet(machine, 43)?.len();
    let fits = len.checked_add(by).is_some_and(|new| new <= SKB_MAX_LEN);
    if args[2] != 0 || !fits {
        return Ok(Errno::Einval.to_r0());
    }
    make_head(machine, by);
    let mut packet = packet(machine, 43)?;
    packet.push(by);
    packet.bytes()[..by as usize].fill(0);
    packet.skb.network += by;
    packet.skb.mac_len = packet.skb.network;
    Ok(0)
}

/// `bpf_skb_change_proto(ctx, protocol, flags)`: from IPv4 to IPv6 or back. The header gets or
/// loses bytes at its start; to fill it in is the program's work.
pub(super) fn change_proto<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    /// `protocol` has 16 bits.
    const PROTOCOL: u64 = 0xffff;
    let to = (args[1] & PROTOCOL) as u32;
    if args[2] != 0 {
        return Ok(Errno::Einval.to_r0());
    }
    let from = packet(machine, 31)?.skb[Word::Protocol];
    if !matches!((from, to), (ETH_P_IP, ETH_P_IPV6) | (ETH_P_IPV6, ETH_P_IP)) {
        return Ok(Errno::Enotsupp.to_r0());
    }
    make_head(machine, LONGER);
    let mut packet = packet(machine, 31)?;
    let at = packet.skb.network;
    let result = if to == ETH_P_IPV6 {
        insert(&mut packet, at, LONGER);
        Ok(())
    } else {
        remove(&mut packet, at, LONGER)
    };
    if result.is_ok() {
        packet.skb[Word::Protocol] = to;
        packet.skb.forget_hash();
    }
    Ok(to_r0(result))
}
