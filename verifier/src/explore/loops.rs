//! Loops: when a path comes back to where it was.
//!
//! A loop of jumps is explored iteration by iteration, as long as something changes. Coming back
//! with nothing changed means that it never ends.
//!
//! Loops that are bound to end (iterators, callbacks, `may_goto`) are not counted through: what
//! differs from the round before and mattered to no proof is forgotten, so that soon a round
//! starts with no more known than the one before, and nothing new can come of it. What the
//! proofs of such a round rest on is known only when the loop's head is done, and then goes once
//! more through all that was cut short by it.

use super::worklist::{CheckpointId, Path};
use super::{Explorer, prune};
use crate::domain::{StackObject, State, Value};
use crate::report::{Problem, Rule};
use isa::ebpf::Insn;
use prune::How;

use super::kept::Met;

/// Jumps after which a loop's body may get another kept state.
const LOOP_JUMPS: u32 = 20;
/// Instructions after which it may.
const LOOP_INSNS: u32 = 100;

/// A path that ended because a state covers it that is not done, or rests on one that is not.
#[derive(Debug)]
pub(super) struct BackEdge {
    path: Path,
    cover: CheckpointId,
    /// The head of the loop.
    head: CheckpointId,
}

impl Explorer<'_, '_, '_> {
    /// Compares with a kept state on the same path.
    pub(super) fn meet_ancestor(&self, path: &Path, id: CheckpointId) -> Result<Met, Problem> {
        let kept = &self.kept[id as usize];
        let may_keep = self.since_kept.jumps >= LOOP_JUMPS || self.since_kept.insns >= LOOP_INSNS;
        if kept.state.depth() != path.state.depth() {
            return Ok(Met::Nothing(true));
        }
        let live = &self.cx.cfg.live;
        let compare = |how| prune::covers(kept.as_old(), &path.state, path.pc, live, how);
        if self.cx.cfg.turns[path.pc] {
            let is_may_goto = matches!(
                self.cx.platform.program.insns[path.pc],
                Insn::MayGoto { .. }
            );
            let moves = !is_may_goto || kept.state.progress.0 != path.state.progress.0;
            if moves && may_go_on(&path.state) && compare(How::Within) {
                return Ok(Met::Round);
            }
            if !is_may_goto {
                return Ok(Met::Nothing(may_keep));
            }
        }
        let same = kept.state.progress == path.state.progress
            && !iterators_differ(&kept.state, &path.state)
            && compare(How::Same);
        if same {
            return Err(Problem::new(
                Rule::UnboundedLoop,
                format!("infinite loop detected at insn {}", path.pc),
            )
            .why("the loop comes back here with every live register and stack slot unchanged")
            .help("count iterations in a register and leave at a constant bound"));
        }
        Ok(Met::Nothing(may_keep))
    }

    /// A path has come round to `cover`, in the loop of `head`.
    pub(super) fn come_round(&mut self, path: &Path, cover: CheckpointId, head: CheckpointId) {
        let mut above = path.checkpoint;
        while let Some(id) = above
            && id != head
        {
            let kept = &mut self.kept[id as usize];
            // An older head is further out.
            kept.head = Some(kept.head.map_or(head, |known| known.min(head)));
            above = kept.parent;
        }
        self.inherit(path, cover);
        self.back_edges.push(BackEdge {
            path: path.clone(),
            cover,
            head,
        });
    }

    /// The open head of a loop that a closed state's proof still depends on.
    pub(super) fn open_head(&self, id: CheckpointId) -> Option<CheckpointId> {
        let mut head = self.kept[id as usize].head;
        while let Some(at) = head {
            let kept = &self.kept[at as usize];
            if kept.open > 0 {
                return Some(at);
            }
            head = kept.head;
        }
        None
    }

    /// All paths below a kept state have ended.
    pub(super) fn close(&mut self, id: CheckpointId) {
        if !self.back_edges.iter().any(|edge| edge.head == id) {
            return;
        }
        if let Some(outer) = self.open_head(id) {
            for edge in self.back_edges.iter_mut().filter(|edge| edge.head == id) {
                edge.head = outer;
            }
            return;
        }
        let all = std::mem::take(&mut self.back_edges);
        let (here, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|edge| edge.head == id);
        self.back_edges = others;
        loop {
            let before = self.growth;
            for edge in &here {
                self.inherit(&edge.path, edge.cover);
            }
            if self.growth == before {
                return;
            }
        }
    }

    /// Forgets numbers of `state`, with which a path goes on or comes back at `path.pc`, that
    /// differ from those of the round before and mattered to no proof so far.
    pub(super) fn widen(&self, path: &Path, state: &mut State) {
        let round = self.by_pc[path.pc].iter().copied().filter(|id| {
            let kept = &self.kept[*id as usize];
            kept.open > 0 && Some(*id) != path.checkpoint && same_callers(&kept.state, &path.state)
        });
        let Some(before) = round.max() else {
            return;
        };
        let kept = &self.kept[before as usize];
        for depth in 0..=state.depth().min(kept.state.depth()) {
            let old = kept.state.frame(depth);
            let (regs, slots) = (kept.precise.regs[depth], kept.precise.slots[depth]);
            let new = state.frame_mut(depth);
            for n in 0..10 {
                if regs & (1 << n) == 0 && differs(&old.regs[n], &new.regs[n]) {
                    new.regs[n] = Value::SCALAR;
                }
            }
            for n in 0..new.stack.slots().len().min(old.stack.slots().len()) {
                let both = |stack: &crate::domain::Stack| {
                    stack
                        .slot(n)
                        .and_then(|s| s.spilled())
                        .map(|(v, kept)| (*v, kept))
                };
                if let (Some((a, _)), Some((b, kept))) = (both(&old.stack), both(&new.stack))
                    && slots & (1 << n) == 0
                    && differs(&a, &b)
                {
                    new.stack.slot_mut(n).spill(Value::SCALAR, kept);
                }
            }
        }
    }
}

/// Whether a loop may have another round here: its iterator, if it is one, still gives.
fn may_go_on(state: &State) -> bool {
    let found = crate::transfer::object_at(state, &state.top.regs[1], 1);
    !matches!(found, Some(StackObject::Iterator { active: false, .. }))
}

/// Whether two numbers are not known to be the same.
fn differs(old: &Value, new: &Value) -> bool {
    old.is_scalar()
        && new.is_scalar()
        && !(old.range == new.range && old.id == new.id && old.same_delta(new))
}

/// Whether both are in the same chain of calls.
fn same_callers(a: &State, b: &State) -> bool {
    a.depth() == b.depth()
        && a.frames()
            .zip(b.frames())
            .all(|(x, y)| x.function == y.function && x.call_site == y.call_site)
}

/// Whether an iterator that may still give has given another number of times.
fn iterators_differ(old: &State, new: &State) -> bool {
    let depths = |state: &State| -> Vec<(usize, usize, u32)> {
        let active = state
            .objects()
            .filter_map(|(frame, slot, object)| match object {
                StackObject::Iterator {
                    active: true,
                    depth,
                    ..
                } => Some((frame, slot, depth)),
                _ => None,
            });
        active.collect()
    };
    let new = depths(new);
    depths(old)
        .iter()
        .any(|(f, s, d)| new.iter().any(|(g, t, e)| f == g && s == t && d != e))
}
