//! [`Skb`]: what a tc packet has beside its bytes.
//!
//! A tc program sees a `struct __sk_buff`, and helpers keep more of the packet than that shows:
//! how much of it is linear, where its network header is, which tunnel it came by. One value
//! holds both, for every engine and the reference alike. At entry it is what a test run in an
//! empty network namespace gives (Linux 6.18, `BPF_PROG_TEST_RUN` without a context): all
//! numbers 0 but those that follow from the frame and its port.
//!
//! Two things differ from a packet that a device received: a VLAN tag is in the bytes and not
//! taken out (`vlan_present` is 0), and there is a socket, with nothing behind it.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::run::{Environment, Frame};

/// Bytes before a test run's frame (`NET_SKB_PAD`).
pub const SKB_HEADROOM: usize = 64;
/// [`Skb::transport`] where nobody said where the header is.
pub const NO_TRANSPORT: u16 = u16::MAX;
/// Largest frame of a test run, in bytes: a page less headroom and the kernel's own at the end.
pub const SKB_MAX_FRAME: usize = 3712;
/// Largest packet that helpers may make, in bytes (`SKB_MAX_ALLOC`).
pub const SKB_MAX_LEN: u32 = 16064;
/// Bytes of an Ethernet header, the smallest frame.
pub const ETH_HEADER: usize = 14;
/// `ETH_P_IP` as it lies in `protocol`: in network order.
pub const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
/// `ETH_P_IPV6` as it lies in `protocol`.
pub const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;
/// `ETH_P_8021Q` and `ETH_P_8021AD` as they lie in `protocol` and `vlan_proto`.
pub const ETH_P_VLAN: [u32; 2] = [0x8100_u16.to_be() as u32, 0x88a8_u16.to_be() as u32];

/// Bytes of `struct __sk_buff`.
pub const SK_BUFF_BYTES: usize = 192;
/// Bytes of `struct bpf_sock`.
pub const SOCK_BYTES: usize = 80;

/// What a store to the context stores. Linux compares a register's 64 bits without sign and an
/// immediate with sign, so that they differ for a `queue_mapping` whose uppermost bit is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The value of a register.
    Register(u64),
    /// The immediate of the instruction.
    Immediate(i32),
}

/// A number of `struct __sk_buff`, by its place there: byte offset / 4. Numbers of 8 bytes are
/// named by their lower half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[expect(missing_docs, reason = "the fields of linux/bpf.h, nothing to add")]
pub enum Word {
    Len = 0,
    PktType = 1,
    Mark = 2,
    QueueMapping = 3,
    Protocol = 4,
    VlanPresent = 5,
    VlanTci = 6,
    VlanProto = 7,
    Priority = 8,
    IngressIfindex = 9,
    Ifindex = 10,
    TcIndex = 11,
    Cb = 12,
    Hash = 17,
    TcClassid = 18,
    NapiId = 21,
    Tstamp = 38,
    WireLen = 40,
    GsoSegs = 41,
    GsoSize = 44,
    TstampType = 45,
    Hwtstamp = 46,
}

/// What a tc packet has beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skb {
    /// The numbers of `struct __sk_buff` at their own places; those of pointers are 0.
    #[serde(serialize_with = "as_slice", deserialize_with = "of_length")]
    pub words: [u32; SK_BUFF_BYTES / 4],
    /// The socket's `struct bpf_sock`.
    pub sock: [u32; SOCK_BYTES / 4],
    /// Bytes from `data` that are linear: what packet pointers reach.
    pub linear: u32,
    /// Where the network header begins, in bytes from `data`.
    pub network: u32,
    /// Bytes before the packet in the kernel's buffer.
    pub headroom: u32,
    /// Where the transport header begins in that buffer; [`NO_TRANSPORT`] where nobody said.
    pub transport: u16,
    /// Bytes of the link header, where a helper has settled that; else 0.
    pub mac_len: u32,
    /// Whether the hash was computed or set since it was last forgotten.
    pub hashed: bool,
    /// How many checksums after the first were found right; `None` where none was checked.
    pub csum_level: Option<u8>,
    /// Whether `bpf_skb_adjust_room` put a tunnel's header before the packet.
    pub encapsulated: bool,
    /// The tunnel that `bpf_skb_set_tunnel_key` chose.
    pub tunnel: Option<Box<Tunnel>>,
}

/// Metadata of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// `struct bpf_tunnel_key` as it is read back, in words.
    pub key: [u32; 11],
    /// Whether the addresses are of IPv6.
    pub ipv6: bool,
    /// Options after the key; empty where there are none.
    pub options: Vec<u8>,
}

fn as_slice<S: Serializer>(words: &[u32], to: S) -> Result<S::Ok, S::Error> {
    words.serialize(to)
}

fn of_length<'de, const N: usize, D: Deserializer<'de>>(from: D) -> Result<[u32; N], D::Error> {
    let words = Vec::<u32>::deserialize(from)?;
    let length = words.len();
    words.try_into().map_err(|_words: Vec<u32>| {
        serde::de::Error::invalid_length(length, &"as many words as the structure has")
    })
}

impl Index<Word> for Skb {
    type Output = u32;

    fn index(&self, word: Word) -> &u32 {
        &self.words[word as usize]
    }
}

impl IndexMut<Word> for Skb {
    fn index_mut(&mut self, word: Word) -> &mut u32 {
        &mut self.words[word as usize]
    }
}

/// Values of `pkt_type` (`PACKET_*` in `linux/if_packet.h`).
mod pkt_type {
    pub(super) const HOST: u32 = 0;
    pub(super) const BROADCAST: u32 = 1;
    pub(super) const MULTICAST: u32 = 2;
    pub(super) const OTHERHOST: u32 = 3;
}

/// Whether a test run takes this frame: it must hold an Ethernet header, and an IP header
/// without options where the Ethernet header says that one follows.
pub fn complete(frame: &[u8]) -> bool {
    let least = match frame.get(12..ETH_HEADER) {
        Some([0x08, 0x00]) => ETH_HEADER + 20,
        Some([0x86, 0xdd]) => ETH_HEADER + 40,
        Some(_) => ETH_HEADER,
        None => return false,
    };
    frame.len() >= least
}

impl Skb {
    /// The packet as it arrives.
    pub fn arrived(frame: &Frame, bytes: &[u8], environment: &Environment) -> Skb {
        let len = bytes.len() as u32;
        let mut skb = Skb {
            words: [0; SK_BUFF_BYTES / 4],
            sock: [0; SOCK_BYTES / 4],
            linear: environment
                .linear
                .unwrap_or(len)
                .max(ETH_HEADER as u32)
                .min(len),
            network: ETH_HEADER as u32,
            headroom: SKB_HEADROOM as u32,
            transport: NO_TRANSPORT,
            mac_len: 0,
            hashed: false,
            csum_level: None,
            encapsulated: false,
            tunnel: None,
        };
        skb[Word::Len] = len;
        skb[Word::WireLen] = len;
        skb[Word::Ifindex] = frame.port;
        skb[Word::PktType] = pkt_type(bytes, environment.mac(frame.port));
        skb[Word::Protocol] = protocol(bytes);
        skb.sock = sock(bytes, skb[Word::Protocol]);
        skb
    }

    /// A number of `size` bytes (1, 2, 4 or 8) at byte `offset` of the structure; `None` outside
    /// it. Which loads are allowed says [`context::load`](crate::context::load).
    pub fn load(&self, offset: usize, size: usize) -> Option<u64> {
        part(&self.words, offset, size)
    }

    /// Stores the lower `size` bytes of a value at byte `offset`, as Linux does: `tc_index` and
    /// `tc_classid` keep 16 bits, and a `queue_mapping` that has more is ignored. Which stores are
    /// allowed says [`context::store`](crate::context::store).
    pub fn store(&mut self, offset: usize, size: usize, value: Stored) -> Option<()> {
        /// `NO_QUEUE_MAPPING`.
        const NO_QUEUE: u16 = 0xffff;
        let bits = match value {
            Stored::Register(value) => value,
            Stored::Immediate(value) => i64::from(value) as u64,
        };
        let kept = match offset / 4 {
            word if word == Word::QueueMapping as usize => {
                let ignored = match value {
                    Stored::Register(value) => value >= u64::from(NO_QUEUE),
                    Stored::Immediate(value) => value >= i32::from(NO_QUEUE),
                };
                if ignored {
                    return Some(());
                }
                bits & 0xffff
            }
            word if word == Word::TcIndex as usize || word == Word::TcClassid as usize => {
                bits & 0xffff
            }
            _ => bits,
        };
        let bytes = kept.to_le_bytes();
        for (at, byte) in (offset..).zip(bytes.iter().take(size)) {
            let word = self.words.get_mut(at / 4)?;
            let shift = 8 * (at % 4);
            *word = *word & !(0xff << shift) | u32::from(*byte) << shift;
        }
        Some(())
    }

    /// A number of `size` bytes at byte `offset` of the socket's structure.
    pub fn load_sock(&self, offset: usize, size: usize) -> Option<u64> {
        part(&self.sock, offset, size)
    }

    /// Makes room for `by` bytes before the packet in the kernel's buffer, in steps of 64. Linux
    /// moves the transport header's place with it even where there is none, which then is one.
    pub fn make_headroom(&mut self, by: u32) {
        const STEP: u32 = 64;
        if self.headroom < by {
            let more = (by - self.headroom).next_multiple_of(STEP);
            self.headroom += more;
            self.transport = self.transport.wrapping_add(more as u16);
        }
    }

    /// How short the packet may become, in bytes: a header must remain.
    pub fn min_len(&self) -> u32 {
        let transport = u32::from(self.transport).saturating_sub(self.headroom);
        if self.transport != NO_TRANSPORT && transport > 0 {
            transport
        } else {
            self.network
        }
    }

    /// Forgets the hash, as what changes a packet's headers does.
    pub fn forget_hash(&mut self) {
        self[Word::Hash] = 0;
        self.hashed = false;
    }
}

/// The number of `size` bytes at byte `offset` of words in little-endian order.
fn part(words: &[u32], offset: usize, size: usize) -> Option<u64> {
    if offset.is_multiple_of(4) && size == 4 {
        return words.get(offset / 4).map(|word| u64::from(*word));
    }
    let mut value = 0;
    for at in (offset..offset + size).rev() {
        let byte = words.get(at / 4)? >> (8 * (at % 4)) & 0xff;
        value = value << 8 | u64::from(byte);
    }
    Some(value)
}

/// `pkt_type`: whom the frame is for, seen from a port with this address. The loopback port,
/// whose address is all zeros, has no other to reach everybody.
fn pkt_type(frame: &[u8], port: Option<[u8; 6]>) -> u32 {
    let Some(to) = frame.first_chunk::<6>() else {
        return pkt_type::HOST;
    };
    if port == Some(*to) {
        pkt_type::HOST
    } else if *to == [0xff; 6] && port != Some([0; 6]) {
        pkt_type::BROADCAST
    } else if to[0] & 1 != 0 {
        pkt_type::MULTICAST
    } else {
        pkt_type::OTHERHOST
    }
}

/// `protocol`: the Ethernet type, in network order; frames of 802.3 get one made up for them.
fn protocol(frame: &[u8]) -> u32 {
    /// Smallest number that is a type and no length (`ETH_P_802_3_MIN`).
    const TYPES: u16 = 0x600;
    /// `ETH_P_802_3` and `ETH_P_802_2`.
    const RAW: u16 = 1;
    const LLC: u16 = 4;
    let kind = match frame.get(12..) {
        Some([high, low, ..]) if u16::from_be_bytes([*high, *low]) >= TYPES => {
            u16::from_be_bytes([*high, *low])
        }
        Some([_, _, 0xff, 0xff, ..]) => RAW,
        _ => LLC,
    };
    u32::from(kind.to_be())
}

/// `struct bpf_sock` of a test run's socket: closed, with the addresses of the packet.
fn sock(frame: &[u8], protocol: u32) -> [u32; SOCK_BYTES / 4] {
    /// Words of the structure.
    const FAMILY: usize = 1;
    const SRC_IP4: usize = 6;
    const SRC_IP6: usize = 7;
    const DST_IP4: usize = 13;
    const DST_IP6: usize = 14;
    const STATE: usize = 18;
    const RX_QUEUE: usize = 19;
    /// `AF_INET`, `AF_INET6`.
    const INET: u32 = 2;
    const INET6: u32 = 10;
    /// `TCP_CLOSE`.
    const CLOSED: u32 = 7;
    let mut sock = [0; SOCK_BYTES / 4];
    let word = |at: usize| {
        let bytes = frame
            .get(ETH_HEADER + at..)
            .and_then(<[u8]>::first_chunk::<4>);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    if protocol == ETH_P_IP {
        sock[FAMILY] = INET;
        sock[SRC_IP4] = word(12);
        sock[DST_IP4] = word(16);
    } else if protocol == ETH_P_IPV6 {
        sock[FAMILY] = INET6;
        for i in 0..4 {
            sock[SRC_IP6 + i] = word(8 + 4 * i);
            sock[DST_IP6 + i] = word(24 + 4 * i);
        }
    }
    sock[STATE] = CLOSED;
    sock[RX_QUEUE] = u32::MAX;
    sock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ip_frame_must_hold_its_header() {
        let frame = |kind: [u8; 2], len: usize| {
            let mut frame = vec![0; len];
            frame[12..14].copy_from_slice(&kind);
            complete(&frame)
        };
        assert!(!frame([8, 0], 33) && frame([8, 0], 34));
        assert!(!frame([0x86, 0xdd], 53) && frame([0x86, 0xdd], 54));
        assert!(frame([8, 6], 14));
        assert!(!complete(&[0; 13]));
    }
}
