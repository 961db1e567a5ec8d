//! Internet checksums (RFC 1071) of the layers of a frame.

use super::layers::{Found, dissect};

/// The checksum of bytes, added to `sum`.
fn checksum(sum: u64, bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum = sum + words.sum::<u64>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// The sum of the pseudo header (RFC 768, RFC 8200 section 8.1) in front of `bytes` of a layer.
fn pseudo(frame: &[u8], ip: Found, protocol: u64, bytes: usize) -> u64 {
    let addresses = if ip.layer.name == "ipv4" {
        12..20
    } else {
        8..40
    };
    let addresses = &frame[ip.start..][addresses];
    let words = addresses
        .chunks(2)
        .map(|w| u64::from(w[0]) << 8 | u64::from(w[1]));
    words.sum::<u64>() + protocol + bytes as u64
}

/// What the checksum of one layer of a frame is, and what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Name of the layer.
    pub layer: &'static str,
    /// First byte of the checksum in the frame.
    pub at: usize,
    /// What stands there.
    pub is: u16,
    /// What is right.
    pub right: u16,
}

impl Checksum {
    /// Whether whoever receives it takes it: 0 and 0xffff are the same number in one's complement.
    /// A UDP datagram with 0 has no checksum, which on IPv4 it may.
    pub fn holds(&self, on_ipv4: bool) -> bool {
        if self.layer == "udp" && self.is == 0 {
            return on_ipv4;
        }
        self.is % 0xffff == self.right % 0xffff
    }
}

/// All checksums of a frame. What lies in fragments, or behind the end of the frame, has none.
pub fn all(frame: &[u8]) -> Vec<(Checksum, bool)> {
    let found = dissect(frame);
    let mut sums = Vec::new();
    let mut ip: Option<Found> = None;
    for layer in &found {
        let name = layer.layer.name;
        let mut end = frame.len();
        if let Some(ip) = ip {
            let bytes = &frame[ip.start..];
            let length = ip
                .layer
                .field("length")
                .and_then(|f| f.get(bytes))
                .unwrap_or(0) as usize;
            let start = if ip.layer.name == "ipv4" {
                ip.start
            } else {
                ip.end
            };
            end = start + length;
            let more = ip.layer.name == "ipv4" && frame[ip.start + 6] & 0x20 != 0;
            if end > frame.len() || more || end < layer.end {
                continue;
            }
        }
        let (sum, range) = match (name, ip) {
            ("ipv4", _) => (0, layer.start..layer.end),
            ("icmp", Some(_)) => (0, layer.start..end),
            ("udp" | "tcp" | "icmpv6", Some(ip)) => {
                let protocol = match name {
                    "udp" => 17,
                    "tcp" => 6,
                    _ => 58,
                };
                (
                    pseudo(frame, ip, protocol, end - layer.start),
                    layer.start..end,
                )
            }
            _ => {
                if name == "ipv6" {
                    ip = Some(*layer);
                }
                continue;
            }
        };
        if let Some(field) = layer.layer.field("checksum") {
            let mut bytes = frame[range].to_vec();
            let is = field.get(&bytes).unwrap_or(0) as u16;
            field.set(&mut bytes, 0);
            let right = match checksum(sum, &bytes) {
                0 if name == "udp" => 0xffff,
                right => right,
            };
            let on_ipv4 = ip.is_some_and(|ip| ip.layer.name == "ipv4");
            let at = layer.start + field.bit / 8;
            sums.push((
                Checksum {
                    layer: name,
                    at,
                    is,
                    right,
                },
                on_ipv4,
            ));
        }
        if name == "ipv4" {
            ip = Some(*layer);
        }
    }
    sums
}
