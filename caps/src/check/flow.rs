//! The control flow inside functions: who comes before whom, and where a loop closes.

use std::collections::BTreeSet;

use isa::ebpf::{AluOp, Insn, Operand, Reg, Wide};
use verifier::Verified;

/// Edges between reachable instructions of a function; a call goes on behind itself.
pub(crate) struct Graph {
    successors: Vec<Vec<usize>>,
    predecessors: Vec<Vec<usize>>,
    starts: Vec<usize>,
}

impl Graph {
    pub(crate) fn new(verified: &Verified) -> Graph {
        let program = verified.program();
        let len = program.insns.len();
        let mut successors = vec![Vec::new(); len];
        let mut predecessors = vec![Vec::new(); len];
        for (pc, insn, facts) in super::reachable(verified) {
            let mut edge = |to: Option<usize>| {
                if let Some(to) = to.filter(|to| *to < len) {
                    successors[pc].push(to);
                    predecessors[to].push(pc);
                }
            };
            let target = insn.jump_target(pc).and_then(|to| usize::try_from(to).ok());
            let next = Some(pc + insn.slots());
            let ways = facts.branch.filter(|_| facts.reachable);
            match insn {
                Insn::Exit => {}
                Insn::Jump { .. } => edge(target),
                Insn::Branch { .. } | Insn::MayGoto { .. } => {
                    if ways.is_none_or(|w| w.fall_through) {
                        edge(next);
                    }
                    if ways.is_none_or(|w| w.taken) {
                        edge(target);
                    }
                }
                _ => edge(next),
            }
        }
        let mut starts: Vec<usize> = program.subprograms.iter().map(|s| s.start).collect();
        if starts.is_empty() {
            starts.push(0);
        }
        Graph {
            successors,
            predecessors,
            starts,
        }
    }

    /// Instructions from which `pc` is reached in one step.
    pub(crate) fn predecessors(&self, pc: usize) -> &[usize] {
        self.predecessors.get(pc).map_or(&[], Vec::as_slice)
    }

    /// Instructions that may have written `register` last before one of `pcs` is executed: each
    /// with the instruction that follows it on the way. And whether a way from the start of the
    /// function has none.
    pub(crate) fn definitions(
        &self,
        insns: &[Insn],
        pcs: impl IntoIterator<Item = usize>,
        register: Reg,
    ) -> (Vec<(usize, usize)>, bool) {
        let mut from_start = false;
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut work: Vec<usize> = pcs.into_iter().collect();
        while let Some(pc) = work.pop() {
            from_start |= self.starts.contains(&pc);
            for &before in self.predecessors(pc) {
                if !seen.insert(before) {
                    continue;
                }
                if insns[before].writes() >> register.number() & 1 == 1 {
                    found.push((before, pc));
                } else {
                    work.push(before);
                }
            }
        }
        found.sort_unstable();
        (found, from_start)
    }

    /// The least and largest number that the lower half of `register` can hold before `pc`, read
    /// with sign, if each of the instructions that may have written it loads a constant.
    pub(crate) fn constants(&self, insns: &[Insn], pc: usize, register: Reg) -> Option<(i32, i32)> {
        let (definitions, from_start) = self.definitions(insns, [pc], register);
        if from_start {
            return None;
        }
        let mut all: Option<(i32, i32)> = None;
        for (at, _) in definitions {
            let value = match insns[at] {
                Insn::Alu {
                    op: AluOp::Mov,
                    src: Operand::Imm(value),
                    ..
                } => value,
                Insn::LoadWide {
                    value: Wide::Value(value),
                    ..
                } => value as i32,
                _ => return None,
            };
            all = Some(all.map_or((value, value), |(low, high)| {
                (low.min(value), high.max(value))
            }));
        }
        all
    }

    /// Instructions whose step closes a loop (back edges of a walk in depth), ascending.
    pub(crate) fn loops(&self) -> Vec<usize> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.successors.len()];
        let mut closing = Vec::new();
        for &start in &self.starts {
            if marks.get(start) != Some(&Mark::New) {
                continue;
            }
            marks[start] = Mark::Open;
            let mut path = vec![(start, 0)];
            while let Some((pc, edge)) = path.last_mut() {
                let pc = *pc;
                match self.successors[pc].get(*edge) {
                    None => {
                        marks[pc] = Mark::Done;
                        path.pop();
                    }
                    Some(&to) => {
                        *edge += 1;
                        match marks[to] {
                            Mark::New => {
                                marks[to] = Mark::Open;
                                path.push((to, 0));
                            }
                            Mark::Open => closing.push(pc),
                            Mark::Done => {}
                        }
                    }
                }
            }
        }
        closing.sort_unstable();
        closing
    }
}
