//! Containment: what an abstract operation gives holds every concrete result. Exhaustive over
//! small sets of bounds, random at 64 bits.

use isa::ebpf::{Cond, Width};
use proptest::prelude::*;

use super::compare::{assume, decide};
use super::{Range, Tnum};

/// Values around which arithmetic changes its behaviour.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    5,
    7,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

const CONDS: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Gt,
    Cond::Ge,
    Cond::Lt,
    Cond::Le,
    Cond::Sgt,
    Cond::Sge,
    Cond::Slt,
    Cond::Sle,
    Cond::Set,
];

fn holds(cond: Cond, width: Width, a: u64, b: u64) -> bool {
    let (a, b, sa, sb) = match width {
        Width::W64 => (a, b, a as i64, b as i64),
        Width::W32 => (
            u64::from(a as u32),
            u64::from(b as u32),
            i64::from(a as i32),
            i64::from(b as i32),
        ),
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

/// Ranges of every sort whose ends are edges.
fn ranges() -> Vec<Range> {
    let mut all = vec![Range::UNKNOWN, Range::UNKNOWN.lower()];
    for (i, &low) in EDGES.iter().enumerate() {
        all.push(Range::constant(low));
        for &high in &EDGES[i + 1..] {
            all.push(Range::unsigned(low, high));
            all.push(Range::of_bits(Tnum::between(low, high)));
            if low as i64 <= high as i64 {
                all.push(Range::signed(low as i64, high as i64));
            } else {
                all.push(Range::signed(high as i64, low as i64));
            }
        }
    }
    all
}

#[test]
fn the_constructors_hold_their_ends() {
    for &low in &EDGES {
        for &high in &EDGES {
            if low <= high {
                let r = Range::unsigned(low, high);
                assert!(r.contains(low) && r.contains(high), "{low:#x} {high:#x}");
            }
        }
    }
}

#[test]
fn every_outcome_that_happens_is_allowed_and_keeps_its_values() {
    let all = ranges();
    for a in all.iter().step_by(3) {
        for b in all.iter().step_by(5) {
            for cond in CONDS {
                for width in [Width::W64, Width::W32] {
                    let decided = decide(cond, width, a, b);
                    for &x in EDGES.iter().filter(|x| a.contains(**x)) {
                        for &y in EDGES.iter().filter(|y| b.contains(**y)) {
                            let taken = holds(cond, width, x, y);
                            assert!(
                                decided.is_none_or(|d| d == taken),
                                "{x:#x} {cond:?} {y:#x} {width:?}: {a:?} {b:?}"
                            );
                            let Ok((p, q)) = assume(cond, width, taken, a, b) else {
                                panic!("{x:#x} {cond:?} {y:#x} {width:?} is possible");
                            };
                            assert!(
                                p.contains(x) && q.contains(y),
                                "{x:#x} {cond:?} {y:#x} {width:?} {taken}: {p:?} {q:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn arithmetic_holds_every_result_at_the_edges() {
    type Case = (
        &'static str,
        fn(&Range, &Range) -> Range,
        fn(u64, u64) -> u64,
    );
    let cases: [Case; 6] = [
        ("add", Range::add, u64::wrapping_add),
        ("sub", Range::sub, u64::wrapping_sub),
        ("mul", Range::mul, u64::wrapping_mul),
        ("and", Range::and, |a, b| a & b),
        ("or", Range::or, |a, b| a | b),
        ("xor", Range::xor, |a, b| a ^ b),
    ];
    let all = ranges();
    for a in all.iter().step_by(2) {
        for b in all.iter().step_by(3) {
            for (name, abstracted, concrete) in cases {
                let result = abstracted(a, b);
                for &x in EDGES.iter().filter(|x| a.contains(**x)) {
                    for &y in EDGES.iter().filter(|y| b.contains(**y)) {
                        assert!(
                            result.contains(concrete(x, y)),
                            "{name}: {x:#x} {y:#x} of {a:?} {b:?}: {result:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn joins_hold_both_and_widening_ends() {
    let all = ranges();
    for a in all.iter().step_by(3) {
        for b in all.iter().step_by(4) {
            let joined = a.join(b);
            assert!(joined.includes(a) && joined.includes(b));
            assert_eq!(joined, b.join(a));
            let widened = a.widen(b);
            assert!(widened.includes(a) && widened.includes(b));
            assert_eq!(widened.widen(b), widened);
            if let Ok(met) = a.meet(b) {
                for x in EDGES {
                    if a.contains(x) && b.contains(x) {
                        assert!(met.contains(x), "{x:#x} of {a:?} and {b:?}: {met:?}");
                    }
                }
            } else {
                assert!(!EDGES.iter().any(|x| a.contains(*x) && b.contains(*x)));
            }
        }
    }
}

#[test]
fn small_intervals_are_exhausted() {
    // Every interval within -8..8, every member: signed and unsigned views at once.
    let intervals = || (-8i64..8).flat_map(|low| (low..8).map(move |high| (low, high)));
    for (a_low, a_high) in intervals() {
        let a = Range::signed(a_low, a_high);
        for amount in [0, 1, 3, 31, 32, 33, 63] {
            for x in a_low..=a_high {
                let v = x as u64;
                assert!(a.shift_left(amount).contains(v << amount));
                assert!(a.shift_right(amount).contains(v >> amount));
                assert!(a.shift_right_signed(amount).contains((x >> amount) as u64));
            }
        }
        for x in a_low..=a_high {
            let v = x as u64;
            assert!(a.neg().contains(v.wrapping_neg()));
            for bits in [8, 16, 32] {
                let mask = (1u64 << bits) - 1;
                assert!(a.zero_extend(bits).contains(v & mask));
                assert!(a.zero_extend(bits).sign_extend(bits).contains(v));
                assert!(
                    a.swap_bytes(16)
                        .contains(u64::from((v as u16).swap_bytes()))
                );
            }
        }
        for (b_low, b_high) in intervals().step_by(7) {
            let b = Range::signed(b_low, b_high);
            let (sum, product) = (a.add(&b), a.mul(&b));
            for x in a_low..=a_high {
                for y in b_low..=b_high {
                    assert!(sum.contains((x + y) as u64));
                    assert!(product.contains((x * y) as u64));
                }
            }
            assert_eq!((sum.smin, sum.smax), (a_low + b_low, a_high + b_high));
        }
    }
}

/// A range that holds `value`: some views of it are widened around it.
fn around() -> impl Strategy<Value = (u64, Range)> {
    let near = prop_oneof![any::<u64>(), (0u64..300), any::<u32>().prop_map(u64::from)];
    (near, any::<u64>(), any::<u64>(), any::<u64>(), 0u8..4).prop_map(
        |(value, below, above, mask, kind)| {
            let range = match kind {
                0 => Range::unsigned(value.saturating_sub(below), value.saturating_add(above)),
                1 => Range::signed(
                    (value as i64).saturating_sub_unsigned(below >> 8),
                    (value as i64).saturating_add_unsigned(above >> 8),
                ),
                2 => Range::of_bits(Tnum {
                    value: value & !mask,
                    mask,
                }),
                _ => Range::unsigned(
                    value.saturating_sub(below & 0xff),
                    value.saturating_add(above & 0xff),
                ),
            };
            (value, range)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn random_values_stay_inside((x, a) in around(), (y, b) in around(), n in 0u32..64) {
        prop_assert!(a.contains(x) && b.contains(y));
        prop_assert!(a.add(&b).contains(x.wrapping_add(y)));
        prop_assert!(a.sub(&b).contains(x.wrapping_sub(y)));
        prop_assert!(a.mul(&b).contains(x.wrapping_mul(y)));
        prop_assert!(a.and(&b).contains(x & y));
        prop_assert!(a.or(&b).contains(x | y));
        prop_assert!(a.xor(&b).contains(x ^ y));
        prop_assert!(a.neg().contains(x.wrapping_neg()));
        prop_assert!(a.shift_left(n).contains(x << n));
        prop_assert!(a.shift_right(n).contains(x >> n));
        prop_assert!(a.shift_right_signed(n).contains((x as i64 >> n) as u64));
        prop_assert!(a.lower().contains(x & 0xffff_ffff));
        for bits in [8, 16, 32] {
            prop_assert!(a.zero_extend(bits).contains(x & ((1 << bits) - 1)));
            let shift = 64 - bits;
            prop_assert!(a.sign_extend(bits).contains(((x << shift) as i64 >> shift) as u64));
        }
        for bits in [16, 32, 64] {
            prop_assert!(a.swap_bytes(bits).contains(x.swap_bytes() >> (64 - bits)));
        }
        prop_assert!(a.join(&b).contains(x) && a.widen(&b).contains(y));
    }

    #[test]
    fn random_comparisons_keep_their_values((x, a) in around(), (y, b) in around()) {
        for cond in CONDS {
            for width in [Width::W64, Width::W32] {
                let taken = holds(cond, width, x, y);
                prop_assert!(decide(cond, width, &a, &b).is_none_or(|d| d == taken));
                let Ok((p, q)) = assume(cond, width, taken, &a, &b) else {
                    return Err(TestCaseError::fail("a possible outcome is refused"));
                };
                prop_assert!(p.contains(x) && q.contains(y), "{:?} {:?}", cond, width);
            }
        }
    }
}
