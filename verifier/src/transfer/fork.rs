//! Second ways on from an instruction that is no branch: what a call or `may_goto` may do
//! besides going on.

use bpf::helper::Graph;
use isa::ebpf::{CallTarget, Insn};

use super::{Context, leave, local, object};
use crate::domain::{Block, Callback, Frame, Ids, Kind, MapRef, State, Value};
use crate::platform;

/// Why there is a second way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForkKind {
    /// The instruction ends a called function: its caller goes on.
    EarlyReturn,
    /// A helper calls a function of the program, and will go on where it was called.
    Callback,
    /// A helper has a function of the program called later, when the program has ended.
    Later,
    /// An iterator gives another number.
    Iteration,
    /// `may_goto` goes on without jumping.
    MayGoto,
}

/// A second way on.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) kind: ForkKind,
    pub(crate) state: State,
    pub(crate) pc: usize,
}

/// The second way on from `pc`, if there is one. With `counting`, a loop whose number of rounds
/// is known ends; else it may always go on.
pub(crate) fn fork(
    cx: &Context<'_>,
    state: &State,
    ids: &mut Ids,
    pc: usize,
    counting: bool,
) -> Option<Fork> {
    let target = match cx.platform.program.insns[pc] {
        Insn::MayGoto { .. } => {
            let mut state = state.clone();
            state.progress.0 += 1;
            return Some(Fork {
                kind: ForkKind::MayGoto,
                state,
                pc: pc + 1,
            });
        }
        Insn::LoadPacket { .. } => return early_return(state, &cx.platform.program.insns[pc]),
        Insn::Call(target @ (CallTarget::Helper(_) | CallTarget::Kfunc { .. })) => target,
        _ => return None,
    };
    let called = cx.platform.called(target)?.id;
    match called {
        platform::TAIL_CALL => early_return(state, &cx.platform.program.insns[pc]),
        platform::LOOP
            if counting && u64::from(state.top.calls_back) >= state.top.regs[1].range.umax =>
        {
            None
        }
        bpf::kfunc::ITER_NUM_NEXT => {
            let mut state = state.clone();
            object::next(&mut state).then_some(Fork {
                kind: ForkKind::Iteration,
                state,
                pc: pc + 1,
            })
        }
        _ => callback(cx, state, ids, called, pc),
    }
}

fn early_return(state: &State, insn: &Insn) -> Option<Fork> {
    let mut state = state.clone();
    let pc = ends_early(&mut state, insn)?;
    Some(Fork {
        kind: ForkKind::EarlyReturn,
        state,
        pc,
    })
}

/// What it does if an instruction of a called function ends the function: a tail call that
/// succeeds gives the other program's result to the caller, and may have moved the packet; a
/// packet load outside the packet gives 0. `None` if there is no caller, or the instruction is
/// neither.
pub(crate) fn ends_early(state: &mut State, insn: &Insn) -> Option<usize> {
    let tail_call = match insn {
        Insn::Call(CallTarget::Helper(platform::TAIL_CALL)) => true,
        Insn::LoadPacket { .. } => false,
        _ => return None,
    };
    if state.depth() == 0 {
        return None;
    }
    let next = leave(state);
    if tail_call {
        state.top.regs[0] = Value::SCALAR;
        state.forget_packet();
    } else {
        state.top.regs[0] = Value::constant(0);
    }
    match next {
        super::Next::At(pc) => Some(pc),
        super::Next::End => None,
    }
}

/// The function that a helper calls, with what it is given.
fn callback(
    cx: &Context<'_>,
    state: &State,
    ids: &mut Ids,
    called: u32,
    pc: usize,
) -> Option<Fork> {
    let regs = &state.top.regs;
    let function = platform::callback_argument(called)?;
    let Kind::Function { pc: start } = regs[function].kind else {
        return None;
    };
    let index = cx.cfg.function_starting(start as usize).unwrap_or(0) as u16;
    let later = called == platform::TIMER_SET_CALLBACK;
    let depth = if later { 0 } else { state.depth() + 1 };
    let mut frame = Frame::new(index, depth as u8, pc as u32);
    frame.callback = Some(Callback {
        result: (0, i64::from(!later)),
        later,
    });
    match called {
        platform::LOOP => {
            frame.regs[1] = Value::SCALAR;
            frame.regs[2] = regs[3];
        }
        platform::FOR_EACH => {
            let Kind::Map { map, .. } = regs[1].kind else {
                return None;
            };
            element(&mut frame, map, ids);
            frame.regs[4] = regs[3];
        }
        bpf::kfunc::RBTREE_ADD => {
            for reg in &mut frame.regs[1..=2] {
                *reg = local::seen(cx, ids, &regs[1], Graph::Tree);
            }
        }
        platform::DRAIN => {
            frame.regs[1] = Value::pointer(Kind::Dynptr);
            frame.regs[2] = regs[3];
        }
        _ => {
            let Kind::MapValue { map, .. } = regs[1].kind else {
                return None;
            };
            element(&mut frame, map, ids);
        }
    }
    let state = if later {
        let mut fresh = State::entry(index);
        fresh.top = frame;
        fresh
    } else {
        let mut state = state.clone();
        state.top.calls_back += 1;
        state.progress.1 += 1;
        state.push(frame);
        state
    };
    Some(Fork {
        kind: if later {
            ForkKind::Later
        } else {
            ForkKind::Callback
        },
        state,
        pc: start as usize,
    })
}

/// r1 to r3 of a function that is called for an element of a map: map, key, value.
fn element(frame: &mut Frame, map: MapRef, ids: &mut Ids) {
    frame.regs[1] = Value::pointer(Kind::Map {
        map,
        or_null: false,
    });
    frame.regs[2] = Value::pointer(Kind::MapKey { map });
    frame.regs[3] = Value {
        id: ids.fresh(),
        ..Value::pointer(Kind::MapValue {
            map,
            or_null: false,
        })
    };
}

/// What an iterator's next number is read through.
pub(super) const NUMBER: Kind = Kind::Memory {
    size: 4,
    or_null: false,
    block: Block::ReadOnly,
};
