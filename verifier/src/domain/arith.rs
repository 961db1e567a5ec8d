//! Arithmetic on ranges: each result holds every concrete result.
//!
//! Every operation exists at 64 bits and at 32 bits, where the lower halves are used and the
//! result is zero-extended. What wraps around gives up the interval that it wraps in.

use super::{Range, Tnum};

impl Range {
    /// Bits, 64-bit and 32-bit views put together from their parts.
    fn from_views(bits: Tnum, wide: Views<u64, i64>, lower: Views<u32, i32>) -> Range {
        Range::settle(Range {
            bits,
            umin: wide.umin,
            umax: wide.umax,
            smin: wide.smin,
            smax: wide.smax,
            u32_min: lower.umin,
            u32_max: lower.umax,
            s32_min: lower.smin,
            s32_max: lower.smax,
        })
    }

    /// Wrapping sum.
    #[must_use]
    pub fn add(&self, other: &Range) -> Range {
        Range::from_views(
            self.bits.add(other.bits),
            add_wide(self, other),
            add_lower(self, other),
        )
    }

    /// Wrapping difference.
    #[must_use]
    pub fn sub(&self, other: &Range) -> Range {
        Range::from_views(
            self.bits.sub(other.bits),
            sub_wide(self, other),
            sub_lower(self, other),
        )
    }

    /// Wrapping negation.
    #[must_use]
    pub fn neg(&self) -> Range {
        Range::constant(0).sub(self)
    }

    /// Wrapping product.
    #[must_use]
    pub fn mul(&self, other: &Range) -> Range {
        let mut wide = Views::<u64, i64>::UNKNOWN;
        if let (Some(min), Some(max)) = (
            self.umin.checked_mul(other.umin),
            self.umax.checked_mul(other.umax),
        ) {
            (wide.umin, wide.umax) = (min, max);
        }
        let products = [
            self.smin.checked_mul(other.smin),
            self.smin.checked_mul(other.smax),
            self.smax.checked_mul(other.smin),
            self.smax.checked_mul(other.smax),
        ];
        if let [Some(a), Some(b), Some(c), Some(d)] = products {
            (wide.smin, wide.smax) = (a.min(b).min(c).min(d), a.max(b).max(c).max(d));
        }
        let mut lower = Views::<u32, i32>::UNKNOWN;
        if let (Some(min), Some(max)) = (
            self.u32_min.checked_mul(other.u32_min),
            self.u32_max.checked_mul(other.u32_max),
        ) {
            (lower.umin, lower.umax) = (min, max);
        }
        let products = [
            self.s32_min.checked_mul(other.s32_min),
            self.s32_min.checked_mul(other.s32_max),
            self.s32_max.checked_mul(other.s32_min),
            self.s32_max.checked_mul(other.s32_max),
        ];
        if let [Some(a), Some(b), Some(c), Some(d)] = products {
            (lower.smin, lower.smax) = (a.min(b).min(c).min(d), a.max(b).max(c).max(d));
        }
        Range::from_views(self.bits.mul(other.bits), wide, lower)
    }

    /// Bitwise and: no larger than either operand.
    #[must_use]
    pub fn and(&self, other: &Range) -> Range {
        Range::settle(Range {
            bits: self.bits.and(other.bits),
            umax: self.umax.min(other.umax),
            u32_max: self.u32_max.min(other.u32_max),
            ..Range::UNKNOWN
        })
    }

    /// Bitwise or: no smaller than either operand.
    #[must_use]
    pub fn or(&self, other: &Range) -> Range {
        Range::settle(Range {
            bits: self.bits.or(other.bits),
            umin: self.umin.max(other.umin),
            u32_min: self.u32_min.max(other.u32_min),
            ..Range::UNKNOWN
        })
    }

    /// Bitwise exclusive or.
    #[must_use]
    pub fn xor(&self, other: &Range) -> Range {
        Range::of_bits(self.bits.xor(other.bits))
    }

    /// Shift left by a known amount below 64.
    #[must_use]
    pub fn shift_left(&self, amount: u32) -> Range {
        let mut wide = Views::<u64, i64>::UNKNOWN;
        if self.umax.leading_zeros() >= amount {
            (wide.umin, wide.umax) = (self.umin << amount, self.umax << amount);
        }
        if amount == 32 {
            // The lower half, sign-extended if an arithmetic shift right follows.
            wide.smin = i64::from(self.s32_min) << 32;
            wide.smax = i64::from(self.s32_max) << 32;
        }
        let mut lower = Views::<u32, i32>::UNKNOWN;
        if amount < 32 {
            if self.u32_max.leading_zeros() >= amount {
                (lower.umin, lower.umax) = (self.u32_min << amount, self.u32_max << amount);
            }
        } else {
            (lower.umin, lower.umax) = (0, 0);
        }
        Range::from_views(self.bits.shift_left(amount), wide, lower)
    }

    /// Logical shift right by a known amount below 64.
    #[must_use]
    pub fn shift_right(&self, amount: u32) -> Range {
        Range::settle(Range {
            bits: self.bits.shift_right(amount),
            umin: self.umin >> amount,
            umax: self.umax >> amount,
            ..Range::UNKNOWN
        })
    }

    /// Arithmetic shift right by a known amount below 64.
    #[must_use]
    pub fn shift_right_signed(&self, amount: u32) -> Range {
        Range::settle(Range {
            bits: self.bits.shift_right_signed(amount),
            smin: self.smin >> amount,
            smax: self.smax >> amount,
            ..Range::UNKNOWN
        })
    }

    /// The lower `bits` bits (8, 16, 32 or 64), zero-extended.
    #[must_use]
    pub fn zero_extend(&self, bits: u32) -> Range {
        match bits {
            64 => *self,
            32 => Range::settle(Range {
                bits: self.bits.lower(),
                umin: u64::from(self.u32_min),
                umax: u64::from(self.u32_max),
                u32_min: self.u32_min,
                u32_max: self.u32_max,
                s32_min: self.s32_min,
                s32_max: self.s32_max,
                ..Range::UNKNOWN
            }),
            _ => {
                let keep = (1u64 << bits) - 1;
                let mut result = Range {
                    bits: self.bits.truncate(bits),
                    umax: keep,
                    ..Range::UNKNOWN
                };
                if self.umin & !keep == self.umax & !keep {
                    (result.umin, result.umax) = (self.umin & keep, self.umax & keep);
                }
                Range::settle(result)
            }
        }
    }

    /// The lower `bits` bits (8, 16, 32 or 64), sign-extended to 64 bits.
    #[must_use]
    pub fn sign_extend(&self, bits: u32) -> Range {
        if bits == 64 {
            return *self;
        }
        let extend = |v: i64| v << (64 - bits) >> (64 - bits);
        let half = 1i64 << (bits - 1);
        let mut result = Range {
            bits: self.bits.sign_extend(bits),
            smin: -half,
            smax: half - 1,
            ..Range::UNKNOWN
        };
        if bits == 32 {
            result.smin = i64::from(self.s32_min);
            result.smax = i64::from(self.s32_max);
        } else if self.smin >> bits == self.smax >> bits {
            // One upper part for all: if the sign bit of the lower part does not change in
            // between either, order is kept.
            let (low, high) = (extend(self.smin), extend(self.smax));
            if (low < 0) == (high < 0) {
                (result.smin, result.smax) = (low, high);
            }
        }
        if self.smin >= -half && self.smax < half {
            return *self;
        }
        Range::settle(result)
    }

    /// The bytes of the lower `bits` bits (16, 32 or 64) in reverse order, zero-extended.
    #[must_use]
    pub fn swap_bytes(&self, bits: u32) -> Range {
        Range::of_bits(self.bits.swap_bytes(bits))
    }

    /// The lower half alone, zero-extended: what a 32-bit operation makes of its operands.
    #[must_use]
    pub fn lower(&self) -> Range {
        self.zero_extend(32)
    }
}

/// The unsigned and the signed interval of one width.
#[derive(Clone, Copy)]
struct Views<U, S> {
    umin: U,
    umax: U,
    smin: S,
    smax: S,
}

impl Views<u64, i64> {
    const UNKNOWN: Self = Views {
        umin: 0,
        umax: u64::MAX,
        smin: i64::MIN,
        smax: i64::MAX,
    };
}

impl Views<u32, i32> {
    const UNKNOWN: Self = Views {
        umin: 0,
        umax: u32::MAX,
        smin: i32::MIN,
        smax: i32::MAX,
    };
}

/// Interval ends that wrapped: an interval survives if neither end wrapped, or both did (once,
/// which is all that one addition or subtraction can).
macro_rules! interval {
    ($low:expr, $high:expr, $top:expr) => {{
        let (low, low_wrapped) = $low;
        let (high, high_wrapped) = $high;
        if low_wrapped == high_wrapped && low <= high {
            (low, high)
        } else {
            $top
        }
    }};
}

fn add_wide(a: &Range, b: &Range) -> Views<u64, i64> {
    let (umin, umax) = interval!(
        a.umin.overflowing_add(b.umin),
        a.umax.overflowing_add(b.umax),
        (0, u64::MAX)
    );
    let (smin, smax) = signed_sum(
        i128::from(a.smin) + i128::from(b.smin),
        i128::from(a.smax) + i128::from(b.smax),
    );
    Views {
        umin,
        umax,
        smin,
        smax,
    }
}

fn sub_wide(a: &Range, b: &Range) -> Views<u64, i64> {
    let (umin, umax) = interval!(
        a.umin.overflowing_sub(b.umax),
        a.umax.overflowing_sub(b.umin),
        (0, u64::MAX)
    );
    let (smin, smax) = signed_sum(
        i128::from(a.smin) - i128::from(b.smax),
        i128::from(a.smax) - i128::from(b.smin),
    );
    Views {
        umin,
        umax,
        smin,
        smax,
    }
}

/// The signed interval if it neither leaves the type nor leaves it only at one end.
fn signed_sum(low: i128, high: i128) -> (i64, i64) {
    match (i64::try_from(low), i64::try_from(high)) {
        (Ok(low), Ok(high)) => (low, high),
        _ => (i64::MIN, i64::MAX),
    }
}

fn add_lower(a: &Range, b: &Range) -> Views<u32, i32> {
    let (umin, umax) = interval!(
        a.u32_min.overflowing_add(b.u32_min),
        a.u32_max.overflowing_add(b.u32_max),
        (0, u32::MAX)
    );
    let (smin, smax) = signed_sum_lower(
        i64::from(a.s32_min) + i64::from(b.s32_min),
        i64::from(a.s32_max) + i64::from(b.s32_max),
    );
    Views {
        umin,
        umax,
        smin,
        smax,
    }
}

fn sub_lower(a: &Range, b: &Range) -> Views<u32, i32> {
    let (umin, umax) = interval!(
        a.u32_min.overflowing_sub(b.u32_max),
        a.u32_max.overflowing_sub(b.u32_min),
        (0, u32::MAX)
    );
    let (smin, smax) = signed_sum_lower(
        i64::from(a.s32_min) - i64::from(b.s32_max),
        i64::from(a.s32_max) - i64::from(b.s32_min),
    );
    Views {
        umin,
        umax,
        smin,
        smax,
    }
}

fn signed_sum_lower(low: i64, high: i64) -> (i32, i32) {
    match (i32::try_from(low), i32::try_from(high)) {
        (Ok(low), Ok(high)) => (low, high),
        _ => (i32::MIN, i32::MAX),
    }
}
