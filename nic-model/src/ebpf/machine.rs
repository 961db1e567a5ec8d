//! The state of one run: registers, stack, packet; and what helpers need of it.

use bpf::Hook;
use bpf::area::FrameArea;
use bpf::context::{self, FieldKind};
use bpf::helper::{Machine, Window};
use bpf::map::{MapId, MapSet, ValueAt};
use bpf::run::{
    Batch, Cost, Emitted, Environment, Event, EventKind, Frame, RedirectTarget, Trap, TrapCause,
};
use bpf::skb::{Skb, Stored};

use super::Loaded;
use super::address::{self, CTX, KEYS, PACKET, SOCK, STACK};
use super::execute::Calls;
use super::trace::Watch;
use crate::ProgramTable;

/// Bytes of a function's stack frame.
pub(super) const FRAME_BYTES: usize = 512;

/// One packet's run.
pub(super) struct Run<'a, 'p> {
    pub(super) program: &'p Loaded,
    /// Targets of tail calls, while the NIC lives.
    pub(super) programs: Option<&'p ProgramTable>,
    pub(super) registers: [u64; 11],
    pub(super) calls: &'a mut Calls<'p>,
    pub(super) memory: FrameArea<'a>,
    pub(super) frame: &'a mut Frame,
    /// What a tc packet has beside its bytes.
    pub(super) skb: Option<&'a mut Skb>,
    pub(super) cost: Cost,
    events: &'a mut Vec<Event>,
    emitted: &'a mut Vec<Emitted>,
    randoms: u32,
    redirect: Option<RedirectTarget>,
}

/// Runs the program on one frame of a batch.
pub(super) fn run_frame<'p, W: Watch>(
    program: &'p Loaded,
    programs: Option<&'p ProgramTable>,
    calls: &mut Calls<'p>,
    batch: &mut Batch,
    index: usize,
    watch: &mut W,
) {
    let frame = &mut batch.frames[index];
    let memory = &mut batch.memory[frame.area.clone()];
    let mut run = Run {
        program,
        programs,
        registers: [0; 11],
        calls,
        memory: FrameArea::Lent(memory),
        frame,
        skb: batch.skbs.get_mut(index),
        cost: Cost::default(),
        events: &mut batch.events,
        emitted: &mut batch.emitted,
        randoms: 0,
        redirect: None,
    };
    let result = run.execute(watch);
    let (cost, redirect) = (run.cost, run.redirect);
    let own = run.memory.into_own();
    frame.cost = cost;
    frame.redirect = redirect;
    if program.maps.has_rings() {
        let packet = frame.number;
        program.maps.drain_rings(frame.queue, |map, bytes| {
            let kind = EventKind::Ringbuf { map };
            batch.events.push(Event {
                packet,
                kind,
                bytes: bytes.to_vec(),
            });
        });
    }
    match result {
        Ok(r0) => frame.r0 = r0,
        Err((pc, cause)) => {
            frame.r0 = 0;
            frame.trapped = true;
            batch.traps.push((
                index,
                Trap {
                    pc: Some(pc),
                    code_offset: Some(pc * 8),
                    cause,
                    fault: None,
                },
            ));
        }
    }
    if let Some(own) = own {
        batch.take_back(index, &own);
    }
}

impl Run<'_, '_> {
    /// r1 and r2 at entry.
    pub(super) fn arguments(&self) -> (u64, u64) {
        match self.program.hook {
            Hook::Raw { .. } => {
                let length = self.frame.end - self.frame.data;
                (address::at(PACKET, self.frame.data), u64::from(length))
            }
            _ => (address::at(CTX, address::BASE), 0),
        }
    }

    /// Offset in the packet's area, if all bytes lie between metadata and end.
    fn in_packet(&self, offset: u32, size: usize) -> Option<usize> {
        let end = (offset as usize).checked_add(size)?;
        (offset >= self.frame.meta && end <= self.frame.end as usize).then_some(offset as usize)
    }

    fn load_ctx(&self, offset: u32, size: usize) -> Option<u64> {
        let width = u8::try_from(size).ok()?;
        let field = context::load(&self.program.hook, i64::from(offset), width)?;
        let linear = self.skb.as_ref().map(|skb| self.frame.data + skb.linear);
        let number = match field.kind {
            FieldKind::Data => return Some(address::at(PACKET, self.frame.data)),
            FieldKind::DataEnd => {
                return Some(address::at(PACKET, linear.unwrap_or(self.frame.end)));
            }
            FieldKind::DataMeta => return Some(address::at(PACKET, self.frame.meta)),
            FieldKind::Socket => return Some(address::at(SOCK, address::BASE)),
            FieldKind::Scalar => match (&self.skb, field.name) {
                (Some(skb), _) => return skb.load(offset as usize, size),
                (None, "ingress_ifindex") => self.frame.port,
                (None, "rx_queue_index") => self.frame.queue,
                (None, _) => 0,
            },
        };
        let first = offset - u32::from(field.offset);
        let shifted = u64::from(number) >> (8 * first);
        let bits = 8 * size as u32;
        Some(shifted & u64::MAX.unbounded_shr(64 - bits))
    }

    /// Writing `rx_queue_index` chooses the queue of the host, which is not modelled.
    fn store_ctx(&mut self, offset: u32, size: usize, value: Stored) -> Option<()> {
        let width = u8::try_from(size).ok()?;
        context::store(&self.program.hook, i64::from(offset), width, true)?;
        match &mut self.skb {
            Some(skb) => skb.store(offset as usize, size, value),
            None => Some(()),
        }
    }

    /// Loads 1, 2, 4 or 8 bytes, zero-extended; a pointer field of the context gives the whole
    /// pointer.
    pub(super) fn load(&mut self, address: u64, size: usize) -> Result<u64, TrapCause> {
        let (region, offset) = ((address >> 32) as u32, address as u32);
        let value = match region {
            CTX => self.load_ctx(offset.wrapping_sub(address::BASE), size),
            SOCK => {
                let at = offset.wrapping_sub(address::BASE) as usize;
                self.skb.as_ref().and_then(|skb| skb.load_sock(at, size))
            }
            PACKET => {
                self.cost.packet_accesses += 1;
                self.in_packet(offset, size)
                    .map(|at| little_endian(&self.memory[at..at + size]))
            }
            STACK => {
                let at = offset as usize;
                self.calls
                    .stack
                    .get(at..at.saturating_add(size))
                    .map(little_endian)
            }
            KEYS => self.calls.key(offset, size).map(little_endian),
            _ => {
                self.cost.map_accesses += 1;
                address::value_map(address)
                    .and_then(|id| self.program.maps.get(id))
                    .filter(|map| map.holds(offset as usize, size))
                    .and_then(|map| map.memory().load(offset as usize, size))
            }
        };
        value.ok_or(TrapCause::OutOfBounds {
            address,
            size: size as u32,
            write: false,
        })
    }

    /// Stores the lower 1, 2, 4 or 8 bytes.
    pub(super) fn store(
        &mut self,
        address: u64,
        size: usize,
        stored: Stored,
    ) -> Result<(), TrapCause> {
        let value = match stored {
            Stored::Register(value) => value,
            Stored::Immediate(value) => i64::from(value) as u64,
        };
        let (region, offset) = ((address >> 32) as u32, address as u32);
        let outside = TrapCause::OutOfBounds {
            address,
            size: size as u32,
            write: true,
        };
        let bytes = value.to_le_bytes();
        match region {
            CTX => {
                let offset = offset.wrapping_sub(address::BASE);
                self.store_ctx(offset, size, stored).ok_or(outside)
            }
            PACKET => {
                self.cost.packet_accesses += 1;
                let at = self.in_packet(offset, size).ok_or(outside)?;
                self.memory[at..at + size].copy_from_slice(&bytes[..size]);
                Ok(())
            }
            STACK => {
                let at = offset as usize;
                let slot = self
                    .calls
                    .stack
                    .get_mut(at..at.saturating_add(size))
                    .ok_or(outside)?;
                slot.copy_from_slice(&bytes[..size]);
                Ok(())
            }
            _ => {
                self.cost.map_accesses += 1;
                let map = address::value_map(address)
                    .and_then(|id| self.program.maps.get(id))
                    .filter(|map| map.holds(offset as usize, size))
                    .ok_or(outside)?;
                if map.is_read_only() {
                    return Err(TrapCause::ReadOnly {
                        address,
                        size: size as u32,
                    });
                }
                map.memory()
                    .store(offset as usize, size, value)
                    .ok_or(outside)
            }
        }
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

impl Machine for Run<'_, '_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), TrapCause> {
        if into.is_empty() {
            // A helper may be given null for memory of no bytes.
            return Ok(());
        }
        let (region, offset) = ((address >> 32) as u32, address as u32);
        let size = into.len();
        if size == 0 {
            // A helper may be given null for what is empty.
            return Ok(());
        }
        let from = match region {
            PACKET => self
                .in_packet(offset, size)
                .map(|at| &self.memory[at..at + size]),
            STACK => self
                .calls
                .stack
                .get(offset as usize..(offset as usize).saturating_add(size)),
            KEYS => self.calls.key(offset, size),
            _ => None,
        };
        if let Some(from) = from {
            into.copy_from_slice(from);
            return Ok(());
        }
        address::value_map(address)
            .and_then(|id| self.program.maps.get(id))
            .filter(|map| map.holds(offset as usize, size))
            .and_then(|map| map.memory().read(offset as usize, into))
            .ok_or(TrapCause::OutOfBounds {
                address,
                size: size as u32,
                write: false,
            })
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), TrapCause> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (region, offset) = ((address >> 32) as u32, address as u32);
        let size = bytes.len();
        let to = match region {
            PACKET => self
                .in_packet(offset, size)
                .map(|at| &mut self.memory[at..at + size]),
            STACK => self
                .calls
                .stack
                .get_mut(offset as usize..(offset as usize).saturating_add(size)),
            _ => None,
        };
        if let Some(to) = to {
            to.copy_from_slice(bytes);
            return Ok(());
        }
        address::value_map(address)
            .and_then(|id| self.program.maps.get(id))
            .filter(|map| !map.is_read_only() && map.holds(offset as usize, size))
            .and_then(|map| map.memory().write(offset as usize, bytes))
            .ok_or(TrapCause::OutOfBounds {
                address,
                size: size as u32,
                write: true,
            })
    }

    fn maps(&self) -> &MapSet {
        &self.program.maps
    }

    fn map_id(&self, handle: u64) -> Result<MapId, TrapCause> {
        address::handle_map(handle)
            .filter(|id| self.program.maps.get(*id).is_some())
            .ok_or(TrapCause::BadMap { value: handle })
    }

    fn map_handle(&self, map: MapId) -> u64 {
        address::handle(map)
    }

    fn value_address(&self, map: MapId, at: ValueAt) -> u64 {
        address::map_value(map, at.0)
    }

    fn value_at(&self, address: u64) -> Result<(MapId, ValueAt), TrapCause> {
        address::value_map(address)
            .filter(|id| self.program.maps.get(*id).is_some())
            .map(|id| (id, ValueAt(address as u32 as usize)))
            .ok_or(TrapCause::BadMap { value: address })
    }

    fn packet_address(&self, at: u32) -> u64 {
        address::at(PACKET, at)
    }

    fn environment(&self) -> &Environment {
        &self.program.environment
    }

    fn window(&mut self) -> Window<'_> {
        Window {
            area: &mut self.memory,
            meta: &mut self.frame.meta,
            data: &mut self.frame.data,
            end: &mut self.frame.end,
        }
    }

    fn skb(&mut self) -> Option<(Window<'_>, &mut Skb)> {
        let window = Window {
            area: &mut self.memory,
            meta: &mut self.frame.meta,
            data: &mut self.frame.data,
            end: &mut self.frame.end,
        };
        self.skb.as_deref_mut().map(|skb| (window, skb))
    }

    fn make_room(&mut self, head: u32, tail: u32) {
        let Frame {
            meta, data, end, ..
        } = &mut *self.frame;
        self.memory.make_room([meta, data, end], head, tail);
    }

    fn send(&mut self, copy: Emitted) {
        self.emitted.push(copy);
    }

    fn cpu(&self) -> u32 {
        self.frame.queue
    }

    fn port(&self) -> u32 {
        self.frame.port
    }

    fn packet(&self) -> u64 {
        self.frame.number
    }

    fn now_ns(&self) -> u64 {
        self.frame.arrival_ns
    }

    fn random(&mut self) -> u32 {
        let number = bpf::helper::random(
            self.program.environment.seed,
            self.frame.number,
            self.randoms,
        );
        self.randoms += 1;
        number
    }

    fn redirect(&mut self, target: Option<RedirectTarget>) {
        self.redirect = target;
    }

    fn emit(&mut self, kind: EventKind, bytes: &[u8]) {
        self.events.push(Event {
            packet: self.frame.number,
            kind,
            bytes: bytes.to_vec(),
        });
    }
}
