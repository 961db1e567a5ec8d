//! Loads, stores and atomics.

use isa::ebpf::{AtomicOp, Reg};

use super::{Context, Effects, SlotAt, Slots, alu, object};
use crate::domain::{FRAME_BYTES, Ids, Kind, Range, State, Trust, Value, slot_of};

/// The slots that `min..max` touches, and those that it covers.
pub(crate) fn slots(min: i32, max: i32) -> (Slots, Slots) {
    let (mut touched, mut covered) = (0, 0);
    let (min, max) = (min.max(-FRAME_BYTES), max.min(0));
    if min >= max {
        return (0, 0);
    }
    for slot in slot_of(max - 1)..=slot_of(min) {
        let low = -8 * (slot as i32 + 1);
        touched |= 1 << slot;
        if low >= min && low + 8 <= max {
            covered |= 1 << slot;
        }
    }
    (touched, covered)
}

/// The bytes of a frame that an access may touch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Lowest offset.
    pub(crate) min: i32,
    /// Just past the highest.
    pub(crate) max: i32,
    /// Whether the place is known.
    pub(crate) exact: bool,
}

/// Where an access of `size` bytes through a stack pointer lies, cut to the frame.
pub(crate) fn window(pointer: &Value, offset: i64, size: i64) -> Window {
    let low = pointer.min_offset().saturating_add(offset);
    let high = pointer.max_offset().saturating_add(offset);
    let frame = i64::from(-FRAME_BYTES)..=0;
    Window {
        min: low.clamp(*frame.start(), 0) as i32,
        max: high.saturating_add(size).clamp(*frame.start(), 0) as i32,
        exact: low == high && frame.contains(&low) && frame.contains(&(low + size)),
    }
}

/// The value that a load gives.
#[expect(clippy::too_many_arguments, reason = "the operands of the instruction")]
pub(super) fn load(
    cx: &Context<'_>,
    state: &State,
    ids: &mut Ids,
    effects: &mut Effects,
    base: Reg,
    offset: i16,
    size: u8,
    signed: bool,
) -> Value {
    let pointer = &state.top.regs[base.index()];
    let bits = 8 * u32::from(size);
    let number = |range: Range| {
        let range = range.zero_extend(bits);
        Value::scalar(if signed {
            range.sign_extend(bits)
        } else {
            range
        })
    };
    match pointer.kind {
        Kind::Stack { frame } => {
            let w = window(pointer, i64::from(offset), i64::from(size));
            let touched = slots(w.min, w.max).0;
            effects.reads.push((frame, touched));
            effects.touches.push((frame, touched));
            let stack = &state.frame(usize::from(frame)).stack;
            let loaded = if w.exact && w.min.rem_euclid(i32::from(size)) == 0 {
                let loaded = stack.load(w.min, size);
                effects.fill = loaded.slot.map(|slot| SlotAt { frame, slot });
                loaded.reg
            } else {
                stack.load_somewhere(w.min, w.max)
            };
            match loaded.kind {
                Kind::Scalar if size < 8 => {
                    if signed || loaded.range.width() > bits {
                        number(loaded.range)
                    } else {
                        loaded
                    }
                }
                _ if loaded.is_scalar() || size == 8 => loaded,
                _ => Value::UNKNOWN,
            }
        }
        Kind::Ctx => {
            let at = pointer.min_offset().saturating_add(i64::from(offset));
            match cx.platform.context_load(at, size, signed) {
                Some(value) if pointer.range.as_constant() == Some(0) => {
                    if value.is_scalar() {
                        number(value.range)
                    } else if value.kind.or_null() {
                        Value {
                            id: ids.fresh(),
                            ..value
                        }
                    } else {
                        value
                    }
                }
                _ => Value::UNKNOWN,
            }
        }
        Kind::Map { map, .. } => {
            let at = pointer.min_offset().saturating_add(i64::from(offset));
            match cx.platform.map_structure(map) {
                Some(ty) => structure(cx, ids, (ty, Trust::Seen), at, size, number),
                None => Value::UNKNOWN,
            }
        }
        Kind::Kernel { ty, trust, .. } => {
            let at = pointer.min_offset().saturating_add(i64::from(offset));
            let trust = if pointer.reference == 0 {
                trust
            } else {
                Trust::Trusted
            };
            structure(cx, ids, (ty, trust), at, size, number)
        }
        Kind::MapValue { map, .. } => {
            let at = pointer.min_offset().saturating_add(i64::from(offset));
            if size == 8
                && pointer.range.as_constant().is_some()
                && let Some(value) = super::pointer::loaded(cx, ids, map, at)
            {
                return value;
            }
            let known = if pointer.range.as_constant().is_some() {
                let at = pointer.min_offset().saturating_add(i64::from(offset));
                cx.platform.frozen_number(map, at, size)
            } else {
                None
            };
            number(known.map_or(Range::UNKNOWN, Range::constant))
        }
        Kind::Packet
        | Kind::PacketMeta
        | Kind::Memory { .. }
        | Kind::MapKey { .. }
        | Kind::Socket { .. }
        | Kind::Object { .. } => number(Range::UNKNOWN),
        Kind::Unknown | Kind::Scalar | Kind::PacketEnd | Kind::Function { .. } | Kind::Dynptr => {
            Value::UNKNOWN
        }
    }
}

/// What a load of a structure of the kernel gives; `number` makes a number of its width.
fn structure(
    cx: &Context<'_>,
    ids: &mut Ids,
    (ty, trust): (u32, Trust),
    at: i64,
    size: u8,
    number: impl Fn(Range) -> Value,
) -> Value {
    match cx.platform.declared.kernel.load(ty, trust, at, size) {
        Ok(None) => number(Range::UNKNOWN),
        Ok(Some(kind)) => Value {
            id: if kind.or_null() { ids.fresh() } else { 0 },
            ..Value::pointer(kind)
        },
        Err(_) => Value::UNKNOWN,
    }
}

/// Stores `value`, which comes from `from` if it is a register's.
#[expect(clippy::too_many_arguments, reason = "the operands of the instruction")]
pub(super) fn store(
    state: &mut State,
    ids: &mut Ids,
    effects: &mut Effects,
    base: Reg,
    offset: i16,
    size: u8,
    value: &Value,
    from: Option<Reg>,
) {
    let pointer = state.top.regs[base.index()];
    match pointer.kind {
        Kind::Stack { frame } => {
            let w = window(&pointer, i64::from(offset), i64::from(size));
            let (touched, covered) = slots(w.min, w.max);
            effects.touches.push((frame, touched));
            object::destroy_dynptrs(state, frame, w.min, w.max);
            if !w.exact || w.min.rem_euclid(i32::from(size)) != 0 {
                let zero = value.is_zero();
                let stack = &mut state.frame_mut(usize::from(frame)).stack;
                stack.smear(w.min, w.max, zero);
                return;
            }
            let mut value = *value;
            if let Some(reg) = from
                && w.min % 8 == 0
                && value.is_scalar()
                && value.range.width() <= 8 * u32::from(size)
            {
                alu::identify(state, ids, reg);
                value = state.top.regs[reg.index()];
            }
            effects.store = Some(SlotAt {
                frame,
                slot: slot_of(w.min) as u8,
            });
            effects.writes.push((frame, covered));
            state
                .frame_mut(usize::from(frame))
                .stack
                .store(w.min, size, &value);
        }
        // Stored through what is not known: it may be any frame.
        Kind::Unknown => smear_all(state),
        _ => {}
    }
}

/// Forgets what all stacks hold.
pub(super) fn smear_all(state: &mut State) {
    for depth in 0..=state.depth() {
        state.frame_mut(depth).stack.smear(-FRAME_BYTES, 0, false);
    }
}

/// A read-modify-write; the fetched value is any number.
#[expect(clippy::too_many_arguments, reason = "the operands of the instruction")]
pub(super) fn atomic(
    state: &mut State,
    ids: &mut Ids,
    effects: &mut Effects,
    op: AtomicOp,
    base: Reg,
    offset: i16,
    size: u8,
    src: Reg,
) {
    let pointer = state.top.regs[base.index()];
    let bits = 8 * u32::from(size);
    let mut fetched = Value::scalar(Range::UNKNOWN.zero_extend(bits));
    if let Kind::Stack { frame } = pointer.kind {
        let w = window(&pointer, i64::from(offset), i64::from(size));
        effects.reads.push((frame, slots(w.min, w.max).0));
        if w.exact && w.min.rem_euclid(i32::from(size)) == 0 && op.fetches() {
            let loaded = state.frame(usize::from(frame)).stack.load(w.min, size);
            effects.fill = loaded.slot.map(|slot| SlotAt { frame, slot });
            fetched = match loaded.reg.kind {
                Kind::Scalar if size < 8 => Value::scalar(loaded.reg.range.zero_extend(bits)),
                Kind::Scalar => loaded.reg.unlinked(),
                _ => loaded.reg,
            };
        }
    }
    store(
        state,
        ids,
        effects,
        base,
        offset,
        size,
        &Value::SCALAR,
        None,
    );
    if op == AtomicOp::Cmpxchg {
        state.top.regs[0] = fetched;
    } else if op.fetches() {
        state.top.regs[src.index()] = fetched;
    }
}
