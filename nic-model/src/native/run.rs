//! The loop over a batch, and what it does before and after each packet.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpf::fault::Area;
use bpf::run::{Batch, Cost, Emitted, Event, EventKind, Frame, Trap, TrapCause};
use bpf::skb::{Skb, Word};
use isa::x86_64::abi::{Entry, RunState, TAIL_CALL_LIMIT};

use super::Program;
use super::enter::{self, WayOut};
use super::fault::{self, Landing, Place, Seen};
use super::machine::Run;
use crate::ProgramTable;

/// Bytes on both sides of something known that are still told as a distance from it.
const BESIDE: u64 = 4096;

/// Whether a frame's offsets lie in order inside its area, and its area in the memory.
pub(super) fn fits(frame: &Frame, memory: usize) -> bool {
    let area = &frame.area;
    area.start <= area.end
        && area.end <= memory
        && frame.meta <= frame.data
        && frame.data <= frame.end
        && frame.end as usize <= area.end - area.start
}

/// One packet after the other through a program.
pub(super) struct Packets<'a> {
    /// The packet that is run.
    pub(super) run: Run<'a>,
    has_rings: bool,
}

impl<'a> Packets<'a> {
    pub(super) fn new(
        program: &'a Program,
        programs: Option<&'a ProgramTable>,
        (events, emitted): (&'a mut Vec<Event>, &'a mut Vec<Emitted>),
    ) -> Packets<'a> {
        Packets {
            has_rings: program.map_set.has_rings(),
            run: Run {
                program,
                programs,
                events,
                area: std::ptr::null_mut(),
                area_len: 0,
                own: Vec::new(),
                emitted,
                skb: None,
                packet: 0,
                now_ns: 0,
                randoms: 0,
                redirect: None,
                trap: None,
                borders: [0; 3],
                reach: (0, 0),
            },
        }
    }

    /// Fills `state` for a frame whose area lies at `area`; `skb` is what a tc packet has beside
    /// its bytes, and afterwards in [`Run::skb`]. A packet that grew lies in [`Run::own`].
    #[inline]
    pub(super) fn before(
        &mut self,
        state: &mut RunState,
        frame: &Frame,
        area: *mut u8,
        skb: Option<Skb>,
    ) {
        let run = &mut self.run;
        run.skb = skb;
        run.own.clear();
        run.area = area;
        run.area_len = frame.area.len();
        run.packet = frame.number;
        run.now_ns = frame.arrival_ns;
        run.randoms = 0;
        run.redirect = None;
        run.borders = [frame.meta, frame.data, frame.end];
        run.reach = (frame.meta, frame.end);
        let base = area as u64;
        state.data = base + u64::from(frame.data);
        state.data_end = base + u64::from(frame.end);
        state.data_meta = base + u64::from(frame.meta);
        state.raw_len = u64::from(frame.end - frame.data);
        state.ingress_ifindex = frame.port;
        state.rx_queue_index = frame.queue;
        state.cpu = frame.queue;
        state.tail_calls_left = TAIL_CALL_LIMIT;
        if let Some(skb) = &run.skb {
            state.sk = (&raw const state.sock) as u64;
            state.skb.0 = skb.words;
            state.sock = skb.sock;
            state.data_end = state.data + u64::from(skb.linear);
        }
        state.host = (&raw mut self.run) as u64;
    }

    /// Takes over what the code left; a trap if a helper stopped it.
    #[inline]
    pub(super) fn after(
        &mut self,
        state: &mut RunState,
        frame: &mut Frame,
        r0: u64,
    ) -> Option<Trap> {
        let run = &mut self.run;
        let base = run.area as u64;
        frame.meta = (state.data_meta - base) as u32;
        frame.data = (state.data - base) as u32;
        frame.end = (state.data_end - base) as u32;
        if let Some(skb) = &mut run.skb {
            skb.words = state.skb.0;
            frame.end = frame.data + skb[Word::Len];
        }
        frame.redirect = run.redirect;
        if self.has_rings {
            // The host reads what each packet left in the ring buffers.
            let events = &mut *run.events;
            run.program.map_set.drain_rings(frame.queue, |map, bytes| {
                events.push(Event {
                    packet: frame.number,
                    kind: EventKind::Ringbuf { map },
                    bytes: bytes.to_vec(),
                });
            });
        }
        frame.trapped = state.trap != 0;
        if state.trap == 0 {
            frame.r0 = r0;
            return None;
        }
        frame.r0 = 0;
        state.trap = 0;
        let cause = run.trap.take().unwrap_or(TrapCause::BadInstruction);
        Some(Trap {
            pc: Some(state.pc as usize),
            code_offset: None,
            cause,
            fault: None,
        })
    }
}

/// The frames of a batch that are still to be run.
struct Walk<'a> {
    packets: Packets<'a>,
    state: RunState,
    entry: Entry,
    memory: *mut u8,
    length: usize,
    frames: &'a mut [Frame],
    /// One for each frame of a tc program, else none.
    skbs: &'a mut [Skb],
    /// Memory of packets that grew, by frame.
    grown: Vec<(usize, Vec<u8>)>,
    traps: &'a mut Vec<(usize, Trap)>,
    /// The frame that is run. Atomic since a fault leaves the loop at any place.
    next: AtomicUsize,
}

impl Walk<'_> {
    fn go(&mut self) {
        let first = self.next.load(Ordering::Relaxed);
        for index in first..self.frames.len() {
            self.next.store(index, Ordering::Relaxed);
            let Some(frame) = self.frames.get_mut(index) else {
                break;
            };
            frame.cost = Cost::default();
            frame.redirect = None;
            if !fits(frame, self.length) {
                frame.r0 = 0;
                frame.trapped = true;
                self.traps.push((index, out_of_memory(frame)));
                continue;
            }
            let area = self.memory.wrapping_add(frame.area.start);
            let skb = self.skbs.get(index).cloned();
            self.packets.before(&mut self.state, frame, area, skb);
            // SAFETY: the image is trusted to keep to the contract of its `abi`; the state is
            // filled, and `run` and the batch's memory are not used until the code returns.
            let r0 = unsafe { (self.entry)(&raw mut self.state) };
            if let Some(trap) = self.packets.after(&mut self.state, frame, r0) {
                self.traps.push((index, trap));
            }
            if let (Some(skb), Some(place)) =
                (self.packets.run.skb.take(), self.skbs.get_mut(index))
            {
                *place = skb;
                if !self.packets.run.own.is_empty() {
                    let own = std::mem::take(&mut self.packets.run.own);
                    self.grown.push((index, own));
                }
            }
        }
    }

    /// The frame at which the walk stood when a fault was `seen` is trapped; the walk can go on.
    fn caught(&mut self, seen: &Seen) {
        let index = self.next.load(Ordering::Relaxed);
        let program = self.packets.run.program;
        let owner = owner(program, self.packets.run.programs, seen.stopped());
        let (pc, code_offset) = owner.map_or((None, None), |(program, offset)| {
            (program.pc_at(offset), Some(offset))
        });
        let stopped = owner.map_or(program.id, |(program, _)| program.id);
        let told = seen.told(&self.places(seen).iter().copied());
        let trap = Trap {
            pc,
            code_offset,
            cause: TrapCause::Crash {
                signal: seen.signal,
            },
            fault: Some(Box::new(fault::named(stopped.0, Some(&told)))),
        };
        if let Some(frame) = self.frames.get_mut(index) {
            frame.r0 = 0;
            frame.trapped = true;
        }
        self.traps.push((index, trap));
        self.state.trap = 0;
        self.packets.run.trap = None;
        self.next.store(index + 1, Ordering::Relaxed);
    }

    /// What registers can point to.
    fn places(&self, seen: &Seen) -> Vec<Place> {
        let run = &self.packets.run;
        let context = (&raw const self.state) as u64;
        let area = run.area as u64;
        let data = self.state.data;
        let owner = owner(run.program, run.programs, seen.stopped());
        let code = owner.map(|(program, _)| program.pages.range());
        let mut places = vec![
            beside(Area::Packet, area..area + run.area_len as u64, data),
            beside(
                Area::Context,
                context..context + size_of::<RunState>() as u64,
                context,
            ),
        ];
        places.extend(code.map(|range| Place {
            area: Area::Code,
            start: range.start,
            end: range.end,
            base: range.start,
        }));
        places.extend(run.program.maps.iter().map(|entry| {
            let memory = entry.map.memory();
            let start = memory.address();
            beside(
                Area::Map(entry.id as u32),
                start..start + memory.len() as u64,
                start,
            )
        }));
        places
    }
}

fn beside(area: Area, range: Range<u64>, base: u64) -> Place {
    Place {
        area,
        start: range.start.saturating_sub(BESIDE),
        end: range.end.saturating_add(BESIDE),
        base,
    }
}

/// The program in whose code an address lies, and the byte offset there.
fn owner<'a>(
    program: &'a Program,
    programs: Option<&'a ProgramTable>,
    address: u64,
) -> Option<(&'a Program, usize)> {
    let others = programs
        .into_iter()
        .flat_map(ProgramTable::iter)
        .filter_map(|linked| linked.as_any().downcast_ref::<Program>());
    std::iter::once(program).chain(others).find_map(|program| {
        let range = program.pages.range();
        let offset = address.checked_sub(range.start)?;
        range
            .contains(&address)
            .then_some((program, offset as usize))
    })
}

/// Runs the program on every frame, in order, in place.
pub(super) fn run(program: &Program, batch: &mut Batch) {
    let programs = program.programs.upgrade();
    batch.arrive(&program.hook, &program.environment);
    let lists = (&mut batch.events, &mut batch.emitted);
    let mut walk = Walk {
        packets: Packets::new(program, programs.as_deref(), lists),
        state: RunState {
            watched: program.map_set.is_marking().into(),
            ..RunState::default()
        },
        entry: program.entry_point(),
        length: batch.memory.len(),
        memory: batch.memory.as_mut_ptr(),
        frames: &mut batch.frames,
        skbs: &mut batch.skbs,
        grown: Vec::new(),
        traps: &mut batch.traps,
        next: AtomicUsize::new(0),
    };
    while let Some(seen) = guarded(&mut walk, program, programs.as_deref()) {
        walk.caught(&seen);
    }
    for (index, own) in walk.grown {
        batch.take_back(index, &own);
    }
}

/// Walks until the end, or until the code faults.
fn guarded(
    walk: &mut Walk<'_>,
    program: &Program,
    programs: Option<&ProgramTable>,
) -> Option<Seen> {
    unsafe extern "sysv64" fn go(walk: *mut ()) {
        // SAFETY: `guarded` passes a walk that nobody else uses meanwhile.
        let walk = unsafe { &mut *walk.cast::<Walk<'_>>() };
        walk.go();
    }
    let owns = |address| owner(program, programs, address).is_some();
    let owns: &dyn Fn(u64) -> bool = &owns;
    // SAFETY: only the lifetime changes: the landing is taken away before `owns` ends.
    let owns =
        unsafe { std::mem::transmute::<&dyn Fn(u64) -> bool, &'static dyn Fn(u64) -> bool>(owns) };
    let mut landing = Landing {
        way_out: WayOut::default(),
        owns,
        seen: None,
    };
    let way_out = &raw mut landing.way_out;
    fault::land(&raw mut landing);
    // SAFETY: `go` may be left wherever it calls the code: it holds nothing to drop there, and
    // the walk is whole.
    unsafe { enter::catch((&raw mut *walk).cast(), go, way_out) };
    fault::land(std::ptr::null_mut());
    landing.seen
}

/// The trap of a frame that lies outside the batch's memory.
pub(super) fn out_of_memory(frame: &Frame) -> Trap {
    Trap {
        pc: None,
        code_offset: None,
        cause: TrapCause::OutOfBounds {
            address: frame.area.start as u64,
            size: frame.area.end.saturating_sub(frame.area.start) as u32,
            write: false,
        },
        fault: None,
    }
}
