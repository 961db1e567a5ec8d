//! Ranges of a 64-bit value, seen as unsigned and signed, whole and lower half.

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

    /// The only value, if there is just one.
    pub const fn as_constant(&self) -> Option<u64> {
        if self.umin == self.umax {
            Some(self.umin)
        } else {
            None
        }
    }
}

impl Default for Range {
    fn default() -> Range {
        Range::UNKNOWN
    }
}
