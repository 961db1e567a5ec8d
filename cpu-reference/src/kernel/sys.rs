//! bpf(2) and the few other system calls, behind safe functions.
#![expect(unsafe_code, reason = "system calls and the pages they share")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Commands of bpf(2) (`enum bpf_cmd`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    TestRun = 10,
    BtfLoad = 18,
    MapTake = 21,
    MapFreeze = 22,
}

/// `union bpf_attr`: numbers, and addresses of slices that the caller keeps alive.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Attr([u8; Attr::BYTES]);

impl Attr {
    const BYTES: usize = 160;

    pub(super) fn new() -> Attr {
        Attr([0; Attr::BYTES])
    }

    /// Sets the 32-bit field at a byte offset.
    pub(super) fn u32(mut self, offset: usize, value: u32) -> Attr {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Sets the 64-bit field at a byte offset.
    pub(super) fn u64(mut self, offset: usize, value: u64) -> Attr {
        self.0[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Sets a field of 16 bytes to a name, with what the kernel takes of it.
    pub(super) fn name(mut self, offset: usize, name: &str) -> Attr {
        let taken = name
            .bytes()
            .filter(|b| b.is_ascii_alphanumeric() || b"_.".contains(b));
        for (field, byte) in self.0[offset..offset + 15].iter_mut().zip(taken) {
            *field = byte;
        }
        self
    }

    /// Sets a field to a descriptor.
    pub(super) fn fd(self, offset: usize, fd: &OwnedFd) -> Attr {
        self.u32(offset, fd.as_raw_fd() as u32)
    }

    /// Sets a field to the address of bytes that the kernel reads.
    pub(super) fn input(self, offset: usize, bytes: &[u8]) -> Attr {
        self.u64(offset, bytes.as_ptr() as u64)
    }

    /// Sets a field to the address of bytes that the kernel writes; the caller tells it how many
    /// there are.
    pub(super) fn output(self, offset: usize, bytes: &mut [u8]) -> Attr {
        self.u64(offset, bytes.as_mut_ptr() as u64)
    }

    /// The 32-bit field at a byte offset.
    pub(super) fn get(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[offset..offset + 4]);
        u32::from_le_bytes(bytes)
    }
}

/// bpf(2). Callers of this module's siblings give only addresses of slices that they hold over
/// the call and whose lengths they state or the map's definition does.
pub(super) fn bpf(command: Command, attr: &mut Attr) -> io::Result<c_int> {
    // SAFETY: the attribute is readable and writable for its whole length; the addresses in it
    // come from slices that live over the call (see above).
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as c_int,
            attr.0.as_mut_ptr(),
            Attr::BYTES,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as c_int)
}

/// Takes a descriptor that a command of bpf(2) returned.
pub(super) fn owned(fd: c_int) -> OwnedFd {
    // SAFETY: called only on what a successful creating call has just returned.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Puts the calling thread into a network namespace of its own, with nothing but `lo` as
/// interface 1.
pub(super) fn empty_network() -> io::Result<()> {
    // SAFETY: changes which namespace the calling thread uses, no memory.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Binds the calling thread to a CPU.
pub(super) fn bind_to_cpu(cpu: usize) -> io::Result<()> {
    // SAFETY: a cpu_set_t is an array of numbers; all bits zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is below the size of the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is readable for its whole length; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The name of an interface in the calling thread's network namespace.
pub(super) fn interface_name(index: u32) -> io::Result<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the name is writable for as many bytes as the function writes at most.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return Err(io::Error::last_os_error());
    }
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}

/// How many CPUs are online: those that the calling thread may be bound to.
pub(super) fn online_cpus() -> usize {
    // SAFETY: reads a number of the system.
    let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(cpus).unwrap_or(1).max(1)
}

/// An `AF_XDP` socket, to be put into an xskmap.
pub(super) fn xdp_socket() -> io::Result<OwnedFd> {
    // SAFETY: creates a descriptor, touches no memory.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(owned(fd))
}

/// Opens the channel that `bpf_perf_event_output` writes to on a CPU.
pub(super) fn perf_channel(cpu: usize) -> io::Result<OwnedFd> {
    /// `struct perf_event_attr` of `perf_event_open(2)`, as far as it is used.
    #[repr(C)]
    struct PerfAttr {
        kind: u32,
        size: u32,
        config: u64,
        sample_period: u64,
        sample_type: u64,
        read_format: u64,
        flags: u64,
        wakeup_events: u32,
        rest: [u32; 19],
    }
    /// `PERF_TYPE_SOFTWARE`.
    const SOFTWARE: u32 = 1;
    /// `PERF_COUNT_SW_BPF_OUTPUT`.
    const BPF_OUTPUT: u64 = 10;
    /// `PERF_SAMPLE_RAW`.
    const RAW: u64 = 1 << 10;
    let attr = PerfAttr {
        kind: SOFTWARE,
        size: size_of::<PerfAttr>() as u32,
        config: BPF_OUTPUT,
        sample_period: 1,
        sample_type: RAW,
        read_format: 0,
        flags: 0,
        wakeup_events: 1,
        rest: [0; 19],
    };
    // SAFETY: the attribute is readable for the size it states; -1 (any process) and a CPU.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            -1,
            cpu as c_int,
            -1,
            8,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(owned(fd as c_int))
}

/// Pages shared with the kernel; every access is atomic, since the kernel writes there.
#[derive(Debug)]
pub(super) struct Pages {
    base: *mut u8,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone until it is dropped, wherever it moves.
unsafe impl Send for Pages {}

impl Pages {
    /// Maps `len` bytes of a descriptor from `offset`.
    pub(super) fn new(
        fd: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        writable: bool,
    ) -> io::Result<Pages> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing else.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Pages {
            base: base.cast(),
            len,
        })
    }

    /// The bytes of one page.
    pub(super) fn page_bytes() -> usize {
        // SAFETY: reads a constant of the system.
        unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
    }

    /// The address of an aligned number inside; the first one for any other offset.
    fn at<T>(&self, offset: usize) -> *mut T {
        let size = size_of::<T>();
        let inside = offset.is_multiple_of(size) && offset + size <= self.len;
        // SAFETY: inside the mapping, by the check or because it has at least a page.
        unsafe { self.base.add(if inside { offset } else { 0 }).cast() }
    }

    pub(super) fn u64(&self, offset: usize) -> u64 {
        // SAFETY: `at` gives an aligned address inside the mapping, which lives as long as self.
        let word = unsafe { AtomicU64::from_ptr(self.at(offset)) };
        word.load(Ordering::Acquire)
    }

    pub(super) fn set_u64(&self, offset: usize, value: u64) {
        // SAFETY: as in `u64`; only called on writable mappings.
        let word = unsafe { AtomicU64::from_ptr(self.at(offset)) };
        word.store(value, Ordering::Release);
    }

    pub(super) fn u32(&self, offset: usize) -> u32 {
        // SAFETY: as in `u64`.
        let word = unsafe { AtomicU32::from_ptr(self.at(offset)) };
        word.load(Ordering::Acquire)
    }

    pub(super) fn byte(&self, offset: usize) -> u8 {
        // SAFETY: as in `u64`.
        let byte = unsafe { AtomicU8::from_ptr(self.at(offset)) };
        byte.load(Ordering::Relaxed)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and nothing refers to it now.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}
