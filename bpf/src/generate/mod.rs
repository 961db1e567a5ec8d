//! Generating programs: [`program`] makes one of a [`Spec`] and a seed, the same on every machine.
//!
//! Programs are made of *pieces* that are right by construction: what a register or a stack slot
//! holds is known at every instruction, so nearly all of them verify. Between them the pieces use
//! every instruction that Linux takes from an XDP program (or a tc program), immediates and operands at the edges
//! of their ranges, branches, bounded loops, functions, spills, map values, helpers, and the
//! packet with and without constant offsets. At its end a program mixes all numbers that it holds
//! into its return code, so that a wrong one shows.
//!
//! `builder` knows what registers hold, `arithmetic`, `memory`, `flow`, `packet`, `maps` and
//! `calls` have the pieces, `tc` those of tc programs alone, `random` the numbers; `card` makes
//! programs for cards that take only part of eBPF; `shrink` makes a program small that
//! shows something, and writes it as a case. What does not belong here: what programs do,
//! and which of them are safe.

mod arithmetic;
mod builder;
mod calls;
mod card;
mod flow;
mod maps;
mod memory;
mod packet;
mod random;
mod shrink;
mod tc;

use crate::{Hook, Program};
use builder::Builder;

pub use arithmetic::OPERATIONS;
pub use card::Card;
pub use flow::CONDITIONS;
pub use random::{EDGES, IMMEDIATES, Random};
pub use shrink::{case_text, shrink};

/// Bytes of memory that a generated program of hook `Raw` expects.
pub const RAW_BYTES: u32 = 64;

/// What programs to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The program's name.
    pub name: String,
    /// The hook: XDP, tc, or `Raw` with [`RAW_BYTES`].
    pub hook: Hook,
    /// Most pieces of the entry function; a piece is one to about twenty instructions.
    pub pieces: u32,
    /// Whether programs may ask for time, CPU and random numbers, which the kernel answers
    /// otherwise than a NIC.
    pub ambient: bool,
    /// Whether loops may begin with `may_goto`.
    pub may_goto: bool,
    /// Whether programs may have tail calls: into slots of a map that holds the program itself in
    /// its first slot, and nothing in the others.
    pub tail_calls: bool,
    /// The card whose driver is to take the programs, where it takes only part of eBPF; the hook
    /// is XDP then.
    pub card: Option<Card>,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            name: "generated".to_owned(),
            hook: Hook::XDP,
            pieces: 16,
            ambient: true,
            may_goto: false,
            tail_calls: false,
            card: None,
        }
    }
}

/// The program of this seed.
pub fn program(spec: &Spec, seed: u64) -> Program {
    if let Some(card) = spec.card {
        let insns = card::instructions(spec, card, seed);
        return Program {
            section: "xdp".to_owned(),
            maps: card::definitions().into(),
            ..Program::of_instructions(&spec.name, Hook::XDP, insns)
        };
    }
    let mut builder = Builder::new(spec, seed);
    builder.whole();
    let section = match spec.hook {
        Hook::Tc { .. } => "tc",
        Hook::Xdp { .. } | Hook::Raw { .. } => "xdp",
    };
    Program {
        section: section.to_owned(),
        maps: maps::definitions(spec).into(),
        ..Program::of_instructions(&spec.name, spec.hook.clone(), builder.insns)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use isa::ebpf::{CallTarget, Insn, table};

    use super::*;

    /// Rows of other hooks, those that loading replaces, and what Linux never takes.
    const ABSENT: [&str; 8] = [
        "ldabs",
        "ldind",
        "callx",
        "lddw_map_fd",
        "lddw_map_fd_value",
        "lddw_btf_id",
        "lddw_function",
        "call_kfunc",
    ];

    #[test]
    fn the_same_seed_gives_the_same_program() {
        let spec = Spec::default();
        for seed in 0..50 {
            assert_eq!(program(&spec, seed).insns, program(&spec, seed).insns);
        }
        assert_ne!(program(&spec, 1).insns, program(&spec, 2).insns);
    }

    #[test]
    fn every_jump_lands_on_an_instruction() {
        for seed in 0..2000 {
            let program = program(&Spec::default(), seed);
            for (pc, insn) in program.insns.iter().enumerate() {
                let target = insn.jump_target(pc).or_else(|| insn.function_target(pc));
                if let Some(target) = target {
                    let at = usize::try_from(target).expect("not before the program");
                    let landed = program.insns.get(at).expect("not behind the program");
                    assert_ne!(*landed, Insn::WideTail, "seed {seed}, pc {pc}");
                }
            }
        }
    }

    #[test]
    fn tc_programs_use_what_they_alone_have() {
        let spec = Spec {
            hook: Hook::TC,
            tail_calls: true,
            ..Spec::default()
        };
        let mut helpers = BTreeSet::new();
        for seed in 0..1000 {
            let program = program(&spec, seed);
            let last = program.maps.last().expect("it has maps");
            assert_eq!(last.slots.len(), 1, "its own program is in the first slot");
            for insn in program.insns.iter() {
                if let Insn::Call(CallTarget::Helper(id)) = insn {
                    helpers.insert(*id);
                }
            }
        }
        // Tail calls, and what linux/bpf.h numbers for socket buffers.
        for helper in [9, 10, 11, 12, 18, 19, 26, 38, 39, 43] {
            assert!(helpers.contains(&helper), "{helper} of {helpers:?}");
        }
        assert!(!helpers.contains(&44), "moving the head is XDP's");
    }

    #[test]
    fn between_them_programs_use_every_instruction() {
        let mut used = BTreeSet::new();
        let mut helpers = BTreeSet::new();
        let spec = Spec {
            may_goto: true,
            ..Spec::default()
        };
        for seed in 0..4000 {
            for insn in program(&spec, seed).insns.iter() {
                if let Insn::Call(CallTarget::Helper(id)) = insn {
                    helpers.insert(*id);
                }
                used.insert(insn.row().mnemonic());
            }
        }
        let missing: Vec<&str> = table()
            .iter()
            .map(isa::ebpf::Row::mnemonic)
            .filter(|name| !used.contains(name))
            .filter(|name| !ABSENT.iter().any(|absent| name.starts_with(absent)))
            .collect();
        assert_eq!(missing, Vec::<&str>::new());
        assert!(helpers.len() > 20, "{helpers:?}");
    }
}
