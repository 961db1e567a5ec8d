//! The table of protocol layers and their fields: by it packets are written, taken apart, and
//! compared. Offsets are in bits from the layer's start, numbers in network byte order.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Decimal, or hexadecimal behind `0x`.
    Number,
    /// `02:00:00:00:00:01`
    Mac,
    /// `10.0.0.1`
    Ipv4,
    /// `fd00::1`
    Ipv6,
}

/// A field of a layer.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// First bit, from the layer's start.
    pub bit: usize,
    /// Number of bits, at most 128.
    pub bits: usize,
    /// How it is written.
    pub form: Form,
    /// What a written packet has where the field is not given.
    pub default: u128,
}

/// A layer.
#[derive(Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name.
    pub name: &'static str,
    /// Length in bytes without options.
    pub bytes: usize,
    /// Fields, by offset.
    pub fields: &'static [Field],
}

const fn number(name: &'static str, bit: usize, bits: usize, default: u128) -> Field {
    Field {
        name,
        bit,
        bits,
        form: Form::Number,
        default,
    }
}

const fn address(name: &'static str, bit: usize, form: Form, default: u128) -> Field {
    let bits = match form {
        Form::Mac => 48,
        Form::Number | Form::Ipv4 => 32,
        Form::Ipv6 => 128,
    };
    Field {
        name,
        bit,
        bits,
        form,
        default,
    }
}

/// IEEE 802.3.
pub static ETH: Layer = Layer {
    name: "eth",
    bytes: 14,
    fields: &[
        address("dst", 0, Form::Mac, 0x0200_0000_0002),
        address("src", 48, Form::Mac, 0x0200_0000_0001),
        number("type", 96, 16, 0x0800),
    ],
};

/// IEEE 802.1Q: the tag without the type in front of it.
pub static VLAN: Layer = Layer {
    name: "vlan",
    bytes: 4,
    fields: &[
        number("pcp", 0, 3, 0),
        number("dei", 3, 1, 0),
        number("id", 4, 12, 1),
        number("type", 16, 16, 0x0800),
    ],
};

/// RFC 826, for IPv4 on Ethernet.
pub static ARP: Layer = Layer {
    name: "arp",
    bytes: 28,
    fields: &[
        number("hardware", 0, 16, 1),
        number("protocol", 16, 16, 0x0800),
        number("hardware_bytes", 32, 8, 6),
        number("protocol_bytes", 40, 8, 4),
        number("op", 48, 16, 1),
        address("sender_mac", 64, Form::Mac, 0x0200_0000_0001),
        address("sender", 112, Form::Ipv4, 0x0a00_0001),
        address("target_mac", 144, Form::Mac, 0),
        address("target", 192, Form::Ipv4, 0x0a00_0002),
    ],
};

/// RFC 791.
pub static IPV4: Layer = Layer {
    name: "ipv4",
    bytes: 20,
    fields: &[
        number("version", 0, 4, 4),
        number("ihl", 4, 4, 5),
        number("tos", 8, 8, 0),
        number("length", 16, 16, 0),
        number("id", 32, 16, 0),
        number("flags", 48, 3, 0),
        number("fragment", 51, 13, 0),
        number("ttl", 64, 8, 64),
        number("protocol", 72, 8, 59),
        number("checksum", 80, 16, 0),
        address("src", 96, Form::Ipv4, 0x0a00_0001),
        address("dst", 128, Form::Ipv4, 0x0a00_0002),
    ],
};

/// RFC 8200.
pub static IPV6: Layer = Layer {
    name: "ipv6",
    bytes: 40,
    fields: &[
        number("version", 0, 4, 6),
        number("class", 4, 8, 0),
        number("flow", 12, 20, 0),
        number("length", 32, 16, 0),
        number("next", 48, 8, 59),
        number("hop", 56, 8, 64),
        address(
            "src",
            64,
            Form::Ipv6,
            0xfd00_0000_0000_0000_0000_0000_0000_0001,
        ),
        address(
            "dst",
            192,
            Form::Ipv6,
            0xfd00_0000_0000_0000_0000_0000_0000_0002,
        ),
    ],
};

/// RFC 768.
pub static UDP: Layer = Layer {
    name: "udp",
    bytes: 8,
    fields: &[
        number("sport", 0, 16, 1024),
        number("dport", 16, 16, 1024),
        number("length", 32, 16, 0),
        number("checksum", 48, 16, 0),
    ],
};

/// RFC 9293.
pub static TCP: Layer = Layer {
    name: "tcp",
    bytes: 20,
    fields: &[
        number("sport", 0, 16, 1024),
        number("dport", 16, 16, 1024),
        number("seq", 32, 32, 0),
        number("ack", 64, 32, 0),
        number("offset", 96, 4, 5),
        number("reserved", 100, 4, 0),
        number("flags", 104, 8, 0x10),
        number("window", 112, 16, 65535),
        number("checksum", 128, 16, 0),
        number("urgent", 144, 16, 0),
    ],
};

/// RFC 792: the header of echo request and reply.
pub static ICMP: Layer = Layer {
    name: "icmp",
    bytes: 8,
    fields: &[
        number("type", 0, 8, 8),
        number("code", 8, 8, 0),
        number("checksum", 16, 16, 0),
        number("id", 32, 16, 0),
        number("seq", 48, 16, 0),
    ],
};

/// RFC 4443: the header of echo request and reply.
pub static ICMPV6: Layer = Layer {
    name: "icmpv6",
    bytes: 8,
    fields: &[
        number("type", 0, 8, 128),
        number("code", 8, 8, 0),
        number("checksum", 16, 16, 0),
        number("id", 32, 16, 0),
        number("seq", 48, 16, 0),
    ],
};

/// All layers.
pub static ALL: [&Layer; 9] = [&ETH, &VLAN, &ARP, &IPV4, &IPV6, &UDP, &TCP, &ICMP, &ICMPV6];

impl Layer {
    /// The layer of this name.
    pub fn by_name(name: &str) -> Option<&'static Layer> {
        ALL.into_iter().find(|layer| layer.name == name)
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The field that says what follows.
    pub fn next_field(&self) -> Option<&'static Field> {
        ["type", "next", "protocol"]
            .into_iter()
            .filter(|_| [&ETH, &VLAN, &IPV4, &IPV6].contains(&self))
            .find_map(|name| self.field(name))
    }

    /// The number by which a layer below says that this one follows; `under` is that layer.
    pub fn number_under(&self, under: &Layer) -> Option<u128> {
        let on_link = [&ETH, &VLAN].contains(&under);
        Some(match (self.name, on_link) {
            ("vlan", true) => 0x8100,
            ("ipv4", true) => 0x0800,
            ("ipv6", true) => 0x86dd,
            ("arp", true) => 0x0806,
            ("icmp", false) => 1,
            ("ipv4", false) => 4,
            ("tcp", false) => 6,
            ("udp", false) => 17,
            ("ipv6", false) => 41,
            ("icmpv6", false) => 58,
            _ => return None,
        })
    }
}

impl Field {
    /// The field's number in a layer's bytes; `None` if they end before it.
    pub fn get(&self, layer: &[u8]) -> Option<u128> {
        (self.bit..self.bit + self.bits).try_fold(0, |number, bit| {
            let byte = layer.get(bit / 8)?;
            Some(number << 1 | u128::from(byte >> (7 - bit % 8) & 1))
        })
    }

    /// Writes the field into a layer's bytes; what does not fit is cut off.
    pub fn set(&self, layer: &mut [u8], number: u128) {
        for at in 0..self.bits {
            let bit = self.bit + at;
            let Some(byte) = layer.get_mut(bit / 8) else {
                return;
            };
            let mask = 1 << (7 - bit % 8);
            if number >> (self.bits - 1 - at) & 1 == 1 {
                *byte |= mask;
            } else {
                *byte &= !mask;
            }
        }
    }

    /// The largest number that fits.
    pub fn largest(&self) -> u128 {
        u128::MAX >> (128 - self.bits)
    }

    /// A number of this field as text.
    pub fn text(&self, number: u128) -> String {
        match self.form {
            Form::Number if self.name == "type" && self.bits == 16 || self.name == "checksum" => {
                format!("{number:#06x}")
            }
            Form::Number => number.to_string(),
            Form::Mac => {
                let bytes = number.to_be_bytes();
                let parts: Vec<String> = bytes[10..].iter().map(|b| format!("{b:02x}")).collect();
                parts.join(":")
            }
            Form::Ipv4 => Ipv4Addr::from(number as u32).to_string(),
            Form::Ipv6 => Ipv6Addr::from(number).to_string(),
        }
    }

    /// The number that a text means; `None` if it is not of the field's form or does not fit.
    pub fn parse(&self, text: &str) -> Option<u128> {
        let number = match self.form {
            Form::Number => match text.strip_prefix("0x") {
                Some(digits) => u128::from_str_radix(digits, 16).ok()?,
                None => text.parse().ok()?,
            },
            Form::Mac => {
                let parts: Vec<&str> = text.split(':').collect();
                let byte = |part: &&str| u8::from_str_radix(part, 16).ok();
                let bytes: Vec<u8> = parts.iter().map(byte).collect::<Option<_>>()?;
                let bytes: [u8; 6] = bytes.try_into().ok()?;
                bytes.iter().fold(0, |n, b| n << 8 | u128::from(*b))
            }
            Form::Ipv4 => u128::from(u32::from(text.parse::<Ipv4Addr>().ok()?)),
            Form::Ipv6 => u128::from(text.parse::<Ipv6Addr>().ok()?),
        };
        (number <= self.largest()).then_some(number)
    }
}

/// A layer found in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Which.
    pub layer: &'static Layer,
    /// First byte.
    pub start: usize,
    /// First byte behind it, options included.
    pub end: usize,
}

/// The layers of a frame from Ethernet on, as far as they are known and whole.
pub fn dissect(frame: &[u8]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let (mut layer, mut start) = (&ETH, 0);
    loop {
        let Some(bytes) = frame.get(start..).filter(|b| b.len() >= layer.bytes) else {
            return found;
        };
        let words = |name: &str| {
            let field = layer.field(name).and_then(|field| field.get(bytes));
            field.map_or(layer.bytes, |words| words as usize * 4)
        };
        let length = match layer.name {
            "ipv4" => words("ihl"),
            "tcp" => words("offset"),
            _ => layer.bytes,
        };
        let end = start + length;
        if length < layer.bytes || end > frame.len() {
            return found;
        }
        found.push(Found { layer, start, end });
        let later = layer.field("fragment").and_then(|field| field.get(bytes));
        let next = layer.next_field().and_then(|field| field.get(bytes));
        let following = ALL
            .into_iter()
            .find(|above| next.is_some() && above.number_under(layer) == next);
        // A later fragment begins in the midst of what follows.
        let Some(following) = following.filter(|_| later.unwrap_or(0) == 0) else {
            return found;
        };
        (layer, start) = (following, end);
    }
}
