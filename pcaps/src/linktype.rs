//! [`LinkType`]: what the first byte of a captured packet belongs to.

use std::fmt;

/// A link-layer type as captures number it (the `LINKTYPE_` registry of tcpdump.org, which is
/// also Appendix A of draft-ietf-opsawg-pcaplinktype).
///
/// Any 16-bit number is a link type; the constants name those met in practice. Replay takes
/// [`LinkType::ETHERNET`] only, everything else is for the caller to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(
    /// The registered number.
    pub u16,
);

impl LinkType {
    /// BSD loopback: 4 bytes of address family in the capturing host's byte order, then IP.
    pub const NULL: Self = Self(0);
    /// Ethernet, from the destination address on, without preamble and (normally) without FCS.
    pub const ETHERNET: Self = Self(1);
    /// IPv4 or IPv6 with no link header: what a tun device or a raw socket shows.
    pub const RAW: Self = Self(101);
    /// 802.11 frames.
    pub const IEEE802_11: Self = Self(105);
    /// OpenBSD loopback: as [`LinkType::NULL`], in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux "cooked" capture: what `tcpdump -i any` wrote before libpcap 1.10.2.
    pub const LINUX_SLL: Self = Self(113);
    /// 802.11 frames behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// USB requests behind the header of Linux's usbmon.
    pub const USB_LINUX_MMAPPED: Self = Self(220);
    /// IPv4 with no link header.
    pub const IPV4: Self = Self(228);
    /// IPv6 with no link header.
    pub const IPV6: Self = Self(229);
    /// Netlink messages: what a capture on `nlmon` holds.
    pub const NETLINK: Self = Self(253);
    /// Linux "cooked" capture, version 2: what `tcpdump -i any` writes.
    pub const LINUX_SLL2: Self = Self(276);

    /// The registry's name without its prefix, or `None` for a number not named above.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NULL => "NULL",
            Self::ETHERNET => "ETHERNET",
            Self::RAW => "RAW",
            Self::IEEE802_11 => "IEEE802_11",
            Self::LOOP => "LOOP",
            Self::LINUX_SLL => "LINUX_SLL",
            Self::IEEE802_11_RADIOTAP => "IEEE802_11_RADIOTAP",
            Self::USB_LINUX_MMAPPED => "USB_LINUX_MMAPPED",
            Self::IPV4 => "IPV4",
            Self::IPV6 => "IPV6",
            Self::NETLINK => "NETLINK",
            Self::LINUX_SLL2 => "LINUX_SLL2",
            _ => return None,
        })
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "link type {}", self.0),
        }
    }
}
