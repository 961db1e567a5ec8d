//! Decisions about the whole program, made before anything is emitted: which functions there
//! are, which registers each saves, whether Rust code is called.

use bpf::Program;
use isa::ebpf::{CallTarget, Insn, Reg};

use super::abi::{self, Hard, RegisterMap};
use super::known::Known;
use super::lower::call;

/// One function of the program.
pub(super) struct Function {
    /// First pc.
    pub(super) start: usize,
    /// First pc after it.
    pub(super) end: usize,
    /// Whether it is the program's entry.
    pub(super) entry: bool,
    /// Registers pushed at its start, in order; rbp apart.
    pub(super) saved: Vec<Hard>,
    /// Whether it has a stack frame, and rbp = r10.
    pub(super) framed: bool,
    /// Bytes taken off rsp after the pushes: the frame, `may_goto`'s counter, alignment.
    pub(super) bytes: i32,
    /// Bytes of the frame that are set to 0 at entry, a multiple of 8: those that are used.
    pub(super) cleared: i32,
    /// Whether it counts turns of `may_goto` loops.
    pub(super) counts_turns: bool,
}

/// The plan of a program.
pub(super) struct Plan {
    /// Register roles.
    pub(super) registers: RegisterMap,
    /// Whether r12 holds the run state.
    pub(super) state: bool,
    /// Whether a helper may stop the program.
    pub(super) traps: bool,
    /// The functions that are reached, by ascending start.
    pub(super) functions: Vec<Function>,
}

impl Plan {
    pub(super) fn new(program: &Program, known: &Known<'_>) -> Plan {
        let reached = |start: usize, end: usize| {
            (start..end.min(program.insns.len())).filter(|pc| known.reachable(*pc))
        };
        let mut calls_out = false;
        let mut state = false;
        for pc in reached(0, program.insns.len()) {
            if let Insn::Call(CallTarget::Helper(id)) = program.insns[pc] {
                let form = call::form(program, known, pc, id);
                calls_out |= form.leaves_code();
                state |= form.needs_state();
            }
            if matches!(
                program.insns[pc],
                Insn::LoadPacket { .. } | Insn::Call(CallTarget::Kfunc { .. })
            ) {
                calls_out = true;
                state = true;
            }
        }
        let registers = if calls_out {
            abi::WITH_CALLS
        } else {
            abi::WITHOUT_CALLS
        };
        let mut bounds: Vec<(usize, usize)> = program
            .subprograms
            .iter()
            .map(|s| (s.start, s.end))
            .collect();
        if bounds.is_empty() {
            bounds.push((0, program.insns.len()));
        }
        let functions = bounds
            .into_iter()
            .enumerate()
            .filter_map(|(index, (start, end))| {
                reached(start, end).next()?;
                let entry = index == 0;
                let mut touched = 0;
                let mut written = 0;
                let mut counts_turns = false;
                let mut calls = false;
                for pc in reached(start, end) {
                    let insn = &program.insns[pc];
                    touched |= insn.reads() | insn.writes();
                    written |= insn.writes();
                    counts_turns |= matches!(insn, Insn::MayGoto { .. });
                    calls |= match insn {
                        Insn::Call(CallTarget::Helper(id)) => {
                            call::form(program, known, pc, *id).leaves_code()
                        }
                        Insn::Call(_) | Insn::LoadPacket { .. } => true,
                        _ => false,
                    };
                }
                let mut saved: Vec<Hard> = [Reg::R6, Reg::R7, Reg::R8, Reg::R9]
                    .into_iter()
                    .filter(|r| written & (1 << r.number()) != 0)
                    .map(|r| registers.get(r))
                    .filter(|hard| !entry || abi::callee_saved(*hard))
                    .collect();
                if entry && state {
                    saved.push(abi::STATE);
                }
                let framed = counts_turns || touched & (1 << Reg::R10.number()) != 0;
                let mut bytes = 0;
                if framed {
                    bytes += abi::FRAME_BYTES;
                }
                if counts_turns {
                    bytes += 8;
                }
                if calls {
                    // At a call rsp is a multiple of 16; at entry it is 8 less.
                    let pushed = 8 + 8 * (saved.len() as i32 + i32::from(framed));
                    bytes += (pushed + bytes).rem_euclid(16);
                }
                Some(Function {
                    start,
                    end,
                    entry,
                    saved,
                    framed,
                    bytes,
                    cleared: known.frame_bytes(index).min(abi::FRAME_BYTES),
                    counts_turns,
                })
            })
            .collect();
        Plan {
            registers,
            state,
            traps: calls_out,
            functions,
        }
    }
}
