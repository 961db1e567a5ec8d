//! Which registers hold the context, found by a small flow analysis: for the time in which the
//! verifier gives no facts.

use bpf::Program;
use isa::ebpf::{AluOp, CallTarget, Insn, MemSize, Operand, Reg, RegSet, Width};

/// Registers and 8-byte stack slots that hold the context on every path to an instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    registers: RegSet,
    slots: u64,
}

pub(super) struct ContextFlow {
    before: Vec<Option<State>>,
}

fn slot(base: Reg, offset: i16, size: MemSize) -> Option<u64> {
    let at = i32::from(offset) + 512;
    (base == Reg::R10 && size == MemSize::DW && (0..512).contains(&at) && at % 8 == 0)
        .then(|| 1 << (at / 8))
}

impl ContextFlow {
    pub(super) fn new(program: &Program) -> ContextFlow {
        let mut flow = ContextFlow {
            before: vec![None; program.insns.len()],
        };
        let mut work = Vec::new();
        flow.join(
            0,
            State {
                registers: 1 << Reg::R1.number(),
                slots: 0,
            },
            &mut work,
        );
        while let Some(pc) = work.pop() {
            let Some(state) = flow.before[pc] else {
                continue;
            };
            let insn = &program.insns[pc];
            if let Insn::Call(CallTarget::Local { .. }) = insn
                && let Some(target) = insn.function_target(pc).and_then(|t| t.try_into().ok())
            {
                let arguments = State {
                    registers: state.registers & 0b11_1110,
                    slots: 0,
                };
                flow.join(target, arguments, &mut work);
            }
            let after = step(insn, state);
            if let Some(target) = insn.jump_target(pc).and_then(|t| t.try_into().ok()) {
                flow.join(target, after, &mut work);
            }
            if !insn.is_terminator() {
                flow.join(pc + insn.slots(), after, &mut work);
            }
        }
        flow
    }

    fn join(&mut self, pc: usize, state: State, work: &mut Vec<usize>) {
        let Some(before) = self.before.get_mut(pc) else {
            return;
        };
        let joined = before.map_or(state, |old| State {
            registers: old.registers & state.registers,
            slots: old.slots & state.slots,
        });
        if *before != Some(joined) {
            *before = Some(joined);
            work.push(pc);
        }
    }

    pub(super) fn holds_context(&self, pc: usize, reg: Reg) -> bool {
        self.before[pc].is_some_and(|s| s.registers & (1 << reg.number()) != 0)
    }
}

fn step(insn: &Insn, mut state: State) -> State {
    let holds = |reg: Reg| state.registers & (1 << reg.number()) != 0;
    let mut gained = 0;
    match *insn {
        Insn::Alu {
            op: AluOp::Mov,
            width: Width::W64,
            dst,
            src: Operand::Reg(src),
        } if holds(src) => gained = 1 << dst.number(),
        Insn::Load {
            size,
            signed: false,
            dst,
            base,
            offset,
        } if slot(base, offset, size).is_some_and(|s| state.slots & s != 0) => {
            gained = 1 << dst.number();
        }
        Insn::Store {
            size,
            base: Reg::R10,
            offset,
            src,
        } => {
            let spills = matches!(src, Operand::Reg(reg) if holds(reg));
            let first = i32::from(offset) + 512;
            let last = first + i32::from(size.bytes()) - 1;
            for at in [first, last] {
                if (0..512).contains(&at) {
                    state.slots &= !(1 << (at / 8));
                }
            }
            if spills && let Some(s) = slot(Reg::R10, offset, size) {
                state.slots |= s;
            }
        }
        _ => {}
    }
    state.registers = (state.registers & !insn.writes()) | gained;
    state
}
