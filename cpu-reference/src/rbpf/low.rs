//! Memory below 4 GiB, which the 32-bit packet pointers of an XDP context can name.
#![expect(
    unsafe_code,
    reason = "a mapping at a low address, reached by rbpf's raw accesses"
)]

use std::io;
use std::ptr::NonNull;

/// Bytes behind the last one that belong to the block: rbpf checks only where an access begins.
const SLACK: usize = 8;

/// A block of zeroed bytes below 4 GiB.
///
/// Nothing but this value and the rbpf run of its thread reaches the bytes, and never both at
/// once: rbpf holds addresses only, and while a helper runs rbpf does not.
#[derive(Debug)]
pub(super) struct Low {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, whatever thread it is on.
unsafe impl Send for Low {}

impl Low {
    /// A block of `len` bytes.
    pub(super) fn new(len: usize) -> io::Result<Low> {
        #[cfg(target_arch = "x86_64")]
        const BELOW: libc::c_int = libc::MAP_32BIT;
        #[cfg(not(target_arch = "x86_64"))]
        const BELOW: libc::c_int = 0;
        /// Where to look on machines whose kernels know no such flag.
        const HINT: usize = 0x2000_0000;
        let bytes = len + SLACK;
        // SAFETY: a new anonymous mapping touches no memory that exists (the hint does not
        // replace a mapping).
        let base = unsafe {
            libc::mmap(
                std::ptr::without_provenance_mut(HINT),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | BELOW,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let block = Low { base, len };
        if block.address() + bytes as u64 > 1 << 32 {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(block)
    }

    /// Address of the first byte.
    pub(super) fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has `len` bytes; rbpf, which could write them, does not run while
        // the borrow of `self` lives.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// The bytes, to be changed.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    /// The 8 bytes at an offset, as a number.
    pub(super) fn word(&self, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        if let Some(from) = self.bytes().get(offset..offset + 8) {
            bytes.copy_from_slice(from);
        }
        u64::from_le_bytes(bytes)
    }

    /// Writes bytes at an offset; nothing if they do not fit.
    pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(to) = self.bytes_mut().get_mut(offset..offset + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: made by `new` with this length; nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len + SLACK) };
    }
}

/// The stack of a running rbpf, which lives inside its interpreter: its address is known from the
/// program's own frame pointer.
pub(super) mod stack {
    /// Bytes of the whole stack, all functions together.
    pub(crate) const BYTES: u64 = 512;

    /// Whether the bytes lie in the stack that ends at `top`.
    fn holds(top: u64, address: u64, len: usize) -> bool {
        address >= top - BYTES && address <= top && len as u64 <= top - address
    }

    /// Copies from the stack that ends at `top`.
    ///
    /// # Safety
    /// `top` is the frame pointer at entry of an rbpf run that waits for the calling helper.
    pub(crate) unsafe fn read(top: u64, address: u64, into: &mut [u8]) -> Option<()> {
        if !holds(top, address, into.len()) {
            return None;
        }
        let from = std::ptr::with_exposed_provenance::<u8>(address as usize);
        // SAFETY: inside the stack by the check; the run waits, so nobody writes to it.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Some(())
    }

    /// Copies to the stack that ends at `top`.
    ///
    /// # Safety
    /// As [`read`].
    pub(crate) unsafe fn write(top: u64, address: u64, bytes: &[u8]) -> Option<()> {
        if !holds(top, address, bytes.len()) {
            return None;
        }
        let to = std::ptr::with_exposed_provenance_mut::<u8>(address as usize);
        // SAFETY: inside the stack by the check; the run waits, so nobody reads it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Some(())
    }
}
