//! [`Memory`]: the bytes a map's state lies in.
#![expect(
    unsafe_code,
    reason = "map memory is shared by threads and reached by native code"
)]

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// A block of zeroed bytes at a fixed address, aligned to 8, shared by all who hold the map.
///
/// Every access is a relaxed atomic of its width where it is aligned, and bytewise where it is
/// not, so that threads can never see undefined behaviour, only races that the program has.
pub struct Memory {
    words: Box<[AtomicU64]>,
    len: usize,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} bytes)", self.len)
    }
}

impl Memory {
    /// `len` zero bytes.
    pub fn new(len: usize) -> Memory {
        let words = (0..len.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        Memory { words, len }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of the first byte, for native code.
    pub fn address(&self) -> u64 {
        self.words.as_ptr() as u64
    }

    /// Loads 1, 2, 4 or 8 bytes, little-endian and zero-extended; `None` outside the memory or
    /// for another size.
    pub fn load(&self, offset: usize, size: usize) -> Option<u64> {
        if offset.checked_add(size)? > self.len {
            return None;
        }
        // SAFETY: offset + size <= len, so the address lies in the boxed words.
        let at = unsafe { self.words.as_ptr().cast::<u8>().add(offset) };
        if !offset.is_multiple_of(size.max(1)) {
            let mut value = 0;
            for i in 0..size {
                value |= self.load(offset + i, 1)? << (8 * i);
            }
            return Some(value);
        }
        Some(match size {
            // SAFETY: in bounds; all access to these bytes is atomic.
            1 => u64::from(unsafe { &*at.cast::<AtomicU8>() }.load(Ordering::Relaxed)),
            // SAFETY: in bounds and aligned to 2 (the block is aligned to 8).
            2 => u64::from(unsafe { &*at.cast::<AtomicU16>() }.load(Ordering::Relaxed)),
            // SAFETY: in bounds and aligned to 4.
            4 => u64::from(unsafe { &*at.cast::<AtomicU32>() }.load(Ordering::Relaxed)),
            // SAFETY: in bounds and aligned to 8.
            8 => unsafe { &*at.cast::<AtomicU64>() }.load(Ordering::Relaxed),
            _ => return None,
        })
    }

    /// Stores the lower 1, 2, 4 or 8 bytes of `value`, little-endian; `None` outside the memory
    /// or for another size.
    pub fn store(&self, offset: usize, size: usize, value: u64) -> Option<()> {
        if offset.checked_add(size)? > self.len {
            return None;
        }
        // SAFETY: offset + size <= len, so the address lies in the boxed words.
        let at = unsafe { self.words.as_ptr().cast::<u8>().add(offset) };
        if !offset.is_multiple_of(size.max(1)) {
            for i in 0..size {
                self.store(offset + i, 1, value >> (8 * i))?;
            }
            return Some(());
        }
        match size {
            // SAFETY: in bounds; all access to these bytes is atomic.
            1 => unsafe { &*at.cast::<AtomicU8>() }.store(value as u8, Ordering::Relaxed),
            // SAFETY: in bounds and aligned to 2 (the block is aligned to 8).
            2 => unsafe { &*at.cast::<AtomicU16>() }.store(value as u16, Ordering::Relaxed),
            // SAFETY: in bounds and aligned to 4.
            4 => unsafe { &*at.cast::<AtomicU32>() }.store(value as u32, Ordering::Relaxed),
            // SAFETY: in bounds and aligned to 8.
            8 => unsafe { &*at.cast::<AtomicU64>() }.store(value, Ordering::Relaxed),
            _ => return None,
        }
        Some(())
    }
}
