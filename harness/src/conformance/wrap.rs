//! A case as an XDP program, for NICs that run programs on packets alone.
//!
//! The packet is the case's memory, eight bytes for the result, and what it lacks to be a frame.
//! The prologue proves the length and sets r1 and r2, the epilogue stores r0 behind the memory and
//! passes the packet. What is between is the case as it is, with a jump to the epilogue where it
//! exits; a case of several functions, or one that uses every register that calls keep, is called
//! as a function instead.

use std::sync::Arc;

use bpf::run::{Outcome, Verdict, XDP_MIN_FRAME, XdpAction};
use bpf::{Hook, Program};
use isa::ebpf::{AluOp, CallTarget, Cond, Insn, MemSize, Operand, Reg, Width};

use super::Case;

/// Bytes of the result.
const RESULT: usize = 8;
/// The register that a function is called with and that its callee keeps.
const KEPT: Reg = Reg::R6;

/// A wrapped case.
#[derive(Clone, Debug)]
pub struct Wrapped {
    /// The program.
    pub program: Arc<Program>,
    /// The packet.
    pub packet: Vec<u8>,
    /// Where the result goes.
    result_at: usize,
    /// Slots before the case's own.
    before: usize,
}

/// Why a case cannot be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// An offset has 16 bits.
    #[error("{bytes} bytes of memory are more than a store behind them can reach")]
    Memory {
        /// How many.
        bytes: usize,
    },
    /// A jump has 16 bits.
    #[error("{slots} slots are more than a jump over them can reach")]
    Slots {
        /// How many.
        slots: usize,
    },
}

fn mov(dst: Reg, src: Operand) -> Insn {
    alu(AluOp::Mov, dst, src)
}

fn alu(op: AluOp, dst: Reg, src: Operand) -> Insn {
    Insn::Alu {
        op,
        width: Width::W64,
        dst,
        src,
    }
}

fn load_pointer(dst: Reg, offset: i16) -> Insn {
    Insn::Load {
        size: MemSize::W,
        signed: false,
        dst,
        base: Reg::R1,
        offset,
    }
}

impl Wrapped {
    /// Wraps a case.
    ///
    /// # Errors
    /// [`WrapError`] if it is too large.
    pub fn new(case: &Case) -> Result<Wrapped, WrapError> {
        let bytes = case.memory.len();
        let memory = i16::try_from(bytes).map_err(|_e| WrapError::Memory { bytes })?;
        let body = &case.program.insns;
        let slots = body.len();
        let too_long = |_e| WrapError::Slots { slots };
        let free = free_register(body).filter(|_| case.program.subprograms.len() <= 1);
        let keep = free.unwrap_or(KEPT);
        let mut insns = vec![
            load_pointer(Reg::R2, 0),
            load_pointer(Reg::R3, 4),
            mov(Reg::R1, Operand::Reg(Reg::R2)),
            alu(
                AluOp::Add,
                Reg::R1,
                Operand::Imm(i32::from(memory) + RESULT as i32),
            ),
        ];
        let check = insns.len();
        insns.extend([
            Insn::Exit, // replaced by the check once it is known where it goes
            mov(Reg::R1, Operand::Reg(Reg::R2)),
            mov(keep, Operand::Reg(Reg::R2)),
            mov(Reg::R2, Operand::Imm(i32::from(memory))),
        ]);
        let tail = [
            Insn::Store {
                size: MemSize::DW,
                base: keep,
                offset: memory,
                src: Operand::Reg(Reg::R0),
            },
            mov(Reg::R0, Operand::Imm(2)),
            Insn::Exit,
            // Not as long as it must be.
            mov(Reg::R0, Operand::Imm(1)),
            Insn::Exit,
        ];
        let before;
        if free.is_some() {
            before = insns.len();
            for (at, insn) in body.iter().enumerate() {
                let to_end = (slots - at - 1) as i32;
                insns.push(match insn {
                    Insn::Exit => Insn::Jump {
                        offset: i32::from(i16::try_from(to_end).map_err(too_long)?),
                        long: false,
                    },
                    other => *other,
                });
            }
            insns.extend(tail);
        } else {
            insns.push(Insn::Call(CallTarget::Local {
                offset: tail.len() as i32,
            }));
            insns.extend(tail);
            before = insns.len();
            insns.extend(body.iter());
        }
        let fails = if free.is_some() {
            insns.len() - 2
        } else {
            before - 2
        };
        insns[check] = Insn::Branch {
            cond: Cond::Gt,
            width: Width::W64,
            dst: Reg::R1,
            src: Operand::Reg(Reg::R3),
            offset: i16::try_from(fails - check - 1).map_err(too_long)?,
        };
        let mut packet = case.memory.clone();
        packet.resize((bytes + RESULT).max(XDP_MIN_FRAME), 0);
        Ok(Wrapped {
            program: Arc::new(Program::of_instructions(
                &case.program.name,
                Hook::XDP,
                insns,
            )),
            packet,
            result_at: bytes,
            before,
        })
    }

    /// The case's slot that a slot of the wrapped program is, if it is one of it.
    pub fn slot(&self, pc: usize) -> Option<usize> {
        pc.checked_sub(self.before)
    }

    /// The result that a run left; `None` if the program said that the packet is too short.
    pub fn result(&self, outcome: &Outcome<'_>) -> Option<u64> {
        if outcome.verdict != Verdict::Xdp(XdpAction::Pass) {
            return None;
        }
        let bytes = outcome.frame.get(self.result_at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }
}

/// A register that calls keep and that no instruction names.
fn free_register(insns: &[Insn]) -> Option<Reg> {
    let used = insns
        .iter()
        .fold(0, |used, insn| used | insn.reads() | insn.writes());
    [Reg::R9, Reg::R8, Reg::R7, Reg::R6]
        .into_iter()
        .find(|reg| used >> reg.index() & 1 == 0)
}

#[cfg(test)]
mod tests {
    use bpf::run::{Arrival, Batch, Environment};

    use super::*;
    use crate::conformance::{Case, Expected};
    use crate::side::Side;

    fn run_wrapped(text: &str) -> (u64, Expected) {
        let case = Case::parse("case.data", text.as_bytes()).unwrap();
        let wrapped = Wrapped::new(&case).unwrap();
        let side = Side::Interp;
        let verified = side.verify(&wrapped.program).unwrap();
        let mut loaded = side
            .load(&verified, &Arc::new(Environment::default()))
            .unwrap();
        let mut batch = Batch::new();
        let arrival = Arrival {
            number: 0,
            arrival_ns: 0,
            port: 1,
            queue: 0,
        };
        batch.push(arrival, &wrapped.packet, 64, 0);
        loaded.process(&mut batch);
        let outcome = batch.outcome(0, &wrapped.program.hook);
        (wrapped.result(&outcome).unwrap(), case.expected)
    }

    #[test]
    fn the_result_lies_behind_the_memory() {
        for text in [
            "-- asm\nmov %r0, 1\njeq %r2, 3, +1\nexit\nldxb %r0, [%r1+2]\nexit\n\
             -- mem\n01 02 2a\n-- result\n0x2a\n",
            "-- asm\nlddw %r0, 0x1122334455667788\nexit\n-- result\n0x1122334455667788\n",
            // Every register that calls keep.
            "-- asm\nmov %r6, 1\nmov %r7, 2\nmov %r8, 3\nmov %r9, 4\nmov %r0, %r6\nadd %r0, %r9\n\
             exit\n-- result\n5\n",
            // Two functions.
            "-- asm\nmov %r1, 20\ncall local f\nadd %r0, 1\nexit\nf:\nmov %r0, %r1\nexit\n\
             -- result\n21\n",
        ] {
            let (result, expected) = run_wrapped(text);
            assert_eq!(Expected::Result(result), expected, "{text}");
        }
    }
}
