//! What each instruction's registers hold, for whoever records a run.

use std::sync::Arc;

use bpf::Hook;
use bpf::trace::{REGISTERS, Region, Site, Store};
use isa::ebpf::{Insn, Operand, RegSet};
use verifier::Verified;
use verifier::facts::{self, RegFact, RegKind};

/// The sites of programs that run together, by number and slot.
pub fn sites(programs: &[&Verified]) -> Arc<[Vec<Site>]> {
    programs.iter().map(|program| of_program(program)).collect()
}

fn of_program(verified: &Verified) -> Vec<Site> {
    let program = verified.program();
    let live = live(&program.insns, &|pc| verified.facts(pc).reachable);
    let starts = |pc| pc > 0 && program.subprograms.iter().any(|s| s.start == pc);
    program
        .insns
        .iter()
        .enumerate()
        .map(|(pc, insn)| {
            let facts = verified.facts(pc);
            let mut registers = [Region::Unknown; REGISTERS];
            for (number, region) in registers.iter_mut().enumerate() {
                if live[pc] & (1 << number) != 0 {
                    *region = of_register(facts.registers[number].kind, &program.hook);
                }
            }
            let in_context = facts
                .access
                .is_none_or(|a| matches!(a.region, facts::Region::Ctx));
            Site {
                registers,
                store: store(insn, &facts.registers).filter(|_| !in_context),
                starts: starts(pc),
                calls: matches!(insn, Insn::Call(_)),
                leaves: matches!(insn, Insn::Exit),
            }
        })
        .collect()
}

fn of_register(kind: RegKind, hook: &Hook) -> Region {
    match kind {
        // No engine has sockets.
        RegKind::Unknown | RegKind::Socket { .. } => Region::Unknown,
        RegKind::Scalar => Region::Number,
        RegKind::Ctx => Region::Context,
        RegKind::Packet | RegKind::PacketMeta | RegKind::PacketEnd => Region::Packet,
        RegKind::Stack { .. } => Region::Stack,
        RegKind::Map { .. } => Region::Map,
        // The memory of a program without hook is its packet; else it is a ring buffer's record.
        RegKind::Memory { .. } if matches!(hook, Hook::Raw { .. }) => Region::Packet,
        RegKind::MapValue { .. } | RegKind::Memory { .. } => Region::Value,
    }
}

fn store(insn: &Insn, registers: &[RegFact]) -> Option<Store> {
    let (size, base, offset, src) = match *insn {
        Insn::Store {
            size,
            base,
            offset,
            src,
        } => (size, base, offset, src),
        Insn::StoreRelease {
            size,
            base,
            offset,
            src,
        }
        | Insn::Atomic {
            size,
            base,
            offset,
            src,
            ..
        } => (size, base, offset, Operand::Reg(src)),
        _ => return None,
    };
    let number = match src {
        Operand::Imm(_) => true,
        Operand::Reg(src) => registers[src.index()].kind == RegKind::Scalar,
    };
    Some(Store {
        base: base.number(),
        offset,
        size: size.bytes(),
        number,
    })
}

/// For each slot the registers that some path reads before it writes them. What no path reaches
/// reads nothing: a backend need not have kept a register for it.
fn live(insns: &[Insn], reached: &dyn Fn(usize) -> bool) -> Vec<RegSet> {
    let mut live: Vec<RegSet> = vec![0; insns.len()];
    // A register becomes live at a slot at most once, so this ends.
    let mut changed = true;
    while changed {
        changed = false;
        for (pc, insn) in insns.iter().enumerate().rev() {
            if !reached(pc) {
                continue;
            }
            let at = |pc: usize| live.get(pc).copied().unwrap_or(0);
            let mut after = if insn.is_terminator() {
                0
            } else {
                at(pc + insn.slots())
            };
            if let Some(target) = insn.jump_target(pc).and_then(|t| usize::try_from(t).ok()) {
                after |= at(target);
            }
            let before = insn.reads() | (after & !insn.writes());
            changed |= before != live[pc];
            live[pc] = before;
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bpf::object::{LoadOptions, load};

    use super::*;

    #[test]
    fn a_register_is_compared_only_until_it_is_read_last() {
        let text = "
            r2 = 5
            r3 = 7
            if r3 == 7 goto out
            r2 += 1
            out:
            r0 = r2
            r2 = 0
            exit
        ";
        let set = load("case.bpf", text.as_bytes(), &LoadOptions::default()).unwrap();
        let verified = crate::pipeline::verify(&Arc::new(set.programs[0].clone())).unwrap();
        let sites = of_program(&verified);
        let known: Vec<Vec<usize>> = sites
            .iter()
            .map(|site| {
                (0..REGISTERS)
                    .filter(|r| site.registers[*r] != Region::Unknown)
                    .collect()
            })
            .collect();
        // Slot 3 is never reached, so nothing is known there.
        assert_eq!(
            known,
            [
                vec![],
                vec![2],
                vec![2, 3],
                vec![],
                vec![2],
                vec![0],
                vec![0]
            ]
        );
    }
}
