//! Bloom filters: sets that may say "maybe" of a value nobody pushed, and never "no" of one that
//! somebody did.
//!
//! Which bits a value has is Linux's rule with its hash seed 0, as `BPF_F_ZERO_SEED` asks for:
//! Bob Jenkins' lookup3 (public domain, <https://burtleburtle.net/bob/c/lookup3.c>), once for each
//! hash. Beside its bits a filter keeps the first `max_entries` values that set a bit nobody had
//! set before: bits cannot be turned back into values, and the host must be able to list what is
//! there and to fill another filter alike.

use std::sync::atomic::Ordering::Relaxed;

use super::seqlock::Locked;
use super::{Errno, HEADER, Memory};

/// Place of the number of values that are kept.
const KEPT: usize = 4;
/// Place of a word that is 1 once a value set bits and was not kept.
const OVERFULL: usize = 8;
/// Hashes of a value where the definition leaves their number open.
const DEFAULT_HASHES: u32 = 5;
/// Bits of the largest filter.
const MOST_BITS: u64 = 1 << 32;

/// Layout of a Bloom filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bloom {
    value_size: usize,
    stride: usize,
    max_entries: u32,
    hashes: u32,
    /// Number of bits less one; they are a power of two, so that this masks a hash.
    mask: u32,
    /// Where the values lie that are kept.
    values: usize,
}

impl Bloom {
    /// The layout, and the bytes of memory it needs. `hashes` is how many bits a value has, 0 for
    /// five.
    pub(super) fn new(value_size: u32, max_entries: u32, hashes: u32) -> (Bloom, u128) {
        let hashes = if hashes == 0 { DEFAULT_HASHES } else { hashes };
        let bits = bits(max_entries, hashes);
        let stride = value_size.next_multiple_of(8) as usize;
        let values = HEADER + (bits / 8) as usize;
        let bloom = Bloom {
            value_size: value_size as usize,
            stride,
            max_entries,
            hashes,
            mask: (bits - 1) as u32,
            values,
        };
        (
            bloom,
            values as u128 + stride as u128 * u128::from(max_entries),
        )
    }

    /// Adds a value.
    pub(super) fn push(&self, memory: &Memory, value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags != 0 || value.len() != self.value_size {
            return Err(Errno::Einval);
        }
        let _locked = Locked::new(memory);
        let mut fresh = false;
        for (at, bit) in self.bits_of(value) {
            let word = memory.word(at);
            fresh |= word.fetch_or(bit, Relaxed) & bit == 0;
        }
        if fresh {
            let kept = memory.word(KEPT).load(Relaxed);
            if kept < self.max_entries {
                memory.write(self.values + self.stride * kept as usize, value);
                memory.word(KEPT).store(kept + 1, Relaxed);
            } else {
                memory.word(OVERFULL).store(1, Relaxed);
            }
        }
        Ok(())
    }

    /// Whether the value may have been added: ENOENT if it was not.
    pub(super) fn peek(&self, memory: &Memory, value: &[u8]) -> Result<(), Errno> {
        if value.len() != self.value_size {
            return Err(Errno::Einval);
        }
        let mut bits = self.bits_of(value);
        if bits.all(|(at, bit)| memory.word(at).load(Relaxed) & bit != 0) {
            Ok(())
        } else {
            Err(Errno::Enoent)
        }
    }

    /// The values that are kept, in the order in which they came.
    pub(super) fn values(&self, memory: &Memory) -> Vec<Vec<u8>> {
        let _locked = Locked::new(memory);
        let kept = memory.word(KEPT).load(Relaxed).min(self.max_entries);
        (0..kept as usize)
            .map(|i| {
                let mut value = vec![0; self.value_size];
                memory.read(self.values + self.stride * i, &mut value);
                value
            })
            .collect()
    }

    /// Whether the values that are kept set all bits that are set.
    pub(super) fn is_told(memory: &Memory) -> bool {
        memory.word(OVERFULL).load(Relaxed) == 0
    }

    /// The words and bits of a value.
    fn bits_of(&self, value: &[u8]) -> impl Iterator<Item = (usize, u32)> {
        (0..self.hashes).map(move |seed| {
            let bit = lookup3(value, seed) & self.mask;
            (HEADER + 4 * (bit / 32) as usize, 1 << (bit % 32))
        })
    }
}

/// Bits of a filter: 7/5 of a bit for each value and hash (near 1/ln 2, where a full filter has
/// half of its bits set), rounded up to a power of two and to a word of 64.
fn bits(max_entries: u32, hashes: u32) -> u64 {
    let wanted = (u64::from(max_entries) * u64::from(hashes)).min(u64::from(u32::MAX)) / 5 * 7;
    wanted.max(64).next_power_of_two().min(MOST_BITS)
}

/// Bob Jenkins' `hashlittle`.
fn lookup3(bytes: &[u8], seed: u32) -> u32 {
    let start = 0xdead_beef_u32
        .wrapping_add(bytes.len() as u32)
        .wrapping_add(seed);
    let mut state = [start; 3];
    let mut rest = bytes;
    while rest.len() > 12 {
        let (block, after) = rest.split_at(12);
        add(&mut state, block);
        // Each step: subtract one word, rotate it in, and add the third.
        let mut turn = |to: usize, from: usize, third: usize, by: u32| {
            state[to] = state[to].wrapping_sub(state[from]) ^ state[from].rotate_left(by);
            state[from] = state[from].wrapping_add(state[third]);
        };
        for (to, from, third, by) in [
            (0, 2, 1, 4),
            (1, 0, 2, 6),
            (2, 1, 0, 8),
            (0, 2, 1, 16),
            (1, 0, 2, 19),
            (2, 1, 0, 4),
        ] {
            turn(to, from, third, by);
        }
        rest = after;
    }
    if !rest.is_empty() {
        add(&mut state, rest);
        for (to, from, by) in [
            (2, 1, 14),
            (0, 2, 11),
            (1, 0, 25),
            (2, 1, 16),
            (0, 2, 4),
            (1, 0, 14),
            (2, 1, 24),
        ] {
            state[to] = (state[to] ^ state[from]).wrapping_sub(state[from].rotate_left(by));
        }
    }
    state[2]
}

/// Adds up to 12 bytes, little-endian, to the three words.
fn add(state: &mut [u32; 3], bytes: &[u8]) {
    for (word, part) in state.iter_mut().zip(bytes.chunks(4)) {
        let mut four = [0; 4];
        four[..part.len()].copy_from_slice(part);
        *word = word.wrapping_add(u32::from_le_bytes(four));
    }
}

#[cfg(test)]
mod tests {
    use super::{bits, lookup3};

    /// The values that the author's driver prints for this text.
    #[test]
    fn hashes_are_the_authors() {
        let text = b"Four score and seven years ago";
        assert_eq!(lookup3(text, 0), 0x1777_0551);
        assert_eq!(lookup3(text, 1), 0xcd62_8161);
        assert_eq!(lookup3(b"", 0), 0xdead_beef);
    }

    #[test]
    fn filters_have_a_power_of_two_of_bits() {
        assert_eq!(bits(1, 1), 64);
        assert_eq!(bits(100, 5), 1024);
        assert_eq!(bits(u32::MAX, 15), 1 << 32);
    }
}
