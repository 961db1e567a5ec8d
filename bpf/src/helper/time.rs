//! Time and random numbers: both derived from the packet, so that every engine sees the same.

/// Nanoseconds of one jiffy at HZ = 250.
const JIFFY_NS: u64 = 4_000_000;

/// Jiffies since the epoch at HZ = 250.
pub(super) const fn jiffies64(now_ns: u64) -> u64 {
    now_ns / JIFFY_NS
}

/// The number that the `call`-th use of randomness in packet number `packet` gives (both counted
/// from 0): a fixed function, so that the reference and every engine agree and two runs are
/// equal.
///
/// ```
/// use bpf::helper::random;
/// assert_eq!(random(1, 2, 3), random(1, 2, 3));
/// assert_ne!(random(1, 2, 3), random(1, 2, 4));
/// ```
pub const fn random(seed: u64, packet: u64, call: u32) -> u32 {
    let mut state = mix(seed);
    state = mix(state ^ packet);
    state = mix(state ^ call as u64);
    (state >> 32) as u32
}

/// One step of `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// 2014).
const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_has_its_published_first_output() {
        // First output for seed 0 of the reference implementation.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn bits_are_even() {
        let ones: u32 = (0..10_000).map(|p| random(7, p, 0).count_ones()).sum();
        assert!((158_000..162_000).contains(&ones), "{ones}");
    }
}
