//! The table of protocol layers and their fields: by it packets are written, taken apart, and
//! compared. Fields lie one behind the other; numbers are in network byte order.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Decimal, or hexadecimal behind `0x`.
    Number,
    /// The same, shown as hexadecimal digits.
    Hex,
    /// `02:00:00:00:00:01`
    Mac,
    /// `10.0.0.1`
    Ipv4,
    /// `fd00::1`
    Ipv6,
}

use Form::{Hex, Ipv4, Ipv6, Mac, Number};

/// A field of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// First bit, from the layer's start.
    pub bit: usize,
    /// Number of bits, from 1 to 128.
    pub bits: usize,
    /// How it is written.
    pub form: Form,
    /// What a written packet has where the field is not given.
    pub default: u128,
}

/// Whose number says which layer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// IEEE 802 numbers.
    EtherType,
    /// IANA protocol numbers.
    Ip,
    /// UDP ports of tunnels.
    Port,
}

use Space::{EtherType, Ip, Port};

/// What follows a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Bytes.
    Payload,
    /// What the field of this name says.
    Says(&'static str, Space),
    /// Always the layer of this name.
    Always(&'static str),
}

use Next::{Always, Payload, Says};

/// How long a layer is; what exceeds its fields are its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// As long as its fields.
    Fixed,
    /// A field counts units of so many bytes, and there are so many bytes more.
    Counted(&'static str, usize, usize),
    /// RFC 2890: 4 bytes more for each of three flags that is set.
    Flags([&'static str; 3]),
}

use Extent::{Counted, Fixed, Flags};

/// A layer.
#[derive(Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name.
    pub name: &'static str,
    /// Fields, by offset.
    pub fields: &'static [Field],
    /// What follows.
    pub next: Next,
    /// How long it is.
    pub extent: Extent,
    /// The numbers by which layers below announce it.
    pub announced: &'static [(Space, u128)],
}

/// A row of a layer: name, bits, form, default.
type Row = (&'static str, usize, Form, u128);

/// Puts fields one behind the other.
const fn placed<const N: usize>(rows: [Row; N]) -> [Field; N] {
    let mut fields = [Field {
        name: "",
        bit: 0,
        bits: 0,
        form: Number,
        default: 0,
    }; N];
    let (mut at, mut bit) = (0, 0);
    while at < N {
        let (name, bits, form, default) = rows[at];
        fields[at] = Field {
            name,
            bit,
            bits,
            form,
            default,
        };
        bit += bits;
        at += 1;
    }
    fields
}

const FIRST_IPV6: u128 = 0xfd00_0000_0000_0000_0000_0000_0000_0001;
/// Six bytes of padding (RFC 8200 section 4.2, `PadN`).
const PADDING: u128 = 0x0104_0000_0000;

/// All layers: a line for the layer (name; what follows; length; numbers that announce it) and one
/// for each field. The fields of VLAN tags are those behind the type in front of them.
macro_rules! table {
    ($($name:literal, $next:expr, $extent:expr, [$($announced:expr),*] {
        $($field:literal $bits:literal $form:ident $default:expr,)*
    })*) => {
        /// All layers.
        pub static ALL: &[Layer] = &[$(Layer {
            name: $name,
            fields: &placed([$(($field, $bits, $form, $default)),*]),
            next: $next,
            extent: $extent,
            announced: &[$($announced),*],
        }),*];
    };
}

table! {
    // IEEE 802.3; in GRE and Geneve "transparent Ethernet bridging", in IP RFC 8986.
    "eth", Says("type", EtherType), Fixed, [(EtherType, 0x6558), (Ip, 143)] {
        "dst" 48 Mac 0x0200_0000_0002,
        "src" 48 Mac 0x0200_0000_0001,
        "type" 16 Hex 0x0800,
    }
    // IEEE 802.1Q.
    "vlan", Says("type", EtherType), Fixed, [(EtherType, 0x8100)] {
        "pcp" 3 Number 0,
        "dei" 1 Number 0,
        "id" 12 Number 1,
        "type" 16 Hex 0x0800,
    }
    // IEEE 802.1ad, the outer tag.
    "svlan", Says("type", EtherType), Fixed, [(EtherType, 0x88a8)] {
        "pcp" 3 Number 0,
        "dei" 1 Number 0,
        "id" 12 Number 1,
        "type" 16 Hex 0x0800,
    }
    // RFC 826, for IPv4 on Ethernet.
    "arp", Payload, Fixed, [(EtherType, 0x0806)] {
        "hardware" 16 Number 1,
        "protocol" 16 Hex 0x0800,
        "hardware_bytes" 8 Number 6,
        "protocol_bytes" 8 Number 4,
        "op" 16 Number 1,
        "sender_mac" 48 Mac 0x0200_0000_0001,
        "sender" 32 Ipv4 0x0a00_0001,
        "target_mac" 48 Mac 0,
        "target" 32 Ipv4 0x0a00_0002,
    }
    // RFC 791.
    "ipv4", Says("protocol", Ip), Counted("ihl", 4, 0), [(EtherType, 0x0800), (Ip, 4)] {
        "version" 4 Number 4,
        "ihl" 4 Number 5,
        "tos" 8 Hex 0,
        "length" 16 Number 0,
        "id" 16 Number 0,
        "flags" 3 Number 0,
        "fragment" 13 Number 0,
        "ttl" 8 Number 64,
        "protocol" 8 Number 59,
        "checksum" 16 Hex 0,
        "src" 32 Ipv4 0x0a00_0001,
        "dst" 32 Ipv4 0x0a00_0002,
    }
    // RFC 8200.
    "ipv6", Says("next", Ip), Fixed, [(EtherType, 0x86dd), (Ip, 41)] {
        "version" 4 Number 6,
        "class" 8 Hex 0,
        "flow" 20 Number 0,
        "length" 16 Number 0,
        "next" 8 Number 59,
        "hop" 8 Number 64,
        "src" 128 Ipv6 FIRST_IPV6,
        "dst" 128 Ipv6 FIRST_IPV6 + 1,
    }
    // RFC 8200 section 4.3.
    "hopopts", Says("next", Ip), Counted("units", 8, 8), [(Ip, 0)] {
        "next" 8 Number 59,
        "units" 8 Number 0,
        "data" 48 Hex PADDING,
    }
    // RFC 8200 section 4.6.
    "dstopts", Says("next", Ip), Counted("units", 8, 8), [(Ip, 60)] {
        "next" 8 Number 59,
        "units" 8 Number 0,
        "data" 48 Hex PADDING,
    }
    // RFC 8200 section 4.4.
    "routing", Says("next", Ip), Counted("units", 8, 8), [(Ip, 43)] {
        "next" 8 Number 59,
        "units" 8 Number 0,
        "type" 8 Number 0,
        "left" 8 Number 0,
        "data" 32 Hex 0,
    }
    // RFC 8200 section 4.5.
    "fragment", Says("next", Ip), Fixed, [(Ip, 44)] {
        "next" 8 Number 59,
        "reserved" 8 Number 0,
        "fragment" 13 Number 0,
        "zero" 2 Number 0,
        "more" 1 Number 0,
        "id" 32 Number 0,
    }
    // RFC 768.
    "udp", Says("dport", Port), Fixed, [(Ip, 17)] {
        "sport" 16 Number 1024,
        "dport" 16 Number 1024,
        "length" 16 Number 0,
        "checksum" 16 Hex 0,
    }
    // RFC 9293.
    "tcp", Payload, Counted("offset", 4, 0), [(Ip, 6)] {
        "sport" 16 Number 1024,
        "dport" 16 Number 1024,
        "seq" 32 Number 0,
        "ack" 32 Number 0,
        "offset" 4 Number 5,
        "reserved" 4 Number 0,
        "flags" 8 Hex 0x10,
        "window" 16 Number 65535,
        "checksum" 16 Hex 0,
        "urgent" 16 Number 0,
    }
    // RFC 792: the header of echo request and reply.
    "icmp", Payload, Fixed, [(Ip, 1)] {
        "type" 8 Number 8,
        "code" 8 Number 0,
        "checksum" 16 Hex 0,
        "id" 16 Number 0,
        "seq" 16 Number 0,
    }
    // RFC 4443: the header of echo request and reply.
    "icmpv6", Payload, Fixed, [(Ip, 58)] {
        "type" 8 Number 128,
        "code" 8 Number 0,
        "checksum" 16 Hex 0,
        "id" 16 Number 0,
        "seq" 16 Number 0,
    }
    // RFC 2784, RFC 2890. A flag makes room for its number, which stands in the options.
    "gre", Says("type", EtherType), Flags(["has_checksum", "has_key", "has_sequence"]), [(Ip, 47)] {
        "has_checksum" 1 Number 0,
        "routing" 1 Number 0,
        "has_key" 1 Number 0,
        "has_sequence" 1 Number 0,
        "reserved" 9 Number 0,
        "version" 3 Number 0,
        "type" 16 Hex 0x0800,
    }
    // RFC 7348.
    "vxlan", Always("eth"), Fixed, [(Port, 4789)] {
        "flags" 8 Hex 0x08,
        "reserved" 24 Number 0,
        "vni" 24 Number 1,
        "last" 8 Number 0,
    }
    // RFC 8926.
    "geneve", Says("type", EtherType), Counted("units", 4, 8), [(Port, 6081)] {
        "version" 2 Number 0,
        "units" 6 Number 0,
        "control" 1 Number 0,
        "critical" 1 Number 0,
        "reserved" 6 Number 0,
        "type" 16 Hex 0x6558,
        "vni" 24 Number 1,
        "last" 8 Number 0,
    }
}

impl Layer {
    /// The layer of this name.
    pub fn by_name(name: &str) -> Option<&'static Layer> {
        ALL.iter().find(|layer| layer.name == name)
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Length in bytes without options.
    pub fn bytes(&self) -> usize {
        self.fields
            .last()
            .map_or(0, |last| (last.bit + last.bits).div_ceil(8))
    }

    /// The field that says what follows.
    pub fn next_field(&self) -> Option<&'static Field> {
        match self.next {
            Says(name, _) => self.field(name),
            Payload | Always(_) => None,
        }
    }

    /// The number by which a layer below says that this one follows; `under` is that layer.
    pub fn number_under(&self, under: &Layer) -> Option<u128> {
        let Says(_, space) = under.next else {
            return None;
        };
        let announced = self.announced.iter().find(|(of, _)| *of == space);
        announced.map(|(_, number)| *number)
    }

    /// Whether the number of the field is filled in where it is not given.
    pub fn fills_in(&self, field: &Field) -> bool {
        let counts = matches!(self.extent, Counted(name, ..) if name == field.name);
        let says = matches!(self.next, Says(name, _) if name == field.name);
        counts || says || ["length", "checksum"].contains(&field.name)
    }

    /// Length in bytes with options, as its own bytes say; `None` if they end too early.
    pub fn length(&self, bytes: &[u8]) -> Option<usize> {
        let number = |name| Some(self.field(name)?.get(bytes)? as usize);
        match self.extent {
            Fixed => Some(self.bytes()),
            Counted(name, unit, more) => Some(number(name)? * unit + more),
            Flags(flags) => flags
                .into_iter()
                .try_fold(self.bytes(), |sum, flag| Some(sum + 4 * number(flag)?)),
        }
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
            Hex => {
                let digits = self.bits.div_ceil(4);
                format!("0x{number:0digits$x}")
            }
            Number => number.to_string(),
            Mac => {
                let bytes = number.to_be_bytes();
                let parts: Vec<String> = bytes[10..].iter().map(|b| format!("{b:02x}")).collect();
                parts.join(":")
            }
            Ipv4 => Ipv4Addr::from(number as u32).to_string(),
            Ipv6 => Ipv6Addr::from(number).to_string(),
        }
    }

    /// The number that a text means; `None` if it is not of the field's form or does not fit.
    pub fn parse(&self, text: &str) -> Option<u128> {
        let number = match self.form {
            Number | Hex => match text.strip_prefix("0x") {
                Some(digits) => u128::from_str_radix(digits, 16).ok()?,
                None => text.parse().ok()?,
            },
            Mac => {
                let parts: Vec<&str> = text.split(':').collect();
                let byte = |part: &&str| u8::from_str_radix(part, 16).ok();
                let bytes: Vec<u8> = parts.iter().map(byte).collect::<Option<_>>()?;
                let bytes: [u8; 6] = bytes.try_into().ok()?;
                bytes.iter().fold(0, |n, b| n << 8 | u128::from(*b))
            }
            Ipv4 => u128::from(u32::from(text.parse::<Ipv4Addr>().ok()?)),
            Ipv6 => u128::from(text.parse::<Ipv6Addr>().ok()?),
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

impl Found {
    /// The number of a field; `None` if the layer has none of this name, or the frame ends.
    pub fn number(&self, frame: &[u8], field: &str) -> Option<u128> {
        self.layer.field(field)?.get(frame.get(self.start..)?)
    }

    /// First byte of its options.
    pub fn options(&self) -> usize {
        self.start + self.layer.bytes()
    }
}

/// The layers of a frame from Ethernet on, as far as they are known and whole.
pub fn dissect(frame: &[u8]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let (mut following, mut start) = (ALL.first(), 0);
    while let Some(layer) = following {
        let bytes = frame.get(start..).unwrap_or_default();
        let length = layer.length(bytes).unwrap_or(0);
        if length < layer.bytes() || length > bytes.len() {
            break;
        }
        let this = Found {
            layer,
            start,
            end: start + length,
        };
        found.push(this);
        let next = layer.next_field().and_then(|field| field.get(bytes));
        following = match layer.next {
            // What follows a later fragment's header begins in its midst.
            _ if this.number(frame, "fragment").is_some_and(|at| at > 0) => None,
            Payload => None,
            Always(name) => Layer::by_name(name),
            Says(..) => ALL
                .iter()
                .find(|above| next.is_some() && above.number_under(layer) == next),
        };
        start = this.end;
    }
    found
}

/// The name of a layer among those of a frame: with its number, from 0, where others of its kind
/// are in front of it or behind.
pub fn called(layers: &[Found], at: usize) -> String {
    let Some(this) = layers.get(at) else {
        return "payload".to_owned();
    };
    let alike = |found: &&Found| found.layer == this.layer;
    if layers.iter().filter(alike).count() == 1 {
        return this.layer.name.to_owned();
    }
    let number = layers[..at].iter().filter(alike).count();
    format!("{}[{number}]", this.layer.name)
}
