//! [`Coverage`]: which instructions of a program ran, how often, and which ways its conditional
//! jumps went. It is looked at from outside, instruction by instruction ([`bpf::trace`]); the
//! program is the one that always runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpf::Program;
use bpf::trace::{Moment, Observer};
use isa::ebpf::Insn;

/// What ran of each program, by object and name.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// The programs.
    pub programs: BTreeMap<(String, String), Ran>,
    /// How many packets ran that no side could show.
    pub unseen: u64,
}

/// What ran of a program.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The program.
    pub program: Arc<Program>,
    /// For each pc how often it ran.
    pub counts: Vec<u64>,
    /// For each pc of a conditional jump how often it went on and how often it jumped.
    pub ways: BTreeMap<usize, [u64; 2]>,
    /// For each function how often it was entered.
    pub entered: Vec<u64>,
}

impl Ran {
    /// Nothing of it ran.
    pub fn new(program: Arc<Program>) -> Ran {
        let conditional = |(pc, insn): (usize, &Insn)| match insn {
            // One that leads where it goes anyway has one way.
            Insn::Branch { .. } | Insn::MayGoto { .. }
                if insn.jump_target(pc) != Some(pc as i64 + 1) =>
            {
                Some((pc, [0, 0]))
            }
            _ => None,
        };
        Ran {
            counts: vec![0; program.insns.len()],
            ways: program
                .insns
                .iter()
                .enumerate()
                .filter_map(conditional)
                .collect(),
            entered: vec![0; program.subprograms.len()],
            program,
        }
    }

    /// Each pc that holds an instruction.
    pub fn pcs(&self) -> impl Iterator<Item = usize> {
        let insns = self.program.insns.iter().enumerate();
        insns
            .filter(|(_, insn)| !matches!(insn, Insn::WideTail))
            .map(|(pc, _)| pc)
    }

    fn add(&mut self, other: &Ran) {
        for (sum, more) in self.counts.iter_mut().zip(&other.counts) {
            *sum += more;
        }
        for (sum, more) in self.entered.iter_mut().zip(&other.entered) {
            *sum += more;
        }
        for (pc, more) in &other.ways {
            if let Some(sum) = self.ways.get_mut(pc) {
                *sum = [sum[0] + more[0], sum[1] + more[1]];
            }
        }
    }
}

impl Coverage {
    /// Adds what ran elsewhere. Programs of one object and name are the same, but for values of
    /// constants: where one has another length, what was first stays.
    pub fn add(&mut self, other: Coverage) {
        self.unseen += other.unseen;
        for (key, ran) in other.programs {
            match self.programs.get_mut(&key) {
                Some(sum) if sum.counts.len() == ran.counts.len() => sum.add(&ran),
                Some(_) => {}
                None => _ = self.programs.insert(key, ran),
            }
        }
    }
}

/// Counts the run of one packet; the programs are those that were loaded together, by number.
#[derive(Debug)]
pub struct Counting<'a> {
    programs: &'a mut [Ran],
    last: Option<(u32, usize)>,
}

impl Counting<'_> {
    /// Before the packet runs.
    pub fn new(programs: &mut [Ran]) -> Counting<'_> {
        Counting {
            programs,
            last: None,
        }
    }
}

impl Observer for Counting<'_> {
    fn before(&mut self, moment: &dyn Moment) {
        let (number, pc) = (moment.program(), moment.pc());
        let last = self.last.replace((number, pc));
        let Some(ran) = self.programs.get_mut(number as usize) else {
            return;
        };
        let Some(count) = ran.counts.get_mut(pc) else {
            return;
        };
        *count += 1;
        let before = last
            .filter(|(program, _)| *program == number)
            .map(|(_, pc)| pc);
        let insn = before.and_then(|before| ran.program.insns.get(before));
        if let (Some(before), Some(insn)) = (before, insn)
            && let Some(ways) = ran.ways.get_mut(&before)
        {
            let jumped = insn.jump_target(before) == Some(pc as i64);
            ways[usize::from(jumped)] += 1;
        }
        // A loop may lead back to where a function starts.
        let within = insn.is_some_and(|insn| !matches!(insn, Insn::Call(_) | Insn::Exit));
        let functions = ran.program.subprograms.iter();
        if !within && let Some(at) = functions.clone().position(|f| f.start == pc) {
            ran.entered[at] += 1;
        }
    }
}
