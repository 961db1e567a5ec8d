//! [`Nic`] and [`Queue`].

use std::fmt;
use std::sync::{Arc, OnceLock};

use bpf::Hook;
use bpf::map::{MapDef, MapId, MapSet, Placement, SetError};
use bpf::run::{Batch, Environment};
use bpf::trace::Observer;
use caps::Caps;
use isa::{Image, Isa, TrustedImage};

use crate::{Engine, Linked, QueueState, Resolver, Workers, engine_for};

/// Number of a loaded program on its NIC; what slots of a `prog_array` hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId(pub u32);

/// Most programs a NIC can hold at once.
pub const MAX_PROGRAMS: usize = 1024;

/// The loaded programs, by [`ProgramId`]. Filled while loading, read while running.
pub struct ProgramTable {
    slots: Vec<OnceLock<Arc<dyn Linked>>>,
}

impl fmt::Debug for ProgramTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ProgramTable({})",
            self.slots.iter().filter(|s| s.get().is_some()).count()
        )
    }
}

impl ProgramTable {
    fn new() -> ProgramTable {
        ProgramTable {
            slots: (0..MAX_PROGRAMS).map(|_| OnceLock::new()).collect(),
        }
    }

    /// A table of programs by their ids.
    pub(crate) fn of(programs: impl IntoIterator<Item = Arc<dyn Linked>>) -> ProgramTable {
        let table = ProgramTable::new();
        for (slot, program) in table.slots.iter().zip(programs) {
            let _ = slot.set(program);
        }
        table
    }

    /// All loaded programs, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<dyn Linked>> {
        self.slots.iter().map_while(OnceLock::get)
    }

    /// The program with this id, if it is loaded.
    pub fn get(&self, id: ProgramId) -> Option<&Arc<dyn Linked>> {
        self.slots.get(id.0 as usize)?.get()
    }
}

/// Why a NIC does not take an image or a map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No engine runs images of this set on this machine.
    #[error("no engine for {isa} on this machine")]
    NoEngine {
        /// The set.
        isa: Isa,
    },
    /// A map cannot be created.
    #[error(transparent)]
    Map(#[from] SetError),
    /// The image does not fit.
    #[error("{what}: the image needs {needs}, the NIC has {has}")]
    TooLarge {
        /// Which limit.
        what: &'static str,
        /// What the image needs.
        needs: u64,
        /// What there is.
        has: u64,
    },
    /// The image is malformed at this offset.
    #[error("malformed image at byte {offset}: {what}")]
    Malformed {
        /// Byte offset in the code.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Native code that nobody vouched for.
    #[error(
        "native code that nobody vouches for runs only in a worker process: give the NIC \
         Workers, whose program is nicbed"
    )]
    Untrusted,
    /// There is no worker process for it.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[error(transparent)]
    Worker(#[from] crate::native::worker::WorkerError),
    /// The system gives no pages for native code.
    #[error("no pages for native code (errno {errno})")]
    NoCodePages {
        /// The system's error number.
        errno: i32,
    },
    /// Read-only data on the NIC differs from what the image was translated for.
    #[error("map {map} holds other read-only data than the image was translated for")]
    Frozen {
        /// Map name.
        map: String,
    },
    /// The maps of another program set are there already.
    #[error("the NIC already holds the maps of another object")]
    MapsExist,
    /// All program slots are taken.
    #[error("the NIC already holds {limit} programs")]
    Full {
        /// How many it can hold.
        limit: usize,
    },
}

/// A simulated NIC.
#[derive(Debug)]
pub struct Nic {
    caps: Arc<Caps>,
    environment: Arc<Environment>,
    maps: MapSet,
    programs: Arc<ProgramTable>,
    loaded: u32,
    queues: u32,
    workers: Option<Arc<Workers>>,
}

impl Nic {
    /// A NIC with these capabilities and so many receive queues.
    pub fn new(caps: Arc<Caps>, environment: Arc<Environment>, queues: u32) -> Nic {
        Nic {
            caps,
            environment,
            maps: MapSet::new(),
            programs: Arc::new(ProgramTable::new()),
            loaded: 0,
            queues,
            workers: None,
        }
    }

    /// The same, before it has maps: native images run in worker processes, and need nobody who
    /// vouches for them.
    #[must_use]
    pub fn with_workers(mut self, workers: Arc<Workers>) -> Nic {
        self.workers = Some(workers);
        self
    }

    /// What it declares.
    pub fn caps(&self) -> &Arc<Caps> {
        &self.caps
    }

    /// Creates the maps of a program set: a map's id is its index in `defs`. A NIC holds the maps
    /// of one set.
    ///
    /// # Errors
    /// [`LoadError::Map`], [`LoadError::MapsExist`].
    pub fn create_maps(&mut self, defs: &[MapDef]) -> Result<Vec<MapId>, LoadError> {
        let placement = match self.workers {
            Some(_) => Placement::Shared,
            None => Placement::Private,
        };
        let set = MapSet::for_program_set(defs, self.queues, placement)?;
        if !self.maps.is_empty() {
            return Err(LoadError::MapsExist);
        }
        self.maps = set;
        Ok((0..defs.len()).collect())
    }

    /// Host access to the maps.
    pub fn maps(&self) -> &MapSet {
        &self.maps
    }

    /// Loads an image; `maps` gives for each map of the program its id on this NIC. The engine
    /// checks every access that the image makes.
    ///
    /// # Errors
    /// [`LoadError`]; native code is [`LoadError::Untrusted`] here.
    pub fn load(
        &mut self,
        image: &Image,
        hook: &Hook,
        maps: &[MapId],
    ) -> Result<ProgramId, LoadError> {
        self.load_with(image, hook, maps, |engine, image, resolver| {
            engine.load(image, resolver)
        })
    }

    /// Loads an image that somebody vouches for, see [`Image::trust`].
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load_trusted(
        &mut self,
        image: &TrustedImage,
        hook: &Hook,
        maps: &[MapId],
    ) -> Result<ProgramId, LoadError> {
        self.load_with(image.image(), hook, maps, |engine, _, resolver| {
            engine.load_trusted(image, resolver)
        })
    }

    fn load_with(
        &mut self,
        image: &Image,
        hook: &Hook,
        maps: &[MapId],
        load: impl FnOnce(&dyn Engine, &Image, &Resolver<'_>) -> Result<Arc<dyn Linked>, LoadError>,
    ) -> Result<ProgramId, LoadError> {
        let engine = engine_for(image.isa).ok_or(LoadError::NoEngine { isa: image.isa })?;
        let id = ProgramId(self.loaded);
        let slot = self
            .programs
            .slots
            .get(id.0 as usize)
            .ok_or(LoadError::Full {
                limit: MAX_PROGRAMS,
            })?;
        for (map, contents) in &image.resources.frozen {
            let held = maps.get(*map).and_then(|id| self.maps.get(*id));
            let same = held.and_then(|map| {
                let at = map.lookup(&[0; 4], 0)?;
                Some(map.memory().equals(at.0, contents))
            });
            if same != Some(true) {
                let map = held.map_or_else(String::new, |map| map.def().name.clone());
                return Err(LoadError::Frozen { map });
            }
        }
        let resolver = Resolver {
            caps: &self.caps,
            hook,
            maps,
            map_set: &self.maps,
            environment: &self.environment,
            id,
            programs: &self.programs,
            workers: self.workers.as_ref(),
        };
        let _ = slot.set(load(engine, image, &resolver)?);
        self.loaded += 1;
        Ok(id)
    }

    /// The binary record in which the device serves its capabilities to its driver.
    pub fn record(&self) -> Vec<u8> {
        self.caps.to_record()
    }

    /// How many receive queues it has.
    pub fn queue_count(&self) -> u32 {
        self.queues
    }

    /// All queues in one, running `program` in arrival order; `None` if it is not loaded.
    pub fn arrival_order(&self, program: ProgramId) -> Option<ArrivalOrder> {
        Some(ArrivalOrder {
            states: (0..self.queues)
                .map(|queue| QueueState {
                    queue,
                    scratch: None,
                })
                .collect(),
            program: Arc::clone(self.programs.get(program)?),
            _programs: Arc::clone(&self.programs),
        })
    }

    /// The receive queues, all running `program`.
    pub fn queues(&self, program: ProgramId) -> Vec<Queue> {
        (0..self.queues)
            .filter_map(|queue| {
                Some(Queue {
                    state: QueueState {
                        queue,
                        scratch: None,
                    },
                    program: Arc::clone(self.programs.get(program)?),
                    _programs: Arc::clone(&self.programs),
                })
            })
            .collect()
    }
}

/// All queues of a NIC in one, for processing in arrival order.
pub struct ArrivalOrder {
    states: Vec<QueueState>,
    program: Arc<dyn Linked>,
    /// Keeps the targets of tail calls.
    _programs: Arc<ProgramTable>,
}

impl fmt::Debug for ArrivalOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrivalOrder({} queues)", self.states.len())
    }
}

impl ArrivalOrder {
    /// Runs the program on a batch of frames of any queue, in order, in place.
    pub fn process(&mut self, batch: &mut Batch) {
        self.program.run(&mut self.states, batch);
    }

    /// The same, and `observer` looks at every instruction; false where the engine cannot show
    /// what it does, and then nothing ran.
    pub fn trace(&mut self, batch: &mut Batch, observer: &mut dyn Observer) -> bool {
        self.program.trace(&mut self.states, batch, observer)
    }
}

/// One receive queue of a NIC, with what belongs to it alone.
pub struct Queue {
    state: QueueState,
    program: Arc<dyn Linked>,
    /// Keeps the targets of tail calls.
    _programs: Arc<ProgramTable>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({})", self.state.queue)
    }
}

impl Queue {
    /// The queue's number, from 0.
    pub fn number(&self) -> u32 {
        self.state.queue
    }

    /// Runs the queue's program on a batch of its frames, in order, in place.
    pub fn process(&mut self, batch: &mut Batch) {
        self.program
            .run(std::slice::from_mut(&mut self.state), batch);
    }

    /// The same, and `observer` looks at every instruction; false where the engine cannot show
    /// what it does, and then nothing ran.
    pub fn trace(&mut self, batch: &mut Batch, observer: &mut dyn Observer) -> bool {
        let states = std::slice::from_mut(&mut self.state);
        self.program.trace(states, batch, observer)
    }
}
