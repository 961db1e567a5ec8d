//! Longest-prefix match.
//!
//! A key is a 32-bit number of bits, then the bytes the prefix is taken from. Prefixes lie in a
//! hash table under (length, bytes cut to it); a lookup tries the lengths that are present, the
//! longest first. Linux walks a trie instead; what is found is the same.

use std::sync::atomic::Ordering::Relaxed;

use super::seqlock::Locked;
use super::table::{Table, TableShape, Update};
use super::{Errno, Memory, UpdateFlags, ValueAt, seqlock};

/// Longest key: the prefix length and 256 bytes.
pub(super) const MAX_KEY: usize = 4 + 256;

/// Layout of a map of prefixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lpm {
    /// Under cut keys; a value is followed by the key as it was given.
    table: Table,
    key_size: usize,
    value_size: usize,
    /// For each prefix length how many there are.
    counts: usize,
    /// For each prefix length a bit, set if there are any; 32 of them in a word.
    lengths: usize,
}

/// A key cut to its prefix, in a buffer for the longest.
struct Cut {
    bytes: [u8; MAX_KEY],
    size: usize,
}

impl Cut {
    /// The first `bits` bits of the key, under that length.
    fn new(key: &[u8], bits: u32) -> Cut {
        let mut bytes = [0; MAX_KEY];
        let whole = bits as usize / 8;
        bytes[..4].copy_from_slice(&bits.to_le_bytes());
        bytes[4..4 + whole].copy_from_slice(&key[4..4 + whole]);
        if !bits.is_multiple_of(8) {
            bytes[4 + whole] = key[4 + whole] & !(0xff >> (bits % 8));
        }
        Cut {
            bytes,
            size: key.len(),
        }
    }

    /// Cuts it further, to `bits` bits.
    fn shorten(&mut self, bits: u32) {
        self.bytes[..4].copy_from_slice(&bits.to_le_bytes());
        let whole = 4 + bits as usize / 8;
        let size = self.size;
        if let Some((first, rest)) = self.bytes[..size]
            .get_mut(whole..)
            .and_then(<[u8]>::split_first_mut)
        {
            *first &= !(0xff >> (bits % 8));
            rest.fill(0);
        }
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

impl Lpm {
    /// The layout, and the bytes of memory it needs. Sizes must have been checked.
    pub(super) fn new(key_size: u32, value_size: u32, max_entries: u32, cpus: u32) -> (Lpm, u128) {
        let room = value_size.next_multiple_of(8);
        let (table, end) = Table::new(TableShape {
            key_size,
            value_size: room.saturating_add(key_size),
            max_entries,
            cpus,
            percpu: false,
            evicts: false,
        });
        let lpm = Lpm {
            table,
            key_size: key_size as usize,
            value_size: value_size as usize,
            counts: end as usize,
            lengths: 0,
        };
        let lengths = end + 4 * (u128::from(lpm.max_bits()) + 1);
        let words = u128::from(lpm.max_bits() / 32 + 1);
        let lpm = Lpm {
            lengths: lengths as usize,
            ..lpm
        };
        (lpm, lengths + 4 * words)
    }

    fn max_bits(&self) -> u32 {
        8 * (self.key_size as u32).saturating_sub(4)
    }

    /// The parts of the memory that hold anything: (start, end).
    pub(super) fn live(&self, memory: &Memory) -> Vec<(usize, usize)> {
        let mut parts = self.table.live(memory);
        parts.push((self.counts, memory.len()));
        parts
    }

    /// Number of bits of a key, if it is one.
    fn bits(&self, key: &[u8]) -> Option<u32> {
        let bits = super::index_of(key.get(..4)?)?;
        (key.len() == self.key_size && bits <= self.max_bits()).then_some(bits)
    }

    /// Where the value of the longest prefix of `key` lies.
    pub(super) fn lookup(&self, memory: &Memory, key: &[u8]) -> Option<ValueAt> {
        let bits = self.bits(key)?;
        seqlock::read(memory, || {
            let mut cut = Cut::new(key, bits);
            let mut above = bits + 1;
            while let Some(length) = self.next_length(memory, above) {
                cut.shorten(length);
                if let Some(at) = self.table.walk(memory, cut.key()) {
                    return Some(at);
                }
                above = length;
            }
            None
        })
    }

    /// The longest prefix length below `above` of which there are any.
    fn next_length(&self, memory: &Memory, above: u32) -> Option<u32> {
        let mut word = above.checked_sub(1)? / 32;
        // Only bits below `above`; all of a lower word.
        let mut mask = u32::MAX >> (31 - (above - 1) % 32);
        loop {
            let set = memory.word(self.lengths + 4 * word as usize).load(Relaxed) & mask;
            if set != 0 {
                return Some(32 * word + 31 - set.leading_zeros());
            }
            word = word.checked_sub(1)?;
            mask = u32::MAX;
        }
    }

    /// Brings the bit of a prefix length in line with its count, after the count changed.
    fn note_length(&self, memory: &Memory, bits: u32) {
        let _locked = Locked::new(memory);
        let word = memory.word(self.lengths + 4 * (bits / 32) as usize);
        let bit = 1 << (bits % 32);
        let any = memory.word(self.counts + 4 * bits as usize).load(Relaxed) != 0;
        let before = word.load(Relaxed);
        word.store(if any { before | bit } else { before & !bit }, Relaxed);
    }

    /// Sets the value of a prefix.
    pub(super) fn update(
        &self,
        memory: &Memory,
        key: &[u8],
        value: &[u8],
        flags: UpdateFlags,
        cpu: u32,
    ) -> Result<(), Errno> {
        let bits = self.bits(key).ok_or(Errno::Einval)?;
        if value.len() != self.value_size {
            return Err(Errno::Einval);
        }
        let mut with_key = vec![0; self.value_size.next_multiple_of(8)];
        with_key[..self.value_size].copy_from_slice(value);
        with_key.extend_from_slice(key);
        let update = Update {
            value: &with_key,
            special: &[],
            in_place: false,
            flags,
            cpu,
            all: false,
            full: Errno::Enospc,
            watch: None,
        };
        let new = self
            .table
            .update(memory, Cut::new(key, bits).key(), update)?;
        if new {
            memory
                .word(self.counts + 4 * bits as usize)
                .fetch_add(1, Relaxed);
            self.note_length(memory, bits);
        }
        Ok(())
    }

    /// Takes exactly this prefix away.
    pub(super) fn delete(&self, memory: &Memory, key: &[u8]) -> Result<(), Errno> {
        let bits = self.bits(key).ok_or(Errno::Einval)?;
        self.table
            .delete(memory, Cut::new(key, bits).key(), 0, None)?;
        memory
            .word(self.counts + 4 * bits as usize)
            .fetch_sub(1, Relaxed);
        self.note_length(memory, bits);
        Ok(())
    }

    /// All prefixes as they were given, sorted by their bytes cut to the prefix.
    pub(super) fn keys(&self, memory: &Memory) -> Vec<Vec<u8>> {
        let room = self.value_size.next_multiple_of(8);
        self.table
            .keys(memory)
            .into_iter()
            .map(|cut| {
                let mut key = vec![0; self.key_size];
                if let Some(at) = self.table.peek(memory, &cut, 0) {
                    memory.read(at.0 + room, &mut key);
                }
                key
            })
            .collect()
    }
}

impl Lpm {
    /// Whether `size` bytes at `offset` lie inside the value of one prefix.
    pub(super) fn holds(&self, offset: usize, size: usize) -> bool {
        // Padding and stored key behind the value belong to the entry, not to the program.
        let padding = self.value_size.next_multiple_of(8) - self.value_size;
        self.table.holds(offset, size + padding + self.key_size)
    }
}
