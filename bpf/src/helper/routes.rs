//! [`Fib`]: the routes, neighbours and interfaces that `bpf_fib_lookup` answers from.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// `RT_TABLE_MAIN`.
pub(super) const MAIN: u32 = 254;
/// `RT_TABLE_LOCAL`.
pub(super) const LOCAL: u32 = 255;

/// Routes, neighbours and interfaces, read from JSON:
///
/// ```
/// let fib = bpf::helper::Fib::from_json(r#"{
///   "interfaces": [
///     { "ifindex": 1, "mac": "02:00:00:00:00:01" },
///     { "ifindex": 2, "mac": "02:00:00:00:00:02", "mtu": 1400, "forwarding": false }
///   ],
///   "routes": [
///     { "to": "10.1.0.0/16", "via": "10.0.0.2", "ifindex": 2, "metric": 100, "src": "10.0.0.1" },
///     { "to": "2001:db8::/32", "ifindex": 1 },
///     { "to": "10.9.0.0/16", "type": "blackhole" }
///   ],
///   "neighbours": [ { "ip": "10.0.0.2", "ifindex": 2, "mac": "02:00:00:00:00:99" } ]
/// }"#)?;
/// # Ok::<(), bpf::helper::FibError>(())
/// ```
///
/// * `interfaces`: `mtu` is 1500 and `forwarding` true unless given. An interface that is not
///   listed does not exist.
/// * `routes`: `to` is a prefix (`0.0.0.0/0` for the default route); `via` a gateway, of either
///   family, absent for a route on the link; `type` is `unicast` (which needs `ifindex`),
///   `local`, `blackhole`, `unreachable` or `prohibit`; `metric` is 0 for IPv4 and 1024 for IPv6
///   unless given; `table` 254 (main), or 255 for a local route; `mtu` that of the interface;
///   `src` the preferred source address, which is an address of this host (as by a `local`
///   route). Of routes to the same prefix that with the lowest
///   metric is taken. Rules and several next hops are not modelled.
/// * `neighbours`: whose MAC address is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fib {
    pub(super) interfaces: BTreeMap<u32, Interface>,
    /// By (IPv6, table, length), longest first, then by prefix.
    routes: BTreeMap<(bool, u32, Reverse<u8>), BTreeMap<u128, Route>>,
    pub(super) neighbours: BTreeMap<(u32, IpAddr), [u8; 6]>,
    /// The host's own addresses, by interface.
    addresses: BTreeSet<(u32, IpAddr)>,
}

/// Why a FIB cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FibError {
    /// The text is not JSON of the form that [`Fib`] describes.
    #[error("not a FIB: {0}")]
    Json(#[from] serde_json::Error),
    /// A prefix is not `ADDRESS/LENGTH`, or its length is too long.
    #[error("route {index}: `{text}` is no prefix such as 10.0.0.0/8 or 2001:db8::/32")]
    Prefix {
        /// Index in `routes`.
        index: usize,
        /// What stands there.
        text: String,
    },
    /// A MAC address is not six hexadecimal bytes.
    #[error("{what} {index}: `{text}` is no MAC address such as 02:00:00:00:00:01")]
    Mac {
        /// `interface` or `neighbour`.
        what: &'static str,
        /// Index in its list.
        index: usize,
        /// What stands there.
        text: String,
    },
    /// Something names an interface that is not listed.
    #[error("{what} {index}: interface {ifindex} is not among `interfaces`")]
    NoInterface {
        /// `route` or `neighbour`.
        what: &'static str,
        /// Index in its list.
        index: usize,
        /// Interface index.
        ifindex: u32,
    },
    /// A unicast route without `ifindex`.
    #[error("route {index}: a unicast route needs an `ifindex`")]
    NoTarget {
        /// Index in `routes`.
        index: usize,
    },
}

/// An interface of a [`Fib`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// MAC address.
    pub mac: [u8; 6],
    /// Largest packet, in bytes without the Ethernet header.
    pub mtu: u32,
    /// Whether what comes in here is forwarded.
    pub forwarding: bool,
}

/// Where a [`Fib`] sends the packets of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// What happens to them.
    pub kind: RouteKind,
    /// Gateway, of either family; `None` where the destination is on the link.
    pub via: Option<IpAddr>,
    /// Interface they leave by; 0 where there is none.
    pub ifindex: u32,
    /// Metric (`RTA_PRIORITY`).
    pub metric: u32,
    /// Largest packet, in bytes without the Ethernet header; 0 where there is no interface.
    pub mtu: u32,
    /// Preferred source address.
    pub src: Option<IpAddr>,
}

/// What happens to packets that a route matches (`RTN_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// They are forwarded.
    #[default]
    Unicast,
    /// They are for this host.
    Local,
    /// They are dropped.
    Blackhole,
    /// They are refused as unreachable.
    Unreachable,
    /// They are refused as prohibited.
    Prohibit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    interfaces: Vec<InterfaceEntry>,
    #[serde(default)]
    routes: Vec<RouteEntry>,
    #[serde(default)]
    neighbours: Vec<NeighbourEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InterfaceEntry {
    ifindex: u32,
    mac: String,
    #[serde(default = "ethernet_mtu")]
    mtu: u32,
    #[serde(default = "yes")]
    forwarding: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteEntry {
    to: String,
    via: Option<IpAddr>,
    ifindex: Option<u32>,
    #[serde(default, rename = "type")]
    kind: RouteKind,
    metric: Option<u32>,
    table: Option<u32>,
    mtu: Option<u32>,
    src: Option<IpAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NeighbourEntry {
    ip: IpAddr,
    ifindex: u32,
    mac: String,
}

const fn ethernet_mtu() -> u32 {
    1500
}

const fn yes() -> bool {
    true
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// An address as the upper bits of a number, so that both families are cut alike.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The label of an address in the default policy table of RFC 6724 §2.1.
fn label(address: Ipv6Addr) -> u8 {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => 0,
        [0, 0, 0, 0, 0, 0xffff, _, _] => 4,
        [0, 0, 0, 0, 0, 0, _, _] => 3,
        [0x2002, ..] => 2,
        [0x2001, 0, ..] => 5,
        [0x3ffe, ..] => 12,
        [first, ..] if first & 0xfe00 == 0xfc00 => 13,
        [first, ..] if first & 0xffc0 == 0xfec0 => 11,
        _ => 1,
    }
}

fn cut(bits: u128, len: u8) -> u128 {
    match len {
        0 => 0,
        len => bits & (u128::MAX << (128 - u32::from(len))),
    }
}

impl Fib {
    /// Reads the JSON that [`Fib`] describes.
    ///
    /// # Errors
    /// [`FibError`], naming the entry and what is wrong with it.
    pub fn from_json(text: &str) -> Result<Fib, FibError> {
        let file: File = serde_json::from_str(text)?;
        let mut fib = Fib::default();
        for (index, entry) in file.interfaces.into_iter().enumerate() {
            let mac = mac(&entry.mac).ok_or(FibError::Mac {
                what: "interface",
                index,
                text: entry.mac,
            })?;
            let interface = Interface {
                mac,
                mtu: entry.mtu,
                forwarding: entry.forwarding,
            };
            fib.interfaces.insert(entry.ifindex, interface);
        }
        for (index, entry) in file.routes.into_iter().enumerate() {
            fib.add_route(index, &entry)?;
        }
        fib.note_addresses();
        for (index, entry) in file.neighbours.into_iter().enumerate() {
            let mac = mac(&entry.mac).ok_or(FibError::Mac {
                what: "neighbour",
                index,
                text: entry.mac,
            })?;
            fib.interface("neighbour", index, entry.ifindex)?;
            fib.neighbours.insert((entry.ifindex, entry.ip), mac);
        }
        Ok(fib)
    }

    /// Notes the host's own addresses: those of local routes, and preferred sources, which Linux
    /// takes only if they are its own. The latter get the local route that comes with an address.
    fn note_addresses(&mut self) {
        let hosts = |of: IpAddr| if of.is_ipv6() { 128 } else { 32 };
        let mut own: BTreeSet<(u32, IpAddr)> = self
            .routes()
            .filter(|(_, (to, len), r)| r.kind == RouteKind::Local && *len == hosts(*to))
            .map(|(_, (to, _), route)| (route.ifindex, to))
            .collect();
        let sources: Vec<(IpAddr, Route)> = self
            .routes()
            .filter_map(|(_, _, route)| Some((route.src?, route.clone())))
            .collect();
        for (address, route) in sources {
            // An IPv6 source must be on the very interface.
            if address.is_ipv6() || own.iter().all(|(_, known)| *known != address) {
                own.insert((route.ifindex, address));
            }
            let local = Route {
                kind: RouteKind::Local,
                via: None,
                src: None,
                metric: 0,
                ..route
            };
            self.routes
                .entry((address.is_ipv6(), LOCAL, Reverse(hosts(address))))
                .or_default()
                .entry(bits(address))
                .or_insert(local);
        }
        own.retain(|(ifindex, _)| *ifindex != 0);
        self.addresses = own;
    }

    /// The host's own addresses, and the interface that each is on.
    pub fn addresses(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.addresses.iter().copied()
    }

    /// The source that the kernel chooses for packets to `to` that leave by `ifindex`, where the
    /// route prefers none: by RFC 6724 for IPv6; for IPv4 the first address of the interface, else
    /// of another.
    pub(super) fn source(&self, ifindex: u32, to: IpAddr) -> Option<IpAddr> {
        let own = self.addresses.iter();
        let family = own.filter(|(_, address)| address.is_ipv6() == to.is_ipv6());
        let rank = |(of, address): &(u32, IpAddr)| {
            let elsewhere = *of != ifindex;
            match (address, to) {
                (IpAddr::V6(address), IpAddr::V6(to)) => (
                    *address != to,
                    elsewhere,
                    label(*address) != label(to),
                    Reverse((address.to_bits() ^ to.to_bits()).leading_zeros()),
                ),
                _ => (false, elsewhere, false, Reverse(0)),
            }
        };
        family
            .min_by_key(|own| rank(own))
            .map(|(_, address)| *address)
    }

    /// Link address of an interface, if it is listed.
    pub fn mac(&self, ifindex: u32) -> Option<[u8; 6]> {
        Some(self.interfaces.get(&ifindex)?.mac)
    }

    fn interface(
        &self,
        what: &'static str,
        index: usize,
        ifindex: u32,
    ) -> Result<&Interface, FibError> {
        self.interfaces.get(&ifindex).ok_or(FibError::NoInterface {
            what,
            index,
            ifindex,
        })
    }

    fn add_route(&mut self, index: usize, entry: &RouteEntry) -> Result<(), FibError> {
        let no_prefix = || FibError::Prefix {
            index,
            text: entry.to.clone(),
        };
        let (address, len) = entry.to.split_once('/').ok_or_else(no_prefix)?;
        let (Ok(address), Ok(len)) = (address.parse::<IpAddr>(), len.parse::<u8>()) else {
            return Err(no_prefix());
        };
        if len > if address.is_ipv6() { 128 } else { 32 } {
            return Err(no_prefix());
        }
        let (ifindex, mtu) = match (entry.ifindex, entry.kind) {
            (None, RouteKind::Unicast) => return Err(FibError::NoTarget { index }),
            (None, _) => (0, 0),
            (Some(ifindex), _) => (ifindex, self.interface("route", index, ifindex)?.mtu),
        };
        let route = Route {
            kind: entry.kind,
            via: entry.via,
            ifindex,
            metric: entry
                .metric
                .unwrap_or(if address.is_ipv6() { 1024 } else { 0 }),
            mtu: entry.mtu.unwrap_or(mtu),
            src: entry.src,
        };
        let table = entry.table.unwrap_or(if entry.kind == RouteKind::Local {
            LOCAL
        } else {
            MAIN
        });
        let of_length = self
            .routes
            .entry((address.is_ipv6(), table, Reverse(len)))
            .or_default();
        let prefix = cut(bits(address), len);
        if of_length
            .get(&prefix)
            .is_none_or(|before| route.metric < before.metric)
        {
            of_length.insert(prefix, route);
        }
        Ok(())
    }

    /// The interfaces by index.
    pub fn interfaces(&self) -> impl Iterator<Item = (u32, &Interface)> {
        self.interfaces.iter().map(|(index, port)| (*index, port))
    }

    /// The MTU of an interface, if it is listed.
    pub fn mtu(&self, ifindex: u32) -> Option<u32> {
        self.interfaces.get(&ifindex).map(|interface| interface.mtu)
    }

    /// All routes: table, prefix (address and length in bits), route.
    pub fn routes(&self) -> impl Iterator<Item = (u32, (IpAddr, u8), &Route)> {
        self.routes
            .iter()
            .flat_map(|((v6, table, len), of_length)| {
                of_length.iter().map(move |(prefix, route)| {
                    let address = if *v6 {
                        IpAddr::from(prefix.to_be_bytes())
                    } else {
                        IpAddr::from(((prefix >> 96) as u32).to_be_bytes())
                    };
                    (*table, (address, len.0), route)
                })
            })
    }

    /// The neighbours whose MAC address is known, by interface and address.
    pub fn neighbours(&self) -> impl Iterator<Item = (u32, IpAddr, [u8; 6])> {
        let known = self.neighbours.iter();
        known.map(|((ifindex, ip), mac)| (*ifindex, *ip, *mac))
    }

    /// The route to `address` in `table`: the longest prefix. With `out` only routes through
    /// that interface.
    pub(super) fn route(&self, table: u32, address: IpAddr, out: Option<u32>) -> Option<&Route> {
        let v6 = address.is_ipv6();
        let whole = bits(address);
        self.routes
            .range((v6, table, Reverse(u8::MAX))..=(v6, table, Reverse(0)))
            .filter_map(|((_, _, Reverse(len)), routes)| routes.get(&cut(whole, *len)))
            .find(|route| out.is_none_or(|out| route.ifindex == out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| Fib::from_json(text).unwrap_err().to_string();
        let port = r#""interfaces": [{"ifindex": 1, "mac": "02:00:00:00:00:01"}]"#;
        assert_eq!(
            error(&format!(
                r#"{{{port}, "routes": [{{"to": "10.0.0.0/33", "ifindex": 1}}]}}"#
            )),
            "route 0: `10.0.0.0/33` is no prefix such as 10.0.0.0/8 or 2001:db8::/32"
        );
        assert_eq!(
            error(&format!(
                r#"{{{port}, "routes": [{{"to": "::/0", "ifindex": 7}}]}}"#
            )),
            "route 0: interface 7 is not among `interfaces`"
        );
        assert_eq!(
            error(&format!(r#"{{{port}, "routes": [{{"to": "::/0"}}]}}"#)),
            "route 0: a unicast route needs an `ifindex`"
        );
        assert_eq!(
            error(r#"{"interfaces": [{"ifindex": 1, "mac": "2:0:0:0:0:1"}]}"#),
            "interface 0: `2:0:0:0:0:1` is no MAC address such as 02:00:00:00:00:01"
        );
        assert!(error(r#"{"interfaces": [], "route": []}"#).contains("unknown field `route`"));
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let fib = Fib::from_json(
            r#"{"interfaces": [{"ifindex": 1, "mac": "02:00:00:00:00:01"}],
            "routes": [
              {"to": "0.0.0.0/0", "ifindex": 1, "metric": 1},
              {"to": "10.0.0.0/8", "ifindex": 1, "metric": 9},
              {"to": "10.0.0.0/8", "ifindex": 1, "metric": 3},
              {"to": "10.0.0.0/8", "ifindex": 1, "metric": 5},
              {"to": "10.1.0.0/16", "ifindex": 1, "metric": 7, "table": 100}]}"#,
        )
        .unwrap();
        let metric = |table, address: &str| {
            fib.route(table, address.parse().unwrap(), None)
                .map(|route| route.metric)
        };
        assert_eq!(metric(MAIN, "10.1.2.3"), Some(3));
        assert_eq!(metric(MAIN, "11.1.2.3"), Some(1));
        assert_eq!(metric(100, "10.1.2.3"), Some(7));
        assert_eq!(metric(100, "10.2.2.3"), None);
        assert_eq!(metric(MAIN, "::1"), None);
    }
}
