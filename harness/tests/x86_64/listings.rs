//! What the emitted code looks like, as capstone reads it. The snapshots are reviewed by eye;
//! `cargo insta review` shows a change.

use bpf::hook::Hook;

use crate::rig::{listing, program, translate};

fn shown(text: &str, hook: Hook) -> String {
    let program = program("shown", text, hook);
    let image = translate(&program).unwrap();
    let mut shown = listing(&image);
    for (pc, reason) in &image.removed {
        shown.push_str(&format!("{pc:>4} | removed: {reason}\n"));
    }
    shown
}

#[test]
fn a_program_without_calls_saves_nothing() {
    insta::assert_snapshot!(shown(
        "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr6 = r2\nr6 += 14\nif r6 > r3 goto out\n\
         w7 = *(u16 *)(r2 + 12)\nr7 = be16 r7\nr0 = 1\nif w7 == 0x800 goto +1\nout: r0 = 2\nexit",
        Hook::XDP
    ));
}

#[test]
fn a_lookup_in_an_array_is_inlined() {
    insta::assert_snapshot!(shown(
        ".map counter type=array key=4 value=8 entries=16\n.map each type=percpu_array key=4 value=24 entries=3\n\
         *(u32 *)(r10 - 4) = 3\nr2 = r10\nr2 += -4\nr1 = map[counter] ll\ncall bpf_map_lookup_elem\n\
         if r0 == 0 goto out\nr1 = 1\nlock *(u64 *)(r0 + 0) += r1\nr2 = r10\nr2 += -4\n\
         r1 = map[each] ll\ncall bpf_map_lookup_elem\nif r0 == 0 goto out\n*(u64 *)(r0 + 16) = 7\n\
         out: r0 = 2\nexit",
        Hook::XDP
    ));
}

#[test]
fn helpers_tail_calls_and_functions_are_named() {
    insta::assert_snapshot!(shown(
        ".map flows type=hash key=8 value=8 entries=16\n.map jumps type=prog_array key=4 value=4 entries=2\n\
         r6 = r1\nr7 = 0\n*(u64 *)(r10 - 8) = 1\nr1 = map[flows] ll\nr2 = r10\nr2 += -8\n\
         call bpf_map_delete_elem\ncall again\nr1 = r6\nr2 = map[jumps] ll\nr3 = 1\n\
         call bpf_tail_call\nr0 = 2\nexit\n\
         again:\nr8 = 5\ncall bpf_get_smp_processor_id\nr0 += r8\nexit",
        Hook::XDP
    ));
}

#[test]
fn division_and_fetching_loops() {
    insta::assert_snapshot!(shown(
        "r3 = *(u64 *)(r1 + 0)\nr4 = *(u64 *)(r1 + 8)\nr3 /= r4\nw3 s%= w4\nr3 /= 8\nr3 %= 7\n\
         r4 <<= r3\nr4 = atomic_fetch_or((u64 *)(r1 + 0), r4)\nr0 = r3\nexit",
        Hook::Raw { memory_bytes: 16 }
    ));
}

#[test]
fn dead_branches_leave_no_code() {
    insta::assert_snapshot!(shown(
        "r1 = 5\nif r1 == 5 goto live\nr0 = 1\nexit\nlive: if r1 > 9 goto dead\nr0 = 2\nexit\n\
         dead: r0 = 3\nexit",
        Hook::XDP
    ));
}
