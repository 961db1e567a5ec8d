//! Tracked numbers: which bits of a value are known.
//!
//! The arithmetic follows Vishwanathan, Shachnai, Narayana and Nagarakatte, "Sound, precise, and
//! fast abstract interpretation with tristate numbers" (CGO 2022).

/// A set of 64-bit values: those that agree with `value` in every bit that is 0 in `mask`.
/// `value & mask` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tnum {
    /// Known bits.
    pub value: u64,
    /// Unknown bits.
    pub mask: u64,
}

impl Tnum {
    /// All values.
    pub const UNKNOWN: Tnum = Tnum {
        value: 0,
        mask: u64::MAX,
    };

    /// Just `value`.
    pub const fn constant(value: u64) -> Tnum {
        Tnum { value, mask: 0 }
    }

    /// The only value, if there is just one.
    pub const fn as_constant(self) -> Option<u64> {
        if self.mask == 0 {
            Some(self.value)
        } else {
            None
        }
    }

    /// Whether `value` is in the set.
    pub const fn contains(self, value: u64) -> bool {
        value & !self.mask == self.value
    }

    /// Whether every value of `other` is in the set.
    pub const fn includes(self, other: Tnum) -> bool {
        other.mask & !self.mask == 0 && other.value & !self.mask == self.value
    }

    /// The smallest set that holds all of `min..=max`.
    pub const fn between(min: u64, max: u64) -> Tnum {
        let differing = min ^ max;
        let bits = 64 - differing.leading_zeros();
        if bits == 64 {
            return Tnum::UNKNOWN;
        }
        let mask = (1u64 << bits) - 1;
        Tnum {
            value: min & !mask,
            mask,
        }
    }

    /// Values in both sets, or `None` if a known bit differs.
    pub const fn meet(self, other: Tnum) -> Option<Tnum> {
        if (self.value ^ other.value) & !self.mask & !other.mask != 0 {
            return None;
        }
        let mask = self.mask & other.mask;
        Some(Tnum {
            value: (self.value | other.value) & !mask,
            mask,
        })
    }

    /// The smallest set that holds both.
    #[must_use]
    pub const fn join(self, other: Tnum) -> Tnum {
        let mask = self.mask | other.mask | (self.value ^ other.value);
        Tnum {
            value: self.value & !mask,
            mask,
        }
    }

    /// Smallest value, unsigned.
    pub const fn min(self) -> u64 {
        self.value
    }

    /// Largest value, unsigned.
    pub const fn max(self) -> u64 {
        self.value | self.mask
    }

    /// The lower 32 bits, zero-extended.
    #[must_use]
    pub const fn lower(self) -> Tnum {
        self.truncate(32)
    }

    /// The lower `bits` bits, zero-extended.
    #[must_use]
    pub const fn truncate(self, bits: u32) -> Tnum {
        if bits >= 64 {
            return self;
        }
        let keep = (1u64 << bits) - 1;
        Tnum {
            value: self.value & keep,
            mask: self.mask & keep,
        }
    }

    /// The upper half of this, the lower half of `lower`.
    #[must_use]
    pub const fn with_lower(self, lower: Tnum) -> Tnum {
        const UPPER: u64 = 0xffff_ffff_0000_0000;
        Tnum {
            value: self.value & UPPER | lower.value & !UPPER,
            mask: self.mask & UPPER | lower.mask & !UPPER,
        }
    }

    /// The lower `bits` bits, sign-extended.
    #[must_use]
    pub const fn sign_extend(self, bits: u32) -> Tnum {
        let shift = 64 - bits;
        let value = ((self.value << shift) as i64 >> shift) as u64;
        let mask = ((self.mask << shift) as i64 >> shift) as u64;
        Tnum {
            value: value & !mask,
            mask,
        }
    }

    /// Wrapping sum.
    #[must_use]
    pub const fn add(self, other: Tnum) -> Tnum {
        let values = self.value.wrapping_add(other.value);
        let with_masks = values.wrapping_add(self.mask.wrapping_add(other.mask));
        let mask = (with_masks ^ values) | self.mask | other.mask;
        Tnum {
            value: values & !mask,
            mask,
        }
    }

    /// Wrapping difference.
    #[must_use]
    pub const fn sub(self, other: Tnum) -> Tnum {
        let values = self.value.wrapping_sub(other.value);
        let highest = values.wrapping_add(self.mask);
        let lowest = values.wrapping_sub(other.mask);
        let mask = (highest ^ lowest) | self.mask | other.mask;
        Tnum {
            value: values & !mask,
            mask,
        }
    }

    /// Bitwise and.
    #[must_use]
    pub const fn and(self, other: Tnum) -> Tnum {
        let value = self.value & other.value;
        let possible = self.max() & other.max();
        Tnum {
            value,
            mask: possible & !value,
        }
    }

    /// Bitwise or.
    #[must_use]
    pub const fn or(self, other: Tnum) -> Tnum {
        let value = self.value | other.value;
        Tnum {
            value,
            mask: (self.mask | other.mask) & !value,
        }
    }

    /// Bitwise exclusive or.
    #[must_use]
    pub const fn xor(self, other: Tnum) -> Tnum {
        let mask = self.mask | other.mask;
        Tnum {
            value: (self.value ^ other.value) & !mask,
            mask,
        }
    }

    /// Wrapping product: long multiplication, in which a bit that may be set adds the multiplicand
    /// or nothing.
    #[must_use]
    pub const fn mul(self, other: Tnum) -> Tnum {
        let (mut bits, mut shifted) = (self, other);
        let mut sum = Tnum::constant(0);
        while bits.value | bits.mask != 0 {
            if bits.value & 1 != 0 {
                sum = sum.add(shifted);
            } else if bits.mask & 1 != 0 {
                sum = sum.join(sum.add(shifted));
            }
            bits = bits.shift_right(1);
            shifted = shifted.shift_left(1);
        }
        sum
    }

    /// Shift left by less than 64.
    #[must_use]
    pub const fn shift_left(self, amount: u32) -> Tnum {
        Tnum {
            value: self.value << amount,
            mask: self.mask << amount,
        }
    }

    /// Logical shift right by less than 64.
    #[must_use]
    pub const fn shift_right(self, amount: u32) -> Tnum {
        Tnum {
            value: self.value >> amount,
            mask: self.mask >> amount,
        }
    }

    /// Arithmetic shift right by less than 64.
    #[must_use]
    pub const fn shift_right_signed(self, amount: u32) -> Tnum {
        Tnum {
            value: ((self.value as i64) >> amount) as u64,
            mask: ((self.mask as i64) >> amount) as u64,
        }
    }

    /// The bytes of the lower `bits` bits (16, 32 or 64) in reverse order, zero-extended.
    #[must_use]
    pub const fn swap_bytes(self, bits: u32) -> Tnum {
        Tnum {
            value: self.value.swap_bytes() >> (64 - bits),
            mask: self.mask.swap_bytes() >> (64 - bits),
        }
    }

    /// Largest power of two, up to 8, that divides every value.
    pub const fn alignment(self) -> u8 {
        match (self.value | self.mask).trailing_zeros() {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tnum;

    /// All tnums of `bits` bits.
    fn all(bits: u32) -> Vec<Tnum> {
        let mut found = Vec::new();
        for mask in 0..1u64 << bits {
            for value in 0..1u64 << bits {
                if value & mask == 0 {
                    found.push(Tnum { value, mask });
                }
            }
        }
        found
    }

    fn members(t: Tnum, bits: u32) -> impl Iterator<Item = u64> {
        (0..1u64 << bits).filter(move |v| t.contains(*v))
    }

    #[test]
    fn binary_operations_contain_every_concrete_result_at_4_bits() {
        type Case = (&'static str, fn(Tnum, Tnum) -> Tnum, fn(u64, u64) -> u64);
        let cases: [Case; 6] = [
            ("add", Tnum::add, u64::wrapping_add),
            ("sub", Tnum::sub, u64::wrapping_sub),
            ("and", Tnum::and, |a, b| a & b),
            ("or", Tnum::or, |a, b| a | b),
            ("xor", Tnum::xor, |a, b| a ^ b),
            ("mul", Tnum::mul, u64::wrapping_mul),
        ];
        for (name, abstracted, concrete) in cases {
            for a in all(4) {
                for b in all(4) {
                    let result = abstracted(a, b);
                    assert_eq!(result.value & result.mask, 0, "{name} {a:?} {b:?}");
                    for x in members(a, 4) {
                        for y in members(b, 4) {
                            assert!(
                                result.contains(concrete(x, y)),
                                "{name}: {x} of {a:?}, {y} of {b:?} not in {result:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn add_is_the_best_possible_at_4_bits() {
        for a in all(4) {
            for b in all(4) {
                let mut best: Option<Tnum> = None;
                for x in members(a, 4) {
                    for y in members(b, 4) {
                        let one = Tnum::constant(x.wrapping_add(y));
                        best = Some(best.map_or(one, |t| t.join(one)));
                    }
                }
                assert_eq!(best, Some(a.add(b)), "{a:?} + {b:?}");
            }
        }
    }

    #[test]
    fn meet_and_join_are_exact_about_membership_at_4_bits() {
        for a in all(4) {
            for b in all(4) {
                let both: Vec<u64> = members(a, 4).filter(|v| b.contains(*v)).collect();
                match a.meet(b) {
                    None => assert!(both.is_empty(), "{a:?} {b:?}"),
                    Some(t) => assert_eq!(members(t, 4).collect::<Vec<_>>(), both),
                }
                let join = a.join(b);
                assert!(join.includes(a) && join.includes(b));
                assert_eq!(join, b.join(a));
                assert_eq!(a.includes(b), members(b, 4).all(|v| a.contains(v)));
            }
        }
    }

    #[test]
    fn shifts_and_extensions_contain_every_concrete_result() {
        for a in all(6) {
            for amount in 0..8 {
                for x in members(a, 6) {
                    assert!(a.shift_left(amount).contains(x << amount));
                    assert!(a.shift_right(amount).contains(x >> amount));
                    let (high, x_high) = (a.shift_left(58), x << 58);
                    assert!(
                        high.shift_right_signed(amount)
                            .contains(((x_high as i64) >> amount) as u64)
                    );
                }
            }
            for x in members(a, 6) {
                assert!(a.sign_extend(6).contains(((x << 58) as i64 >> 58) as u64));
                assert!(a.truncate(3).contains(x & 7));
                assert_eq!(x % u64::from(a.alignment()), 0);
            }
        }
    }

    #[test]
    fn between_holds_the_whole_interval() {
        for min in 0..64u64 {
            for max in min..64 {
                let t = Tnum::between(min, max);
                assert!((min..=max).all(|v| t.contains(v)), "{min}..={max}");
                // The smallest: no known bit could be added.
                let joined = (min..=max).map(Tnum::constant).reduce(Tnum::join).unwrap();
                assert_eq!(t, joined);
            }
        }
        assert_eq!(Tnum::between(0, u64::MAX), Tnum::UNKNOWN);
    }
}
