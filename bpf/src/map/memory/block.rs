//! [`Block`]: who gives the bytes, and how they are given back.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

/// Alignment of the first byte: a cache line.
const ALIGN: usize = 64;
/// Private blocks of this size and more are mappings of their own.
const MAPPED_FROM: usize = 1 << 16;
/// Smallest page; larger ones are multiples of it.
const PAGE: usize = 4096;

/// Bytes at a fixed address, zero at first.
pub(super) struct Block {
    /// First byte, aligned to 64.
    base: NonNull<u8>,
    /// How many there are, at least 64.
    bytes: usize,
    backing: Backing,
}

enum Backing {
    Allocated(Layout),
    /// An anonymous mapping.
    Mapped,
    /// A mapping of this file, between inaccessible pages of so many bytes.
    File(OwnedFd, usize),
}

// SAFETY: the block has a fixed address and is only reached through atomics (or by native code,
// which is the caller's concern); nothing in it belongs to a thread.
unsafe impl Send for Block {}
// SAFETY: as above: shared references only give atomic access.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        let (from, bytes) = match &self.backing {
            Backing::Allocated(layout) => {
                // SAFETY: `base` came from `alloc_zeroed` with this layout.
                unsafe { dealloc(self.base.as_ptr(), *layout) };
                return;
            }
            Backing::Mapped => (self.base.as_ptr(), self.bytes),
            Backing::File(_, guard) => (
                self.base.as_ptr().wrapping_sub(*guard),
                self.bytes + 2 * guard,
            ),
        };
        // SAFETY: this is a mapping of so many bytes that nobody else unmaps. That it fails
        // cannot be helped here.
        let _ = unsafe { libc::munmap(from.cast(), bytes) };
    }
}

/// Bytes of a page.
fn page() -> usize {
    // SAFETY: asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).map_or(PAGE, |page| page.max(PAGE))
}

/// A new mapping.
fn map(bytes: usize, protection: i32) -> Option<NonNull<u8>> {
    // SAFETY: a new anonymous mapping touches no memory that exists.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            protection,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return None;
    }
    NonNull::new(base.cast())
}

impl Block {
    /// At least `bytes` of this process.
    pub(super) fn private(bytes: usize) -> Option<Block> {
        let bytes = bytes.checked_next_multiple_of(ALIGN)?;
        if bytes >= MAPPED_FROM {
            // The allocator would write zeros to all of an aligned block.
            return Some(Block {
                base: map(bytes, libc::PROT_READ | libc::PROT_WRITE)?,
                bytes,
                backing: Backing::Mapped,
            });
        }
        let layout = Layout::from_size_align(bytes, ALIGN).ok()?;
        // SAFETY: the layout has a size above 0.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Block {
            base,
            bytes,
            backing: Backing::Allocated(layout),
        })
    }

    /// At least `bytes` in a new file that has no name.
    pub(super) fn shared(bytes: usize) -> Option<Block> {
        let len = bytes.checked_next_multiple_of(page())?;
        // SAFETY: the name ends with 0.
        let file = unsafe { libc::memfd_create(c"nicbed".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return None;
        }
        // SAFETY: the system just gave this descriptor, and nobody else has it.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        let file = File::from(file);
        file.set_len(len as u64).ok()?;
        Block::attach(file.into(), bytes)
    }

    /// At least `bytes` of a file, which must be as long.
    pub(super) fn attach(file: OwnedFd, bytes: usize) -> Option<Block> {
        let guard = page();
        let bytes = bytes.checked_next_multiple_of(guard)?;
        let file = File::from(file);
        if file.metadata().ok()?.len() < bytes as u64 {
            return None;
        }
        let whole = map(bytes.checked_add(2 * guard)?, libc::PROT_NONE)?;
        // SAFETY: the mapping is longer than its first guard page.
        let base = unsafe { whole.add(guard) };
        let block = Block {
            base,
            bytes,
            backing: Backing::File(file.into(), guard),
        };
        // SAFETY: replaces a part of the mapping above, which nobody else knows of.
        let mapped = unsafe {
            libc::mmap(
                base.as_ptr().cast(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE,
                block.file()?.as_raw_fd(),
                0,
            )
        };
        (mapped != libc::MAP_FAILED).then_some(block)
    }

    /// First byte.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The file that they lie in, if others can map it.
    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        match &self.backing {
            Backing::File(file, _) => Some(file.as_fd()),
            Backing::Allocated(_) | Backing::Mapped => None,
        }
    }

    /// The byte at `offset`; the first one if that is outside.
    pub(super) fn byte(&self, offset: usize) -> &AtomicU8 {
        let offset = if offset < self.bytes { offset } else { 0 };
        // SAFETY: the offset is below the length of the block.
        let at = unsafe { self.base.add(offset) };
        // SAFETY: in bounds; all access to these bytes is atomic.
        unsafe { at.cast::<AtomicU8>().as_ref() }
    }
}
