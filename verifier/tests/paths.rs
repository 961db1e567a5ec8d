//! How a rejection came about: the instructions that made the refused value, and no others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::sync::Arc;

use bpf::Hook;
use verifier::{Options, verify};

/// The rule, and the path as pc and text.
fn rejected(text: &str) -> (String, Vec<(usize, String)>) {
    let program = support::assemble(text, Hook::XDP);
    let rejection = verify(Arc::new(program), Options::default()).expect_err("a rejection");
    let path = rejection.finding.path;
    assert!(path.iter().all(|step| step.line.is_some()), "{path:?}");
    let path = path.into_iter().map(|step| (step.pc, step.text));
    (rejection.finding.rule, path.collect())
}

fn pcs(path: &[(usize, String)]) -> Vec<usize> {
    path.iter().map(|(pc, _)| *pc).collect()
}

#[test]
fn a_packet_pointer_is_followed_through_its_variable_offset_and_the_comparison() {
    let (rule, path) = rejected(
        "r6 = 1
         r2 = *(u32 *)(r1 + 0)
         r3 = *(u32 *)(r1 + 4)
         r4 = r2
         r4 += 34
         r0 = 1
         if r4 > r3 goto out
         r5 = *(u8 *)(r2 + 14)
         r6 += 7
         r5 &= 60
         r2 += r5
         r0 = *(u16 *)(r2 + 14)
       out:
         exit",
    );
    assert_eq!(rule, "verify/packet-bounds");
    assert_eq!(pcs(&path), [1, 6, 7, 9, 10], "{path:?}");
    assert!(path[1].1.contains("not taken: r2 is pkt(r=34)"), "{path:?}");
    assert!(path[4].1.contains("r=0"), "{path:?}");
}

#[test]
fn a_comparison_that_proves_nothing_is_told() {
    let (rule, path) = rejected(
        "r2 = *(u32 *)(r1 + 0)
         r3 = *(u32 *)(r1 + 4)
         r4 = r2
         r4 += 14
         r0 = 0
         if r4 <= r3 goto out
         r0 = *(u8 *)(r2 + 13)
       out:
         exit",
    );
    assert_eq!(rule, "verify/packet-bounds");
    assert_eq!(pcs(&path), [0, 5], "{path:?}");
    assert!(
        path[1].1.ends_with("not taken: proves nothing here"),
        "{path:?}"
    );
}

#[test]
fn a_value_is_followed_through_the_stack_and_a_call() {
    let (rule, path) = rejected(
        ".map h type=hash key=4 value=8 entries=4
         *(u32 *)(r10 - 4) = 1
         r2 = r10
         r2 += -4
         r1 = map[h] ll
         call bpf_map_lookup_elem
         *(u64 *)(r10 - 16) = r0
         r0 = 5
         r6 = *(u64 *)(r10 - 16)
         r1 = r6
         call f
         r0 = 0
         exit
       f:
         r0 = *(u64 *)(r1 + 0)
         exit",
    );
    assert_eq!(rule, "verify/null-pointer");
    // The lookup, the spill, the fill, the argument, the call.
    assert_eq!(pcs(&path), [5, 6, 8, 9, 10], "{path:?}");
    assert!(path[0].1.contains("map_value_or_null"), "{path:?}");
}

#[test]
fn a_register_that_a_call_left_without_a_value() {
    let (rule, path) = rejected(
        "r3 = 7
         call bpf_get_prandom_u32
         r0 = r3
         exit",
    );
    assert_eq!(rule, "verify/uninit-register");
    assert_eq!(pcs(&path), [1], "{path:?}");
    assert!(
        path[0].1.contains("leaves r1 to r5 without a value"),
        "{path:?}"
    );
}

#[test]
fn what_is_still_held_was_acquired_somewhere() {
    let (rule, path) = rejected(
        ".map r type=ringbuf key=0 value=0 entries=4096
         r1 = map[r] ll
         r2 = 8
         r3 = 0
         call bpf_ringbuf_reserve
         if r0 == 0 goto out
         r0 = 0
       out:
         exit",
    );
    assert_eq!(rule, "verify/reference");
    assert_eq!(pcs(&path), [4], "{path:?}");
}

#[test]
fn a_long_loop_leaves_a_short_path() {
    let (rule, path) = rejected(
        ".map a type=array key=4 value=8 entries=1
         r1 = map[a][0]+0 ll
         r2 = 0
       more:
         r2 += 1
         if r2 < 500 goto more
         r1 += r2
         r0 = *(u8 *)(r1 + 0)
         exit",
    );
    assert_eq!(rule, "verify/map-value-bounds");
    assert!(path.len() <= 10, "{path:?}");
    assert_eq!(pcs(&path).last(), Some(&5), "{path:?}");
}
