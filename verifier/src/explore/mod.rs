//! Exploration: every path, one state at a time, depth first, as Linux does.
//!
//! States are never joined: that would lose the correlations that real programs rest on. What
//! keeps this finite is pruning (`prune`), made effective by knowing which numbers matter
//! (`precision`), and made sound by pruning only against states all of whose paths have ended.
//! `worklist` holds what is still to do, `loops` notices paths that come back unchanged,
//! `explain` tells how a refused value came about.

mod explain;
mod kept;
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
use crate::domain::Ids;
use crate::facts::Visits;
use crate::log::{self, Log};
use crate::report::{Failure, Problem, Rule};
use crate::transfer::branch::Branch;
use crate::transfer::{self, Context, Effects, ForkKind, Next};
use crate::{DeviceHooks, Stats, Visit};
use kept::{Kept, SinceKept};
use loops::BackEdge;
use worklist::{CheckpointId, Node, Path, Tree};

/// Most instructions looked at over all paths (kernel: `BPF_COMPLEXITY_LIMIT_INSNS`).
const MAX_PROCESSED: u64 = 1_000_000;
/// Most branches that wait to be explored (kernel: `BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
const MAX_PENDING: usize = 8192;

/// What exploration found.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stats: Stats,
    pub(crate) visits: Visits,
    pub(crate) findings: Vec<Finding>,
    /// Bytes of stack used by each function.
    pub(crate) stack: Vec<u32>,
    /// Functions that are only called when the program has ended.
    pub(crate) later: BTreeSet<usize>,
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
    since_kept: SinceKept,
    pending: Vec<Path>,
    ids: Ids,
    effects: Effects,
    pointers: pointers::Pointers,
    outcome: Outcome,
    /// Paths that ended in a loop whose head is still being explored.
    back_edges: Vec<BackEdge>,
    /// How often marks of kept states grew.
    growth: u64,
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
            since_kept: SinceKept::default(),
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
                later: BTreeSet::new(),
            },
            back_edges: Vec::new(),
            growth: 0,
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
        let catcher = self
            .cx
            .cfg
            .catcher
            .map(|at| self.cx.cfg.functions[at].start);
        self.called.extend(catcher);
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
        self.since_kept.insns += 1;
        if let Insn::Branch {
            cond,
            width,
            dst,
            src,
            ..
        } = *insn
        {
            self.since_kept.jumps += 1;
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
        self.fork(path)?;
        if let Insn::Call(CallTarget::Local { .. }) = insn
            && let Some(target) = self.called_by_signature(insn, pc)
        {
            self.called.insert(target);
        }
        self.effects.clear();
        let depth = path.state.depth();
        let leaves = self.log.is_some() && *insn == Insn::Exit && depth > 0;
        let callee = leaves.then(|| log::registers(&cx.platform, &path.state));
        let called_back = *insn == Insn::Exit && path.state.top.callback.is_some();
        let next = transfer::step(cx, &mut path.state, &mut self.ids, &mut self.effects, pc);
        self.use_effects(path);
        let node = if called_back {
            Node::CallbackReturn
        } else {
            Node::Step {
                pc: pc as u32,
                store: self.effects.store,
                fill: self.effects.fill,
                linked: 0,
            }
        };
        path.node = self.tree.grow(path.node, node);
        if path.state.depth() > depth {
            self.enter(path);
        }
        if called_back && let Next::At(at) = next {
            path.pc = at;
            let mut state = path.state.clone();
            self.widen(path, &mut state);
            path.state = state;
            path.pc = pc;
        }
        if !matches!(next, Next::At(at) if at == pc + insn.slots()) {
            self.since_kept.jumps += 1;
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

    /// The second way on from an instruction that is no branch waits to be explored.
    fn fork(&mut self, path: &Path) -> Result<(), Problem> {
        let pc = path.pc;
        let Some(fork) = transfer::fork(self.cx, &path.state, &mut self.ids, pc, true) else {
            return Ok(());
        };
        let mut other = path.clone();
        other.from = Some(pc);
        other.pc = fork.pc;
        other.state = fork.state;
        match fork.kind {
            ForkKind::EarlyReturn => other.node = self.tree.grow(path.node, Node::EarlyReturn),
            ForkKind::Callback => {
                other.node = self.tree.grow(path.node, Node::CalledBack);
                self.enter(&mut other);
            }
            ForkKind::Later => {
                other.node = Tree::ROOT;
                other.checkpoint = None;
                other.written = [0; MAX_FRAMES];
                let function = usize::from(other.state.top.function);
                self.outcome.later.insert(function);
            }
            ForkKind::Iteration | ForkKind::MayGoto => {
                self.widen(path, &mut other.state);
                other.node = self.tree.grow(path.node, plain_step(pc, 0));
            }
        }
        self.push(other)
    }

    /// A path enters a fresh frame: nothing of an earlier one in its place is read.
    fn enter(&mut self, path: &mut Path) {
        let depth = path.state.depth();
        path.written[depth] = u64::MAX;
        let deepest = &mut self.outcome.stats.call_depth;
        *deepest = (*deepest).max(depth as u32 + 1);
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
            self.growth += u64::from(slots != 0);
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
