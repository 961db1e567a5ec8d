//! Showing a run to an observer, instruction by instruction.

use bpf::helper::Machine;
use bpf::trace::{Moment, Observer, Place, REGISTERS, Region};

use super::machine::Packet;
use super::space::{self, CTX, PACKET};

/// Looks at a run, or does not: the loop is compiled for either.
pub(super) trait Watch {
    /// Whether [`Watch::before`] does anything.
    const LOOKS: bool;

    /// Called before the instruction in this cell.
    fn before(&mut self, packet: &Packet<'_>, registers: &[u64; 16], cell: usize);
}

/// Does not look.
pub(super) struct Blind;

impl Watch for Blind {
    const LOOKS: bool = false;

    fn before(&mut self, _packet: &Packet<'_>, _registers: &[u64; 16], _cell: usize) {}
}

/// Shows everything to an observer.
pub(super) struct Looking<'a> {
    pub(super) observer: &'a mut dyn Observer,
}

impl Watch for Looking<'_> {
    const LOOKS: bool = true;

    fn before(&mut self, packet: &Packet<'_>, registers: &[u64; 16], cell: usize) {
        self.observer.before(&Now {
            packet,
            registers,
            cell,
        });
    }
}

struct Now<'p, 'a> {
    packet: &'p Packet<'a>,
    registers: &'p [u64; 16],
    cell: usize,
}

impl Moment for Now<'_, '_> {
    fn program(&self) -> u32 {
        let entries = &self.packet.shared.code.entries;
        entries.partition_point(|entry| *entry <= self.cell) as u32 - 1
    }

    fn pc(&self) -> usize {
        self.packet.shared.code.slots[self.cell] as usize
    }

    fn code_offset(&self) -> Option<usize> {
        None
    }

    fn registers(&self) -> [u64; REGISTERS] {
        let mut registers = [0; REGISTERS];
        registers.copy_from_slice(&self.registers[..REGISTERS]);
        registers
    }

    fn resolve(&self, region: Region, address: u64) -> Option<Place> {
        let from = |start: u64| address.wrapping_sub(start) as i64;
        let maps = &self.packet.shared.regions;
        match region {
            Region::Context => Some(Place::Context {
                offset: from(space::address(CTX, space::BASE)),
            }),
            Region::Packet => Some(Place::Packet {
                offset: from(space::address(PACKET, 0)),
            }),
            Region::Value => maps.value_at(address).map(|(map, at)| Place::Value {
                map,
                at: at.0 as i64,
            }),
            Region::Map => maps.of_handle(address).map(|map| Place::Map { map }),
            Region::Unknown | Region::Number | Region::Stack => None,
        }
    }

    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        Machine::read(self.packet, address, into).is_ok()
    }
}
