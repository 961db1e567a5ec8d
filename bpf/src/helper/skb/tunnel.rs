//! Metadata of tunnels: what a tunnel port is to send the packet with.

use super::packet;
use crate::helper::Machine;
use crate::helper::map::Copied;
use crate::map::Errno;
use crate::run::TrapCause;
use crate::skb::Tunnel;

/// Bytes of `struct bpf_tunnel_key`, and lengths that it had in the past.
const KEY: usize = 44;
const PAST: [usize; 4] = [8, 22, 24, 28];
/// The same in words, and where the fields are.
const WORDS: usize = KEY / 4;
const REMOTE: usize = 1;
/// tos, ttl, and flags in the upper half.
const TOS: usize = 5;
const LABEL: usize = 6;
const LOCAL: usize = 7;

/// Flags of `bpf_skb_set_tunnel_key` and `bpf_skb_get_tunnel_key`.
mod flag {
    pub(super) const IPV6: u64 = 1;
    pub(super) const ZERO_CSUM_TX: u64 = 1 << 1;
    pub(super) const DONT_FRAGMENT: u64 = 1 << 2;
    pub(super) const SEQ_NUMBER: u64 = 1 << 3;
    pub(super) const NO_TUNNEL_KEY: u64 = 1 << 4;
    /// Gives the tunnel's flags with the key.
    pub(super) const FLAGS: u64 = 1 << 4;
}

/// Flags of the tunnel, as `tunnel_flags` holds them in network order (`TUNNEL_*`).
mod tunnel_flag {
    pub(super) const CSUM: u16 = 1;
    pub(super) const KEY: u16 = 1 << 2;
    pub(super) const SEQ: u16 = 1 << 3;
    pub(super) const DONT_FRAGMENT: u16 = 1 << 8;
    pub(super) const NOCACHE: u16 = 1 << 13;
    /// Options of any kind: Geneve, VXLAN, ERSPAN, GTP.
    pub(super) const OPTIONS: u16 = 1 << 11 | 1 << 12 | 1 << 14 | 1 << 15;
}

/// Bits of a flow label.
const FLOW_LABEL: u32 = 0x000f_ffff;
/// Most bytes of options.
const MAX_OPTIONS: usize = 255;

fn words(bytes: &[u8]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(4)) {
        let mut whole = [0; 4];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u32::from_le_bytes(whole);
    }
    words
}

/// `bpf_skb_set_tunnel_key(ctx, key, size, flags)`.
pub(super) fn set_key<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, from, size, flags, _] = args;
    let size = size as u32 as usize;
    let known = flag::IPV6
        | flag::ZERO_CSUM_TX
        | flag::DONT_FRAGMENT
        | flag::SEQ_NUMBER
        | flag::NO_TUNNEL_KEY;
    if flags & !known != 0 || (size != KEY && !PAST.contains(&size)) {
        return Ok(Errno::Einval.to_r0());
    }
    let mut key = words(Copied::new(machine, from, size)?.bytes());
    let ipv6 = flags & flag::IPV6 != 0;
    if (!ipv6 && key[LABEL] != 0) || key[TOS] >> 16 != 0 {
        return Ok(Errno::Einval.to_r0());
    }
    let mut bits = tunnel_flag::KEY | tunnel_flag::CSUM | tunnel_flag::NOCACHE;
    let change = |of: u64| flags & of != 0;
    if change(flag::DONT_FRAGMENT) {
        bits |= tunnel_flag::DONT_FRAGMENT;
    }
    if change(flag::ZERO_CSUM_TX) {
        bits &= !tunnel_flag::CSUM;
    }
    if change(flag::SEQ_NUMBER) {
        bits |= tunnel_flag::SEQ;
    }
    if change(flag::NO_TUNNEL_KEY) {
        bits &= !tunnel_flag::KEY;
    }
    key[TOS] |= u32::from(bits.to_be()) << 16;
    if ipv6 {
        key[LABEL] &= FLOW_LABEL;
    } else {
        key[REMOTE + 1..TOS].fill(0);
        key[LOCAL + 1..].fill(0);
    }
    // A tunnel to send by is read as the one who receives sees it.
    for i in 0..4 {
        key.swap(REMOTE + i, LOCAL + i);
    }
    packet(machine, 21)?.skb.tunnel = Some(Box::new(Tunnel {
        key,
        ipv6,
        options: Vec::new(),
    }));
    Ok(0)
}

/// `bpf_skb_get_tunnel_key(ctx, key, size, flags)`: the memory becomes zero if there is none.
pub(super) fn key<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, to, size, flags, _] = args;
    let size = size as u32 as usize;
    let tunnel = packet(machine, 20)?.skb.tunnel.as_deref();
    let found = match tunnel {
        Some(tunnel) if flags & !(flag::IPV6 | flag::FLAGS) == 0 => {
            let compatible = size == KEY || (PAST.contains(&size) && (size != 8 || !tunnel.ipv6));
            if tunnel.ipv6 != (flags & flag::IPV6 != 0) {
                Err(Errno::Eproto)
            } else if compatible {
                Ok(tunnel.key)
            } else {
                Err(Errno::Einval)
            }
        }
        _ => Err(Errno::Einval),
    };
    match found {
        Ok(mut key) => {
            if flags & flag::FLAGS == 0 {
                key[TOS] &= 0xffff;
            }
            let mut bytes = [0; KEY];
            for (bytes, word) in bytes.chunks_exact_mut(4).zip(key) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            machine.write(to, &bytes[..size])?;
            Ok(0)
        }
        Err(errno) => {
            machine.write(to, &vec![0; size])?;
            Ok(errno.to_r0())
        }
    }
}

/// `bpf_skb_set_tunnel_opt(ctx, options, size)`: after a key was set; whole words.
pub(super) fn set_options<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, from, size, ..] = args;
    let size = size as u32 as usize;
    if packet(machine, 30)?.skb.tunnel.is_none() || !size.is_multiple_of(4) {
        return Ok(Errno::Einval.to_r0());
    }
    if size > MAX_OPTIONS {
        return Ok(Errno::Enomem.to_r0());
    }
    let bytes = Copied::new(machine, from, size)?.bytes().to_vec();
    if let Some(tunnel) = &mut packet(machine, 30)?.skb.tunnel {
        tunnel.options = bytes;
        tunnel.key[TOS] |= u32::from(tunnel_flag::OPTIONS.to_be()) << 16;
    }
    Ok(0)
}

/// `bpf_skb_get_tunnel_opt(ctx, options, size)`: r0 is how many bytes there are.
pub(super) fn options<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, to, size, ..] = args;
    let size = size as u32 as usize;
    let tunnel = packet(machine, 29)?.skb.tunnel.as_deref();
    let options = tunnel.map_or(&[][..], |tunnel| &tunnel.options);
    let mut bytes = vec![0; size];
    let answer = if options.is_empty() {
        Err(Errno::Enoent)
    } else if size < options.len() {
        Err(Errno::Enomem)
    } else {
        bytes[..options.len()].copy_from_slice(options);
        Ok(options.len() as u64)
    };
    machine.write(to, &bytes)?;
    Ok(super::r0(answer))
}
