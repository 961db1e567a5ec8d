//! How a rejection came about: the instructions and branches of the failing path that made the
//! refused value what it is, and no others.
//!
//! Nothing is recorded for this while exploring: the tree of paths has every instruction of the
//! failing one. It is walked backwards once, from the value to what it was computed from, and
//! executed forwards once more to tell what was known at those places.

use std::collections::BTreeSet;

use isa::ebpf::{CallTarget, Insn};

use super::Explorer;
use super::precision::step_back;
use super::prune::Marks;
use super::worklist::{Node, Path};
use crate::domain::{Ids, Kind, State, Value};
use crate::log;
use crate::report::{Problem, Rule};
use crate::transfer::branch::Branch;
use crate::transfer::{self, Effects};

/// Most places told.
const MOST: usize = 10;
/// Most instructions of a path looked at backwards.
const REACH: usize = 50_000;

/// What of a step mattered.
struct Trail {
    /// What was wanted after it, at which depth of the call chain.
    after: Marks,
    depth: usize,
    /// Whether it made some of that.
    made: bool,
}

impl Explorer<'_, '_, '_> {
    /// The places that made the value that `problem` is about, by the order in which the path
    /// came to them: pc and what happened there.
    pub(super) fn explain(
        &self,
        path: &Path,
        start: usize,
        problem: &Problem,
    ) -> Vec<(usize, String)> {
        let mut told = self.acquired(path, problem);
        let wanted = self.wanted(path, problem);
        if wanted.is_empty() {
            return told;
        }
        let nodes = self.nodes(path);
        // What another round of such a loop starts with is not made by its instructions alone.
        let turns = |node: &Node| match *node {
            Node::Step { pc, .. } => self.cx.cfg.turns[pc as usize],
            Node::CalledBack | Node::CallbackReturn => true,
            Node::Root | Node::Checkpoint(_) | Node::EarlyReturn => false,
        };
        if nodes.iter().any(turns) {
            return told;
        }
        let trail = self.walk_back(path, &nodes, wanted);
        told.extend(self.replay(path, start, &nodes, &trail, problem.rule));
        told
    }

    /// Where what is still held was acquired.
    fn acquired(&self, path: &Path, problem: &Problem) -> Vec<(usize, String)> {
        if problem.rule != Rule::Reference {
            return Vec::new();
        }
        let program = self.cx.platform.program;
        let held = path.state.held.references.iter();
        held.map(|r| {
            let pc = r.pc as usize;
            (pc, format!("{}, still held", bare(&log::text(program, pc))))
        })
        .collect()
    }

    /// The registers that the problem is about.
    fn wanted(&self, path: &Path, problem: &Problem) -> Marks {
        let mut marks = Marks::default();
        let named = problem.message.strip_prefix('R').and_then(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u32>().ok().filter(|n| *n <= 10)
        });
        let insn = &self.cx.platform.program.insns[path.pc];
        let regs = &path.state.top.regs;
        marks.regs[path.state.depth()] = match (named, insn) {
            _ if !is_about_a_value(problem.rule) => 0,
            (Some(reg), _) => 1 << reg,
            (None, Insn::Call(_)) => 0,
            (
                None,
                Insn::Store { base, .. }
                | Insn::StoreRelease { base, .. }
                | Insn::Atomic { base, .. },
            ) if regs[base.index()].kind != Kind::Unknown => 1 << base.number(),
            (None, insn) => insn.reads(),
        };
        marks
    }

    /// The nodes of the path from its start.
    fn nodes(&self, path: &Path) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut at = path.node;
        loop {
            let (parent, node) = self.tree.at(at);
            match node {
                Node::Root => break,
                Node::Checkpoint(_) => {}
                Node::Step { .. } | Node::EarlyReturn | Node::CalledBack | Node::CallbackReturn => {
                    nodes.push(node);
                }
            }
            at = parent;
        }
        nodes.reverse();
        nodes
    }

    /// By node, what of it mattered; the last node first, as far as anything is wanted.
    fn walk_back(&self, path: &Path, nodes: &[Node], wanted: Marks) -> Vec<Trail> {
        let (mut marks, mut depth) = (wanted, path.state.depth());
        let mut trail = Vec::new();
        for node in nodes.iter().rev().take(REACH) {
            if marks.is_empty() {
                break;
            }
            let after = marks;
            let at = depth;
            let mut made = false;
            match *node {
                Node::Root | Node::Checkpoint(_) | Node::CalledBack | Node::CallbackReturn => {}
                Node::EarlyReturn => {
                    marks.regs[depth] &= !0b11_1111;
                    depth += 1;
                }
                Node::Step {
                    pc, store, fill, ..
                } => {
                    let pc = pc as usize;
                    let insn = &self.cx.platform.program.insns[pc];
                    made = insn.writes() & marks.regs[depth] != 0
                        || store.is_some_and(|s| {
                            marks.slots[usize::from(s.frame)] & (1 << s.slot) != 0
                        });
                    if self.called_by_signature(insn, pc).is_some() {
                        marks.regs[depth] &= !0b11_1111;
                    } else {
                        depth = step_back(insn, store, fill, depth, &mut marks);
                    }
                }
            }
            trail.push(Trail {
                after,
                depth: at,
                made,
            });
        }
        trail
    }

    /// Executes the path once more and tells of the places that mattered.
    fn replay(
        &self,
        path: &Path,
        start: usize,
        nodes: &[Node],
        trail: &[Trail],
        rule: Rule,
    ) -> Vec<(usize, String)> {
        let mut ids = Ids::default();
        let mut effects = Effects::default();
        let mut state = transfer::root(self.cx, &mut ids, start);
        let mut at = start;
        let untold = nodes.len() - trail.len();
        let mut told: Vec<(usize, String)> = Vec::new();
        if untold == 0
            && let Some(first) = trail.last()
        {
            let known = listed(self, &state, &first.after, first.depth, |_| true);
            // What the first instruction makes was not there before.
            if !known.is_empty() && !first.made {
                told.push((start, format!("at the start: {known}")));
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            let mark = index
                .checked_sub(untold)
                .and_then(|n| trail.get(trail.len() - 1 - n));
            let insns = &self.cx.platform.program.insns;
            let Node::Step { pc, .. } = *node else {
                let returned = transfer::ends_early(&mut state, &insns[at]);
                at = returned.unwrap_or(at);
                continue;
            };
            let pc = pc as usize;
            let next = match nodes.get(index + 1) {
                Some(Node::Step { pc, .. }) => *pc as usize,
                // Where a function ends early an instruction is that can do that.
                Some(_) => {
                    let ends = transfer::ends_early(&mut state.clone(), &insns[pc + 1]);
                    let target = insns[pc].jump_target(pc).filter(|_| ends.is_none());
                    target.map_or(pc + 1, |target| target as usize)
                }
                None => path.pc,
            };
            let before = mark.map(|_| state.clone());
            let taken = self.execute(&mut state, pc, next, &mut ids, &mut effects);
            if let (Some(mark), Some(before)) = (mark, before)
                && let Some(text) = self.tell(pc, mark, &before, &state, taken, rule)
            {
                told.retain(|(at, _)| *at != pc);
                told.push((pc, text));
            }
        }
        shortened(told)
    }

    /// One instruction; tells of a branch whether it was taken.
    fn execute(
        &self,
        state: &mut State,
        pc: usize,
        next: usize,
        ids: &mut Ids,
        effects: &mut Effects,
    ) -> Option<bool> {
        let insn = &self.cx.platform.program.insns[pc];
        let Insn::Branch {
            cond,
            width,
            dst,
            src,
            ..
        } = *insn
        else {
            effects.clear();
            transfer::step(self.cx, state, ids, effects, pc);
            return None;
        };
        let branch = Branch {
            cond,
            width,
            dst,
            src,
        };
        let taken = next != pc + 1;
        if branch.decide(state).is_none() {
            branch.assume(state, taken);
        }
        Some(taken)
    }

    /// What is worth telling of an instruction.
    fn tell(
        &self,
        pc: usize,
        mark: &Trail,
        before: &State,
        after: &State,
        taken: Option<bool>,
        rule: Rule,
    ) -> Option<String> {
        let program = self.cx.platform.program;
        let insn = &program.insns[pc];
        let text = log::text(program, pc);
        let text = bare(&text);
        if let Some(taken) = taken {
            let changed = listed(self, after, &mark.after, mark.depth, |n| {
                unnamed(&before.top.regs[n]) != unnamed(&after.top.regs[n])
            });
            let way = if taken { "taken" } else { "not taken" };
            if !changed.is_empty() {
                return Some(format!("{text}, {way}: {changed}"));
            }
            if rule == Rule::PacketBounds && compares_with_end(insn, before) {
                return Some(format!("{text}, {way}: proves nothing here"));
            }
            return None;
        }
        if !mark.made {
            return None;
        }
        let known = listed(self, after, &mark.after, mark.depth, |n| {
            insn.writes() & (1 << n) != 0
        });
        if known.is_empty() {
            // A slot, or a register that holds nothing any more.
            return Some(match insn {
                Insn::Call(CallTarget::Local { .. }) => return None,
                Insn::Call(_) => format!("{text}: leaves r1 to r5 without a value"),
                _ => text.to_owned(),
            });
        }
        Some(format!("{text}: {known}"))
    }
}

/// The text of an instruction without its opcode.
fn bare(text: &str) -> &str {
    text.split_once(") ").map_or(text, |(_, rest)| rest)
}

/// The value without the number that links it with others: it changes without any meaning.
fn unnamed(value: &Value) -> Value {
    Value { id: 0, ..*value }
}

/// The wanted registers that `which` picks, as the log writes them.
fn listed(
    explorer: &Explorer<'_, '_, '_>,
    state: &State,
    marks: &Marks,
    depth: usize,
    which: impl Fn(usize) -> bool,
) -> String {
    if depth != state.depth() {
        return String::new();
    }
    let regs = state.top.regs.iter().enumerate();
    let wanted = regs.filter(|(n, value)| {
        marks.regs[depth] & (1 << n) != 0 && value.kind != Kind::Unknown && which(*n)
    });
    let texts: Vec<String> = wanted
        .map(|(n, value)| {
            let text = log::register(&explorer.cx.platform, depth, &unnamed(value));
            format!("r{n} is {text}")
        })
        .collect();
    texts.join(", ")
}

/// Whether a branch holds a packet pointer against the packet's end.
fn compares_with_end(insn: &Insn, before: &State) -> bool {
    let Insn::Branch {
        dst,
        src: isa::ebpf::Operand::Reg(src),
        ..
    } = *insn
    else {
        return false;
    };
    let kinds = [dst, src].map(|reg| before.top.regs[reg.index()].kind);
    kinds.contains(&Kind::PacketEnd) && kinds.iter().any(|kind| kind.is_packet())
}

/// The first, where it all began, and the last ones.
fn shortened(mut told: Vec<(usize, String)>) -> Vec<(usize, String)> {
    if told.len() > MOST {
        told.drain(1..=told.len() - MOST);
    }
    let mut seen = BTreeSet::new();
    told.retain(|(pc, text)| seen.insert((*pc, text.clone())));
    told
}

/// Whether a broken rule is about what a register holds.
fn is_about_a_value(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::UninitRegister
            | Rule::WrongType
            | Rule::PacketBounds
            | Rule::MapValueBounds
            | Rule::MemoryBounds
            | Rule::StackBounds
            | Rule::StackSpill
            | Rule::NullPointer
            | Rule::PointerArithmetic
            | Rule::HelperArg
            | Rule::HelperMemory
            | Rule::CtxAccess
            | Rule::ReadOnly
            | Rule::AtomicTarget
            | Rule::Misaligned
            | Rule::MapCompatibility
    )
}
