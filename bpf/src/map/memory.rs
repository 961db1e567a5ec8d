//! [`Memory`]: the bytes a map's state lies in.
#![expect(
    unsafe_code,
    reason = "map memory is shared by threads and processes and reached by native code"
)]

mod block;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use block::Block;

/// Bytes of the block behind its last one, so that an access of 8 bytes that begins inside stays
/// in the allocation: some engines check only where an access begins.
const SLACK: usize = 8;
/// Most bytes of a canary.
const CANARY: usize = 64;
/// What each of them holds: not what programs write by chance.
const CANARY_BYTE: u8 = 0xc5;

/// A block of bytes, zero at first, at a fixed address aligned to 64, shared by all who hold the
/// map.
///
/// Every access is a relaxed atomic of its width where it is aligned, and bytewise where it is
/// not, so that threads can never see undefined behaviour, only races that the program has.
/// Pages that nobody touched cost nothing.
///
/// ```
/// let memory = bpf::map::Memory::private(16).unwrap();
/// memory.store(4, 4, 0xdead_beef).unwrap();
/// assert_eq!(memory.load(4, 2), Some(0xbeef));
/// assert_eq!(memory.load(14, 4), None); // outside
/// ```
pub struct Memory {
    block: Block,
    len: usize,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_shared() {
            "shared"
        } else {
            "private"
        };
        write!(f, "Memory({} bytes, {kind})", self.len)
    }
}

impl Memory {
    /// `len` zero bytes of this process. `None` if the system does not give so many.
    pub fn private(len: usize) -> Option<Memory> {
        let block = Block::private(len.checked_add(SLACK)?)?;
        Some(Memory { block, len })
    }

    /// `len` zero bytes that other processes can share: those that are forked later, and those
    /// that are given [`Memory::file`]. `None` if the system does not give so many.
    pub fn shared(len: usize) -> Option<Memory> {
        let block = Block::shared(len.checked_add(SLACK)?)?;
        Some(Memory { block, len })
    }

    /// The `len` bytes that [`Memory::shared`] made in another process, whose file this is, at
    /// an address of this one. `None` if the file is shorter or cannot be mapped.
    pub fn attach(file: OwnedFd, len: usize) -> Option<Memory> {
        let block = Block::attach(file, len.checked_add(SLACK)?)?;
        Some(Memory { block, len })
    }

    /// The file that shared memory lies in.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.block.file()
    }

    /// How many bytes behind the last one hold a canary.
    fn canary(&self) -> usize {
        (self.block.bytes() - self.len).min(CANARY)
    }

    /// Writes a canary behind the last byte, up to the inaccessible page that follows if the
    /// memory is shared.
    pub fn guard(&self) {
        for at in self.len..self.len + self.canary() {
            self.block.byte(at).store(CANARY_BYTE, Ordering::Relaxed);
        }
    }

    /// Whether the canary that [`Memory::guard`] wrote is still there.
    pub fn is_intact(&self) -> bool {
        (self.len..self.len + self.canary())
            .all(|at| self.block.byte(at).load(Ordering::Relaxed) == CANARY_BYTE)
    }

    /// A new block of the same length and kind (private or shared), all zero.
    pub fn another(&self) -> Option<Memory> {
        if self.is_shared() {
            Memory::shared(self.len)
        } else {
            Memory::private(self.len)
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether other processes can share it.
    pub fn is_shared(&self) -> bool {
        self.block.file().is_some()
    }

    /// Address of the first byte, for native code; a multiple of 64.
    pub fn address(&self) -> u64 {
        self.block.base().as_ptr() as u64
    }

    /// Whether `size` bytes at `offset` lie inside.
    fn holds(&self, offset: usize, size: usize) -> bool {
        offset.checked_add(size).is_some_and(|end| end <= self.len)
    }

    /// The byte at `offset`; the first one if that is outside.
    fn byte(&self, offset: usize) -> &AtomicU8 {
        self.block.byte(if offset < self.len { offset } else { 0 })
    }

    /// The aligned 4 bytes at `offset`; `None` outside or unaligned.
    pub fn atomic32(&self, offset: usize) -> Option<&AtomicU32> {
        if !offset.is_multiple_of(4) || !self.holds(offset, 4) {
            return None;
        }
        // SAFETY: in bounds by the check above.
        let at = unsafe { self.block.base().add(offset) };
        // SAFETY: in bounds, aligned to 4 as the block is to 64; all access is atomic.
        Some(unsafe { at.cast::<AtomicU32>().as_ref() })
    }

    /// The aligned 8 bytes at `offset`; `None` outside or unaligned.
    pub fn atomic64(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(8) || !self.holds(offset, 8) {
            return None;
        }
        // SAFETY: in bounds by the check above.
        let at = unsafe { self.block.base().add(offset) };
        // SAFETY: in bounds, aligned to 8 as the block is to 64; all access is atomic.
        Some(unsafe { at.cast::<AtomicU64>().as_ref() })
    }

    /// Replaces the aligned 4 or 8 bytes at `offset` by what `change` makes of them, as one
    /// atomic operation, and gives the old value; `None` outside, unaligned, or for another
    /// size. `change` may be called several times.
    pub fn fetch_update(
        &self,
        offset: usize,
        size: usize,
        change: impl Fn(u64) -> u64,
    ) -> Option<u64> {
        match size {
            4 => self
                .atomic32(offset)?
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
                    Some(change(u64::from(old)) as u32)
                })
                .ok()
                .map(u64::from),
            8 => self
                .atomic64(offset)?
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| Some(change(old)))
                .ok(),
            _ => None,
        }
    }

    /// The aligned 2 bytes at `offset`; `None` outside or unaligned.
    fn atomic16(&self, offset: usize) -> Option<&AtomicU16> {
        if !offset.is_multiple_of(2) || !self.holds(offset, 2) {
            return None;
        }
        // SAFETY: in bounds by the check above.
        let at = unsafe { self.block.base().add(offset) };
        // SAFETY: in bounds, aligned to 2 as the block is to 64; all access is atomic.
        Some(unsafe { at.cast::<AtomicU16>().as_ref() })
    }

    /// A word of a map's own bookkeeping. A corrupted link (buggy native code wrote it) leads to
    /// word 0 rather than out of the block.
    pub(super) fn word(&self, offset: usize) -> &AtomicU32 {
        let offset = if self.holds(offset, 4) {
            offset & !3
        } else {
            0
        };
        // SAFETY: in bounds: inside by the check, or the first of at least 64 bytes.
        let at = unsafe { self.block.base().add(offset) };
        // SAFETY: in bounds and aligned to 4; all access is atomic.
        unsafe { at.cast::<AtomicU32>().as_ref() }
    }

    /// Loads 1, 2, 4 or 8 bytes, little-endian and zero-extended; `None` outside the memory or
    /// for another size.
    pub fn load(&self, offset: usize, size: usize) -> Option<u64> {
        if !matches!(size, 1 | 2 | 4 | 8) || !self.holds(offset, size) {
            return None;
        }
        if !offset.is_multiple_of(size) {
            let value = (0..size).rev().fold(0, |value, i| {
                value << 8 | u64::from(self.byte(offset + i).load(Ordering::Relaxed))
            });
            return Some(value);
        }
        Some(match size {
            1 => u64::from(self.byte(offset).load(Ordering::Relaxed)),
            2 => u64::from(self.atomic16(offset)?.load(Ordering::Relaxed)),
            4 => u64::from(self.atomic32(offset)?.load(Ordering::Relaxed)),
            _ => self.atomic64(offset)?.load(Ordering::Relaxed),
        })
    }

    /// Stores the lower 1, 2, 4 or 8 bytes of `value`, little-endian; `None` outside the memory
    /// or for another size.
    pub fn store(&self, offset: usize, size: usize, value: u64) -> Option<()> {
        if !matches!(size, 1 | 2 | 4 | 8) || !self.holds(offset, size) {
            return None;
        }
        if !offset.is_multiple_of(size) {
            for i in 0..size {
                self.byte(offset + i)
                    .store((value >> (8 * i)) as u8, Ordering::Relaxed);
            }
            return Some(());
        }
        match size {
            1 => self.byte(offset).store(value as u8, Ordering::Relaxed),
            2 => self
                .atomic16(offset)?
                .store(value as u16, Ordering::Relaxed),
            4 => self
                .atomic32(offset)?
                .store(value as u32, Ordering::Relaxed),
            _ => self.atomic64(offset)?.store(value, Ordering::Relaxed),
        }
        Some(())
    }

    /// The 8 bytes at `offset`, which must be a multiple of 8 and lie inside: for loops that
    /// have checked their whole range.
    #[inline]
    fn word64(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && self.holds(offset, 8));
        let offset = if self.holds(offset, 8) {
            offset & !7
        } else {
            0
        };
        // SAFETY: in bounds: inside by the check, or the first of at least 64 bytes.
        let at = unsafe { self.block.base().add(offset) };
        // SAFETY: in bounds and aligned to 8; all access is atomic.
        unsafe { at.cast::<AtomicU64>().as_ref() }
    }

    /// Copies bytes out; `None`, with nothing copied, if they are not all inside.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Option<()> {
        if !self.holds(offset, into.len()) {
            return None;
        }
        let words = aligned_words(offset, into.len());
        let (wide, mut rest) = into.split_at_mut(8 * words);
        for (i, word) in wide.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = self
                .word64(offset + 8 * i)
                .load(Ordering::Relaxed)
                .to_le_bytes();
        }
        let mut offset = offset + 8 * words;
        while !rest.is_empty() {
            let size = piece(offset, rest.len());
            let (head, tail) = rest.split_at_mut(size);
            head.copy_from_slice(&self.load(offset, size)?.to_le_bytes()[..size]);
            rest = tail;
            offset += size;
        }
        Some(())
    }

    /// Copies bytes in; `None`, with nothing copied, if they do not fit inside.
    pub fn write(&self, offset: usize, from: &[u8]) -> Option<()> {
        if !self.holds(offset, from.len()) {
            return None;
        }
        let words = aligned_words(offset, from.len());
        let (wide, mut rest) = from.split_at(8 * words);
        for (i, word) in wide.as_chunks::<8>().0.iter().enumerate() {
            self.word64(offset + 8 * i)
                .store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        let mut offset = offset + 8 * words;
        while !rest.is_empty() {
            let size = piece(offset, rest.len());
            let (head, tail) = rest.split_at(size);
            self.store(offset, size, little_endian(head))?;
            rest = tail;
            offset += size;
        }
        Some(())
    }

    /// Whether the bytes at `offset` equal `bytes`; false if they are not all inside.
    #[inline]
    pub fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.holds(offset, bytes.len()) {
            return false;
        }
        let words = aligned_words(offset, bytes.len());
        let (wide, mut rest) = bytes.split_at(8 * words);
        for (i, word) in wide.as_chunks::<8>().0.iter().enumerate() {
            let there = self.word64(offset + 8 * i).load(Ordering::Relaxed);
            if there != u64::from_le_bytes(*word) {
                return false;
            }
        }
        let mut offset = offset + 8 * words;
        while !rest.is_empty() {
            let size = piece(offset, rest.len());
            let (head, tail) = rest.split_at(size);
            if self.load(offset, size) != Some(little_endian(head)) {
                return false;
            }
            rest = tail;
            offset += size;
        }
        true
    }

    /// Sets `len` bytes at `offset` to zero; `None`, with nothing set, if they are not all
    /// inside.
    pub fn zero(&self, mut offset: usize, len: usize) -> Option<()> {
        if !self.holds(offset, len) {
            return None;
        }
        let end = offset + len;
        while offset < end {
            let size = piece(offset, end - offset);
            self.store(offset, size, 0)?;
            offset += size;
        }
        Some(())
    }

    /// Makes all bytes those of `other`; `None`, with nothing copied, if the lengths differ.
    /// Words that are equal already are not written, so that untouched pages stay untouched.
    pub fn copy_from(&self, other: &Memory) -> Option<()> {
        (self.len == other.len).then_some(())?;
        self.copy_range_from(other, 0, self.len)
    }

    /// Makes the bytes from `start` to `end` those of `other` at the same place; `None`, with
    /// nothing copied, if one of them is shorter.
    pub fn copy_range_from(&self, other: &Memory, start: usize, end: usize) -> Option<()> {
        let len = end.checked_sub(start)?;
        if !self.holds(start, len) || !other.holds(start, len) {
            return None;
        }
        let mut offset = start;
        while offset < end {
            let size = piece(offset, end - offset);
            let value = other.load(offset, size)?;
            if self.load(offset, size)? != value {
                self.store(offset, size, value)?;
            }
            offset += size;
        }
        Some(())
    }

    /// A private copy as of now; `None` if the system has no memory for it.
    pub fn snapshot(&self) -> Option<Memory> {
        let copy = Memory::private(self.len)?;
        copy.copy_from(self)?;
        Some(copy)
    }
}

/// How many aligned words a range of `len` bytes at `offset` begins with.
#[inline]
fn aligned_words(offset: usize, len: usize) -> usize {
    if offset.is_multiple_of(8) { len / 8 } else { 0 }
}

/// Up to 8 bytes as a number.
#[inline]
fn little_endian(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    }
}

/// Size of the next piece of a copy at `offset` with `left` bytes to go: as wide as alignment
/// and rest allow.
fn piece(offset: usize, left: usize) -> usize {
    match left {
        8.. if offset.is_multiple_of(8) => 8,
        4.. if offset.is_multiple_of(4) => 4,
        2.. if offset.is_multiple_of(2) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
