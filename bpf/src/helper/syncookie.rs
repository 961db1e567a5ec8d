//! `bpf_tcp_raw_gen_syncookie_ipv4` and its kin.
//!
//! Linux makes its cookies with a key that nobody is told; ours follow from the environment's
//! seed. What is the same: which packets are taken, the segment size that a cookie stands for, and
//! that a cookie is good for the addresses, ports and sequence number that it was made for, for
//! two minutes.

use super::Machine;
use super::map::Copied;
use super::time::random_state;
use crate::map::Errno;
use crate::run::TrapCause;

/// Bytes of a TCP header without options.
const TCP: usize = 20;
/// Nanoseconds of the counter's step, and for how many of them a cookie is good.
const STEP_NS: u64 = 60_000_000_000;
const STEPS: u64 = 2;

/// What differs between the two families.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// Bytes of the IP header, and where its two addresses lie.
    header: usize,
    addresses: (usize, usize),
    /// Segment sizes that a cookie can stand for; without an option it is the first.
    sizes: [u16; 4],
}

/// IPv4.
pub(super) const V4: Family = Family {
    header: 20,
    addresses: (12, 20),
    sizes: [536, 1300, 1440, 1460],
};

/// IPv6.
pub(super) const V6: Family = Family {
    header: 40,
    addresses: (8, 40),
    sizes: [1220, 1420, 1440, 8940],
};

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

/// The segment size that a SYN's options name; 0 if none. RFC 9293 §3.1.
fn named_size(options: &[u8]) -> u16 {
    let mut rest = options;
    loop {
        match rest {
            [1, after @ ..] => rest = after,
            [2, 4, size @ ..] if size.len() >= 2 && u16_at(size, 0) != 0 => return u16_at(size, 0),
            [0, ..] | [] | [_] => return 0,
            [_, len, ..] => match rest.get(usize::from(*len)..) {
                Some(after) if *len >= 2 => rest = after,
                _ => return 0,
            },
        }
    }
}

/// The cookie: the counter in 6 bits, the size's index in 2, and 24 bits that follow from both and
/// from the connection.
fn cookie<M: Machine>(machine: &M, connection: &[u8], counter: u64, index: u64) -> u32 {
    let mut state = random_state(machine.environment().seed, counter << 2 | index);
    for chunk in connection.chunks(8) {
        let word = chunk.iter().fold(0, |w, b| w << 8 | u64::from(*b));
        state = random_state(state, word);
    }
    ((counter & 0x3f) << 26 | index << 24 | state >> 40) as u32
}

/// Addresses, ports, and the client's sequence number at the start.
fn connection(family: Family, ip: &[u8], tcp: &[u8], sequence: u32) -> Vec<u8> {
    let (from, to) = family.addresses;
    let mut bytes = ip.get(from..to).unwrap_or(&[]).to_vec();
    bytes.extend_from_slice(&tcp[..4]);
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes
}

/// `bpf_tcp_raw_gen_syncookie_ipv4(iph, th, th_len)`: the cookie for a SYN, and above it the
/// segment size.
pub(super) fn generate<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
    family: Family,
) -> Result<u64, TrapCause> {
    let [ip, tcp, len, ..] = args;
    let len = len as u32 as usize;
    let ip = Copied::new(machine, ip, family.header)?;
    let tcp = Copied::new(machine, tcp, len)?;
    let (ip, tcp) = (ip.bytes(), tcp.bytes());
    if len < TCP || usize::from(tcp[12] >> 4) * 4 != len {
        return Ok(Errno::Einval.to_r0());
    }
    let named = named_size(&tcp[TCP..]);
    let index = family
        .sizes
        .iter()
        .rposition(|size| named >= *size)
        .unwrap_or(0);
    let connection = connection(family, ip, tcp, u32_at(tcp, 4));
    let counter = machine.now_ns() / STEP_NS;
    let cookie = cookie(machine, &connection, counter, index as u64);
    Ok(u64::from(family.sizes[index]) << 32 | u64::from(cookie))
}

/// `bpf_tcp_raw_check_syncookie_ipv4(iph, th)`: 0 if the ACK acknowledges a cookie, else
/// `-EACCES`.
pub(super) fn check<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
    family: Family,
) -> Result<u64, TrapCause> {
    let ip = Copied::new(machine, args[0], family.header)?;
    let tcp = Copied::new(machine, args[1], TCP)?;
    let (ip, tcp) = (ip.bytes(), tcp.bytes());
    let connection = connection(family, ip, tcp, u32_at(tcp, 4).wrapping_sub(1));
    let given = u32_at(tcp, 8).wrapping_sub(1);
    let now = machine.now_ns() / STEP_NS;
    let good = (0..STEPS).any(|back| {
        let index = u64::from(given >> 24 & 3);
        now.checked_sub(back)
            .is_some_and(|counter| cookie(machine, &connection, counter, index) == given)
    });
    Ok(if good { 0 } else { Errno::Eacces.to_r0() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_options() {
        assert_eq!(named_size(&[2, 4, 5, 180]), 1460);
        assert_eq!(named_size(&[1, 1, 3, 3, 7, 2, 4, 5, 20]), 1300);
        assert_eq!(named_size(&[0, 2, 4, 5, 180]), 0);
        assert_eq!(named_size(&[2, 4, 0, 0, 2, 4, 5, 180]), 1460);
        assert_eq!(named_size(&[8, 1, 2, 4, 5, 180]), 0);
        assert_eq!(named_size(&[8, 90]), 0);
        assert_eq!(named_size(&[2, 4, 5]), 0);
        assert_eq!(named_size(&[]), 0);
    }
}
