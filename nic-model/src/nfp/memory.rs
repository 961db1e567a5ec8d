//! Memory commands: packet memory by 32-bit addresses, map memory by 40-bit ones.
//!
//! A map's memory holds each value as the host sees it through the driver. The card keeps words
//! that programs add to big-endian, and the driver swaps them for the host; so it is here that
//! they are swapped, where the card looks at them.

use bpf::map::{Map, MapId, ValueAt};
use bpf::run::TrapCause;
use isa::nfp::abi::previous_alu;
use isa::nfp::{AddressMode, Command};

use super::machine::{Run, in_buffer};
use super::step::{Access, Step, XFER_IN, XFER_OUT};

/// Most maps that addresses can tell apart: their number is in the upper 8 bits, less one.
pub(super) const MOST_MAPS: usize = 254;
/// What the lower 32 bits of an address hold for byte 0 of a map's memory: never 0, since a
/// compiler may compare them alone with null.
const MAP_BASE: u32 = 0x1000;
/// Transfer registers of a thread, each way.
const TRANSFERS: u32 = 32;
/// Bytes by which a read may run past a value: it reads words.
const OVERRUN: usize = 3;
/// Bit of an addition's length: 64 bits wide.
const WIDE: u32 = 4;

/// Which words of a map's values programs add to.
#[derive(Clone, Debug, Default)]
pub(super) struct WordUse {
    groups: Vec<u32>,
}

impl WordUse {
    /// Marks words of a group of 32.
    pub(super) fn mark(&mut self, group: u8, words: u32) {
        let group = usize::from(group);
        if self.groups.len() <= group {
            self.groups.resize(group + 1, 0);
        }
        self.groups[group] |= words;
    }

    fn is_known(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Whether the card keeps the word with this byte of a value big-endian.
    fn is_big_endian(&self, byte: usize) -> bool {
        let group = self.groups.get(byte / 128).copied().unwrap_or(0);
        group >> (byte / 4 % 32) & 1 == 1
    }
}

/// Where an address leads.
#[derive(Clone, Copy)]
pub(super) enum At {
    Packet(u32),
    Map(MapId, usize),
}

/// The address of a place in a map's memory; `None` if 40 bits cannot tell it.
pub(super) fn value_address(map: MapId, at: ValueAt) -> Option<u64> {
    let low = u32::try_from(at.0).ok()?.checked_add(MAP_BASE)?;
    (map < MOST_MAPS).then(|| (map as u64 + 1) << 32 | u64::from(low))
}

/// Where a 64-bit eBPF pointer leads.
pub(super) fn place(address: u64) -> Option<At> {
    let (high, low) = ((address >> 32) as u32, address as u32);
    if high == 0 {
        return Some(At::Packet(low));
    }
    if high as usize > MOST_MAPS {
        return None;
    }
    let offset = low.checked_sub(MAP_BASE)?;
    Some(At::Map(high as usize - 1, offset as usize))
}

impl Run<'_, '_> {
    /// Executes a memory command, and the instructions that are deferred with it.
    pub(super) fn command(&mut self, step: &Step, at: usize) -> Result<(), (usize, TrapCause)> {
        let access = self.program.accesses[step.value as usize];
        let (a, b) = (self.core.get(step.left), self.core.get(step.right));
        let previous = self.core.previous;
        if step.defer != 0 {
            self.deferred(at, step.defer)?;
        }
        let address = match access.mode {
            AddressMode::Bits32 => u64::from(a.wrapping_add(b)),
            AddressMode::Bits40AB => u64::from(a) << 32 | u64::from(b),
            AddressMode::Bits40BA => u64::from(b) << 32 | u64::from(a),
        };
        self.access(access, address, previous)
            .map_err(|cause| (at, cause))?;
        if access.sleeps {
            self.core.local.settle();
        }
        Ok(())
    }

    fn access(&mut self, access: Access, address: u64, previous: u32) -> Result<(), TrapCause> {
        let overridden = |bits| access.indirect && previous & bits != 0;
        let count = if overridden(previous_alu::LENGTH) {
            previous >> previous_alu::LENGTH_SHIFT & 0x1f
        } else {
            access.count
        };
        let length = count + 1;
        match access.command {
            Command::Read8 => self.read(access.xfer, address, length, u32::from_be_bytes),
            Command::Write8Swap => self.write(access.xfer, address, length),
            Command::Write32Swap => self.write(access.xfer, address, length * 4),
            Command::Add | Command::AddImm => {
                let wide = count & WIDE != 0;
                let amount = if access.command == Command::Add {
                    let low = u64::from(self.core.get(XFER_OUT + access.xfer));
                    let high = u64::from(self.core.get(XFER_OUT + (access.xfer + 1) % 32));
                    low | if wide { high << 32 } else { 0 }
                } else if overridden(previous_alu::DATA) {
                    u64::from(previous >> previous_alu::DATA_SHIFT)
                } else {
                    return Err(TrapCause::BadInstruction);
                };
                self.add(address, wide, amount)
            }
            // Loading has refused the other reads.
            _ => self.read(access.xfer, address, length * 4, u32::from_le_bytes),
        }
    }

    /// Reads bytes into transfer registers, of which an incomplete one gets zeros.
    fn read(
        &mut self,
        xfer: u16,
        address: u64,
        bytes: u32,
        word: fn([u8; 4]) -> u32,
    ) -> Result<(), TrapCause> {
        let outside = TrapCause::OutOfBounds {
            address,
            size: bytes,
            write: false,
        };
        let words = bytes.div_ceil(4);
        if u32::from(xfer) + words > TRANSFERS {
            return Err(TrapCause::BadInstruction);
        }
        let mut buffer = [0; 4 * TRANSFERS as usize];
        let into = &mut buffer[..bytes as usize];
        match place(address).ok_or(outside)? {
            At::Packet(at) => self.read_packet(at, into),
            At::Map(map, at) => self.read_map(map, at, into),
        }
        .ok_or(outside)?;
        for (chunk, register) in buffer.chunks_exact(4).zip(xfer..).take(words as usize) {
            let mut four = [0; 4];
            four.copy_from_slice(chunk);
            self.core.set(XFER_IN + register, word(four));
        }
        Ok(())
    }

    /// Reads from the packet's buffer, of which what the frame does not fill reads as zero.
    fn read_packet(&mut self, address: u32, into: &mut [u8]) -> Option<()> {
        self.cost.packet_accesses += 1;
        let end = in_buffer(address)? as usize + into.len();
        if end > self.program.card.buffer_bytes as usize {
            return None;
        }
        match self.in_area(address).map(|at| at as usize) {
            Some(at) if at <= self.area.len() => {
                let there = self.area.len().min(at + into.len()) - at;
                into[..there].copy_from_slice(&self.area[at..at + there]);
            }
            // Before the area, which begins no earlier than programs can move the frame to, or
            // behind it.
            _ => {}
        }
        Some(())
    }

    fn read_map(&mut self, id: MapId, at: usize, into: &mut [u8]) -> Option<()> {
        self.cost.map_accesses += 1;
        let map = self.program.maps.get(id)?;
        let there = (0..=OVERRUN)
            .filter_map(|less| into.len().checked_sub(less))
            .find(|len| *len > 0 && map.holds(at, *len))?;
        let words = self.program.words.get(id)?;
        map.memory().read(at, &mut into[..there])?;
        if words.is_known() {
            let first = map.offset_in_value(at)?;
            for (byte, within) in into[..there].iter_mut().zip(first..) {
                if words.is_big_endian(within) {
                    *byte = map.memory().load(at - first + mirrored(within), 1)? as u8;
                }
            }
        }
        Some(())
    }

    fn write(&mut self, xfer: u16, address: u64, bytes: u32) -> Result<(), TrapCause> {
        let outside = TrapCause::OutOfBounds {
            address,
            size: bytes,
            write: true,
        };
        if u32::from(xfer) + bytes.div_ceil(4) > TRANSFERS {
            return Err(TrapCause::BadInstruction);
        }
        let mut buffer = [0; 4 * TRANSFERS as usize];
        for (chunk, register) in buffer.chunks_exact_mut(4).zip(xfer..xfer + 32) {
            chunk.copy_from_slice(&self.core.get(XFER_OUT + register % 32).to_le_bytes());
        }
        let from = &buffer[..bytes as usize];
        match place(address).ok_or(outside)? {
            At::Packet(at) => self.write_packet(at, from).ok_or(outside),
            At::Map(id, at) => {
                self.cost.map_accesses += 1;
                let map = self.writable(id, address, at, from.len(), bytes)?;
                map.memory().write(at, from).ok_or(outside)
            }
        }
    }

    /// Writes to the packet, between its ends.
    fn write_packet(&mut self, address: u32, from: &[u8]) -> Option<()> {
        self.cost.packet_accesses += 1;
        let (start, length) = self.packet();
        let offset = address.checked_sub(start)?;
        if u64::from(offset) + from.len() as u64 > u64::from(length) {
            return None;
        }
        let at = usize::try_from(self.in_area(address)?).ok()?;
        self.area
            .get_mut(at..at.checked_add(from.len())?)?
            .copy_from_slice(from);
        Some(())
    }

    /// The map, if so many bytes of a value may be written.
    fn writable(
        &self,
        id: MapId,
        address: u64,
        at: usize,
        len: usize,
        size: u32,
    ) -> Result<&Map, TrapCause> {
        let map = self.program.maps.get(id).filter(|map| map.holds(at, len));
        match map {
            None => Err(TrapCause::OutOfBounds {
                address,
                size,
                write: true,
            }),
            Some(map) if map.is_read_only() => Err(TrapCause::ReadOnly { address, size }),
            Some(map) => Ok(map),
        }
    }

    /// Adds to a word or two, atomically.
    fn add(&mut self, address: u64, wide: bool, amount: u64) -> Result<(), TrapCause> {
        self.cost.map_accesses += 1;
        let size = if wide { 8 } else { 4 };
        let outside = TrapCause::OutOfBounds {
            address,
            size,
            write: true,
        };
        let Some(At::Map(id, at)) = place(address) else {
            return Err(outside);
        };
        let map = self.writable(id, address, at, size as usize, size)?;
        // A word that is not marked as big-endian is to the engine what it is to the host with its
        // bytes swapped.
        let words = self.program.words.get(id).filter(|words| words.is_known());
        let swaps = match (words, map.offset_in_value(at)) {
            (Some(words), Some(byte)) => !words.is_big_endian(byte),
            _ => false,
        };
        let swapped = |value: u64| {
            let half = |half: u64| u64::from((half as u32).swap_bytes());
            half(value) | if wide { half(value >> 32) << 32 } else { 0 }
        };
        map.memory()
            .fetch_update(at, size as usize, |old| {
                if swaps {
                    swapped(swapped(old).wrapping_add(amount))
                } else {
                    old.wrapping_add(amount)
                }
            })
            .map(|_| ())
            .ok_or(outside)
    }
}

/// The byte that swapping a word's bytes puts in this one's place.
const fn mirrored(byte: usize) -> usize {
    byte ^ 3
}
