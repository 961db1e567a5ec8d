//! The worker's network namespace: an interface for each port, and the routes of the environment.
//!
//! Ports are veths, of as many receive queues as the NIC has; the other end of each lies in the
//! same namespace. Port 1 is the loopback interface, which every namespace has under that index.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use bpf::helper::{Fib, Interface, Route, RouteKind};
use bpf::map::{MapSet, MapType};
use bpf::run::Environment;

use super::netlink::{Ask, Message, Netlink, attribute};

/// Index of the loopback interface in every namespace.
const LOOPBACK: u32 = 1;
/// The other end of port `p` has index `PEERS + p`, above all that NICs name.
const PEERS: u32 = 1 << 24;
/// Index of an interface of all queues that no program can name.
pub(super) const UNNAMED: u32 = PEERS - 1;
/// Kinds of interface for ports where the kernel has no veths, by how plain they are.
const KINDS: [&str; 3] = ["dummy", "ifb", "bridge"];

/// What of the network could not be made, and why.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub(super) struct NetworkError {
    pub(super) what: String,
    pub(super) error: io::Error,
}

/// Names a step that failed.
fn step<T>(what: impl Into<String>, result: io::Result<T>) -> Result<T, NetworkError> {
    result.map_err(|error| NetworkError {
        what: what.into(),
        error,
    })
}

/// Takes `EEXIST` as done.
fn existing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Fills the namespace of this thread, which has nothing but the loopback interface: the ports
/// that the environment and the redirect maps name, and what the FIB says. `unnamed`: also an
/// interface of `queues` receive queues that programs cannot name.
pub(super) fn fill(
    environment: &Environment,
    maps: &MapSet,
    queues: u32,
    unnamed: bool,
) -> Result<(), NetworkError> {
    let netlink = step("netlink", Netlink::open())?;
    let ports = ports(environment, maps);
    for port in ports.iter().filter(|port| **port != LOOPBACK) {
        let made = existing(create(&netlink, *port, queues));
        step(format!("interface {port}"), made)?;
    }
    if unnamed {
        step("interface", create(&netlink, UNNAMED, queues))?;
    }
    match &environment.fib {
        None => Ok(()),
        Some(fib) => Routes {
            netlink: &netlink,
            fib,
        }
        .set(),
    }
}

/// The interfaces that are named anywhere.
fn ports(environment: &Environment, maps: &MapSet) -> BTreeSet<u32> {
    let mut ports: BTreeSet<u32> = environment.ports.iter().copied().collect();
    if let Some(fib) = &environment.fib {
        ports.extend(fib.interfaces().map(|(index, _)| index));
    }
    for map in maps.iter() {
        if matches!(map.kind(), MapType::Devmap | MapType::DevmapHash) {
            let values = map.host_keys().into_iter().map(|key| map.host_lookup(&key));
            let first = |value: Vec<u8>| Some(u32::from_le_bytes(*value.first_chunk()?));
            ports.extend(values.flatten().filter_map(first));
        }
    }
    ports
}

/// A `struct ifinfomsg`: family, type, index, flags, which flags to change.
fn link(index: u32, flags: u32) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_le_bytes());
    fixed[8..12].copy_from_slice(&flags.to_le_bytes());
    fixed[12..16].copy_from_slice(&flags.to_le_bytes());
    fixed
}

/// Attributes of a link (`IFLA_*`).
mod attr {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK_INFO: u16 = 18;
    pub(super) const AF_SPEC: u16 = 26;
    pub(super) const TX_QUEUES: u16 = 31;
    pub(super) const RX_QUEUES: u16 = 32;
    /// In `LINK_INFO`.
    pub(super) const KIND: u16 = 1;
    pub(super) const DATA: u16 = 2;
    /// In a veth's `DATA`.
    pub(super) const VETH_PEER: u16 = 1;
    /// In `AF_SPEC`'s `AF_INET6`: how addresses of the link are made, and the value for "not".
    pub(super) const ADDRESS_MODE: u16 = 8;
    pub(super) const NO_ADDRESSES: u8 = 1;
}

/// Creates an interface: a veth, or where the kernel has none something that has at least an
/// index.
fn create(netlink: &Netlink, index: u32, queues: u32) -> io::Result<()> {
    let queued = |message: Message| {
        message
            .with_u32(attr::TX_QUEUES, queues)
            .with_u32(attr::RX_QUEUES, queues)
    };
    let peer = [link(PEERS.wrapping_add(index), 0).as_slice(), &[]].concat();
    let data = attribute(attr::VETH_PEER, &peer);
    let info = [attribute(attr::KIND, b"veth"), attribute(attr::DATA, &data)].concat();
    let veth = queued(Message::new(Ask::NewLink, &link(index, 0))).with(attr::LINK_INFO, &info);
    let mut made = netlink.ask(&veth);
    for kind in KINDS {
        if matches!(&made, Err(error) if error.kind() != io::ErrorKind::AlreadyExists) {
            let info = attribute(attr::KIND, kind.as_bytes());
            made = netlink
                .ask(&Message::new(Ask::NewLink, &link(index, 0)).with(attr::LINK_INFO, &info));
        }
    }
    made
}

/// The steps that make a FIB.
struct Routes<'a> {
    netlink: &'a Netlink,
    fib: &'a Fib,
}

/// `IFF_UP`.
const UP: u32 = 1;
/// `AF_INET` and `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;

impl Routes<'_> {
    fn set(&self) -> Result<(), NetworkError> {
        for (index, interface) in self.fib.interfaces() {
            let set = self.interface(index, interface);
            step(format!("interface {index}"), set)?;
        }
        for (index, address) in self.fib.addresses() {
            let set = existing(self.address(Ask::NewAddress, address, host_bits(address), index));
            step(format!("address {address} on interface {index}"), set)?;
        }
        // Routes to gateways before those that need them.
        let mut routes: Vec<_> = self.fib.routes().collect();
        routes.sort_by_key(|(_, _, route)| route.via.is_some());
        for (table, (to, len), route) in routes {
            let set = existing(self.route(table, to, len, route));
            step(format!("route to {to}/{len}"), set)?;
        }
        for (index, ip, mac) in self.fib.neighbours() {
            let set = existing(self.neighbour(index, ip, mac));
            step(format!("neighbour {ip} on interface {index}"), set)?;
        }
        Ok(())
    }

    fn interface(&self, index: u32, interface: &Interface) -> io::Result<()> {
        let no_addresses = attribute(
            u16::from(INET6),
            &attribute(attr::ADDRESS_MODE, &[attr::NO_ADDRESSES]),
        );
        let quiet = |index| Message::new(Ask::SetLink, &link(index, UP));
        let mut set = quiet(index)
            .with(attr::ADDRESS, &interface.mac)
            .with_u32(attr::MTU, interface.mtu);
        if index != LOOPBACK {
            set = set.with(attr::AF_SPEC, &no_addresses);
            let peer = quiet(PEERS.wrapping_add(index)).with(attr::AF_SPEC, &no_addresses);
            self.netlink.ask(&peer)?;
        }
        self.netlink.ask(&set)?;
        if index == LOOPBACK {
            // It gets its address when it goes up.
            let own = IpAddr::from([127, 0, 0, 1]);
            let _ = self.address(Ask::DelAddress, own, 8, index);
        }
        let name = interface_name(index)?;
        for family in ["ipv4", "ipv6"] {
            let path = format!("/proc/sys/net/{family}/conf/{name}/forwarding");
            let on = if interface.forwarding { "1" } else { "0" };
            match std::fs::write(path, on) {
                // A kernel without IPv6; a route of that family then says so.
                Err(error) if error.kind() == io::ErrorKind::NotFound && family == "ipv6" => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn address(&self, ask: Ask, address: IpAddr, bits: u8, index: u32) -> io::Result<()> {
        /// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_FLAGS`.
        const ADDRESS: u16 = 1;
        const LOCAL: u16 = 2;
        const FLAGS: u16 = 8;
        /// `IFA_F_NODAD | IFA_F_NOPREFIXROUTE`.
        const BARE: u32 = 0x2 | 0x200;
        // struct ifaddrmsg: family, bits, flags, scope, index.
        let mut fixed = [family(address), bits, 0, 0, 0, 0, 0, 0];
        fixed[4..8].copy_from_slice(&index.to_le_bytes());
        let octets = octets(address);
        let message = Message::new(ask, &fixed)
            .with(LOCAL, &octets)
            .with(ADDRESS, &octets);
        self.netlink.ask(&match ask {
            Ask::NewAddress => message.with_u32(FLAGS, BARE),
            _ => message,
        })
    }

    fn route(&self, table: u32, to: IpAddr, len: u8, route: &Route) -> io::Result<()> {
        /// `RTA_*`.
        const DST: u16 = 1;
        const OIF: u16 = 4;
        const GATEWAY: u16 = 5;
        const PRIORITY: u16 = 6;
        const PREFSRC: u16 = 7;
        const METRICS: u16 = 8;
        const TABLE: u16 = 15;
        const VIA: u16 = 18;
        /// `RTAX_LOCK` and `RTAX_MTU`: Linux heeds a route's MTU for forwarding if it is locked.
        const AX_LOCK: u16 = 1;
        const AX_MTU: u16 = 2;
        /// `RTPROT_STATIC`, `RT_SCOPE_*`, `RTNH_F_ONLINK`.
        const STATIC: u8 = 4;
        const UNIVERSE: u8 = 0;
        const LINK: u8 = 253;
        const HOST: u8 = 254;
        const ONLINK: u32 = 4;
        let kind = match route.kind {
            RouteKind::Unicast => 1,
            RouteKind::Local => 2,
            RouteKind::Blackhole => 6,
            RouteKind::Unreachable => 7,
            RouteKind::Prohibit => 8,
        };
        let scope = match (route.kind, route.via) {
            (RouteKind::Local, _) => HOST,
            (RouteKind::Unicast, None) => LINK,
            _ => UNIVERSE,
        };
        // struct rtmsg: family, both lengths, type of service, table, protocol, scope, type,
        // flags.
        let small = u8::try_from(table).unwrap_or(0);
        let mut fixed = vec![family(to), len, 0, 0, small, STATIC, scope, kind];
        let flags = if route.via.is_some() { ONLINK } else { 0 };
        fixed.extend_from_slice(&flags.to_le_bytes());
        let mut message = Message::new(Ask::NewRoute, &fixed)
            .with_u32(TABLE, table)
            .with(DST, &octets(to))
            .with_u32(PRIORITY, route.metric);
        if route.ifindex != 0 {
            message = message.with_u32(OIF, route.ifindex);
        }
        if let Some(via) = route.via {
            let octets = octets(via);
            message = if family(via) == family(to) {
                message.with(GATEWAY, &octets)
            } else {
                // struct rtvia: family, address.
                message.with(VIA, &[&[family(via), 0][..], &octets].concat())
            };
        }
        if let Some(src) = route.src {
            message = message.with(PREFSRC, &octets(src));
        }
        let own = self
            .fib
            .interfaces()
            .find(|(index, _)| *index == route.ifindex);
        if own.is_some_and(|(_, interface)| interface.mtu != route.mtu) {
            let metrics = [
                attribute(AX_LOCK, &(1u32 << AX_MTU).to_le_bytes()),
                attribute(AX_MTU, &route.mtu.to_le_bytes()),
            ];
            message = message.with(METRICS, &metrics.concat());
        }
        self.netlink.ask(&message)
    }

    fn neighbour(&self, index: u32, ip: IpAddr, mac: [u8; 6]) -> io::Result<()> {
        /// `NDA_DST`, `NDA_LLADDR`, `NUD_PERMANENT`.
        const DST: u16 = 1;
        const LLADDR: u16 = 2;
        const PERMANENT: u16 = 0x80;
        // struct ndmsg: family, padding, index, state, flags, type.
        let mut fixed = [0; 12];
        fixed[0] = family(ip);
        fixed[4..8].copy_from_slice(&index.to_le_bytes());
        fixed[8..10].copy_from_slice(&PERMANENT.to_le_bytes());
        self.netlink.ask(
            &Message::new(Ask::NewNeighbour, &fixed)
                .with(DST, &octets(ip))
                .with(LLADDR, &mac),
        )
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Length of the prefix that is one address.
fn host_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The name that the kernel gave to an interface.
fn interface_name(index: u32) -> io::Result<String> {
    super::sys::interface_name(index)
}
