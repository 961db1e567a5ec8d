//! What helpers see of an rbpf run. rbpf's helpers are plain functions without context, so the
//! state of the thread's run lies in a thread-local.
#![expect(
    unsafe_code,
    reason = "reaches the stack inside of rbpf, whose address only the program knows"
)]

use std::cell::RefCell;
use std::sync::Arc;

use bpf::helper::{self, Machine, Window, prototype};
use bpf::map::{MapId, MapSet, ValueAt};
use bpf::run::{Environment, Event, EventKind, RedirectTarget, TrapCause};

use super::Shared;
use super::low::{Low, stack};

/// Offsets in the control block.
pub(super) mod control {
    /// r1 and r2 at entry.
    pub(crate) const ARGUMENTS: usize = 0;
    /// Where the program's first instructions leave the frame pointer.
    pub(crate) const STACK: usize = 16;
    /// The context.
    pub(crate) const CONTEXT: usize = 64;
    /// Bytes of the block.
    pub(crate) const BYTES: usize = 128;
}

/// Handles of maps are these bits and the map's id: no address, and no small number.
const HANDLE: u64 = 0x6d61_7000_0000_0000;

/// A thread's run.
pub(super) struct Host {
    pub(super) shared: Arc<Shared>,
    pub(super) control: Low,
    pub(super) area: Low,
    pub(super) area_len: usize,
    pub(super) meta: u32,
    pub(super) data: u32,
    pub(super) end: u32,
    pub(super) number: u64,
    pub(super) arrival_ns: u64,
    pub(super) port: u32,
    pub(super) queue: u32,
    pub(super) randoms: u32,
    pub(super) redirect: Option<RedirectTarget>,
    pub(super) events: Vec<Event>,
    /// Why a helper could not do what it was asked; the first time.
    pub(super) trap: Option<TrapCause>,
}

thread_local! {
    /// The run that this thread's helpers belong to.
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Makes `host` what this thread's helpers see.
pub(super) fn enter(host: Host) {
    HOST.with_borrow_mut(|place| *place = Some(host));
}

/// Takes back what [`enter`] put.
pub(super) fn leave() -> Option<Host> {
    HOST.with_borrow_mut(Option::take)
}

/// The handle of a map.
pub(super) fn handle(map: MapId) -> u64 {
    HANDLE | map as u64
}

fn call(id: u32, args: [u64; 5]) -> u64 {
    HOST.with_borrow_mut(|host| {
        let Some(host) = host else { return 0 };
        let result = helper::call(id, host, args);
        if prototype(id).is_some_and(|p| p.changes_packet) {
            host.write_context();
        }
        result.unwrap_or_else(|cause| {
            host.trap.get_or_insert(cause);
            0
        })
    })
}

/// A function for each helper, since rbpf tells a helper nothing but its arguments.
macro_rules! helpers {
    ($($id:literal)*) => {
        /// All helpers: id and function.
        pub(super) const HELPERS: &[(u32, ::rbpf::Helper)] = &[$(
            ($id, |a, b, c, d, e| call($id, [a, b, c, d, e])),
        )*];
    };
}

helpers! {
    1 2 3 5 6 7 8 23 25 28 42 44 51 54 65 69 84 85 86 87 88 89 93 94 99 100 105 106 110 118 125 130 131
    132 133 134 160 163 165 177 182 188 189 190 195 197 198 199 200 201 202 203 204 205 206 207 208
}

/// Whether a helper is among [`HELPERS`].
pub(super) fn has(id: u32) -> bool {
    HELPERS.iter().any(|(known, _)| *known == id)
}

impl Host {
    /// Writes the context, which a program may read again after the packet moved.
    pub(super) fn write_context(&mut self) {
        let base = self.area.address() as u32;
        let words = [
            base + self.data,
            base + self.end,
            base + self.meta,
            self.port,
            self.queue,
            0,
        ];
        for (index, word) in words.into_iter().enumerate() {
            self.control
                .put(control::CONTEXT + 4 * index, &word.to_le_bytes());
        }
    }

    /// The offset of bytes of the packet in the area.
    fn packet_at(&self, address: u64, len: usize) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(self.area.address())?).ok()?;
        let end = offset.checked_add(len)?;
        (offset >= self.meta as usize && end <= self.end as usize).then_some(offset)
    }

    /// The map whose memory an address lies in, and where.
    fn map_at(&self, address: u64) -> Option<(MapId, usize)> {
        self.shared.maps.iter().enumerate().find_map(|(id, map)| {
            let offset = address.checked_sub(map.memory().address())?;
            (offset < map.memory().len() as u64).then_some((id, offset as usize))
        })
    }

    /// Where the stack ends.
    fn stack_top(&self) -> u64 {
        self.control.word(control::STACK)
    }
}

impl Machine for Host {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), TrapCause> {
        let size = into.len() as u32;
        let done = if size == 0 {
            Some(())
        } else if let Some(at) = self.packet_at(address, into.len()) {
            into.copy_from_slice(&self.area.bytes()[at..at + into.len()]);
            Some(())
        } else if let Some((map, at)) = self.map_at(address) {
            let map = self.shared.maps.get(map);
            map.and_then(|map| map.memory().read(at, into))
        } else {
            // SAFETY: called from a helper of the run whose first instructions stored its frame
            // pointer in the control block.
            unsafe { stack::read(self.stack_top(), address, into) }
        };
        done.ok_or(TrapCause::OutOfBounds {
            address,
            size,
            write: false,
        })
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), TrapCause> {
        let size = bytes.len() as u32;
        let done = if size == 0 {
            Some(())
        } else if let Some(at) = self.packet_at(address, bytes.len()) {
            self.area.put(at, bytes);
            Some(())
        } else if let Some((map, at)) = self.map_at(address) {
            let map = self.shared.maps.get(map);
            map.and_then(|map| map.memory().write(at, bytes))
        } else {
            // SAFETY: as in `read`.
            unsafe { stack::write(self.stack_top(), address, bytes) }
        };
        done.ok_or(TrapCause::OutOfBounds {
            address,
            size,
            write: true,
        })
    }

    fn maps(&self) -> &MapSet {
        &self.shared.maps
    }

    fn map_id(&self, handle: u64) -> Result<MapId, TrapCause> {
        let map = (handle ^ HANDLE) as usize;
        if map < self.shared.maps.len() {
            Ok(map)
        } else {
            Err(TrapCause::BadMap { value: handle })
        }
    }

    fn map_handle(&self, map: MapId) -> u64 {
        handle(map)
    }

    fn value_address(&self, map: MapId, at: ValueAt) -> u64 {
        let map = self.shared.maps.get(map);
        map.map_or(0, |map| map.memory().address() + at.0 as u64)
    }

    fn value_at(&self, address: u64) -> Result<(MapId, ValueAt), TrapCause> {
        let (map, at) = self
            .map_at(address)
            .ok_or(TrapCause::BadMap { value: address })?;
        Ok((map, ValueAt(at)))
    }

    fn packet_address(&self, at: u32) -> u64 {
        self.area.address() + u64::from(at)
    }

    fn environment(&self) -> &Environment {
        &self.shared.environment
    }

    fn window(&mut self) -> Window<'_> {
        Window {
            area: &mut self.area.bytes_mut()[..self.area_len],
            meta: &mut self.meta,
            data: &mut self.data,
            end: &mut self.end,
        }
    }

    fn cpu(&self) -> u32 {
        self.queue
    }

    fn port(&self) -> u32 {
        self.port
    }

    fn packet(&self) -> u64 {
        self.number
    }

    fn now_ns(&self) -> u64 {
        self.arrival_ns
    }

    fn random(&mut self) -> u32 {
        let call = self.randoms;
        self.randoms += 1;
        helper::random(self.shared.environment.seed, self.number, call)
    }

    fn redirect(&mut self, target: Option<RedirectTarget>) {
        self.redirect = target;
    }

    fn emit(&mut self, kind: EventKind, bytes: &[u8]) {
        self.events.push(Event {
            packet: self.number,
            kind,
            bytes: bytes.to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_modelled_helper_of_xdp_is_there_but_those_that_run_code() {
        let on_xdp = |id| helper::prototype_on(&bpf::Hook::XDP, id);
        let modelled = helper::PROTOTYPES
            .iter()
            .filter_map(|p| on_xdp(p.id))
            .filter(|p| p.modelled && p.xdp);
        let runs_code = |id| id == 12 || helper::callback::calls_back(id);
        let ids: Vec<u32> = modelled
            .map(|p| p.id)
            .filter(|id| !runs_code(*id))
            .collect();
        let ours: Vec<u32> = HELPERS.iter().map(|(id, _)| *id).collect();
        assert_eq!(ours, ids);
    }
}
