//! [`Testbed`]: a NIC and a CPU reference side by side, fed with frames.
//!
//! A testbed is a running thing: [`load`](Testbed::load) takes a program as far as it gets,
//! [`feed`](Testbed::feed) runs frames through NIC and reference and compares every outcome,
//! maps can be read and changed in between on both sides at once, and
//! [`finish`](Testbed::finish) yields the [`Report`]. `nicbed run` is a loop over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpf::finding::{Finding, Severity, Stage};
use bpf::map::{
    Errno, Map, MapDef, MapError, MapId, MapSet, MapType, Placement, SetError, SlotValue,
};
use bpf::run::{Arrival, Environment, XDP_HEADROOM, XDP_MAX_LINEAR, XDP_MIN_FRAME};
use bpf::{Hook, Program, ProgramSet};
use caps::Caps;
use cpu_reference::{Rbpf, Reference, Runner, Setup, Unsupported};
use isa::ebpf::{CallTarget, Insn};
use jit_backends::Loaded;
use nic_model::{LoadError, Nic, ProgramId};
use pcaps::rss::{DEFAULT_KEY, Rss};
use verifier::Verified;

use crate::compare::Untold;
use crate::decide::{Decision, Verdict};
use crate::error::Error;
use crate::mapdiff::{self, MapDifference};
use crate::pipeline::{self, Assessment};
use crate::replay::chunk::Chunk;
use crate::replay::lanes::{Lanes, Processed, Room, Spent};
use crate::replay::order::{self, Order, OrderReason};
use crate::replay::second::{MOST_COPIED, Second};
use crate::replay::watched::{FEWEST_THREADS, Watch, Watched};
use crate::report::run::{FirstMismatch, NotRun, Report};
use crate::seeds::Seeds;

/// Ids of the helpers that move a packet's ends.
const ADJUST_HEAD: u32 = 44;
const ADJUST_META: u32 = 54;
const ADJUST_TAIL: u32 = 65;

/// Bytes before every frame: compilers compare the lower half of a packet pointer with 0, so no
/// engine may give a frame's first byte an address that is 0 there.
const LEAST_HEADROOM: usize = 64;

/// What outcomes are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferenceChoice {
    /// Our checked interpreter, and where the crate rbpf can run the program a second opinion by
    /// it on a sample.
    #[default]
    Auto,
    /// Our checked interpreter.
    Interp,
    /// The crate rbpf.
    Rbpf,
    /// The Linux kernel of this machine.
    Kernel,
    /// Nothing is compared.
    None,
}

/// How a testbed is set up.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Receive queues; the profile's default if `None`.
    pub queues: Option<u32>,
    /// Force an order between queues; by default arrival order where the facts say that it can
    /// matter.
    pub order: Option<Order>,
    /// Threads; 0 takes all cores. No answer depends on it.
    pub threads: usize,
    /// What outcomes are compared with.
    pub reference: ReferenceChoice,
    /// Ports, routes, seed.
    pub environment: Environment,
}

/// A frame as it comes in.
#[derive(Clone, Copy, Debug)]
pub struct FrameIn<'a> {
    /// Arrival in nanoseconds since the epoch. An earlier time than the frame's before is
    /// raised to that.
    pub arrival_ns: u64,
    /// Port it comes in on (ifindex, from 1).
    pub port: u32,
    /// Its bytes, from the Ethernet header.
    pub bytes: &'a [u8],
}

/// Looks at every packet, in arrival order.
pub type Sink<'a> = dyn FnMut(&Processed<'_>) -> Result<(), Error> + 'a;

/// A program that runs.
struct Running {
    programs: Vec<Arc<Verified>>,
    maps: Arc<[MapDef]>,
    nic: Nic,
    reference: Option<Box<dyn Reference>>,
    lanes: Lanes,
    /// The order that the answer is given in.
    order: Order,
    /// Whether queues share maps, which are watched.
    watched: bool,
    /// Why there is no second opinion, where one was to be had.
    second_not: Option<String>,
    reasons: Vec<OrderReason>,
    hook: Hook,
}

/// A NIC and a reference, side by side.
pub struct Testbed {
    caps: Arc<Caps>,
    settings: Settings,
    environment: Arc<Environment>,
    queues: u32,
    /// Shortest and longest frame that programs see.
    frame_bytes: (usize, usize),
    rss: Rss,
    assessments: Vec<Assessment>,
    decision: Decision,
    running: Option<Running>,
    attached: Vec<u32>,
    chunk: Chunk,
    next_packet: u64,
    last_ns: u64,
    counts: Counts,
}

impl std::fmt::Debug for Testbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testbed")
            .field("nic", &self.caps.name)
            .field("decision", &self.decision.outcome)
            .field("packets", &self.next_packet)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Counts {
    packets: u64,
    bytes: u64,
    verdicts: BTreeMap<&'static str, u64>,
    not_run: BTreeMap<NotRun, u64>,
    compared: u64,
    mismatched: u64,
    first: Option<FirstMismatch>,
    cycles: u64,
    cycle_packets: u64,
    spent: Spent,
}

impl Testbed {
    /// A testbed of this NIC.
    ///
    /// # Errors
    /// If the NIC has fewer queues than asked for.
    pub fn new(caps: Arc<Caps>, settings: Settings) -> Result<Testbed, Error> {
        let model = caps.model();
        let kernel = settings.reference == ReferenceChoice::Kernel;
        // A queue is a CPU, and the kernel has those of this machine.
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let most = if kernel {
            model.queues_max.min(cpus)
        } else {
            model.queues_max
        };
        let default = if kernel { 1 } else { model.queues_default };
        let queues = settings.queues.unwrap_or(default);
        if queues == 0 || queues > most {
            let error = Error::usage(format!(
                "{} has 1 to {most} queues here, not {queues}",
                caps.name
            ));
            return Err(if kernel {
                error.help("with the kernel as reference a queue is a CPU of this machine")
            } else {
                error.help("choose another --queues, or raise it with --set model.queues_max=N")
            });
        }
        let mut environment = settings.environment.clone();
        if environment.ports.is_empty() {
            environment.ports = vec![1];
        }
        let packet = caps.packet();
        let bytes =
            |bound: caps::Bound, otherwise: usize| bound.known().map_or(otherwise, |n| n as usize);
        Ok(Testbed {
            frame_bytes: (
                bytes(packet.frame_min, XDP_MIN_FRAME),
                bytes(packet.frame_max, XDP_MAX_LINEAR),
            ),
            rss: Rss::new(&DEFAULT_KEY, queues),
            caps,
            attached: environment.ports.clone(),
            environment: Arc::new(environment),
            settings,
            queues,
            assessments: Vec::new(),
            decision: Decision::from_findings(Vec::new()),
            running: None,
            chunk: Chunk::new(),
            next_packet: 0,
            last_ns: 0,
            counts: Counts::default(),
        })
    }

    /// Takes `entry`, and every program that filled prog_array slots reach, through verify,
    /// check, translate and load. The NIC runs it if the decision is to offload; everything
    /// else is told by the decision's findings.
    ///
    /// # Errors
    /// If there is no such program, or the reference chosen cannot take it.
    pub fn load(&mut self, set: &ProgramSet, entry: &str) -> Result<&Decision, Error> {
        self.load_with(set, entry, None)
    }

    /// As [`Testbed::load`], with the maps seeded. Programs that the seeds put into prog_array
    /// slots are loaded too.
    ///
    /// # Errors
    /// As [`Testbed::load`]; and if the seeds do not fit the maps.
    pub fn load_with(
        &mut self,
        set: &ProgramSet,
        entry: &str,
        seeds: Option<&Seeds>,
    ) -> Result<&Decision, Error> {
        self.running = None;
        let programs = together(set, entry, seeds)?;
        let loaded = Loaded::default();
        self.assessments = programs
            .iter()
            .map(|p| pipeline::assess(p, &self.caps, &loaded))
            .collect();
        self.decision = Decision::worst(self.assessments.iter().map(|a| a.decision.clone()));
        if self.decision.outcome == Verdict::Offload {
            match self.start(&programs, seeds) {
                Ok(running) => self.running = Some(running),
                Err(StartError::Load(finding)) => {
                    self.decision =
                        std::mem::replace(&mut self.decision, Decision::from_findings(Vec::new()))
                            .and([*finding]);
                }
                Err(StartError::Stop(error)) => return Err(error),
            }
        }
        Ok(&self.decision)
    }

    /// Puts another program in place of the running one. Maps of the same name and definition
    /// keep their contents, on both sides.
    ///
    /// # Errors
    /// As [`Testbed::load`].
    pub fn replace(&mut self, set: &ProgramSet, entry: &str) -> Result<&Decision, Error> {
        let before = self.running.take();
        self.load(set, entry)?;
        if let (Some(before), Some(now)) = (before, &self.running) {
            self.counts.add_spent(before.lanes.spent());
            carry_over(&before.maps, before.nic.maps(), &now.maps, now.nic.maps());
            if let (Some(old), Some(new)) = (&before.reference, &now.reference) {
                carry_over(&before.maps, old.maps(), &now.maps, new.maps());
            }
        }
        Ok(&self.decision)
    }

    /// Attaches the program to these ports alone; it is attached to all at first. Frames of
    /// other ports are counted as not run.
    pub fn attach(&mut self, ports: &[u32]) {
        self.attached = ports.to_vec();
    }

    /// The decision so far.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The programs taken, the entry first, and how far each got.
    pub fn assessments(&self) -> &[Assessment] {
        &self.assessments
    }

    /// Whether a program runs on the NIC.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The NIC's maps, by index in the program's map list.
    pub fn nic_maps(&self) -> Option<&MapSet> {
        self.running.as_ref().map(|r| r.nic.maps())
    }

    /// The reference's maps.
    pub fn reference_maps(&self) -> Option<&MapSet> {
        self.running.as_ref()?.reference.as_ref().map(|r| r.maps())
    }

    /// Applies a change to the maps of both sides: an update, a deletion, seeds.
    ///
    /// # Errors
    /// The first error of `change`.
    pub fn change_maps<E>(
        &mut self,
        mut change: impl FnMut(&MapSet) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(running) = &self.running {
            change(running.nic.maps())?;
            if let Some(reference) = &running.reference {
                change(reference.maps())?;
            }
        }
        Ok(())
    }

    /// The value of `key` in the NIC's map of this name, as the host reads it (per-CPU maps:
    /// the values of all queues, each rounded up to 8 bytes); `None` if it is not there.
    pub fn lookup(&self, map: &str, key: &[u8]) -> Option<Vec<u8>> {
        let maps = self.nic_maps()?;
        maps.get(maps.by_name(map)?)?.host_lookup(key).ok()
    }

    /// All keys and values of the NIC's map of this name, in a fixed order; empty if there is no
    /// such map.
    pub fn entries(&self, map: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = self
            .nic_maps()
            .and_then(|maps| maps.get(maps.by_name(map)?));
        let Some(map) = found else {
            return Vec::new();
        };
        let keys = map.host_keys().into_iter();
        keys.filter_map(|key| map.host_lookup(&key).ok().map(|value| (key, value)))
            .collect()
    }

    /// Sets the value of `key` in the map of this name, on both sides; `flags` are bpf(2)'s.
    ///
    /// # Errors
    /// If no program runs or it has no such map; and the map's own errno.
    pub fn update(&mut self, map: &str, key: &[u8], value: &[u8], flags: u64) -> Result<(), Error> {
        self.on_map(map, "update", &|map| map.host_update(key, value, flags))
    }

    /// Takes `key` out of the map of this name, on both sides.
    ///
    /// # Errors
    /// As [`Testbed::update`].
    pub fn delete(&mut self, map: &str, key: &[u8]) -> Result<(), Error> {
        self.on_map(map, "delete", &|map| map.host_delete(key))
    }

    fn on_map(
        &mut self,
        name: &str,
        what: &str,
        change: &dyn Fn(&Map) -> Result<(), Errno>,
    ) -> Result<(), Error> {
        if self.running.is_none() {
            return Err(Error::usage(format!(
                "map {name}: no program runs, so there are no maps"
            )));
        }
        self.change_maps(|maps| {
            let map = maps
                .by_name(name)
                .and_then(|id| maps.get(id))
                .ok_or_else(|| {
                    let names: Vec<&str> = maps.iter().map(|m| m.def().name.as_str()).collect();
                    Error::usage(format!("there is no map {name}"))
                        .help(format!("maps: {}", names.join(", ")))
                })?;
            change(map).map_err(|e| Error::input(format!("map {name}: {what}: {e}")))
        })
    }

    /// Applies seeds to the maps of both sides.
    ///
    /// # Errors
    /// If they do not fit the maps; the error names file, map and entry.
    pub fn apply(&mut self, seeds: &Seeds) -> Result<(), Error> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let id = |name: &str| self.program_id(name);
        seeds.apply(running.nic.maps(), &id)?;
        if let Some(reference) = &running.reference {
            seeds.apply(reference.maps(), &id)?;
        }
        Ok(())
    }

    /// The id that a prog_array slot holds for a program of this name.
    pub fn program_id(&self, name: &str) -> Option<u32> {
        self.assessments
            .iter()
            .position(|a| a.program.name == name)
            .map(|i| i as u32)
    }

    /// Feeds frames; `sink` looks at every packet in arrival order. Nothing happens if no
    /// program runs.
    ///
    /// # Errors
    /// The first error of `sink`.
    pub fn feed<'f>(
        &mut self,
        frames: impl IntoIterator<Item = FrameIn<'f>>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        for frame in frames {
            self.push(frame);
            if self.chunk.is_full() {
                self.flush(sink)?;
            }
        }
        self.flush(sink)
    }

    /// Adds a frame to the current chunk. Returns whether the chunk is full: then
    /// [`Testbed::flush`] it.
    pub fn push(&mut self, frame: FrameIn<'_>) -> bool {
        let number = self.next_packet;
        self.next_packet += 1;
        self.last_ns = self.last_ns.max(frame.arrival_ns);
        if self.running.is_none() {
            return false;
        }
        self.counts.packets += 1;
        self.counts.bytes += frame.bytes.len() as u64;
        if let Some(why) = self.not_run(&frame) {
            *self.counts.not_run.entry(why).or_default() += 1;
            return false;
        }
        let arrival = Arrival {
            number,
            arrival_ns: self.last_ns,
            port: frame.port,
            queue: self.rss.queue(frame.bytes),
        };
        self.chunk.push(arrival, frame.bytes);
        self.chunk.is_full()
    }

    fn not_run(&self, frame: &FrameIn<'_>) -> Option<NotRun> {
        if frame.bytes.len() < self.frame_bytes.0 {
            Some(NotRun::TooShort)
        } else if frame.bytes.len() > self.frame_bytes.1 {
            Some(NotRun::TooLong)
        } else if !self.attached.contains(&frame.port) {
            Some(NotRun::NotAttached)
        } else {
            None
        }
    }

    /// Processes the frames pushed so far.
    ///
    /// # Errors
    /// The first error of `sink`.
    pub fn flush(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        if self.chunk.is_empty() {
            return Ok(());
        }
        let counts = &mut self.counts;
        let result = running.lanes.process(&self.chunk, |packet| {
            counts.note(packet);
            sink(packet)
        });
        self.chunk.clear();
        result
    }

    /// Ends the run: compares the maps of both sides, and tells everything.
    ///
    /// # Errors
    /// If frames are left that `sink`-less flushing cannot process.
    pub fn finish(mut self) -> Result<Report, Error> {
        self.flush(&mut |_| Ok(()))?;
        let mut map_differences: Option<Vec<MapDifference>> = None;
        let mut image = None;
        let mut spent = self.counts.spent;
        let mut decision = self.decision;
        let (mut order, mut reasons, mut reference) = (Order::PerQueue, Vec::new(), None);
        let (mut watched, mut redone) = (false, 0);
        let mut not_compared = Vec::new();
        let (mut second, mut second_not) = (None, None);
        if let Some(running) = &self.running {
            order = running.order;
            watched = running.watched;
            redone = running.lanes.redone();
            reasons.clone_from(&running.reasons);
            let now = running.lanes.spent();
            spent.nic += now.nic;
            spent.reference += now.reference;
            if let Some(r) = &running.reference {
                reference = Some(r.name());
                not_compared = running.lanes.untold().names();
                second = running.lanes.opinions();
                second_not.clone_from(&running.second_not);
                map_differences = Some(mapdiff::compare(
                    &running.maps,
                    running.nic.maps(),
                    r.maps(),
                ));
            }
        }
        if let Some(first) = self.assessments.first() {
            image = first.image.clone();
        }
        let mut behaviour = Vec::new();
        if self.counts.mismatched > 0 {
            behaviour.push(self.counts.mismatch_finding());
        }
        if let Some(difference) = map_differences.as_ref().and_then(|d| d.first()) {
            behaviour.push(difference.finding());
        }
        decision = decision.and(behaviour);
        let ran = self.running.as_ref();
        let _ = ran.map(|r| (&r.programs, &r.hook));
        Ok(Report {
            program: self
                .assessments
                .first()
                .map(|a| a.program.name.clone())
                .unwrap_or_default(),
            nic: Arc::clone(&self.caps),
            decision,
            image,
            queues: self.queues,
            threads: threads(self.settings.threads),
            order,
            order_reasons: reasons,
            watched,
            redone,
            packets: self.counts.packets,
            bytes: self.counts.bytes,
            verdicts: self.counts.verdicts,
            not_run: self.counts.not_run,
            reference,
            not_compared,
            second,
            second_not,
            compared: self.counts.compared,
            mismatched: self.counts.mismatched,
            first: self.counts.first,
            map_differences,
            cycles: (self.counts.cycle_packets > 0)
                .then(|| self.counts.cycles as f64 / self.counts.cycle_packets as f64),
            spent,
        })
    }

    fn start(
        &self,
        programs: &[Arc<Program>],
        seeds: Option<&Seeds>,
    ) -> Result<Running, StartError> {
        let Some(entry) = programs.first() else {
            return Err(StartError::Stop(Error::usage("no program to load")));
        };
        let mut nic = Nic::new(
            Arc::clone(&self.caps),
            Arc::clone(&self.environment),
            self.queues,
        );
        let load_error = |e: &LoadError| StartError::Load(Box::new(load_finding(e, &self.caps)));
        nic.create_maps(&entry.maps).map_err(|e| load_error(&e))?;
        let ids: Vec<MapId> = (0..entry.maps.len()).collect();
        for assessment in &self.assessments {
            let Some(image) = &assessment.image else {
                continue;
            };
            load_image(&mut nic, image, &assessment.program.hook, &ids)
                .map_err(|e| load_error(&e))?;
        }
        self.fill(nic.maps(), seeds).map_err(StartError::Stop)?;
        let reference = self.reference(programs, seeds)?;
        let verified: Vec<Arc<Verified>> = self
            .assessments
            .iter()
            .filter_map(|a| a.verified.clone())
            .collect();
        let facts: Vec<&Verified> = verified.iter().map(Arc::as_ref).collect();
        let reasons = order::reasons(&facts);
        let opinion = self.opinion(programs, &facts, reference.as_deref());
        let watches = match opinion {
            // It copies the reference's maps in the midst of a chunk.
            Ok(true) => None,
            _ => self.watches(&reasons, nic.maps()),
        };
        let order = self.settings.order.unwrap_or(
            if reasons.is_empty() || self.queues == 1 || watches.is_some() {
                Order::PerQueue
            } else {
                Order::Arrival
            },
        );
        let room = self.room(programs);
        // Where order matters and is forced to be per queue, queues take turns, chunk by chunk:
        // the answer is another, but still the same for any number of threads.
        let forced = order == Order::PerQueue && !reasons.is_empty() && watches.is_none();
        let pool = if forced {
            None
        } else {
            pool(self.settings.threads).map_err(StartError::Stop)?
        };
        let runner = || -> Option<Box<dyn Runner>> { reference.as_ref().map(|r| r.runner()) };
        let first = ProgramId(0);
        let hook = entry.hook.clone();
        let arrival = || {
            nic.arrival_order(first).ok_or_else(|| {
                StartError::Stop(Error::input("the NIC lost its program while loading"))
            })
        };
        // With few threads arrival order is the faster way to the same answer.
        let few = threads(self.settings.threads) < FEWEST_THREADS;
        let lanes = if order == Order::Arrival || (watches.is_some() && few) {
            Lanes::arrival(arrival()?, runner(), hook.clone(), room, pool)
        } else {
            let lanes = Lanes::per_queue(nic.queues(first), &runner, hook.clone(), room, pool);
            match &watches {
                None => lanes,
                Some(watches) => {
                    let sides = std::iter::once(nic.maps())
                        .chain(reference.as_ref().map(|r| r.maps()))
                        .cloned();
                    let watched = Watched::new(sides, watches)
                        .map_err(|e| StartError::Stop(Error::input(e.to_string())))?;
                    lanes.watching(watched, arrival()?, runner())
                }
            }
        };
        let (lanes, second_not) =
            self.second_opinion(programs, seeds, opinion, reference.as_deref(), lanes)?;
        let untold = match self.settings.reference {
            ReferenceChoice::Kernel => Untold::KERNEL,
            _ => Untold::default(),
        };
        Ok(Running {
            programs: verified,
            maps: Arc::clone(&entry.maps),
            nic,
            reference,
            lanes: lanes.without(untold),
            order,
            watched: watches.is_some(),
            second_not,
            reasons,
            hook,
        })
    }

    /// Puts the programs into the `prog_array` slots that the object fills, and seeds the maps.
    fn fill(&self, maps: &MapSet, seeds: Option<&Seeds>) -> Result<(), Error> {
        let id = |name: &str| self.program_id(name);
        maps.fill_programs(id)
            .map_err(|e| Error::input(e.to_string()))?;
        seeds.map_or(Ok(()), |seeds| seeds.apply(maps, &id))
    }

    /// Room that the programs can use around a frame: none where they neither move the head nor
    /// grow the tail, so that nothing is cleared for nothing.
    fn room(&self, programs: &[Arc<Program>]) -> Room {
        let calls = |ids: &[u32]| {
            programs
                .iter()
                .flat_map(|p| p.insns.iter())
                .any(|insn| matches!(insn, Insn::Call(CallTarget::Helper(id)) if ids.contains(id)))
        };
        let packet = self.caps.packet();
        let headroom = packet.headroom.known().map_or(XDP_HEADROOM, |n| n as usize);
        let tailroom = packet.tailroom.known().map_or(usize::MAX, |n| n as usize);
        Room {
            headroom: if calls(&[ADJUST_HEAD, ADJUST_META]) {
                headroom.max(LEAST_HEADROOM)
            } else {
                LEAST_HEADROOM
            },
            tailroom: if calls(&[ADJUST_TAIL]) { tailroom } else { 0 },
            longest: self.frame_bytes.1,
        }
    }

    /// How the maps that queues share are watched, if queues are to run side by side
    /// nonetheless: `None` if an order is forced, some map cannot be watched, or copies of the
    /// maps would cost too much. Does not depend on the number of threads.
    fn watches(&self, reasons: &[OrderReason], maps: &MapSet) -> Option<Vec<(MapId, Watch)>> {
        let ours = matches!(
            self.settings.reference,
            ReferenceChoice::Auto | ReferenceChoice::Interp | ReferenceChoice::None
        );
        let wanted = ours && self.settings.order.is_none() && self.queues > 1;
        if !wanted || reasons.is_empty() || !Watched::affordable(maps) {
            return None;
        }
        reasons.iter().map(|r| Some((r.id, r.watch?))).collect()
    }

    /// Whether there can be a second opinion by rbpf: `Ok(true)` if it copies the reference's
    /// maps before each packet it is asked about; else why not, if that is worth telling.
    fn opinion(
        &self,
        programs: &[Arc<Program>],
        verified: &[&Verified],
        reference: Option<&dyn Reference>,
    ) -> Result<bool, Option<String>> {
        let (ReferenceChoice::Auto, Some(reference), [program]) =
            (self.settings.reference, reference, programs)
        else {
            return Err((self.settings.reference == ReferenceChoice::Auto)
                .then(|| "rbpf has no tail calls".to_owned()));
        };
        Rbpf::supports(program).map_err(|why| Some(why.to_string()))?;
        let writes = order::writes_maps(verified);
        let bytes: usize = reference.maps().iter().map(|m| m.memory().len()).sum();
        if writes && bytes > MOST_COPIED {
            return Err(Some(format!(
                "the program changes maps of {bytes} bytes, too many to copy for each packet"
            )));
        }
        Ok(writes)
    }

    /// Adds rbpf as a second opinion to the lanes where that was asked for and it can run the
    /// program; else says why not.
    fn second_opinion(
        &self,
        programs: &[Arc<Program>],
        seeds: Option<&Seeds>,
        opinion: Result<bool, Option<String>>,
        reference: Option<&dyn Reference>,
        lanes: Lanes,
    ) -> Result<(Lanes, Option<String>), StartError> {
        let (writes, reference) = match (opinion, reference) {
            (Ok(writes), Some(reference)) => (writes, reference),
            (Ok(_), None) => return Ok((lanes, None)),
            (Err(why), _) => return Ok((lanes, why)),
        };
        let mut why_not = None;
        let lanes = lanes.with_second(|| {
            let setup = self.setup(programs, seeds)?;
            let maps = setup.maps.clone();
            let rbpf = Rbpf::new(setup).map_err(|e| {
                why_not = Some(e.to_string());
                StartError::Stop(unsupported(&e))
            })?;
            let follows = writes.then(|| reference.maps().clone());
            Ok::<_, StartError>(Second::new(rbpf.runner(), maps, follows))
        })?;
        Ok((lanes, why_not))
    }

    /// What a reference is built from, with the maps filled.
    fn setup(&self, programs: &[Arc<Program>], seeds: Option<&Seeds>) -> Result<Setup, StartError> {
        let defs = programs.first().map_or(&[][..], |p| &p.maps);
        let maps = MapSet::for_program_set(defs, self.queues, Placement::Private)
            .map_err(|e| StartError::Stop(Error::input(e.to_string())))?;
        self.fill(&maps, seeds).map_err(StartError::Stop)?;
        Ok(Setup {
            programs: programs.to_vec(),
            maps,
            environment: Arc::clone(&self.environment),
        })
    }

    fn reference(
        &self,
        programs: &[Arc<Program>],
        seeds: Option<&Seeds>,
    ) -> Result<Option<Box<dyn Reference>>, StartError> {
        let setup = || self.setup(programs, seeds);
        let stop = |e: &Unsupported| StartError::Stop(unsupported(e));
        Ok(match self.settings.reference {
            ReferenceChoice::None => None,
            ReferenceChoice::Auto | ReferenceChoice::Interp => Some(Box::new(
                cpu_reference::Interp::new(setup()?).map_err(|e| stop(&e))?,
            )),
            ReferenceChoice::Kernel => Some(Box::new(
                cpu_reference::Kernel::new(setup()?).map_err(|e| stop(&e))?,
            )),
            ReferenceChoice::Rbpf => Some(Box::new(Rbpf::new(setup()?).map_err(|e| stop(&e))?)),
        })
    }
}

impl Counts {
    fn note(&mut self, packet: &Processed<'_>) {
        *self.verdicts.entry(packet.nic.verdict.name()).or_default() += 1;
        if packet.nic.cost.cycles > 0 {
            self.cycles += packet.nic.cost.cycles;
            self.cycle_packets += 1;
        }
        if packet.reference.is_some() {
            self.compared += 1;
        }
        if !packet.differences.is_empty() {
            self.mismatched += 1;
            if self.first.is_none() {
                self.first = Some(FirstMismatch {
                    packet: packet.nic.packet,
                    queue: packet.queue,
                    original: packet.original.to_vec(),
                    differences: packet.differences.to_vec(),
                });
            }
        }
    }

    fn add_spent(&mut self, spent: Spent) {
        self.spent.nic += spent.nic;
        self.spent.reference += spent.reference;
    }

    fn mismatch_finding(&self) -> Finding {
        let (packet, field) = self
            .first
            .as_ref()
            .map_or((0, "outcome"), |f| (f.packet, f.differences[0].field()));
        Finding::error(
            "behaviour/mismatch",
            Stage::Behaviour,
            field,
            format!(
                "{} of {} packets differ from the reference, first packet {packet} in {field}",
                self.mismatched, self.compared
            ),
        )
        .why("the NIC must do what the CPU does, for every packet")
        .help("the first difference is shown in full; --outcomes FILE writes every outcome")
    }
}

enum StartError {
    Load(Box<Finding>),
    Stop(Error),
}

/// The entry and every program that filled slots of prog_arrays reach, the entry first.
fn together(
    set: &ProgramSet,
    entry: &str,
    seeds: Option<&Seeds>,
) -> Result<Vec<Arc<Program>>, Error> {
    let first = set.find(entry).ok_or_else(|| {
        Error::usage(format!("{} has no program {entry}", set.object)).help(format!(
            "programs: {}",
            set.programs
                .iter()
                .map(|p| p.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ))
    })?;
    let mut programs = vec![Arc::new(first.clone())];
    let add = |programs: &mut Vec<Arc<Program>>, name: &str| {
        if let Some(program) = set.find(name)
            && programs.iter().all(|p| p.name != program.name)
        {
            programs.push(Arc::new(program.clone()));
        }
    };
    for name in seeds.map(Seeds::programs).unwrap_or_default() {
        add(&mut programs, &name);
    }
    // The list grows while it is walked: a target may call on.
    let mut next = 0;
    while let Some(program) = programs.get(next).map(Arc::clone) {
        next += 1;
        for map in program.usage().maps.keys() {
            let def = set
                .maps
                .get(*map)
                .filter(|def| def.kind == MapType::ProgArray);
            for slot in def.map_or(&[][..], |def| &def.slots) {
                if let SlotValue::Program(name) = &slot.value {
                    add(&mut programs, name);
                }
            }
        }
    }
    Ok(programs)
}

/// Copies the contents of maps that both programs define alike.
fn carry_over(old_defs: &[MapDef], old: &MapSet, new_defs: &[MapDef], new: &MapSet) {
    for (id, def) in new_defs.iter().enumerate() {
        let Some(from) = old_defs.iter().position(|d| {
            d.name == def.name
                && d.kind == def.kind
                && d.key_size == def.key_size
                && d.value_size == def.value_size
                && d.max_entries == def.max_entries
                && d.flags == def.flags
        }) else {
            continue;
        };
        if def.kind == MapType::ProgArray {
            continue;
        }
        if let (Some(from), Some(to)) = (old.get(from), new.get(id)) {
            let _ = to.memory().copy_from(from.memory());
        }
    }
}

/// Loads an image. Code that this process's own backends made is vouched for.
#[expect(unsafe_code, reason = "the one place that vouches for an image")]
fn load_image(
    nic: &mut Nic,
    image: &isa::Image,
    hook: &Hook,
    maps: &[MapId],
) -> Result<ProgramId, LoadError> {
    // SAFETY: a built-in backend made the image just now of a verified program, and nothing
    // changed it since: `pipeline::assess` is its only source.
    let trusted = unsafe { image.clone().trust() };
    nic.load_trusted(&trusted, hook, maps)
}

fn load_finding(error: &LoadError, caps: &Caps) -> Finding {
    let (rule, help) = match error {
        LoadError::NoEngine { .. } => (
            "load/no-engine",
            "choose a NIC whose instruction set has an engine on this machine: nicbed nic list",
        ),
        LoadError::TooLarge { .. } => ("image/too-long", "make the program shorter"),
        LoadError::Map(SetError::Map(MapError::Size {
            what: "max_entries",
            value: 0,
            ..
        })) => (
            "load/map",
            "its loader sizes it: do the same with --map NAME.max_entries=N",
        ),
        LoadError::Map(_) => ("load/map", "make the map smaller, or use another type"),
        _ => (
            "load/image",
            "this is a fault of the backend: please report it",
        ),
    };
    Finding::new(
        rule,
        Severity::Error,
        Stage::Load,
        caps.name.clone(),
        error.to_string(),
    )
    .why(format!("{} does not load it", caps.name))
    .help(help)
}

fn unsupported(error: &Unsupported) -> Error {
    match error {
        Unsupported::Program { finding } => {
            let at = finding
                .pc
                .map(|pc| format!(" (insn {pc})"))
                .unwrap_or_default();
            Error::usage(format!(
                "the reference cannot take the program{at}: {}",
                finding.message
            ))
            .help("choose another --reference; with none the NIC runs and nothing is compared")
        }
        Unsupported::Environment { needs, reason } => Error::environment(format!(
            "this needs {needs}: {reason}"
        ))
        .help("it takes root, BPF, and what the reason names; --reference interp needs nothing"),
    }
}

/// How many threads a setting means.
pub fn threads(setting: usize) -> usize {
    match setting {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => n,
    }
}

fn pool(setting: usize) -> Result<Option<rayon::ThreadPool>, Error> {
    let threads = threads(setting);
    if threads == 1 {
        return Ok(None);
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map(Some)
        .map_err(|e| Error::environment(format!("{threads} threads cannot be started: {e}")))
}
