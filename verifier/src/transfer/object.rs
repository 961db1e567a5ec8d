//! Objects on the stack (iterators, dynptrs, the state of interrupts), locks, and the sections
//! that functions open and close.

use bpf::helper::{Arg, Prototype};
use bpf::kfunc;

use super::Given;
use super::fork::NUMBER;
use super::{Effects, SlotAt};
use crate::domain::{
    Block, DynptrKind, FRAME_BYTES, Ids, Kind, Lock, Reference, Resource, Slot, StackObject, State,
    Value, slot_of,
};
use crate::platform;

/// Slots of a dynptr.
pub(crate) const DYNPTR_SLOTS: usize = 2;

/// How many slots of the stack an argument of this type takes; 0 if it is no such object.
pub(crate) const fn slots_of(arg: Arg) -> usize {
    match arg {
        Arg::NewIterator
        | Arg::Iterator
        | Arg::EndIterator
        | Arg::NewInterruptState
        | Arg::InterruptState => 1,
        Arg::NewDynptr | Arg::Dynptr | Arg::DynptrOrNull | Arg::RecordDynptr => DYNPTR_SLOTS,
        _ => 0,
    }
}

/// The lowest slot (by address) that a pointer to an object of so many slots points to; `None`
/// if it points to no whole slots of a stack at a known place.
pub(crate) fn place(pointer: &Value, slots: usize) -> Option<SlotAt> {
    let Kind::Stack { frame } = pointer.kind else {
        return None;
    };
    pointer.range.as_constant()?;
    let at = i32::try_from(pointer.min_offset()).ok()?;
    let end = at.checked_add(8 * slots as i32)?;
    (at % 8 == 0 && at >= -FRAME_BYTES && end <= 0).then_some(SlotAt {
        frame,
        slot: slot_of(at) as u8,
    })
}

/// The object that a pointer points to.
pub(crate) fn at(state: &State, pointer: &Value, slots: usize) -> Option<StackObject> {
    let SlotAt { frame, slot } = place(pointer, slots)?;
    let stack = &state.frame(usize::from(frame)).stack;
    stack.slot(usize::from(slot))?.object()
}

/// What the dynptr behind a pointer stands for; `None` if there is none.
pub(crate) fn dynptr(state: &State, pointer: &Value) -> Option<(DynptrKind, u32, u32)> {
    if pointer.kind == Kind::Dynptr {
        return Some((DynptrKind::Local, 0, 0));
    }
    match at(state, pointer, DYNPTR_SLOTS)? {
        StackObject::Dynptr {
            kind,
            id,
            reference,
            first: true,
        } => Some((kind, id, reference)),
        _ => None,
    }
}

/// The iterator that r1 points to gives its next number. `false` if it gives no more.
pub(super) fn next(state: &mut State) -> bool {
    let found = at(state, &state.top.regs[1], 1);
    let reference = match found {
        Some(StackObject::Iterator { active: false, .. }) => return false,
        Some(StackObject::Iterator {
            reference, depth, ..
        }) => {
            put(
                state,
                1,
                1,
                StackObject::Iterator {
                    reference,
                    active: true,
                    depth: depth + 1,
                },
            );
            reference
        }
        _ => 0,
    };
    super::call::clobber(state);
    state.top.regs[0] = Value {
        reference,
        ..Value::pointer(NUMBER)
    };
    true
}

fn put(state: &mut State, reg: usize, slots: usize, object: StackObject) -> Option<SlotAt> {
    let at = place(&state.top.regs[reg], slots)?;
    let stack = &mut state.frame_mut(usize::from(at.frame)).stack;
    for back in 0..slots {
        let object = match object {
            StackObject::Dynptr {
                kind,
                id,
                reference,
                ..
            } => StackObject::Dynptr {
                kind,
                id,
                reference,
                first: back == 0,
            },
            other => other,
        };
        stack.slot_mut(usize::from(at.slot) - back).place(object);
    }
    Some(at)
}

fn acquire(state: &mut State, ids: &mut Ids, pc: usize, resource: Resource) -> u32 {
    let id = ids.fresh();
    state.held.references.push(Reference {
        id,
        pc: pc as u32,
        resource,
    });
    id
}

/// A dynptr or a part of one lies somewhere that is written over: it is no more.
pub(super) fn destroy_dynptrs(state: &mut State, frame: u8, min: i32, max: i32) {
    if min >= max {
        return;
    }
    for slot in slot_of(max - 1)..=slot_of(min) {
        let stack = &state.frame(usize::from(frame)).stack;
        let Some(StackObject::Dynptr { id, first, .. }) = stack.slot(slot).and_then(Slot::object)
        else {
            continue;
        };
        let lowest = if first { slot } else { slot + 1 };
        state.take_object(usize::from(frame), lowest, DYNPTR_SLOTS);
        state.forget_slices(id);
    }
}

/// What a call does to objects and sections besides its result. Returns the result if it is
/// about an object.
pub(super) fn call(
    state: &mut State,
    ids: &mut Ids,
    effects: &mut Effects,
    pc: usize,
    prototype: &Prototype,
    given: &[Given],
) {
    for argument in given {
        let slots = slots_of(argument.arg);
        if slots > 0
            && let Some(SlotAt { frame, slot }) = place(&state.top.regs[argument.reg], slots)
        {
            let mask = (0..slots).fold(0, |set, back| {
                set | 1 << usize::from(slot).saturating_sub(back)
            });
            effects.touches.push((frame, mask));
            match argument.arg {
                Arg::NewIterator | Arg::NewDynptr | Arg::NewInterruptState => {
                    effects.writes.push((frame, mask));
                }
                _ => effects.reads.push((frame, mask)),
            }
        }
        object(state, ids, pc, prototype, argument);
    }
    let regs = &state.top.regs;
    match prototype.id {
        platform::SPIN_LOCK => {
            state.held.lock = Some(Lock {
                place: regs[1].kind,
                id: regs[1].owner,
                pc: pc as u32,
            });
        }
        platform::SPIN_UNLOCK => {
            state.held.lock = None;
            super::local::unlocked(state);
        }
        kfunc::RCU_READ_LOCK => state.held.rcu += 1,
        kfunc::RCU_READ_UNLOCK => {
            state.held.rcu = state.held.rcu.saturating_sub(1);
            if state.held.rcu == 0 {
                super::pointer::section_left(state);
            }
        }
        kfunc::PREEMPT_DISABLE => state.held.preempt += 1,
        kfunc::PREEMPT_ENABLE => state.held.preempt = state.held.preempt.saturating_sub(1),
        _ => {}
    }
}

fn object(state: &mut State, ids: &mut Ids, pc: usize, prototype: &Prototype, argument: &Given) {
    let reg = argument.reg;
    match argument.arg {
        Arg::NewIterator => {
            let reference = acquire(state, ids, pc, Resource::Iterator);
            put(
                state,
                reg,
                1,
                StackObject::Iterator {
                    reference,
                    active: true,
                    depth: 0,
                },
            );
        }
        Arg::Iterator => {
            if let Some(StackObject::Iterator {
                reference, depth, ..
            }) = at(state, &state.top.regs[reg], 1)
            {
                put(
                    state,
                    reg,
                    1,
                    StackObject::Iterator {
                        reference,
                        active: false,
                        depth,
                    },
                );
            }
        }
        Arg::EndIterator | Arg::InterruptState => {
            let pointer = state.top.regs[reg];
            let reference = match at(state, &pointer, 1) {
                Some(
                    StackObject::Iterator { reference, .. } | StackObject::Interrupts { reference },
                ) => reference,
                _ => 0,
            };
            if let Some(SlotAt { frame, slot }) = place(&pointer, 1) {
                state.take_object(usize::from(frame), usize::from(slot), 1);
            }
            if reference != 0 {
                state.release(reference);
            }
        }
        Arg::NewInterruptState => {
            let reference = acquire(state, ids, pc, Resource::Interrupts);
            put(state, reg, 1, StackObject::Interrupts { reference });
        }
        Arg::NewDynptr => new_dynptr(state, ids, pc, prototype, reg),
        Arg::RecordDynptr => {
            let Some((_, _, reference)) = dynptr(state, &state.top.regs[reg]) else {
                return;
            };
            let gone: Vec<_> = state
                .objects()
                .filter_map(|(frame, slot, object)| match object {
                    StackObject::Dynptr {
                        reference: held,
                        first: true,
                        id,
                        ..
                    } if held == reference => Some((frame, slot, id)),
                    _ => None,
                })
                .collect();
            for (frame, slot, id) in gone {
                state.take_object(frame, slot, DYNPTR_SLOTS);
                state.forget_slices(id);
            }
            state.release(reference);
        }
        _ => {}
    }
}

fn new_dynptr(state: &mut State, ids: &mut Ids, pc: usize, prototype: &Prototype, reg: usize) {
    let (kind, reference) = match prototype.id {
        platform::RINGBUF_RESERVE_DYNPTR => (
            DynptrKind::Record,
            acquire(state, ids, pc, Resource::Record),
        ),
        kfunc::DYNPTR_FROM_SKB => (DynptrKind::Skb, 0),
        kfunc::DYNPTR_FROM_XDP => (DynptrKind::Xdp, 0),
        kfunc::DYNPTR_CLONE => match dynptr(state, &state.top.regs[1]) {
            Some((kind, _, reference)) => (kind, reference),
            None => (DynptrKind::Local, 0),
        },
        _ => (DynptrKind::Local, 0),
    };
    let pointer = state.top.regs[reg];
    if let Some(SlotAt { frame, .. }) = place(&pointer, DYNPTR_SLOTS) {
        let min = pointer.min_offset() as i32;
        destroy_dynptrs(state, frame, min, min + 16);
    }
    let id = ids.fresh();
    put(
        state,
        reg,
        DYNPTR_SLOTS,
        StackObject::Dynptr {
            kind,
            id,
            reference,
            first: true,
        },
    );
}

/// The address of a slice of a dynptr, or null.
pub(super) fn slice(state: &State, ids: &mut Ids, prototype: &Prototype) -> Value {
    let position = |wanted: Arg| prototype.args.iter().position(|a| *a == wanted);
    let size = position(Arg::ScratchSize).or(position(Arg::ConstAllocSize));
    let size = size.and_then(|at| state.top.regs[at + 1].as_constant());
    let Some(size) = size.and_then(|s| u32::try_from(s).ok()) else {
        return Value::UNKNOWN;
    };
    let (kind, owner, reference) =
        dynptr(state, &state.top.regs[1]).unwrap_or((DynptrKind::Local, 0, 0));
    let block = Block::Slice {
        packet: kind.is_packet(),
        writable: prototype.id != kfunc::DYNPTR_SLICE,
    };
    Value {
        id: ids.fresh(),
        reference,
        owner,
        ..Value::pointer(Kind::Memory {
            size,
            or_null: true,
            block,
        })
    }
}
