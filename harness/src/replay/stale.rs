//! Where programs may still use a value whose key they have deleted.
//!
//! The entry of a deleted key is free for the next key that is inserted. Which entry an insertion
//! takes depends on the order between queues, and a program sees it only if it holds on to the
//! address of a value beyond a deletion.

use std::collections::BTreeSet;

use bpf::helper::callback::calls_back;
use isa::ebpf::{CallTarget, Insn};
use verifier::Verified;

/// `bpf_tail_call` and `bpf_map_delete_elem`.
const TAIL_CALL: u32 = 12;
const MAP_DELETE: u32 = 3;

/// Whether a function of the program may return to behind such a call.
fn returns_here(target: CallTarget) -> bool {
    match target {
        CallTarget::Local { .. } => true,
        CallTarget::Helper(id) => calls_back(id),
        CallTarget::Kfunc { .. } | CallTarget::Reg(_) => false,
    }
}

/// Where functions begin whose address the program takes, for helpers to call.
fn called_back(insns: &[Insn]) -> impl Iterator<Item = usize> {
    let named = |(pc, insn): (usize, &Insn)| match insn {
        Insn::LoadWide { .. } => insn
            .function_target(pc)
            .and_then(|to| usize::try_from(to).ok()),
        _ => None,
    };
    insns.iter().enumerate().filter_map(named)
}

/// The pcs that one of these programs may execute in a packet after it, or one that called it,
/// has deleted a key; more rather than fewer. By index of the program.
pub(super) fn after_delete(programs: &[&Verified]) -> Vec<BTreeSet<usize>> {
    let insns = |program: usize| &programs[program].program().insns;
    let calls = |program: usize, wanted: fn(CallTarget) -> bool| {
        insns(program)
            .iter()
            .enumerate()
            .filter_map(move |(pc, insn)| {
                matches!(insn, Insn::Call(target) if wanted(*target)).then_some(pc)
            })
    };
    let mut seen = vec![BTreeSet::new(); programs.len()];
    let mut todo: Vec<(usize, usize)> = (0..programs.len())
        .flat_map(|p| calls(p, |t| t == CallTarget::Helper(MAP_DELETE)).map(move |pc| (p, pc + 1)))
        .collect();
    while let Some((program, pc)) = todo.pop() {
        let Some(insn) = insns(program).get(pc) else {
            continue;
        };
        if !seen[program].insert(pc) {
            continue;
        }
        let mut go = |to: Option<i64>| {
            if let Some(to) = to.and_then(|to| usize::try_from(to).ok()) {
                todo.push((program, to));
            }
        };
        go(insn.jump_target(pc));
        go(insn.function_target(pc));
        match insn {
            Insn::Jump { .. } => {}
            // To wherever a function is called; the program's own end goes nowhere, so this is
            // more than can be.
            Insn::Exit => {
                for call in calls(program, returns_here) {
                    todo.push((program, call + 1));
                }
                // A helper calls the function once more.
                todo.extend(called_back(insns(program)).map(|pc| (program, pc)));
            }
            _ => todo.push((program, pc + insn.slots())),
        }
        if *insn == Insn::Call(CallTarget::Helper(TAIL_CALL)) {
            todo.extend((0..programs.len()).map(|p| (p, 0)));
        }
    }
    seen
}
