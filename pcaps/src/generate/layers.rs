//! The layers of a frame, appended from the outside in. Encodings and checksums are etherparse's;
//! lengths are what the caller says, which is how some frames come to lie about them.

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpFragOffset,
    IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, SingleVlanHeader, TcpHeader, UdpHeader,
    VlanId, VlanPcp,
};

/// Length of an Ethernet header in bytes.
pub(super) const ETHERNET: usize = 14;
/// The least frame without its check sequence.
pub(super) const LEAST_FRAME: usize = 60;

/// Two addresses of one IP version, from sender to receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair {
    V4 {
        source: [u8; 4],
        destination: [u8; 4],
    },
    V6 {
        source: [u8; 16],
        destination: [u8; 16],
    },
}

impl Pair {
    pub(super) fn reversed(self) -> Self {
        match self {
            Self::V4 {
                source,
                destination,
            } => Self::V4 {
                source: destination,
                destination: source,
            },
            Self::V6 {
                source,
                destination,
            } => Self::V6 {
                source: destination,
                destination: source,
            },
        }
    }

    pub(super) fn ether_type(self) -> EtherType {
        match self {
            Self::V4 { .. } => EtherType::IPV4,
            Self::V6 { .. } => EtherType::IPV6,
        }
    }

    /// Number of this version as the payload of another IP header.
    pub(super) fn as_payload(self) -> IpNumber {
        match self {
            Self::V4 { .. } => IpNumber::IPV4,
            Self::V6 { .. } => IpNumber::IPV6,
        }
    }

    /// Length of the header that [`ip`] writes.
    pub(super) fn header_len(self) -> usize {
        match self {
            Self::V4 { .. } => 20,
            Self::V6 { .. } => 40,
        }
    }
}

/// What an IP header says beside addresses and lengths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip {
    pub(super) hop_limit: u8,
    /// IPv4 identification.
    pub(super) id: u16,
    /// IPv4 fragment: offset in units of 8 bytes, and whether more follow.
    pub(super) fragment: Option<(u16, bool)>,
}

impl Ip {
    pub(super) fn new(id: u16) -> Self {
        Self {
            hop_limit: 64,
            id,
            fragment: None,
        }
    }
}

/// An Ethernet header with VLAN tags, each (type, priority, id).
pub(super) fn ethernet(
    to: &mut Vec<u8>,
    (source, destination): ([u8; 6], [u8; 6]),
    tags: &[(u16, u8, u16)],
    inner: EtherType,
) {
    let type_of = |tag: Option<&(u16, u8, u16)>| tag.map_or(inner, |&(kind, ..)| EtherType(kind));
    let header = Ethernet2Header {
        source,
        destination,
        ether_type: type_of(tags.first()),
    };
    to.extend_from_slice(&header.to_bytes());
    for (index, &(_, priority, id)) in tags.iter().enumerate() {
        let header = SingleVlanHeader {
            pcp: VlanPcp::try_new(priority & 7).unwrap_or_default(),
            drop_eligible_indicator: false,
            vlan_id: VlanId::try_new(id & 0xfff).unwrap_or_default(),
            ether_type: type_of(tags.get(index + 1)),
        };
        to.extend_from_slice(&header.to_bytes());
    }
}

/// An IPv4 or IPv6 header in front of `payload_len` bytes.
pub(super) fn ip(to: &mut Vec<u8>, pair: Pair, ip: Ip, next: IpNumber, payload_len: usize) {
    match pair {
        Pair::V4 {
            source,
            destination,
        } => {
            let (offset, more_fragments) = ip.fragment.unwrap_or((0, false));
            let mut header = Ipv4Header {
                total_len: (20 + payload_len) as u16,
                identification: ip.id,
                dont_fragment: ip.fragment.is_none(),
                more_fragments,
                fragment_offset: IpFragOffset::try_new(offset).unwrap_or_default(),
                time_to_live: ip.hop_limit,
                protocol: next,
                source,
                destination,
                ..Ipv4Header::default()
            };
            header.header_checksum = header.calc_header_checksum();
            to.extend_from_slice(&header.to_bytes());
        }
        Pair::V6 {
            source,
            destination,
        } => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::try_new(u32::from(ip.id)).unwrap_or_default(),
                payload_length: payload_len as u16,
                next_header: next,
                hop_limit: ip.hop_limit,
                source,
                destination,
            };
            to.extend_from_slice(&header.to_bytes());
        }
    }
}

// The checksums below fail only for payloads above 65,507 bytes, which no `Spec` admits.

/// UDP header and payload.
pub(super) fn udp(to: &mut Vec<u8>, pair: Pair, ports: (u16, u16), payload: &[u8]) {
    let mut header = UdpHeader {
        source_port: ports.0,
        destination_port: ports.1,
        length: (8 + payload.len()) as u16,
        checksum: 0,
    };
    header.checksum = match pair {
        Pair::V4 {
            source,
            destination,
        } => header.calc_checksum_ipv4_raw(source, destination, payload),
        Pair::V6 {
            source,
            destination,
        } => header.calc_checksum_ipv6_raw(source, destination, payload),
    }
    .unwrap_or_default();
    to.extend_from_slice(&header.to_bytes());
    to.extend_from_slice(payload);
}

/// TCP header and payload.
pub(super) fn tcp(to: &mut Vec<u8>, pair: Pair, mut header: TcpHeader, payload: &[u8]) {
    header.checksum = match pair {
        Pair::V4 {
            source,
            destination,
        } => header.calc_checksum_ipv4_raw(source, destination, payload),
        Pair::V6 {
            source,
            destination,
        } => header.calc_checksum_ipv6_raw(source, destination, payload),
    }
    .unwrap_or_default();
    to.extend_from_slice(&header.to_bytes());
    to.extend_from_slice(payload);
}

/// `ICMPv4` header and payload.
pub(super) fn icmpv4(to: &mut Vec<u8>, kind: Icmpv4Type, payload: &[u8]) {
    let checksum = kind.calc_checksum(payload);
    to.extend_from_slice(
        &Icmpv4Header {
            icmp_type: kind,
            checksum,
        }
        .to_bytes(),
    );
    to.extend_from_slice(payload);
}

/// `ICMPv6` header and payload.
pub(super) fn icmpv6(
    to: &mut Vec<u8>,
    (source, destination): ([u8; 16], [u8; 16]),
    kind: Icmpv6Type,
    payload: &[u8],
) {
    let checksum = kind
        .calc_checksum(source, destination, payload)
        .unwrap_or_default();
    to.extend_from_slice(
        &Icmpv6Header {
            icmp_type: kind,
            checksum,
        }
        .to_bytes(),
    );
    to.extend_from_slice(payload);
}

/// Pads with zeros to the least Ethernet frame, as a sender does.
pub(super) fn pad(to: &mut Vec<u8>) {
    if to.len() < LEAST_FRAME {
        to.resize(LEAST_FRAME, 0);
    }
}
