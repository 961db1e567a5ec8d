//! Time and random numbers: both derived from the packet, so that every engine sees the same.

/// Nanoseconds of one jiffy at HZ = 250.
const JIFFY_NS: u64 = 4_000_000;

/// What `bpf_jiffies64` gives at a time in nanoseconds since the epoch: jiffies since then, at
/// HZ = 250.
pub const fn jiffies64(now_ns: u64) -> u64 {
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
    (mix(random_state(seed, packet) ^ call as u64) >> 32) as u32
}

/// What all random numbers of packet number `packet` follow from: the number of use `call` is the
/// upper half of one step of `SplitMix64` on this XOR `call`.
pub const fn random_state(seed: u64, packet: u64) -> u64 {
    mix(mix(seed) ^ packet)
}

/// The constants of one step of `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom
/// number generators, 2014): it adds the first, and multiplies with the others after XOR with
/// itself shifted right by 30 and by 27; at the end by 31.
pub const RANDOM_STEPS: [u64; 3] = [
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
];

/// One step of `SplitMix64`.
const fn mix(state: u64) -> u64 {
    let [add, first, second] = RANDOM_STEPS;
    let mut z = state.wrapping_add(add);
    z = (z ^ (z >> 30)).wrapping_mul(first);
    z = (z ^ (z >> 27)).wrapping_mul(second);
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
