//! Quotients: by a number, as a product with its reciprocal. The machine has no division.
//!
//! The reciprocal is that of Granlund and Montgomery, "Division by Invariant Integers using
//! Multiplication" (PLDI 1994), with the precision of 32 bits.

use isa::ebpf::{Operand as Source, Reg, Width};
use isa::nfp::Operand::{A, Both, Imm};
use isa::nfp::{AluOp, Shift};

use super::{IMM, IMM_A, IMM_B, Lowering, Outcome, Refused, accepted_but_wrong, high, low};

/// What multiplies a dividend instead of the divisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reciprocal {
    /// Lower 32 bits of the factor.
    factor: u32,
    /// The factor has a 33rd bit, which is 1.
    wide: bool,
    /// Shift of the dividend.
    pre: u8,
    /// Shift of the product's upper half.
    post: u8,
    /// The least n with 2^n at least the divisor.
    log: u8,
}

/// (factor, whether it has a 33rd bit, shift) for `d` (1 to 2^31) with this precision.
fn factor(d: u32, precision: u32) -> (u32, bool, u8, u8) {
    let log = 64 - (u64::from(d) - 1).leading_zeros();
    let d = u64::from(d);
    let mut least = (1u64 << (32 + log)) / d;
    let mut most = ((1u64 << (32 + log)) + (1u64 << (32 + log - precision))) / d;
    let mut post = log;
    while post > 0 && least / 2 < most / 2 {
        least /= 2;
        most /= 2;
        post -= 1;
    }
    (
        most as u32,
        most > u64::from(u32::MAX),
        post as u8,
        log as u8,
    )
}

impl Reciprocal {
    fn of(d: u32) -> Reciprocal {
        let (mut number, mut wide, mut post, log) = factor(d, 32);
        let mut pre = 0;
        if wide && d.is_multiple_of(2) {
            pre = d.trailing_zeros();
            (number, wide, post, _) = factor(d >> pre, 32 - pre);
        }
        Reciprocal {
            factor: number,
            wide,
            pre: pre as u8,
            post,
            log,
        }
    }
}

impl Lowering<'_> {
    pub(super) fn divide(&mut self, pc: usize, width: Width, dst: Reg, src: Source) -> Outcome {
        let operands = self.plan.operands(pc, dst, src);
        let divisor = match (src, width) {
            (Source::Imm(imm), Width::W64) => i64::from(imm) as u64,
            (Source::Imm(imm), Width::W32) => u64::from(imm as u32),
            (Source::Reg(_), _) if self.plan.exact => operands.src.0,
            (Source::Reg(_), Width::W64) if operands.src.0 == operands.src.1 => operands.src.0,
            (Source::Reg(src), Width::W32) => {
                let range = &self.plan.facts(pc).registers[src.index()].range;
                u64::from(range.as_constant_lower().ok_or_else(not_constant)?)
            }
            (Source::Reg(_), Width::W64) => return Err(not_constant()),
        };
        let wide_dividend = operands.dst.1 > u64::from(u32::MAX) && !self.plan.exact;
        if wide_dividend && width == Width::W64 {
            return Err(accepted_but_wrong(
                "a dividend of more than 32 bits, on a path that the kernel prunes",
                "the driver divides the lower half alone",
                "mask the dividend to 32 bits before the division",
            ));
        }
        self.quotient(dst, divisor);
        if wide_dividend {
            self.e.load(Both(high(dst)), 0);
        }
        Ok(())
    }

    /// The lower half of `dst` by `divisor`; the upper half is 0 and stays.
    fn quotient(&mut self, dst: Reg, divisor: u64) {
        let x = low(dst);
        let divisor = match u32::try_from(divisor) {
            Ok(0) => {
                self.e
                    .note("by 0 it is 0; the driver itself would divide by 0");
                self.e.load(Both(x), 0);
                return;
            }
            Ok(divisor) => divisor,
            Err(_) => {
                self.e.load(Both(x), 0);
                return;
            }
        };
        if divisor > 1 << 31 {
            let divisor = self.e.constant(divisor, IMM_B);
            self.e.test(A(x), AluOp::Sub, divisor);
            self.e.load(IMM_A, 0);
            self.e.alu(Both(x), IMM_A, AluOp::AddCarry, Imm(0));
            return;
        }
        let by = Reciprocal::of(divisor);
        let factor = self.e.constant(by.factor, IMM_B);
        if divisor.is_power_of_two() {
            self.right_shift(x, by.log);
        } else if by.wide {
            self.product32(Some(IMM), None, A(x), factor);
            self.e.alu(Both(x), A(x), AluOp::Sub, IMM_B);
            self.right_shift(x, 1);
            self.e.alu(Both(x), A(x), AluOp::Add, IMM_B);
            self.right_shift(x, by.post - 1);
        } else {
            if by.pre != 0 {
                self.right_shift(x, by.pre);
            }
            self.product32(Some(Both(x)), None, A(x), factor);
            self.right_shift(x, by.post);
        }
    }

    fn right_shift(&mut self, gpr: u8, n: u8) {
        let shift = if n == 0 && self.plan.exact {
            Shift::RightIndirect
        } else if n == 0 {
            self.e
                .note("a shift by 0 in the driver's words shifts by another amount");
            Shift::None
        } else {
            Shift::Right(n)
        };
        self.e.shift(Both(gpr), A(gpr), shift);
    }
}

fn not_constant() -> Refused {
    accepted_but_wrong(
        "a divisor that is one number only on the paths that the kernel follows",
        "the driver divides by that number on all paths",
        "divide by a constant",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quotient as the words compute it.
    fn quotient(x: u32, d: u32) -> u32 {
        let by = Reciprocal::of(d);
        if d.is_power_of_two() {
            return x >> by.log;
        }
        let high = |x: u32| ((u64::from(x) * u64::from(by.factor)) >> 32) as u32;
        if by.wide {
            let t = high(x);
            (((x - t) >> 1) + t) >> (by.post - 1)
        } else {
            high(x >> by.pre) >> by.post
        }
    }

    #[test]
    fn the_reciprocal_gives_the_quotient() {
        let divisors = (1..2000u32).chain([0x7fff_ffff, 0x8000_0000, 0x10001, 1_000_000_007]);
        for d in divisors {
            for x in [
                0,
                1,
                d - 1,
                d,
                d.saturating_mul(7).saturating_sub(1),
                !0 / d * d,
                !0 - 1,
                !0,
            ] {
                assert_eq!(quotient(x, d), x / d, "{x} / {d}");
            }
        }
    }

    /// The divisors below 1000 with which the driver's own words shift by 0
    /// (`nfp-drv-kmods` 7728618f3622, found by running it).
    #[test]
    fn the_divisors_that_the_driver_breaks_are_known() {
        let broken: Vec<u32> = (1..1000)
            .filter(|d| {
                let by = Reciprocal::of(*d);
                match (d.is_power_of_two(), by.wide) {
                    (true, _) => by.log == 0,
                    (_, true) => by.post == 1,
                    (_, false) => by.post == 0,
                }
            })
            .collect();
        assert_eq!(
            broken,
            [
                1, 28, 56, 112, 216, 224, 304, 432, 448, 608, 641, 672, 720, 848, 864, 896, 992
            ]
        );
    }
}
