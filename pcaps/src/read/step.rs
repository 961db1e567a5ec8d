//! [`Step`]: what lies at the front of a run of bytes. The two parsers answer it, the reader and
//! its chunks act on it, and so neither parser knows where bytes come from.

use super::{Interface, Meta, ReadError, pcap::Pcap, pcapng::Pcapng};
use crate::LinkType;

/// What lies at the front of the bytes.
#[derive(Debug)]
pub(super) enum Step {
    /// A whole packet.
    Packet(Packet),
    /// Something that is no packet, this many bytes long; it need not be there as a whole.
    Skip(u64),
    /// Too few bytes to tell; at least this many are needed.
    Need(usize),
    /// Reading cannot go on.
    Bad(Box<ReadError>),
}

impl Step {
    /// An error, out of the way of the path that packets take.
    #[cold]
    pub(super) fn bad(error: ReadError) -> Self {
        Self::Bad(Box::new(error))
    }
}

/// A packet as the parsers see it. `start + len <= total <=` the bytes given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) time_ns: u64,
    pub(super) original_len: u32,
    pub(super) interface: u32,
    pub(super) link: LinkType,
    /// Where the data begins, from the front of the record.
    pub(super) start: usize,
    /// How many bytes of data.
    pub(super) len: usize,
    /// The whole record with headers, padding and options.
    pub(super) total: usize,
}

/// The parser of the format found, with the state it keeps between records.
#[derive(Debug)]
pub(super) enum Parser {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

impl Parser {
    /// Looks at the front of `bytes`, which stands at `offset` of the file.
    #[inline]
    pub(super) fn step(&mut self, bytes: &[u8], offset: u64) -> Step {
        match self {
            Self::Pcap(pcap) => pcap.step(bytes, offset),
            Self::Pcapng(pcapng) => pcapng.step(bytes, offset),
        }
    }

    pub(super) fn interfaces(&self) -> &[Interface] {
        match self {
            Self::Pcap(pcap) => pcap.interfaces(),
            Self::Pcapng(pcapng) => pcapng.interfaces(),
        }
    }
}

/// What is counted from packet to packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) next_number: u64,
    pub(super) last_arrival_ns: u64,
}

impl Count {
    /// Numbers a packet that begins at `offset` of the file.
    #[inline]
    pub(super) fn meta(&mut self, packet: &Packet, offset: u64) -> Meta {
        let number = self.next_number;
        self.next_number += 1;
        self.last_arrival_ns = self.last_arrival_ns.max(packet.time_ns);
        Meta {
            number,
            time_ns: packet.time_ns,
            arrival_ns: self.last_arrival_ns,
            offset,
            original_len: packet.original_len,
            interface: packet.interface,
            link: packet.link,
        }
    }
}
