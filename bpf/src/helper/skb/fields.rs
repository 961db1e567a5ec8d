//! What a packet has beside its bytes: type, time, hash; and ECN, which is a field of its header.

use super::{Packet, packet, vlan};
use crate::helper::csum::add;
use crate::helper::{Machine, random};
use crate::map::Errno;
use crate::run::TrapCause;
use crate::skb::{ETH_P_IP, ETH_P_IPV6, Word};

/// Cookie of the packet's socket. The kernel counts sockets; a program can only compare.
pub(super) const SOCKET_COOKIE: u64 = 1;

/// `bpf_skb_change_type(ctx, type)`: among host, broadcast, multicast and other host.
pub(super) fn change_type<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    /// `PACKET_OTHERHOST`.
    const LAST: u32 = 3;
    let skb = packet(machine, 32)?.skb;
    let kind = args[1] as u32;
    if skb[Word::PktType] > LAST || kind > LAST {
        return Ok(Errno::Einval.to_r0());
    }
    skb[Word::PktType] = kind;
    Ok(0)
}

/// `bpf_skb_set_tstamp(ctx, tstamp, type)`: by the clock of that type.
pub(super) fn set_tstamp<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    /// `BPF_SKB_CLOCK_MONOTONIC` and `BPF_SKB_CLOCK_TAI`; 0 is that of the day.
    const MONOTONIC: u32 = 1;
    const TAI: u32 = 2;
    let [_, tstamp, kind, ..] = args;
    let kind = kind as u32;
    let skb = packet(machine, 192)?.skb;
    if !matches!(skb[Word::Protocol], ETH_P_IP | ETH_P_IPV6) {
        return Ok(Errno::Eopnotsupp.to_r0());
    }
    if kind > TAI || (matches!(kind, MONOTONIC | TAI) && tstamp == 0) {
        return Ok(Errno::Einval.to_r0());
    }
    let at = Word::Tstamp as usize;
    skb.words[at] = tstamp as u32;
    skb.words[at + 1] = (tstamp >> 32) as u32;
    skb[Word::TstampType] = kind;
    Ok(0)
}

/// `bpf_get_hash_recalc(ctx)`: the hash, computed if there is none. Linux hashes flows with a
/// random key; here it is a fixed function of the flow.
pub(super) fn hash<M: Machine>(machine: &mut M) -> Result<u64, TrapCause> {
    let mut packet = packet(machine, 34)?;
    if !packet.skb.hashed {
        packet.skb[Word::Hash] = flow_hash(&mut packet);
        packet.skb.hashed = true;
    }
    Ok(u64::from(packet.skb[Word::Hash]))
}

/// A hash of protocol, addresses and ports; never 0.
fn flow_hash(packet: &mut Packet<'_>) -> u32 {
    /// Bytes of an IPv6 header, and of the addresses in the headers.
    const IPV6_HEADER: usize = 40;
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let (protocol, network) = (packet.skb[Word::Protocol], packet.skb.network as usize);
    let header = packet.bytes().get(network..).unwrap_or_default();
    let (next, addresses, transport) = match (protocol, header.first()) {
        (ETH_P_IP, Some(first)) => (header.get(9), 12..20, usize::from(first & 0xf) * 4),
        (ETH_P_IPV6, Some(_)) => (header.get(6), 8..40, IPV6_HEADER),
        _ => (None, 0..0, 0),
    };
    let next = next.copied().unwrap_or(0);
    let ports = matches!(next, TCP | UDP).then(|| header.get(transport..transport + 4));
    let parts = header.get(addresses).into_iter().chain(ports.flatten());
    let words = parts.flat_map(|part| part.chunks_exact(4));
    let seed = u64::from(protocol) << 8 | u64::from(next);
    let hash = words.fold(seed, |hash, word| {
        let word = word.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        u64::from(random(hash, word, 0))
    });
    random(hash, 0, 1).max(1)
}

/// `bpf_set_hash(ctx, hash)`.
pub(super) fn set_hash<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let skb = packet(machine, 48)?.skb;
    skb[Word::Hash] = args[1] as u32;
    skb.hashed = true;
    Ok(0)
}

/// `bpf_set_hash_invalid(ctx)`.
pub(super) fn forget_hash<M: Machine>(machine: &mut M) -> Result<u64, TrapCause> {
    packet(machine, 41)?.skb.forget_hash();
    Ok(0)
}

/// `bpf_skb_get_xfrm_state(ctx, index, to, size, flags)`: there is none.
pub(super) fn xfrm_state<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    machine.write(args[2], &vec![0; args[3] as u32 as usize])?;
    Ok(Errno::Einval.to_r0())
}

/// `bpf_sk_assign(ctx, sk, flags)`: only where packets come in, which a test run is not.
pub(super) fn sk_assign(args: [u64; 5]) -> u64 {
    let errno = if args[2] == 0 {
        Errno::Eopnotsupp
    } else {
        Errno::Einval
    };
    errno.to_r0()
}

/// `bpf_skb_ecn_set_ce(ctx)`: marks congestion; 1 if the packet says so now, 0 if its sender does
/// not know of ECN or it is no IP packet. Tags are looked behind for the protocol, though the
/// header is taken from where the network header is.
pub(super) fn ecn_set_ce<M: Machine>(machine: &mut M) -> Result<u64, TrapCause> {
    let mut packet = packet(machine, 97)?;
    let protocol = vlan::inner_protocol(&mut packet);
    let at = packet.skb.network as usize;
    let linear = packet.skb.linear as usize;
    let bytes = packet.bytes().get_mut(..linear).unwrap_or_default();
    let header = bytes.get_mut(at..).unwrap_or_default();
    let marked = match protocol {
        ETH_P_IP if header.len() >= 20 => mark_ipv4(header),
        ETH_P_IPV6 if header.len() >= 40 => {
            let known = header[1] & 0x30 != 0;
            if known {
                header[1] |= 0x30;
            }
            known
        }
        _ => false,
    };
    Ok(u64::from(marked))
}

/// Marks an IPv4 header and keeps its checksum right.
fn mark_ipv4(header: &mut [u8]) -> bool {
    /// Not known, and marked.
    const NOT_ECT: u8 = 0;
    const CE: u8 = 3;
    let ecn = header[1] & CE;
    if ecn == NOT_ECT || ecn == CE {
        return ecn == CE;
    }
    let old = u16::from_le_bytes([header[10], header[11]]);
    // What the mark adds to the header's first word, less in the checksum.
    let by = !u16::from(CE - ecn).to_be();
    let sum = u32::from(old) + u32::from(by);
    let sum = add(sum & 0xffff, sum >> 16);
    let new = (sum + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&new.to_le_bytes());
    header[1] |= CE;
    true
}
