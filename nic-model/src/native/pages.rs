//! Pages that hold code: first writable, then executable, never both.

use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

/// Executable pages with a copy of some code.
pub(super) struct CodePages {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: nothing writes the pages after `new`, so threads can share them.
unsafe impl Send for CodePages {}
// SAFETY: as above.
unsafe impl Sync for CodePages {}

impl fmt::Debug for CodePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodePages({} bytes)", self.bytes)
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

impl CodePages {
    /// Copies `code` into new pages and makes them executable.
    ///
    /// # Errors
    /// The error number of the system, if it gives no such pages.
    pub(super) fn new(code: &[u8]) -> Result<CodePages, i32> {
        let bytes = code.len().max(1);
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(errno());
        }
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(0);
        };
        let pages = CodePages { base, bytes };
        // SAFETY: the mapping is new, writable and at least as long as the code.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), base.as_ptr(), code.len()) };
        // SAFETY: the mapping is this value's own, and no reference into it exists.
        let failed = unsafe {
            libc::mprotect(
                base.as_ptr().cast(),
                bytes,
                libc::PROT_READ | libc::PROT_EXEC,
            )
        } != 0;
        if failed { Err(errno()) } else { Ok(pages) }
    }

    /// The addresses that the code takes.
    pub(super) fn range(&self) -> Range<u64> {
        let start = self.base.as_ptr() as u64;
        start..start + self.bytes as u64
    }

    /// Address of the code's byte at `offset`.
    pub(super) fn address(&self, offset: usize) -> *const u8 {
        self.base.as_ptr().cast_const().wrapping_add(offset)
    }
}

impl Drop for CodePages {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own; that it fails cannot be helped here.
        let _ = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
