//! How much stack chains of calls need.

use std::collections::BTreeSet;

use bpf::Program;
use isa::ebpf::{CallTarget, Insn, Wide};

use crate::cfg::{Cfg, Located};
use crate::check::MAX_FRAMES;
use crate::domain::FRAME_BYTES;
use crate::report::{Problem, Rule};

/// What each function's frame is rounded up to, as the kernel's JITs do.
const FRAME_STEP: u32 = 16;
/// Most bytes of the frames below a function that makes tail calls.
const MAX_BELOW_TAIL_CALL: u32 = 256;

/// Stack bytes of the deepest chain of calls; `used` gives the bytes each function uses.
///
/// # Errors
/// A chain that needs too much, or that nests too deep, at the call that ends it.
/// `later` are the functions that are only called when the program has ended.
pub(crate) fn check(
    program: &Program,
    cfg: &Cfg,
    used: &[u32],
    later: &BTreeSet<usize>,
) -> Result<u32, Located> {
    let mut walk = Walk {
        program,
        cfg,
        used,
        later,
        deepest: 0,
        best: vec![[None; MAX_FRAMES]; cfg.functions.len()],
    };
    walk.enter(0, 0, 1, 0)?;
    for function in later {
        walk.enter(*function, 0, 1, 0)?;
    }
    Ok(walk.deepest)
}

struct Walk<'a> {
    program: &'a Program,
    cfg: &'a Cfg,
    used: &'a [u32],
    later: &'a BTreeSet<usize>,
    deepest: u32,
    /// By function and number of callers, the most bytes below it that were walked already.
    best: Vec<[Option<u32>; MAX_FRAMES]>,
}

impl Walk<'_> {
    fn enter(
        &mut self,
        function: usize,
        below: u32,
        frames: usize,
        at: usize,
    ) -> Result<(), Located> {
        if frames > MAX_FRAMES {
            let message = format!("the call stack of {frames} frames is too deep");
            return Err((at, Problem::new(Rule::CallStack, message)));
        }
        let best = &mut self.best[function][frames - 1];
        if best.is_some_and(|walked| walked >= below) {
            return Ok(());
        }
        *best = Some(below);
        let extent = &self.cfg.functions[function];
        if frames > 1 && extent.tail_calls && below >= MAX_BELOW_TAIL_CALL {
            let problem = Problem::new(
                Rule::CallStack,
                format!(
                    "tail_calls are not allowed when call stack of previous frames is {below} \
                     bytes. Too large"
                ),
            )
            .why(format!(
                "below {MAX_BELOW_TAIL_CALL} bytes are allowed there"
            ));
            return Err((at, problem));
        }
        let total = below + self.used[function].next_multiple_of(FRAME_STEP);
        if total > FRAME_BYTES as u32 {
            let problem = Problem::new(
                Rule::CallStack,
                format!("combined stack size of {frames} calls is {total}. Too large"),
            )
            .why(format!("all frames of a chain share {FRAME_BYTES} bytes"))
            .help("keep large variables in a per-CPU array map");
            return Err((at, problem));
        }
        self.deepest = self.deepest.max(total);
        for pc in extent.start..extent.end {
            let insn = &self.program.insns[pc];
            if matches!(
                insn,
                Insn::Call(CallTarget::Local { .. })
                    | Insn::LoadWide {
                        value: Wide::Function { .. },
                        ..
                    }
            ) && let Some(target) = insn.function_target(pc)
                && let Some(callee) = self.cfg.function_starting(target as usize)
                && (matches!(insn, Insn::Call(_)) || !self.later.contains(&callee))
            {
                if self.cfg.catcher == Some(callee) {
                    let message = format!("insn {pc} cannot call exception cb directly");
                    return Err((pc, Problem::new(Rule::CallStack, message)));
                }
                self.enter(callee, total, frames + 1, pc)?;
            }
        }
        Ok(())
    }
}
