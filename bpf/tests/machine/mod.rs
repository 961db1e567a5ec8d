//! A plain [`Machine`] for tests: one block of memory, one packet, some maps.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use bpf::Hook;
use bpf::helper::{Machine, Window, random};
use bpf::map::{MapId, MapSet, ValueAt};
use bpf::run::{
    Arrival, Batch, Emitted, Environment, EventKind, RedirectTarget, TrapCause, XDP_HEADROOM,
    XDP_MAX_LINEAR,
};
use bpf::skb::Skb;

/// Address of the block of memory.
pub const MEMORY: u64 = 0x10_0000;
/// Handle of map 0; others follow.
pub const HANDLES: u64 = 0x5000_0000;

/// What one packet's run needs, all in plain sight.
#[derive(Debug)]
pub struct TestMachine {
    pub memory: Vec<u8>,
    pub area: Vec<u8>,
    pub meta: u32,
    pub data: u32,
    pub end: u32,
    pub maps: MapSet,
    pub environment: Environment,
    pub cpu: u32,
    pub packet: u64,
    pub now_ns: u64,
    pub randoms: u32,
    pub redirect: Option<RedirectTarget>,
    pub events: Vec<(EventKind, Vec<u8>)>,
    pub skb: Option<Skb>,
    pub emitted: Vec<Emitted>,
}

impl TestMachine {
    /// With `frame` as a test run places it: 256 bytes of headroom, room for 3520.
    pub fn new(frame: &[u8], memory: usize) -> TestMachine {
        let mut area = vec![0; XDP_HEADROOM + XDP_MAX_LINEAR];
        area[XDP_HEADROOM..XDP_HEADROOM + frame.len()].copy_from_slice(frame);
        TestMachine {
            memory: vec![0; memory],
            area,
            meta: XDP_HEADROOM as u32,
            data: XDP_HEADROOM as u32,
            end: (XDP_HEADROOM + frame.len()) as u32,
            maps: MapSet::new(),
            environment: Environment::default(),
            cpu: 0,
            packet: 0,
            now_ns: 0,
            randoms: 0,
            redirect: None,
            events: Vec::new(),
            skb: None,
            emitted: Vec::new(),
        }
    }

    /// The same for a tc program, without room.
    pub fn tc(frame: &[u8], memory: usize) -> TestMachine {
        let mut machine = TestMachine::new(&[], memory);
        let mut batch = Batch::new();
        let arrival = Arrival {
            number: 0,
            arrival_ns: 0,
            port: 1,
            queue: 0,
        };
        batch.push(arrival, frame, 0, 0);
        batch.arrive(&Hook::TC, &machine.environment);
        machine.skb = batch.skbs.pop();
        machine.area = frame.to_vec();
        (machine.meta, machine.data, machine.end) = (0, 0, frame.len() as u32);
        machine
    }

    /// The bytes of the packet.
    pub fn bytes(&self) -> &[u8] {
        &self.area[self.data as usize..self.end as usize]
    }

    /// Map and offset of an address in map memory: 2^40 bytes a map, above 2^44.
    fn in_map(address: u64) -> Option<(MapId, usize)> {
        let above = address.checked_sub(1 << 44)?;
        Some(((above >> 40) as usize, (above & ((1 << 40) - 1)) as usize))
    }

    fn out_of_bounds(address: u64, size: usize, write: bool) -> TrapCause {
        TrapCause::OutOfBounds {
            address,
            size: size as u32,
            write,
        }
    }
}

impl Machine for TestMachine {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), TrapCause> {
        let fault = TestMachine::out_of_bounds(address, into.len(), false);
        if into.is_empty() {
            return Ok(());
        }
        if let Some((map, offset)) = TestMachine::in_map(address) {
            let map = self.maps.get(map).ok_or(fault)?;
            return map.memory().read(offset, into).ok_or(fault);
        }
        let start = address.checked_sub(MEMORY).ok_or(fault)? as usize;
        let from = self.memory.get(start..start + into.len()).ok_or(fault)?;
        into.copy_from_slice(from);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), TrapCause> {
        let fault = TestMachine::out_of_bounds(address, bytes.len(), true);
        if let Some((map, offset)) = TestMachine::in_map(address) {
            let map = self.maps.get(map).ok_or(fault)?;
            return map.memory().write(offset, bytes).ok_or(fault);
        }
        let start = address.checked_sub(MEMORY).ok_or(fault)? as usize;
        let to = self
            .memory
            .get_mut(start..start + bytes.len())
            .ok_or(fault)?;
        to.copy_from_slice(bytes);
        Ok(())
    }

    fn maps(&self) -> &MapSet {
        &self.maps
    }

    fn map_id(&self, handle: u64) -> Result<MapId, TrapCause> {
        let id = handle.wrapping_sub(HANDLES) as usize;
        (id < self.maps.len())
            .then_some(id)
            .ok_or(TrapCause::BadMap { value: handle })
    }

    fn map_handle(&self, map: MapId) -> u64 {
        HANDLES + map as u64
    }

    fn value_address(&self, map: MapId, at: ValueAt) -> u64 {
        (1 << 44) + ((map as u64) << 40) + at.0 as u64
    }

    fn value_at(&self, address: u64) -> Result<(MapId, ValueAt), TrapCause> {
        let (map, offset) =
            TestMachine::in_map(address).ok_or(TrapCause::BadMap { value: address })?;
        Ok((map, ValueAt(offset)))
    }

    fn packet_address(&self, at: u32) -> u64 {
        MEMORY + (1 << 40) + u64::from(at)
    }

    fn environment(&self) -> &Environment {
        &self.environment
    }

    fn window(&mut self) -> Window<'_> {
        Window {
            area: &mut self.area,
            meta: &mut self.meta,
            data: &mut self.data,
            end: &mut self.end,
        }
    }

    fn skb(&mut self) -> Option<(Window<'_>, &mut Skb)> {
        let window = Window {
            area: &mut self.area,
            meta: &mut self.meta,
            data: &mut self.data,
            end: &mut self.end,
        };
        self.skb.as_mut().map(|skb| (window, skb))
    }

    fn make_room(&mut self, head: u32, tail: u32) {
        let (area, by) = bpf::area::grown(&self.area, (self.meta, self.end), head, tail);
        self.area = area;
        for border in [&mut self.meta, &mut self.data, &mut self.end] {
            *border = border.wrapping_add(by);
        }
    }

    fn send(&mut self, copy: Emitted) {
        self.emitted.push(copy);
    }

    fn cpu(&self) -> u32 {
        self.cpu
    }

    fn port(&self) -> u32 {
        1
    }

    fn packet(&self) -> u64 {
        self.packet
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn random(&mut self) -> u32 {
        let number = random(self.environment.seed, self.packet, self.randoms);
        self.randoms += 1;
        number
    }

    fn redirect(&mut self, target: Option<RedirectTarget>) {
        self.redirect = target;
    }

    fn emit(&mut self, kind: EventKind, bytes: &[u8]) {
        self.events.push((kind, bytes.to_vec()));
    }
}
