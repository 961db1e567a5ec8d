//! Comparisons of ranges: whether the outcome is certain, and what a known outcome tells.

use isa::ebpf::{Cond, Width};

use super::range::Empty;
use super::{Range, Tnum};

/// The outcome of `a cond b` if it is the same for all values.
pub fn decide(cond: Cond, width: Width, a: &Range, b: &Range) -> Option<bool> {
    let (a, b) = match width {
        Width::W64 => (View::whole(a), View::whole(b)),
        Width::W32 => (View::lower(a), View::lower(b)),
    };
    let decided = |always: bool, never: bool| {
        if always {
            Some(true)
        } else if never {
            Some(false)
        } else {
            None
        }
    };
    match cond {
        Cond::Eq => equal(&a, &b),
        Cond::Ne => equal(&a, &b).map(|e| !e),
        Cond::Set => {
            let both = a.bits.and(b.bits);
            decided(both.value != 0, both.max() == 0)
        }
        Cond::Gt => decided(a.umin > b.umax, a.umax <= b.umin),
        Cond::Ge => decided(a.umin >= b.umax, a.umax < b.umin),
        Cond::Lt => decided(a.umax < b.umin, a.umin >= b.umax),
        Cond::Le => decided(a.umax <= b.umin, a.umin > b.umax),
        Cond::Sgt => decided(a.smin > b.smax, a.smax <= b.smin),
        Cond::Sge => decided(a.smin >= b.smax, a.smax < b.smin),
        Cond::Slt => decided(a.smax < b.smin, a.smin >= b.smax),
        Cond::Sle => decided(a.smax <= b.smin, a.smin > b.smax),
    }
}

fn equal(a: &View, b: &View) -> Option<bool> {
    if a.umin == a.umax && b.umin == b.umax && a.umin == b.umin {
        return Some(true);
    }
    let apart = a.umin > b.umax
        || a.umax < b.umin
        || a.smin > b.smax
        || a.smax < b.smin
        || a.bits.meet(b.bits).is_none();
    apart.then_some(false)
}

/// One width of a range, as 64-bit numbers.
struct View {
    bits: Tnum,
    umin: u64,
    umax: u64,
    smin: i64,
    smax: i64,
}

impl View {
    fn whole(r: &Range) -> View {
        View {
            bits: r.bits,
            umin: r.umin,
            umax: r.umax,
            smin: r.smin,
            smax: r.smax,
        }
    }

    fn lower(r: &Range) -> View {
        View {
            bits: r.bits.lower(),
            umin: u64::from(r.u32_min),
            umax: u64::from(r.u32_max),
            smin: i64::from(r.s32_min),
            smax: i64::from(r.s32_max),
        }
    }
}

/// The condition that holds where `cond` does not; [`Cond::Set`] has none.
pub const fn negate(cond: Cond) -> Option<Cond> {
    Some(match cond {
        Cond::Eq => Cond::Ne,
        Cond::Ne => Cond::Eq,
        Cond::Gt => Cond::Le,
        Cond::Ge => Cond::Lt,
        Cond::Lt => Cond::Ge,
        Cond::Le => Cond::Gt,
        Cond::Sgt => Cond::Sle,
        Cond::Sge => Cond::Slt,
        Cond::Slt => Cond::Sge,
        Cond::Sle => Cond::Sgt,
        Cond::Set => return None,
    })
}

/// What is left of `a` and `b` where the outcome of `a cond b` is `taken`.
///
/// # Errors
/// [`Empty`] if no values have that outcome.
pub fn assume(
    cond: Cond,
    width: Width,
    taken: bool,
    a: &Range,
    b: &Range,
) -> Result<(Range, Range), Empty> {
    let cond = if taken {
        cond
    } else {
        match negate(cond) {
            Some(negated) => negated,
            None => return assume_no_common_bit(width, a, b),
        }
    };
    let (mut x, mut y) = (*a, *b);
    match (cond, width) {
        (Cond::Eq, Width::W64) => {
            let both = a.meet(b)?;
            return Ok((both, both));
        }
        (Cond::Eq, Width::W32) => {
            let both = a.lower().meet(&b.lower())?;
            return Ok((a.with_lower(&both)?, b.with_lower(&both)?));
        }
        (Cond::Ne, _) => {
            return Ok((exclude(width, a, b)?, exclude(width, b, a)?));
        }
        (Cond::Set, _) => {
            return Ok((some_common_bit(width, a, b)?, some_common_bit(width, b, a)?));
        }
        (Cond::Gt, _) => return assume(Cond::Lt, width, true, b, a).map(|(y, x)| (x, y)),
        (Cond::Ge, _) => return assume(Cond::Le, width, true, b, a).map(|(y, x)| (x, y)),
        (Cond::Sgt, _) => return assume(Cond::Slt, width, true, b, a).map(|(y, x)| (x, y)),
        (Cond::Sge, _) => return assume(Cond::Sle, width, true, b, a).map(|(y, x)| (x, y)),
        (Cond::Lt, Width::W64) => {
            x.umax = x.umax.min(b.umax.checked_sub(1).ok_or(Empty)?);
            y.umin = y.umin.max(a.umin.checked_add(1).ok_or(Empty)?);
        }
        (Cond::Le, Width::W64) => {
            x.umax = x.umax.min(b.umax);
            y.umin = y.umin.max(a.umin);
        }
        (Cond::Slt, Width::W64) => {
            x.smax = x.smax.min(b.smax.checked_sub(1).ok_or(Empty)?);
            y.smin = y.smin.max(a.smin.checked_add(1).ok_or(Empty)?);
        }
        (Cond::Sle, Width::W64) => {
            x.smax = x.smax.min(b.smax);
            y.smin = y.smin.max(a.smin);
        }
        (Cond::Lt, Width::W32) => {
            x.u32_max = x.u32_max.min(b.u32_max.checked_sub(1).ok_or(Empty)?);
            y.u32_min = y.u32_min.max(a.u32_min.checked_add(1).ok_or(Empty)?);
        }
        (Cond::Le, Width::W32) => {
            x.u32_max = x.u32_max.min(b.u32_max);
            y.u32_min = y.u32_min.max(a.u32_min);
        }
        (Cond::Slt, Width::W32) => {
            x.s32_max = x.s32_max.min(b.s32_max.checked_sub(1).ok_or(Empty)?);
            y.s32_min = y.s32_min.max(a.s32_min.checked_add(1).ok_or(Empty)?);
        }
        (Cond::Sle, Width::W32) => {
            x.s32_max = x.s32_max.min(b.s32_max);
            y.s32_min = y.s32_min.max(a.s32_min);
        }
    }
    Ok((x.tighten()?, y.tighten()?))
}

impl Range {
    /// The same with the lower half in `lower` (a zero-extended range).
    fn with_lower(&self, lower: &Range) -> Result<Range, Empty> {
        let mut r = *self;
        r.u32_min = r.u32_min.max(lower.u32_min);
        r.u32_max = r.u32_max.min(lower.u32_max);
        r.s32_min = r.s32_min.max(lower.s32_min);
        r.s32_max = r.s32_max.min(lower.s32_max);
        let low = r.bits.lower().meet(lower.bits.lower()).ok_or(Empty)?;
        r.bits = r.bits.with_lower(low);
        r.tighten()
    }
}

/// What is left of `a` if it differs from `b`: an end of an interval that is `b`'s only value.
fn exclude(width: Width, a: &Range, b: &Range) -> Result<Range, Empty> {
    let mut r = *a;
    match width {
        Width::W64 => {
            let Some(value) = b.as_constant() else {
                return Ok(r);
            };
            if r.umin == value {
                r.umin = r.umin.checked_add(1).ok_or(Empty)?;
            }
            if r.umax == value {
                r.umax = r.umax.checked_sub(1).ok_or(Empty)?;
            }
            if r.smin == value as i64 {
                r.smin = r.smin.checked_add(1).ok_or(Empty)?;
            }
            if r.smax == value as i64 {
                r.smax = r.smax.checked_sub(1).ok_or(Empty)?;
            }
        }
        Width::W32 => {
            let Some(value) = b.as_constant_lower() else {
                return Ok(r);
            };
            if r.u32_min == value {
                r.u32_min = r.u32_min.checked_add(1).ok_or(Empty)?;
            }
            if r.u32_max == value {
                r.u32_max = r.u32_max.checked_sub(1).ok_or(Empty)?;
            }
            if r.s32_min == value as i32 {
                r.s32_min = r.s32_min.checked_add(1).ok_or(Empty)?;
            }
            if r.s32_max == value as i32 {
                r.s32_max = r.s32_max.checked_sub(1).ok_or(Empty)?;
            }
        }
    }
    r.tighten()
}

/// What is left of `a` if it has a bit in common with `b`: a single possible bit is set.
fn some_common_bit(width: Width, a: &Range, b: &Range) -> Result<Range, Empty> {
    let constant = match width {
        Width::W64 => b.as_constant(),
        Width::W32 => b.as_constant_lower().map(u64::from),
    };
    let mut r = *a;
    if let Some(mask) = constant
        && mask.is_power_of_two()
    {
        let set = Tnum {
            value: mask,
            mask: !mask,
        };
        r.bits = r.bits.meet(set).ok_or(Empty)?;
    }
    r.tighten()
}

/// What is left of both if they have no bit in common.
fn assume_no_common_bit(width: Width, a: &Range, b: &Range) -> Result<(Range, Range), Empty> {
    let clear = |r: &Range, other: &Range| -> Result<Range, Empty> {
        let known = match width {
            Width::W64 => other.bits.value,
            Width::W32 => other.bits.lower().value,
        };
        let mut r = *r;
        let cleared = Tnum {
            value: 0,
            mask: !known,
        };
        r.bits = r.bits.meet(cleared).ok_or(Empty)?;
        r.tighten()
    };
    Ok((clear(a, b)?, clear(b, a)?))
}
