//! Showing a run to an observer, instruction by instruction.

use bpf::helper::Machine;
use bpf::trace::{Moment, Observer, Place, REGISTERS, Region};

use super::address::{self, CTX, PACKET};
use super::machine::Run;

/// Looks at a run, or does not: the loop is compiled for either.
pub(super) trait Watch {
    /// Whether [`Watch::before`] does anything.
    const LOOKS: bool;

    /// Called before the instruction in this slot.
    fn before(&mut self, run: &Run<'_, '_>, pc: usize);
}

/// Does not look.
pub(super) struct Blind;

impl Watch for Blind {
    const LOOKS: bool = false;

    fn before(&mut self, _run: &Run<'_, '_>, _pc: usize) {}
}

/// Shows everything to an observer.
pub(super) struct Looking<'a> {
    pub(super) observer: &'a mut dyn Observer,
}

impl Watch for Looking<'_> {
    const LOOKS: bool = true;

    fn before(&mut self, run: &Run<'_, '_>, pc: usize) {
        self.observer.before(&Now { run, pc });
    }
}

struct Now<'r, 'a, 'p> {
    run: &'r Run<'a, 'p>,
    pc: usize,
}

impl Moment for Now<'_, '_, '_> {
    fn program(&self) -> u32 {
        self.run.program.id.0
    }

    fn pc(&self) -> usize {
        self.pc
    }

    fn code_offset(&self) -> Option<usize> {
        Some(self.pc * 8)
    }

    fn registers(&self) -> [u64; REGISTERS] {
        self.run.registers
    }

    fn resolve(&self, region: Region, address: u64) -> Option<Place> {
        let from = |start: u64| address.wrapping_sub(start) as i64;
        match region {
            Region::Context => Some(Place::Context {
                offset: from(address::at(CTX, address::BASE)),
            }),
            Region::Packet => Some(Place::Packet {
                offset: from(address::at(PACKET, 0)),
            }),
            Region::Value => address::value_map(address).map(|map| Place::Value {
                map,
                at: i64::from(address as u32),
            }),
            Region::Map => address::handle_map(address).map(|map| Place::Map { map }),
            Region::Unknown | Region::Number | Region::Stack => None,
        }
    }

    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        Machine::read(self.run, address, into).is_ok()
    }
}
