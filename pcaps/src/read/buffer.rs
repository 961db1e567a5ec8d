//! [`Buffer`]: the window of the input that is in memory.

use std::io::{self, Read};

/// A window of the input: filled at its end by reads, consumed at its front, compacted when it
/// needs room. Grows only when one record asks for more than it holds.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Consumed up to here.
    start: usize,
    /// Filled up to here; `start <= end <= bytes.len()`.
    end: usize,
    /// Where in the input `bytes[end]` would stand.
    end_offset: u64,
}

impl Buffer {
    pub(super) fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size],
            start: 0,
            end: 0,
            end_offset: 0,
        }
    }

    /// How many bytes of memory it holds.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The bytes that are there and not consumed.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// As [`Buffer::unread`], to be changed in place.
    #[inline]
    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Where [`Buffer::unread`] begins in the input.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.end_offset - (self.end - self.start) as u64
    }

    /// Where the next read will come from.
    pub(super) fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// Drops `n` bytes at the front, at most what is there.
    #[inline]
    pub(super) fn consume(&mut self, n: usize) {
        self.start = self.end.min(self.start + n);
    }

    /// Leaves only the last `n` bytes at the front.
    pub(super) fn keep_last(&mut self, n: usize) {
        self.start = self.end - n.min(self.end - self.start);
    }

    /// Hands over its memory for `other`'s, into which what is unread is copied first.
    pub(super) fn exchange(&mut self, other: &mut Vec<u8>) {
        if other.len() < self.bytes.len() {
            other.resize(self.bytes.len(), 0);
        }
        let unread = self.bytes.get(self.start..self.end).unwrap_or_default();
        let left = unread.len();
        if let Some(to) = other.get_mut(..left) {
            to.copy_from_slice(unread);
        }
        std::mem::swap(&mut self.bytes, other);
        self.start = 0;
        self.end = left;
    }

    /// Where in the memory that [`Buffer::exchange`] hands over the unread bytes begin.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Reads until at least `need` bytes are there, and gives how many there are: fewer than
    /// `need` means the end of the input.
    pub(super) fn fill(&mut self, source: &mut impl Read, need: usize) -> io::Result<usize> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if need > self.bytes.len() {
            let more = need.next_multiple_of(4096) - self.bytes.len();
            self.bytes.reserve_exact(more);
            self.bytes.resize(need.next_multiple_of(4096), 0);
        }
        while self.end < need {
            let room = self.bytes.get_mut(self.end..).unwrap_or_default();
            match source.read(room) {
                Ok(0) => break,
                Ok(n) => {
                    // A wrong `Read` may claim more than it was given room for.
                    let n = n.min(room.len());
                    self.end += n;
                    self.end_offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end)
    }
}
