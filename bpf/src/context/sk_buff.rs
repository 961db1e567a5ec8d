//! `struct __sk_buff`, the context of tc programs.

use super::{Field, FieldKind, Widths};

/// A number that can be read in parts.
const fn number(name: &'static str, offset: u16) -> Field {
    Field {
        loads: Widths::Parts,
        ..Field::new(name, offset, 4, FieldKind::Scalar)
    }
}

/// A number that can be read in parts and written as a whole.
const fn written(name: &'static str, offset: u16) -> Field {
    Field {
        stores: Widths::Whole,
        ..number(name, offset)
    }
}

/// A field that only programs of other types may access.
const fn foreign(name: &'static str, offset: u16, size: u8) -> Field {
    Field {
        loads: Widths::None,
        ..Field::new(name, offset, size, FieldKind::Scalar)
    }
}

/// `struct __sk_buff`, 192 bytes, of which bytes 181 to 183 are padding.
pub const SK_BUFF: [Field; 34] = [
    number("len", 0),
    number("pkt_type", 4),
    written("mark", 8),
    written("queue_mapping", 12),
    number("protocol", 16),
    number("vlan_present", 20),
    number("vlan_tci", 24),
    number("vlan_proto", 28),
    written("priority", 32),
    number("ingress_ifindex", 36),
    number("ifindex", 40),
    written("tc_index", 44),
    // An array of five numbers, whose bytes are free for the program.
    Field {
        loads: Widths::Parts,
        stores: Widths::Parts,
        ..Field::new("cb", 48, 20, FieldKind::Scalar)
    },
    number("hash", 68),
    written("tc_classid", 72),
    Field::new("data", 76, 4, FieldKind::Data),
    Field::new("data_end", 80, 4, FieldKind::DataEnd),
    number("napi_id", 84),
    foreign("family", 88, 4),
    foreign("remote_ip4", 92, 4),
    foreign("local_ip4", 96, 4),
    foreign("remote_ip6", 100, 16),
    foreign("local_ip6", 116, 16),
    foreign("remote_port", 132, 4),
    foreign("local_port", 136, 4),
    Field::new("data_meta", 140, 4, FieldKind::DataMeta),
    foreign("flow_keys", 144, 8),
    Field {
        stores: Widths::Whole,
        ..Field::new("tstamp", 152, 8, FieldKind::Scalar)
    },
    number("wire_len", 160),
    number("gso_segs", 164),
    Field::new("sk", 168, 8, FieldKind::Socket),
    number("gso_size", 176),
    Field::new("tstamp_type", 180, 1, FieldKind::Scalar),
    Field::new("hwtstamp", 184, 8, FieldKind::Scalar),
];
