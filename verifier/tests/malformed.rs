//! Instructions of any kind in any order: a verdict, never a panic.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::sync::Arc;

use bpf::Hook;
use bpf::map::MapType;
use isa::ebpf::{Insn, decode_one};
use proptest::prelude::*;
use verifier::{Options, verify};

/// Instructions as random bytes give them, with fields that are often small.
fn insn() -> impl Strategy<Value = Option<Insn>> {
    let code = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![
            0x07u8, 0x0f, 0xb7, 0xbf, 0x61, 0x79, 0x63, 0x7b, 0x15, 0x2d, 0x85, 0x95, 0x05, 0xdb
        ])
    ];
    let small = prop_oneof![any::<i16>(), -32i16..8, -4i16..6];
    let imm = prop_oneof![any::<i32>(), -64i32..64, 0i32..15];
    (code, 0u8..12, 0u8..12, small, imm).prop_map(|(code, dst, src, off, imm)| {
        let mut bytes = vec![code, dst | src << 4];
        bytes.extend(off.to_le_bytes());
        bytes.extend(imm.to_le_bytes());
        decode_one(&bytes).ok().or_else(|| {
            bytes.extend([0; 8]);
            decode_one(&bytes).ok()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn random_instructions_get_a_verdict(
        insns in prop::collection::vec(insn(), 0..80),
        exit in any::<bool>(),
        raw in any::<bool>(),
    ) {
        let mut slots = Vec::new();
        for insn in insns.into_iter().flatten() {
            slots.push(insn);
            if insn.slots() == 2 {
                slots.push(Insn::WideTail);
            }
        }
        if exit {
            slots.push(Insn::Exit);
        }
        let maps = vec![support::map("m", MapType::Hash, 4, 8, 4)];
        let hook = if raw { Hook::Raw { memory_bytes: 16 } } else { Hook::XDP };
        let options = Options { log: true, ..Options::default() };
        let _ = verify(Arc::new(support::program(slots, maps, hook)), options);
    }
}

#[test]
fn an_empty_program_and_a_lone_tail_are_rejected() {
    for insns in [
        vec![],
        vec![Insn::WideTail],
        vec![Insn::WideTail, Insn::Exit],
    ] {
        let program = support::program(insns, Vec::new(), Hook::XDP);
        assert!(verify(Arc::new(program), Options::default()).is_err());
    }
}
