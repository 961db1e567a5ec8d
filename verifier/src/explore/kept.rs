//! Kept states: which are compared with, and what their proofs rest on.

use super::Explorer;
use super::prune::{self, How, Marks, Old};
use super::worklist::{CheckpointId, Node, Path};
use crate::check::MAX_FRAMES;
use crate::domain::State;
use crate::report::Problem;

/// Steps after which a state is kept at the next chance, so that walks backwards stay short.
const LONG_PATH: u32 = 400;
/// How many useless comparisons for a useful one put a state out of use: where loops turn round
/// while they are explored, and elsewhere.
const PATIENCE: (u32, u32) = (64, 3);

/// What was explored since a state was last kept, on all paths together: short ways between
/// branches share the state that one of them keeps.
#[derive(Debug, Default)]
pub(super) struct SinceKept {
    pub(super) jumps: u32,
    pub(super) insns: u32,
}

/// A kept state.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) state: State,
    /// The nearest kept state above.
    pub(super) parent: Option<CheckpointId>,
    /// Paths and kept states right below that have not ended.
    pub(super) open: u32,
    /// Numbers that proofs below rested on.
    pub(super) precise: Marks,
    /// Slots read below before they were overwritten, by frame.
    pub(super) reads: [u64; MAX_FRAMES],
    /// Slots wholly written between the parent and here, by frame.
    pub(super) written: [u64; MAX_FRAMES],
    /// The outermost head of a loop that paths below came back to. As long as that is open,
    /// what proofs below rest on is not all known.
    pub(super) head: Option<CheckpointId>,
    hits: u32,
    misses: u32,
}

impl Kept {
    pub(super) fn as_old(&self) -> Old<'_> {
        Old {
            state: &self.state,
            precise: &self.precise,
            reads: &self.reads,
        }
    }
}

/// What comparing with a kept state on the same path tells.
pub(super) enum Met {
    /// The path has come round: what follows was or will be explored from there.
    Round,
    /// Nothing; whether another state may be kept here.
    Nothing(bool),
}

impl Explorer<'_, '_, '_> {
    /// Whether a kept state covers this one; else keeps it, if it is worth it.
    pub(super) fn prune(&mut self, path: &mut Path) -> Result<bool, Problem> {
        let turns = self.cx.cfg.turns[path.pc];
        let must = turns || path.insns >= LONG_PATH;
        let mut keep = must
            || path.checkpoint.is_none()
            || self.since_kept.jumps >= 2 && self.since_kept.insns >= 8;
        let mut at = 0;
        while let Some(&id) = self.by_pc[path.pc].get(at) {
            let open = self.kept[id as usize].open > 0;
            if open {
                match self.meet_ancestor(path, id)? {
                    Met::Round => {
                        self.kept[id as usize].hits += 1;
                        self.come_round(path, id, id);
                        return Ok(true);
                    }
                    Met::Nothing(may_keep) => keep &= may_keep || must,
                }
            } else {
                let head = self.open_head(id);
                let how = if head.is_some() {
                    How::Within
                } else {
                    How::Covered
                };
                let kept = &self.kept[id as usize];
                let live = &self.cx.cfg.live;
                if prune::covers(kept.as_old(), &path.state, path.pc, live, how) {
                    self.kept[id as usize].hits += 1;
                    match head {
                        Some(head) => self.come_round(path, id, head),
                        None => self.inherit(path, id),
                    }
                    return Ok(true);
                }
            }
            let kept = &mut self.kept[id as usize];
            // Only what makes room for a new state counts: else the iterations of a loop would
            // drive out the states of its first ones, which are worth most.
            kept.misses += u32::from(keep);
            let patience = if turns && open {
                PATIENCE.0
            } else {
                PATIENCE.1
            };
            if kept.misses > kept.hits * patience + patience {
                self.by_pc[path.pc].swap_remove(at);
            } else {
                at += 1;
            }
        }
        if keep {
            self.keep(path);
        }
        Ok(false)
    }

    /// What a covered state's proof rests on is what its cover's proof rests on.
    pub(super) fn inherit(&mut self, path: &Path, id: CheckpointId) {
        let (marks, reads) = {
            let kept = &self.kept[id as usize];
            (kept.precise, kept.reads)
        };
        for (depth, slots) in reads.iter().enumerate().take(path.state.depth() + 1) {
            self.read(path, depth, *slots);
        }
        if !marks.is_empty() {
            self.mark_precise(path.node, path.state.depth(), marks);
        }
    }

    fn keep(&mut self, path: &mut Path) {
        let id = self.kept.len() as CheckpointId;
        self.kept.push(Kept {
            state: path.state.clone(),
            parent: path.checkpoint,
            open: 1,
            precise: Marks::default(),
            reads: [0; MAX_FRAMES],
            written: path.written,
            head: None,
            hits: 0,
            misses: 0,
        });
        self.by_pc[path.pc].push(id);
        let here = self.by_pc[path.pc].len() as u64;
        let most = &mut self.outcome.stats.states_per_insn;
        *most = (*most).max(here);
        path.node = self.tree.grow(path.node, Node::Checkpoint(id));
        path.checkpoint = Some(id);
        path.written = [0; MAX_FRAMES];
        path.insns = 0;
        self.since_kept = SinceKept::default();
    }

    /// A path below `checkpoint` has ended.
    pub(super) fn ended(&mut self, mut checkpoint: Option<CheckpointId>) {
        while let Some(id) = checkpoint {
            let kept = &mut self.kept[id as usize];
            kept.open -= 1;
            if kept.open > 0 {
                return;
            }
            checkpoint = kept.parent;
            self.close(id);
        }
    }
}
