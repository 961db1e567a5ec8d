//! pcapng: a chain of blocks, each with its type and its length at both ends
//! (draft-ietf-opsawg-pcapng). Sections (their byte order) and interfaces are state; packets
//! come as enhanced, simple or (obsolete) packet blocks; every other block is skipped.

use super::step::{Packet, Step};
use super::time::TimeScale;
use super::{Format, Interface, ReadError};
use crate::LinkType;

/// Section header block: the same in both byte orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Length of a section header without options in bytes.
pub(super) const SECTION_HEADER: usize = 28;
/// Type, length, and the length again.
const FRAME: u32 = 12;
/// What a packet block may hold beside a packet of the greatest length: headers, options.
pub(super) const BESIDE_PACKET: u32 = 128 * 1024;
/// The greatest interface block. Options are 16-bit lengths; real ones stay below 1 KiB.
const MAX_INTERFACE_BLOCK: u32 = 256 * 1024;
/// How many interfaces one file may describe.
const MAX_INTERFACES: u32 = 65_536;

/// What is kept of an interface for the sake of its packets.
#[derive(Clone, Copy, Debug)]
struct Described {
    link: LinkType,
    snaplen: u32,
    scale: TimeScale,
}

/// The parser of a pcapng file.
#[derive(Debug)]
pub(super) struct Pcapng {
    big_endian: bool,
    max_packet: u32,
    sections: u32,
    /// Index of the current section's first interface.
    base: usize,
    described: Vec<Described>,
    interfaces: Vec<Interface>,
}

impl Pcapng {
    pub(super) fn new(max_packet: u32) -> Self {
        Self {
            big_endian: false,
            max_packet,
            sections: 0,
            base: 0,
            described: Vec::new(),
            interfaces: Vec::new(),
        }
    }

    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    #[inline]
    pub(super) fn step(&mut self, bytes: &[u8], offset: u64) -> Step {
        let order = Order {
            big_endian: self.big_endian,
        };
        let Some((front, _)) = bytes.split_first_chunk::<12>() else {
            return Step::Need(12);
        };
        let [t0, t1, t2, t3, l0, l1, l2, l3, m0, m1, m2, m3] = *front;
        let kind = order.u32([t0, t1, t2, t3]);
        let length = [l0, l1, l2, l3];
        let (least, limit) = match kind {
            SECTION => return self.section(bytes, offset, length, [m0, m1, m2, m3]),
            ENHANCED_PACKET | OBSOLETE_PACKET => {
                (32, self.max_packet.saturating_add(BESIDE_PACKET))
            }
            SIMPLE_PACKET => (16, self.max_packet.saturating_add(BESIDE_PACKET)),
            INTERFACE => (20, MAX_INTERFACE_BLOCK),
            // Blocks that hold no packet may be of any length: nothing of them is kept.
            _ => (FRAME, u32::MAX),
        };
        let found = order.u32(length);
        if found < least || found > limit || !found.is_multiple_of(4) {
            return Step::bad(ReadError::BlockLength {
                offset,
                kind,
                found,
                least,
                limit,
            });
        }
        let block = match kind {
            ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET | INTERFACE => {
                let Some(block) = bytes.get(..found as usize) else {
                    return Step::Need(found as usize);
                };
                block
            }
            _ => return Step::Skip(u64::from(found)),
        };
        let Some((body, &trailer)) = block.split_last_chunk::<4>() else {
            return Step::Need(FRAME as usize);
        };
        let trailing = order.u32(trailer);
        if trailing != found {
            return Step::bad(ReadError::BlockTrailer {
                offset,
                kind,
                leading: found,
                trailing,
            });
        }
        let body = Body {
            order,
            bytes: body,
            offset,
            total: block.len(),
        };
        match kind {
            ENHANCED_PACKET => self.enhanced(&body),
            SIMPLE_PACKET => self.simple(&body),
            OBSOLETE_PACKET => self.obsolete(&body),
            _ => match self.describe(&body) {
                Ok(()) => Step::Skip(u64::from(found)),
                Err(error) => Step::bad(error),
            },
        }
    }

    /// A section header: byte order and version. Its options are skipped.
    fn section(&mut self, bytes: &[u8], offset: u64, length: [u8; 4], magic: [u8; 4]) -> Step {
        let big_endian = match u32::from_be_bytes(magic) {
            0x1a2b_3c4d => true,
            0x4d3c_2b1a => false,
            found => {
                return Step::bad(ReadError::ByteOrder {
                    offset: offset + 8,
                    found,
                });
            }
        };
        let order = Order { big_endian };
        let found = order.u32(length);
        if found < 28 || !found.is_multiple_of(4) {
            let (kind, least, limit) = (SECTION, 28, u32::MAX);
            return Step::bad(ReadError::BlockLength {
                offset,
                kind,
                found,
                least,
                limit,
            });
        }
        let Some(&[_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d]) = bytes.first_chunk::<16>()
        else {
            return Step::Need(16);
        };
        let (major, minor) = (order.u16([a, b]), order.u16([c, d]));
        // 1.2 was written by some tools and means the same as 1.0.
        if major != 1 || (minor != 0 && minor != 2) {
            let (offset, format) = (offset + 12, Format::Pcapng);
            return Step::bad(ReadError::Version {
                offset,
                format,
                major,
                minor,
            });
        }
        self.big_endian = big_endian;
        self.sections = self.sections.saturating_add(1);
        self.base = self.described.len();
        Step::Skip(u64::from(found))
    }

    /// An interface description: link type, snapshot length, options.
    fn describe(&mut self, body: &Body<'_>) -> Result<(), ReadError> {
        if self.interfaces.len() >= MAX_INTERFACES as usize {
            return Err(ReadError::TooManyInterfaces {
                offset: body.offset,
                limit: MAX_INTERFACES,
            });
        }
        let mut interface = Interface {
            link: LinkType(body.u16_at(8)),
            snaplen: body.u32_at(12),
            name: None,
            description: None,
            tsresol: 6,
            section: self.sections.saturating_sub(1),
        };
        let mut scale = TimeScale::MICROSECONDS;
        for (code, value) in Options::new(body.order, body.bytes.get(16..).unwrap_or_default()) {
            match (code, value) {
                (2, name) => interface.name = Some(text(name)),
                (3, description) => interface.description = Some(text(description)),
                (9, &[tsresol, ..]) => {
                    interface.tsresol = tsresol;
                    scale.set_resolution(tsresol);
                }
                (14, offset) => {
                    if let Some(&eight) = offset.first_chunk::<8>() {
                        scale.set_offset_seconds(body.order.u64(eight) as i64);
                    }
                }
                _ => {}
            }
        }
        self.described.push(Described {
            link: interface.link,
            snaplen: interface.snaplen,
            scale,
        });
        self.interfaces.push(interface);
        Ok(())
    }

    #[inline]
    fn enhanced(&self, body: &Body<'_>) -> Step {
        self.packet(
            body,
            body.u32_at(8),
            Some((body.u32_at(12), body.u32_at(16))),
            body.u32_at(20),
            body.u32_at(24),
            28,
        )
    }

    fn obsolete(&self, body: &Body<'_>) -> Step {
        self.packet(
            body,
            u32::from(body.u16_at(8)),
            Some((body.u32_at(12), body.u32_at(16))),
            body.u32_at(20),
            body.u32_at(24),
            28,
        )
    }

    /// A simple packet: interface 0, no time, and its captured length follows from the block.
    fn simple(&self, body: &Body<'_>) -> Step {
        let original = body.u32_at(8);
        let room = (body.bytes.len() - 12) as u32;
        let snaplen = match self.described.get(self.base) {
            Some(&Described { snaplen, .. }) if snaplen > 0 => snaplen,
            _ => u32::MAX,
        };
        self.packet(body, 0, None, original.min(snaplen).min(room), original, 12)
    }

    #[inline]
    fn packet(
        &self,
        body: &Body<'_>,
        interface: u32,
        ticks: Option<(u32, u32)>,
        captured: u32,
        original_len: u32,
        start: usize,
    ) -> Step {
        let offset = body.offset;
        let index = self.base + interface as usize;
        let Some(described) = self.described.get(index) else {
            let declared = (self.described.len() - self.base) as u32;
            return Step::bad(ReadError::Interface {
                offset,
                interface,
                declared,
            });
        };
        if captured > self.max_packet {
            let (found, limit) = (captured, self.max_packet);
            return Step::bad(ReadError::PacketLength {
                offset,
                found,
                limit,
            });
        }
        let room = body.bytes.len() - start;
        let len = captured as usize;
        if len > room {
            let (found, room) = (captured, room as u32);
            return Step::bad(ReadError::PacketOverrun {
                offset,
                found,
                room,
            });
        }
        let time_ns = match ticks {
            Some((high, low)) => described
                .scale
                .nanoseconds(u64::from(high) << 32 | u64::from(low)),
            None => 0,
        };
        Step::Packet(Packet {
            time_ns,
            original_len,
            interface: index as u32,
            link: described.link,
            start,
            len,
            total: body.total,
        })
    }
}

/// A block without its trailing length, read in its section's byte order.
struct Body<'a> {
    order: Order,
    /// From the block's type on, so positions are those of the specification's drawings.
    bytes: &'a [u8],
    offset: u64,
    total: usize,
}

impl Body<'_> {
    /// The number at `at`, 0 past the end. Callers ask below the type's least length only.
    #[inline]
    fn u32_at(&self, at: usize) -> u32 {
        match self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(&four) => self.order.u32(four),
            None => 0,
        }
    }

    /// As [`Body::u32_at`].
    fn u16_at(&self, at: usize) -> u16 {
        match self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(&two) => self.order.u16(two),
            None => 0,
        }
    }
}

/// A section's byte order.
#[derive(Clone, Copy, Debug)]
struct Order {
    big_endian: bool,
}

impl Order {
    #[inline]
    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    fn u64(self, bytes: [u8; 8]) -> u64 {
        if self.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        }
    }
}

/// Options: code, length, value padded to 4 bytes; ends at code 0, or where it makes no sense.
struct Options<'a> {
    order: Order,
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    fn new(order: Order, rest: &'a [u8]) -> Self {
        Self { order, rest }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[c0, c1, l0, l1], rest) = self.rest.split_first_chunk()?;
        let (code, len) = (
            self.order.u16([c0, c1]),
            usize::from(self.order.u16([l0, l1])),
        );
        let value = rest.get(..len)?;
        self.rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        (code != 0).then_some((code, value))
    }
}

/// An option's text, cut to 255 bytes, without what is no UTF-8.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..bytes.len().min(255)).unwrap_or_default()).into_owned()
}
