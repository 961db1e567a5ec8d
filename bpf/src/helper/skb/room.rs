//! `bpf_skb_adjust_room`.

use super::{Packet, insert, make_head, packet, remove};
use crate::helper::Machine;
use crate::map::{Errno, to_r0};
use crate::run::TrapCause;
use crate::skb::{ETH_P_IP, ETH_P_IPV6, SKB_MAX_LEN, Word};

/// Where the room is: after the network header, or before it (`enum bpf_adj_room_mode`).
const AFTER_NETWORK: u32 = 0;
const AFTER_LINK: u32 = 1;

/// Flags (`BPF_F_ADJ_ROOM_*`).
mod flag {
    pub(super) const FIXED_GSO: u64 = 1;
    pub(super) const ENCAP_L3_IPV4: u64 = 1 << 1;
    pub(super) const ENCAP_L3_IPV6: u64 = 1 << 2;
    pub(super) const ENCAP_L4_GRE: u64 = 1 << 3;
    pub(super) const ENCAP_L4_UDP: u64 = 1 << 4;
    pub(super) const NO_CSUM_RESET: u64 = 1 << 5;
    pub(super) const ENCAP_L2_ETH: u64 = 1 << 6;
    pub(super) const DECAP_L3_IPV4: u64 = 1 << 7;
    pub(super) const DECAP_L3_IPV6: u64 = 1 << 8;
    /// Length of the inner link header.
    pub(super) const ENCAP_L2: u64 = 0xff << ENCAP_L2_SHIFT;
    pub(super) const ENCAP_L2_SHIFT: u32 = 56;
    pub(super) const ENCAP_L3: u64 = ENCAP_L3_IPV4 | ENCAP_L3_IPV6;
    pub(super) const DECAP_L3: u64 = DECAP_L3_IPV4 | DECAP_L3_IPV6;
    pub(super) const SHRINK: u64 = FIXED_GSO | DECAP_L3 | NO_CSUM_RESET;
    pub(super) const ALL: u64 =
        SHRINK | ENCAP_L3 | ENCAP_L4_GRE | ENCAP_L4_UDP | ENCAP_L2_ETH | ENCAP_L2;
}

/// Most bytes in one call.
const MAX_BY: u32 = 0xfff;
/// Bytes of IP headers without options.
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
/// Bytes of an Ethernet header.
const ETHERNET: u64 = 14;

/// What a call is to do, once it is known to be possible.
struct Change {
    at: u32,
    by: u32,
    shrink: bool,
    flags: u64,
}

/// What a call is to do; why it cannot.
fn change(packet: &Packet<'_>, args: [u64; 5]) -> Result<Change, Errno> {
    let [_, by, mode, flags, _] = args;
    let by = by as i32;
    let (shrink, by) = (by < 0, by.unsigned_abs());
    if flags & !flag::ALL != 0 {
        return Err(Errno::Einval);
    }
    if by > MAX_BY {
        return Err(Errno::Efault);
    }
    let header = match packet.skb[Word::Protocol] {
        ETH_P_IP => IPV4_HEADER,
        ETH_P_IPV6 => IPV6_HEADER,
        _ => return Err(Errno::Enotsupp),
    };
    let network = packet.skb.network;
    let at = match mode as u32 {
        AFTER_NETWORK => network + header,
        AFTER_LINK => network,
        _ => return Err(Errno::Enotsupp),
    };
    let least = match flags & flag::DECAP_L3 {
        0 => header,
        _ if !shrink => return Err(Errno::Einval),
        flag::DECAP_L3_IPV4 => IPV4_HEADER,
        flag::DECAP_L3_IPV6 => IPV6_HEADER,
        _ => return Err(Errno::Einval),
    };
    let (len, inner) = (packet.len(), packet.len().saturating_sub(network));
    let possible = if shrink {
        by < inner && inner - by >= least
    } else {
        len + by <= SKB_MAX_LEN
    };
    if !possible {
        return Err(Errno::Enotsupp);
    }
    if shrink && flags & !flag::SHRINK != 0 {
        return Err(Errno::Einval);
    }
    if !shrink && flags & flag::ENCAP_L3 != 0 {
        encapsulates(packet, by, flags)?;
    }
    Ok(Change {
        at,
        by,
        shrink,
        flags,
    })
}

/// Whether the packet can be put into a tunnel.
fn encapsulates(packet: &Packet<'_>, by: u32, flags: u64) -> Result<(), Errno> {
    let both = |of: u64| flags & of == of;
    let link = flags >> flag::ENCAP_L2_SHIFT;
    if both(flag::ENCAP_L3) || both(flag::ENCAP_L4_GRE | flag::ENCAP_L4_UDP) {
        return Err(Errno::Einval);
    }
    if flags & flag::ENCAP_L2_ETH != 0 && link < ETHERNET {
        return Err(Errno::Einval);
    }
    if packet.skb.encapsulated {
        return Err(Errno::Ealready);
    }
    if link > u64::from(by) {
        return Err(Errno::Einval);
    }
    Ok(())
}

/// `bpf_skb_adjust_room(ctx, by, mode, flags)`: zero bytes more, or bytes less, around the
/// network header.
pub(super) fn adjust<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let change = match change(&packet(machine, 50)?, args) {
        Ok(change) => change,
        Err(errno) => return Ok(errno.to_r0()),
    };
    if !change.shrink {
        make_head(machine, change.by);
    }
    let mut packet = packet(machine, 50)?;
    let result = if change.shrink {
        remove(&mut packet, change.at, change.by)
    } else {
        insert(&mut packet, change.at, change.by);
        Ok(())
    };
    if result.is_ok() {
        let skb = &mut *packet.skb;
        // The packet is of its outer header's protocol.
        match change.flags {
            f if f & flag::ENCAP_L3_IPV4 != 0 => skb[Word::Protocol] = ETH_P_IP,
            f if f & flag::ENCAP_L3_IPV6 != 0 => skb[Word::Protocol] = ETH_P_IPV6,
            f if f & flag::DECAP_L3_IPV4 != 0 => skb[Word::Protocol] = ETH_P_IP,
            f if f & flag::DECAP_L3_IPV6 != 0 => skb[Word::Protocol] = ETH_P_IPV6,
            _ => {}
        }
        if !change.shrink && change.flags & flag::ENCAP_L3 != 0 {
            skb.encapsulated = true;
            if change.flags & (flag::ENCAP_L4_GRE | flag::ENCAP_L4_UDP) != 0 {
                let header = match change.flags & flag::ENCAP_L3 {
                    flag::ENCAP_L3_IPV4 => IPV4_HEADER,
                    _ => IPV6_HEADER,
                };
                skb.transport = (skb.headroom + skb.network + header) as u16;
            }
        }
        if change.flags & flag::NO_CSUM_RESET == 0 {
            skb.csum_level = None;
        }
    }
    Ok(to_r0(result))
}
