//! Asks the running kernel through bpf(2). Only for tests.
#![expect(unsafe_code, reason = "system calls")]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "only tests use it"
)]

use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Commands of bpf(2), linux/bpf.h.
pub const MAP_CREATE: i32 = 0;
pub const MAP_LOOKUP: i32 = 1;
pub const MAP_UPDATE: i32 = 2;
pub const MAP_DELETE: i32 = 3;
pub const MAP_NEXT_KEY: i32 = 4;
pub const PROG_LOAD: i32 = 5;
pub const PROG_TEST_RUN: i32 = 10;
pub const OBJ_GET_INFO: i32 = 15;
pub const MAP_TAKE: i32 = 21;
pub const MAP_FREEZE: i32 = 22;

/// `union bpf_attr`, as bytes.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Attr(pub [u8; 160]);

impl Attr {
    pub fn new() -> Attr {
        Attr([0; 160])
    }

    pub fn u32(mut self, offset: usize, value: u32) -> Attr {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    pub fn u64(mut self, offset: usize, value: u64) -> Attr {
        self.0[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    pub fn get32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.0[offset..offset + 4].try_into().unwrap())
    }
}

/// The system call; the positive error number on failure.
pub fn bpf(command: i32, attr: &mut Attr) -> Result<i32, i64> {
    // SAFETY: the attribute is readable and writable for its whole length; addresses in it come
    // from slices that the callers keep alive.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.0.as_mut_ptr(), 160) };
    if result < 0 {
        Err(i64::from(
            Error::last_os_error().raw_os_error().unwrap_or(0),
        ))
    } else {
        Ok(result as i32)
    }
}

/// Whether bpf(2) can be used here; says that the test is skipped if not.
///
/// # Panics
/// If `NICBED_REQUIRE` asks for the kernel.
pub fn available() -> bool {
    let mut attr = Attr::new().u32(0, 2).u32(4, 4).u32(8, 8).u32(12, 1);
    if let Ok(fd) = bpf(MAP_CREATE, &mut attr) {
        drop(own(fd));
        return true;
    }
    #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
    let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|word| word == "kernel"),
        "NICBED_REQUIRE names the kernel, but bpf(2) cannot be used"
    );
    println!("skipped: needs kernel (bpf(2) as root)");
    false
}

pub fn own(fd: i32) -> OwnedFd {
    // SAFETY: a fresh descriptor that bpf(2) or socket(2) gave, owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// An AF_XDP socket, to be put in an xskmap.
pub fn xdp_socket() -> OwnedFd {
    // SAFETY: makes a socket, touches no memory.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW, 0) };
    assert!(fd >= 0, "{}", Error::last_os_error());
    own(fd)
}

/// Number of CPUs for which the kernel keeps values in a per-CPU map.
pub fn possible_cpus() -> u32 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    text.trim()
        .rsplit(['-', ','])
        .next()
        .and_then(|last| last.parse::<u32>().ok())
        .unwrap_or(0)
        + 1
}

/// A map in the kernel.
pub struct KernelMap {
    pub fd: OwnedFd,
    pub value_bytes: usize,
}

impl KernelMap {
    /// Creates one; `inner` is the map that a map-in-map is shaped after.
    pub fn new(def: &bpf::map::MapDef, inner: Option<&KernelMap>) -> Result<KernelMap, i64> {
        let mut attr = Attr::new()
            .u32(0, def.kind.number())
            .u32(4, def.key_size)
            .u32(8, def.value_size)
            .u32(12, def.max_entries)
            .u32(16, def.flags)
            .u32(20, inner.map_or(0, |m| m.raw() as u32))
            .u64(64, def.extra);
        let value_bytes = if def.kind.is_percpu() {
            def.value_size.next_multiple_of(8) * possible_cpus()
        } else {
            def.value_size
        } as usize;
        Ok(KernelMap {
            fd: own(bpf(MAP_CREATE, &mut attr)?),
            value_bytes,
        })
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn attr(&self, key: &[u8], value: u64, flags: u64) -> Attr {
        let key = if key.is_empty() {
            0
        } else {
            key.as_ptr() as u64
        };
        Attr::new()
            .u32(0, self.raw() as u32)
            .u64(8, key)
            .u64(16, value)
            .u64(24, flags)
    }

    pub fn lookup(&self, key: &[u8]) -> Result<Vec<u8>, i64> {
        let mut value = vec![0; self.value_bytes.max(8)];
        bpf(
            MAP_LOOKUP,
            &mut self.attr(key, value.as_mut_ptr() as u64, 0),
        )?;
        value.truncate(self.value_bytes);
        Ok(value)
    }

    /// Asks a Bloom filter about a value.
    pub fn ask(&self, value: &[u8]) -> Result<(), i64> {
        let mut value = value.to_vec();
        let mut attr = self.attr(&[], value.as_mut_ptr() as u64, 0);
        bpf(MAP_LOOKUP, &mut attr).map(|_| ())
    }

    pub fn take(&self, key: &[u8]) -> Result<Vec<u8>, i64> {
        let mut value = vec![0; self.value_bytes.max(8)];
        bpf(MAP_TAKE, &mut self.attr(key, value.as_mut_ptr() as u64, 0))?;
        value.truncate(self.value_bytes);
        Ok(value)
    }

    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), i64> {
        bpf(
            MAP_UPDATE,
            &mut self.attr(key, value.as_ptr() as u64, flags),
        )
        .map(|_| ())
    }

    pub fn delete(&self, key: &[u8]) -> Result<(), i64> {
        bpf(MAP_DELETE, &mut self.attr(key, 0, 0)).map(|_| ())
    }

    /// Forbids changes from outside.
    pub fn freeze(&self) -> Result<(), i64> {
        bpf(MAP_FREEZE, &mut Attr::new().u32(0, self.raw() as u32)).map(|_| ())
    }

    /// All keys, sorted by their bytes.
    pub fn keys(&self, key_size: usize) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut next = vec![0; key_size];
            let last = keys.last().map_or(&[][..], |k| k);
            let mut attr = self.attr(last, next.as_mut_ptr() as u64, 0);
            if bpf(MAP_NEXT_KEY, &mut attr).is_err() {
                break;
            }
            keys.push(next);
        }
        keys.sort_unstable();
        keys
    }

    pub fn id(&self) -> u32 {
        id_of(self.raw(), 4)
    }
}

/// The kernel's id of a map (offset 4 in its info) or program (also offset 4).
pub fn id_of(fd: RawFd, offset: usize) -> u32 {
    let mut info = [0u8; 256];
    let mut attr = Attr::new()
        .u32(0, fd as u32)
        .u32(4, 256)
        .u64(8, info.as_mut_ptr() as u64);
    bpf(OBJ_GET_INFO, &mut attr).unwrap();
    u32::from_le_bytes(info[offset..offset + 4].try_into().unwrap())
}

/// A loaded XDP program.
pub struct KernelProgram {
    pub fd: OwnedFd,
}

/// What a test run left.
#[derive(Debug, PartialEq, Eq)]
pub struct TestRun {
    pub retval: u32,
    pub bytes: Vec<u8>,
}

impl KernelProgram {
    /// Loads an XDP program of raw 8-byte slots.
    ///
    /// # Errors
    /// The error number and the verifier's log.
    pub fn load(slots: &[u64]) -> Result<KernelProgram, (i64, String)> {
        KernelProgram::load_type(6, slots)
    }

    /// The same for any program type.
    ///
    /// # Errors
    /// The error number and the verifier's log.
    pub fn load_type(kind: u32, slots: &[u64]) -> Result<KernelProgram, (i64, String)> {
        KernelProgram::load_licensed(kind, slots, c"GPL")
    }

    /// The same with another licence.
    ///
    /// # Errors
    /// The error number and the verifier's log.
    pub fn load_licensed(
        kind: u32,
        slots: &[u64],
        licence: &std::ffi::CStr,
    ) -> Result<KernelProgram, (i64, String)> {
        KernelProgram::load_attached(kind, 0, slots, licence)
    }

    /// The same with an expected attach type.
    ///
    /// # Errors
    /// The error number and the verifier's log.
    pub fn load_attached(
        kind: u32,
        attach: u32,
        slots: &[u64],
        licence: &std::ffi::CStr,
    ) -> Result<KernelProgram, (i64, String)> {
        let mut log = vec![0u8; 1 << 16];
        let mut attr = Attr::new()
            .u32(0, kind)
            .u32(4, slots.len() as u32)
            .u64(8, slots.as_ptr() as u64)
            .u64(16, licence.as_ptr() as u64)
            .u32(24, 1)
            .u32(28, log.len() as u32)
            .u64(32, log.as_mut_ptr() as u64)
            .u32(68, attach);
        match bpf(PROG_LOAD, &mut attr) {
            Ok(fd) => Ok(KernelProgram { fd: own(fd) }),
            Err(errno) => {
                let end = log.iter().position(|b| *b == 0).unwrap_or(0);
                Err((errno, String::from_utf8_lossy(&log[..end]).into_owned()))
            }
        }
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// BPF_PROG_TEST_RUN on one frame, on CPU 0.
    pub fn run(&self, frame: &[u8]) -> Result<TestRun, i64> {
        let cpu0 = 1u64;
        // SAFETY: reads 8 bytes; moves this thread only.
        let moved = unsafe { libc::sched_setaffinity(0, 8, (&raw const cpu0).cast()) };
        assert_eq!(moved, 0, "{}", Error::last_os_error());
        let mut out = vec![0u8; 32768];
        let mut attr = Attr::new()
            .u32(0, self.raw() as u32)
            .u32(8, frame.len() as u32)
            .u32(12, out.len() as u32)
            .u64(16, frame.as_ptr() as u64)
            .u64(24, out.as_mut_ptr() as u64)
            .u32(32, 1);
        bpf(PROG_TEST_RUN, &mut attr)?;
        out.truncate(attr.get32(12) as usize);
        Ok(TestRun {
            retval: attr.get32(4),
            bytes: out,
        })
    }
}

/// SplitMix64: the tests' own source of seeded numbers.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// Runs `work` in an empty network namespace of its own, on a thread of its own.
pub fn in_new_namespace(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: changes the namespace of this thread only.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "{}", Error::last_os_error());
        work();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// One 8-byte slot.
pub fn insn(code: u8, dst: u8, src: u8, offset: i16, imm: i32) -> u64 {
    u64::from(code)
        | u64::from(dst) << 8
        | u64::from(src) << 12
        | u64::from(offset as u16) << 16
        | u64::from(imm as u32) << 32
}

/// A 64-bit load; `src` 1 is the map with descriptor `value`.
pub fn wide(slots: &mut Vec<u64>, dst: u8, src: u8, value: u64) {
    slots.push(insn(0x18, dst, src, 0, value as i32));
    slots.push(insn(0, 0, 0, 0, (value >> 32) as i32));
}

/// Opens an event of every CPU for `bpf_perf_event_output` and puts them into the map.
pub fn listen(map: &KernelMap, cpus: u32) -> Vec<OwnedFd> {
    let mut events = Vec::new();
    for cpu in 0..cpus {
        // struct perf_event_attr: PERF_TYPE_SOFTWARE, 128 bytes, PERF_COUNT_SW_BPF_OUTPUT,
        // sample_type PERF_SAMPLE_RAW.
        let attr = Attr::new()
            .u32(0, 1)
            .u32(4, 128)
            .u64(8, 10)
            .u64(24, 1 << 10);
        // SAFETY: the attribute is 128 bytes of a longer block that lives through the call.
        let fd =
            unsafe { libc::syscall(libc::SYS_perf_event_open, attr.0.as_ptr(), -1, cpu, -1, 8) };
        if fd < 0 {
            // A CPU that is not there.
            continue;
        }
        let fd = own(fd as i32);
        // A buffer that may only be read is overwritten when it is full: nothing is refused.
        // SAFETY: a new mapping; it stays until the process ends.
        let buffer = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                17 * 4096,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        assert_ne!(buffer, libc::MAP_FAILED, "{}", Error::last_os_error());
        map.update(&cpu.to_le_bytes(), &fd.as_raw_fd().to_le_bytes(), 0)
            .unwrap();
        events.push(fd);
    }
    events
}

/// Sets up the network of this thread's namespace with ip(8), forwarding on for all interfaces
/// but `p4` and `lo`.
pub fn ip_network(commands: &[&str]) {
    use std::process::Command;
    for command in commands {
        let output = Command::new("ip")
            .args(command.split(' '))
            .output()
            .unwrap();
        assert!(output.status.success(), "ip {command}: {output:?}");
    }
    for family in ["ipv4", "ipv6"] {
        for (port, on) in [("p2", "1"), ("p3", "1"), ("p4", "0"), ("lo", "0")] {
            let path = format!("/proc/sys/net/{family}/conf/{port}/forwarding");
            std::fs::write(path, on).unwrap();
        }
    }
}
