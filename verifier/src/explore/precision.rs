//! Which numbers a proof rested on.
//!
//! A kept state is compared loosely: a number may differ unless some proof below it needed it.
//! When one does (an offset added to a pointer, a length, a branch taken for certain), the path
//! is walked backwards from there, from the number to what it was computed from, and every kept
//! state on the way notes what it must be compared by.

use bpf::helper::{Arg, LocalArg};
use isa::ebpf::{AluOp, AtomicOp, CallTarget, Insn, Operand, Reg};

use super::Explorer;
use super::prune::Marks;
use super::worklist::{CheckpointId, Node, NodeId};
use crate::domain::{Kind, State};
use crate::platform;
use crate::transfer::branch::Place;
use crate::transfer::{Context, Given, SlotAt, constant_key};

/// The numbers that checking and executing `insn` relies on.
pub(super) fn demands(cx: &Context<'_>, state: &State, insn: &Insn) -> Marks {
    let mut marks = Marks::default();
    let depth = state.depth();
    let regs = &state.top.regs;
    let mut demand = |reg: usize| {
        if regs[reg].is_scalar() {
            marks.regs[depth] |= 1 << reg;
        }
    };
    match *insn {
        Insn::Alu {
            op: AluOp::Add | AluOp::Sub,
            dst,
            src: Operand::Reg(src),
            ..
        } if regs[dst.index()].kind.is_pointer() != regs[src.index()].kind.is_pointer() => {
            demand(dst.index());
            demand(src.index());
        }
        // A zero that the stack keeps as such without keeping the register.
        Insn::Store {
            base,
            src: Operand::Reg(src),
            ..
        }
        | Insn::StoreRelease { base, src, .. }
            if matches!(regs[base.index()].kind, Kind::Stack { .. })
                && regs[src.index()].is_zero() =>
        {
            let pointer = &regs[base.index()];
            let offset = match *insn {
                Insn::Store { offset, .. } | Insn::StoreRelease { offset, .. } => offset,
                _ => 0,
            };
            let fixed = i64::from(pointer.off) + i64::from(offset);
            if pointer.range.as_constant().is_none() || fixed % 8 != 0 {
                demand(src.index());
            }
        }
        // Its result decides whether there is another round.
        Insn::Exit if state.top.callback.is_some() => demand(0),
        Insn::Call(target @ (CallTarget::Helper(_) | CallTarget::Kfunc { .. })) => {
            if let Some(prototype) = cx.platform.called(target) {
                let id = prototype.id;
                if id == platform::LOOP {
                    demand(1);
                }
                for given in Given::all(&cx.platform, state, prototype) {
                    match given.arg {
                        // For memory or null: null as the number 0.
                        Arg::Size
                        | Arg::SizeOrZero
                        | Arg::ConstAllocSize
                        | Arg::Local(LocalArg::Type)
                        | Arg::MemOrNull
                        | Arg::MemRwOrNull
                        | Arg::MapValueOrNull
                        | Arg::CtxOrNull
                        | Arg::Scratch
                        | Arg::ScratchSize
                        | Arg::KernelType
                        | Arg::DynptrOrNull
                        | Arg::PointerGiven
                        | Arg::StackOrNull => {
                            demand(given.reg);
                        }
                        _ => {}
                    }
                }
                if id == platform::MAP_LOOKUP
                    && let Some((key, Some(SlotAt { frame, slot }))) = lookup_key(cx, state)
                    && let Kind::Map { map, .. } = regs[1].kind
                    && platform::always_found(&cx.platform, map, key)
                {
                    marks.slots[usize::from(frame)] |= 1 << slot;
                }
            }
        }
        _ => {}
    }
    marks
}

fn lookup_key(cx: &Context<'_>, state: &State) -> Option<(u64, Option<SlotAt>)> {
    let Kind::Map { map, .. } = state.top.regs[1].kind else {
        return None;
    };
    let bytes = cx.platform.map(map)?.key_size;
    constant_key(state, &state.top.regs[2], bytes)
}

/// The operands of a branch that was decided.
pub(super) fn branch_demands(state: &State, dst: Reg, src: Operand) -> Marks {
    let mut marks = Marks::default();
    let depth = state.depth();
    let mut demand = |reg: Reg| {
        if state.top.regs[reg.index()].is_scalar() {
            marks.regs[depth] |= 1 << reg.number();
        }
    };
    demand(dst);
    if let Operand::Reg(src) = src {
        demand(src);
    }
    marks
}

impl Explorer<'_, '_, '_> {
    /// Notes on every kept state above `node` that `marks`, which hold for the state after
    /// `node` at call depth `depth`, rest on it.
    pub(super) fn mark_precise(&mut self, node: NodeId, depth: usize, mut marks: Marks) {
        let (mut node, mut depth) = (node, depth);
        while !marks.is_empty() {
            let (parent, what) = self.tree.at(node);
            match what {
                Node::Root => return,
                Node::Checkpoint(id) => self.note(id, &mut marks),
                Node::CalledBack => {
                    // Backwards out of a callback: none of its arguments is the caller's.
                    marks.regs[depth] = 0;
                    marks.slots[depth] = 0;
                    depth = depth.saturating_sub(1);
                }
                Node::CallbackReturn => {
                    // Backwards into a callback: the caller's registers are as they were.
                    depth += 1;
                    marks.regs[depth] = 0;
                    marks.slots[depth] = 0;
                }
                Node::EarlyReturn => {
                    marks.regs[depth] &= !0b11_1111;
                    depth += 1;
                }
                Node::Step {
                    pc,
                    store,
                    fill,
                    linked,
                } => {
                    self.sync_linked(linked, &mut marks);
                    let insn = &self.cx.platform.program.insns[pc as usize];
                    let by_signature = self.called_by_signature(insn, pc as usize).is_some();
                    depth = if by_signature {
                        marks.regs[depth] &= !0b11_1111;
                        depth
                    } else {
                        step_back(insn, store, fill, depth, &mut marks)
                    };
                    self.sync_linked(linked, &mut marks);
                }
            }
            node = parent;
        }
    }

    /// Marks a kept state; what it already had needs no further walk.
    fn note(&mut self, id: CheckpointId, marks: &mut Marks) {
        let kept = &mut self.kept[id as usize];
        for depth in 0..=kept.state.depth() {
            let frame = kept.state.frame(depth);
            for n in 0..10 {
                if marks.regs[depth] & (1 << n) != 0 && !frame.regs[n].is_scalar() {
                    marks.regs[depth] &= !(1 << n);
                }
            }
            let mut slots = marks.slots[depth];
            while slots != 0 {
                let n = slots.trailing_zeros() as usize;
                slots &= slots - 1;
                let scalar = frame
                    .stack
                    .slot(n)
                    .and_then(|s| s.spilled())
                    .is_some_and(|(reg, _)| reg.is_scalar());
                if !scalar {
                    marks.slots[depth] &= !(1 << n);
                }
            }
            marks.regs[depth] &= !kept.precise.regs[depth];
            marks.slots[depth] &= !kept.precise.slots[depth];
            if marks.regs[depth] != 0 || marks.slots[depth] != 0 {
                self.growth += 1;
            }
            kept.precise.regs[depth] |= marks.regs[depth];
            kept.precise.slots[depth] |= marks.slots[depth];
        }
    }

    /// Where one of several linked values matters, all do.
    fn sync_linked(&self, linked: u32, marks: &mut Marks) {
        let linked = self.tree.linked(linked);
        let marked = |marks: &Marks, (frame, place): (u8, Place)| match place {
            Place::Reg(n) => marks.regs[usize::from(frame)] & (1 << n) != 0,
            Place::Slot(n) => marks.slots[usize::from(frame)] & (1 << n) != 0,
        };
        if !linked.iter().any(|at| marked(marks, *at)) {
            return;
        }
        for (frame, place) in linked {
            match place {
                Place::Reg(n) => marks.regs[usize::from(*frame)] |= 1 << n,
                Place::Slot(n) => marks.slots[usize::from(*frame)] |= 1 << n,
            }
        }
    }
}

/// From what is needed after `insn` to what is needed before it. The call depth after it goes
/// in, the depth before it comes out.
pub(super) fn step_back(
    insn: &Insn,
    store: Option<SlotAt>,
    fill: Option<SlotAt>,
    depth: usize,
    marks: &mut Marks,
) -> usize {
    let bit = |reg: Reg| 1u16 << reg.number();
    let regs = &mut marks.regs[depth];
    match *insn {
        Insn::Alu {
            op: AluOp::Mov,
            dst,
            src,
            ..
        } => {
            if *regs & bit(dst) != 0 {
                *regs &= !bit(dst);
                if let Operand::Reg(src) = src {
                    *regs |= bit(src);
                }
            }
        }
        Insn::Alu { dst, src, .. } => {
            if *regs & bit(dst) != 0
                && let Operand::Reg(src) = src
            {
                *regs |= bit(src);
            }
        }
        Insn::MovSx { dst, src, .. } => {
            if *regs & bit(dst) != 0 {
                *regs &= !bit(dst);
                *regs |= bit(src);
            }
        }
        Insn::LoadWide { dst, .. } => *regs &= !bit(dst),
        Insn::Load { dst, .. } | Insn::LoadAcquire { dst, .. } => {
            if *regs & bit(dst) != 0 {
                *regs &= !bit(dst);
                if let Some(SlotAt { frame, slot }) = fill {
                    marks.slots[usize::from(frame)] |= 1 << slot;
                }
            }
        }
        Insn::Store { src, .. } => take_stored(marks, depth, store, src),
        Insn::StoreRelease { src, .. } => take_stored(marks, depth, store, Operand::Reg(src)),
        Insn::Atomic { op, src, .. } => {
            let fetched = match op {
                AtomicOp::Cmpxchg => 1,
                _ if op.fetches() => bit(src),
                _ => 0,
            };
            let wanted = *regs & fetched != 0;
            *regs &= !fetched;
            if let Some(SlotAt { frame, slot }) = store {
                marks.slots[usize::from(frame)] &= !(1 << slot);
            }
            if let Some(SlotAt { frame, slot }) = fill.filter(|_| wanted) {
                marks.slots[usize::from(frame)] |= 1 << slot;
            }
        }
        Insn::Branch {
            dst,
            src: Operand::Reg(src),
            ..
        } => {
            if *regs & (bit(dst) | bit(src)) != 0 {
                *regs |= bit(dst) | bit(src);
            }
        }
        Insn::Call(CallTarget::Local { .. }) => {
            // Backwards out of the callee: its arguments are the caller's.
            let arguments = *regs & 0b11_1110;
            *regs = 0;
            marks.slots[depth] = 0;
            let caller = depth.saturating_sub(1);
            marks.regs[caller] = marks.regs[caller] & !0b11_1111 | arguments;
            return caller;
        }
        Insn::Call(_) | Insn::LoadPacket { .. } => *regs &= !0b11_1111,
        Insn::Exit => {
            // Backwards into the callee: its result is what r0 holds.
            let result = *regs & 1;
            *regs &= !0b11_1111;
            marks.regs[depth + 1] = result;
            marks.slots[depth + 1] = 0;
            return depth + 1;
        }
        Insn::Neg { .. }
        | Insn::Swap { .. }
        | Insn::Branch { .. }
        | Insn::Jump { .. }
        | Insn::MayGoto { .. }
        | Insn::WideTail => {}
    }
    depth
}

fn take_stored(marks: &mut Marks, depth: usize, store: Option<SlotAt>, src: Operand) {
    let Some(SlotAt { frame, slot }) = store else {
        return;
    };
    let slots = &mut marks.slots[usize::from(frame)];
    if *slots & (1 << slot) == 0 {
        return;
    }
    *slots &= !(1 << slot);
    if let Operand::Reg(src) = src {
        marks.regs[depth] |= 1 << src.number();
    }
}
