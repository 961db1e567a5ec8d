//! Ranges of a 64-bit value, seen as unsigned and signed, whole and lower half.
//!
//! The five views (known bits, and four intervals) describe one set: the values that lie in all
//! of them. [`Range::tighten`] carries what one view knows into the others. Arithmetic is in
//! `arith`, comparisons in `compare`.

use super::Tnum;

/// Bounds of a value; all inclusive, each sound on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Known bits.
    pub bits: Tnum,
    /// Unsigned 64-bit minimum.
    pub umin: u64,
    /// Unsigned 64-bit maximum.
    pub umax: u64,
    /// Signed 64-bit minimum.
    pub smin: i64,
    /// Signed 64-bit maximum.
    pub smax: i64,
    /// Unsigned minimum of the lower half.
    pub u32_min: u32,
    /// Unsigned maximum of the lower half.
    pub u32_max: u32,
    /// Signed minimum of the lower half.
    pub s32_min: i32,
    /// Signed maximum of the lower half.
    pub s32_max: i32,
}

/// The upper half of a value.
const UPPER: u64 = !0xffff_ffff;

/// No value fits all views: the path cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Empty;

impl Range {
    /// Any value.
    pub const UNKNOWN: Range = Range {
        bits: Tnum::UNKNOWN,
        umin: 0,
        umax: u64::MAX,
        smin: i64::MIN,
        smax: i64::MAX,
        u32_min: 0,
        u32_max: u32::MAX,
        s32_min: i32::MIN,
        s32_max: i32::MAX,
    };

    /// Just `value`.
    pub const fn constant(value: u64) -> Range {
        Range {
            bits: Tnum::constant(value),
            umin: value,
            umax: value,
            smin: value as i64,
            smax: value as i64,
            u32_min: value as u32,
            u32_max: value as u32,
            s32_min: value as i32,
            s32_max: value as i32,
        }
    }

    /// All values of the tnum.
    pub fn of_bits(bits: Tnum) -> Range {
        let mut range = Range {
            bits,
            ..Range::UNKNOWN
        };
        range.bounds_from_bits();
        range
    }

    /// All of `min..=max`, unsigned.
    pub fn unsigned(min: u64, max: u64) -> Range {
        Range::settle(Range {
            umin: min,
            umax: max,
            ..Range::UNKNOWN
        })
    }

    /// All of `min..=max`, signed.
    pub fn signed(min: i64, max: i64) -> Range {
        Range::settle(Range {
            smin: min,
            smax: max,
            ..Range::UNKNOWN
        })
    }

    /// The only value, if there is just one.
    pub const fn as_constant(&self) -> Option<u64> {
        if self.umin == self.umax {
            Some(self.umin)
        } else {
            None
        }
    }

    /// The only value of the lower half, if there is just one.
    pub const fn as_constant_lower(&self) -> Option<u32> {
        if self.u32_min == self.u32_max {
            Some(self.u32_min)
        } else {
            None
        }
    }

    /// Whether `value` lies in all views.
    pub const fn contains(&self, value: u64) -> bool {
        self.bits.contains(value)
            && self.umin <= value
            && value <= self.umax
            && self.smin <= value as i64
            && value as i64 <= self.smax
            && self.u32_min <= value as u32
            && value as u32 <= self.u32_max
            && self.s32_min <= value as i32
            && value as i32 <= self.s32_max
    }

    /// Whether every value of `other` is in the set, judged view by view.
    pub const fn includes(&self, other: &Range) -> bool {
        self.umin <= other.umin
            && self.umax >= other.umax
            && self.smin <= other.smin
            && self.smax >= other.smax
            && self.u32_min <= other.u32_min
            && self.u32_max >= other.u32_max
            && self.s32_min <= other.s32_min
            && self.s32_max >= other.s32_max
            && self.bits.includes(other.bits)
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Range::UNKNOWN
    }

    /// How many bits hold every value: 64 less the leading bits known to be 0.
    pub const fn width(&self) -> u32 {
        64 - self.umax.leading_zeros()
    }

    /// The smallest range (view by view) that holds both.
    #[must_use]
    pub fn join(&self, other: &Range) -> Range {
        Range {
            bits: self.bits.join(other.bits),
            umin: self.umin.min(other.umin),
            umax: self.umax.max(other.umax),
            smin: self.smin.min(other.smin),
            smax: self.smax.max(other.smax),
            u32_min: self.u32_min.min(other.u32_min),
            u32_max: self.u32_max.max(other.u32_max),
            s32_min: self.s32_min.min(other.s32_min),
            s32_max: self.s32_max.max(other.s32_max),
        }
    }

    /// A range that holds both and, unlike [`Range::join`], cannot grow for ever: a view that
    /// `newer` exceeds is given up.
    #[must_use]
    pub fn widen(&self, newer: &Range) -> Range {
        fn keep<T>(holds: bool, mine: T, top: T) -> T {
            if holds { mine } else { top }
        }
        let (a, b, top) = (self, newer, &Range::UNKNOWN);
        Range {
            bits: keep(a.bits.includes(b.bits), a.bits, top.bits),
            umin: keep(a.umin <= b.umin, a.umin, top.umin),
            umax: keep(a.umax >= b.umax, a.umax, top.umax),
            smin: keep(a.smin <= b.smin, a.smin, top.smin),
            smax: keep(a.smax >= b.smax, a.smax, top.smax),
            u32_min: keep(a.u32_min <= b.u32_min, a.u32_min, top.u32_min),
            u32_max: keep(a.u32_max >= b.u32_max, a.u32_max, top.u32_max),
            s32_min: keep(a.s32_min <= b.s32_min, a.s32_min, top.s32_min),
            s32_max: keep(a.s32_max >= b.s32_max, a.s32_max, top.s32_max),
        }
    }

    /// Values in both.
    ///
    /// # Errors
    /// [`Empty`] if there is none that the views could tell.
    pub fn meet(&self, other: &Range) -> Result<Range, Empty> {
        Range {
            bits: self.bits.meet(other.bits).ok_or(Empty)?,
            umin: self.umin.max(other.umin),
            umax: self.umax.min(other.umax),
            smin: self.smin.max(other.smin),
            smax: self.smax.min(other.smax),
            u32_min: self.u32_min.max(other.u32_min),
            u32_max: self.u32_max.min(other.u32_max),
            s32_min: self.s32_min.max(other.s32_min),
            s32_max: self.s32_max.min(other.s32_max),
        }
        .tighten()
    }

    /// The same set, or all values where the views contradict each other.
    ///
    /// Arithmetic on a set that is not empty never contradicts itself; what is given up here
    /// are combinations of views that no value satisfied to begin with.
    #[must_use]
    pub(crate) fn settle(range: Range) -> Range {
        range.tighten().unwrap_or(Range::UNKNOWN)
    }

    /// Carries what each view knows into the others.
    ///
    /// # Errors
    /// [`Empty`] if the views contradict each other.
    pub fn tighten(mut self) -> Result<Range, Empty> {
        if self.umin == self.umax && self.contains(self.umin) {
            return Ok(Range::constant(self.umin));
        }
        if self.bits.mask == 0 {
            return if self.contains(self.bits.value) {
                Ok(Range::constant(self.bits.value))
            } else {
                Err(Empty)
            };
        }
        // Where no interval excludes what the bits allow, each view is as small as the bits make
        // it, and nothing is left to carry over. Most results are such.
        let of_bits = Range::of_bits(self.bits);
        if self.includes(&of_bits) {
            return Ok(of_bits);
        }
        // Each round can only shrink the views; three reach the fixpoint in practice, and
        // stopping early loses precision, not soundness.
        for _ in 0..3 {
            let before = self;
            self.bounds_from_bits();
            self.halves_agree();
            self.signs_agree();
            self.lower_signs_agree();
            self.halves_agree();
            if self.is_empty() {
                return Err(Empty);
            }
            self.bits_from_bounds()?;
            if self == before {
                break;
            }
        }
        self.bounds_from_bits();
        if self.is_empty() {
            Err(Empty)
        } else {
            Ok(self)
        }
    }

    const fn is_empty(&self) -> bool {
        self.umin > self.umax
            || self.smin > self.smax
            || self.u32_min > self.u32_max
            || self.s32_min > self.s32_max
    }

    fn bounds_from_bits(&mut self) {
        const SIGN: u64 = 1 << 63;
        const SIGN32: u64 = 1 << 31;
        let (low, high) = (self.bits.min(), self.bits.max());
        self.umin = self.umin.max(low);
        self.umax = self.umax.min(high);
        // The sign bit counts downwards: set it where it may be set for the minimum.
        self.smin = self.smin.max((low | self.bits.mask & SIGN) as i64);
        self.smax = self.smax.min((high & !(self.bits.mask & SIGN)) as i64);
        self.u32_min = self.u32_min.max(low as u32);
        self.u32_max = self.u32_max.min(high as u32);
        self.s32_min = self
            .s32_min
            .max((low | self.bits.mask & SIGN32) as u32 as i32);
        self.s32_max = self
            .s32_max
            .min((high & !(self.bits.mask & SIGN32)) as u32 as i32);
    }

    fn bits_from_bounds(&mut self) -> Result<(), Empty> {
        let whole = self
            .bits
            .meet(Tnum::between(self.umin, self.umax))
            .ok_or(Empty)?;
        let lower = whole
            .lower()
            .meet(Tnum::between(
                u64::from(self.u32_min),
                u64::from(self.u32_max),
            ))
            .ok_or(Empty)?;
        self.bits = whole.with_lower(lower);
        Ok(())
    }

    /// Unsigned and signed views of the whole.
    fn signs_agree(&mut self) {
        if self.umin as i64 <= self.umax as i64 {
            // The unsigned interval does not cross the sign boundary: it is a signed one too.
            self.smin = self.smin.max(self.umin as i64);
            self.smax = self.smax.min(self.umax as i64);
        }
        if (self.smin < 0) == (self.smax < 0) {
            self.umin = self.umin.max(self.smin as u64);
            self.umax = self.umax.min(self.smax as u64);
        } else if self.umax < self.smin as u64 {
            // The signed interval is two unsigned ones, 0..=smax and smin..=MAX; only the lower
            // is possible.
            self.smin = self.umin as i64;
            self.umax = self.umax.min(self.smax as u64);
        } else if self.umin > self.smax as u64 {
            // Only the upper is possible.
            self.smax = self.umax as i64;
            self.umin = self.umin.max(self.smin as u64);
        }
    }

    /// Unsigned and signed views of the lower half.
    fn lower_signs_agree(&mut self) {
        if self.u32_min as i32 <= self.u32_max as i32 {
            self.s32_min = self.s32_min.max(self.u32_min as i32);
            self.s32_max = self.s32_max.min(self.u32_max as i32);
        }
        if (self.s32_min < 0) == (self.s32_max < 0) {
            self.u32_min = self.u32_min.max(self.s32_min as u32);
            self.u32_max = self.u32_max.min(self.s32_max as u32);
        } else if self.u32_max < self.s32_min as u32 {
            self.s32_min = self.u32_min as i32;
            self.u32_max = self.u32_max.min(self.s32_max as u32);
        } else if self.u32_min > self.s32_max as u32 {
            self.s32_max = self.u32_max as i32;
            self.u32_min = self.u32_min.max(self.s32_min as u32);
        }
    }

    /// Views of the whole and of the lower half.
    fn halves_agree(&mut self) {
        if self.umin >> 32 == self.umax >> 32 {
            // One upper half for all: the lower halves are in order.
            self.u32_min = self.u32_min.max(self.umin as u32);
            self.u32_max = self.u32_max.min(self.umax as u32);
        }
        if self.smin >> 32 == self.smax >> 32 {
            self.u32_min = self.u32_min.max(self.smin as u32);
            self.u32_max = self.u32_max.min(self.smax as u32);
        }
        let int = i64::from(i32::MIN)..=i64::from(i32::MAX);
        if int.contains(&self.smin) && int.contains(&self.smax) {
            // The whole is the sign extension of the lower half.
            self.s32_min = self.s32_min.max(self.smin as i32);
            self.s32_max = self.s32_max.min(self.smax as i32);
            self.smin = self.smin.max(i64::from(self.s32_min));
            self.smax = self.smax.min(i64::from(self.s32_max));
        }
        // A bound whose lower half is impossible moves to the nearest that is possible; the
        // upper half of a possible value near it is at least (at most) the bound's own.
        let (low, high) = (u64::from(self.u32_min), u64::from(self.u32_max));
        self.umin = self.umin.max(self.umin & UPPER | low);
        self.umax = self.umax.min(self.umax & UPPER | high);
        self.smin = self.smin.max((self.smin as u64 & UPPER | low) as i64);
        self.smax = self.smax.min((self.smax as u64 & UPPER | high) as i64);
    }
}

impl Default for Range {
    fn default() -> Range {
        Range::UNKNOWN
    }
}
