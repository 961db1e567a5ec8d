//! Redirects: to a port, or through a map of targets.

use super::Machine;
use super::map::map_of;
use crate::map::MapType;
use crate::run::{RedirectTarget, TrapCause};

/// `XDP_ABORTED`.
const ABORTED: u64 = 0;
/// `XDP_REDIRECT`.
const REDIRECT: u64 = 4;
/// The action that is returned for a missing target lies in these bits of the flags.
const ACTION_MASK: u64 = 3;
/// To all targets of a devmap.
const BROADCAST: u64 = 1 << 3;
/// But not back where the packet came from.
const EXCLUDE_INGRESS: u64 = 1 << 4;

/// `bpf_redirect(ifindex, flags)` in XDP: any flag aborts.
pub(super) fn redirect<M: Machine>(machine: &mut M, args: [u64; 5]) -> u64 {
    if args[1] != 0 {
        return ABORTED;
    }
    machine.redirect(Some(RedirectTarget::Ifindex {
        ifindex: args[0] as u32,
    }));
    REDIRECT
}

/// `bpf_redirect_map(map, key, flags)`: the lower two bits of flags are returned if there is no
/// target; a bit that is not known aborts.
pub(super) fn redirect_map<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [handle, key, flags, ..] = args;
    let (id, map) = map_of(machine, handle)?;
    let known = match map.kind() {
        MapType::Devmap | MapType::DevmapHash => BROADCAST | EXCLUDE_INGRESS,
        MapType::Cpumap | MapType::Xskmap => 0,
        _ => return Err(TrapCause::BadMap { value: handle }),
    };
    if flags & !(ACTION_MASK | known) != 0 {
        return Ok(ABORTED);
    }
    let key = key as u32;
    let target = if flags & BROADCAST != 0 {
        RedirectTarget::All {
            map: id,
            exclude_ingress: flags & EXCLUDE_INGRESS != 0,
        }
    } else if map.has_target(key) {
        RedirectTarget::Map {
            map: id,
            key: u64::from(key),
        }
    } else {
        machine.redirect(None);
        return Ok(flags & ACTION_MASK);
    };
    machine.redirect(Some(target));
    Ok(REDIRECT)
}
