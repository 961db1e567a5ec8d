//! One captured packet: [`Meta`] and the bytes.

use std::ops::Range;

use crate::LinkType;

/// All that a capture says about one packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Counts from [`ReadOptions::first_number`](super::ReadOptions::first_number), normally 0.
    pub number: u64,
    /// The timestamp in the file, in nanoseconds since 1970. 0 where the file has none (a
    /// pcapng simple packet block). Files may go backwards.
    pub time_ns: u64,
    /// The arrival time that replay gives to programs: `time_ns`, but never below the arrival of
    /// the packet before or [`ReadOptions::not_before_ns`](super::ReadOptions::not_before_ns).
    pub arrival_ns: u64,
    /// Where the record (pcap) or block (pcapng) begins, in bytes from the start of the file.
    pub offset: u64,
    /// Length on the wire in bytes, as the file says it: more than the data where the capture
    /// was cut to a snapshot length.
    pub original_len: u32,
    /// Index into [`CaptureReader::interfaces`](super::CaptureReader::interfaces): pcapng
    /// counts per section, this counts over the whole file. 0 for classic pcap.
    pub interface: u32,
    /// The link type of that interface.
    pub link: LinkType,
}

/// One captured packet, borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the capture says about it.
    pub meta: Meta,
    /// The captured bytes, from the link header on.
    pub data: &'a [u8],
}

/// One captured packet that may be changed where it lies in the reader's buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordMut<'a> {
    /// What the capture says about it.
    pub meta: Meta,
    /// The captured bytes, from the link header on. Changes stay in the buffer.
    pub data: &'a mut [u8],
}

/// One captured packet in memory that the caller holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What the capture says about it.
    pub meta: Meta,
    /// Where its captured bytes lie.
    pub range: Range<usize>,
}

/// One interface that a capture describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What its packets begin with.
    pub link: LinkType,
    /// The snapshot length that was asked for when capturing, in bytes, 0 for none. Packets
    /// longer than it occur and are read all the same.
    pub snaplen: u32,
    /// `if_name`, cut to 255 bytes. `None` in classic pcap.
    pub name: Option<String>,
    /// `if_description`, cut to 255 bytes.
    pub description: Option<String>,
    /// The resolution that the file declares, as `if_tsresol` writes it: 6 for microseconds
    /// (the default), 9 for nanoseconds, with the top bit set a power of two.
    pub tsresol: u8,
    /// Which section of the file described it, from 0.
    pub section: u32,
}
