//! What facts say of small programs, worked out by hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::sync::Arc;

use bpf::Hook;
use verifier::facts::{Access, Held, RegKind, Region, Ways};
use verifier::{Options, Verified, verify};

fn facts_of(text: &str) -> Verified {
    let program = support::assemble(text, Hook::XDP);
    verify(Arc::new(program), Options::default())
        .unwrap_or_else(|r| panic!("{}", r.finding.message))
}

#[test]
fn a_lookup_names_its_map_and_its_constant_key() {
    let v = facts_of(
        ".map a type=array key=4 value=8 entries=4
         .map b type=array key=4 value=8 entries=4
         *(u32 *)(r10 - 8) = 3
         r2 = r10
         r2 += -8
         r1 = map[b] ll
         call bpf_map_lookup_elem
         r0 = 2
         exit",
    );
    let call = v.facts(5).call.clone().unwrap();
    assert_eq!(call.map, Some(1));
    assert_eq!(call.key, Some((Region::Stack { up: 0 }, -8)));
    assert_eq!(call.constant_key, Some(3));
}

#[test]
fn a_key_that_differs_between_pruned_paths_is_not_constant() {
    // Nothing depends on the key's value, so the second path is cut where both meet.
    let v = facts_of(
        ".map h type=hash key=8 value=8 entries=4
         call bpf_get_prandom_u32
         r6 = 1
         if r0 > 5 goto meet
         r6 = 2
       meet:
         r7 = 0
         r7 = 0
         r7 = 0
         r7 = 0
         r7 = 0
         r7 = 0
         if r0 > 9 goto on
       on:
         *(u64 *)(r10 - 8) = r6
         r2 = r10
         r2 += -8
         r1 = map[h] ll
         call bpf_map_lookup_elem
         r0 = r6
         exit",
    );
    let pc = v.program().insns.len() - 3;
    let facts = v.facts(pc);
    let call = facts.call.clone().unwrap();
    assert_eq!((call.map, call.constant_key), (Some(0), None));
    let r6 = facts.registers[6];
    assert_eq!(
        (r6.kind, r6.range.umin, r6.range.umax),
        (RegKind::Scalar, 1, 2)
    );
}

#[test]
fn packet_accesses_have_their_offsets_and_dead_ways_are_told() {
    let v = facts_of(
        "r2 = *(u32 *)(r1 + 0)
         r3 = *(u32 *)(r1 + 4)
         r4 = r2
         r4 += 34
         r0 = 1
         if r4 > r3 goto out
         r5 = *(u8 *)(r2 + 14)
         r5 &= 15
         r5 <<= 2
         r2 += r5
         r4 = r2
         r4 += 22
         if r4 > r3 goto out
         r0 = *(u16 *)(r2 + 16)
         r6 = 1
         if r6 == 1 goto out
         r0 = 7
       out:
         exit",
    );
    assert_eq!(
        v.facts(13).access,
        Some(Access {
            region: Region::Packet,
            min: 16,
            max: 76,
            size: 2,
            align: 4
        })
    );
    let ways = Some(Ways {
        taken: true,
        fall_through: false,
    });
    assert_eq!(v.facts(15).branch, ways);
    assert!(!v.facts(16).reachable && v.facts(17).reachable);
}

#[test]
fn a_loop_counter_is_bounded_by_its_check_and_a_frame_is_named_from_the_callee() {
    let v = facts_of(
        "r6 = 0
       l:
         r6 += 1
         if r6 < 100 goto l
         r1 = r10
         r1 += -16
         call f
         r0 = 0
         exit
       f:
         *(u64 *)(r1 + 8) = 1
         r0 = 0
         exit",
    );
    let r6 = v.facts(1).registers[6].range;
    assert_eq!((r6.umin, r6.umax), (0, 99));
    assert_eq!(
        v.facts(8).access,
        Some(Access {
            region: Region::Stack { up: 1 },
            min: -8,
            max: -8,
            size: 8,
            align: 8
        })
    );
    assert_eq!(v.facts(8).registers[1].kind, RegKind::Stack { up: 1 });
}

#[test]
fn slots_of_a_frame_are_joined_over_paths_and_calls() {
    let v = facts_of(
        "call bpf_get_prandom_u32
         r6 = 1
         if r0 > 5 goto meet
         r6 = 2
       meet:
         *(u64 *)(r10 - 8) = r6
         *(u64 *)(r10 - 16) = 0
         r1 = r6
         call f
         r1 = 7
         call f
         r0 = 0
         exit
       f:
         *(u64 *)(r10 - 8) = r1
         r0 = 0
         exit",
    );
    let held = |pc: usize, offset: i32| {
        let stack = &v.facts(pc).stack;
        stack.iter().find(|s| s.offset == offset).map(|s| s.holds)
    };
    let number = |holds: Option<Held>| match holds {
        Some(Held::Register { value, bytes: 8 }) if value.kind == RegKind::Scalar => {
            (value.range.umin, value.range.umax)
        }
        other => panic!("{other:?}"),
    };
    // Behind both stores, in the entry function.
    assert_eq!(number(held(6, -8)), (1, 2));
    assert_eq!(number(held(6, -16)), (0, 0));
    // In the function, behind its store: from both calls.
    assert_eq!(held(12, -8), None);
    assert_eq!(number(held(13, -8)), (1, 7));
    // The entry is looked at once, a function once for each call at least.
    assert_eq!(v.facts(0).visits, 1);
    assert!(v.facts(12).visits >= 2);
}

#[test]
fn a_pointer_that_leaves_the_program_is_told() {
    let v = facts_of(
        ".map a type=array key=4 value=16 entries=1
         .map h type=hash key=8 value=8 entries=4
         r6 = r1
         r0 = map[a][0]+0 ll
         *(u64 *)(r0 + 0) = r6
         *(u64 *)(r0 + 8) = 5
         *(u64 *)(r10 - 8) = r10
         *(u64 *)(r10 - 16) = 1
         r2 = r10
         r2 += -16
         r3 = r10
         r3 += -8
         r1 = map[h] ll
         r4 = 0
         call bpf_map_update_elem
         r2 = r10
         r2 += -16
         r1 = map[h] ll
         call bpf_map_lookup_elem
         r0 = 2
         exit",
    );
    let leaks: Vec<usize> = (0..v.program().insns.len())
        .filter(|pc| v.facts(*pc).leaks_pointer)
        .collect();
    // The context into the array, and the frame pointer on the stack into the hash.
    assert_eq!(leaks, [3, 14]);
}

#[test]
fn constants_of_read_only_data_decide_branches() {
    let v = facts_of(
        ".map .rodata type=array key=4 value=8 entries=1
         r1 = map[.rodata][0]+2 ll
         r1 = *(u8 *)(r1 + 0)
         r0 = 1
         if r1 == 3 goto out
         r0 = 2
       out:
         exit",
    );
    let r1 = v.facts(3).registers[1].range;
    assert_eq!(r1.as_constant(), Some(3));
    assert!(!v.facts(5).reachable);
}
