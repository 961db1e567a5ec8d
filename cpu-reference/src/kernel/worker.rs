//! The thread that loads programs and runs packets.

use std::io;
use std::os::fd::OwnedFd;

use bpf::hook::XdpAttach;
use bpf::map::MapSet;
use bpf::run::{Batch, Event, Frame, Trap, TrapCause};
use bpf::{Hook, Program};
use isa::ebpf::{Insn, Wide, encode};

use super::KernelError;
use super::btf;
use super::maps::KernelMaps;
use super::port;
use super::sys::{self, Attr, Command};
use crate::Setup;

/// Largest frame that can come back, in bytes.
const MAX_FRAME: usize = 1 << 17;
/// `struct xdp_md`, bytes.
const XDP_MD: usize = 24;
/// `BPF_PROG_TYPE_XDP`.
const PROG_TYPE_XDP: u32 = 6;
/// `BPF_F_XDP_HAS_FRAGS`.
const F_XDP_HAS_FRAGS: u32 = 1 << 5;
/// Bytes for the verifier's log.
const LOG_BYTES: usize = 1 << 20;

/// Loaded programs and their maps.
#[derive(Debug)]
pub(super) struct Worker {
    entry: OwnedFd,
    /// Keeps the others loaded beside the slots that refer to them.
    _others: Vec<OwnedFd>,
    kernel: KernelMaps,
    maps: MapSet,
    /// The CPU the thread is bound to.
    cpu: Option<u32>,
    out: Vec<u8>,
}

impl Worker {
    pub(super) fn new(setup: &Setup) -> Result<Worker, KernelError> {
        sys::empty_network().map_err(KernelError::Namespace)?;
        port::create_all(&setup.environment, &setup.maps).map_err(KernelError::Ports)?;
        let kernel = KernelMaps::new(&setup.maps, 0)?;
        let mut programs = Vec::new();
        for program in &setup.programs {
            programs.push(load(program, &kernel)?);
        }
        let fill = kernel.fill_programs(&setup.maps, &programs);
        fill.map_err(|error| KernelError::Map {
            name: "prog_array".into(),
            error,
        })?;
        let mut programs = programs.into_iter();
        let entry = programs
            .next()
            .ok_or_else(|| KernelError::Thread(io::ErrorKind::InvalidInput.into()))?;
        Ok(Worker {
            entry,
            _others: programs.collect(),
            kernel,
            maps: setup.maps.clone(),
            cpu: None,
            out: vec![0; MAX_FRAME],
        })
    }

    /// Runs all frames, then reads the maps back.
    pub(super) fn process(&mut self, batch: &mut Batch) {
        for index in 0..batch.frames.len() {
            let errno = match self.run(batch, index) {
                Ok(()) => continue,
                Err(error) => error.raw_os_error().unwrap_or(0),
            };
            let frame = &mut batch.frames[index];
            frame.r0 = 0;
            frame.trapped = true;
            let trap = Trap {
                pc: None,
                code_offset: None,
                cause: TrapCause::NotRun { errno },
            };
            batch.traps.push((index, trap));
        }
        // A map that cannot be read keeps its old contents, which a comparison then shows.
        let _ = self.kernel.read_back(&self.maps);
    }

    fn run(&mut self, batch: &mut Batch, index: usize) -> io::Result<()> {
        let frame = &batch.frames[index];
        if self.cpu != Some(frame.queue) {
            sys::bind_to_cpu(frame.queue as usize)?;
            self.cpu = Some(frame.queue);
        }
        let start = frame.area.start;
        let input = &batch.memory[start + frame.meta as usize..start + frame.end as usize];
        let meta_len = frame.data - frame.meta;
        let mut context = [0; XDP_MD];
        let words = [meta_len, input.len() as u32, 0, frame.port, 0, 0];
        for (field, word) in context.chunks_exact_mut(4).zip(words) {
            field.copy_from_slice(&word.to_le_bytes());
        }
        let mut context_out = [0; XDP_MD];
        let mut attr = Attr::new()
            .fd(0, &self.entry)
            .u32(8, input.len() as u32)
            .u32(12, self.out.len() as u32)
            .input(16, input)
            .output(24, &mut self.out)
            .u32(32, 1)
            .u32(40, XDP_MD as u32)
            .u32(44, XDP_MD as u32)
            .input(48, &context)
            .output(56, &mut context_out);
        sys::bpf(Command::TestRun, &mut attr)?;
        let len = (attr.get(12) as usize).min(self.out.len());
        let meta_len = u32::from_le_bytes([
            context_out[0],
            context_out[1],
            context_out[2],
            context_out[3],
        ]);
        let number = frame.number;
        batch.frames[index].r0 = u64::from(attr.get(4));
        place(batch, index, &self.out[..len], meta_len);
        for channel in &self.kernel.channels {
            channel.drain(|kind, bytes| {
                batch.events.push(Event {
                    packet: number,
                    kind,
                    bytes,
                });
            });
        }
        Ok(())
    }
}

/// Puts what came back (metadata, then the frame) into the frame's area, or into a new one at
/// the end of the memory where it does not fit. How far the head moved is not told; the metadata
/// begins where it began before, as far as there is room.
fn place(batch: &mut Batch, index: usize, bytes: &[u8], meta_len: u32) {
    let frame: &mut Frame = &mut batch.frames[index];
    if bytes.len() > frame.area.len() {
        let start = batch.memory.len().next_multiple_of(8);
        batch.memory.resize(start + bytes.len(), 0);
        frame.area = start..start + bytes.len();
    }
    let meta = (frame.meta as usize).min(frame.area.len() - bytes.len());
    frame.meta = meta as u32;
    frame.data = frame.meta + meta_len.min(bytes.len() as u32);
    frame.end = frame.meta + bytes.len() as u32;
    let start = frame.area.start + meta;
    batch.memory[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Loads one program.
fn load(program: &Program, maps: &KernelMaps) -> Result<OwnedFd, KernelError> {
    let no_encoding = |reason: &str| KernelError::Encoding {
        name: program.name.clone(),
        reason: reason.into(),
    };
    let mut insns = program.insns.to_vec();
    for insn in &mut insns {
        if let Insn::LoadWide { value, .. } = insn {
            let fd = |map: u32| {
                let fd = maps.fd(map as usize).map(std::os::fd::AsRawFd::as_raw_fd);
                fd.ok_or_else(|| no_encoding("it names a map that there is not"))
            };
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
    let code = encode(&insns).map_err(|error| no_encoding(&error.to_string()))?;
    let mut license = program.license.clone().unwrap_or_default().into_bytes();
    license.push(0);
    let (attach, flags) = match program.hook {
        // `enum bpf_attach_type`.
        Hook::Xdp { attach, frags } => (
            match attach {
                XdpAttach::Devmap => 33,
                XdpAttach::Cpumap => 35,
                XdpAttach::Device => 37,
            },
            if frags { F_XDP_HAS_FRAGS } else { 0 },
        ),
        Hook::Tc { .. } | Hook::Raw { .. } => (0, 0),
    };
    let mut attr = Attr::new()
        .u32(0, PROG_TYPE_XDP)
        .u32(4, (code.len() / 8) as u32)
        .input(8, &code)
        .input(16, &license)
        .u32(44, flags)
        .u32(68, attach);
    let (btf, functions) = btf::functions(program);
    let btf_fd;
    if program.subprograms.len() > 1 {
        let mut load = Attr::new().input(0, &btf).u32(16, btf.len() as u32);
        let fd = sys::bpf(Command::BtfLoad, &mut load).map_err(KernelError::Btf)?;
        btf_fd = sys::owned(fd);
        attr = attr
            .fd(72, &btf_fd)
            .u32(76, btf::FUNC_INFO_BYTES)
            .input(80, &functions)
            .u32(88, functions.len() as u32 / btf::FUNC_INFO_BYTES);
    }
    // The log is only asked for once a program is known to be rejected.
    let error = match sys::bpf(Command::ProgLoad, &mut attr.clone()) {
        Ok(fd) => return Ok(sys::owned(fd)),
        Err(error) => error,
    };
    let mut log = vec![0; LOG_BYTES];
    let mut attr = attr
        .u32(24, 1)
        .u32(28, LOG_BYTES as u32)
        .output(32, &mut log);
    let _ = sys::bpf(Command::ProgLoad, &mut attr);
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
    Err(KernelError::Rejected {
        name: program.name.clone(),
        error,
        log: String::from_utf8_lossy(&log[..end]).into_owned(),
    })
}
