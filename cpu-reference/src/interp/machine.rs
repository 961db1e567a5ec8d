//! One packet's run: its memory as instructions and helpers see it.

use std::sync::atomic::{Ordering, fence};

use bpf::Hook;
use bpf::area::FrameArea;
use bpf::context::{self, FieldKind};
use bpf::helper::{self, Machine, Window};
use bpf::map::{MapId, MapSet, ValueAt};
use bpf::run::{Emitted, Environment, Event, EventKind, RedirectTarget, TrapCause};
use bpf::skb::{Skb, Stored};

use super::Shared;
use super::code::{Cell, Op};
use super::exec::Saved;
use super::space::{self, CTX, FRAME_BYTES, FRAME_STRIDE, KEY, PACKET, SOCK, STACK};

/// What one packet's run reads and writes.
pub(super) struct Packet<'a> {
    pub(super) shared: &'a Shared,
    /// Memory of [`space::FRAMES`] frames.
    pub(super) stack: &'a mut [u8],
    /// What the functions on the stack saved, innermost last; empty at entry.
    pub(super) saved: &'a mut Vec<Saved>,
    /// Functions on the stack, less one.
    pub(super) depth: usize,
    pub(super) area: FrameArea<'a>,
    pub(super) meta: u32,
    pub(super) data: u32,
    pub(super) end: u32,
    pub(super) number: u64,
    pub(super) arrival_ns: u64,
    pub(super) port: u32,
    pub(super) queue: u32,
    /// Random numbers given so far.
    pub(super) randoms: u32,
    pub(super) redirect: Option<RedirectTarget>,
    pub(super) events: &'a mut Vec<Event>,
    pub(super) emitted: &'a mut Vec<Emitted>,
    /// What a tc packet has beside its bytes.
    pub(super) skb: Option<&'a mut Skb>,
}

/// The offset of `size` bytes of stack at an address of the stack's region.
#[inline]
fn stack_at(address: u64, size: usize, depth: usize) -> Option<usize> {
    let offset = address as u32 as usize;
    let in_frame = offset % FRAME_STRIDE;
    (in_frame >= FRAME_STRIDE - FRAME_BYTES
        && in_frame + size <= FRAME_STRIDE
        && offset / FRAME_STRIDE <= depth)
        .then_some(offset)
}

/// The little-endian number in up to 8 bytes.
#[inline]
fn number(bytes: &[u8]) -> u64 {
    let mut value = [0; 8];
    value[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(value)
}

impl Packet<'_> {
    /// Zeroes the frame of the function at `depth`, so that what a program never wrote is the
    /// same for every packet.
    pub(super) fn clear_frame(&mut self, depth: usize) {
        let end = (depth + 1) * FRAME_STRIDE;
        self.stack[end - FRAME_BYTES..end].fill(0);
    }

    /// Where `size` bytes at an address of the packet's region lie in the area.
    #[inline]
    fn packet_at(&self, address: u64, size: usize) -> Option<usize> {
        let offset = address as u32 as usize;
        (offset >= self.meta as usize && offset + size <= self.end as usize).then_some(offset)
    }

    /// Loads `N` bytes (1, 2, 4 or 8), zero-extended. `None`: see [`Packet::why_not`].
    #[inline]
    pub(super) fn load<const N: usize>(&self, address: u64) -> Option<u64> {
        match space::region(address) {
            PACKET => {
                let at = self.packet_at(address, N)?;
                self.area.get(at..)?.first_chunk::<N>().map(|b| number(b))
            }
            STACK => {
                let at = stack_at(address, N, self.depth)?;
                self.stack.get(at..)?.first_chunk::<N>().map(|b| number(b))
            }
            _ => self.load_elsewhere(address, N),
        }
    }

    /// Loads from a map value, the context or the socket.
    #[inline(never)]
    fn load_elsewhere(&self, address: u64, size: usize) -> Option<u64> {
        let offset = (address as u32).wrapping_sub(space::BASE);
        match space::region(address) {
            CTX => return self.load_context(offset, size),
            SOCK => return self.skb.as_ref()?.load_sock(offset as usize, size),
            KEY => return self.key_at(address, size).map(number),
            _ => {}
        }
        let found = self.shared.regions.find(address, size)?;
        found
            .readable
            .then(|| found.map.memory().load(found.at, size))?
    }

    /// Bytes of the key that a helper handed to a function of the program.
    fn key_at(&self, address: u64, size: usize) -> Option<&[u8]> {
        let (depth, at) = space::in_key(address);
        let callback = self.saved.get(depth)?.callback.as_ref()?;
        callback.key().get(at..at + size)
    }

    /// Stores the lower `N` bytes (1, 2, 4 or 8) of a value. `None`: see [`Packet::why_not`].
    #[inline]
    pub(super) fn store<const N: usize>(&mut self, address: u64, value: u64) -> Option<()> {
        let bytes = &value.to_le_bytes()[..N];
        match space::region(address) {
            PACKET => {
                let at = self.packet_at(address, N)?;
                self.area.get_mut(at..at + N)?.copy_from_slice(bytes);
                Some(())
            }
            STACK => {
                let at = stack_at(address, N, self.depth)?;
                self.stack.get_mut(at..at + N)?.copy_from_slice(bytes);
                Some(())
            }
            _ => self.store_elsewhere(address, N, value),
        }
    }

    /// Stores to a map value or the context.
    #[inline(never)]
    fn store_elsewhere(&mut self, address: u64, size: usize, value: u64) -> Option<()> {
        if space::region(address) == CTX {
            let offset = (address as u32).wrapping_sub(space::BASE);
            return self.store_context(offset, size, Stored::Register(value));
        }
        let found = self.shared.regions.find(address, size)?;
        found
            .writable
            .then(|| found.map.memory().store(found.at, size, value))?
    }

    /// Stores an immediate of `N` bytes (1, 2, 4 or 8).
    pub(super) fn store_immediate<const N: usize>(&mut self, address: u64, imm: i64) -> Option<()> {
        if space::region(address) == CTX {
            let offset = (address as u32).wrapping_sub(space::BASE);
            return self.store_context(offset, N, Stored::Immediate(imm as i32));
        }
        self.store::<N>(address, imm as u64)
    }

    /// A load of any size.
    fn load_sized(&self, address: u64, size: u8) -> Option<u64> {
        match size {
            1 => self.load::<1>(address),
            2 => self.load::<2>(address),
            4 => self.load::<4>(address),
            _ => self.load::<8>(address),
        }
    }

    /// A store of any size.
    fn store_sized(&mut self, address: u64, size: u8, value: u64) -> Option<()> {
        match size {
            1 => self.store::<1>(address, value),
            2 => self.store::<2>(address, value),
            4 => self.store::<4>(address, value),
            _ => self.store::<8>(address, value),
        }
    }

    /// A load that later accesses do not overtake.
    pub(super) fn load_acquire(&self, address: u64, size: u8) -> Option<u64> {
        let value = self.load_sized(address, size);
        fence(Ordering::Acquire);
        value
    }

    /// A store that does not overtake earlier accesses.
    pub(super) fn store_release(&mut self, address: u64, size: u8, value: u64) -> Option<()> {
        fence(Ordering::Release);
        self.store_sized(address, size, value)
    }

    /// An atomic operation; gives the old value.
    pub(super) fn atomic(
        &mut self,
        cell: Cell,
        address: u64,
        operand: u64,
        expected: u64,
    ) -> Option<u64> {
        let size = usize::from(cell.size);
        if matches!(space::region(address), PACKET | STACK) {
            // One thread alone has these.
            let old = self.load_sized(address, cell.size)?;
            let new = combine(cell, old, operand, expected);
            self.store_sized(address, cell.size, new)?;
            return Some(old);
        }
        let found = self.shared.regions.find(address, size)?;
        if !found.readable || !found.writable {
            return None;
        }
        let memory = found.map.memory();
        let order = Ordering::SeqCst;
        if size == 4 {
            let cell32 = memory.atomic32(found.at)?;
            let update = |old: u32| Some(combine(cell, u64::from(old), operand, expected) as u32);
            cell32
                .fetch_update(order, order, update)
                .ok()
                .map(u64::from)
        } else {
            let cell64 = memory.atomic64(found.at)?;
            let update = |old: u64| Some(combine(cell, old, operand, expected));
            cell64.fetch_update(order, order, update).ok()
        }
    }

    /// Loads a context field.
    fn load_context(&self, offset: u32, size: usize) -> Option<u64> {
        let width = u8::try_from(size).ok()?;
        let field = context::load(&self.shared.hook, i64::from(offset), width)?;
        Some(match (field.kind, &self.skb) {
            (FieldKind::Data, _) => space::address(PACKET, self.data),
            (FieldKind::DataEnd, Some(skb)) => space::address(PACKET, self.data + skb.linear),
            (FieldKind::DataEnd, None) => space::address(PACKET, self.end),
            (FieldKind::DataMeta, _) => space::address(PACKET, self.meta),
            (FieldKind::Socket, Some(_)) => space::address(SOCK, space::BASE),
            (FieldKind::Scalar, Some(skb)) => skb.load(offset as usize, size)?,
            (FieldKind::Scalar | FieldKind::Socket, None) => match field.name {
                "ingress_ifindex" => u64::from(self.port),
                "rx_queue_index" => u64::from(self.queue),
                _ => 0,
            },
        })
    }

    /// Stores to a context field. Only an XDP program bound to a device may have such a store: it
    /// chooses the queue of the host, which no outcome tells.
    fn store_context(&mut self, offset: u32, size: usize, value: Stored) -> Option<()> {
        let width = u8::try_from(size).ok()?;
        context::store(&self.shared.hook, i64::from(offset), width, true)?;
        match &mut self.skb {
            Some(skb) => skb.store(offset as usize, size, value),
            None => Some(()),
        }
    }

    /// Legacy load from the packet: big-endian, `None` outside it. Offsets are signed; far below
    /// 0 they count from the headers of a tc packet.
    pub(super) fn load_packet(&self, offset: u64, size: u8) -> Option<u64> {
        /// `SKF_LL_OFF` and `SKF_NET_OFF`.
        const LINK: i64 = -0x20_0000;
        const NETWORK: i64 = -0x10_0000;
        let offset = i64::from(offset as i32);
        let len = i64::from(self.end) - i64::from(self.data);
        let (start, limit) = if offset >= 0 {
            (offset, len)
        } else {
            let skb = self.skb.as_ref()?;
            let linear = i64::from(skb.linear);
            if offset >= NETWORK {
                (offset - NETWORK + i64::from(skb.network), linear)
            } else {
                (offset - LINK, linear)
            }
        };
        if start < 0 || start + i64::from(size) > limit {
            return None;
        }
        let start = self.data as usize + start as usize;
        let bytes = self.area.get(start..start + usize::from(size))?;
        Some(
            bytes
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        )
    }

    /// Why an access was refused.
    #[cold]
    pub(super) fn why_not(&self, address: u64, size: usize, write: bool) -> TrapCause {
        let found = self.shared.regions.find(address, size);
        let in_context = space::region(address) == CTX
            && self
                .load_context((address as u32).wrapping_sub(space::BASE), size)
                .is_some();
        let size = size as u32;
        if write && (in_context || found.is_some_and(|f| !f.writable)) {
            return TrapCause::ReadOnly { address, size };
        }
        TrapCause::OutOfBounds {
            address,
            size,
            write,
        }
    }
}

/// What an atomic operation leaves in memory, before truncation to its size.
fn combine(cell: Cell, old: u64, operand: u64, expected: u64) -> u64 {
    match cell.op {
        Op::AtomicAdd | Op::FetchAdd => old.wrapping_add(operand),
        Op::AtomicOr | Op::FetchOr => old | operand,
        Op::AtomicAnd | Op::FetchAnd => old & operand,
        Op::AtomicXor | Op::FetchXor => old ^ operand,
        Op::Xchg => operand,
        Op::Cmpxchg => {
            let equal = if cell.size == 4 {
                old as u32 == expected as u32
            } else {
                old == expected
            };
            if equal { operand } else { old }
        }
        // `exec` calls this for the operations above only.
        _ => old,
    }
}

impl Machine for Packet<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), TrapCause> {
        let size = into.len();
        let done = match space::region(address) {
            _ if size == 0 => Some(()),
            PACKET => self
                .packet_at(address, size)
                .and_then(|at| self.area.get(at..at + size))
                .map(|bytes| into.copy_from_slice(bytes)),
            STACK => stack_at(address, size, self.depth)
                .and_then(|at| self.stack.get(at..at + size))
                .map(|bytes| into.copy_from_slice(bytes)),
            KEY => self
                .key_at(address, size)
                .map(|bytes| into.copy_from_slice(bytes)),
            _ => self
                .shared
                .regions
                .find(address, size)
                .filter(|found| found.readable)
                .and_then(|found| found.map.memory().read(found.at, into)),
        };
        done.ok_or_else(|| self.why_not(address, size, false))
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), TrapCause> {
        let size = bytes.len();
        let done = match space::region(address) {
            _ if size == 0 => Some(()),
            PACKET => self
                .packet_at(address, size)
                .and_then(|at| self.area.get_mut(at..at + size))
                .map(|into| into.copy_from_slice(bytes)),
            STACK => stack_at(address, size, self.depth)
                .and_then(|at| self.stack.get_mut(at..at + size))
                .map(|into| into.copy_from_slice(bytes)),
            _ => self
                .shared
                .regions
                .find(address, size)
                .filter(|found| found.writable)
                .and_then(|found| found.map.memory().write(found.at, bytes)),
        };
        done.ok_or_else(|| self.why_not(address, size, true))
    }

    fn maps(&self) -> &MapSet {
        &self.shared.maps
    }

    fn map_id(&self, handle: u64) -> Result<MapId, TrapCause> {
        let map = self.shared.regions.of_handle(handle);
        map.ok_or(TrapCause::BadMap { value: handle })
    }

    fn map_handle(&self, map: MapId) -> u64 {
        self.shared.regions.handle(map).unwrap_or(0)
    }

    fn value_address(&self, map: MapId, at: ValueAt) -> u64 {
        self.shared.regions.address_of(map, at).unwrap_or(0)
    }

    fn value_at(&self, address: u64) -> Result<(MapId, ValueAt), TrapCause> {
        let found = self.shared.regions.value_at(address);
        found.ok_or(TrapCause::BadMap { value: address })
    }

    fn packet_address(&self, at: u32) -> u64 {
        space::address(PACKET, at)
    }

    fn environment(&self) -> &Environment {
        &self.shared.environment
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
        self.skb.as_deref_mut().map(|skb| (window, skb))
    }

    fn make_room(&mut self, head: u32, tail: u32) {
        let borders = [&mut self.meta, &mut self.data, &mut self.end];
        self.area.make_room(borders, head, tail);
    }

    fn send(&mut self, copy: Emitted) {
        self.emitted.push(copy);
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

/// Where r1 points at entry, and what r2 holds.
pub(super) fn arguments(hook: &Hook, data: u32, end: u32) -> [u64; 2] {
    match hook {
        Hook::Raw { .. } => [
            space::address(PACKET, data),
            u64::from(end.saturating_sub(data)),
        ],
        Hook::Xdp { .. } | Hook::Tc { .. } => [space::address(CTX, space::BASE), 0],
    }
}
