//! Exploration: every path, one state at a time, depth first, as Linux does.
//!
//! States are never joined: that would lose the correlations that real programs rest on. What
//! keeps this finite is pruning (`prune`), made effective by knowing which numbers matter
//! (`precision`), and made sound by pruning only against states all of whose paths have ended.
//! `worklist` holds what is still to do, `loops` notices paths that come back unchanged,
//! `explain` tells how a refused value came about.

mod explain;
mod loops;
mod pointers;
mod precision;
mod prune;
mod worklist;

use std::collections::BTreeSet;

use bpf::Finding;
use isa::ebpf::{CallTarget, Insn};

use crate::assertions::Assertion;
use crate::check::{self, MAX_FRAMES};
use crate::domain::{Ids, State};
use crate::early_ends;
use crate::facts::Visits;
use crate::log::{self, Log};
use crate::report::{Failure, Problem, Rule};
use crate::transfer::branch::Branch;
use crate::transfer::{self, Context, Effects, Next};
use crate::{DeviceHooks, Stats, Visit};
use prune::{How, Marks, Old};
use worklist::{CheckpointId, Node, Path, Tree};

/// Most instructions looked at over all paths (kernel: `BPF_COMPLEXITY_LIMIT_INSNS`).
const MAX_PROCESSED: u64 = 1_000_000;
/// Most branches that wait to be explored (kernel: `BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
const MAX_PENDING: usize = 8192;
/// Steps after which a state is kept at the next chance, so that walks backwards stay short.
const LONG_PATH: u32 = 400;

/// A kept state.
#[derive(Debug)]
struct Kept {
    state: State,
    /// The nearest kept state above.
    parent: Option<CheckpointId>,
    /// Paths and kept states right below that have not ended.
    open: u32,
    /// Numbers that proofs below rested on.
    precise: Marks,
    /// Slots read below before they were overwritten, by frame.
    reads: [u64; MAX_FRAMES],
    /// Slots wholly written between the parent and here, by frame.
    written: [u64; MAX_FRAMES],
    hits: u32,
    misses: u32,
}

impl Kept {
    fn as_old(&self) -> Old<'_> {
        Old {
            state: &self.state,
            precise: &self.precise,
            reads: &self.reads,
        }
    }
}

/// What exploration found.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stats: Stats,
    pub(crate) visits: Visits,
    pub(crate) findings: Vec<Finding>,
    /// Bytes of stack used by each function.
    pub(crate) stack: Vec<u32>,
}

/// Explores every path of a program.
pub(crate) struct Explorer<'a, 'd, 'h> {
    cx: &'a Context<'a>,
    assertions: &'a [Vec<Assertion>],
    device: Option<&'d mut (dyn DeviceHooks + 'h)>,
    tree: Tree,
    kept: Vec<Kept>,
    /// Kept states that are compared with, by pc.
    by_pc: Vec<Vec<CheckpointId>>,
    pending: Vec<Path>,
    ids: Ids,
    effects: Effects,
    pointers: pointers::Pointers,
    outcome: Outcome,
    /// Global functions that were called.
    called: BTreeSet<usize>,
    log: Option<Log<'d>>,
}

/// Where a path stands after one instruction.
enum Step {
    On,
    End,
}

impl<'a, 'd, 'h> Explorer<'a, 'd, 'h> {
    pub(crate) fn new(
        cx: &'a Context<'a>,
        assertions: &'a [Vec<Assertion>],
        device: Option<&'d mut (dyn DeviceHooks + 'h)>,
        log: Option<Log<'d>>,
    ) -> Explorer<'a, 'd, 'h> {
        let len = cx.platform.program.insns.len();
        Explorer {
            cx,
            assertions,
            device,
            tree: Tree::new(),
            kept: Vec::new(),
            by_pc: vec![Vec::new(); len],
            pending: Vec::new(),
            ids: Ids::default(),
            effects: Effects::default(),
            pointers: pointers::Pointers::new(len),
            outcome: Outcome {
                stats: Stats {
                    call_depth: 1,
                    ..Stats::default()
                },
                visits: Visits::new(len),
                findings: Vec::new(),
                stack: vec![0; cx.cfg.functions.len()],
            },
            called: BTreeSet::new(),
            log,
        }
    }

    /// Explores from the entry until nothing is left, then each global function that was called
    /// on its own.
    ///
    /// # Errors
    /// The first problem met, with its pc and what was spent until then.
    pub(crate) fn run(mut self) -> Result<Outcome, Box<Failure>> {
        self.root(0)?;
        let mut done = BTreeSet::new();
        while let Some(&start) = self.called.difference(&done).next() {
            done.insert(start);
            self.root(start)?;
        }
        Ok(self.outcome)
    }

    /// Explores the function that starts at `start` by what it is given, until nothing is left.
    fn root(&mut self, start: usize) -> Result<(), Box<Failure>> {
        self.tree = Tree::new();
        self.kept.clear();
        self.by_pc.iter_mut().for_each(Vec::clear);
        let state = transfer::root(self.cx, &mut self.ids, start);
        self.pending.push(Path {
            state,
            pc: start,
            from: None,
            node: 0,
            checkpoint: None,
            written: [0; MAX_FRAMES],
            jumps: 0,
            insns: 0,
        });
        while let Some(mut path) = self.pending.pop() {
            if let Err(problem) = self.follow(&mut path) {
                self.outcome.stats.states += self.kept.len() as u64;
                return Err(Box::new(Failure {
                    pc: path.pc,
                    path: self.explain(&path, start, &problem),
                    problem,
                    stats: self.outcome.stats,
                }));
            }
            self.ended(path.checkpoint);
        }
        self.outcome.stats.states += self.kept.len() as u64;
        Ok(())
    }

    fn follow(&mut self, path: &mut Path) -> Result<(), Problem> {
        let mut from = path.from.take();
        let mut starts = true;
        loop {
            self.outcome.stats.insns_processed += 1;
            if self.outcome.stats.insns_processed > MAX_PROCESSED {
                return Err(Problem::new(
                    Rule::TooComplex,
                    format!("BPF program is too large: processed {MAX_PROCESSED} insns"),
                )
                .why("every path is followed, and there are too many or they are too long")
                .help("bound loops more tightly, or split the program with tail calls"));
            }
            if self.cx.cfg.prune_point[path.pc] && self.prune(path)? {
                if let Some(log) = &mut self.log {
                    log.safe(from, path.pc);
                }
                return Ok(());
            }
            if let Some(log) = &mut self.log {
                if starts {
                    log.path(self.cx, from, &path.state, path.pc);
                }
                log.insn(self.cx, path.pc);
            }
            (starts, from) = (false, None);
            match self.step(path)? {
                Step::On => {}
                Step::End => return Ok(()),
            }
        }
    }

    /// Checks and executes one instruction.
    fn step(&mut self, path: &mut Path) -> Result<Step, Problem> {
        let pc = path.pc;
        let cx = self.cx;
        let insn = &cx.platform.program.insns[pc];
        for assertion in &self.assertions[pc] {
            check::check(cx, &path.state, assertion)?;
        }
        self.pointers.note(&path.state, pc, insn)?;
        self.outcome.visits.note(cx, &path.state, pc, insn);
        if let Some(device) = self.device.as_deref_mut() {
            let facts = crate::facts::of_state(cx, &path.state, insn);
            self.outcome.findings.extend(device.instruction(&Visit {
                pc,
                insn,
                facts: &facts,
            }));
        }
        path.insns += 1;
        if let Insn::Branch {
            cond,
            width,
            dst,
            src,
            ..
        } = *insn
        {
            path.jumps += 1;
            let branch = Branch {
                cond,
                width,
                dst,
                src,
            };
            self.effects.clear();
            self.branch(path, branch)?;
            self.log_known(path, pc, path.state.depth(), None);
            return Ok(Step::On);
        }
        let demands = precision::demands(cx, &path.state, insn);
        if !demands.is_empty() {
            self.mark_precise(path.node, path.state.depth(), demands);
        }
        self.early_return(path)?;
        if let Insn::Call(CallTarget::Local { .. }) = insn
            && let Some(target) = self.called_by_signature(insn, pc)
        {
            self.called.insert(target);
        }
        self.effects.clear();
        let depth = path.state.depth();
        let leaves = self.log.is_some() && *insn == Insn::Exit && depth > 0;
        let callee = leaves.then(|| log::registers(&cx.platform, &path.state));
        let next = transfer::step(cx, &mut path.state, &mut self.ids, &mut self.effects, pc);
        self.use_effects(path);
        path.node = self.tree.grow(
            path.node,
            Node::Step {
                pc: pc as u32,
                store: self.effects.store,
                fill: self.effects.fill,
                linked: 0,
            },
        );
        let entered = path.state.depth();
        if entered > depth {
            // A fresh frame: nothing of an earlier one in its place is read.
            path.written[entered] = u64::MAX;
            let deepest = &mut self.outcome.stats.call_depth;
            *deepest = (*deepest).max(entered as u32 + 1);
        }
        if !matches!(next, Next::At(at) if at == pc + insn.slots()) {
            path.jumps += 1;
        }
        match next {
            Next::At(at) => {
                path.pc = at;
                self.log_known(path, pc, depth, callee.as_deref());
                Ok(Step::On)
            }
            Next::End => {
                if let Some(log) = &mut self.log {
                    log.end_line();
                }
                Ok(Step::End)
            }
        }
    }

    /// The global function that a call at `pc` calls.
    fn called_by_signature(&self, insn: &Insn, pc: usize) -> Option<usize> {
        let target = insn.function_target(pc)? as usize;
        self.cx.platform.declared.signature(target)?;
        Some(target)
    }

    fn branch(&mut self, path: &mut Path, branch: Branch) -> Result<(), Problem> {
        let pc = path.pc;
        let insn = &self.cx.platform.program.insns[pc];
        let target = insn.jump_target(pc).unwrap_or(0) as usize;
        if let Some(taken) = branch.decide(&path.state) {
            let demands = precision::branch_demands(&path.state, branch.dst, branch.src);
            self.mark_precise(path.node, path.state.depth(), demands);
            self.outcome.visits.went(pc, taken);
            path.node = self.tree.grow(path.node, plain_step(pc, 0));
            path.pc = if taken { target } else { pc + 1 };
            return Ok(());
        }
        let linked = self.tree.keep_linked(branch.linked(&path.state));
        path.node = self.tree.grow(path.node, plain_step(pc, linked));
        let mut other = path.clone();
        other.from = Some(pc);
        other.pc = target;
        branch.assume(&mut other.state, true);
        branch.assume(&mut path.state, false);
        path.pc = pc + 1;
        self.outcome.visits.went(pc, true);
        self.outcome.visits.went(pc, false);
        self.push(other)
    }

    /// A second path goes on from here.
    fn push(&mut self, other: Path) -> Result<(), Problem> {
        if self.pending.len() >= MAX_PENDING {
            return Err(Problem::new(
                Rule::TooComplex,
                format!("the sequence of {MAX_PENDING} jumps is too complex"),
            )
            .why("too many branches wait to be explored"));
        }
        if let Some(id) = other.checkpoint {
            self.kept[id as usize].open += 1;
        }
        self.pending.push(other);
        Ok(())
    }

    /// A tail call or a packet load may end a called function.
    fn early_return(&mut self, path: &Path) -> Result<(), Problem> {
        let insn = &self.cx.platform.program.insns[path.pc];
        if !early_ends::may_end(insn) {
            return Ok(());
        }
        let mut other = path.clone();
        let Some(pc) = transfer::early_return(&mut other.state, insn) else {
            return Ok(());
        };
        other.from = Some(path.pc);
        other.pc = pc;
        other.node = self.tree.grow(other.node, Node::EarlyReturn);
        self.push(other)
    }

    /// Whether a kept state covers this one; else keeps it, if it is worth it.
    fn prune(&mut self, path: &mut Path) -> Result<bool, Problem> {
        let mut keep = path.checkpoint.is_none()
            || path.insns >= LONG_PATH
            || path.jumps >= 2 && path.insns >= 8;
        let mut at = 0;
        while let Some(&id) = self.by_pc[path.pc].get(at) {
            let kept = &self.kept[id as usize];
            if kept.open > 0 {
                if kept.state.depth() == path.state.depth() {
                    keep &= self.meet_ancestor(path, id)? || path.insns >= LONG_PATH;
                }
            } else if prune::covers(
                kept.as_old(),
                &path.state,
                path.pc,
                &self.cx.cfg.live,
                How::Covered,
            ) {
                self.kept[id as usize].hits += 1;
                self.inherit(path, id);
                return Ok(true);
            }
            let kept = &mut self.kept[id as usize];
            // Only what makes room for a new state counts: else the iterations of a loop would
            // drive out the states of its first ones, which are worth most.
            kept.misses += u32::from(keep);
            if kept.misses > kept.hits * 3 + 3 {
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
    fn inherit(&mut self, path: &Path, id: CheckpointId) {
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
        path.jumps = 0;
        path.insns = 0;
    }

    /// A path below `checkpoint` has ended.
    fn ended(&mut self, mut checkpoint: Option<CheckpointId>) {
        while let Some(id) = checkpoint {
            let kept = &mut self.kept[id as usize];
            kept.open -= 1;
            if kept.open > 0 {
                return;
            }
            checkpoint = kept.parent;
        }
    }

    /// Notes slots read and written, and how deep the stack is used.
    fn use_effects(&mut self, path: &mut Path) {
        let effects = std::mem::take(&mut self.effects);
        for (frame, slots) in &effects.reads {
            self.read(path, usize::from(*frame), *slots);
        }
        for (frame, slots) in &effects.writes {
            path.written[usize::from(*frame)] |= slots;
        }
        for (frame, slots) in &effects.touches {
            // The frame may have been left by this instruction.
            let depth = usize::from(*frame).min(path.state.depth());
            let function = usize::from(path.state.frame(depth).function);
            let bytes = 8 * (64 - slots.leading_zeros());
            let used = &mut self.outcome.stack[function];
            *used = (*used).max(bytes);
        }
        self.effects = effects;
    }

    /// Slots of a frame are read: every kept state above needs them, up to where they were
    /// written.
    fn read(&mut self, path: &Path, frame: usize, slots: u64) {
        let mut slots = slots & !path.written[frame];
        let mut checkpoint = path.checkpoint;
        while slots != 0
            && let Some(id) = checkpoint
        {
            let kept = &mut self.kept[id as usize];
            slots &= !kept.reads[frame];
            kept.reads[frame] |= slots;
            slots &= !kept.written[frame];
            checkpoint = kept.parent;
        }
    }

    /// Logs what an instruction at `pc` did; `callee` is what was known in a function before it.
    fn log_known(&mut self, path: &Path, pc: usize, depth: usize, callee: Option<&str>) {
        let Some(log) = &mut self.log else {
            return;
        };
        let state = &path.state;
        match state.depth().cmp(&depth) {
            std::cmp::Ordering::Equal => log.known(self.cx, pc, state, &self.effects),
            std::cmp::Ordering::Greater => log.entered(self.cx, state, path.pc),
            std::cmp::Ordering::Less => {
                log.left(self.cx, callee.unwrap_or(""), state, (pc, path.pc));
            }
        }
    }
}

fn plain_step(pc: usize, linked: u32) -> Node {
    Node::Step {
        pc: pc as u32,
        store: None,
        fill: None,
        linked,
    }
}
