//! What `interp` does with memory, maps, calls and programs that no verifier would take.

use std::sync::Arc;

use bpf::map::{Map, MapDef, MapSet, MapType};
use bpf::program::Source;
use bpf::run::{Arrival, Batch, Environment, TrapCause, XDP_HEADROOM};
use bpf::{Hook, Program, Subprogram};
use cpu_reference::{Interp, Reference, Setup};
use isa::ebpf::{Symbols, parse_asm};

struct Helpers;

impl Symbols for Helpers {
    fn helper_id(&self, name: &str) -> Option<u32> {
        bpf::helper::id_by_name(name)
    }
}

/// A program from assembly, with the maps that the text declares.
fn program(hook: Hook, text: &str) -> Program {
    let assembly = parse_asm(text, &Helpers).expect("assembly");
    let maps: Vec<MapDef> = assembly
        .maps
        .iter()
        .map(|decl| MapDef {
            key_size: decl.key_size,
            value_size: decl.value_size,
            max_entries: decl.max_entries,
            flags: decl.flags,
            ..MapDef::new(
                &decl.name,
                MapType::from_name(&decl.kind).expect("map type"),
            )
        })
        .collect();
    let end = assembly.insns.len();
    Program {
        name: "test".into(),
        section: String::new(),
        hook,
        insns: assembly.insns.into(),
        maps: maps.into(),
        subprograms: vec![Subprogram {
            name: "test".into(),
            start: 0,
            end,
            global: false,
            btf_type: 0,
        }],
        globals: Arc::default(),
        license: None,
        source: Source::default(),
        btf: None,
        kernel_btf: None,
    }
}

/// Runs programs (the first is the entry) on a packet, after `prepare` saw the maps.
fn run(programs: Vec<Program>, bytes: &[u8], prepare: impl Fn(&MapSet)) -> (Batch, MapSet) {
    let mut maps = MapSet::new();
    for def in programs[0].maps.iter() {
        maps.push(Map::new(def, 1).expect("map"));
    }
    prepare(&maps);
    let interp = Interp::new(Setup {
        programs: programs.into_iter().map(Arc::new).collect(),
        maps: maps.clone(),
        environment: Arc::new(Environment::default()),
    })
    .expect("interp");
    let mut batch = Batch::new();
    let arrival = Arrival {
        number: 0,
        arrival_ns: 1_000,
        port: 1,
        queue: 0,
    };
    batch.push(arrival, bytes, XDP_HEADROOM, 64);
    interp.runner().process(&mut batch);
    (batch, maps)
}

fn xdp(text: &str, bytes: &[u8]) -> Batch {
    run(vec![program(Hook::XDP, text)], bytes, |_| {}).0
}

/// The trap of a program without maps on 64 zero bytes: its slot and cause.
fn trap(text: &str) -> (usize, TrapCause) {
    let batch = xdp(text, &[0; 64]);
    assert!(batch.frames[0].trapped);
    assert_eq!(batch.frames[0].r0, 0);
    assert_eq!(batch.traps.len(), 1);
    let trap = &batch.traps[0].1;
    (trap.pc.expect("pc"), trap.cause)
}

#[test]
fn packet_is_read_and_written_through_context_pointers() {
    let mut bytes = [0; 64];
    bytes[12] = 0x86;
    let batch = xdp(
        "r2 = *(u32 *)(r1 + 4)
         r1 = *(u32 *)(r1 + 0)
         r3 = r1
         r3 += 14
         r0 = 1
         if r3 > r2 goto out
         r0 = *(u8 *)(r1 + 12)
         *(u16 *)(r1 + 0) = 0x1234
       out:
         exit",
        &bytes,
    );
    assert_eq!(batch.frames[0].r0, 0x86);
    assert_eq!(batch.bytes(0)[..3], [0x34, 0x12, 0]);
    assert_eq!(batch.frames[0].cost.instructions, 9);
}

#[test]
fn counter_in_an_array_is_incremented() {
    let text = ".map counter type=array key=4 value=8 entries=2
         *(u32 *)(r10 - 4) = 1
         r2 = r10
         r2 += -4
         r1 = map[counter] ll
         call bpf_map_lookup_elem
         if r0 == 0 goto out
         r1 = 1
         lock *(u64 *)(r0 + 0) += r1
       out:
         r0 = 2
         exit";
    let (batch, maps) = run(vec![program(Hook::XDP, text)], &[0; 64], |_| {});
    assert_eq!(batch.frames[0].r0, 2);
    assert_eq!(batch.frames[0].cost.instructions, 10);
    let counter = maps.get(0).unwrap();
    let at = counter.lookup(&[1, 0, 0, 0], 0).unwrap();
    assert_eq!(counter.memory().load(at.0, 8), Some(1));
}

#[test]
fn access_behind_a_value_traps_inside_the_map() {
    let text = ".map values type=array key=4 value=12 entries=4
         *(u32 *)(r10 - 4) = 0
         r2 = r10
         r2 += -4
         r1 = map[values] ll
         call bpf_map_lookup_elem
         r1 = *(u32 *)(r0 + 8)
         r1 = *(u64 *)(r0 + 8)
         exit";
    let (batch, _) = run(vec![program(Hook::XDP, text)], &[0; 64], |_| {});
    let trap = &batch.traps[0].1;
    assert_eq!(trap.pc, Some(7), "{trap:?}");
    assert!(matches!(
        trap.cause,
        TrapCause::OutOfBounds {
            size: 8,
            write: false,
            ..
        }
    ));
}

#[test]
fn read_only_map_takes_no_store() {
    // 128 is BPF_F_RDONLY_PROG.
    let text = ".map values type=array key=4 value=8 entries=1 flags=128
         r1 = map[values][0] ll
         r0 = *(u64 *)(r1 + 0)
         *(u64 *)(r1 + 0) = 1
         exit";
    let (batch, _) = run(vec![program(Hook::XDP, text)], &[0; 64], |_| {});
    let trap = &batch.traps[0].1;
    assert_eq!(trap.pc, Some(3));
    assert!(matches!(trap.cause, TrapCause::ReadOnly { size: 8, .. }));
}

#[test]
fn every_region_has_bounds() {
    let out = |text| match trap(text) {
        (pc, TrapCause::OutOfBounds { size, write, .. }) => (pc, size, write),
        other => panic!("{other:?}"),
    };
    assert_eq!(out("r0 = 0\n r0 = *(u8 *)(r0 + 0)\n exit"), (1, 1, false));
    assert_eq!(out("*(u8 *)(r10 + 0) = 1\n exit"), (0, 1, true));
    assert_eq!(out("*(u64 *)(r10 - 4) = 1\n exit"), (0, 8, true));
    assert_eq!(out("*(u64 *)(r10 - 513) = 1\n exit"), (0, 8, true));
    assert_eq!(out("r0 = *(u32 *)(r1 + 2)\n exit"), (0, 4, false));
    assert_eq!(out("r0 = *(u64 *)(r1 + 0)\n exit"), (0, 8, false));
    assert_eq!(out("r0 = *(u32 *)(r1 + 24)\n exit"), (0, 4, false));
    let before = "r1 = *(u32 *)(r1 + 0)\n r0 = *(u8 *)(r1 - 1)\n exit";
    assert_eq!(out(before), (1, 1, false));
    let behind = "r1 = *(u32 *)(r1 + 0)\n r0 = *(u16 *)(r1 + 63)\n exit";
    assert_eq!(out(behind), (1, 2, false));
    // Another function's frame is gone once it returned.
    let gone = "call f\n r0 = *(u64 *)(r0 - 8)\n exit\n f:\n r0 = r10\n exit";
    assert_eq!(out(gone), (1, 8, false));
}

#[test]
fn callee_reaches_the_callers_frame_but_not_the_gap_between() {
    let batch = xdp(
        "*(u64 *)(r10 - 8) = 7
         r1 = r10
         r6 = 1
         call f
         r0 += r6
         exit
       f:
         r6 = 100
         *(u64 *)(r10 - 8) = 5
         r0 = *(u64 *)(r1 - 8)
         exit",
        &[0; 64],
    );
    assert_eq!(batch.frames[0].r0, 8);
    assert_eq!(batch.frames[0].cost.instructions, 10);
}

#[test]
fn context_is_not_written() {
    let (pc, cause) = trap("*(u32 *)(r1 + 12) = 1\n exit");
    assert_eq!(pc, 0);
    assert!(matches!(cause, TrapCause::ReadOnly { size: 4, .. }));
}

#[test]
fn jump_to_nowhere_names_the_jump() {
    assert_eq!(
        trap("r0 = 0\n goto +7\n exit"),
        (1, TrapCause::BadJump { target: 9 })
    );
    assert_eq!(trap("r0 = 0"), (0, TrapCause::BadJump { target: 1 }));
    let into_wide = "r0 = 0\n if r0 == 0 goto +1\n r1 = 5 ll\n exit";
    assert_eq!(trap(into_wide), (1, TrapCause::BadJump { target: 3 }));
}

#[test]
fn runs_end() {
    assert!(matches!(
        trap("goto -1\n exit"),
        (0, TrapCause::Fuel { .. })
    ));
    let deep = "call f\n exit\n f:\n call f\n exit";
    assert_eq!(trap(deep), (2, TrapCause::CallDepth { limit: 272 }));
}

#[test]
fn unknown_helpers_and_maps_trap() {
    assert_eq!(trap("call 9\n exit"), (0, TrapCause::BadHelper { id: 9 }));
    let no_map = "r1 = 0\n r2 = r10\n call bpf_map_lookup_elem\n exit";
    assert_eq!(trap(no_map), (2, TrapCause::BadMap { value: 0 }));
}

#[test]
fn tail_calls_end_after_33() {
    let text = ".map programs type=prog_array key=4 value=4 entries=1
         .map calls type=array key=4 value=4 entries=1
         r6 = map[calls][0] ll
         r7 = *(u32 *)(r6 + 0)
         r7 += 1
         *(u32 *)(r6 + 0) = r7
         r2 = map[programs] ll
         r3 = 0
         call bpf_tail_call
         r0 = r7
         exit";
    let entry = program(Hook::XDP, text);
    let (batch, _) = run(vec![entry], &[0; 64], |maps| {
        let slots = maps.get(0).unwrap();
        slots.update(&[0; 4], &[0; 4], 0, 0).unwrap();
    });
    // The first run and 33 tail calls.
    assert_eq!(batch.frames[0].r0, 34);
}

#[test]
fn raw_program_has_memory_and_64_bits_of_result() {
    let hook = Hook::Raw { memory_bytes: 8 };
    let text = "r0 = *(u64 *)(r1 + 0)\n *(u8 *)(r1 + 0) = 9\n r0 += r2\n exit";
    let (batch, _) = run(
        vec![program(hook, text)],
        &[1, 0, 0, 0, 0, 0, 0, 0x80],
        |_| {},
    );
    assert_eq!(batch.frames[0].r0, 0x8000_0000_0000_0009);
    assert_eq!(batch.bytes(0)[0], 9);
}

#[test]
fn legacy_packet_load_is_big_endian_and_ends_the_program_outside() {
    let hook = Hook::Raw { memory_bytes: 4 };
    let bytes = [1, 2, 3, 4];
    let inside = program(hook.clone(), "r0 = *(u16 *)skb[1]\n exit");
    assert_eq!(run(vec![inside], &bytes, |_| {}).0.frames[0].r0, 0x0203);
    let outside = program(hook, "r0 = 5\n r0 = *(u16 *)skb[3]\n r0 = 7\n exit");
    let batch = run(vec![outside], &bytes, |_| {}).0;
    assert_eq!((batch.frames[0].r0, batch.frames[0].trapped), (0, false));
}
