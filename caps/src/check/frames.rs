//! Stack over chains of calls.

use isa::ebpf::{CallTarget, Insn};
use verifier::Verified;

/// More nested calls than any verified program has.
const MOST_FRAMES: usize = 64;

/// Bytes of stack over the deepest chain of calls, each frame rounded up to `granule`, and the
/// function (its index) at the end of that chain.
pub(crate) fn deepest(verified: &Verified, granule: u64) -> (u64, usize) {
    let program = verified.program();
    let mut calls: Vec<Vec<usize>> = vec![Vec::new(); program.subprograms.len().max(1)];
    for (pc, insn, _) in super::reachable(verified) {
        if !matches!(insn, Insn::Call(CallTarget::Local { .. })) {
            continue;
        }
        let callee = insn
            .function_target(pc)
            .and_then(|target| usize::try_from(target).ok())
            .and_then(|target| program.subprogram_at(target));
        if let (Some(caller), Some(callee)) = (program.subprogram_at(pc), callee) {
            calls[caller].push(callee);
        }
    }
    // Bytes and depth of the deepest chain that ends in each function: relaxed until nothing
    // changes, at most as often as calls can be nested.
    let size = |function: usize| {
        u64::from(verified.frame_bytes(function)).next_multiple_of(granule.max(1))
    };
    let mut below: Vec<Option<u64>> = vec![None; calls.len()];
    below[0] = Some(0);
    for _ in 0..MOST_FRAMES {
        let mut changed = false;
        for caller in 0..calls.len() {
            let Some(under) = below[caller] else { continue };
            let total = under + size(caller);
            for &callee in &calls[caller] {
                if below[callee].is_none_or(|known| known < total) {
                    below[callee] = Some(total);
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    below
        .iter()
        .enumerate()
        .filter_map(|(function, under)| Some((under.as_ref()? + size(function), function)))
        .max_by_key(|(total, function)| (*total, std::cmp::Reverse(*function)))
        .unwrap_or((0, 0))
}
