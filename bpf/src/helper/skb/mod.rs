//! Helpers of tc programs on their packet (`bpf_skb_*` and those beside them).
//!
//! [`bytes`] copies, [`csum`] keeps checksums right, [`size`] and [`room`] make the packet longer
//! or shorter, [`vlan`] and [`tunnel`] change what goes around it, [`fields`] what it has beside
//! its bytes, [`redirect`] where it goes. They behave as Linux 6.18 does in a test run in an empty
//! network namespace; `tests/helpers_skb_vs_kernel.rs` asks it.

mod bytes;
mod csum;
mod fields;
mod redirect;
mod room;
mod size;
mod tunnel;
mod vlan;

pub(super) use redirect::redirect;

use super::{Machine, Window};
use crate::map::Errno;
use crate::run::TrapCause;
use crate::skb::{Skb, Word};

/// What a helper answers: a number, or an error of Linux.
type Answer = Result<u64, Errno>;

/// A tc packet while a helper works on it.
struct Packet<'a> {
    window: Window<'a>,
    skb: &'a mut Skb,
}

/// The packet of the machine that runs helper `id`.
fn packet<M: Machine>(machine: &mut M, id: u32) -> Result<Packet<'_>, TrapCause> {
    let (window, skb) = machine.skb().ok_or(TrapCause::BadHelper { id })?;
    Ok(Packet { window, skb })
}

impl Packet<'_> {
    /// Bytes of the packet.
    fn len(&self) -> u32 {
        self.window.end.saturating_sub(*self.window.data)
    }

    /// All its bytes, linear or not.
    fn bytes(&mut self) -> &mut [u8] {
        let (start, end) = (*self.window.data as usize, *self.window.end as usize);
        self.window.area.get_mut(start..end).unwrap_or_default()
    }

    /// Makes the first `len` bytes linear, as every helper does that writes there.
    fn pull(&mut self, len: u32) -> Result<(), Errno> {
        if len > self.len() {
            return Err(Errno::Enomem);
        }
        self.skb.linear = self.skb.linear.max(len);
        Ok(())
    }

    /// Notes the length that the borders say. A packet has no metadata.
    fn settle(&mut self) {
        *self.window.meta = *self.window.data;
        self.skb[Word::Len] = self.len();
        self.skb.linear = self.skb.linear.min(self.len());
    }

    /// Moves the first byte `by` bytes towards the front; there is room.
    fn push(&mut self, by: u32) {
        self.skb.make_headroom(by);
        self.skb.headroom -= by;
        *self.window.data = self.window.data.saturating_sub(by);
        self.skb.linear += by;
        self.settle();
    }
}

/// Room that a packet gets beyond what it needs when it grows, in bytes.
const SPARE: u32 = 64;

/// Makes room for `head` bytes before a packet.
fn make_head<M: Machine>(machine: &mut M, head: u32) {
    if let Some((window, _)) = machine.skb()
        && *window.data < head + SPARE
    {
        let tail = (window.area.len() as u32).saturating_sub(*window.end);
        machine.make_room(head + 2 * SPARE, tail);
    }
}

/// Inserts `len` zero bytes at byte `at` of the packet, which has room before it; the network
/// header stays as far from the packet's first byte as it was. Linux does not mind if the packet
/// ends before `at`: what then comes to be in it is not defined, here it is 0.
fn insert(packet: &mut Packet<'_>, at: u32, len: u32) {
    packet.skb.linear = packet.skb.linear.max(at).min(packet.len());
    packet.push(len);
    let start = *packet.window.data as usize;
    let (at, len) = (at as usize, len as usize);
    let area = &mut *packet.window.area;
    let end = area.len();
    let from = (start + len).min(end)..(start + len + at).min(end);
    area.copy_within(from, start);
    area[(start + at).min(end)..(start + at + len).min(end)].fill(0);
}

/// Removes `len` bytes at byte `at`, the other way round.
fn remove(packet: &mut Packet<'_>, at: u32, len: u32) -> Result<(), Errno> {
    packet.pull(at.checked_add(len).ok_or(Errno::Enomem)?)?;
    packet.bytes().copy_within(0..at as usize, len as usize);
    *packet.window.data += len;
    packet.skb.headroom += len;
    packet.skb.linear -= len;
    packet.settle();
    Ok(())
}

/// Runs one of these helpers; `None` if `id` is none of them.
pub(super) fn call<M: Machine>(
    id: u32,
    machine: &mut M,
    args: [u64; 5],
) -> Option<Result<u64, TrapCause>> {
    Some(match id {
        9 => bytes::store(machine, args),
        10 => csum::replace_l3(machine, args),
        11 => csum::replace_l4(machine, args),
        13 => redirect::clone(machine, args),
        // No control group or route has anything to say of a packet here; nothing but root owns a
        // socket; sockets that were found are given back, and none is; the packet's own is neither
        // of TCP nor listening.
        17 | 24 | 47 | 86 | 96 | 98 | 151 => Ok(0),
        18 => vlan::push(machine, args),
        19 => vlan::pop(machine),
        20 => tunnel::key(machine, args),
        21 => tunnel::set_key(machine, args),
        26 => bytes::load(machine, args),
        29 => tunnel::options(machine, args),
        30 => tunnel::set_options(machine, args),
        31 => size::change_proto(machine, args),
        32 => fields::change_type(machine, args),
        34 => fields::hash(machine),
        38 => size::change_tail(machine, args),
        39 => bytes::pull(machine, args),
        // No checksum of the whole packet is kept.
        40 => Ok(Errno::Enotsupp.to_r0()),
        41 => fields::forget_hash(machine),
        43 => size::change_head(machine, args),
        46 => Ok(fields::SOCKET_COOKIE),
        48 => fields::set_hash(machine, args),
        50 => room::adjust(machine, args),
        66 => fields::xfrm_state(machine, args),
        68 => bytes::load_relative(machine, args),
        // The root of all control groups.
        79 => Ok(1),
        83 => Ok(u64::from(args[1] as u32 == 0)),
        // The packet's socket is a whole one.
        95 => Ok(args[0]),
        97 => fields::ecn_set_ce(machine),
        124 => Ok(fields::sk_assign(args)),
        135 => csum::level(machine, args),
        152 => Ok(redirect::neighbour(machine, args)),
        155 => Ok(redirect::peer(machine, args)),
        192 => fields::set_tstamp(machine, args),
        _ => return None,
    })
}

/// What a program finds in r0.
fn r0(answer: Answer) -> u64 {
    answer.unwrap_or_else(Errno::to_r0)
}
