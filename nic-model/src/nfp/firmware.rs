//! The firmware's routines that programs call as helpers. They work on the card's own memory and
//! registers ([`isa::nfp::abi::call`]), so they are not those that the other engines share.

use bpf::map::{Errno, Map, MapId, MapType, to_r0};
use bpf::run::{Event, EventKind, TrapCause};
use isa::nfp::abi::{self, call};

use super::load::map_of_device;
use super::machine::Run;
use super::memory::{At, place, value_address};
use super::step;

/// A routine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Helper {
    Lookup,
    Update,
    Delete,
    Event,
}

/// Most bytes that an event carries beside the packet's: a stack.
const MOST_EVENT_BYTES: u32 = 0x4000;

impl Helper {
    pub(super) const ALL: [Helper; 4] = [
        Helper::Lookup,
        Helper::Update,
        Helper::Delete,
        Helper::Event,
    ];

    /// The eBPF number.
    pub(super) const fn id(self) -> u32 {
        match self {
            Helper::Lookup => 1,
            Helper::Update => 2,
            Helper::Delete => 3,
            Helper::Event => 25,
        }
    }
}

impl Run<'_, '_> {
    /// Runs a routine; gives the code-store address that it jumps back to.
    pub(super) fn call(&mut self, helper: Helper) -> Result<u32, TrapCause> {
        let back = self.core.get(step::B + u16::from(call::RETURN));
        // So much time passes in the firmware that every register is settled.
        self.core.local.settle();
        let r0 = match helper {
            Helper::Lookup => self.lookup()?,
            Helper::Update => self.update()?,
            Helper::Delete => self.delete()?,
            Helper::Event => self.event()?,
        };
        self.core.set_both(abi::gpr(0), r0 as u32);
        self.core.set_both(abi::gpr(0) + 1, (r0 >> 32) as u32);
        Ok(back)
    }

    /// The map of a map helper.
    fn map(&self) -> Result<(MapId, &Map), TrapCause> {
        let id = self.core.get(step::A + u16::from(call::MAP));
        self.map_of(id)
    }

    fn map_of(&self, device_id: u32) -> Result<(MapId, &Map), TrapCause> {
        let value = u64::from(device_id);
        let id = map_of_device(device_id).ok_or(TrapCause::BadMap { value })?;
        let map = self.program.maps.get(id);
        let map = map.ok_or(TrapCause::BadMap { value })?;
        Ok((id, map))
    }

    /// An argument in local memory, at the address in an LM index register.
    fn local(&self, index: u8, size: u32) -> Result<Vec<u8>, TrapCause> {
        let mut bytes = vec![0; size as usize];
        let address = self.core.local.pointer(index, u64::MAX);
        self.core.local.read(address, &mut bytes)?;
        Ok(bytes)
    }

    fn lookup(&mut self) -> Result<u64, TrapCause> {
        self.cost.map_accesses += 1;
        let (id, map) = self.map()?;
        let mut few = [0; 64];
        let size = map.def().key_size as usize;
        let many;
        let key = if let Some(key) = few.get_mut(..size) {
            let address = self.core.local.pointer(abi::LM_STACK, u64::MAX);
            self.core.local.read(address, key)?;
            &*key
        } else {
            many = self.local(abi::LM_STACK, size as u32)?;
            &many
        };
        match map.lookup(key, self.frame.queue) {
            None => Ok(0),
            Some(at) => value_address(id, at).ok_or(TrapCause::BadMap { value: id as u64 }),
        }
    }

    fn update(&mut self) -> Result<u64, TrapCause> {
        self.cost.map_accesses += 1;
        let (_, map) = self.map()?;
        let key = self.local(abi::LM_STACK, map.def().key_size)?;
        let value = self.local(abi::LM_VALUE, map.def().value_size)?;
        let flags = self.core.ebpf_register(4);
        Ok(to_r0(map.update(&key, &value, flags, self.frame.queue)))
    }

    fn delete(&mut self) -> Result<u64, TrapCause> {
        self.cost.map_accesses += 1;
        let (_, map) = self.map()?;
        let key = self.local(abi::LM_STACK, map.def().key_size)?;
        Ok(to_r0(map.delete(&key, self.frame.queue)))
    }

    /// Sends bytes to the host: those that r4 points to, then as many of the packet's as the upper
    /// half of r3 says.
    fn event(&mut self) -> Result<u64, TrapCause> {
        let (id, map) = self.map_of(self.core.ebpf_register(2) as u32)?;
        if map.kind() != MapType::PerfEventArray {
            let value = self.core.ebpf_register(2);
            return Err(TrapCause::BadMap { value });
        }
        let flags = self.core.ebpf_register(3);
        let size = self.core.ebpf_register(5) as u32;
        let (start, length) = self.packet();
        let packet_bytes = flags >> 32;
        if packet_bytes > u64::from(length) {
            return Ok(Errno::Efault.to_r0());
        }
        if self.frame.queue >= map.def().max_entries {
            return Ok(Errno::E2big.to_r0());
        }
        if size > MOST_EVENT_BYTES {
            return Ok(Errno::E2big.to_r0());
        }
        let kind = self.core.get(step::A + u16::from(call::POINTER_TYPE));
        let mut bytes = self.pointed(kind as u8, size)?;
        if let Some(at) = self.in_area(start) {
            let at = at as usize;
            let packet = self.area.get(at..at + packet_bytes as usize);
            bytes.extend_from_slice(packet.unwrap_or_default());
        }
        self.events.push(Event {
            packet: self.frame.number,
            kind: EventKind::Perf { map: id },
            bytes,
        });
        Ok(0)
    }

    /// The bytes that r4 points to, as memory of this kind.
    fn pointed(&self, kind: u8, size: u32) -> Result<Vec<u8>, TrapCause> {
        let address = self.core.ebpf_register(4);
        let mut bytes = vec![0; size as usize];
        if self.read_as(kind, address, &mut bytes) {
            Ok(bytes)
        } else {
            Err(TrapCause::OutOfBounds {
                address,
                size,
                write: false,
            })
        }
    }

    /// Copies what an eBPF pointer of this kind leads to; false if not all of it is there.
    pub(super) fn read_as(&self, kind: u8, address: u64, into: &mut [u8]) -> bool {
        let read = match kind {
            call::SCALAR => into.is_empty().then_some(()),
            call::STACK => u32::try_from(address)
                .ok()
                .and_then(|at| self.core.local.read(at, into).ok()),
            call::PACKET => u32::try_from(address)
                .ok()
                .and_then(|at| usize::try_from(self.in_area(at)?).ok())
                .and_then(|at| self.area.get(at..at.checked_add(into.len())?))
                .map(|from| into.copy_from_slice(from)),
            call::MAP_VALUE => match place(address) {
                Some(At::Map(id, at)) => self
                    .program
                    .maps
                    .get(id)
                    .filter(|map| map.holds(at, into.len()))
                    .and_then(|map| map.memory().read(at, into)),
                _ => None,
            },
            _ => None,
        };
        read.is_some()
    }
}
