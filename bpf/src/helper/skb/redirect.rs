//! Where a packet goes, and copies of it.

use super::packet;
use crate::helper::Machine;
use crate::map::Errno;
use crate::run::{Emitted, RedirectTarget, TrapCause, Via};

/// `TC_ACT_SHOT`.
const SHOT: u64 = 2;
/// `TC_ACT_REDIRECT`.
const REDIRECT: u64 = 7;
/// `BPF_F_INGRESS`.
const INGRESS: u64 = 1;
/// Bytes of `struct bpf_redir_neigh`.
const NEIGHBOUR: u32 = 20;

/// `bpf_redirect(ifindex, flags)` in tc.
pub(in super::super) fn redirect<M: Machine>(machine: &mut M, args: [u64; 5]) -> u64 {
    let ifindex = args[0] as u32;
    let target = match args[1] {
        0 => RedirectTarget::Ifindex { ifindex },
        INGRESS => RedirectTarget::Via {
            ifindex,
            via: Via::Ingress,
        },
        _ => return SHOT,
    };
    machine.redirect(Some(target));
    REDIRECT
}

fn via<M: Machine>(machine: &mut M, ifindex: u64, via: Via) -> u64 {
    let ifindex = ifindex as u32;
    machine.redirect(Some(RedirectTarget::Via { ifindex, via }));
    REDIRECT
}

/// `bpf_redirect_neigh(ifindex, params, size, flags)`.
pub(super) fn neighbour<M: Machine>(machine: &mut M, args: [u64; 5]) -> u64 {
    let [ifindex, _, size, flags, _] = args;
    let size = size as u32;
    if flags != 0 || (size != 0 && size < NEIGHBOUR) {
        return SHOT;
    }
    via(machine, ifindex, Via::Neighbour)
}

/// `bpf_redirect_peer(ifindex, flags)`.
pub(super) fn peer<M: Machine>(machine: &mut M, args: [u64; 5]) -> u64 {
    if args[1] != 0 {
        return SHOT;
    }
    via(machine, args[0], Via::Peer)
}

/// `bpf_clone_redirect(ctx, ifindex, flags)`: a copy goes, the packet stays.
pub(super) fn clone<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, ifindex, flags, ..] = args;
    let ifindex = ifindex as u32;
    if flags & !INGRESS != 0 || !machine.environment().has_port(ifindex) {
        return Ok(Errno::Einval.to_r0());
    }
    let bytes = packet(machine, 13)?.bytes().to_vec();
    let copy = Emitted {
        packet: machine.packet(),
        ifindex,
        ingress: flags & INGRESS != 0,
        bytes,
    };
    machine.send(copy);
    Ok(0)
}
