//! Arithmetic on registers: numbers, and offsets of pointers.

use isa::ebpf::{AluOp, Operand, Reg, SwapKind, Width};

use crate::domain::{Extent, Ids, Kind, Range, State, Value};

/// The operand's value; an immediate is sign-extended (64 bits) or not (32 bits).
pub(super) fn operand(state: &State, operand: Operand, width: Width) -> Value {
    match (operand, width) {
        (Operand::Reg(reg), _) => state.top.regs[reg.index()],
        (Operand::Imm(imm), Width::W64) => Value::constant(i64::from(imm) as u64),
        (Operand::Imm(imm), Width::W32) => Value::constant(u64::from(imm as u32)),
    }
}

/// Gives a number an identity before it is copied, so that what is learned of one copy holds for
/// the other. A known number needs none.
pub(super) fn identify(state: &mut State, ids: &mut Ids, reg: Reg) {
    let value = &mut state.top.regs[reg.index()];
    if !value.is_scalar() || value.range.as_constant().is_some() {
        return;
    }
    if value.is_delta {
        *value = value.unlinked();
    }
    if value.id == 0 {
        value.id = ids.fresh();
    }
}

/// `dst = dst op src`.
pub(super) fn binary(
    state: &mut State,
    ids: &mut Ids,
    op: AluOp,
    width: Width,
    dst: Reg,
    src: Operand,
) {
    if op == AluOp::Mov {
        return copy(state, ids, width, dst, src);
    }
    let a = state.top.regs[dst.index()];
    let b = operand(state, src, width);
    let result = match (a.kind, b.kind) {
        (Kind::Scalar, Kind::Scalar) => numbers(op, width, &a, &b),
        (Kind::Unknown, _) | (_, Kind::Unknown) => Value::UNKNOWN,
        (Kind::Scalar, _) => match (op, width) {
            (AluOp::Add, Width::W64) => move_pointer(ids, op, &b, &a),
            (AluOp::Sub, Width::W32) => Value::SCALAR,
            _ => Value::UNKNOWN,
        },
        (_, Kind::Scalar) => match (op, width) {
            (AluOp::Add | AluOp::Sub, Width::W64) => move_pointer(ids, op, &a, &b),
            (AluOp::Sub, Width::W32) => Value::SCALAR,
            _ => Value::UNKNOWN,
        },
        // The difference of two addresses is a number.
        _ if op == AluOp::Sub => Value::SCALAR,
        _ => Value::UNKNOWN,
    };
    state.top.regs[dst.index()] = result;
}

fn copy(state: &mut State, ids: &mut Ids, width: Width, dst: Reg, src: Operand) {
    let result = match (src, width) {
        (Operand::Imm(_), _) => operand(state, src, width),
        (Operand::Reg(reg), Width::W64) => {
            identify(state, ids, reg);
            state.top.regs[reg.index()]
        }
        (Operand::Reg(reg), Width::W32) => {
            let value = state.top.regs[reg.index()];
            match value.kind {
                Kind::Unknown => Value::UNKNOWN,
                Kind::Scalar if value.range.width() <= 32 => {
                    identify(state, ids, reg);
                    state.top.regs[reg.index()]
                }
                Kind::Scalar => Value::scalar(value.range.lower()),
                _ => Value::scalar(Range::UNKNOWN.lower()),
            }
        }
    };
    state.top.regs[dst.index()] = result;
}

/// `dst = -dst`.
pub(super) fn neg(state: &mut State, width: Width, dst: Reg) {
    let value = &mut state.top.regs[dst.index()];
    *value = match (value.kind, width) {
        (Kind::Scalar, Width::W64) => Value::scalar(value.range.neg()),
        (Kind::Scalar, Width::W32) => Value::scalar(value.range.lower().neg().lower()),
        (Kind::Unknown, _) => Value::UNKNOWN,
        (_, Width::W64) => Value::SCALAR,
        (_, Width::W32) => Value::scalar(Range::UNKNOWN.lower()),
    };
}

/// Byte-order conversion of `dst`.
pub(super) fn swap(state: &mut State, kind: SwapKind, bits: u8, dst: Reg) {
    let value = &mut state.top.regs[dst.index()];
    let bits = u32::from(bits);
    *value = match (value.kind, kind) {
        (Kind::Unknown, _) => Value::UNKNOWN,
        (Kind::Scalar, SwapKind::ToLe) => Value::scalar(value.range.zero_extend(bits)),
        (Kind::Scalar, SwapKind::ToBe | SwapKind::Bswap) => {
            Value::scalar(value.range.swap_bytes(bits))
        }
        _ => Value::scalar(Range::UNKNOWN.zero_extend(bits)),
    };
}

/// `dst = (s8/s16/s32) src`.
pub(super) fn move_extended(
    state: &mut State,
    ids: &mut Ids,
    width: Width,
    dst: Reg,
    src: Reg,
    bits: u8,
) {
    let value = state.top.regs[src.index()];
    let bits = u32::from(bits);
    let result = match (value.kind, width) {
        (Kind::Unknown, _) => Value::UNKNOWN,
        (Kind::Scalar, _) if value.range.umax < 1 << (bits - 1) => {
            identify(state, ids, src);
            state.top.regs[src.index()]
        }
        (Kind::Scalar, Width::W64) => Value::scalar(value.range.sign_extend(bits)),
        (Kind::Scalar, Width::W32) => Value::scalar(value.range.sign_extend(bits).zero_extend(32)),
        (_, Width::W64) => Value::SCALAR,
        (_, Width::W32) => Value::scalar(Range::UNKNOWN.lower()),
    };
    state.top.regs[dst.index()] = result;
}

/// Arithmetic on two numbers.
fn numbers(op: AluOp, width: Width, first: &Value, second: &Value) -> Value {
    let (x, y) = match width {
        Width::W64 => (first.range, second.range),
        Width::W32 => (first.range.lower(), second.range.lower()),
    };
    let bits = if width == Width::W64 { 64 } else { 32 };
    // A shift by an unknown amount, or by one outside the width, is not followed.
    let amount = y.as_constant().filter(|by| *by < bits).map(|by| by as u32);
    let range = match (op, amount) {
        (AluOp::Add, _) => x.add(&y),
        (AluOp::Sub, _) => x.sub(&y),
        (AluOp::Mul, _) => x.mul(&y),
        (AluOp::And, _) => x.and(&y),
        (AluOp::Or, _) => x.or(&y),
        (AluOp::Xor, _) => x.xor(&y),
        (AluOp::Lsh, Some(by)) => x.shift_left(by),
        (AluOp::Rsh, Some(by)) => x.shift_right(by),
        (AluOp::Arsh, Some(by)) => match width {
            Width::W64 => x.shift_right_signed(by),
            Width::W32 => x.sign_extend(32).shift_right_signed(by),
        },
        // As in the kernel, of which a 32-bit division or shift that is not followed leaves
        // nothing known, not even that the upper half is zero.
        _ => return Value::SCALAR,
    };
    let mut result = Value::scalar(match width {
        Width::W64 => range,
        Width::W32 => range.lower(),
    });
    // `r += constant` and `r -= constant` keep the link to the copies of r.
    let delta = match (op, y.as_constant(), width) {
        (AluOp::Add, Some(by), Width::W64) => Some(by as i64),
        (AluOp::Sub, Some(by), Width::W64) => (by as i64).checked_neg(),
        (AluOp::Add, Some(by), Width::W32) => Some(i64::from(by as i32)),
        (AluOp::Sub, Some(by), Width::W32) => Some(-i64::from(by as i32)),
        _ => None,
    };
    if first.id != 0
        && !first.is_delta
        && let Some(delta) = delta
        && let Ok(delta) = i32::try_from(delta)
        && result.range.as_constant().is_none()
    {
        result.id = first.id;
        result.is_delta = true;
        result.is_lower = width == Width::W32;
        result.off = delta;
    }
    result
}

/// `pointer + number` or `pointer - number`.
fn move_pointer(ids: &mut Ids, op: AluOp, pointer: &Value, number: &Value) -> Value {
    let mut result = *pointer;
    let change = if op == AluOp::Sub {
        number.range.neg()
    } else {
        number.range
    };
    if let Some(constant) = change.as_constant()
        && let Some(off) = i64::from(pointer.off).checked_add(constant as i64)
        && let Ok(off) = i32::try_from(off)
    {
        result.off = off;
        if (constant as i64) < 0 && !matches!(result.extent, Extent::Bytes(_)) {
            result.extent = Extent::None;
        }
        return result;
    }
    result.range = pointer.range.add(&change);
    if op == AluOp::Sub {
        result.range = pointer.range.sub(&number.range);
    }
    if pointer.kind.is_packet() {
        result.id = ids.fresh();
        // The base moved: what was known of the distance to the end holds only if it moved
        // down.
        if op == AluOp::Add || number.range.smin < 0 || !matches!(result.extent, Extent::Bytes(_)) {
            result.extent = Extent::None;
        }
    }
    result
}
