//! [`Guarded`]: memory of a worker between inaccessible pages.

use std::ops::Range;
use std::ptr::{null_mut, with_exposed_provenance, with_exposed_provenance_mut};

/// Bytes of a page on x86-64.
const PAGE: usize = 4096;
/// Bytes of canary behind (and before) what lies in such memory.
pub(super) const CANARY: usize = 64;
/// What each of them holds: not what programs write by chance.
const CANARY_BYTE: u8 = 0xc5;

/// Zero bytes between two inaccessible pages; never given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guarded {
    start: u64,
    bytes: usize,
}

impl Guarded {
    /// At least `bytes`.
    pub(super) fn new(bytes: usize) -> Option<Guarded> {
        let bytes = bytes.checked_next_multiple_of(PAGE)?;
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let whole = unsafe {
            libc::mmap(
                null_mut(),
                bytes.checked_add(2 * PAGE)?,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if whole == libc::MAP_FAILED {
            return None;
        }
        let start = whole.cast::<u8>().wrapping_add(PAGE);
        // SAFETY: a part of the mapping above, which nobody else knows of.
        let failed =
            unsafe { libc::mprotect(start.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) } != 0;
        (!failed).then_some(Guarded {
            start: start as u64,
            bytes,
        })
    }

    /// The addresses that can be accessed.
    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes as u64
    }

    /// The same with the inaccessible pages.
    pub(super) fn whole(&self) -> Range<u64> {
        self.start - PAGE as u64..self.start + (self.bytes + PAGE) as u64
    }

    /// The last place for `len` bytes, at a multiple of `align`, that leaves room for a canary
    /// behind (and before) them.
    pub(super) fn place(&self, len: usize, align: usize) -> Option<u64> {
        let room = self.bytes.checked_sub(2 * CANARY)?.checked_sub(len)?;
        let at = self.start + (CANARY + room) as u64;
        let at = at & !(align as u64 - 1);
        (at >= self.start + CANARY as u64).then_some(at)
    }

    /// Writes canaries before and behind the `len` bytes at `at`, which [`Guarded::place`] gave.
    pub(super) fn seal(&self, at: u64, len: usize) {
        fill(self.before(at));
        self.seal_behind(at + len as u64);
    }

    /// Writes a canary from `end` on alone.
    pub(super) fn seal_behind(&self, end: u64) {
        fill(end..self.range().end);
    }

    /// Whether the canaries of [`Guarded::seal`] are still there.
    pub(super) fn is_intact(&self, at: u64, len: usize) -> bool {
        is_filled(self.before(at)) && self.is_intact_behind(at + len as u64)
    }

    /// Whether that of [`Guarded::seal_behind`] is still there.
    pub(super) fn is_intact_behind(&self, end: u64) -> bool {
        is_filled(end..self.range().end)
    }

    fn before(&self, at: u64) -> Range<u64> {
        (at - CANARY as u64).max(self.start)..at
    }
}

fn fill(range: Range<u64>) {
    for byte in range {
        let byte = with_exposed_provenance_mut::<u8>(byte as usize);
        // SAFETY: the range lies inside a mapping that belongs to this process alone.
        unsafe { byte.write_volatile(CANARY_BYTE) };
    }
}

fn is_filled(mut range: Range<u64>) -> bool {
    range.all(|byte| {
        let byte = with_exposed_provenance::<u8>(byte as usize);
        // SAFETY: the range lies inside a mapping that belongs to this process alone.
        CANARY_BYTE == unsafe { byte.read_volatile() }
    })
}
