//! [`Summary`]: what a capture holds, in one pass and bounded memory.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::io::Read;

use etherparse::err::packet::SliceError;
use etherparse::{IpNumber, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, TransportSlice};

use crate::LinkType;
use crate::read::{CaptureReader, Format, Interface, ReadError, Record, Warning};

/// Up to this many flows are counted one by one; they are held in memory for it.
pub const MAX_FLOWS_COUNTED: usize = 1 << 18;

/// Upper ends of the length classes, in bytes, the last class being open: those of RFC 2819
/// (etherStats), less the check sequence that captures do not hold.
pub const LENGTH_CLASSES: [u32; 6] = [60, 123, 251, 507, 1019, 1514];

/// Something a frame can be counted as; most frames are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// At least one VLAN tag.
    Vlan,
    /// `MACsec`.
    Macsec,
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// A fragment of an IP packet.
    Fragment,
    /// An IP packet in an IP packet, not looked into.
    IpInIp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP for IPv4.
    Icmp,
    /// ICMP for IPv6.
    Icmpv6,
    /// IGMP.
    Igmp,
    /// IP that carries something else.
    OtherIp,
    /// Neither IP nor ARP.
    Other,
    /// The frame ends inside its headers, or a length in them reaches beyond it.
    Incomplete,
    /// A header contradicts itself.
    Malformed,
}

impl Protocol {
    /// The name that reports use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vlan => "vlan",
            Self::Macsec => "macsec",
            Self::Arp => "arp",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Fragment => "fragment",
            Self::IpInIp => "ip-in-ip",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Igmp => "igmp",
            Self::OtherIp => "other-ip",
            Self::Other => "other",
            Self::Incomplete => "incomplete",
            Self::Malformed => "malformed",
        }
    }
}

/// How many flows a capture has: packets with the same addresses, IP protocol and ports, one
/// direction. Fragments and what has no ports count by addresses and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// This many.
    Exactly(u64),
    /// More than this many: counting stopped.
    MoreThan(u64),
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(flows) => write!(f, "{flows}"),
            Self::MoreThan(flows) => write!(f, "more than {flows}"),
        }
    }
}

/// How long the frames are, as captured, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// The shortest.
    pub min: u32,
    /// The lower median, exactly.
    pub median: u32,
    /// The longest.
    pub max: u32,
    /// How many frames fall into each class of [`LENGTH_CLASSES`], then above the last.
    pub classes: [u64; LENGTH_CLASSES.len() + 1],
}

/// What a capture holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The format of the file.
    pub format: Format,
    /// Number of packets.
    pub packets: u64,
    /// Their captured lengths together, in bytes.
    pub captured_bytes: u64,
    /// Their lengths on the wire together, in bytes.
    pub wire_bytes: u64,
    /// How many were captured shorter than they were on the wire.
    pub cut: u64,
    /// The earliest and the latest timestamp in nanoseconds since 1970, `None` without packets.
    pub times_ns: Option<(u64, u64)>,
    /// How many packets have an earlier time than the one before.
    pub backwards: u64,
    /// The interfaces that the file describes, and how many packets each has.
    pub interfaces: Vec<(Interface, u64)>,
    /// Packets by link type.
    pub links: BTreeMap<LinkType, u64>,
    /// Frame lengths, `None` without packets.
    pub lengths: Option<Lengths>,
    /// Frames by what they are. Link types other than Ethernet and raw IP are not looked into.
    pub protocols: BTreeMap<Protocol, u64>,
    /// How many flows.
    pub flows: Flows,
    /// What the reader noticed.
    pub warnings: Vec<Warning>,
}

impl Summary {
    /// Reads a capture to its end.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn of<R: Read>(reader: &mut CaptureReader<R>) -> Result<Self, ReadError> {
        let mut counts = Counts::default();
        while let Some(chunk) = reader.chunk()? {
            for record in chunk {
                counts.add(&record);
            }
        }
        let per_interface = counts
            .interfaces
            .iter()
            .copied()
            .chain(std::iter::repeat(0));
        Ok(Self {
            format: reader.format(),
            packets: counts.packets,
            captured_bytes: counts.captured_bytes,
            wire_bytes: counts.wire_bytes,
            cut: counts.cut,
            times_ns: counts.times_ns,
            backwards: counts.backwards,
            interfaces: reader
                .interfaces()
                .iter()
                .cloned()
                .zip(per_interface)
                .collect(),
            links: counts.links,
            lengths: lengths(&counts.lengths),
            protocols: counts.protocols,
            flows: if counts.more_flows {
                Flows::MoreThan(MAX_FLOWS_COUNTED as u64)
            } else {
                Flows::Exactly(counts.flows.len() as u64)
            },
            warnings: reader.warnings().to_vec(),
        })
    }
}

/// Addresses (IPv4 in the first 4 bytes), IP version, protocol, ports.
type FlowKey = ([u8; 16], [u8; 16], u8, u8, u16, u16);

/// What is counted on the way.
#[derive(Debug, Default)]
struct Counts {
    packets: u64,
    captured_bytes: u64,
    wire_bytes: u64,
    cut: u64,
    times_ns: Option<(u64, u64)>,
    last_ns: u64,
    backwards: u64,
    interfaces: Vec<u64>,
    links: BTreeMap<LinkType, u64>,
    /// Frames of each length; as long as the longest, at most the reader's greatest packet.
    lengths: Vec<u64>,
    protocols: BTreeMap<Protocol, u64>,
    /// Only its size is asked for.
    flows: HashSet<FlowKey, BuildHasherDefault<DefaultHasher>>,
    more_flows: bool,
}

impl Counts {
    fn add(&mut self, record: &Record<'_>) {
        let (meta, data) = (record.meta, record.data);
        self.packets += 1;
        self.captured_bytes += data.len() as u64;
        self.wire_bytes += u64::from(meta.original_len);
        self.cut += u64::from(meta.original_len as usize > data.len());
        let (first, last) = self.times_ns.unwrap_or((meta.time_ns, meta.time_ns));
        self.times_ns = Some((first.min(meta.time_ns), last.max(meta.time_ns)));
        self.backwards += u64::from(meta.time_ns < self.last_ns);
        self.last_ns = meta.time_ns;
        count(&mut self.interfaces, meta.interface as usize);
        count(&mut self.lengths, data.len());
        *self.links.entry(meta.link).or_insert(0) += 1;
        match meta.link {
            LinkType::ETHERNET => match LaxSlicedPacket::from_ethernet(data) {
                Ok(packet) => self.dissect(&packet),
                Err(_) => self.is(Protocol::Incomplete),
            },
            LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 => {
                match LaxSlicedPacket::from_ip(data) {
                    Ok(packet) => self.dissect(&packet),
                    Err(_) => self.is(Protocol::Malformed),
                }
            }
            _ => {}
        }
    }

    fn is(&mut self, protocol: Protocol) {
        *self.protocols.entry(protocol).or_insert(0) += 1;
    }

    fn dissect(&mut self, packet: &LaxSlicedPacket<'_>) {
        if packet.vlan().is_some() {
            self.is(Protocol::Vlan);
        }
        if packet
            .link_exts
            .iter()
            .any(|ext| matches!(ext, LaxLinkExtSlice::Macsec(_)))
        {
            self.is(Protocol::Macsec);
        }
        match &packet.stop_err {
            Some((SliceError::Len(_), _)) => self.is(Protocol::Incomplete),
            Some(_) => self.is(Protocol::Malformed),
            None if packet
                .ip_payload()
                .is_some_and(|payload| payload.incomplete) =>
            {
                self.is(Protocol::Incomplete);
            }
            None => {}
        }
        let (mut key, payload) = match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                self.is(Protocol::Ipv4);
                let mut key: FlowKey = ([0; 16], [0; 16], 4, 0, 0, 0);
                let header = ip.header();
                if let Some(source) = key.0.first_chunk_mut() {
                    *source = header.source();
                }
                if let Some(destination) = key.1.first_chunk_mut() {
                    *destination = header.destination();
                }
                (key, ip.payload())
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                self.is(Protocol::Ipv6);
                let header = ip.header();
                (
                    (header.source(), header.destination(), 6, 0, 0, 0),
                    ip.payload(),
                )
            }
            Some(LaxNetSlice::Arp(_)) => return self.is(Protocol::Arp),
            None if packet.stop_err.is_some() => return,
            None => return self.is(Protocol::Other),
        };
        key.3 = payload.ip_number.0;
        if payload.fragmented {
            self.is(Protocol::Fragment);
        }
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                self.is(Protocol::Tcp);
                (key.4, key.5) = (tcp.source_port(), tcp.destination_port());
            }
            Some(TransportSlice::Udp(udp)) => {
                self.is(Protocol::Udp);
                (key.4, key.5) = (udp.source_port(), udp.destination_port());
            }
            Some(TransportSlice::Icmpv4(_)) => self.is(Protocol::Icmp),
            Some(TransportSlice::Icmpv6(_)) => self.is(Protocol::Icmpv6),
            Some(TransportSlice::Igmp(_)) => self.is(Protocol::Igmp),
            // By what the IP header announces: fragments, and what is cut, have no header here.
            None => self.is(match payload.ip_number {
                IpNumber::IPV4 | IpNumber::IPV6 => Protocol::IpInIp,
                IpNumber::TCP => Protocol::Tcp,
                IpNumber::UDP => Protocol::Udp,
                IpNumber::ICMP => Protocol::Icmp,
                IpNumber::IPV6_ICMP => Protocol::Icmpv6,
                _ => Protocol::OtherIp,
            }),
        }
        if self.flows.len() < MAX_FLOWS_COUNTED {
            self.flows.insert(key);
        } else if !self.more_flows {
            self.more_flows = !self.flows.contains(&key);
        }
    }
}

/// Adds one at `index`, growing the list to it.
fn count(counts: &mut Vec<u64>, index: usize) {
    if index >= counts.len() {
        counts.resize(index + 1, 0);
    }
    if let Some(count) = counts.get_mut(index) {
        *count += 1;
    }
}

fn lengths(counts: &[u64]) -> Option<Lengths> {
    let packets: u64 = counts.iter().sum();
    let present = || (0u32..).zip(counts).filter(|&(_, &count)| count > 0);
    let (min, max) = (present().next()?.0, present().last()?.0);
    let mut before = 0;
    let mut median = min;
    let mut classes = [0; LENGTH_CLASSES.len() + 1];
    for (len, &count) in present() {
        if before < packets.div_ceil(2) {
            median = len;
        }
        before += count;
        let class = LENGTH_CLASSES.partition_point(|&end| end < len);
        if let Some(total) = classes.get_mut(class) {
            *total += count;
        }
    }
    Some(Lengths {
        min,
        median,
        max,
        classes,
    })
}

#[cfg(test)]
mod tests {
    use super::{Flows, MAX_FLOWS_COUNTED, Protocol, Summary, lengths};
    use crate::generate::{Generator, Mix, Spec};
    use crate::write::PcapWriter;
    use crate::{CaptureReader, LinkType};

    #[test]
    fn the_recorded_capture_is_as_tshark_counts_it() {
        // capinfos, and `tshark -q -z io,phs` with -o ip.defragment:FALSE (and ipv6).
        let file = include_bytes!("../data/recorded.pcap");
        let mut reader = CaptureReader::new(&file[..]).expect("opens");
        let summary = Summary::of(&mut reader).expect("reads");
        assert_eq!((summary.packets, summary.captured_bytes), (145, 70_839));
        assert_eq!(summary.wire_bytes, 70_839);
        let of = |protocol| summary.protocols.get(&protocol).copied().unwrap_or(0);
        assert_eq!(
            (of(Protocol::Ipv4), of(Protocol::Ipv6), of(Protocol::Arp)),
            (77, 66, 2)
        );
        assert_eq!(of(Protocol::Tcp), 51 + 38);
        // io,phs shows 8 and 4 fragments behind the first as `data`; here they are ICMP's too.
        assert_eq!(of(Protocol::Icmp) + of(Protocol::Icmpv6), 13 + 8 + 22 + 4);
        assert_eq!(of(Protocol::Udp), 5 + 2);
        assert_eq!(of(Protocol::Malformed) + of(Protocol::Incomplete), 0);
        let (first, last) = summary.times_ns.expect("packets");
        assert_eq!(last - first, 2_904_039_326);
        assert_eq!(
            summary.links.into_iter().collect::<Vec<_>>(),
            [(LinkType::ETHERNET, 145)]
        );
    }

    #[test]
    fn lengths_are_counted_exactly() {
        let mut counts = vec![0; 2000];
        (counts[64], counts[65], counts[1514], counts[1515]) = (2, 1, 1, 1);
        let lengths = lengths(&counts).expect("packets");
        assert_eq!((lengths.min, lengths.median, lengths.max), (64, 65, 1515));
        assert_eq!(lengths.classes, [0, 3, 0, 0, 0, 1, 1]);
        counts[65] = 0;
        assert_eq!(super::lengths(&counts).expect("packets").median, 64);
        assert_eq!(super::lengths(&[]), None);
    }

    #[test]
    fn mixes_show_their_protocols() {
        for (mix, protocol, least) in [
            (Mix::Vlan, Protocol::Vlan, 300),
            (Mix::Arp, Protocol::Arp, 300),
            (Mix::Ipip, Protocol::IpInIp, 300),
            (Mix::Fragments, Protocol::Fragment, 300),
            (Mix::Truncated, Protocol::Incomplete, 150),
            (Mix::Malformed, Protocol::Malformed, 30),
            (Mix::Imix, Protocol::Udp, 300),
        ] {
            let mut file = Vec::new();
            let generator = Generator::new(Spec::new(mix, 300)).expect("valid");
            generator.write_pcap(&mut file).expect("writes");
            let mut reader = CaptureReader::new(&file[..]).expect("opens");
            let summary = Summary::of(&mut reader).expect("reads");
            let count = summary.protocols.get(&protocol).copied().unwrap_or(0);
            assert!(count >= least, "{mix}: {:?}", summary.protocols);
        }
    }

    #[test]
    fn flows_are_counted_up_to_the_limit() {
        let count = |flows: u32| {
            let mut file = PcapWriter::new(Vec::new(), LinkType::RAW, 64).expect("begins");
            for flow in 0..flows {
                let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1];
                packet.extend(flow.to_be_bytes());
                // Twice each: a flow that is known is not one more.
                file.write(1, 20, &packet).expect("writes");
                file.write(1, 20, &packet).expect("writes");
            }
            let file = file.finish().expect("finishes");
            let mut reader = CaptureReader::new(&file[..]).expect("opens");
            Summary::of(&mut reader).expect("reads").flows
        };
        let limit = MAX_FLOWS_COUNTED as u32;
        assert_eq!(count(5), Flows::Exactly(5));
        assert_eq!(count(limit), Flows::Exactly(u64::from(limit)));
        assert_eq!(count(limit + 1), Flows::MoreThan(u64::from(limit)));
        assert_eq!(count(limit + 1).to_string(), "more than 262144");
    }
}
