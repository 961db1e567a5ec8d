//! [`Machine`]: what a helper's body needs of whoever runs the program.

use crate::map::{MapId, MapSet, ValueAt};
use crate::run::{Emitted, Environment, EventKind, RedirectTarget, TrapCause};
use crate::skb::Skb;

/// The running program's packet: its area and where the frame lies in it.
#[derive(Debug)]
pub struct Window<'a> {
    /// Headroom, bytes and tailroom. Byte 0 is where the kernel's buffer begins (its first
    /// [`XDP_FRAME_SIZE`](crate::run::XDP_FRAME_SIZE) bytes are not for programs), the end is as
    /// far as a program may grow the packet.
    pub area: &'a mut [u8],
    /// Start of the metadata, as an offset in the area.
    pub meta: &'a mut u32,
    /// First byte, as an offset in the area.
    pub data: &'a mut u32,
    /// Just past the last byte, as an offset in the area.
    pub end: &'a mut u32,
}

/// What a helper's body needs of an engine: memory, packet, maps, time, random, surroundings.
///
/// One value is one packet's run. Addresses are the engine's own: host pointers in
/// native code, tagged offsets in an interpreter.
pub trait Machine {
    /// Copies from the program's memory.
    ///
    /// # Errors
    /// [`TrapCause::OutOfBounds`] if a byte may not be read.
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), TrapCause>;

    /// Copies to the program's memory.
    ///
    /// # Errors
    /// [`TrapCause::OutOfBounds`] or [`TrapCause::ReadOnly`] if a byte may not be written.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), TrapCause>;

    /// All maps of the running program set.
    fn maps(&self) -> &MapSet;

    /// The map that a helper's argument names.
    ///
    /// # Errors
    /// [`TrapCause::BadMap`] if it names none.
    fn map_id(&self, handle: u64) -> Result<MapId, TrapCause>;

    /// What names this map in a register (result of a lookup in a map-in-map).
    fn map_handle(&self, map: MapId) -> u64;

    /// Address by which the program reaches a value.
    fn value_address(&self, map: MapId, at: ValueAt) -> u64;

    /// The opposite of [`Machine::value_address`]: which map's memory an address lies in, and
    /// where. For helpers that take back what they gave (ring buffer records).
    ///
    /// # Errors
    /// [`TrapCause::BadMap`] if it lies in none.
    fn value_at(&self, address: u64) -> Result<(MapId, ValueAt), TrapCause>;

    /// Address by which the program reaches the byte at this offset of the packet's area.
    fn packet_address(&self, at: u32) -> u64;

    /// What surrounds the program: ports, routes, seed.
    fn environment(&self) -> &Environment;

    /// The packet.
    fn window(&mut self) -> Window<'_>;

    /// CPU the program runs on: the packet's queue.
    fn cpu(&self) -> u32;

    /// Port that the packet came in on (ifindex, from 1).
    fn port(&self) -> u32;

    /// Number of the packet, counted from 0 over all captures.
    fn packet(&self) -> u64;

    /// Arrival of the packet, in nanoseconds since the epoch.
    fn now_ns(&self) -> u64;

    /// Next number of the packet's own random sequence: [`random`](super::random) of (seed,
    /// packet number, number of the call counted from 0).
    fn random(&mut self) -> u32;

    /// Notes where the packet is to be redirected; a later call replaces an earlier one. `None`
    /// forgets it (a lookup in a redirect map that found nothing).
    fn redirect(&mut self, target: Option<RedirectTarget>);

    /// Hands bytes to the host.
    fn emit(&mut self, kind: EventKind, bytes: &[u8]);

    /// The packet with what it has beside its bytes; `None` unless the program is one of tc.
    fn skb(&mut self) -> Option<(Window<'_>, &mut Skb)> {
        None
    }

    /// Makes the packet's area so large that `head` bytes lie before the frame and `tail` after
    /// it, if the machine can; for tc. Addresses in the packet change, as after a helper that
    /// moves it.
    fn make_room(&mut self, head: u32, tail: u32) {
        let _ = (head, tail);
    }

    /// Sends a copy of the packet; for tc.
    fn send(&mut self, copy: Emitted) {
        let _ = copy;
    }
}
