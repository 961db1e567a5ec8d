//! What instructions do to a state.
//!
//! Transfer is total and never reports: where a check would have refused, the result is that
//! nothing is known. Besides the new state it notes the [`Effects`] that exploration keeps: what
//! of the stack was read and written, and which register came from which spill.

mod alu;
pub(crate) mod branch;
mod call;
mod fork;
mod local;
mod mem;
mod object;
mod pointer;
#[cfg(test)]
mod tests;

use isa::ebpf::{CallTarget, Insn, Wide};

pub(crate) use call::{Given, arguments_by_signature, constant_key, map_argument};

pub(crate) use local::{comparing, fields, root_at};

pub(crate) use fork::{ForkKind, ends_early, fork};
pub(crate) use object::{DYNPTR_SLOTS, at as object_at, dynptr, place as object_place, slots_of};

use crate::cfg::Cfg;
use crate::domain::{Frame, Ids, Kind, MapRef, State, Value};
use crate::platform::Platform;

/// Slots of one frame, as bits.
pub(crate) type Slots = u64;

/// A slot in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotAt {
    pub(crate) frame: u8,
    pub(crate) slot: u8,
}

/// What one instruction did besides changing the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    /// The slot whose spilled register was loaded.
    pub(crate) fill: Option<SlotAt>,
    /// The slot that was stored to at a known offset.
    pub(crate) store: Option<SlotAt>,
    /// Slots read, by frame.
    pub(crate) reads: Vec<(u8, Slots)>,
    /// Slots wholly written, by frame.
    pub(crate) writes: Vec<(u8, Slots)>,
    /// Slots touched in any way, by frame.
    pub(crate) touches: Vec<(u8, Slots)>,
}

impl Effects {
    pub(crate) fn clear(&mut self) {
        self.fill = None;
        self.store = None;
        self.reads.clear();
        self.writes.clear();
        self.touches.clear();
    }
}

/// What transfer needs besides the state.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) platform: Platform<'a>,
    pub(crate) cfg: &'a Cfg,
}

/// Where control goes after an instruction that is no branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// To this pc.
    At(usize),
    /// The program ends.
    End,
}

/// Executes an instruction that is not a conditional branch.
pub(crate) fn step(
    cx: &Context<'_>,
    state: &mut State,
    ids: &mut Ids,
    effects: &mut Effects,
    pc: usize,
) -> Next {
    let insn = &cx.platform.program.insns[pc];
    match *insn {
        Insn::Alu {
            op,
            width,
            dst,
            src,
        } => alu::binary(state, ids, op, width, dst, src),
        Insn::Neg { width, dst } => alu::neg(state, width, dst),
        Insn::MovSx {
            width,
            dst,
            src,
            bits,
        } => alu::move_extended(state, ids, width, dst, src, bits),
        Insn::Swap { kind, bits, dst } => alu::swap(state, kind, bits, dst),
        Insn::LoadWide { dst, value } => {
            state.top.regs[dst.index()] = wide(value, pc);
        }
        Insn::Load {
            size,
            signed,
            dst,
            base,
            offset,
        } => {
            let value = mem::load(cx, state, ids, effects, base, offset, size.bytes(), signed);
            state.top.regs[dst.index()] = value;
        }
        Insn::LoadAcquire {
            size,
            dst,
            base,
            offset,
        } => {
            let value = mem::load(cx, state, ids, effects, base, offset, size.bytes(), false);
            state.top.regs[dst.index()] = value;
        }
        Insn::Store {
            size,
            base,
            offset,
            src,
        } => {
            let value = alu::operand(state, src, isa::ebpf::Width::W64);
            let from = match src {
                isa::ebpf::Operand::Reg(reg) => Some(reg),
                isa::ebpf::Operand::Imm(_) => None,
            };
            mem::store(
                state,
                ids,
                effects,
                base,
                offset,
                size.bytes(),
                &value,
                from,
            );
        }
        Insn::StoreRelease {
            size,
            base,
            offset,
            src,
        } => {
            let value = state.top.regs[src.index()];
            mem::store(
                state,
                ids,
                effects,
                base,
                offset,
                size.bytes(),
                &value,
                Some(src),
            );
        }
        Insn::Atomic {
            op,
            size,
            base,
            offset,
            src,
        } => mem::atomic(state, ids, effects, op, base, offset, size.bytes(), src),
        Insn::LoadPacket { .. } => {
            call::clobber(state);
            // As in the kernel, which does not note how wide the load was.
            state.top.regs[0] = Value::SCALAR;
        }
        Insn::Jump { .. } => {
            // Checked by the graph: inside the function.
            return Next::At(insn.jump_target(pc).unwrap_or(0) as usize);
        }
        Insn::Call(target @ (CallTarget::Helper(_) | CallTarget::Kfunc { .. })) => {
            call::outside(cx, state, ids, effects, pc, target);
            let called = cx.platform.called(target).map(|p| p.id);
            if called == Some(bpf::kfunc::THROW) {
                return Next::End;
            }
        }
        Insn::Call(CallTarget::Local { .. }) => {
            let target = insn.function_target(pc).unwrap_or(0) as usize;
            if let Some(signature) = cx.platform.declared.signature(target) {
                call::by_signature(cx, state, effects, target, signature);
            } else {
                enter(cx, state, pc, target);
                return Next::At(target);
            }
        }
        Insn::Call(CallTarget::Reg(_)) => call::clobber(state),
        Insn::Exit => return leave(state),
        Insn::MayGoto { .. } => return Next::At(insn.jump_target(pc).unwrap_or(0) as usize),
        Insn::WideTail | Insn::Branch { .. } => {}
    }
    Next::At(pc + insn.slots())
}

/// The state in which the function that starts at `start` is verified: the entry, or a global
/// function on its own.
pub(crate) fn root(cx: &Context<'_>, ids: &mut Ids, start: usize) -> State {
    let function = cx.cfg.function_starting(start).unwrap_or(0) as u16;
    let mut state = State::entry(function);
    match cx.platform.declared.signature(start) {
        Some(signature) => {
            let arguments = arguments_by_signature(ids, signature);
            state.top.regs[1..=5].copy_from_slice(&arguments);
        }
        None => state.top.regs[1..=2].copy_from_slice(&cx.platform.arguments()),
    }
    state
}

/// The value that a two-slot load gives.
fn wide(value: Wide, pc: usize) -> Value {
    let map = |index: u32| MapRef {
        index: index as u16,
        inner: false,
    };
    match value {
        Wide::Value(number) => Value::constant(number),
        Wide::Map(index) => Value::pointer(Kind::Map {
            map: map(index),
            or_null: false,
        }),
        Wide::MapValue { map: index, offset } => Value {
            off: offset as i32,
            ..Value::pointer(Kind::MapValue {
                map: map(index),
                or_null: false,
            })
        },
        Wide::Function { offset } => Value::pointer(Kind::Function {
            pc: (pc as i64 + 1 + i64::from(offset)) as u32,
        }),
        Wide::MapFd(_) | Wide::MapFdValue { .. } | Wide::BtfId { .. } => Value::UNKNOWN,
    }
}

/// Makes the frame of a called function: r1 to r5 are passed, nothing else.
fn enter(cx: &Context<'_>, state: &mut State, pc: usize, target: usize) {
    let depth = (state.depth() + 1) as u8;
    let function = cx.cfg.function_starting(target).unwrap_or(0) as u16;
    let mut frame = Frame::new(function, depth, pc as u32);
    frame.regs[1..=5].copy_from_slice(&state.top.regs[1..=5]);
    for reg in &mut state.top.regs[0..=5] {
        *reg = Value::UNKNOWN;
    }
    state.push(frame);
}

/// Returns from the running function: r0 is passed back.
fn leave(state: &mut State) -> Next {
    let Some(frame) = state.pop() else {
        return Next::End;
    };
    if frame.callback.is_some() {
        // The helper decides what comes next, given what it was given.
        return Next::At(frame.call_site as usize);
    }
    for reg in &mut state.top.regs[1..=5] {
        *reg = Value::UNKNOWN;
    }
    state.top.regs[0] = frame.regs[0];
    Next::At(frame.call_site as usize + 1)
}
