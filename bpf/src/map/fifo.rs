//! Queues and stacks: values without keys.

use std::sync::atomic::Ordering::Relaxed;

use super::seqlock::Locked;
use super::{Errno, HEADER, Memory};

/// Place of the oldest value.
const OLDEST: usize = 8;
/// How many values there are.
const COUNT: usize = 4;
/// `BPF_EXIST`: a full queue drops its oldest value.
const REPLACE: u64 = 2;

/// Layout of a queue or stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fifo {
    value_size: usize,
    stride: usize,
    max_entries: u32,
    /// Whether the newest value comes out first.
    stack: bool,
}

impl Fifo {
    /// The layout, and the bytes of memory it needs.
    pub(super) fn new(value_size: u32, max_entries: u32, stack: bool) -> (Fifo, u128) {
        let fifo = Fifo {
            value_size: value_size as usize,
            stride: value_size.next_multiple_of(8) as usize,
            max_entries,
            stack,
        };
        let bytes = HEADER as u128 + fifo.stride as u128 * u128::from(max_entries);
        (fifo, bytes)
    }

    fn at(&self, place: u64) -> usize {
        HEADER + self.stride * (place % u64::from(self.max_entries.max(1))) as usize
    }

    pub(super) fn push(&self, memory: &Memory, value: &[u8], flags: u64) -> Result<(), Errno> {
        if !matches!(flags, 0 | REPLACE) || value.len() != self.value_size {
            return Err(Errno::Einval);
        }
        let _locked = Locked::new(memory);
        let mut count = memory.word(COUNT).load(Relaxed);
        let mut oldest = memory.word(OLDEST).load(Relaxed);
        if count >= self.max_entries {
            if flags != REPLACE {
                return Err(Errno::E2big);
            }
            count = self.max_entries - 1;
            oldest = self.after(oldest);
            memory.word(OLDEST).store(oldest, Relaxed);
        }
        memory.write(self.at(u64::from(oldest) + u64::from(count)), value);
        memory.word(COUNT).store(count + 1, Relaxed);
        Ok(())
    }

    /// Copies the next value out, and takes it away if `remove`. From an empty one the value is
    /// zero.
    pub(super) fn take(&self, memory: &Memory, into: &mut [u8], remove: bool) -> Result<(), Errno> {
        if into.len() != self.value_size {
            return Err(Errno::Einval);
        }
        let _locked = Locked::new(memory);
        let count = memory.word(COUNT).load(Relaxed);
        let oldest = memory.word(OLDEST).load(Relaxed);
        if count == 0 {
            into.fill(0);
            return Err(Errno::Enoent);
        }
        let back = if self.stack { count - 1 } else { 0 };
        memory.read(self.at(u64::from(oldest) + u64::from(back)), into);
        if remove {
            memory.word(COUNT).store(count - 1, Relaxed);
            if !self.stack {
                memory.word(OLDEST).store(self.after(oldest), Relaxed);
            }
        }
        Ok(())
    }

    /// All values, the oldest first.
    pub(super) fn values(&self, memory: &Memory) -> Vec<Vec<u8>> {
        let _locked = Locked::new(memory);
        let count = memory.word(COUNT).load(Relaxed).min(self.max_entries);
        let oldest = memory.word(OLDEST).load(Relaxed);
        (0..count)
            .map(|i| {
                let mut value = vec![0; self.value_size];
                memory.read(self.at(u64::from(oldest) + u64::from(i)), &mut value);
                value
            })
            .collect()
    }

    fn after(&self, place: u32) -> u32 {
        if place + 1 >= self.max_entries {
            0
        } else {
            place + 1
        }
    }
}
