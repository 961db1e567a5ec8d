//! Receive-side scaling: which queue of a NIC a frame goes to.
//!
//! The hash is Toeplitz's over addresses and ports, as Microsoft specified it ("RSS hashing
//! types", with the verification suite that the tests use) and as NICs compute it; the queue is
//! looked up in an indirection table of 128 entries.

/// The key of Microsoft's verification suite, which many drivers use by default.
pub const DEFAULT_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Entries of the indirection table.
const ENTRIES: u32 = 128;
/// The longest hashed input: two IPv6 addresses and two ports.
const LONGEST: usize = 36;

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];
/// More fragments, and the fragment offset.
const NOT_WHOLE: u16 = 0x3fff;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A key prepared for hashing, and a number of queues.
///
/// # Examples
///
/// ```
/// use pcaps::rss::{DEFAULT_KEY, Rss};
///
/// let rss = Rss::new(&DEFAULT_KEY, 8);
/// assert_eq!(rss.hash(&[0; 64]), None, "neither IPv4 nor IPv6");
/// assert_eq!(rss.queue(&[0; 64]), 0);
/// ```
#[derive(Clone)]
pub struct Rss {
    /// For each place in the input and each value of its byte, what it adds to the hash.
    tables: Vec<[u32; 256]>,
    queues: u32,
}

impl std::fmt::Debug for Rss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rss")
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

impl Rss {
    /// Prepares a key for `queues` queues; 0 counts as 1. The indirection table is Linux's
    /// default: entry n names queue n modulo `queues`, so above 128 queues some stay empty.
    pub fn new(key: &[u8; 40], queues: u32) -> Self {
        let mut tables = vec![[0; 256]; LONGEST];
        for (place, table) in tables.iter_mut().enumerate() {
            // The 32 key bits that each bit of this byte selects, the top bit first.
            let window = key.iter().skip(place).chain(&[0; 8]).take(8);
            let window = window.fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
            for (value, entry) in (0u32..).zip(table.iter_mut()) {
                for bit in (0..8).filter(|bit| value & (0x80 >> bit) != 0) {
                    *entry ^= (window >> (32 - bit)) as u32;
                }
            }
        }
        Self {
            tables,
            queues: queues.max(1),
        }
    }

    /// The number of queues.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// The queue of an Ethernet frame, from 0; 0 for what has no hash.
    #[inline]
    pub fn queue(&self, frame: &[u8]) -> u32 {
        match self.hash(frame) {
            Some(hash) => (hash % ENTRIES) % self.queues,
            None => 0,
        }
    }

    /// The hash of an Ethernet frame behind at most two VLAN tags: over addresses and ports for
    /// TCP and UDP directly behind the IP header, over addresses for any other IP and for
    /// fragments, `None` for anything else and for what ends before its addresses do.
    #[inline]
    pub fn hash(&self, frame: &[u8]) -> Option<u32> {
        let (mut ether_type, mut rest) = frame.get(12..)?.split_first_chunk::<2>()?;
        for _ in 0..2 {
            if TAGS.contains(ether_type) {
                (ether_type, rest) = rest.get(2..)?.split_first_chunk::<2>()?;
            }
        }
        match *ether_type {
            IPV4 => {
                let header = rest.first_chunk::<20>()?;
                let [version, _, _, _, _, _, fragment, offset, _, protocol, ..] = *header;
                let addresses = self.sum(0, header.last_chunk::<8>()?);
                // No ports in any fragment: they would part from each other.
                let whole = u16::from_be_bytes([fragment, offset]) & NOT_WHOLE == 0;
                let ports = rest.get(usize::from(version & 15) * 4..);
                Some(addresses ^ self.ports(8, whole, protocol, ports))
            }
            IPV6 => {
                let header = rest.first_chunk::<40>()?;
                let addresses = self.sum(0, header.last_chunk::<32>()?);
                let [_, _, _, _, _, _, next, ..] = *header;
                Some(addresses ^ self.ports(32, true, next, rest.get(40..)))
            }
            _ => None,
        }
    }

    /// What the ports add, where there are any.
    #[inline]
    fn ports(&self, at: usize, whole: bool, protocol: u8, segment: Option<&[u8]>) -> u32 {
        match segment.and_then(|segment| segment.first_chunk::<4>()) {
            Some(ports) if whole && (protocol == TCP || protocol == UDP) => self.sum(at, ports),
            _ => 0,
        }
    }

    /// What `input` adds to the hash if it begins at place `at`.
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "a table has an entry for every byte"
    )]
    fn sum<const N: usize>(&self, at: usize, input: &[u8; N]) -> u32 {
        let tables = self.tables.iter().skip(at);
        tables
            .zip(input)
            .fold(0, |hash, (table, &byte)| hash ^ table[usize::from(byte)])
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::{DEFAULT_KEY, Rss};

    /// An Ethernet frame behind `tags` with an IP header of the pair and `protocol`.
    fn frame(source: SocketAddr, destination: SocketAddr, tags: usize, protocol: u8) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for _ in 0..tags {
            frame.extend([0x81, 0x00, 0x00, 0x05]);
        }
        match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([
                    0x08, 0x00, 0x46, 0, 0, 44, 0, 1, 0x40, 0, 64, protocol, 0, 0,
                ]);
                frame.extend(from.octets());
                frame.extend(to.octets());
                // One word of options: ports are where the header says.
                frame.extend([1; 4]);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            _ => panic!("one version"),
        }
        frame.extend(source.port().to_be_bytes());
        frame.extend(destination.port().to_be_bytes());
        frame.extend([0; 16]);
        frame
    }

    #[test]
    fn hashes_are_those_of_the_verification_suite() {
        // Microsoft, "Verifying the RSS Hash Calculation": source, destination, with ports,
        // addresses alone.
        let rss = Rss::new(&DEFAULT_KEY, 4);
        for (source, destination, with_ports, addresses) in [
            (
                "66.9.149.187:2794",
                "161.142.100.80:1766",
                0x51cc_c178,
                0x323e_8fc2,
            ),
            (
                "199.92.111.2:14230",
                "65.69.140.83:4739",
                0xc626_b0ea,
                0xd718_262a,
            ),
            (
                "24.19.198.95:12898",
                "12.22.207.184:38024",
                0x5c2b_394a,
                0xd2d0_a5de,
            ),
            (
                "38.27.205.30:48228",
                "209.142.163.6:2217",
                0xafc7_327f,
                0x8298_9176,
            ),
            (
                "153.39.163.191:44251",
                "202.188.127.2:1303",
                0x10e8_28a2,
                0x5d18_09c5,
            ),
            (
                "[3ffe:2501:200:1fff::7]:2794",
                "[3ffe:2501:200:3::1]:1766",
                0x4020_7d3d,
                0x2cc1_8cd5,
            ),
            (
                "[3ffe:501:8::260:97ff:fe40:efab]:14230",
                "[ff02::1]:4739",
                0xdde5_1bbf,
                0x0f0c_461c,
            ),
            (
                "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
                "[fe80::200:f8ff:fe21:67cf]:38024",
                0x02d1_feef,
                0x4b61_e985,
            ),
        ] {
            let source = source.parse().expect("an address");
            let destination = destination.parse().expect("an address");
            for tags in 0..=2 {
                for protocol in [6, 17] {
                    let frame = frame(source, destination, tags, protocol);
                    assert_eq!(
                        rss.hash(&frame),
                        Some(with_ports),
                        "{source} {tags} {protocol}"
                    );
                    assert_eq!(rss.queue(&frame), with_ports % 128 % 4);
                }
                let frame = frame(source, destination, tags, 47);
                assert_eq!(rss.hash(&frame), Some(addresses), "{source} {tags}");
            }
        }
    }

    #[test]
    fn fragments_hash_by_addresses_and_short_frames_by_what_is_there() {
        let rss = Rss::new(&DEFAULT_KEY, 3);
        let source = "66.9.149.187:2794".parse().expect("an address");
        let destination = "161.142.100.80:1766".parse().expect("an address");
        let whole = frame(source, destination, 0, 17);
        for (place, value) in [(20, 0x20), (21, 1), (20, 0x01)] {
            let mut fragment = whole.clone();
            fragment[place] = value;
            assert_eq!(
                rss.hash(&fragment),
                Some(0x323e_8fc2),
                "{place}: {value:#x}"
            );
        }
        for len in 0..whole.len() {
            let expected = match len {
                0..34 => None,
                34..42 => Some(0x323e_8fc2),
                _ => Some(0x51cc_c178),
            };
            assert_eq!(rss.hash(&whole[..len]), expected, "{len} bytes");
        }
        assert_eq!(Rss::new(&DEFAULT_KEY, 0).queue(&whole), 0);
    }
}
