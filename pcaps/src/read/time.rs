//! [`TimeScale`]: from an interface's timestamps to nanoseconds since 1970.

/// How one pcapng interface counts time: `if_tsresol` and `if_tsoffset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeScale {
    unit: Unit,
    /// Nanoseconds to add, from `if_tsoffset` (seconds).
    offset_ns: i128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Ticks of this many nanoseconds.
    Nanoseconds(u64),
    /// This many ticks a nanosecond.
    PerNanosecond(u64),
    /// Ticks of 2^-n seconds, n ≤ 127.
    Binary(u8),
}

impl TimeScale {
    /// Microseconds since 1970: what holds if an interface says nothing.
    pub(super) const MICROSECONDS: Self = Self {
        unit: Unit::Nanoseconds(1000),
        offset_ns: 0,
    };

    /// The resolution in `if_tsresol`'s byte: 10^-n seconds, or 2^-n if the top bit is set.
    pub(super) fn set_resolution(&mut self, tsresol: u8) {
        let exponent = tsresol & 0x7f;
        self.unit = if tsresol & 0x80 != 0 {
            Unit::Binary(exponent)
        } else if exponent <= 9 {
            Unit::Nanoseconds(10u64.pow(u32::from(9 - exponent)))
        } else {
            // Beyond 10^19 ticks a nanosecond no 64-bit count reaches one nanosecond.
            let per = 10u64.checked_pow(u32::from(exponent - 9));
            per.map_or(Unit::Nanoseconds(0), Unit::PerNanosecond)
        };
    }

    /// The seconds in `if_tsoffset`.
    pub(super) fn set_offset_seconds(&mut self, seconds: i64) {
        self.offset_ns = i128::from(seconds) * 1_000_000_000;
    }

    /// Nanoseconds since 1970 of a tick count; what lies outside `u64` becomes its nearest end.
    #[inline]
    pub(super) fn nanoseconds(self, ticks: u64) -> u64 {
        let ns = match self.unit {
            Unit::Nanoseconds(each) => u128::from(ticks) * u128::from(each),
            Unit::PerNanosecond(per) => u128::from(ticks / per),
            // Below 2^64 · 2^30, so the product fits.
            Unit::Binary(bits) => (u128::from(ticks) * 1_000_000_000) >> bits,
        };
        if self.offset_ns == 0 {
            return u64::try_from(ns).unwrap_or(u64::MAX);
        }
        // ns < 2^94 and |offset_ns| < 2^93, so the sum fits an i128.
        let shifted = ns as i128 + self.offset_ns;
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::TimeScale;

    fn scale(tsresol: u8, offset: i64) -> TimeScale {
        let mut scale = TimeScale::MICROSECONDS;
        scale.set_resolution(tsresol);
        scale.set_offset_seconds(offset);
        scale
    }

    #[test]
    fn resolutions_give_nanoseconds() {
        // One second and a half, in each unit. draft-ietf-opsawg-pcapng section 4.2, if_tsresol.
        assert_eq!(
            TimeScale::MICROSECONDS.nanoseconds(1_500_000),
            1_500_000_000
        );
        assert_eq!(scale(0, 0).nanoseconds(2), 2_000_000_000);
        assert_eq!(scale(3, 0).nanoseconds(1_500), 1_500_000_000);
        assert_eq!(scale(9, 0).nanoseconds(1_500_000_000), 1_500_000_000);
        assert_eq!(scale(12, 0).nanoseconds(1_500_000_000_999), 1_500_000_000);
        assert_eq!(scale(0x80 | 1, 0).nanoseconds(3), 1_500_000_000);
        assert_eq!(scale(0x80 | 32, 0).nanoseconds(3 << 31), 1_500_000_000);
        assert_eq!(scale(6, 10).nanoseconds(1_500_000), 11_500_000_000);
        assert_eq!(scale(6, -1).nanoseconds(1_500_000), 500_000_000);
    }

    #[test]
    fn what_does_not_fit_saturates() {
        assert_eq!(scale(0, 0).nanoseconds(u64::MAX), u64::MAX);
        assert_eq!(scale(0x80, 0).nanoseconds(u64::MAX), u64::MAX);
        assert_eq!(scale(6, -10).nanoseconds(1), 0);
        assert_eq!(scale(9, i64::MAX).nanoseconds(u64::MAX), u64::MAX);
        assert_eq!(scale(9, i64::MIN).nanoseconds(u64::MAX), 0);
        assert_eq!(scale(0x7f, 0).nanoseconds(u64::MAX), 0);
        assert_eq!(scale(0xff, 0).nanoseconds(u64::MAX), 0);
        for tsresol in 0..=255u8 {
            for offset in [0, 1, -1, i64::MIN, i64::MAX] {
                for ticks in [0, 1, u64::MAX / 2, u64::MAX] {
                    scale(tsresol, offset).nanoseconds(ticks);
                }
            }
        }
    }
}
