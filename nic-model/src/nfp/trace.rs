//! Showing a run to an observer: before the first step of each eBPF instruction that has code.

use bpf::trace::{Moment, Observer, Place, REGISTERS, Region};
use isa::nfp::abi::{self, call};

use super::load::map_of_device;
use super::machine::{PACKET_MEMORY, Run};
use super::memory::{At, place};
use super::step;

/// Looks at a run, or does not: the loop is compiled for either.
pub(super) trait Watch {
    /// Whether [`Watch::before`] does anything.
    const LOOKS: bool;

    /// Called before each step.
    fn before(&mut self, run: &Run<'_, '_>, step: usize);
}

/// Does not look.
pub(super) struct Blind;

impl Watch for Blind {
    const LOOKS: bool = false;

    fn before(&mut self, _run: &Run<'_, '_>, _step: usize) {}
}

/// Shows everything to an observer.
pub(super) struct Looking<'a> {
    pub(super) observer: &'a mut dyn Observer,
}

impl Watch for Looking<'_> {
    const LOOKS: bool = true;

    fn before(&mut self, run: &Run<'_, '_>, step: usize) {
        let ranges = &run.program.ranges;
        let found = ranges.binary_search_by_key(&step, |(start, _)| *start);
        if let Some(pc) = found.ok().and_then(|index| ranges[index].1) {
            self.observer.before(&Now { run, step, pc });
        }
    }
}

struct Now<'r, 'a, 'p> {
    run: &'r Run<'a, 'p>,
    step: usize,
    pc: usize,
}

impl Now<'_, '_, '_> {
    /// The eBPF frame pointer of the function that runs.
    fn frame_pointer(&self) -> u64 {
        let frames = &self.run.program.frames;
        let after = frames.partition_point(|(start, _)| *start <= self.step);
        let frame = after.checked_sub(1).and_then(|index| frames.get(index));
        let depth = frame.map_or(0, |(_, depth)| *depth);
        let base = step::A + u16::from(abi::FRAME_AND_LENGTH);
        u64::from(self.run.core.get(base).wrapping_add(depth))
    }
}

impl Moment for Now<'_, '_, '_> {
    fn program(&self) -> u32 {
        self.run.program.id.0
    }

    fn pc(&self) -> usize {
        self.pc
    }

    fn code_offset(&self) -> Option<usize> {
        Some(self.step * 8)
    }

    fn registers(&self) -> [u64; REGISTERS] {
        let mut registers = [0; REGISTERS];
        for (value, number) in registers.iter_mut().zip(0..REGISTERS as u8 - 1) {
            *value = self.run.core.ebpf_register(number);
        }
        registers[REGISTERS - 1] = self.frame_pointer();
        registers
    }

    fn resolve(&self, region: Region, address: u64) -> Option<Place> {
        match region {
            // No register holds it: accesses to the context name no address.
            Region::Context => Some(Place::Context { offset: 0 }),
            Region::Packet => {
                let at = self.run.in_area(u32::try_from(address).ok()?)?;
                Some(Place::Packet { offset: at as i64 })
            }
            Region::Value => match place(address)? {
                At::Map(map, at) => Some(Place::Value { map, at: at as i64 }),
                At::Packet(_) => None,
            },
            Region::Map => {
                let map = map_of_device(u32::try_from(address).ok()?)?;
                Some(Place::Map { map })
            }
            Region::Unknown | Region::Number | Region::Stack => None,
        }
    }

    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let kind = match place(address) {
            Some(At::Map(..)) => call::MAP_VALUE,
            Some(At::Packet(at)) if at >= PACKET_MEMORY => call::PACKET,
            _ => call::STACK,
        };
        self.run.read_as(kind, address, into)
    }
}
