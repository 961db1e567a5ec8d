//! What a helper's body sees: the packet being run, through host pointers.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use bpf::area::grown;
use bpf::helper::{Machine, Window, random};
use bpf::map::{MapId, MapSet, ValueAt};
use bpf::run::{Emitted, Environment, Event, EventKind, RedirectTarget, TrapCause};
use bpf::skb::{Skb, Word};
use isa::x86_64::abi::RunState;

use super::Program;
use super::link::MapEntry;
use crate::ProgramTable;
use crate::legacy::legacy_load;

/// One packet's run, as the engine knows it. [`RunState::host`] points to it.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// The program that was entered first.
    pub(super) program: &'a Program,
    /// Targets of tail calls.
    pub(super) programs: Option<&'a ProgramTable>,
    /// Where events go.
    pub(super) events: &'a mut Vec<Event>,
    /// First byte of the frame's area.
    pub(super) area: *mut u8,
    /// Its length in bytes.
    pub(super) area_len: usize,
    /// The area, where the packet grew out of that in the batch.
    pub(super) own: Vec<u8>,
    /// Where copies that are sent go.
    pub(super) emitted: &'a mut Vec<Emitted>,
    /// What a tc packet has beside its bytes. While code runs, the run state has its words.
    pub(super) skb: Option<Skb>,
    /// Number of the packet.
    pub(super) packet: u64,
    /// Its arrival.
    pub(super) now_ns: u64,
    /// Random numbers taken so far.
    pub(super) randoms: u32,
    /// Where it is redirected to.
    pub(super) redirect: Option<RedirectTarget>,
    /// Why it was stopped.
    pub(super) trap: Option<TrapCause>,
    /// Where metadata, data and end are, as offsets in the area: what a helper last set.
    pub(super) borders: [u32; 3],
    /// Lowest and highest of them that the packet has had.
    pub(super) reach: (u32, u32),
}

/// A [`Machine`] for the time of one helper call.
pub(super) struct HostMachine<'r, 'a> {
    pub(super) run: &'r mut Run<'a>,
    state: &'r mut RunState,
    /// Whether the packet's words lie in its [`Skb`], not in the run state.
    words_here: bool,
    meta: u32,
    data: u32,
    end: u32,
}

impl<'r, 'a> HostMachine<'r, 'a> {
    pub(super) fn new(run: &'r mut Run<'a>, state: &'r mut RunState) -> HostMachine<'r, 'a> {
        let area = run.area as u64;
        let data = (state.data - area) as u32;
        let len = run.skb.as_ref().map(|_| state.skb.0[Word::Len as usize]);
        HostMachine {
            meta: (state.data_meta - area) as u32,
            data,
            end: len.map_or((state.data_end - area) as u32, |len| data + len),
            run,
            state,
            words_here: false,
        }
    }

    /// Hands the packet's borders back, and `trap`.
    pub(super) fn leave(self, trap: u32) {
        let area = self.run.area as u64;
        if self.run.own.is_empty() {
            let (low, high) = self.run.reach;
            self.run.reach = (low.min(self.meta), high.max(self.end));
        }
        self.run.borders = [self.meta, self.data, self.end];
        let state = self.state;
        state.data_meta = area + u64::from(self.meta);
        state.data = area + u64::from(self.data);
        state.data_end = match &self.run.skb {
            None => area + u64::from(self.end),
            Some(skb) => {
                if self.words_here {
                    state.skb.0 = skb.words;
                }
                state.data + u64::from(skb.linear)
            }
        };
        state.trap = trap;
    }

    /// A legacy load of `size` bytes at a signed offset: of the packet, or below 0 from its
    /// network or link header.
    pub(super) fn load_packet(&self, offset: i32, size: u32) -> Option<u64> {
        // SAFETY: as in `window`.
        let area = unsafe { std::slice::from_raw_parts(self.run.area, self.run.area_len) };
        let borders = (self.data, self.end);
        legacy_load(area, borders, self.run.skb.as_ref(), offset, size)
    }
}

/// Copies bytes that other threads may be changing, as relaxed atomics.
pub(super) fn copy_from_shared(address: u64, into: &mut [u8]) {
    let mut at = address;
    let mut rest = into;
    while !rest.is_empty() {
        if rest.len() >= 8 && at.is_multiple_of(8) {
            let (head, tail) = rest.split_at_mut(8);
            // SAFETY: the verifier proved the bytes readable, and they are aligned; whoever
            // shares them uses atomics or native code.
            let word = unsafe { AtomicU64::from_ptr(at as *mut u64) };
            head.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
            rest = tail;
            at += 8;
        } else {
            let (head, tail) = rest.split_at_mut(1);
            // SAFETY: as above; a byte is always aligned.
            let byte = unsafe { AtomicU8::from_ptr(at as *mut u8) };
            head[0] = byte.load(Ordering::Relaxed);
            rest = tail;
            at += 1;
        }
    }
}

/// The other way round.
fn copy_to_shared(address: u64, from: &[u8]) {
    for (at, byte) in (address..).zip(from) {
        // SAFETY: the verifier proved the bytes writable; whoever shares them uses atomics or
        // native code.
        let place = unsafe { AtomicU8::from_ptr(at as *mut u8) };
        place.store(*byte, Ordering::Relaxed);
    }
}

impl Machine for HostMachine<'_, '_> {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), TrapCause> {
        if address == 0 && !into.is_empty() {
            return Err(TrapCause::OutOfBounds {
                address,
                size: into.len() as u32,
                write: false,
            });
        }
        copy_from_shared(address, into);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), TrapCause> {
        if address == 0 && !bytes.is_empty() {
            return Err(TrapCause::OutOfBounds {
                address,
                size: bytes.len() as u32,
                write: true,
            });
        }
        copy_to_shared(address, bytes);
        Ok(())
    }

    #[inline]
    fn maps(&self) -> &MapSet {
        &self.run.program.map_set
    }

    #[inline]
    fn map_id(&self, handle: u64) -> Result<MapId, TrapCause> {
        if handle == 0 {
            return Err(TrapCause::BadMap { value: handle });
        }
        // SAFETY: the verifier proved that the register holds a map, so the value came from a
        // relocation or from `map_handle`: it points to an entry of a loaded program.
        let entry = unsafe { &*(handle as *const MapEntry) };
        Ok(entry.id)
    }

    fn map_handle(&self, map: MapId) -> u64 {
        self.run.program.maps.get(map).map_or(0, MapEntry::handle)
    }

    #[inline]
    fn value_address(&self, map: MapId, at: ValueAt) -> u64 {
        self.run
            .program
            .maps
            .get(map)
            .map_or(0, |entry| entry.map.memory().address() + at.0 as u64)
    }

    fn value_at(&self, address: u64) -> Result<(MapId, ValueAt), TrapCause> {
        self.run
            .program
            .maps
            .iter()
            .find_map(|entry| {
                let memory = entry.map.memory();
                let offset = address.checked_sub(memory.address())?;
                (offset < memory.len() as u64).then_some((entry.id, ValueAt(offset as usize)))
            })
            .ok_or(TrapCause::BadMap { value: address })
    }

    fn packet_address(&self, at: u32) -> u64 {
        self.run.area as u64 + u64::from(at)
    }

    fn environment(&self) -> &Environment {
        &self.run.program.environment
    }

    fn window(&mut self) -> Window<'_> {
        // SAFETY: the area is a part of the batch's memory that the run loop has for this packet
        // alone; native code is not running during a helper.
        let area = unsafe { std::slice::from_raw_parts_mut(self.run.area, self.run.area_len) };
        Window {
            area,
            meta: &mut self.meta,
            data: &mut self.data,
            end: &mut self.end,
        }
    }

    fn skb(&mut self) -> Option<(Window<'_>, &mut Skb)> {
        let HostMachine {
            run,
            state,
            words_here,
            meta,
            data,
            end,
        } = self;
        let skb = run.skb.as_mut()?;
        if !*words_here {
            skb.words = state.skb.0;
            *words_here = true;
        }
        // SAFETY: as in `window`.
        let area = unsafe { std::slice::from_raw_parts_mut(run.area, run.area_len) };
        Some((
            Window {
                area,
                meta,
                data,
                end,
            },
            skb,
        ))
    }

    fn make_room(&mut self, head: u32, tail: u32) {
        let len = self.run.area_len as u32;
        if self.meta >= head && len.saturating_sub(self.end) >= tail {
            return;
        }
        let borders = (self.meta, self.end);
        let (own, by) = grown(self.window().area, borders, head, tail);
        self.run.own = own;
        self.run.area = self.run.own.as_mut_ptr();
        self.run.area_len = self.run.own.len();
        for border in [&mut self.meta, &mut self.data, &mut self.end] {
            *border = border.wrapping_add(by);
        }
    }

    fn send(&mut self, copy: Emitted) {
        self.run.emitted.push(copy);
    }

    fn cpu(&self) -> u32 {
        self.state.cpu
    }

    fn port(&self) -> u32 {
        self.state.ingress_ifindex
    }

    fn packet(&self) -> u64 {
        self.run.packet
    }

    fn now_ns(&self) -> u64 {
        self.run.now_ns
    }

    fn random(&mut self) -> u32 {
        let call = self.run.randoms;
        self.run.randoms = call.wrapping_add(1);
        random(self.run.program.environment.seed, self.run.packet, call)
    }

    fn redirect(&mut self, target: Option<RedirectTarget>) {
        self.run.redirect = target;
    }

    fn emit(&mut self, kind: EventKind, bytes: &[u8]) {
        self.run.events.push(Event {
            packet: self.run.packet,
            kind,
            bytes: bytes.to_vec(),
        });
    }
}
