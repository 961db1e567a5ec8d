//! The kernel's verifier, asked by BPF_PROG_LOAD.
#![allow(unsafe_code, reason = "bpf(2) is a system call")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use bpf::btf::Btf;
use bpf::hook::{TcAttach, XdpAttach};
use bpf::map::{DataSection, MapDef};
use bpf::{Hook, Program};
use isa::ebpf::{CallTarget, Insn, Wide, encode};

const MAP_CREATE: i64 = 0;
const MAP_UPDATE: i64 = 2;
const PROG_LOAD: i64 = 5;
const BTF_LOAD: i64 = 18;
const MAP_FREEZE: i64 = 22;

const LOG_BYTES: usize = 1 << 20;

/// What the kernel said.
#[derive(Debug)]
pub struct Verdict {
    pub accepted: bool,
    /// Its log, from the last program state on if it is long.
    pub log: String,
    /// Instructions it processed.
    pub processed: Option<u64>,
}

impl Verdict {
    /// The line that tells why.
    pub fn reason(&self) -> &str {
        self.log
            .lines()
            .rev()
            .find(|l| {
                !l.starts_with("processed ") && !l.starts_with("verification time") && !l.is_empty()
            })
            .unwrap_or("")
    }
}

/// Zeroed argument of bpf(2), filled at the offsets of `union bpf_attr` (linux/bpf.h).
#[derive(Clone)]
struct Attr([u8; 160]);

impl Attr {
    fn new() -> Attr {
        Attr([0; 160])
    }

    fn u32(mut self, at: usize, value: u32) -> Attr {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, at: usize, value: u64) -> Attr {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn call(&mut self, command: i64) -> std::io::Result<i32> {
        // SAFETY: the attribute is a readable and writable buffer longer than the union, and
        // every address in it was taken from a live buffer of the stated length by the caller.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), 160) };
        if result < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(result as i32)
    }

    fn open(&mut self, command: i64) -> std::io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

/// Whether the kernel can be asked. If not, says so; with `NICBED_REQUIRE=kernel` that fails.
pub fn available() -> bool {
    let probe = Attr::new()
        .u32(0, 2)
        .u32(4, 4)
        .u32(8, 8)
        .u32(12, 1)
        .open(MAP_CREATE);
    if probe.is_ok() {
        return true;
    }
    let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|r| r == "kernel"),
        "NICBED_REQUIRE names kernel, but bpf(2) says {probe:?}"
    );
    println!("skipped: needs a kernel with BPF and the right to use it");
    false
}

fn load_types(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    Attr::new()
        .u64(0, address(bytes))
        .u32(16, bytes.len() as u32)
        .open(BTF_LOAD)
}

fn create(def: &MapDef, types: Option<&OwnedFd>) -> std::io::Result<OwnedFd> {
    let inner = def.inner.as_deref();
    let inner = inner.map(|def| create(def, types)).transpose()?;
    let mut plain = Attr::new()
        .u32(0, def.kind.number())
        .u32(4, def.key_size)
        .u32(8, def.value_size)
        .u32(12, def.max_entries)
        .u32(16, def.flags);
    if let Some(inner) = &inner {
        plain = plain.u32(20, inner.as_raw_fd() as u32);
    }
    let mut fd = plain.clone().open(MAP_CREATE);
    // Types of maps that take none are left out, as libbpf does.
    if let Some(types) = types.filter(|_| def.value_type != 0) {
        let key = if def.data.is_some() { 0 } else { def.key_type };
        let mut typed = plain
            .u32(48, types.as_raw_fd() as u32)
            .u32(52, key)
            .u32(56, def.value_type);
        fd = typed.open(MAP_CREATE).or(fd);
    }
    let fd = fd?;
    if let Some(initial) = &def.initial {
        let key = [0u8; 4];
        Attr::new()
            .u32(0, fd.as_raw_fd() as u32)
            .u64(8, address(&key))
            .u64(16, address(initial))
            .call(MAP_UPDATE)?;
    }
    if def.data == Some(DataSection::Rodata) {
        Attr::new().u32(0, fd.as_raw_fd() as u32).call(MAP_FREEZE)?;
    }
    Ok(fd)
}

/// The kernel's own BTF.
pub fn types() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default())
}

/// The kernel's id of a kernel function, by its index here; what is not known stays.
fn kfunc_id(index: i32) -> i32 {
    static IDS: OnceLock<Vec<Option<u32>>> = OnceLock::new();
    let ids = IDS.get_or_init(|| match Btf::parse(types()) {
        Ok(types) => bpf::kfunc::ids_in(&types),
        Err(_) => Vec::new(),
    });
    let known = ids.get(index as usize).copied().flatten();
    known.map_or(index, |id| id as i32)
}

/// Loads a program, and tells what the verifier said; for a rejection with the end of its log.
pub fn load(program: &Program) -> std::io::Result<Verdict> {
    let verdict = load_with_log(program, 0)?;
    if verdict.accepted {
        return Ok(verdict);
    }
    Ok(Verdict {
        accepted: false,
        ..load_with_log(program, 1)?
    })
}

/// The same with the log at a level: 1 for branches, 2 for every instruction, 4 for statistics,
/// 0 for none.
pub fn load_with_log(program: &Program, level: u32) -> std::io::Result<Verdict> {
    let types = program.btf.as_deref().map(load_types).transpose()?;
    let maps = program.maps.iter().map(|def| create(def, types.as_ref()));
    let maps: Vec<OwnedFd> = maps.collect::<Result<_, _>>()?;
    let fd = |index: u32| maps[index as usize].as_raw_fd();
    let insns: Vec<Insn> = program
        .insns
        .iter()
        .map(|insn| match *insn {
            Insn::LoadWide {
                dst,
                value: Wide::Map(index),
            } => Insn::LoadWide {
                dst,
                value: Wide::MapFd(fd(index)),
            },
            Insn::LoadWide {
                dst,
                value: Wide::MapValue { map, offset },
            } => Insn::LoadWide {
                dst,
                value: Wide::MapFdValue {
                    fd: fd(map),
                    offset,
                },
            },
            Insn::Call(CallTarget::Kfunc { id, module: 0 }) => Insn::Call(CallTarget::Kfunc {
                id: kfunc_id(id),
                module: 0,
            }),
            other => other,
        })
        .collect();
    let bytes = encode(&insns).expect("encodable");
    let (kind, attach, flags) = match program.hook {
        Hook::Xdp { attach, frags } => (
            6,
            match attach {
                XdpAttach::Device => 37,
                XdpAttach::Devmap => 33,
                XdpAttach::Cpumap => 35,
            },
            if frags { 1 << 5 } else { 0 },
        ),
        Hook::Tc { attach } => (if attach == TcAttach::Action { 4 } else { 3 }, 0, 0),
        Hook::Raw { .. } => panic!("the kernel has no raw hook"),
    };
    let license = std::ffi::CString::new(program.license.clone().unwrap_or_default()).unwrap();
    let mut log = vec![0u8; if level == 0 { 0 } else { LOG_BYTES }];
    let mut attr = Attr::new()
        .u32(0, kind)
        .u32(4, (bytes.len() / 8) as u32)
        .u64(8, address(&bytes))
        .u64(16, address(license.as_bytes_with_nul()))
        .u32(24, level)
        .u32(28, log.len() as u32)
        .u64(
            32,
            if level == 0 {
                0
            } else {
                log.as_mut_ptr() as u64
            },
        )
        .u32(44, flags)
        .u32(68, attach);
    let records = program.subprograms.iter();
    let records = records.flat_map(|s| [s.start as u32, s.btf_type]);
    let records: Vec<u8> = records.flat_map(u32::to_le_bytes).collect();
    if let Some(types) = &types {
        attr = attr
            .u32(72, types.as_raw_fd() as u32)
            .u32(76, 8)
            .u64(80, address(&records))
            .u32(88, (records.len() / 8) as u32);
    }
    let result = attr.open(PROG_LOAD);
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    let log = String::from_utf8_lossy(&log[..end]).into_owned();
    let processed = log.lines().find_map(|l| {
        let rest = l.strip_prefix("processed ")?;
        rest.split(' ').next()?.parse().ok()
    });
    let accepted = match result {
        Ok(_) => true,
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => return Err(e),
        Err(_) => false,
    };
    Ok(Verdict {
        accepted,
        log,
        processed,
    })
}
