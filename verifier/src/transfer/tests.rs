//! Every arithmetic operation and every branch, over all values of small sets at the places where
//! widths and signs change: what happens is allowed by what is known afterwards.

use isa::ebpf::{AluOp, Cond, Operand, Reg, SwapKind, Width};

use super::alu;
use super::branch::Branch;
use crate::domain::{Ids, Range, State, Tnum, Value};

/// Sets of at most eight values, with all their members.
fn sets() -> Vec<(Range, Vec<u64>)> {
    let mut sets = Vec::new();
    for base in [0u64, 1 << 31, 1 << 32, 1 << 63] {
        for low in -2i64..=2 {
            for high in low..=2 {
                let members: Vec<u64> = (low..=high).map(|n| base.wrapping_add(n as u64)).collect();
                let (first, last) = (members[0], members[members.len() - 1]);
                let range = if first as i64 <= last as i64 {
                    Range::signed(first as i64, last as i64)
                } else {
                    Range::unsigned(first, last)
                };
                sets.push((range, members));
            }
        }
    }
    for bits in [
        0b111u64,
        0b1001_0000_0000,
        1 << 31 | 1 << 32 | 1,
        1 << 63 | 1 << 7,
    ] {
        for value in [0u64, 0b10_0000, u64::MAX] {
            let tnum = Tnum {
                value: value & !bits,
                mask: bits,
            };
            let mut members = Vec::new();
            let mut part = bits;
            loop {
                members.push(tnum.value | part);
                if part == 0 {
                    break;
                }
                part = (part - 1) & bits;
            }
            sets.push((Range::of_bits(tnum), members));
        }
    }
    sets
}

fn state(a: &Range, b: &Range) -> State {
    let mut state = State::entry(0);
    state.top.regs[2] = Value::scalar(*a);
    state.top.regs[3] = Value::scalar(*b);
    state
}

fn wide(op: AluOp, a: u64, b: u64) -> u64 {
    let (sa, sb) = (a as i64, b as i64);
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Sdiv => (if b == 0 { 0 } else { sa.wrapping_div(sb) }) as u64,
        AluOp::Smod => (if b == 0 { sa } else { sa.wrapping_rem(sb) }) as u64,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
        AluOp::Lsh => a << (b & 63),
        AluOp::Rsh => a >> (b & 63),
        AluOp::Arsh => (sa >> (b & 63)) as u64,
    }
}

fn narrow(op: AluOp, a: u32, b: u32) -> u32 {
    let (sa, sb) = (a as i32, b as i32);
    match op {
        AluOp::Sdiv => (if b == 0 { 0 } else { sa.wrapping_div(sb) }) as u32,
        AluOp::Smod => (if b == 0 { sa } else { sa.wrapping_rem(sb) }) as u32,
        AluOp::Lsh => a << (b & 31),
        AluOp::Rsh => a >> (b & 31),
        AluOp::Arsh => (sa >> (b & 31)) as u32,
        _ => wide(op, u64::from(a), u64::from(b)) as u32,
    }
}

fn result(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    match width {
        Width::W64 => wide(op, a, b),
        Width::W32 => u64::from(narrow(op, a as u32, b as u32)),
    }
}

#[test]
fn every_operation_holds_every_result() {
    let sets = sets();
    let mut ids = Ids::default();
    for (a, xs) in &sets {
        for (b, ys) in &sets {
            for op in AluOp::ALL {
                for width in [Width::W64, Width::W32] {
                    let mut state = state(a, b);
                    alu::binary(
                        &mut state,
                        &mut ids,
                        op,
                        width,
                        Reg::R2,
                        Operand::Reg(Reg::R3),
                    );
                    let known = state.top.regs[2].range;
                    for &x in xs {
                        for &y in ys {
                            let happens = result(op, width, x, y);
                            assert!(
                                known.contains(happens),
                                "{x:#x} {op:?} {y:#x} {width:?} is {happens:#x}: {known:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_operation_with_a_number_holds_every_result() {
    let mut ids = Ids::default();
    for (a, xs) in &sets() {
        for imm in [0, 1, 2, 7, 31, 32, 63, -1, -2, i32::MIN, i32::MAX] {
            for op in AluOp::ALL {
                for width in [Width::W64, Width::W32] {
                    let mut state = state(a, a);
                    alu::binary(&mut state, &mut ids, op, width, Reg::R2, Operand::Imm(imm));
                    let known = state.top.regs[2].range;
                    for &x in xs {
                        let happens = result(op, width, x, i64::from(imm) as u64);
                        assert!(
                            known.contains(happens),
                            "{x:#x} {op:?} {imm} {width:?} is {happens:#x}: {known:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn negation_extension_and_byte_swaps_hold_every_result() {
    let mut ids = Ids::default();
    for (a, xs) in &sets() {
        for width in [Width::W64, Width::W32] {
            let cut = |value: u64| match width {
                Width::W64 => value,
                Width::W32 => value & 0xffff_ffff,
            };
            let mut negated = state(a, a);
            alu::neg(&mut negated, width, Reg::R2);
            for &x in xs {
                let happens = cut(x.wrapping_neg());
                assert!(
                    negated.top.regs[2].range.contains(happens),
                    "-{x:#x} {width:?}"
                );
            }
            for bits in [8u8, 16, 32] {
                let mut moved = state(a, a);
                alu::move_extended(&mut moved, &mut ids, width, Reg::R2, Reg::R3, bits);
                let shift = 64 - u32::from(bits);
                for &x in xs {
                    let happens = cut(((x << shift) as i64 >> shift) as u64);
                    assert!(
                        moved.top.regs[2].range.contains(happens),
                        "(s{bits}) {x:#x} {width:?}"
                    );
                }
            }
        }
        for kind in [SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap] {
            for bits in [16u8, 32, 64] {
                let mut swapped = state(a, a);
                alu::swap(&mut swapped, kind, bits, Reg::R2);
                let shift = 64 - u32::from(bits);
                for &x in xs {
                    let happens = match kind {
                        SwapKind::ToLe => x << shift >> shift,
                        SwapKind::ToBe | SwapKind::Bswap => x.swap_bytes() >> shift,
                    };
                    let known = swapped.top.regs[2].range;
                    assert!(known.contains(happens), "{kind:?}{bits} {x:#x}: {known:?}");
                }
            }
        }
    }
}

fn is_taken(cond: Cond, width: Width, x: u64, y: u64) -> bool {
    let (a, b, sa, sb) = match width {
        Width::W64 => (x, y, x as i64, y as i64),
        Width::W32 => {
            let (a, b) = (x as u32, y as u32);
            (
                u64::from(a),
                u64::from(b),
                i64::from(a as i32),
                i64::from(b as i32),
            )
        }
    };
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
        Cond::Set => a & b != 0,
    }
}

#[test]
fn every_branch_keeps_every_value_on_the_way_it_goes() {
    let sets = sets();
    for (a, xs) in &sets {
        for (b, ys) in &sets {
            for cond in Cond::ALL {
                for width in [Width::W64, Width::W32] {
                    let branch = Branch {
                        cond,
                        width,
                        dst: Reg::R2,
                        src: Operand::Reg(Reg::R3),
                    };
                    let before = state(a, b);
                    let decided = branch.decide(&before);
                    let ways = [false, true].map(|taken| {
                        let mut after = before.clone();
                        if decided.is_none() {
                            branch.assume(&mut after, taken);
                        }
                        (after.top.regs[2].range, after.top.regs[3].range)
                    });
                    for &x in xs {
                        for &y in ys {
                            let taken = is_taken(cond, width, x, y);
                            let (p, q) = ways[usize::from(taken)];
                            assert!(
                                decided.is_none_or(|d| d == taken)
                                    && p.contains(x)
                                    && q.contains(y),
                                "{x:#x} {cond:?} {y:#x} {width:?} {taken}: {p:?} {q:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}
