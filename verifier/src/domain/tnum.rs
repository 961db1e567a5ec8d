//! Tracked numbers: which bits of a value are known.

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
}
