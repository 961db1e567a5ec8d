//! Which helper works on which type of map: every pair gets the kernel's verdict.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

mod support;

use std::fmt::Write;
use std::sync::Arc;

use bpf::Hook;
use bpf::helper::{Arg, PROTOTYPES, Prototype, Return, prototype_on};
use support::kernel;
use verifier::{Options, verify};

/// Types that can be created without type information, each with key, value and entries.
const MAPS: [(&str, u32, u32, u32); 24] = [
    ("hash", 4, 8, 1),
    ("array", 4, 8, 1),
    ("prog_array", 4, 4, 1),
    ("perf_event_array", 4, 4, 1),
    ("percpu_hash", 4, 8, 1),
    ("percpu_array", 4, 8, 1),
    ("stack_trace", 4, 8, 1),
    ("cgroup_array", 4, 4, 1),
    ("lru_hash", 4, 8, 1),
    ("lru_percpu_hash", 4, 8, 1),
    ("lpm_trie", 8, 8, 1),
    ("array_of_maps", 4, 4, 1),
    ("hash_of_maps", 4, 4, 1),
    ("devmap", 4, 4, 1),
    ("sockmap", 4, 4, 1),
    ("cpumap", 4, 4, 1),
    ("xskmap", 4, 4, 1),
    ("sockhash", 4, 4, 1),
    ("reuseport_sockarray", 4, 4, 1),
    ("queue", 0, 8, 1),
    ("stack", 0, 8, 1),
    ("devmap_hash", 4, 4, 1),
    ("ringbuf", 0, 0, 4096),
    ("bloom_filter", 0, 8, 1),
];

/// A program that calls the helper with this map, or `None` where its arguments need more.
fn text(prototype: &Prototype, map: (&str, u32, u32, u32), sockets: bool) -> Option<String> {
    let (kind, key, value, entries) = map;
    let flags = if kind == "lpm_trie" { " flags=1" } else { "" };
    let mut text = format!(
        ".map m type={kind} key={key} value={value} entries={entries}{flags}\n\
         r6 = r1\n\
         r7 = 0\n"
    );
    if sockets {
        text.push_str("r7 = *(u64 *)(r1 + 168)\nif r7 == 0 goto out\n");
    }
    for offset in (8..=64).step_by(8) {
        writeln!(text, "*(u64 *)(r10 - {offset}) = 0").unwrap();
    }
    // The value of a sockmap is a socket.
    let value_is_socket = kind.starts_with("sock");
    for (arg, register) in prototype.args.iter().zip(1..) {
        let given = match arg {
            Arg::None => break,
            Arg::Ctx => "r6",
            Arg::ConstMap => "map[m] ll",
            Arg::MapValue if value_is_socket => "r7",
            Arg::MapKey | Arg::MapValue | Arg::UninitMapValue | Arg::Mem | Arg::UninitMem => {
                writeln!(text, "r{register} = r10\nr{register} += -64").unwrap();
                continue;
            }
            Arg::Size | Arg::SizeOrZero | Arg::ConstAllocSize => "8",
            Arg::Anything => "0",
            _ => return None,
        };
        writeln!(text, "r{register} = {given}").unwrap();
    }
    writeln!(text, "call {}", prototype.name).unwrap();
    match prototype.ret {
        Return::RingbufRecordOrNull => {
            text.push_str("if r0 == 0 goto out\nr1 = r0\nr2 = 0\ncall bpf_ringbuf_discard\n");
        }
        Return::MapValueOrNull if value_is_socket => {
            text.push_str("if r0 == 0 goto out\nr1 = r0\ncall bpf_sk_release\n");
        }
        _ => {}
    }
    text.push_str("out:\nr0 = 0\nexit\n");
    Some(text)
}

#[test]
fn helpers_take_the_maps_that_the_kernel_lets_them() {
    if !kernel::available() {
        return;
    }
    let mut asked = 0;
    for any in PROTOTYPES
        .iter()
        .filter(|p| p.args.contains(&Arg::ConstMap))
    {
        for hook in [Hook::TC, Hook::XDP] {
            let prototype = prototype_on(&hook, any.id).unwrap();
            if !prototype.allowed(&hook) {
                continue;
            }
            for map in MAPS {
                let Some(text) = text(prototype, map, hook == Hook::TC) else {
                    continue;
                };
                let program = Arc::new(support::assemble(&text, hook.clone()));
                let ours = verify(Arc::clone(&program), Options::default());
                let kernels = kernel::load(&program).unwrap();
                assert_eq!(
                    ours.is_ok(),
                    kernels.accepted,
                    "{} on {} in {hook}: here {:?}, kernel {}",
                    prototype.name,
                    map.0,
                    ours.err().map(|r| r.finding.message),
                    kernels.reason()
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 500, "only {asked} pairs");
}
