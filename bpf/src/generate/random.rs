//! [`Random`]: where the generator's numbers come from.

/// 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers that follow from a seed alone, the same on every machine (`SplitMix64`: Steele, Lea,
/// Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Copy, Debug)]
pub struct Random {
    state: u64,
}

/// 64-bit numbers at which operations change their mind.
pub const EDGES: [u64; 18] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    0xffff_ffff_8000_0000,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// Immediates at which operations change their mind.
pub const IMMEDIATES: [i32; 5] = [0, 1, -1, i32::MIN, i32::MAX];

impl Random {
    /// Numbers that follow from `seed`.
    pub const fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.any()) * u128::from(bound)) >> 64) as u64
    }

    /// True in so many of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, evenly.
    pub fn choose<T: Copy, const N: usize>(&mut self, choices: &[T; N]) -> T {
        const { assert!(N > 0) };
        choices[self.below(N as u64) as usize]
    }

    /// One of `choices`, evenly; `None` if there are none.
    pub fn choose_from<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices
            .get(self.below(choices.len() as u64) as usize)
            .copied()
    }

    /// A 64-bit operand: an edge, near one, or any.
    pub fn operand(&mut self) -> u64 {
        match self.below(4) {
            0 | 1 => self.choose(&EDGES),
            2 => self
                .choose(&EDGES)
                .wrapping_add(self.below(5))
                .wrapping_sub(2),
            _ => self.any(),
        }
    }

    /// A 32-bit immediate: an edge, small, near a power of two, or any.
    pub fn immediate(&mut self) -> i32 {
        match self.below(6) {
            0 | 1 => self.choose(&IMMEDIATES),
            2 => self.below(80) as i32 - 8,
            3 => (1i64 << self.below(32)) as i32,
            4 => ((1i64 << self.below(32)) - 1) as i32,
            _ => self.any() as i32,
        }
    }
}
