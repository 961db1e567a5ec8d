//! The control flow inside functions: who comes before whom, and where a loop closes.

use isa::ebpf::Insn;
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
