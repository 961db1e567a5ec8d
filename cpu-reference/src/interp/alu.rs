//! Arithmetic with more to it than one wrapping operation (RFC 9669 §4.1, §4.2).

/// Unsigned division; by zero gives 0.
#[inline]
pub(super) fn div64(a: u64, b: u64) -> u64 {
    a.checked_div(b).unwrap_or(0)
}

/// Unsigned 32-bit division; by zero gives 0.
#[inline]
pub(super) fn div32(a: u32, b: u32) -> u32 {
    a.checked_div(b).unwrap_or(0)
}

/// Signed division, truncating; by zero gives 0, MIN / -1 gives MIN.
#[inline]
pub(super) fn sdiv64(a: u64, b: u64) -> u64 {
    match b {
        0 => 0,
        b => (a as i64).wrapping_div(b as i64) as u64,
    }
}

/// Signed 32-bit division, truncating; by zero gives 0, MIN / -1 gives MIN.
#[inline]
pub(super) fn sdiv32(a: u32, b: u32) -> u32 {
    match b {
        0 => 0,
        b => (a as i32).wrapping_div(b as i32) as u32,
    }
}

/// Unsigned remainder; by zero gives the dividend.
#[inline]
pub(super) fn mod64(a: u64, b: u64) -> u64 {
    a.checked_rem(b).unwrap_or(a)
}

/// Unsigned 32-bit remainder; by zero gives the dividend.
#[inline]
pub(super) fn mod32(a: u32, b: u32) -> u32 {
    a.checked_rem(b).unwrap_or(a)
}

/// Signed remainder with the dividend's sign; by zero gives the dividend, MIN % -1 gives 0.
#[inline]
pub(super) fn smod64(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        b => (a as i64).wrapping_rem(b as i64) as u64,
    }
}

/// Signed 32-bit remainder with the dividend's sign; by zero gives the dividend, MIN % -1 gives 0.
#[inline]
pub(super) fn smod32(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        b => (a as i32).wrapping_rem(b as i32) as u32,
    }
}

/// The lower 16, 32 or 64 bits.
#[inline]
pub(super) fn truncate(value: u64, bits: u8) -> u64 {
    match bits {
        16 => u64::from(value as u16),
        32 => u64::from(value as u32),
        _ => value,
    }
}

/// The lower 16, 32 or 64 bits with their bytes reversed.
#[inline]
pub(super) fn swap(value: u64, bits: u8) -> u64 {
    match bits {
        16 => u64::from((value as u16).swap_bytes()),
        32 => u64::from((value as u32).swap_bytes()),
        _ => value.swap_bytes(),
    }
}
