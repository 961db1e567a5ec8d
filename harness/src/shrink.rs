//! Shrinking: the smallest program, and the fewest packets, on which two sides still differ.
//!
//! Delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input",
//! 2002) on packets, then on instructions. What is left out of a program is relinked: jumps over
//! it get shorter, jumps to it lead to what follows. Every candidate must still verify, and still
//! differ; what it differs in may change.

use std::sync::Arc;

use bpf::Program;
use isa::ebpf::{AluOp, CallTarget, Insn, Operand, Wide, Width};

use crate::trial::Trial;

/// Candidates that are tried at most: an end for programs whose every try is slow.
const MOST_TRIES: usize = 20_000;

/// The smallest trial of which `differs` still holds. `first` is the packet on which it was seen,
/// if it was on one.
pub fn shrink(trial: &Trial, first: Option<usize>, differs: &dyn Fn(&Trial) -> bool) -> Trial {
    let mut shrinker = Shrinker {
        best: trial.clone(),
        differs,
        tries: 0,
    };
    shrinker.packets(first);
    shrinker.instructions();
    shrinker.constants();
    shrinker.instructions();
    shrinker.maps();
    shrinker.packets(None);
    shrinker.bytes();
    shrinker.best
}

/// The fewest items, in their order, of which `keeps` still holds; at least one.
pub fn fewest<T: Clone>(mut items: Vec<T>, keeps: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    let mut size = items.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < items.len() && items.len() > 1 {
            let mut fewer = items.clone();
            fewer.drain(start..(start + size).min(items.len()));
            if !fewer.is_empty() && keeps(&fewer) {
                items = fewer;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    items
}

struct Shrinker<'d> {
    best: Trial,
    differs: &'d dyn Fn(&Trial) -> bool,
    tries: usize,
}

impl Shrinker<'_> {
    /// Keeps the candidate if it still differs.
    fn keep(&mut self, candidate: Trial) -> bool {
        if self.tries >= MOST_TRIES {
            return false;
        }
        self.tries += 1;
        let differs = (self.differs)(&candidate);
        if differs {
            self.best = candidate;
        }
        differs
    }

    fn keep_program(&mut self, program: Program) -> bool {
        let candidate = Trial {
            program: Arc::new(program),
            ..self.best.clone()
        };
        self.keep(candidate)
    }

    /// Leaves out packets: all but the one on which it was seen, else as many as go.
    fn packets(&mut self, first: Option<usize>) {
        if let Some(frame) = first.and_then(|index| self.best.frames.get(index)).cloned() {
            let alone = Trial {
                frames: vec![frame],
                ..self.best.clone()
            };
            if self.keep(alone) {
                return;
            }
            // Those behind it cannot matter, unless maps alone differ.
            let until = Trial {
                frames: self.best.frames[..=first.unwrap_or(0)].to_vec(),
                ..self.best.clone()
            };
            self.keep(until);
        }
        let frames = self.best.frames.clone();
        fewest(frames, &mut |frames| {
            self.keep(Trial {
                frames: frames.to_vec(),
                ..self.best.clone()
            })
        });
    }

    /// Leaves out instructions: stretches of half the program, of a quarter, … of one; from the
    /// end, where what nobody needs any more collects.
    fn instructions(&mut self) {
        // Of a single instruction nothing can go, but the loop must end.
        let mut size = (self.best.program.insns.len().next_power_of_two() / 2).max(1);
        loop {
            let mut any = false;
            let mut end = self.best.program.insns.len();
            while end > 0 {
                let mut start = end.saturating_sub(size);
                if matches!(self.best.program.insns.get(start), Some(Insn::WideTail)) {
                    // Both slots of a load go together.
                    start -= 1;
                }
                let kept = without(&self.best.program, start, end)
                    .is_some_and(|program| self.keep_program(program));
                any |= kept;
                end = start.min(self.best.program.insns.len());
            }
            if size > 1 {
                size /= 2;
            } else if !any {
                return;
            }
        }
    }

    /// Puts a constant in place of what computes one, so that what led to it can go.
    fn constants(&mut self) {
        for pc in (0..self.best.program.insns.len()).rev() {
            let insn = self.best.program.insns[pc];
            let dst = match insn {
                Insn::Alu {
                    op: AluOp::Mov,
                    src: Operand::Imm(_),
                    ..
                } => continue,
                Insn::Alu { dst, .. }
                | Insn::Neg { dst, .. }
                | Insn::MovSx { dst, .. }
                | Insn::Swap { dst, .. }
                | Insn::Load { dst, .. }
                | Insn::LoadAcquire { dst, .. } => dst,
                _ => continue,
            };
            for imm in [0, 1, -1] {
                let mut insns = self.best.program.insns.to_vec();
                insns[pc] = Insn::Alu {
                    op: AluOp::Mov,
                    width: Width::W64,
                    dst,
                    src: Operand::Imm(imm),
                };
                if self.keep_program(with_insns(&self.best.program, insns)) {
                    break;
                }
            }
        }
    }

    /// Leaves out maps that no instruction names.
    fn maps(&mut self) {
        let program = &self.best.program;
        let used = |index: usize| {
            program.insns.iter().any(|insn| {
                matches!(insn, Insn::LoadWide {
                    value: Wide::Map(map) | Wide::MapValue { map, .. },
                    ..
                } if *map as usize == index)
            })
        };
        let kept: Vec<usize> = (0..program.maps.len()).filter(|i| used(*i)).collect();
        let place = |map: u32| kept.iter().position(|i| *i == map as usize).unwrap_or(0) as u32;
        let insns = program.insns.iter().map(|insn| match *insn {
            Insn::LoadWide {
                dst,
                value: Wide::Map(map),
            } => Insn::LoadWide {
                dst,
                value: Wide::Map(place(map)),
            },
            Insn::LoadWide {
                dst,
                value: Wide::MapValue { map, offset },
            } => Insn::LoadWide {
                dst,
                value: Wide::MapValue {
                    map: place(map),
                    offset,
                },
            },
            other => other,
        });
        let smaller = Program {
            maps: kept.iter().map(|i| program.maps[*i].clone()).collect(),
            ..with_insns(program, insns.collect())
        };
        self.keep_program(smaller);
    }

    /// Shorter frames with fewer bytes that are not 0.
    fn bytes(&mut self) {
        for index in 0..self.best.frames.len() {
            for length in [14, 34, 60] {
                let mut candidate = self.best.clone();
                if candidate.frames[index].len() <= length
                    || matches!(candidate.program.hook, bpf::Hook::Raw { .. })
                {
                    continue;
                }
                candidate.frames[index].truncate(length);
                if self.keep(candidate) {
                    break;
                }
            }
            let mut size = self.best.frames[index].len().next_power_of_two();
            while size > 0 {
                for start in (0..self.best.frames[index].len()).step_by(size) {
                    let mut candidate = self.best.clone();
                    let frame = &mut candidate.frames[index];
                    let end = (start + size).min(frame.len());
                    if frame[start..end].iter().all(|byte| *byte == 0) {
                        continue;
                    }
                    frame[start..end].fill(0);
                    self.keep(candidate);
                }
                size /= 2;
            }
        }
    }
}

/// The program with other instructions, and functions as their calls tell them.
fn with_insns(program: &Program, insns: Vec<Insn>) -> Program {
    Program {
        maps: Arc::clone(&program.maps),
        section: program.section.clone(),
        ..Program::of_instructions(&program.name, program.hook.clone(), insns)
    }
}

/// The program without the instructions from `start` up to `end`, relinked; `None` if that splits
/// a two-slot load, leaves nothing, or a jump has nowhere to go.
fn without(program: &Program, start: usize, end: usize) -> Option<Program> {
    let old = &program.insns;
    let splits = |pc: usize| matches!(old.get(pc), Some(Insn::WideTail));
    if start >= end || splits(start) || splits(end) {
        return None;
    }
    let place = |pc: usize| match pc {
        pc if pc < start => pc,
        pc if pc < end => start,
        pc => pc - (end - start),
    };
    let count = old.len() - (end - start);
    let mut insns = Vec::with_capacity(count);
    for (pc, insn) in old.iter().enumerate() {
        if (start..end).contains(&pc) {
            continue;
        }
        let target = insn.jump_target(pc).or_else(|| insn.function_target(pc));
        let mut insn = *insn;
        if let Some(target) = target {
            let target = place(usize::try_from(target).ok()?);
            if target >= count {
                return None;
            }
            relink(&mut insn, target as i64 - place(pc) as i64 - 1)?;
        }
        insns.push(insn);
    }
    (!insns.is_empty()).then(|| with_insns(program, insns))
}

/// Sets the distance of a jump or call; `None` if it is too far.
fn relink(insn: &mut Insn, distance: i64) -> Option<()> {
    match insn {
        Insn::Branch { offset, .. } | Insn::MayGoto { offset } => {
            *offset = i16::try_from(distance).ok()?;
        }
        Insn::Jump { offset, .. }
        | Insn::Call(CallTarget::Local { offset })
        | Insn::LoadWide {
            value: Wide::Function { offset },
            ..
        } => *offset = i32::try_from(distance).ok()?,
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use bpf::Hook;
    use isa::ebpf::{NoSymbols, parse_asm};

    use super::*;

    fn program(text: &str) -> Program {
        let insns = parse_asm(text, &NoSymbols).unwrap().insns;
        Program::of_instructions("test", Hook::XDP, insns)
    }

    #[test]
    fn what_is_left_out_is_jumped_over_no_more() {
        let before = program("r0 = 0\nif r0 == 0 goto +2\nr0 = 1\nr0 = 2\nexit\n");
        let after = program("r0 = 0\nif r0 == 0 goto +1\nr0 = 2\nexit\n");
        assert_eq!(without(&before, 2, 3).unwrap().insns, after.insns);
        // A jump to what is gone leads to what follows.
        let after = program("r0 = 0\nif r0 == 0 goto +1\nr0 = 1\nexit\n");
        assert_eq!(without(&before, 3, 4).unwrap().insns, after.insns);
        assert!(without(&before, 4, 5).is_none(), "nothing follows");
    }

    #[test]
    fn two_slots_go_together() {
        let before = program("r0 = 5 ll\nexit\n");
        assert!(without(&before, 0, 1).is_none());
        assert!(without(&before, 1, 2).is_none());
        assert_eq!(without(&before, 0, 2).unwrap().insns.len(), 1);
    }

    #[test]
    fn a_program_shrinks_to_what_matters() {
        let trial = Trial {
            program: Arc::new(program(
                "r6 = 1\nr7 = 2\nr0 = 7\nr6 += r7\nr0 *= 3\nif r6 > 5 goto +1\nr7 += 1\nexit\n",
            )),
            frames: (0..9).map(|n| vec![n; 20]).collect(),
            seed: 0,
        };
        // It matters that r0 is multiplied, and that some packet begins with 4.
        let small = shrink(&trial, None, &|trial| {
            let multiplies = |insn: &&Insn| matches!(insn, Insn::Alu { op: AluOp::Mul, .. });
            trial.program.insns.iter().any(|insn| multiplies(&insn))
                && trial.frames.iter().any(|frame| frame[0] == 4)
        });
        assert_eq!(small.program.insns.len(), 1);
        assert_eq!(small.frames.len(), 1);
        assert_eq!(small.frames[0].iter().filter(|byte| **byte != 0).count(), 1);
    }
}
