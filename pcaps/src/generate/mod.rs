//! Generating: [`Spec`] says what traffic, [`Generator`] gives its frames one by one, the same
//! bytes for the same `Spec` on every machine.
//!
//! Frames are Ethernet without check sequence. Lengths and checksums are right except where a
//! mix is about wrong ones ([`Mix::Truncated`], [`Mix::Malformed`]). Start with [`Mix`] for what
//! there is; each mix is one function in `mixes`, `tcp`, `ipv6` or `malformed`.

mod flow;
mod fragments;
mod icmp;
mod ipv6;
mod layers;
mod malformed;
mod mixes;
mod rng;
mod tcp;

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use crate::LinkType;
use crate::write::{PcapWriter, WriteError};

use flow::{Flow, Picker};
use rng::Rng;

/// The greatest number of flows: one Zipf table entry and one TCP state each.
pub const MAX_FLOWS: u32 = 1 << 20;
/// The least [`Spec::frame_len`], in bytes: an Ethernet frame without its check sequence.
pub const MIN_FRAME_LEN: u16 = 60;
/// The greatest [`Spec::frame_len`], in bytes: a jumbo frame with two VLAN tags.
pub const MAX_FRAME_LEN: u16 = 9022;

/// What kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mix {
    /// UDP over IPv4, all frames of one length, 64 bytes unless [`Spec::frame_len`] says other.
    Udp,
    /// UDP over IPv4 in the "simple IMIX": of 12 frames 7 of 60, 4 of 590 and 1 of 1514 bytes
    /// (64, 594 and 1518 on the wire).
    Imix,
    /// TCP connections over IPv4 and (one flow in four) IPv6: handshake, data and
    /// acknowledgements both ways, FIN from both sides or now and then RST, then the next.
    Tcp,
    /// IPv6 with extension headers (hop-by-hop, destination options, routing, fragment,
    /// authentication) in RFC 8200's order, and UDP, TCP or `ICMPv6` behind.
    Ipv6,
    /// One or two VLAN tags (802.1Q, 802.1ad, priority tags) before IPv4, IPv6 or ARP.
    Vlan,
    /// ARP requests, replies and announcements.
    Arp,
    /// ICMP of both versions: echo, errors that quote a packet, neighbour discovery.
    Icmp,
    /// IP in IP: each version in each.
    Ipip,
    /// UDP datagrams in fragments, of both IP versions; only the first has ports.
    Fragments,
    /// Valid frames cut short, on the wire or only in the capture, down to nothing.
    Truncated,
    /// Frames with a lie in one field, or none that makes sense at all.
    Malformed,
    /// All of the above: of 32 frames 8 UDP, 6 IMIX, 8 TCP, 2 IPv6, 2 VLAN and 1 each of the rest.
    All,
}

impl Mix {
    /// Every mix, in the order of their declaration.
    pub const EVERY: [Self; 12] = [
        Self::Udp,
        Self::Imix,
        Self::Tcp,
        Self::Ipv6,
        Self::Vlan,
        Self::Arp,
        Self::Icmp,
        Self::Ipip,
        Self::Fragments,
        Self::Truncated,
        Self::Malformed,
        Self::All,
    ];

    /// The name that the command line and files know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Imix => "imix",
            Self::Tcp => "tcp",
            Self::Ipv6 => "ipv6",
            Self::Vlan => "vlan",
            Self::Arp => "arp",
            Self::Icmp => "icmp",
            Self::Ipip => "ipip",
            Self::Fragments => "fragments",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::All => "all",
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no [`Mix`] or [`Distribution`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown name, expected one of: {}", expected.join(", "))]
pub struct UnknownName {
    /// The names there are.
    pub expected: Vec<&'static str>,
}

impl FromStr for Mix {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::EVERY.into_iter().find(|mix| mix.name() == name);
        found.ok_or_else(|| UnknownName {
            expected: Self::EVERY.map(Self::name).to_vec(),
        })
    }
}

/// How often each flow occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// All flows alike.
    Uniform,
    /// The n-th flow 1/n times as often as the first (Zipf's law with exponent 1).
    Zipf,
}

impl Distribution {
    /// The name that the command line knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }
}

impl FromStr for Distribution {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "uniform" => Ok(Self::Uniform),
            "zipf" => Ok(Self::Zipf),
            _ => Err(UnknownName {
                expected: vec!["uniform", "zipf"],
            }),
        }
    }
}

/// What traffic to generate. Begin with [`Spec::new`] and change what should differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What kind.
    pub mix: Mix,
    /// How many frames.
    pub packets: u64,
    /// How many flows, from 1 to [`MAX_FLOWS`].
    pub flows: u32,
    /// How often each flow occurs.
    pub distribution: Distribution,
    /// Length of a frame in bytes without check sequence, from [`MIN_FRAME_LEN`] to
    /// [`MAX_FRAME_LEN`], where a mix has frames of arbitrary length; frames that need more for
    /// their headers take it. `None` leaves it to the mix. IMIX, ARP, and what is no data in
    /// TCP and ICMP have lengths of their own.
    pub frame_len: Option<u16>,
    /// Two specs that differ here differ in ports, payloads and order.
    pub seed: u64,
    /// When the first frame arrives, in nanoseconds since 1970.
    pub start_ns: u64,
    /// Time between two frames in nanoseconds.
    pub gap_ns: u64,
}

impl Spec {
    /// 1,000 uniform flows, seed 1, one frame a microsecond from 14 November 2023 on.
    pub fn new(mix: Mix, packets: u64) -> Self {
        Self {
            mix,
            packets,
            flows: 1000,
            distribution: Distribution::Uniform,
            frame_len: None,
            seed: 1,
            start_ns: 1_700_000_000_000_000_000,
            gap_ns: 1000,
        }
    }
}

/// A [`Spec`] that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// No flow, or too many.
    #[error("{found} flows, expected 1 to {MAX_FLOWS}")]
    Flows {
        /// The number asked for.
        found: u32,
    },
    /// A frame length outside its range.
    #[error("a frame length of {found} bytes, expected {MIN_FRAME_LEN} to {MAX_FRAME_LEN}")]
    FrameLen {
        /// The length asked for.
        found: u16,
    },
}

/// What a generated frame has beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it arrives, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Its length on the wire in bytes; more than it has in captures that were cut.
    pub original_len: u32,
}

/// Gives the frames of a [`Spec`], into a buffer that is used again for each.
///
/// # Examples
///
/// ```
/// use pcaps::generate::{Generator, Mix, Spec};
///
/// let mut generator = Generator::new(Spec::new(Mix::Udp, 3))?;
/// let mut frame = Vec::new();
/// let mut lengths = Vec::new();
/// while generator.next_into(&mut frame).is_some() {
///     lengths.push(frame.len());
/// }
/// assert_eq!(lengths, [64, 64, 64]);
/// # Ok::<(), pcaps::generate::SpecError>(())
/// ```
#[derive(Debug)]
pub struct Generator {
    spec: Spec,
    given: u64,
    draw: Draw,
    /// Per flow; empty until a TCP frame is asked for.
    connections: Vec<tcp::Connection>,
    datagram: fragments::Datagram,
    /// Transport header and payload, put together before the headers that count it.
    segment: Vec<u8>,
}

/// What mixes draw from.
#[derive(Debug)]
struct Draw {
    rng: Rng,
    seed: u64,
    picker: Picker,
    /// Random bytes that payloads are cut from.
    pool: Vec<u8>,
}

impl Draw {
    fn flow(&mut self) -> (u32, Flow) {
        let index = self.picker.pick(&mut self.rng);
        (index, Flow::new(self.seed, index))
    }

    /// `len` random bytes; `len` stays below [`MAX_FRAME_LEN`], half of the pool.
    fn payload(&mut self, len: usize) -> &[u8] {
        let places = self.pool.len().saturating_sub(len) as u64;
        let start = self.rng.below(places) as usize;
        self.pool.get(start..start + len).unwrap_or_default()
    }

    /// A 16-bit number, for identification fields.
    fn id(&mut self) -> u16 {
        self.rng.next() as u16
    }
}

impl Generator {
    /// Prepares a spec: tables for its flows, and a pool of payload bytes.
    ///
    /// # Errors
    ///
    /// [`SpecError`] if a value is outside its range.
    pub fn new(spec: Spec) -> Result<Self, SpecError> {
        if spec.flows == 0 || spec.flows > MAX_FLOWS {
            return Err(SpecError::Flows { found: spec.flows });
        }
        if let Some(found) = spec.frame_len
            && !(MIN_FRAME_LEN..=MAX_FRAME_LEN).contains(&found)
        {
            return Err(SpecError::FrameLen { found });
        }
        let mut rng = Rng::new(spec.seed);
        let mut pool = vec![0; 2 * usize::from(MAX_FRAME_LEN)];
        rng.fill(&mut pool);
        let picker = Picker::new(spec.flows, spec.distribution);
        Ok(Self {
            spec,
            given: 0,
            draw: Draw {
                rng,
                seed: spec.seed,
                picker,
                pool,
            },
            connections: Vec::new(),
            datagram: fragments::Datagram::default(),
            segment: Vec::new(),
        })
    }

    /// Replaces what is in `frame` by the next frame, or gives `None` after the last.
    pub fn next_into(&mut self, frame: &mut Vec<u8>) -> Option<Stamp> {
        if self.given >= self.spec.packets {
            return None;
        }
        frame.clear();
        let on_wire = self.build(self.spec.mix, frame);
        let time_ns = self
            .spec
            .start_ns
            .saturating_add(self.given.saturating_mul(self.spec.gap_ns));
        self.given += 1;
        let original_len = on_wire.unwrap_or(frame.len()) as u32;
        Some(Stamp {
            time_ns,
            original_len,
        })
    }

    /// Writes all frames that are left as a classic pcap, and gives their number.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn write_pcap(mut self, to: impl Write) -> Result<u64, WriteError> {
        let mut writer = PcapWriter::new(to, LinkType::ETHERNET, 262_144)?;
        let mut frame = Vec::new();
        let mut written = 0;
        while let Some(stamp) = self.next_into(&mut frame) {
            writer.write(stamp.time_ns, stamp.original_len, &frame)?;
            written += 1;
        }
        writer.finish()?;
        Ok(written)
    }

    /// Appends one frame of `mix`; gives its length on the wire if the frame is cut.
    fn build(&mut self, mix: Mix, frame: &mut Vec<u8>) -> Option<usize> {
        match mix {
            Mix::Udp => self.udp(frame),
            Mix::Imix => self.imix(frame),
            Mix::Tcp => self.tcp(frame),
            Mix::Ipv6 => self.ipv6(frame),
            Mix::Vlan => self.vlan(frame),
            Mix::Arp => self.arp(frame),
            Mix::Icmp => self.icmp(frame),
            Mix::Ipip => self.ipip(frame),
            Mix::Fragments => self.fragment(frame),
            Mix::Truncated => return self.truncated(frame),
            Mix::Malformed => self.malformed(frame),
            Mix::All => {
                let mix = match self.draw.rng.below(32) {
                    0..8 => Mix::Udp,
                    8..14 => Mix::Imix,
                    14..22 => Mix::Tcp,
                    22..24 => Mix::Ipv6,
                    24..26 => Mix::Vlan,
                    26 => Mix::Arp,
                    27 => Mix::Icmp,
                    28 => Mix::Ipip,
                    29 => Mix::Fragments,
                    30 => Mix::Truncated,
                    _ => Mix::Malformed,
                };
                return self.build(mix, frame);
            }
        }
        None
    }
}
