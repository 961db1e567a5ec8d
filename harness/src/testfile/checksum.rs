//! Internet checksums (RFC 1071) of the layers of a frame.

use super::layers::Found;

/// The checksum of bytes, added to `sum`.
fn checksum(sum: u64, bytes: &[u8]) -> u16 {
    let mut sum = sum + words(bytes);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

fn words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

/// What the checksum of one layer of a frame is, and what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Number of the layer in the frame, from 0.
    pub layer: usize,
    /// First byte of the checksum in the frame.
    pub at: usize,
    /// What stands there.
    pub is: u16,
    /// What is right.
    pub right: u16,
    /// Whether there may be none, which 0 says: in UDP over IPv4, and in tunnels over IPv6
    /// (RFC 6935).
    pub optional: bool,
}

impl Checksum {
    /// Whether whoever receives it takes it: 0 and 0xffff are the same number in one's complement,
    /// but in UDP, where 0 says that there is none.
    pub fn holds(&self) -> bool {
        if self.is == 0 && self.optional {
            return true;
        }
        self.is % 0xffff == self.right % 0xffff && (self.is == self.right || self.right != 0xffff)
    }
}

/// All checksums of the layers of a frame. What lies in fragments or behind the end of the frame has
/// none, nor has what goes to another address than the header's (IPv6 routing headers).
pub fn all(frame: &[u8], layers: &[Found]) -> Vec<Checksum> {
    let mut sums = Vec::new();
    let mut ip: Option<Found> = None;
    for (at, layer) in layers.iter().enumerate() {
        match layer.layer.name {
            "ipv4" => {
                sums.extend(sum(frame, at, layer, 0, layer.end));
                ip = Some(*layer).filter(|_| !is_fragment(frame, layer));
            }
            "ipv6" => ip = Some(*layer),
            "fragment" if is_fragment(frame, layer) => ip = None,
            "routing" if layer.number(frame, "left") != Some(0) => ip = None,
            "icmp" | "icmpv6" | "udp" | "tcp" => {
                let Some((ip, end)) = ip.and_then(|ip| Some((ip, end(frame, &ip)?))) else {
                    continue;
                };
                if end < layer.end || end > frame.len() {
                    continue;
                }
                let pseudo = match layer.layer.announced {
                    [(_, 1), ..] | [] => 0,
                    [(_, protocol), ..] => {
                        words(addresses(frame, &ip)) + *protocol as u64 + (end - layer.start) as u64
                    }
                };
                let udp = layer.layer.name == "udp";
                let tunnel = udp && layers.get(at + 1).is_some();
                let optional = udp && (ip.layer.name == "ipv4" || tunnel);
                sums.extend(sum(frame, at, layer, pseudo, end).map(|sum| Checksum {
                    right: if udp && sum.right == 0 {
                        0xffff
                    } else {
                        sum.right
                    },
                    optional,
                    ..sum
                }));
            }
            _ => {}
        }
    }
    sums
}

/// Whether the frame holds but a part of what the layer carries.
fn is_fragment(frame: &[u8], layer: &Found) -> bool {
    let set = |field, mask| layer.number(frame, field).unwrap_or(0) & mask != 0;
    set("fragment", u128::MAX) || set("more", 1) || set("flags", 1)
}

/// Where what an IP header carries ends; `None` if the length says nothing.
fn end(frame: &[u8], ip: &Found) -> Option<usize> {
    let length = ip.number(frame, "length")? as usize;
    let from = match ip.layer.name {
        "ipv4" => ip.start,
        _ => ip.end,
    };
    Some(from + length)
}

/// Both addresses of an IP header, for the pseudo header (RFC 768, RFC 8200 section 8.1).
fn addresses<'a>(frame: &'a [u8], ip: &Found) -> &'a [u8] {
    let first = ip.layer.field("src").map_or(0, |field| field.bit / 8);
    let range = ip.start + first..ip.start + ip.layer.bytes();
    frame.get(range).unwrap_or_default()
}

fn sum(frame: &[u8], at: usize, layer: &Found, pseudo: u64, end: usize) -> Option<Checksum> {
    let field = layer.layer.field("checksum")?;
    let mut bytes = frame.get(layer.start..end)?.to_vec();
    let is = field.get(&bytes)? as u16;
    field.set(&mut bytes, 0);
    Some(Checksum {
        layer: at,
        at: layer.start + field.bit / 8,
        is,
        right: checksum(pseudo, &bytes),
        optional: false,
    })
}
