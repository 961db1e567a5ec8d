//! `rbpf`: the crate rbpf 0.4.1 as a second opinion on the interpreter.
//!
//! Its interpreter is driven (its JIT leaves upper halves set after 32-bit moves, and panics
//! past about 720 instructions). [`Rbpf::supports`] says whether it runs a program as meant.
//! Maps and helpers are those of `bpf`, so its opinion is one on instructions.
//!
//! rbpf knows no end of a loop, and checks an access only against whole blocks (the packet's
//! area, each map's memory, the stack): what no verifier has accepted may hang, and may read and
//! write any byte of those.
//!
//! [`supports`] holds what rbpf lacks, [`machine`] is what helpers see, [`low`] the memory that
//! 32-bit packet pointers can name.

mod low;
mod machine;
mod supports;

use std::io;
use std::sync::Arc;

use bpf::map::MapSet;
use bpf::run::{Batch, Cost, Environment, Event, EventKind, Frame, Trap, TrapCause};
use bpf::{Finding, Hook, Program, Stage};
use isa::ebpf::{Insn, MemSize, Operand, Reg, Wide, encode};

use crate::{Reference, Runner, Setup, Unsupported};
use low::Low;
use machine::{HELPERS, Host, control};

/// Slots before the program's own: they store the frame pointer and load r1 and r2.
const PROLOGUE_SLOTS: usize = 5;

/// rbpf with one program and its maps.
#[derive(Debug)]
pub struct Rbpf {
    shared: Arc<Shared>,
}

/// What all runners read.
#[derive(Debug)]
struct Shared {
    /// The program, maps resolved.
    insns: Vec<Insn>,
    hook: Hook,
    maps: MapSet,
    environment: Arc<Environment>,
}

impl Rbpf {
    /// Prepares the entry program.
    ///
    /// # Errors
    /// As [`Rbpf::supports`]; [`Unsupported::Environment`] if there is no memory below 4 GiB.
    pub fn new(setup: Setup) -> Result<Rbpf, Unsupported> {
        let Some(entry) = setup.programs.first() else {
            return Err(broken("", "there is no program to run"));
        };
        Rbpf::supports(entry)?;
        let shared = Shared {
            insns: resolved(entry, &setup.maps)?,
            hook: entry.hook.clone(),
            maps: setup.maps,
            environment: setup.environment,
        };
        let rbpf = Rbpf {
            shared: Arc::new(shared),
        };
        // Whatever `supports` overlooks shows here and not on the first packet.
        let code = Low::new(control::BYTES).and_then(|control| rbpf.shared.code(&control));
        let code = code.map_err(|error| Unsupported::Environment {
            needs: "memory below 4 GiB",
            reason: error.to_string(),
        })?;
        match ::rbpf::EbpfVmMbuff::new(Some(&code)) {
            Ok(_) => Ok(rbpf),
            Err(error) => Err(broken("rbpf", &error.to_string())),
        }
    }

    /// Whether rbpf runs the program as RFC 9669 and Linux mean it.
    ///
    /// # Errors
    /// [`Unsupported::Program`] with the first reason why not, in order of pc.
    pub fn supports(program: &Program) -> Result<(), Unsupported> {
        supports::supports(program)
    }
}

fn broken(subject: &str, message: &str) -> Unsupported {
    let rule = "reference/rbpf-instruction";
    Unsupported::Program {
        finding: Box::new(Finding::error(rule, Stage::Behaviour, subject, message)),
    }
}

/// The program's instructions with addresses in place of maps.
fn resolved(program: &Program, maps: &MapSet) -> Result<Vec<Insn>, Unsupported> {
    let mut insns = program.insns.to_vec();
    for (pc, insn) in insns.iter_mut().enumerate() {
        let Insn::LoadWide { value, .. } = insn else {
            continue;
        };
        let address = match *value {
            Wide::Map(map) => maps
                .get(map as usize)
                .map(|_| machine::handle(map as usize)),
            Wide::MapValue { map, offset } => maps.get(map as usize).and_then(|map| {
                let at = map.lookup(&[0; 4], 0)?;
                Some(map.memory().address() + at.0 as u64 + u64::from(offset))
            }),
            _ => continue,
        };
        match address {
            Some(address) => *value = Wide::Value(address),
            None => {
                return Err(broken(
                    "lddw",
                    &format!("slot {pc} names no map with values"),
                ));
            }
        }
    }
    Ok(insns)
}

impl Shared {
    /// The program's bytes: at its beginning the frame pointer is stored in the control block, and
    /// r1 and r2 are loaded from it.
    fn code(&self, control: &Low) -> io::Result<Vec<u8>> {
        let load = |dst, offset: usize| Insn::Load {
            size: MemSize::DW,
            signed: false,
            dst,
            base: Reg::R1,
            offset: offset as i16,
        };
        let mut insns = vec![
            Insn::LoadWide {
                dst: Reg::R1,
                value: Wide::Value(control.address()),
            },
            Insn::WideTail,
            Insn::Store {
                size: MemSize::DW,
                base: Reg::R1,
                offset: control::STACK as i16,
                src: Operand::Reg(Reg::R10),
            },
            load(Reg::R2, control::ARGUMENTS + 8),
            load(Reg::R1, control::ARGUMENTS),
        ];
        insns.extend_from_slice(&self.insns);
        encode(&insns).map_err(io::Error::other)
    }
}

impl Reference for Rbpf {
    fn name(&self) -> &'static str {
        "rbpf"
    }

    fn runner(&self) -> Box<dyn Runner> {
        Box::new(RbpfRunner {
            shared: Arc::clone(&self.shared),
            blocks: None,
        })
    }

    fn maps(&self) -> &MapSet {
        &self.shared.maps
    }
}

/// A thread's rbpf.
#[derive(Debug)]
struct RbpfRunner {
    shared: Arc<Shared>,
    /// Control block and packet area, once there was a packet.
    blocks: Option<(Low, Low)>,
}

impl Runner for RbpfRunner {
    fn process(&mut self, batch: &mut Batch) {
        if let Err(error) = self.run_all(batch) {
            let errno = error.raw_os_error().unwrap_or(0);
            for (index, frame) in batch.frames.iter_mut().enumerate() {
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
    }
}

impl RbpfRunner {
    /// Runs all frames.
    ///
    /// # Errors
    /// If there is no memory below 4 GiB.
    fn run_all(&mut self, batch: &mut Batch) -> io::Result<()> {
        let most = batch.frames.iter().map(|f| f.area.len()).max().unwrap_or(0);
        let (control, mut area) = match self.blocks.take() {
            Some(blocks) => blocks,
            None => (Low::new(control::BYTES)?, Low::new(most)?),
        };
        if area.len() < most {
            area = Low::new(most.next_power_of_two())?;
        }
        let code = self.shared.code(&control)?;
        let mut vm = ::rbpf::EbpfVmMbuff::new(Some(&code))?;
        for &(id, function) in HELPERS {
            vm.register_helper(id, function)?;
        }
        for block in [&control, &area] {
            vm.register_allowed_memory(block.address()..block.address() + block.len() as u64);
        }
        for map in self.shared.maps.iter() {
            let memory = map.memory();
            vm.register_allowed_memory(memory.address()..memory.address() + memory.len() as u64);
        }
        let mut host = Host {
            shared: Arc::clone(&self.shared),
            control,
            area,
            area_len: 0,
            meta: 0,
            data: 0,
            end: 0,
            number: 0,
            arrival_ns: 0,
            port: 0,
            queue: 0,
            randoms: 0,
            redirect: None,
            events: std::mem::take(&mut batch.events),
            trap: None,
        };
        for index in 0..batch.frames.len() {
            let frame = &mut batch.frames[index];
            let bytes = batch.memory.get_mut(frame.area.clone()).unwrap_or_default();
            host.prepare(frame, bytes);
            machine::enter(host);
            let result = vm.execute_program(&[], &[]);
            host = machine::leave().ok_or(io::ErrorKind::Other)?;
            host.finish(frame, bytes);
            let trap = match (result, host.trap.take()) {
                (_, Some(cause)) => Trap {
                    pc: None,
                    code_offset: None,
                    cause,
                    fault: None,
                },
                (Ok(r0), None) => {
                    frame.r0 = r0;
                    continue;
                }
                (Err(error), None) => out_of_bounds(&error.to_string()),
            };
            frame.trapped = true;
            batch.traps.push((index, trap));
        }
        batch.events = host.events;
        self.blocks = Some((host.control, host.area));
        Ok(())
    }
}

impl Host {
    /// Takes over a frame.
    fn prepare(&mut self, frame: &Frame, bytes: &[u8]) {
        self.area_len = bytes.len();
        self.area.put(0, bytes);
        self.meta = frame.meta;
        self.data = frame.data;
        self.end = frame.end;
        self.number = frame.number;
        self.arrival_ns = frame.arrival_ns;
        self.port = frame.port;
        self.queue = frame.queue;
        self.randoms = 0;
        self.redirect = None;
        self.trap = None;
        let arguments = match self.shared.hook {
            Hook::Raw { .. } => [
                self.area.address() + u64::from(frame.data),
                u64::from(frame.end.saturating_sub(frame.data)),
            ],
            Hook::Xdp { .. } | Hook::Tc { .. } => {
                [self.control.address() + control::CONTEXT as u64, 0]
            }
        };
        for (index, argument) in arguments.into_iter().enumerate() {
            let at = control::ARGUMENTS + 8 * index;
            self.control.put(at, &argument.to_le_bytes());
        }
        self.write_context();
    }

    /// Leaves in the frame what the program left.
    fn finish(&mut self, frame: &mut Frame, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.area.bytes()[..self.area_len]);
        frame.meta = self.meta;
        frame.data = self.data;
        frame.end = self.end;
        frame.redirect = self.redirect;
        frame.r0 = 0;
        frame.cost = Cost::default();
        frame.trapped = false;
        let (shared, number) = (Arc::clone(&self.shared), self.number);
        shared.maps.drain_rings(self.queue, |map, bytes| {
            self.events.push(Event {
                packet: number,
                kind: EventKind::Ringbuf { map },
                bytes: bytes.to_vec(),
            });
        });
    }
}

/// The trap that an error of rbpf's tells: it knows no other than an access outside.
fn out_of_bounds(error: &str) -> Trap {
    let after = |mark: &str| error.split(mark).nth(1).unwrap_or("");
    let digits = |text: &str, radix| {
        let end = text.find(|c: char| !c.is_digit(radix));
        u64::from_str_radix(&text[..end.unwrap_or(text.len())], radix).ok()
    };
    // rbpf has gone on to the next slot when it checks an access.
    let pc = digits(after("insn #"), 10)
        .and_then(|slot| (slot as usize).checked_sub(PROLOGUE_SLOTS + 1));
    Trap {
        pc,
        code_offset: None,
        cause: TrapCause::OutOfBounds {
            address: digits(after("addr 0x"), 16).unwrap_or(0),
            size: digits(after("size "), 10).unwrap_or(0) as u32,
            write: error.contains("memory store"),
        },
        fault: None,
    }
}
