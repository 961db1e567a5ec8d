//! From assessed programs to something that runs: NIC, references, lanes.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpf::finding::{Finding, Severity, Stage};
use bpf::hook::XdpAttach;
use bpf::map::{MapDef, MapError, MapId, MapSet, MapType, Placement, SetError, SlotValue};
use bpf::run::XDP_HEADROOM;
use bpf::{Hook, Program, ProgramSet};
use caps::Caps;
use cpu_reference::{Interp, Rbpf, Reference, Runner, Setup, Unsupported, Untold};
use isa::ebpf::{CallTarget, Insn};
use nic_model::{LoadError, Nic, ProgramId};
use verifier::Verified;

use super::masks::Masks;
use super::{ReferenceChoice, Testbed, threads};
use crate::compare::Told;
use crate::error::Error;
use crate::replay::lanes::{Lanes, Room};
use crate::replay::order::{self, Order, OrderReason};
use crate::replay::second::{MOST_COPIED, Second};
use crate::replay::watched::{FEWEST_THREADS, Watch, Watched};
use crate::seeds::Seeds;

/// Ids of the helpers that move a packet's ends.
const ADJUST_HEAD: u32 = 44;
const ADJUST_META: u32 = 54;
const ADJUST_TAIL: u32 = 65;

/// Bytes before every frame: compilers compare the lower half of a packet pointer with 0, so no
/// engine may give a frame's first byte an address that is 0 there.
const LEAST_HEADROOM: usize = 64;

/// A program that runs.
pub(super) struct Running {
    pub(super) maps: Arc<[MapDef]>,
    pub(super) nic: Nic,
    pub(super) reference: Option<Box<dyn Reference>>,
    pub(super) lanes: Lanes,
    /// Whether it is a tc program, which sees only packets whose IP header is whole.
    pub(super) tc: bool,
    /// The host, while it runs everything after a fallback.
    pub(super) fallback: Option<Interp>,
    /// The order that the answer is given in.
    pub(super) order: Order,
    /// Whether queues share maps, which are watched.
    pub(super) watched: bool,
    /// Why there is no second opinion, where one was to be had.
    pub(super) second_not: Option<String>,
    pub(super) reasons: Vec<OrderReason>,
    /// What cannot be compared, where the reference is the kernel.
    pub(super) masks: Option<Masks>,
    /// Why the kernel has nothing to say of this program at all, if it has not.
    pub(super) untold: Option<Untold>,
    /// Whether the kernel may have evicted elements of an LRU map, so that from then on nothing
    /// is compared.
    pub(super) evicted: bool,
}

impl Testbed {
    pub(super) fn start(
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
        let outside = self.settings.outside.as_ref();
        if let Some(outside) = outside {
            nic = nic.with_workers(Arc::clone(&outside.workers));
        }
        let load_error = |e: &LoadError| StartError::Load(Box::new(load_finding(e, &self.caps)));
        nic.create_maps(&entry.maps).map_err(|e| load_error(&e))?;
        let ids: Vec<MapId> = (0..entry.maps.len()).collect();
        for assessment in &self.assessments {
            let Some(image) = &assessment.image else {
                continue;
            };
            let hook = &assessment.program.hook;
            let loaded = match outside {
                None => load_image(&mut nic, image, hook, &ids),
                Some(_) => nic.load(image, hook, &ids),
            };
            loaded.map_err(|e| load_error(&e))?;
        }
        self.fill(nic.maps(), seeds).map_err(StartError::Stop)?;
        let untold = self.only_behind_redirects(entry);
        let reference = match &untold {
            Some(_) => None,
            None => self.reference(programs, seeds)?,
        };
        let verified = self
            .assessments
            .iter()
            .filter_map(|a| a.verified.as_deref());
        let facts: Vec<&Verified> = verified.collect();
        let reasons = order::reasons(&facts);
        let written = order::written(&facts);
        let opinion = self.opinion(programs, &written, reference.as_deref());
        let watches = match opinion {
            // It copies the reference's maps in the midst of a chunk.
            Ok(true) => None,
            _ => self.watches(&reasons, nic.maps(), &written),
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
            Lanes::arrival(arrival()?, runner(), hook, room, pool)
        } else {
            let lanes = Lanes::per_queue(nic.queues(first), &runner, hook, room, pool);
            match &watches {
                None => lanes,
                Some(watches) => {
                    let sides = std::iter::once(nic.maps())
                        .chain(reference.as_ref().map(|r| r.maps()))
                        .cloned();
                    let watched = Watched::new(sides, watches, &written)
                        .map_err(|e| StartError::Stop(Error::input(e.to_string())))?;
                    lanes.watching(watched, arrival()?, runner())
                }
            }
        };
        let (lanes, second_not) =
            self.second_opinion(programs, seeds, opinion, reference.as_deref(), lanes)?;
        let kernel = self.settings.reference == ReferenceChoice::Kernel;
        let masks = kernel.then(|| Masks::of(&facts));
        let told = match &masks {
            Some(masks) => masks.told(Told::KERNEL),
            None => Told::default(),
        };
        let mut lanes = lanes.told(told);
        if let Some(longest) = self.window() {
            let host = self.host(programs, nic.maps().clone())?;
            lanes.punt(&|| host.runner(), longest);
        }
        Ok(Running {
            maps: Arc::clone(&entry.maps),
            tc: matches!(entry.hook, Hook::Tc { .. }),
            nic,
            reference,
            lanes,
            fallback: None,
            order,
            watched: watches.is_some(),
            second_not,
            reasons,
            masks,
            untold,
            evicted: false,
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
    pub(super) fn room(&self, programs: &[Arc<Program>]) -> Room {
        let calls = |ids: &[u32]| {
            programs
                .iter()
                .flat_map(|p| p.insns.iter())
                .any(|insn| matches!(insn, Insn::Call(CallTarget::Helper(id)) if ids.contains(id)))
        };
        if programs.iter().any(|p| matches!(p.hook, Hook::Tc { .. })) {
            // A packet that grows gets memory of its own.
            return Room {
                headroom: LEAST_HEADROOM,
                tailroom: 0,
                longest: self.frame_bytes.1,
            };
        }
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
    fn watches(
        &self,
        reasons: &[OrderReason],
        maps: &MapSet,
        written: &BTreeSet<MapId>,
    ) -> Option<Vec<(MapId, Watch)>> {
        let ours = matches!(
            self.settings.reference,
            ReferenceChoice::Auto | ReferenceChoice::Interp | ReferenceChoice::None
        );
        // Marks of a worker process are not seen here.
        let here = self.settings.outside.is_none();
        let wanted = ours && here && self.settings.order.is_none() && self.queues > 1;
        if !wanted || reasons.is_empty() || !Watched::affordable(maps, written) {
            return None;
        }
        reasons.iter().map(|r| Some((r.id, r.watch?))).collect()
    }

    /// Whether there can be a second opinion by rbpf: `Ok(true)` if it copies the reference's
    /// maps before each packet it is asked about; else why not, if that is worth telling.
    fn opinion(
        &self,
        programs: &[Arc<Program>],
        written: &BTreeSet<MapId>,
        reference: Option<&dyn Reference>,
    ) -> Result<bool, Option<String>> {
        let (ReferenceChoice::Auto, Some(reference), [program]) =
            (self.settings.reference, reference, programs)
        else {
            return Err((self.settings.reference == ReferenceChoice::Auto)
                .then(|| "rbpf has no tail calls".to_owned()));
        };
        Rbpf::supports(program).map_err(|why| Some(why.to_string()))?;
        let contents = |id: &MapId| {
            let map = reference.maps().get(*id);
            map.is_some_and(|map| map.kind() != MapType::Ringbuf)
        };
        let writes = written.iter().any(contents);
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
        let lanes = lanes.with_second(|| {
            let setup = self.setup(programs, seeds)?;
            let maps = setup.maps.clone();
            let rbpf = Rbpf::new(setup).map_err(|e| StartError::Stop(unsupported(&e)))?;
            let follows = writes.then(|| reference.maps().clone());
            Ok::<_, StartError>(Second::new(rbpf.runner(), maps, follows))
        })?;
        Ok((lanes, None))
    }

    /// The longest frame in bytes that the NIC runs a program on itself; `None` if it hands none
    /// to the host.
    fn window(&self) -> Option<usize> {
        let packet = self.caps.packet();
        let window = packet.window.known().filter(|_| packet.punt_beyond_window);
        window.map(|bytes| bytes as usize)
    }

    /// The host's engine over these maps.
    pub(super) fn host(
        &self,
        programs: &[Arc<Program>],
        maps: MapSet,
    ) -> Result<Interp, StartError> {
        let setup = Setup {
            programs: programs.to_vec(),
            maps,
            environment: Arc::clone(&self.environment),
        };
        Interp::new(setup).map_err(|e| StartError::Stop(unsupported(&e)))
    }

    /// What a reference is built from, with the maps filled.
    pub(super) fn setup(
        &self,
        programs: &[Arc<Program>],
        seeds: Option<&Seeds>,
    ) -> Result<Setup, StartError> {
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

    /// The kernel runs programs of devmap and cpumap slots behind a redirect only, not by
    /// themselves: where it is the reference, nothing of them is compared.
    fn only_behind_redirects(&self, entry: &Program) -> Option<Untold> {
        let of_slot = match entry.hook {
            Hook::Xdp { attach, .. } => attach != XdpAttach::Device,
            Hook::Tc { .. } | Hook::Raw { .. } => false,
        };
        (of_slot && self.settings.reference == ReferenceChoice::Kernel).then(|| Untold {
            what: "slot programs",
            why: "the kernel has no test run for a program that a slot of a devmap or cpumap holds"
                .to_owned(),
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
            ReferenceChoice::Auto | ReferenceChoice::Interp => {
                Some(Box::new(Interp::new(setup()?).map_err(|e| stop(&e))?))
            }
            ReferenceChoice::Kernel => Some(Box::new(
                cpu_reference::Kernel::new(setup()?).map_err(|e| stop(&e))?,
            )),
            ReferenceChoice::Rbpf => Some(Box::new(Rbpf::new(setup()?).map_err(|e| stop(&e))?)),
        })
    }
}

pub(super) enum StartError {
    Load(Box<Finding>),
    Stop(Error),
}

/// The entry and every program that filled slots of prog_arrays reach, the entry first.
pub(super) fn together(
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

/// Copies the contents of maps that both programs define alike. What the object itself fills
/// stays as it fills it: global data, whose values the new program was verified with, and slots
/// that hold numbers of programs or maps.
pub(super) fn carry_over(old_defs: &[MapDef], old: &MapSet, new_defs: &[MapDef], new: &MapSet) {
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
        let own = matches!(
            def.kind,
            MapType::ProgArray | MapType::ArrayOfMaps | MapType::HashOfMaps
        );
        if own || def.data.is_some() {
            continue;
        }
        if let (Some(from), Some(to)) = (old.get(from), new.get(id)) {
            to.copy_from(from);
        }
    }
}

/// Loads an image. Code that this process's own backends made is vouched for.
#[expect(unsafe_code, reason = "the one place that vouches for an image")]
pub(crate) fn load_image(
    nic: &mut Nic,
    image: &isa::Image,
    hook: &Hook,
    maps: &[MapId],
) -> Result<ProgramId, LoadError> {
    // SAFETY: a built-in backend made the image just now of a verified program, and nothing
    // changed it since: it comes from `pipeline::assess`, or from `side` for a built-in backend.
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
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        LoadError::Worker(_) => (
            "load/no-worker",
            "name the program nicbed (Workers::new), of the same version as this library",
        ),
        LoadError::Untrusted => (
            "load/no-worker",
            "give the NIC Workers, or vouch for the image with Image::trust",
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
