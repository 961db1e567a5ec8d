//! The loop: one instruction after the other, branches, and what costs cycles.

use bpf::run::TrapCause;

use super::load::{Destination, Loaded};
use super::machine::Run;
use super::step::{Op, Step};
use super::trace::Watch;

/// Instructions after which a run is stopped: more than the translation of any program that
/// passes Linux's verifier executes.
pub const FUEL: u64 = 1 << 26;

/// Cycles from a taken branch to its target, less those that deferred instructions fill.
const BRANCH_BUBBLES: u64 = 3;

/// A trap and the instruction where it happened.
type At = (usize, TrapCause);

/// Where a run goes on.
enum Next {
    /// At this instruction.
    At(usize),
    /// Nowhere: the program is done.
    Done,
}

impl Run<'_, '_> {
    /// Runs from the first instruction to the jump to the end, and gives where that is.
    pub(super) fn execute<W: Watch>(&mut self, watch: &mut W) -> Result<usize, At> {
        let program: &Loaded = self.program;
        let mut at = program.entry;
        // Instructions executed are `self.before + at`: before the jump that led here, less where
        // it led.
        self.before = 0_u64.wrapping_sub(at as u64);
        let result = loop {
            let Some(step) = program.steps.get(at) else {
                break Err((at, TrapCause::BadJump { target: at as i64 }));
            };
            if W::LOOKS {
                watch.before(self, at);
            }
            let cycle = self.cycle(at);
            if let Err(cause) = self.core.fetch(step, cycle) {
                break Err((at, cause));
            }
            let taken = match step.op {
                Op::Branch(condition) => self.core.holds(condition),
                Op::BranchBit => {
                    (self.core.get(step.left) >> (step.amount & 31) & 1 == 1) == step.flag
                }
                Op::Return => true,
                Op::Command => {
                    match self.command(step, at) {
                        Ok(()) => at += 1 + usize::from(step.defer),
                        Err(trap) => break Err(trap),
                    }
                    continue;
                }
                Op::Random => {
                    let number = self.random();
                    if let Err(cause) = self.core.deliver(step, number, cycle + 1) {
                        break Err((at, cause));
                    }
                    at += 2;
                    continue;
                }
                _ => {
                    if let Err(cause) = self.core.execute(step, cycle) {
                        break Err((at, cause));
                    }
                    at += 1;
                    continue;
                }
            };
            if !taken {
                at += 1;
                continue;
            }
            match self.branch(program, step, at) {
                Ok(Next::At(target)) => at = target,
                Ok(Next::Done) => break Ok(at + usize::from(step.defer)),
                Err(trap) => break Err(trap),
            }
        };
        let (Ok(last) | Err((last, _))) = result;
        self.cost.instructions = self.before.wrapping_add(last as u64 + 1);
        self.cost.cycles = self.cost.instructions + self.bubbles;
        result
    }

    /// The cycle in which an instruction is executed, sleeping not counted.
    #[inline]
    pub(super) fn cycle(&self, at: usize) -> u64 {
        self.before
            .wrapping_add(at as u64)
            .wrapping_add(self.bubbles)
    }

    /// Executes the `count` instructions behind `at`: they must be neither branches nor commands.
    pub(super) fn deferred(&mut self, at: usize, count: u8) -> Result<(), At> {
        let program = self.program;
        for at in at + 1..=at + usize::from(count) {
            let Some(step) = program.steps.get(at) else {
                return Err((at, TrapCause::BadJump { target: at as i64 }));
            };
            let cycle = self.cycle(at);
            self.core.fetch(step, cycle).map_err(|cause| (at, cause))?;
            self.core
                .execute(step, cycle)
                .map_err(|cause| (at, cause))?;
        }
        Ok(())
    }

    /// Takes a branch: what is deferred, then the jump.
    fn branch(&mut self, program: &Loaded, step: &Step, at: usize) -> Result<Next, At> {
        let address = (step.op == Op::Return).then(|| self.core.get(step.left));
        if step.defer != 0 {
            self.deferred(at, step.defer)?;
        }
        let destination = match address {
            None => program.targets[step.value as usize],
            Some(address) => self.destination(address).map_err(|cause| (at, cause))?,
        };
        let after = at + 1 + usize::from(step.defer);
        self.bubbles += BRANCH_BUBBLES.saturating_sub(u64::from(step.defer));
        let target = match destination {
            Destination::Code(target) => target,
            Destination::Done => return Ok(Next::Done),
            Destination::Helper(helper) => {
                let back = self.call(helper).map_err(|cause| (at, cause))?;
                match self.destination(back).map_err(|cause| (at, cause))? {
                    Destination::Code(target) => target,
                    Destination::Done => return Ok(Next::Done),
                    Destination::Helper(_) => {
                        let target = i64::from(back);
                        return Err((at, TrapCause::BadJump { target }));
                    }
                }
            }
        };
        self.before = self
            .before
            .wrapping_add(after as u64)
            .wrapping_sub(target as u64);
        if self.before.wrapping_add(target as u64) > FUEL {
            return Err((at, TrapCause::Fuel { limit: FUEL }));
        }
        Ok(Next::At(target))
    }

    /// What lies at a code-store address.
    fn destination(&self, address: u32) -> Result<Destination, TrapCause> {
        self.program.destination(address).ok_or(TrapCause::BadJump {
            target: i64::from(address),
        })
    }
}
