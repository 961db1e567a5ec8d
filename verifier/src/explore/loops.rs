//! Loops: when a path comes back to where it was.
//!
//! A loop is explored iteration by iteration, as long as something changes. Coming back with
//! nothing changed means that it never ends.

use super::prune::How;
use super::worklist::{CheckpointId, Path};
use super::{Explorer, prune};
use crate::report::{Problem, Rule};

/// Jumps after which a loop's body may get another kept state.
const LOOP_JUMPS: u32 = 20;
/// Instructions after which it may.
const LOOP_INSNS: u32 = 100;

impl Explorer<'_, '_, '_> {
    /// Compares with a kept state on the same path. `Ok` tells whether a new state may be kept.
    pub(super) fn meet_ancestor(&self, path: &Path, id: CheckpointId) -> Result<bool, Problem> {
        let kept = &self.kept[id as usize];
        let same = prune::covers(
            kept.as_old(),
            &path.state,
            path.pc,
            &self.cx.cfg.live,
            How::Same,
        );
        if same {
            return Err(Problem::new(
                Rule::UnboundedLoop,
                format!("infinite loop detected at insn {}", path.pc),
            )
            .why("the loop comes back here with every live register and stack slot unchanged")
            .help("count iterations in a register and leave at a constant bound"));
        }
        Ok(path.jumps >= LOOP_JUMPS || path.insns >= LOOP_INSNS)
    }
}
