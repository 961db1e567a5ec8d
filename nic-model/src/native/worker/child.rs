//! A worker: loads programs, then runs frames until it is ended.

use std::os::fd::OwnedFd;
use std::ptr::{slice_from_raw_parts, with_exposed_provenance_mut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bpf::Hook;
use bpf::fault::Area;
use bpf::map::{Map, MapSet};
use bpf::run::{Cost, Frame, Trap};
use bpf::skb::Skb;
use isa::x86_64::abi::{RunState, STACK_BYTES};
use seccompiler::BpfProgram;

use super::super::Program;
use super::super::enter::{self, ENTERED, PRESERVED};
use super::super::fault::Place;
use super::super::run::{Packets, fits, out_of_memory};
use super::exchange::{Body, Exchange, Half, Status};
use super::filter;
use super::guarded::{CANARY, Guarded};
use super::report::{self, NO_PC, Scene};
use super::wire::{Failure, Load, ProgramPart, Record, Report};
use crate::{Linked, LoadError, ProgramId, ProgramTable};

/// Bytes of stack that helpers may take beside the programs'.
const HELPER_STACK: usize = 256 << 10;
/// Largest area of a frame, in bytes.
const LARGEST_AREA: usize = 4 << 20;

/// What a worker's programs may touch beside maps.
#[derive(Debug)]
pub(super) struct Areas {
    context: Guarded,
    stack: Guarded,
    packet: Guarded,
}

impl Areas {
    pub(super) fn new() -> Option<Areas> {
        Some(Areas {
            context: Guarded::new(size_of::<RunState>() + 2 * CANARY)?,
            stack: Guarded::new(STACK_BYTES + HELPER_STACK)?,
            packet: Guarded::new(LARGEST_AREA + 4 * CANARY)?,
        })
    }
}

/// Programs, maps, and where they run.
struct Worker<'a> {
    areas: &'a Areas,
    scene: &'static Scene,
    exchange: Exchange,
    maps: MapSet,
    /// Address of the run state.
    state: u64,
    /// Where the stack begins.
    top: u64,
    rounds: u32,
}

/// Runs a worker; the first file is that of the exchange, the others those of the maps.
pub(super) fn main(areas: &Areas, filter: &BpfProgram, files: Vec<OwnedFd>) -> ! {
    let mut files = files.into_iter();
    let Some((file, again)) = files.next().and_then(|f| Some((f.try_clone().ok()?, f))) else {
        report::exit()
    };
    let (Some(exchange), Some(own)) = (Exchange::attach(file), Exchange::attach(again)) else {
        report::exit()
    };
    match load(areas, exchange, own, files) {
        Ok((mut worker, program, table)) => {
            report::start_ticks();
            if filter::apply(filter) {
                worker.exchange.tell(Status::Ready, 0);
                worker.run(&program, &table);
            }
            worker.exchange.end(Status::Failed, 0, &Failure::Filter);
        }
        Err((exchange, failure)) => exchange.end(Status::Failed, 0, &failure),
    }
    report::exit()
}

type Loaded<'a> = (Worker<'a>, Arc<dyn Linked>, Arc<ProgramTable>);

fn load(
    areas: &Areas,
    mut exchange: Exchange,
    own: Exchange,
    files: impl Iterator<Item = OwnedFd>,
) -> Result<Loaded<'_>, (Exchange, Failure)> {
    let request = exchange.read::<Load>(Half::Request);
    let state = areas.context.place(size_of::<RunState>(), 16);
    let top = areas.stack.place(0, 16);
    let (Some((request, _)), Some(state), Some(top)) = (request, state, top) else {
        return Err((exchange, Failure::Request));
    };
    let mut scene = Scene::new(own, areas.packet.whole(), state);
    let (maps, table) = match link(&request, files, &mut scene) {
        Ok(linked) => linked,
        Err(failure) => return Err((exchange, failure)),
    };
    let Some(program) = table.iter().nth(request.entry).map(Arc::clone) else {
        return Err((exchange, Failure::Request));
    };
    for (area, guarded, base) in [
        (Area::Context, areas.context, state),
        (Area::Stack, areas.stack, top),
    ] {
        scene.places.push(Place {
            area,
            start: guarded.whole().start,
            end: guarded.whole().end,
            base,
        });
    }
    areas.context.seal(state, size_of::<RunState>());
    areas.stack.seal_behind(top);
    maps.iter().for_each(|map| map.memory().guard());
    let worker = Worker {
        areas,
        scene: report::set(scene),
        exchange,
        maps,
        state,
        top,
        rounds: 0,
    };
    Ok((worker, program, table))
}

/// Maps the maps and links the programs, and tells the scene where they are.
fn link(
    request: &Load,
    files: impl Iterator<Item = OwnedFd>,
    scene: &mut Scene,
) -> Result<(MapSet, Arc<ProgramTable>), Failure> {
    let mut maps = MapSet::new();
    let mut files = files;
    for (id, shape) in request.maps.iter().enumerate() {
        let def = shape.def().ok_or(Failure::Request)?;
        let file = files.next().ok_or(Failure::Request)?;
        let Ok(map) = Map::attach(&def, request.cpus, file) else {
            return Err(Failure::Map);
        };
        let start = map.memory().address();
        scene.places.push(Place {
            area: Area::Map(id as u32),
            start: start - 4096,
            end: start + (map.memory().len() as u64).next_multiple_of(4096) + 4096,
            base: start,
        });
        maps.push(map);
    }
    let environment = Arc::new(request.environment.clone());
    let mut failure = None;
    let table = Arc::new_cyclic(|table| {
        let link = |(id, part): (usize, &ProgramPart)| {
            let (id, table) = (ProgramId(id as u32), Weak::clone(table));
            Program::new(
                &part.image(),
                id,
                &part.maps,
                &maps,
                (&Hook::XDP, &environment),
                table,
            )
        };
        let programs: Result<Vec<Program>, LoadError> =
            request.programs.iter().enumerate().map(link).collect();
        let programs = programs.unwrap_or_else(|_| {
            failure = Some(Failure::Image);
            Vec::new()
        });
        scene.code = programs.iter().map(|p| p.pages.range()).collect();
        ProgramTable::of(programs.into_iter().map(|p| Arc::new(p) as Arc<dyn Linked>))
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    let code = scene.code.iter().map(|range| Place {
        area: Area::Code,
        start: range.start,
        end: range.end,
        base: range.start,
    });
    scene.places.extend(code);
    Ok((maps, table))
}

impl Worker<'_> {
    /// Runs rounds of frames, for ever.
    fn run(&mut self, program: &Arc<dyn Linked>, table: &ProgramTable) {
        let Some(program) = program.as_any().downcast_ref::<Program>() else {
            return;
        };
        let (mut events, mut emitted) = (Vec::new(), Vec::new());
        let mut packets = Packets::new(program, Some(table), (&mut events, &mut emitted));
        let entry = program.pages.range().start + program.entry as u64;
        loop {
            let (rounds, frames) = self.exchange.round(self.rounds);
            self.rounds = rounds;
            self.exchange.rewind(Half::Request);
            self.exchange.rewind(Half::Reply);
            self.scene.records.store(0, Ordering::Relaxed);
            for index in 0..frames {
                let request = self.exchange.read::<(Frame, Option<Skb>)>(Half::Request);
                let Some(((mut frame, skb), body)) = request else {
                    return;
                };
                self.exchange.begin(index);
                let (at, trap) = self.frame(&mut packets, entry, &mut frame, skb, body);
                for event in packets.run.events.drain(..) {
                    self.record(&Record::Event(event), &[]);
                }
                for copy in packets.run.emitted.drain(..) {
                    self.record(&Record::Emitted(copy), &[]);
                }
                let skb = packets.run.skb.take().map(Box::new);
                if !packets.run.own.is_empty() {
                    self.record(&Record::Frame(frame, skb, trap), &packets.run.own);
                    continue;
                }
                // SAFETY: the frame's area lies there, and nothing changes it meanwhile.
                let area = unsafe {
                    &*slice_from_raw_parts(
                        with_exposed_provenance_mut::<u8>(at as usize),
                        if at == 0 { 0 } else { frame.area.len() },
                    )
                };
                self.record(&Record::Frame(frame, skb, trap), area);
            }
            let records = self.scene.records.load(Ordering::Relaxed);
            self.exchange.tell(Status::Done, records);
        }
    }

    /// Adds a record to the answer, if need be after what is there was taken.
    fn record(&mut self, record: &Record, body: &[u8]) {
        if !self.exchange.write(Half::Reply, record, body) {
            let records = self.scene.records.swap(0, Ordering::Relaxed);
            self.exchange.tell(Status::More, records);
            (self.rounds, _) = self.exchange.round(self.rounds);
            self.exchange.rewind(Half::Reply);
            if !self.exchange.write(Half::Reply, record, body) {
                // Larger than all the room there is.
                report::exit();
            }
        }
        self.scene.records.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs one frame; gives the address of its area.
    fn frame(
        &mut self,
        packets: &mut Packets<'_>,
        entry: u64,
        frame: &mut Frame,
        skb: Option<Skb>,
        body: Body,
    ) -> (u64, Option<Trap>) {
        frame.cost = Cost::default();
        frame.redirect = None;
        let len = frame.area.len();
        let place = self.areas.packet.place(len, 8);
        let (true, Some(at)) = (fits(frame, usize::MAX), place) else {
            frame.r0 = 0;
            frame.trapped = true;
            return (0, Some(out_of_memory(frame)));
        };
        let area = with_exposed_provenance_mut::<u8>(at as usize);
        // SAFETY: the place is large enough, and no code runs that could use it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(area, len) };
        if self.exchange.body(body, bytes).is_none() {
            return (0, Some(out_of_memory(frame)));
        }
        self.areas.packet.seal(at, len);
        let data = at + u64::from(frame.data);
        self.scene.packet.store(data, Ordering::Relaxed);
        let state = with_exposed_provenance_mut::<RunState>(self.state as usize);
        {
            // SAFETY: the run state lies there, and no code runs that could use it.
            let state = unsafe { &mut *state };
            packets.before(state, frame, area, skb);
            state.pc = NO_PC;
        }
        self.scene.turn.fetch_add(1, Ordering::Relaxed);
        // SAFETY: whatever the code does, this process may die of it.
        let r0 = unsafe { enter::enter_on(state, entry, self.top) };
        self.scene.turn.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as before the run.
        let state = unsafe { &mut *state };
        if let Some(area) = self.overrun(packets, state, at, frame, body) {
            self.scene.end(&Report::overrun(area));
        }
        (at, packets.after(state, frame, r0))
    }

    /// What the code has written past the end of, or into though it may not.
    fn overrun(
        &self,
        packets: &Packets<'_>,
        state: &RunState,
        at: u64,
        frame: &Frame,
        body: Body,
    ) -> Option<Area> {
        // SAFETY: only this thread uses it, and only while it enters code.
        let preserved = unsafe { ENTERED.preserved };
        let areas = self.areas;
        if preserved != PRESERVED || !areas.stack.is_intact_behind(self.top) {
            return Some(Area::Stack);
        }
        let run = &packets.run;
        let base = run.area as u64;
        let mut told = run.borders;
        if let Some(skb) = &run.skb {
            told[2] = told[1] + skb.linear;
        }
        let borders = [state.data_meta, state.data, state.data_end];
        let whole = borders == told.map(|offset| base + u64::from(offset))
            && state.host == (&raw const *run) as u64
            && areas.context.is_intact(self.state, size_of::<RunState>());
        if !whole {
            return Some(Area::Context);
        }
        let len = frame.area.len();
        let (low, high) = (run.reach.0 as usize, run.reach.1 as usize);
        let area = with_exposed_provenance_mut::<u8>(at as usize);
        // SAFETY: the frame's area lies there, and no code runs that could change it.
        let bytes = unsafe { std::slice::from_raw_parts(area, len) };
        let room_is_as_it_was = low <= high
            && high <= len
            && self.exchange.body_is(body, 0, &bytes[..low])
            && self.exchange.body_is(body, high, &bytes[high..]);
        if !room_is_as_it_was || !areas.packet.is_intact(at, len) {
            return Some(Area::Packet);
        }
        let broken = self.maps.iter().position(|map| !map.memory().is_intact());
        broken.map(|id| Area::Map(id as u32))
    }
}
