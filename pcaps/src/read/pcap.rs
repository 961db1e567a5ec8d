//! Classic pcap: a 24-byte file header, then records of a 16-byte header and the data
//! (draft-ietf-opsawg-pcap).

use super::step::{Packet, Step};
use super::{Format, Interface, ReadError};
use crate::LinkType;

/// Length of the file header in bytes.
pub(super) const FILE_HEADER: usize = 24;
/// Length of a record's header in bytes.
pub(super) const RECORD_HEADER: usize = 16;

/// Timestamps in microseconds.
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
/// Timestamps in nanoseconds.
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// Relatives with longer record headers: Kuznetsov's patched libpcap, and Navtel's.
const MAGIC_VARIANTS: [u32; 2] = [0xa1b2_cd34, 0xa12b_3c4d];

/// What the magic says: byte order and resolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    big_endian: bool,
    nanos_per_tick: u32,
}

impl Shape {
    /// `Ok(None)` if these are not the first bytes of a classic pcap.
    pub(super) fn of(magic: [u8; 4]) -> Result<Option<Self>, ReadError> {
        for (value, big_endian) in [
            (u32::from_le_bytes(magic), false),
            (u32::from_be_bytes(magic), true),
        ] {
            match value {
                MAGIC_MICROS => {
                    return Ok(Some(Self {
                        big_endian,
                        nanos_per_tick: 1000,
                    }));
                }
                MAGIC_NANOS => {
                    return Ok(Some(Self {
                        big_endian,
                        nanos_per_tick: 1,
                    }));
                }
                _ if MAGIC_VARIANTS.contains(&value) => {
                    return Err(ReadError::Variant { magic: value });
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The parser of a classic pcap, behind its file header.
#[derive(Debug)]
pub(super) struct Pcap {
    shape: Shape,
    max_packet: u32,
    link: LinkType,
    interface: [Interface; 1],
}

impl Pcap {
    /// Reads the file header.
    ///
    /// # Errors
    ///
    /// [`ReadError::Version`] for anything but major version 2 with a minor of 3 or more: before
    /// 2.3 the two lengths of a record stood in the other order.
    pub(super) fn new(
        shape: Shape,
        header: &[u8; FILE_HEADER],
        max_packet: u32,
    ) -> Result<Self, ReadError> {
        let [
            _,
            _,
            _,
            _,
            a,
            b,
            c,
            d,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            l0,
            l1,
            l2,
            l3,
        ] = *header;
        let u16_of = |bytes| {
            if shape.big_endian {
                u16::from_be_bytes(bytes)
            } else {
                u16::from_le_bytes(bytes)
            }
        };
        let (major, minor) = (u16_of([a, b]), u16_of([c, d]));
        if major != 2 || minor < 3 {
            return Err(ReadError::Version {
                offset: 4,
                format: Format::Pcap,
                major,
                minor,
            });
        }
        let snaplen = word([s0, s1, s2, s3], shape.big_endian);
        // The upper half says whether packets end with a frame check sequence, and how long.
        let link = LinkType(word([l0, l1, l2, l3], shape.big_endian) as u16);
        let interface = Interface {
            link,
            snaplen,
            name: None,
            description: None,
            tsresol: if shape.nanos_per_tick == 1 { 9 } else { 6 },
            section: 0,
        };
        Ok(Self {
            shape,
            max_packet,
            link,
            interface: [interface],
        })
    }

    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interface
    }

    #[inline]
    pub(super) fn step(&self, bytes: &[u8], offset: u64) -> Step {
        let Some((header, rest)) = bytes.split_first_chunk::<RECORD_HEADER>() else {
            return Step::Need(RECORD_HEADER);
        };
        let [
            s0,
            s1,
            s2,
            s3,
            f0,
            f1,
            f2,
            f3,
            c0,
            c1,
            c2,
            c3,
            o0,
            o1,
            o2,
            o3,
        ] = *header;
        let big = self.shape.big_endian;
        let captured = word([c0, c1, c2, c3], big);
        // Not compared with the header's snaplen: real captures exceed it.
        if captured > self.max_packet {
            return Step::bad(ReadError::PacketLength {
                offset,
                found: captured,
                limit: self.max_packet,
            });
        }
        let len = captured as usize;
        if rest.len() < len {
            return Step::Need(RECORD_HEADER + len);
        }
        // At most 2^32 · 10^9 + 2^32 · 1000: far below 2^64.
        let time_ns = u64::from(word([s0, s1, s2, s3], big)) * 1_000_000_000
            + u64::from(word([f0, f1, f2, f3], big)) * u64::from(self.shape.nanos_per_tick);
        Step::Packet(Packet {
            time_ns,
            original_len: word([o0, o1, o2, o3], big),
            interface: 0,
            link: self.link,
            start: RECORD_HEADER,
            len,
            total: RECORD_HEADER + len,
        })
    }
}

#[inline]
fn word(bytes: [u8; 4], big_endian: bool) -> u32 {
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}
