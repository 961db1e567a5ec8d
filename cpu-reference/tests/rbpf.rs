//! rbpf runs what it can, and refuses by name what it has not or has wrong.

use std::sync::Arc;

use bpf::map::{MapSet, Placement};
use bpf::object::{LoadOptions, load};
use bpf::run::{Arrival, Batch, Environment, TrapCause, XDP_HEADROOM};
use bpf::{Hook, Program};
use cpu_reference::{Interp, Rbpf, Reference, Setup, Unsupported};

fn program(hook: Hook, text: &str) -> Program {
    let options = LoadOptions {
        hook: Some(hook),
        ..LoadOptions::default()
    };
    let mut set = load("test.bpf", text.as_bytes(), &options).expect("assembly");
    set.programs.remove(0)
}

fn setup(hook: Hook, text: &str) -> Setup {
    let program = program(hook, text);
    Setup {
        maps: MapSet::for_program_set(&program.maps, 1, Placement::Private).expect("maps"),
        programs: vec![Arc::new(program)],
        environment: Arc::new(Environment::default()),
    }
}

fn run(reference: &dyn Reference, bytes: &[u8]) -> Batch {
    let mut batch = Batch::new();
    let arrival = Arrival {
        number: 0,
        arrival_ns: 5,
        port: 1,
        queue: 0,
    };
    batch.push(arrival, bytes, XDP_HEADROOM, 64);
    reference.runner().process(&mut batch);
    batch
}

#[test]
fn packet_maps_helpers_and_functions_agree_with_interp() {
    let text = ".map flows type=hash key=8 value=8 entries=4
        r6 = r1
        r2 = -8
        call bpf_xdp_adjust_head
        r2 = *(u32 *)(r6 + 4)
        r7 = *(u32 *)(r6 + 0)
        r3 = r7
        r3 += 22
        if r3 > r2 goto out
        r1 = *(u64 *)(r7 + 14)
        *(u64 *)(r10 - 8) = r1
        *(u64 *)(r7 + 0) = r1
        r1 = map[flows] ll
        r2 = r10
        r2 += -8
        r3 = r7
        r4 = 0
        call bpf_map_update_elem
        r1 = r10
        r1 += -8
        call count
    out:
        r0 = 2
        exit
    count:
        r2 = r1
        r1 = map[flows] ll
        call bpf_map_lookup_elem
        if r0 == 0 goto +3
        r1 = *(u64 *)(r0 + 0)
        r1 += 1
        *(u64 *)(r0 + 0) = r1
        exit";
    let bytes: Vec<u8> = (0..40).collect();
    let (ours, theirs) = (setup(Hook::XDP, text), setup(Hook::XDP, text));
    let interp = Interp::new(ours).expect("interp");
    let rbpf = Rbpf::new(theirs).expect("rbpf");
    let (left, right) = (run(&interp, &bytes), run(&rbpf, &bytes));
    assert_eq!(right.traps, []);
    assert_eq!(right.frames[0].r0, 2);
    assert_eq!(right.bytes(0), left.bytes(0));
    assert_eq!(right.bytes(0).len(), 48);
    let key: Vec<u8> = (6..14).collect();
    let value = |of: &dyn Reference| of.maps().get(0).expect("map").host_lookup(&key);
    assert_eq!(value(&rbpf), Ok(vec![7, 7, 8, 9, 10, 11, 12, 13]));
    assert_eq!(value(&rbpf), value(&interp));
}

#[test]
fn raw_program_gets_memory_and_length() {
    let text = "r0 = *(u64 *)(r1 + 0)\n *(u8 *)(r1 + 1) = 7\n r0 += r2\n exit";
    let rbpf = Rbpf::new(setup(Hook::Raw { memory_bytes: 9 }, text)).expect("rbpf");
    let batch = run(&rbpf, &[1, 0, 0, 0, 0, 0, 0, 0x80, 5]);
    assert_eq!(batch.frames[0].r0, 0x8000_0000_0000_000a);
    assert_eq!(batch.bytes(0)[..2], [1, 7]);
}

#[test]
fn access_to_nowhere_is_a_trap_at_its_slot() {
    let text = "r0 = 16\n r0 = *(u32 *)(r0 + 4)\n exit";
    let batch = run(&Rbpf::new(setup(Hook::XDP, text)).expect("rbpf"), &[0; 64]);
    let trap = &batch.traps[0].1;
    assert_eq!(trap.pc, Some(1));
    let cause = TrapCause::OutOfBounds {
        address: 20,
        size: 4,
        write: false,
    };
    assert_eq!(trap.cause, cause);
}

#[test]
fn what_it_has_wrong_is_refused_with_place_and_name() {
    let cases = [
        ("r0 = 1\n r0 s/= 2\n exit", 1, "sdiv64_imm"),
        ("w0 = 1\n w0 s%= w0\n exit", 1, "smod32_reg"),
        ("w0 = 1\n w0 %= w0\n exit", 1, "mod32_reg"),
        ("r0 = 1\n r0 = (s8)r0\n exit", 1, "movsx8_64"),
        ("r0 = 1\n r0 = bswap16 r0\n exit", 1, "bswap16"),
        ("r0 = 1\n gotol +0\n exit", 1, "ja32"),
        ("r0 = *(s8 *)(r1 + 0)\n exit", 0, "ldxsb"),
        ("r0 = 1\n if r0 == -1 goto +0\n exit", 1, "jeq64_imm"),
        ("r0 = 1\n if r0 <= -2 goto +0\n exit", 1, "jle64_imm"),
        (
            "r0 = 1\n lock *(u64 *)(r10 - 8) += r0\n exit",
            1,
            "atomic64_add",
        ),
        ("r0 = 1\n may_goto +0\n exit", 1, "may_goto"),
        ("r3 = 1\n call bpf_tail_call\n exit", 1, "bpf_tail_call"),
        ("r3 = 1\n call bpf_loop\n exit", 1, "bpf_loop"),
    ];
    for (text, pc, subject) in cases {
        match Rbpf::supports(&program(Hook::XDP, text)) {
            Err(Unsupported::Program { finding }) => {
                assert_eq!(
                    (finding.pc, &*finding.subject),
                    (Some(pc), subject),
                    "{text}"
                );
            }
            other => assert_eq!(other, Ok(()), "{text}"),
        }
    }
    let fine = "r0 = 1\n if r0 s> -1 goto +1\n r0 = 2\n if w0 == -1 goto +0\n exit";
    assert_eq!(Rbpf::supports(&program(Hook::XDP, fine)), Ok(()));
}

#[test]
fn deep_stacks_are_refused() {
    let stack = |text: &str| match Rbpf::supports(&program(Hook::XDP, text)) {
        Err(Unsupported::Program { finding }) => Some((finding.rule, finding.pc)),
        _ => None,
    };
    let at = |pc| Some(("reference/rbpf-stack".to_owned(), Some(pc)));
    let main = "*(u64 *)(r10 - 264) = 1\n call f\n r0 = 0\n exit\n f:\n r0 = 0\n exit";
    assert_eq!(stack(main), at(0));
    let third = "call f\n exit\n f:\n call g\n exit\n g:\n *(u8 *)(r10 - 1) = 1\n r0 = 0\n exit";
    assert_eq!(stack(third), at(4));
    let fine = "*(u64 *)(r10 - 256) = 1\n call f\n exit\n f:\n r0 = 0\n exit";
    assert_eq!(stack(fine), None);
}
