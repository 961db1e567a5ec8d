//! `BPF_PROG_LOAD`, with what libbpf hands over beside the instructions: the kind of program,
//! the object's types, and which function each subprogram is.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpf::btf::Btf;
use bpf::hook::{TcAttach, XdpAttach};
use bpf::{Hook, Program, kfunc};
use isa::ebpf::{CallTarget, Insn, Wide, encode};

use super::btf;
use super::sys::{self, Attr, Command};

/// `BPF_F_XDP_HAS_FRAGS`.
const F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// What a program is to the kernel: `enum bpf_prog_type`, `enum bpf_attach_type`, flags.
fn kind(hook: &Hook) -> Option<(u32, u32, u32)> {
    Some(match *hook {
        Hook::Xdp { attach, frags } => {
            let attach = match attach {
                XdpAttach::Devmap => 33,
                XdpAttach::Cpumap => 35,
                XdpAttach::Device => 37,
            };
            (6, attach, if frags { F_XDP_HAS_FRAGS } else { 0 })
        }
        Hook::Tc { attach } => match attach {
            TcAttach::Action => (4, 0, 0),
            TcAttach::Classifier => (3, 0, 0),
            TcAttach::TcxIngress => (3, 46, 0),
            TcAttach::TcxEgress => (3, 47, 0),
            TcAttach::NetkitPrimary => (3, 54, 0),
            TcAttach::NetkitPeer => (3, 55, 0),
        },
        Hook::Raw { .. } => return None,
    })
}

/// Why there is nothing to load.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotLoadable {
    #[error("the kernel has no hook {0}")]
    Hook(String),
    #[error("it names map {0} that there is not")]
    Map(u32),
    #[error("{0}")]
    Encoding(String),
    #[error("BTF: {0}")]
    Btf(io::Error),
    #[error("this kernel has no function {0} for programs")]
    Function(&'static str),
}

/// The object's types in the kernel; `None` where it has none, or such that the kernel does not
/// take: then, as with libbpf, the program goes on without them.
pub(super) fn types(program: &Program) -> io::Result<Option<OwnedFd>> {
    match program.btf.as_deref().map(load_btf).transpose() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        types => types,
    }
}

fn load_btf(bytes: &[u8]) -> io::Result<OwnedFd> {
    /// Bytes of the log that is asked for where types are refused.
    const LOG: usize = 1 << 16;
    let attr = || Attr::new().input(0, bytes).u32(16, bytes.len() as u32);
    let refused = match sys::bpf(Command::BtfLoad, &mut attr()) {
        Ok(fd) => return Ok(sys::owned(fd)),
        Err(error) => error,
    };
    let mut log = vec![0; LOG];
    let mut with_log = attr().u32(20, LOG as u32).u32(24, 1).output(8, &mut log);
    if let Ok(fd) = sys::bpf(Command::BtfLoad, &mut with_log) {
        return Ok(sys::owned(fd));
    }
    let log = text(&log);
    let words = log.lines().rev().take(2).collect::<Vec<_>>();
    Err(io::Error::new(
        refused.kind(),
        format!("{refused}; its log ends: {}", words.join(" | ")),
    ))
}

/// Names kernel functions by their ids in this kernel's BTF.
fn name_functions(insns: &mut [Insn]) -> Result<(), NotLoadable> {
    let mut ids = None;
    for insn in insns {
        let Insn::Call(CallTarget::Kfunc { id, module: 0 }) = insn else {
            continue;
        };
        let Some(function) = kfunc::prototype(*id) else {
            continue;
        };
        if ids.is_none() {
            let bytes = std::fs::read("/sys/kernel/btf/vmlinux").map_err(NotLoadable::Btf)?;
            let kernel = Btf::parse(&bytes).map_err(|error| {
                NotLoadable::Btf(io::Error::new(io::ErrorKind::InvalidData, error))
            })?;
            ids = Some(kfunc::ids_in(&kernel));
        }
        let known = ids.as_ref().and_then(|ids| ids.get(*id as usize).copied());
        match known.flatten() {
            Some(known) => *id = known as i32,
            None => return Err(NotLoadable::Function(function.name)),
        }
    }
    Ok(())
}

/// A program as `BPF_PROG_LOAD` takes it. It can be loaded more than once.
#[derive(Debug)]
pub(super) struct Loadable {
    code: Vec<u8>,
    license: Vec<u8>,
    functions: Vec<u8>,
    /// Types that `functions` names.
    types: Option<OwnedFd>,
    kind: (u32, u32, u32),
}

impl Loadable {
    /// Puts descriptors of maps into the instructions. `types` are the object's, if it is to be
    /// loaded with them; without, a program of several functions gets the least that will do.
    pub(super) fn new<'m>(
        program: &Program,
        types: Option<OwnedFd>,
        map: impl Fn(usize) -> Option<&'m OwnedFd>,
    ) -> Result<Loadable, NotLoadable> {
        let kind =
            kind(&program.hook).ok_or_else(|| NotLoadable::Hook(program.hook.to_string()))?;
        let fd = |index: u32| {
            let fd = map(index as usize).map(AsRawFd::as_raw_fd);
            fd.ok_or(NotLoadable::Map(index))
        };
        let mut insns = program.insns.to_vec();
        name_functions(&mut insns)?;
        for insn in &mut insns {
            if let Insn::LoadWide { value, .. } = insn {
                *value = match *value {
                    Wide::Map(map) => Wide::MapFd(fd(map)?),
                    Wide::MapValue { map, offset } => Wide::MapFdValue {
                        fd: fd(map)?,
                        offset,
                    },
                    other => other,
                };
            }
        }
        let code = encode(&insns).map_err(|error| NotLoadable::Encoding(error.to_string()))?;
        let mut license = program.license.clone().unwrap_or_default().into_bytes();
        license.push(0);
        let described = types.is_some() && program.subprograms.iter().all(|s| s.btf_type != 0);
        let (types, functions) = if described {
            let records = program.subprograms.iter();
            let records = records.flat_map(|s| [s.start as u32, s.btf_type]);
            (types, records.flat_map(u32::to_le_bytes).collect())
        } else if program.subprograms.len() > 1 {
            let (bytes, functions) = btf::functions(program);
            (Some(load_btf(&bytes).map_err(NotLoadable::Btf)?), functions)
        } else {
            (None, Vec::new())
        };
        Ok(Loadable {
            code,
            license,
            functions,
            types,
            kind,
        })
    }

    /// Loads it, with the verifier's log at `level` into `log` (none if that is empty).
    pub(super) fn load(&self, level: u32, log: &mut [u8]) -> io::Result<OwnedFd> {
        let (kind, attach, flags) = self.kind;
        let mut attr = Attr::new()
            .u32(0, kind)
            .u32(4, (self.code.len() / 8) as u32)
            .input(8, &self.code)
            .input(16, &self.license)
            .u32(44, flags)
            .u32(68, attach);
        if !log.is_empty() {
            attr = attr
                .u32(24, level)
                .u32(28, log.len() as u32)
                .output(32, log);
        }
        if let Some(types) = &self.types {
            attr = attr
                .fd(72, types)
                .u32(76, btf::FUNC_INFO_BYTES)
                .input(80, &self.functions)
                .u32(88, self.functions.len() as u32 / btf::FUNC_INFO_BYTES);
        }
        sys::bpf(Command::ProgLoad, &mut attr).map(sys::owned)
    }
}

/// The text in a log's buffer.
pub(super) fn text(log: &[u8]) -> String {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}
