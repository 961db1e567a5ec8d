//! VLAN tags. The outermost lies beside the packet, further ones in its bytes.

use super::{Packet, insert, make_head, packet, remove};
use crate::helper::Machine;
use crate::map::{Errno, to_r0};
use crate::run::TrapCause;
use crate::skb::{ETH_HEADER, ETH_P_VLAN, Word};

/// Bytes of a tag.
const TAG: u32 = 4;
/// Where the tag lies in a frame: behind both addresses.
const AT: u32 = 12;
/// Bytes of an Ethernet header with a tag.
const TAGGED_HEADER: u32 = 18;
/// Numbers from here on are types, below lengths.
const TYPES: u16 = 0x600;

/// Puts a tag beside the packet.
fn put(packet: &mut Packet<'_>, protocol: u32, tci: u32) {
    packet.skb[Word::VlanPresent] = 1;
    packet.skb[Word::VlanProto] = protocol;
    packet.skb[Word::VlanTci] = tci;
}

/// Takes it away.
fn clear(packet: &mut Packet<'_>) {
    packet.skb[Word::VlanPresent] = 0;
    packet.skb[Word::VlanProto] = 0;
    packet.skb[Word::VlanTci] = 0;
}

/// Moves the tag beside the packet into its bytes; there is room.
fn write_tag(packet: &mut Packet<'_>) {
    let protocol = packet.skb[Word::VlanProto];
    let tci = packet.skb[Word::VlanTci] as u16;
    insert(packet, AT, TAG);
    if let Some(tag) = packet.bytes().get_mut(12..16) {
        tag[..2].copy_from_slice(&(protocol as u16).to_le_bytes());
        tag[2..].copy_from_slice(&tci.to_be_bytes());
    }
    packet.skb[Word::Protocol] = protocol;
}

/// Takes the first tag out of the packet's bytes; gives its TCI.
fn take_tag(packet: &mut Packet<'_>) -> Result<u32, Errno> {
    /// `ETH_P_802_3` and `ETH_P_802_2`.
    const RAW: u16 = 1;
    const LLC: u16 = 4;
    packet.pull(TAGGED_HEADER)?;
    let bytes = packet.bytes();
    let word = |at: usize| match bytes.get(at..at + 2) {
        Some([high, low]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    let (tci, kind) = (word(14), word(16));
    let protocol = match kind {
        TYPES.. => kind,
        _ if word(18) == 0xffff => RAW,
        _ => LLC,
    };
    remove(packet, AT, TAG)?;
    packet.skb[Word::Protocol] = u32::from(protocol.to_be());
    let network = packet.skb.network.saturating_sub(TAG);
    packet.skb.network = network.max(ETH_HEADER as u32);
    packet.skb.mac_len = packet.skb.network;
    Ok(u32::from(tci))
}

/// The packet's protocol behind all tags in its bytes; 0 where they end too early.
pub(super) fn inner_protocol(packet: &mut Packet<'_>) -> u32 {
    /// Most tags that Linux looks behind.
    const DEPTH: usize = 7;
    let mut protocol = packet.skb[Word::Protocol];
    let mut at = match packet.skb.mac_len {
        0 => ETH_HEADER,
        len => len.saturating_sub(TAG) as usize,
    };
    for _ in 0..DEPTH {
        if !ETH_P_VLAN.contains(&protocol) {
            return protocol;
        }
        let Some([_, _, low, high]) = packet.bytes().get(at..at + TAG as usize) else {
            return 0;
        };
        protocol = u32::from(u16::from_le_bytes([*low, *high]));
        at += TAG as usize;
    }
    if ETH_P_VLAN.contains(&protocol) {
        0
    } else {
        protocol
    }
}

/// `bpf_skb_vlan_push(ctx, protocol, tci)`: any other protocol is taken for 802.1Q.
pub(super) fn push<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let protocol = args[1] as u32 & 0xffff;
    let protocol = if ETH_P_VLAN.contains(&protocol) {
        protocol
    } else {
        ETH_P_VLAN[0]
    };
    make_head(machine, TAG);
    let mut packet = packet(machine, 18)?;
    if packet.skb[Word::VlanPresent] != 0 {
        write_tag(&mut packet);
    }
    put(&mut packet, protocol, args[2] as u32 & 0xffff);
    packet.skb.mac_len = packet.skb.network;
    Ok(0)
}

/// `bpf_skb_vlan_pop(ctx)`: the tag beside the packet, else the first in its bytes; the next one
/// takes the place beside it.
pub(super) fn pop<M: Machine>(machine: &mut M) -> Result<u64, TrapCause> {
    let mut packet = packet(machine, 19)?;
    let packet = &mut packet;
    let mut pop = || {
        if packet.skb[Word::VlanPresent] != 0 {
            clear(packet);
        } else if ETH_P_VLAN.contains(&packet.skb[Word::Protocol]) {
            take_tag(packet)?;
        } else {
            return Ok(());
        }
        let protocol = packet.skb[Word::Protocol];
        if ETH_P_VLAN.contains(&protocol) {
            let tci = take_tag(packet)?;
            put(packet, protocol, tci);
        }
        Ok(())
    };
    Ok(to_r0(pop()))
}
