//! `bpf_fib_lookup`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Machine;
use super::routes::{Fib, LOCAL, MAIN, RouteKind};
use crate::map::Errno;
use crate::run::TrapCause;

/// Bytes of `struct bpf_fib_lookup` in linux/bpf.h.
const SIZE: usize = 64;

/// Byte offsets in `struct bpf_fib_lookup`.
mod field {
    pub(super) const FAMILY: usize = 0;
    /// In: length of the packet for the MTU check; out: the MTU.
    pub(super) const TOT_LEN: usize = 6;
    pub(super) const IFINDEX: usize = 8;
    /// Out, where the type of service was.
    pub(super) const METRIC: usize = 12;
    pub(super) const SRC: usize = 16;
    pub(super) const DST: usize = 32;
    /// Out; in: the table, with `TBID`.
    pub(super) const VLAN: usize = 48;
    pub(super) const SMAC: usize = 52;
    pub(super) const DMAC: usize = 58;
}

/// `BPF_FIB_LOOKUP_*`.
mod flag {
    pub(super) const DIRECT: u64 = 1;
    pub(super) const OUTPUT: u64 = 2;
    pub(super) const SKIP_NEIGH: u64 = 4;
    pub(super) const TBID: u64 = 8;
    pub(super) const SRC: u64 = 16;
    pub(super) const MARK: u64 = 32;
}

/// `BPF_FIB_LKUP_RET_*`.
mod ret {
    pub(super) const SUCCESS: u64 = 0;
    pub(super) const BLACKHOLE: u64 = 1;
    pub(super) const UNREACHABLE: u64 = 2;
    pub(super) const PROHIBIT: u64 = 3;
    pub(super) const NOT_FORWARDED: u64 = 4;
    pub(super) const FORWARDING_DISABLED: u64 = 5;
    pub(super) const NO_NEIGHBOUR: u64 = 7;
    pub(super) const FRAGMENT_NEEDED: u64 = 8;
    pub(super) const NO_SOURCE: u64 = 9;
}

/// `AF_INET` and `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;

/// The parameters, in the byte order of their structure.
struct Params([u8; SIZE]);

impl Params {
    fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.0[offset], self.0[offset + 1]])
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from(self.u16(offset)) | u32::from(self.u16(offset + 2)) << 16
    }

    fn set(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn address(&self, offset: usize) -> IpAddr {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[offset..offset + 16]);
        if self.0[field::FAMILY] == INET6 {
            Ipv6Addr::from(bytes).into()
        } else {
            Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
        }
    }

    /// Whether one of the addresses is an IPv6 address that no router forwards: multicast, of the
    /// link, or loopback. The kernel looks at nothing else then, not even at the port.
    fn stays_on_link(&self) -> bool {
        let of_link = |address| match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local() || v6.is_loopback(),
        };
        of_link(self.address(field::SRC)) || of_link(self.address(field::DST))
    }

    fn set_address(&mut self, offset: usize, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.set(offset, &v4.octets()),
            IpAddr::V6(v6) => self.set(offset, &v6.octets()),
        }
    }
}

/// `bpf_fib_lookup(ctx, params, size, flags)`: answers from the environment's FIB; without one
/// forwarding is off on every port.
pub(super) fn fib_lookup<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, address, size, flags, _] = args;
    let all = flag::DIRECT | flag::OUTPUT | flag::SKIP_NEIGH | flag::TBID | flag::SRC | flag::MARK;
    let flags = u64::from(flags as u32);
    if (size as u32 as i32) < SIZE as i32 || flags & !all != 0 {
        return Ok(Errno::Einval.to_r0());
    }
    let mut params = Params([0; SIZE]);
    machine.read(address, &mut params.0)?;
    if !matches!(params.0[field::FAMILY], INET | INET6) {
        return Ok(Errno::Eafnosupport.to_r0());
    }
    let environment = machine.environment();
    let result = match &environment.fib {
        _ if params.stays_on_link() => ret::NOT_FORWARDED,
        Some(fib) => lookup(fib, &mut params, flags),
        None if environment.has_port(params.u32(field::IFINDEX)) => ret::FORWARDING_DISABLED,
        None => Errno::Enodev.to_r0(),
    };
    machine.write(address, &params.0)?;
    Ok(result)
}

fn lookup(fib: &Fib, params: &mut Params, flags: u64) -> u64 {
    let ifindex = params.u32(field::IFINDEX);
    let Some(port) = fib.interfaces.get(&ifindex) else {
        return Errno::Enodev.to_r0();
    };
    if !port.forwarding {
        return ret::FORWARDING_DISABLED;
    }
    let to = params.address(field::DST);
    let out = (flags & flag::OUTPUT != 0).then_some(ifindex);
    let table = if flags & flag::DIRECT != 0 && flags & flag::TBID != 0 {
        let table = params.u32(field::VLAN);
        // The table's place is the VLAN's afterwards, also if nothing is found.
        params.set(field::VLAN, &[0; 4]);
        table
    } else {
        MAIN
    };
    // Without rules the kernel keeps IPv4's local routes in the main table.
    let local_too = flags & flag::DIRECT == 0 || (table == MAIN && to.is_ipv4());
    let route = local_too
        .then(|| fib.route(LOCAL, to, out))
        .flatten()
        .or_else(|| fib.route(table, to, out));
    let Some(route) = route else {
        return ret::NOT_FORWARDED;
    };
    match route.kind {
        RouteKind::Unicast => {}
        RouteKind::Blackhole => return ret::BLACKHOLE,
        RouteKind::Unreachable => return ret::UNREACHABLE,
        RouteKind::Prohibit => return ret::PROHIBIT,
        RouteKind::Local => return ret::NOT_FORWARDED,
    }
    let mtu = route.mtu.min(u32::from(u16::MAX)) as u16;
    if params.u16(field::TOT_LEN) > mtu {
        params.set(field::TOT_LEN, &mtu.to_le_bytes());
        return ret::FRAGMENT_NEEDED;
    }
    params.set(field::METRIC, &route.metric.to_le_bytes());
    params.set(field::IFINDEX, &route.ifindex.to_le_bytes());
    if flags & flag::SRC != 0 {
        let Some(src) = route.src.or_else(|| fib.source(route.ifindex, to)) else {
            return ret::NO_SOURCE;
        };
        params.set_address(field::SRC, src);
    }
    let next = route.via.unwrap_or(to);
    if let Some(via) = route.via {
        if via.is_ipv6() {
            params.set(field::FAMILY, &[INET6]);
        }
        params.set_address(field::DST, via);
    }
    if flags & flag::SKIP_NEIGH == 0 {
        let Some(dmac) = fib.neighbours.get(&(route.ifindex, next)) else {
            return ret::NO_NEIGHBOUR;
        };
        params.set(field::DMAC, dmac);
        if let Some(out) = fib.interfaces.get(&route.ifindex) {
            params.set(field::SMAC, &out.mac);
        }
    }
    params.set(field::VLAN, &[0; 4]);
    params.set(field::TOT_LEN, &mtu.to_le_bytes());
    ret::SUCCESS
}
