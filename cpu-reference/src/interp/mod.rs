//! `interp`: the complete, checked interpreter.
//!
//! It has every instruction of `isa::ebpf` that a Linux program can contain (kernel functions
//! that nicbed does not know and `callx` end in a trap), and the maps and helpers of `bpf`. Every access is held against
//! the region it lies in, so that a program which no verifier has seen cannot do more than trap.
//!
//! [`code`] prepares a program, [`space`] gives addresses to what it may touch, [`machine`] is
//! one packet's memory, [`exec`] runs it, and [`trace`] shows it instruction by instruction.

#![forbid(unsafe_code)]

mod alu;
mod code;
mod exec;
mod machine;
mod space;
mod trace;

use std::sync::Arc;

use bpf::area::FrameArea;
use bpf::map::MapSet;
use bpf::run::{Batch, Cost, Environment, Event, EventKind, Trap};
use bpf::trace::Observer;
use bpf::{Finding, Hook, Stage};

use crate::{Reference, Runner, Setup, Unsupported};
use code::Code;
use exec::Saved;
use machine::Packet;
use space::{FRAME_STRIDE, FRAMES, MapRegions};

/// Most instructions that one packet's run may execute: far more than any program that Linux
/// accepts executes on a packet, unless it loops with `may_goto` or callbacks for their own
/// sake.
pub(super) const FUEL: u64 = 1 << 28;

/// The interpreter with its programs and maps.
#[derive(Debug)]
pub struct Interp {
    shared: Arc<Shared>,
}

/// What all runners read.
#[derive(Debug)]
struct Shared {
    code: Code,
    hook: Hook,
    regions: MapRegions,
    maps: MapSet,
    environment: Arc<Environment>,
}

impl Interp {
    /// Prepares the programs.
    ///
    /// # Errors
    /// [`Unsupported::Program`] if there is no program, or the maps need more addresses than there
    /// are.
    pub fn new(setup: Setup) -> Result<Interp, Unsupported> {
        let refuse = |rule, message: &str| Unsupported::Program {
            finding: Box::new(Finding::error(rule, Stage::Behaviour, "interp", message)),
        };
        let Some(entry) = setup.programs.first() else {
            return Err(refuse("reference/no-program", "there is no program to run"));
        };
        let hook = entry.hook.clone();
        let regions = MapRegions::new(&setup.maps).ok_or_else(|| {
            refuse(
                "reference/map-memory",
                "the maps need more memory than interp has addresses for",
            )
        })?;
        let mut code = Code::default();
        for program in &setup.programs {
            code.add(program, &regions);
        }
        Ok(Interp {
            shared: Arc::new(Shared {
                code,
                hook,
                regions,
                maps: setup.maps,
                environment: setup.environment,
            }),
        })
    }
}

impl Reference for Interp {
    fn name(&self) -> &'static str {
        "interp"
    }

    fn runner(&self) -> Box<dyn Runner> {
        Box::new(InterpRunner {
            shared: Arc::clone(&self.shared),
            stack: vec![0; FRAMES * FRAME_STRIDE],
            saved: Vec::with_capacity(FRAMES),
        })
    }

    fn maps(&self) -> &MapSet {
        &self.shared.maps
    }
}

/// A thread's interpreter.
#[derive(Debug)]
struct InterpRunner {
    shared: Arc<Shared>,
    stack: Vec<u8>,
    saved: Vec<Saved>,
}

impl Runner for InterpRunner {
    fn process(&mut self, batch: &mut Batch) {
        self.run(batch, &mut trace::Blind);
    }

    fn trace(&mut self, batch: &mut Batch, observer: &mut dyn Observer) -> bool {
        self.run(batch, &mut trace::Looking { observer });
        true
    }
}

impl InterpRunner {
    fn run<W: trace::Watch>(&mut self, batch: &mut Batch, watch: &mut W) {
        batch.arrive(&self.shared.hook, &self.shared.environment);
        for index in 0..batch.frames.len() {
            let frame = &mut batch.frames[index];
            let area = batch.memory.get_mut(frame.area.clone()).unwrap_or_default();
            let mut packet = Packet {
                shared: &self.shared,
                stack: &mut self.stack,
                saved: &mut self.saved,
                depth: 0,
                // An end outside the area cannot be reached, so that it is checked once.
                end: frame.end.min(area.len() as u32),
                meta: frame.meta,
                data: frame.data,
                area: FrameArea::Lent(area),
                number: frame.number,
                arrival_ns: frame.arrival_ns,
                port: frame.port,
                queue: frame.queue,
                randoms: 0,
                redirect: None,
                events: &mut batch.events,
                emitted: &mut batch.emitted,
                skb: batch.skbs.get_mut(index),
            };
            let end = exec::run(&mut packet, watch);
            frame.meta = packet.meta;
            frame.data = packet.data;
            frame.end = packet.end;
            frame.redirect = packet.redirect;
            let own = packet.area.into_own();
            frame.cost = Cost {
                instructions: end.instructions,
                ..Cost::default()
            };
            if self.shared.maps.has_rings() {
                self.shared.maps.drain_rings(frame.queue, |map, bytes| {
                    batch.events.push(Event {
                        packet: frame.number,
                        kind: EventKind::Ringbuf { map },
                        bytes: bytes.to_vec(),
                    });
                });
            }
            frame.trapped = false;
            match end.result {
                Ok(r0) => frame.r0 = r0,
                Err((slot, cause)) => {
                    frame.r0 = 0;
                    frame.trapped = true;
                    let trap = Trap {
                        pc: Some(slot as usize),
                        code_offset: None,
                        cause,
                        fault: None,
                    };
                    batch.traps.push((index, trap));
                }
            }
            if let Some(own) = own {
                batch.take_back(index, &own);
            }
        }
    }
}
