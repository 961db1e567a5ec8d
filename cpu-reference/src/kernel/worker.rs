//! The thread that loads programs and runs packets.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bpf::map::MapSet;
use bpf::run::{Batch, Environment, Event, Frame, Trap, TrapCause};
use bpf::skb::SK_BUFF_BYTES;
use bpf::{Hook, Program};

use super::KernelError;
use super::given;
use super::load::{self, Loadable};
use super::maps::KernelMaps;
use super::network;
use super::skb;
use super::sys::{self, Attr, Command};
use super::untold;
use crate::Setup;

/// Largest frame that can come back, in bytes.
const MAX_FRAME: usize = 1 << 17;
/// `struct xdp_md`, bytes.
const XDP_MD: usize = 24;
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
    /// Whether frames come in by an interface that programs cannot name, so that there are
    /// receive queues.
    unnamed: bool,
    hook: Hook,
    environment: Arc<Environment>,
    /// The CPU the thread is bound to.
    cpu: Option<u32>,
    out: Vec<u8>,
}

impl Worker {
    pub(super) fn new(setup: &Setup) -> Result<Worker, KernelError> {
        sys::empty_network().map_err(KernelError::Namespace)?;
        let cpus = sys::online_cpus();
        let unnamed = cpus > 1 && !untold::names_port(setup);
        network::fill(&setup.environment, &setup.maps, cpus as u32, unnamed)
            .map_err(KernelError::Network)?;
        let types = setup.programs.first().map(|p| load::types(p));
        let types = types.transpose().map_err(KernelError::Btf)?.flatten();
        let kernel = KernelMaps::new(&setup.maps, types.as_ref(), cpus)?;
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
            unnamed,
            hook: setup.programs[0].hook.clone(),
            environment: Arc::clone(&setup.environment),
            cpu: None,
            out: vec![0; MAX_FRAME],
        })
    }

    /// Makes the contents of our maps those of the kernel's.
    pub(super) fn read_back(&self) -> io::Result<()> {
        self.kernel.read_back(&self.maps)
    }

    /// Makes the contents of the kernel's maps those of ours.
    pub(super) fn write_maps(&mut self) -> io::Result<()> {
        self.kernel.write(&self.maps)
    }

    /// Runs all frames.
    pub(super) fn process(&mut self, batch: &mut Batch) {
        batch.arrive(&self.hook, &self.environment);
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
                fault: None,
            };
            batch.traps.push((index, trap));
        }
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
        let mut context = [0; SK_BUFF_BYTES];
        let mut context_len = SK_BUFF_BYTES;
        if let Some(skb) = batch.skbs.get(index) {
            context = skb::context(skb);
        } else {
            context_len = XDP_MD;
            let (port, queue) = match (self.unnamed, frame.port) {
                (true, _) => (network::UNNAMED, frame.queue),
                // The loopback interface has one queue.
                (false, 1) => (1, 0),
                (false, port) => (port, frame.queue),
            };
            let words = [meta_len, input.len() as u32, 0, port, queue, 0];
            for (field, word) in context.chunks_exact_mut(4).zip(words) {
                field.copy_from_slice(&word.to_le_bytes());
            }
        }
        let given = &self.kernel.given;
        given.set(self.environment.seed, frame.number, frame.arrival_ns);
        let mut context_out = [0; SK_BUFF_BYTES];
        let mut attr = Attr::new()
            .fd(0, &self.entry)
            .u32(8, input.len() as u32)
            .u32(12, self.out.len() as u32)
            .input(16, input)
            .output(24, &mut self.out)
            .u32(32, 1)
            .u32(40, context_len as u32)
            .u32(44, context_len as u32)
            .input(48, &context[..context_len])
            .output(56, &mut context_out[..context_len]);
        sys::bpf(Command::TestRun, &mut attr)?;
        let len = (attr.get(12) as usize).min(self.out.len());
        let number = frame.number;
        batch.frames[index].r0 = u64::from(attr.get(4));
        let meta_len = if let Some(skb) = batch.skbs.get_mut(index) {
            skb::take_over(skb, &context_out, len as u32);
            0
        } else {
            // The metadata begins the output.
            let [a, b, c, d, ..] = context_out;
            u32::from_le_bytes([a, b, c, d])
        };
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
    let not_loadable = |reason: String| KernelError::NotLoadable {
        name: program.name.clone(),
        reason,
    };
    let replaced = given::replace(program, maps.len()).ok_or_else(|| {
        not_loadable("a jump is too long once calls of clocks are replaced".into())
    })?;
    let loadable = Loadable::new(&replaced, None, |map| maps.fd(map))
        .map_err(|error| not_loadable(error.to_string()))?;
    // The log is only asked for once a program is known to be rejected.
    let error = match loadable.load(0, &mut []) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    let mut log = vec![0; LOG_BYTES];
    let _ = loadable.load(1, &mut log);
    Err(KernelError::Rejected {
        name: program.name.clone(),
        error,
        log: load::text(&log),
    })
}
