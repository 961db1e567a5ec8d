//! `struct bpf_sock` and `struct bpf_tcp_sock`: what programs may read of a socket. Nothing of
//! it can be written.

use super::{Field, FieldKind, Widths};

/// As what a program sees a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// Perhaps a request or time-wait socket: the common part of `struct bpf_sock`.
    Common,
    /// A full socket: `struct bpf_sock`.
    Full,
    /// A TCP socket: `struct bpf_tcp_sock`.
    Tcp,
}

const fn number(name: &'static str, offset: u16, size: u8, loads: Widths) -> Field {
    Field {
        loads,
        ..Field::new(name, offset, size, FieldKind::Scalar)
    }
}

/// Where the fields begin and end that only full sockets have.
const FULL_ONLY: std::ops::Range<i64> = 8..24;

/// `struct bpf_sock`, 80 bytes.
pub const SOCK: [Field; 20] = [
    number("bound_dev_if", 0, 4, Widths::Whole),
    number("family", 4, 4, Widths::Start),
    number("type", 8, 4, Widths::Start),
    number("protocol", 12, 4, Widths::Start),
    number("mark", 16, 4, Widths::Whole),
    number("priority", 20, 4, Widths::Whole),
    number("src_ip4", 24, 4, Widths::Parts),
    number("src_ip6", 28, 4, Widths::Parts),
    number("src_ip6", 32, 4, Widths::Parts),
    number("src_ip6", 36, 4, Widths::Parts),
    number("src_ip6", 40, 4, Widths::Parts),
    number("src_port", 44, 4, Widths::Start),
    number("dst_port", 48, 4, Widths::Half),
    number("dst_ip4", 52, 4, Widths::Parts),
    number("dst_ip6", 56, 4, Widths::Parts),
    number("dst_ip6", 60, 4, Widths::Parts),
    number("dst_ip6", 64, 4, Widths::Parts),
    number("dst_ip6", 68, 4, Widths::Parts),
    number("state", 72, 4, Widths::Start),
    number("rx_queue_mapping", 76, 4, Widths::Start),
];

const fn tcp(name: &'static str, offset: u16, size: u8) -> Field {
    number(name, offset, size, Widths::Whole)
}

/// `struct bpf_tcp_sock`, 112 bytes.
pub const TCP_SOCK: [Field; 26] = [
    tcp("snd_cwnd", 0, 4),
    tcp("srtt_us", 4, 4),
    tcp("rtt_min", 8, 4),
    tcp("snd_ssthresh", 12, 4),
    tcp("rcv_nxt", 16, 4),
    tcp("snd_nxt", 20, 4),
    tcp("snd_una", 24, 4),
    tcp("mss_cache", 28, 4),
    tcp("ecn_flags", 32, 4),
    tcp("rate_delivered", 36, 4),
    tcp("rate_interval_us", 40, 4),
    tcp("packets_out", 44, 4),
    tcp("retrans_out", 48, 4),
    tcp("total_retrans", 52, 4),
    tcp("segs_in", 56, 4),
    tcp("data_segs_in", 60, 4),
    tcp("segs_out", 64, 4),
    tcp("data_segs_out", 68, 4),
    tcp("lost_out", 72, 4),
    tcp("sacked_out", 76, 4),
    tcp("bytes_received", 80, 8),
    tcp("bytes_acked", 88, 8),
    tcp("dsack_dups", 96, 4),
    tcp("delivered", 100, 4),
    tcp("delivered_ce", 104, 4),
    tcp("icsk_retransmits", 108, 4),
];

/// The field that covers byte `offset` of a socket, whether it may be read or not.
pub fn socket_field_at(kind: SocketKind, offset: i64) -> Option<&'static Field> {
    let fields: &[Field] = match kind {
        SocketKind::Common | SocketKind::Full => &SOCK,
        SocketKind::Tcp => &TCP_SOCK,
    };
    fields.iter().find(|f| f.holds(offset))
}

/// The field that a load of `size` bytes at `offset` of a socket reads, if that is allowed.
pub fn socket_load(kind: SocketKind, offset: i64, size: u8) -> Option<&'static Field> {
    if kind == SocketKind::Common && FULL_ONLY.contains(&offset) {
        return None;
    }
    socket_field_at(kind, offset).filter(|f| f.allows(f.loads, offset, size))
}
