//! Functions, helpers, tail calls, traps, maps, the moving packet.

use std::sync::Arc;

use bpf::hook::Hook;
use bpf::run::{Batch, TrapCause};
use isa::{Image, Relocation, RelocationKind, Symbol};
use nic_model::{LoadError, Nic, ProgramId};

use crate::rig::{new_nic, nic, program, run_on, run_queue, run_raw, translate, trusted};

/// r0 of an XDP program over a frame of 64 bytes, 0 to 63.
fn xdp(text: &str) -> (u64, Batch) {
    let frame: Vec<u8> = (0..64).collect();
    let nic = nic(&[program("xdp", text, Hook::XDP)], 1);
    let batch = run_on(&nic, &frame);
    assert!(batch.traps.is_empty(), "{:?}", batch.traps);
    (batch.frames[0].r0, batch)
}

#[test]
fn functions_have_frames_of_their_own_and_preserve_r6_to_r9() {
    // Once without and once with a helper, which changes the register map.
    for helper in ["", "call bpf_ktime_get_ns\n"] {
        let text = format!(
            "r6 = 6\nr7 = 7\nr8 = 8\nr9 = 9\n*(u64 *)(r10 - 8) = 77\n{helper}r1 = 1\nr2 = 2\n\
             r3 = 3\nr4 = 4\nr5 = 5\ncall sum\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\nr0 += r6\n\
             r0 += r7\nr0 += r8\nr0 += r9\nexit\n\
             sum:\nr6 = r1\nr7 = r2\nr8 = r3\nr9 = r4\n*(u64 *)(r10 - 8) = 1000\n{helper}r0 = r6\n\
             r0 += r7\nr0 += r8\nr0 += r9\nexit"
        );
        assert_eq!(run_raw(&text, &[]).0, 10 + 77 + 30, "{helper}");
    }
}

#[test]
fn calls_nest_eight_deep() {
    let mut text = String::new();
    for depth in 1..8 {
        text.push_str(&format!(
            "*(u64 *)(r10 - 16) = {depth}\ncall f{depth}\nr1 = *(u64 *)(r10 - 16)\nr0 += r1\nexit\nf{depth}:\n"
        ));
    }
    text.push_str("call bpf_ktime_get_ns\nr0 = 100\nexit");
    assert_eq!(run_raw(&text, &[]).0, 128);
}

#[test]
fn context_fields_and_packet_pointers() {
    let (r0, _) = xdp(
        "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\nr4 += 14\n\
         if r4 > r3 goto short\nr0 = *(u8 *)(r2 + 13)\nr4 = *(u32 *)(r1 + 12)\nr4 <<= 8\nr0 |= r4\n\
         exit\nshort: r0 = 0\nexit",
    );
    assert_eq!(r0, 0x10d);
    // The context survives in a preserved register and in a stack slot.
    let (r0, _) = xdp("r6 = r1\n*(u64 *)(r10 - 8) = r1\ncall bpf_ktime_get_ns\n\
         r2 = *(u32 *)(r6 + 4)\nr1 = *(u64 *)(r10 - 8)\nr3 = *(u32 *)(r1 + 0)\nr2 -= r3\nr0 = r2\n\
         exit");
    assert_eq!(r0, 64);
}

#[test]
fn pointers_are_read_again_after_the_packet_moved() {
    let (r0, batch) = xdp(
        "r6 = r1\nr2 = -20\ncall bpf_xdp_adjust_head\nif r0 != 0 goto bad\n\
         r2 = *(u32 *)(r6 + 0)\nr3 = *(u32 *)(r6 + 4)\nr4 = r2\nr4 += 21\nif r4 > r3 goto bad\n\
         *(u8 *)(r2 + 0) = 0xaa\nr7 = *(u8 *)(r2 + 20)\nr3 -= r2\n*(u64 *)(r10 - 8) = r3\n\
         r1 = r6\nr2 = -10\ncall bpf_xdp_adjust_tail\nif r0 != 0 goto bad\n\
         r1 = r6\nr2 = -8\ncall bpf_xdp_adjust_meta\nif r0 != 0 goto bad\n\
         r2 = *(u32 *)(r6 + 8)\nr3 = *(u32 *)(r6 + 0)\nr4 = r2\nr4 += 4\nif r4 > r3 goto bad\n\
         *(u32 *)(r2 + 0) = 0x01020304\nr0 = *(u64 *)(r10 - 8)\nr7 <<= 8\nr0 |= r7\nexit\n\
         bad: r0 = -1\nexit",
    );
    assert_eq!(r0, 84); // 64 + 20 bytes; the byte that was first is 0
    let outcome = batch.outcome(0, &Hook::XDP);
    assert_eq!(outcome.frame.len(), 74);
    assert_eq!(outcome.frame[0], 0xaa);
    assert_eq!(outcome.frame[20..23], [0, 1, 2]);
    assert_eq!(outcome.meta, [4, 3, 2, 1, 0, 0, 0, 0]);
}

const COUNTER: &str = ".map counter type=array key=4 value=12 entries=5\n\
    r6 = r1\nr2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\nr4 += 1\nif r4 > r3 goto out\n\
    r4 = *(u8 *)(r2 + 0)\n*(u32 *)(r10 - 4) = r4\nr2 = r10\nr2 += -4\nr1 = map[counter] ll\n\
    call bpf_map_lookup_elem\nif r0 == 0 goto out\nr1 = 1\n\
    lock *(u64 *)(r0 + 0) += r1\nout: r0 = 2\nexit\n";

#[test]
fn array_elements_are_found_by_index_and_no_others() {
    let nic = nic(&[program("count", COUNTER, Hook::XDP)], 1);
    let mut frame = [0; 60];
    for first in [0, 4, 4, 5, 255] {
        frame[0] = first;
        assert_eq!(run_on(&nic, &frame).frames[0].r0, 2);
    }
    let map = nic.maps().get(0).unwrap();
    let counts: Vec<u8> = (0u32..5)
        .map(|i| map.host_lookup(&i.to_le_bytes()).unwrap()[0])
        .collect();
    assert_eq!(counts, [1, 0, 0, 0, 2]);
}

#[test]
fn each_queue_has_its_own_element_of_a_per_cpu_array() {
    let text = COUNTER.replace("type=array", "type=percpu_array");
    let nic = nic(&[program("count", &text, Hook::XDP)], 3);
    let mut frame = [0; 60];
    frame[0] = 3;
    for (queue, runs) in [(0, 1), (1, 2), (2, 3)] {
        for _ in 0..runs {
            run_queue(&mut nic.queues(ProgramId(0))[queue], &frame);
        }
    }
    let values = nic.maps().get(0).unwrap().host_lookup(&3u32.to_le_bytes());
    let values = values.unwrap();
    assert_eq!(values.len(), 3 * 16);
    assert_eq!([values[0], values[16], values[32]], [1, 2, 3]);
}

#[test]
fn cpu_time_and_randomness_are_the_packets_own() {
    let nic = nic(
        &[program(
            "own",
            "call bpf_get_smp_processor_id\nr6 = r0\ncall bpf_ktime_get_ns\nr6 <<= 32\nr0 |= r6\n\
             exit",
            Hook::XDP,
        )],
        4,
    );
    let batch = run_queue(&mut nic.queues(ProgramId(0))[3], &[0; 60]);
    assert_eq!(batch.frames[0].r0, (3 << 32) + 1_000_000_000);
    let two =
        "call bpf_get_prandom_u32\nr6 = r0\ncall bpf_get_prandom_u32\nr0 <<= 32\nr0 |= r6\nexit";
    let (r0, _) = xdp(two);
    // The rig's seed is 7.
    assert_eq!(r0 as u32, bpf::helper::random(7, 0, 0));
    assert_eq!((r0 >> 32) as u32, bpf::helper::random(7, 0, 1));
}

#[test]
fn all_five_arguments_reach_a_helper() {
    // csum_diff(from, 4, to, 8, seed): the helper's own arithmetic is tested elsewhere; here
    // two calls that differ only in one argument must differ.
    let call = |from: u32, from_size: u32, to: u32, to_size: u32, seed: u32| {
        xdp(&format!(
            "*(u32 *)(r10 - 16) = {from}\n*(u32 *)(r10 - 8) = {to}\n*(u32 *)(r10 - 4) = 3\n\
             r1 = r10\nr1 += -16\nr2 = {from_size}\nr3 = r10\nr3 += -8\nr4 = {to_size}\n\
             r5 = {seed}\ncall bpf_csum_diff\nexit"
        ))
        .0
    };
    // Sum of the words in `to` minus those in `from` plus the seed.
    assert_eq!(call(0, 0, 10, 4, 5), 15);
    assert_eq!(call(0, 0, 10, 8, 5), 18);
    assert_eq!(call(4, 4, 10, 8, 5), 14);
}

const PROGRAMS: &str = ".map jumps type=prog_array key=4 value=4 entries=4\n";

/// Programs that share a `prog_array` whose slots are filled in order.
fn chained(texts: &[&str], slots: &[Option<u32>]) -> Nic {
    let programs: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| program(&format!("p{i}"), &format!("{PROGRAMS}{text}"), Hook::XDP))
        .collect();
    let nic = nic(&programs, 1);
    for (index, number) in slots.iter().enumerate() {
        if let Some(number) = number {
            let map = nic.maps().get(0).unwrap();
            map.host_update(&(index as u32).to_le_bytes(), &number.to_le_bytes(), 0)
                .unwrap();
        }
    }
    nic
}

fn tail_call(index: i64) -> String {
    format!("r2 = map[jumps] ll\nr3 = {index}\ncall bpf_tail_call\n")
}

#[test]
fn a_tail_call_replaces_the_program_and_an_empty_slot_does_not() {
    let first = format!(
        "r6 = 5\n*(u64 *)(r10 - 8) = 1\n{}r0 = r6\nexit",
        tail_call(1)
    );
    let second = "r0 = *(u32 *)(r1 + 12)\nr0 += 40\nexit";
    let run = |slots: &[Option<u32>]| {
        let batch = run_on(&chained(&[&first, second], slots), &[0; 60]);
        batch.frames[0].r0
    };
    assert_eq!(run(&[None, Some(1)]), 41);
    assert_eq!(run(&[Some(1), None]), 5);
    for outside in [4, -1, 0x7fff_ffff] {
        let first = format!("{}r0 = 9\nexit", tail_call(outside));
        let nic = chained(&[&first, second], &[Some(1); 4]);
        assert_eq!(run_on(&nic, &[0; 60]).frames[0].r0, 9);
    }
    // Only the lower 32 bits of the index count.
    let wide = format!(
        "r2 = map[jumps] ll\nr3 = {:#x} ll\ncall bpf_tail_call\nr0 = 9\nexit",
        1u64 << 32 | 1
    );
    let nic = chained(&[&wide, second], &[None, Some(1)]);
    assert_eq!(run_on(&nic, &[0; 60]).frames[0].r0, 41);
}

#[test]
fn the_thirty_fourth_tail_call_falls_through() {
    // Each run adds 1 to a packet byte and calls itself.
    let text = format!(
        "r6 = r1\nr2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\nr4 += 1\nif r4 > r3 goto out\n\
         r0 = *(u8 *)(r2 + 0)\nr0 += 1\n*(u8 *)(r2 + 0) = r0\nr1 = r6\n{}out: r0 = 2\nexit",
        tail_call(0)
    );
    let nic = chained(&[&text], &[Some(0)]);
    for _ in 0..2 {
        let batch = run_on(&nic, &[0; 60]);
        assert_eq!(batch.frames[0].r0, 2);
        assert_eq!(batch.bytes(0)[0], 34); // the first run and 33 tail calls
    }
}

#[test]
fn a_tail_call_in_a_function_returns_to_its_caller() {
    let first = format!(
        "r6 = 1000\n*(u64 *)(r10 - 8) = 500\ncall f\nr0 += r6\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\n\
         exit\nf:\nr6 = 7\n{}r0 = 0\nexit",
        tail_call(0)
    );
    let second = "r6 = 3\nr7 = 4\nr8 = 5\nr9 = 6\n*(u64 *)(r10 - 8) = 1\ncall bpf_ktime_get_ns\n\
                  r0 = 20\nr0 += r6\nexit";
    let nic = chained(&[&first, second], &[Some(1)]);
    assert_eq!(run_on(&nic, &[0; 60]).frames[0].r0, 1523);
}

/// The image of `text` with every call of helper `from` turned into one of `to`.
fn redirected(text: &str, from: u32, to: u32) -> (Arc<bpf::Program>, Image) {
    let program = program("trap", text, Hook::XDP);
    let mut image = translate(&program).unwrap();
    for relocation in &mut image.relocations {
        if relocation.symbol == Symbol::Helper(from) {
            relocation.symbol = Symbol::Helper(to);
        }
    }
    (program, image)
}

#[test]
fn a_helper_that_traps_ends_all_functions_and_the_next_packet_runs() {
    // Helper 14 (get_current_pid_tgid) has no body here; no verified XDP program calls it, so
    // the call is put in afterwards. The trap comes two functions deep.
    let text = "r6 = r1\nr7 = 1\ncall f\nr2 = *(u32 *)(r6 + 0)\nr3 = *(u32 *)(r6 + 4)\nr4 = r2\n\
                r4 += 1\nif r4 > r3 goto out\n*(u8 *)(r2 + 0) = 9\nout: r0 = 2\nexit\n\
                f:\nr6 = 3\nr9 = 2\ncall g\nr0 = 0\nexit\n\
                g:\nr8 = 4\n*(u64 *)(r10 - 8) = 1\ncall bpf_ktime_get_ns\nr0 = 0\nexit";
    let (program, image) = redirected(text, 5, 14);
    let mut nic = new_nic(1);
    let id = nic
        .load_trusted(&trusted(image), &program.hook, &[])
        .unwrap();
    let mut queue = nic.queues(id).remove(0);
    for _ in 0..2 {
        let batch = run_queue(&mut queue, &[0; 60]);
        assert_eq!(batch.traps.len(), 1);
        let (index, trap) = &batch.traps[0];
        assert_eq!(*index, 0);
        assert_eq!(trap.cause, TrapCause::BadHelper { id: 14 });
        let pc = trap.pc.unwrap();
        assert!(matches!(
            program.insns[pc],
            isa::ebpf::Insn::Call(isa::ebpf::CallTarget::Helper(5))
        ));
        assert!(batch.frames[0].trapped);
        assert_eq!(batch.frames[0].r0, 0);
        assert_eq!(batch.bytes(0)[0], 0, "nothing ran after the trap");
    }
}

#[test]
fn native_code_from_outside_is_not_loaded() {
    let program = program("outside", "r0 = 2\nexit", Hook::XDP);
    let image = translate(&program).unwrap();
    let mut nic = new_nic(1);
    assert_eq!(
        nic.load(&image, &program.hook, &[]),
        Err(LoadError::Untrusted)
    );
}

#[test]
fn a_malformed_image_is_refused_at_load() {
    let program = program("count", COUNTER, Hook::XDP);
    let good = translate(&program).unwrap();
    assert!(!good.relocations.is_empty());
    let mut nic = new_nic(1);
    let maps = nic.create_maps(&program.maps).unwrap();
    let mut refused = |change: &dyn Fn(&mut Image), maps: &[usize]| {
        let mut image = good.clone();
        change(&mut image);
        let result = nic.load_trusted(&trusted(image), &program.hook, maps);
        assert!(
            matches!(result, Err(LoadError::Malformed { .. })),
            "{result:?}"
        );
    };
    let add = |symbol, kind, at| {
        move |image: &mut Image| image.relocations.push(Relocation { at, kind, symbol })
    };
    let absolute = RelocationKind::Absolute64;
    refused(&|_| {}, &[]);
    refused(&|_| {}, &[7]);
    refused(&|image| image.entry = image.code.len(), &maps);
    refused(&|image| image.code.clear(), &maps);
    refused(&add(Symbol::Map(1), absolute, 0), &maps);
    refused(&add(Symbol::Map(0), absolute, usize::MAX), &maps);
    refused(&add(Symbol::Map(0), RelocationKind::Absolute32, 0), &maps);
    refused(&add(Symbol::Map(0), RelocationKind::EbpfWide, 0), &maps);
    refused(&add(Symbol::Map(0), RelocationKind::Target(9), 0), &maps);
    refused(&add(Symbol::Helper(0), absolute, 0), &maps);
    refused(&add(Symbol::Helper(100_000), absolute, 0), &maps);
    refused(&add(Symbol::Runtime(77), absolute, 0), &maps);
    let far = Symbol::MapValues {
        map: 0,
        offset: u64::MAX,
    };
    refused(&add(far, absolute, 0), &maps);
}
