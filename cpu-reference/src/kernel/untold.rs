//! What a test run cannot tell of the programs at hand, and why.

use bpf::Hook;
use bpf::map::MapType;
use isa::ebpf::{CallTarget, Insn};

use super::{given, reads};
use crate::{Setup, Untold};

/// Offsets in `struct xdp_md`.
const INGRESS_IFINDEX: i16 = 12;
const RX_QUEUE_INDEX: i16 = 16;

/// Helpers whose answer depends on the interface that a frame came in by: `bpf_check_mtu`, the
/// lookups of sockets, `bpf_fib_lookup`'s namespace apart.
const OF_INTERFACE: [u32; 4] = [84, 85, 99, 163];
/// `bpf_redirect`, `bpf_redirect_map`, `bpf_redirect_neigh` and `bpf_redirect_peer`.
const REDIRECTS: [u32; 4] = [23, 51, 152, 155];
/// `bpf_trace_printk` and `bpf_trace_vprintk`.
const PRINTS: [u32; 2] = [6, 177];

/// `bpf_clone_redirect`.
const CLONE_REDIRECT: u32 = 13;
/// Helpers whose answer the kernel makes up: `bpf_get_hash_recalc`, `bpf_get_socket_cookie`.
const SEEDED_HASH: [u32; 2] = [34, 46];

/// Whether a program of the setup calls one of these helpers.
fn calls(setup: &Setup, ids: &[u32]) -> bool {
    let called =
        |insn: &Insn| matches!(insn, Insn::Call(CallTarget::Helper(id)) if ids.contains(id));
    setup.programs.iter().any(|p| p.insns.iter().any(called))
}

/// Whether a program may read the field at this offset of the context.
fn may_read(setup: &Setup, field: i16) -> bool {
    let mut programs = setup.programs.iter();
    programs.any(|p| reads::context_fields(p).contains(&field))
}

/// How many queues the NIC has, where maps tell.
fn queues(setup: &Setup) -> u32 {
    setup.maps.iter().map(|map| map.cpus()).max().unwrap_or(1)
}

/// Whether what programs do may depend on which interface a frame came in by.
pub(super) fn names_port(setup: &Setup) -> bool {
    may_read(setup, INGRESS_IFINDEX) || calls(setup, &OF_INTERFACE)
}

/// All that is not compared.
pub(super) fn all(setup: &Setup) -> Vec<Untold> {
    let mut untold = Vec::new();
    let mut say = |what, why: &str| {
        untold.push(Untold {
            what,
            why: why.to_owned(),
        });
    };
    let any = |of: fn((bool, bool)) -> bool| setup.programs.iter().any(|p| of(given::takes(p)));
    if calls(setup, &REDIRECTS) {
        say(
            "redirect",
            "a test run gives the return code, not where a packet is sent",
        );
    }
    if calls(setup, &PRINTS) {
        say(
            "trace",
            "what programs print goes to the machine's trace pipe",
        );
    }
    if any(|(clock, _)| clock) {
        say(
            "clock",
            "the kernel's clocks are not asked: programs get the packet's arrival from a map instead",
        );
    }
    if any(|(_, random)| random) {
        say(
            "random",
            "the kernel's random numbers are not asked: programs get the packet's own instead",
        );
    }
    if queues(setup) > 1 && names_port(setup) && may_read(setup, RX_QUEUE_INDEX) {
        say(
            "rx_queue_index",
            "port 1 is the loopback interface, which has one receive queue: programs that also look at the port see queue 0",
        );
    }
    if setup
        .programs
        .iter()
        .any(|p| matches!(p.hook, Hook::Tc { .. }))
    {
        say(
            "context",
            "of a tc packet's context a test run gives mark, priority, cb, tstamp, wire_len, gso_segs, gso_size and hwtstamp",
        );
    }
    if calls(setup, &[CLONE_REDIRECT]) {
        say(
            "emitted",
            "a test run does not give the copies that a program sends",
        );
    }
    if calls(setup, &SEEDED_HASH) {
        say(
            "hash",
            "the kernel hashes flows with a key of its own: values that follow from one differ",
        );
    }
    if setup.maps.iter().any(|m| m.kind() == MapType::BloomFilter) {
        say(
            "bloom",
            "a Bloom filter in the kernel cannot be read: what it answers is compared, not what it holds",
        );
    }
    let evicts = |kind| matches!(kind, MapType::LruHash | MapType::LruPercpuHash);
    if setup.maps.iter().any(|map| evicts(map.kind())) {
        say(
            "lru",
            "which elements of a full LRU map the kernel evicts, and when, is not defined",
        );
    }
    untold
}
