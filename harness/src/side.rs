//! [`Side`]: what runs one program, by name: a backend's code on its NIC, or a CPU reference.
//!
//! Conformance, fuzzing and repros load a program on one side after the other and compare. Unlike
//! a [`Testbed`](crate::testbed::Testbed) a side has no decision: what a NIC declares is not held
//! against the program, since it is the backend that is tested.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bpf::finding::Finding;
use bpf::map::{MapSet, Placement};
use bpf::run::{Batch, Environment};
use bpf::trace::Observer;
use bpf::{Hook, Program};
use caps::{Caps, Limit};
use cpu_reference::{Interp, Kernel, Rbpf, Reference, Runner, Setup, Unsupported};
use isa::{Image, Isa};
use jit_backends::{Backend, Refusal};
use nic_model::{ArrivalOrder, LoadError, Nic, Workers};
use verifier::{Options, Verified};

use crate::compare::Told;
use crate::error::Error;
use crate::exec::{self, Exec};
use crate::testbed::load_image;

/// What runs one program.
#[derive(Clone)]
pub enum Side<'a> {
    /// A backend's code on a NIC.
    Nic(Device<'a>),
    /// Our checked interpreter.
    Interp,
    /// The crate rbpf.
    Rbpf,
    /// The Linux kernel of this machine.
    Kernel,
}

/// A backend, and the NIC that its code runs on.
#[derive(Clone)]
pub struct Device<'a> {
    backend: &'a dyn Backend,
    caps: Arc<Caps>,
    /// Whether the backend is one of this workspace, so that its images can be vouched for.
    is_builtin: bool,
    workers: Option<Arc<Workers>>,
}

impl<'a> Device<'a> {
    /// A backend from outside. Its native code runs in worker processes alone: without `workers`
    /// it is refused.
    pub fn new(
        backend: &'a dyn Backend,
        caps: Arc<Caps>,
        workers: Option<Arc<Workers>>,
    ) -> Device<'a> {
        Device {
            backend,
            caps,
            is_builtin: false,
            workers,
        }
    }

    /// The backend.
    pub fn backend(&self) -> &'a dyn Backend {
        self.backend
    }

    /// What the NIC declares.
    pub fn caps(&self) -> &Arc<Caps> {
        &self.caps
    }
}

impl fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Side({})", self.name())
    }
}

impl fmt::Debug for Device<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({} on {})", self.backend.name(), self.caps.name)
    }
}

/// A program on a side, with maps of its own.
pub struct Loaded {
    image: Option<Arc<Image>>,
    runs: Runs,
}

enum Runs {
    Nic {
        maps: MapSet,
        all: ArrivalOrder,
    },
    Reference {
        reference: Box<dyn Reference>,
        runner: Box<dyn Runner>,
    },
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loaded({} maps)", self.maps().len())
    }
}

impl Loaded {
    /// Runs the program on every frame of the batch, in order, in place.
    pub fn process(&mut self, batch: &mut Batch) {
        match &mut self.runs {
            Runs::Nic { all, .. } => all.process(batch),
            Runs::Reference { runner, .. } => runner.process(batch),
        }
    }

    /// The same, and `observer` looks at every instruction. Gives false, and runs nothing, where
    /// the side has no instructions to show.
    pub fn trace(&mut self, batch: &mut Batch, observer: &mut dyn Observer) -> bool {
        match &mut self.runs {
            Runs::Nic { all, .. } => all.trace(batch, observer),
            Runs::Reference { runner, .. } => runner.trace(batch, observer),
        }
    }

    /// The maps that the program works on.
    pub fn maps(&self) -> &MapSet {
        match &self.runs {
            Runs::Nic { maps, .. } => maps,
            Runs::Reference { reference, .. } => reference.maps(),
        }
    }

    /// The NIC's code; `None` on a reference.
    pub fn image(&self) -> Option<&Arc<Image>> {
        self.image.as_ref()
    }

    /// What is to be told of the side when it is compared with another.
    pub fn told(&self) -> Told {
        match &self.runs {
            Runs::Reference { reference, .. } if reference.name() == "kernel" => Told::KERNEL,
            _ => Told::default(),
        }
    }
}

/// Why a side does not take a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It has not what the program needs.
    #[error("{}", finding.message)]
    Program {
        /// What, where and why.
        finding: Box<Finding>,
    },
    /// It cannot be loaded, or the backend tells no reason.
    #[error("{side}: {why}")]
    Load {
        /// The side's name.
        side: String,
        /// Why.
        why: String,
    },
    /// This machine lacks what the side needs.
    #[error("this needs {needs}: {reason}")]
    Environment {
        /// What is needed.
        needs: String,
        /// Why it is not there.
        reason: String,
    },
}

impl From<Unsupported> for NotTaken {
    fn from(unsupported: Unsupported) -> NotTaken {
        match unsupported {
            Unsupported::Program { finding } => NotTaken::Program { finding },
            Unsupported::Environment { needs, reason } => NotTaken::Environment {
                needs: needs.to_owned(),
                reason,
            },
        }
    }
}

impl Side<'static> {
    /// The CPU reference of this name.
    pub fn reference(name: &str) -> Option<Side<'static>> {
        match name {
            "interp" => Some(Side::Interp),
            "rbpf" => Some(Side::Rbpf),
            "kernel" => Some(Side::Kernel),
            _ => None,
        }
    }

    /// The names that [`Side::by_name`] knows.
    pub fn names() -> Vec<&'static str> {
        let backends = jit_backends::all().iter().map(|b| b.name());
        backends.chain(["interp", "rbpf"]).collect()
    }

    /// The side of this name: a backend's (on `nic`, else on the NIC of that backend with the
    /// longest code store), `interp` or `rbpf`. Native code runs in `workers`, if there are any;
    /// else in this process, since the backends are this workspace's own.
    ///
    /// # Errors
    /// If there is no such backend, or `nic` is another backend's.
    pub fn by_name(
        name: &str,
        nic: Option<Arc<Caps>>,
        workers: Option<Arc<Workers>>,
    ) -> Result<Side<'static>, Error> {
        if let Some(program) = name.strip_prefix(exec::PREFIX) {
            return Side::exec(program.as_ref(), nic, workers);
        }
        let Some(backend) = jit_backends::by_name(name) else {
            let side = match name {
                "interp" => Side::Interp,
                "rbpf" => Side::Rbpf,
                _ => {
                    return Err(
                        Error::usage(format!("there is no backend {name}")).help(format!(
                            "there are: {}, and {}PROGRAM",
                            Side::names().join(", "),
                            exec::PREFIX
                        )),
                    );
                }
            };
            return match nic {
                None => Ok(side),
                Some(nic) => Err(Error::usage(format!(
                    "{name} runs on the CPU, not on {}",
                    nic.name
                ))),
            };
        };
        let caps = match nic {
            Some(nic) if nic.backend == name => nic,
            Some(nic) => {
                return Err(Error::usage(format!(
                    "{} is a NIC of backend {}, not of {name}",
                    nic.name, nic.backend
                )));
            }
            None => roomiest(name)?,
        };
        Ok(Side::Nic(Device {
            backend,
            caps,
            is_builtin: true,
            // Engines that check every access need none.
            workers: workers.filter(|_| backend.isa() == Isa::X86_64),
        }))
    }
}

impl Side<'static> {
    /// A backend that is a program of its own.
    fn exec(
        program: &Path,
        nic: Option<Arc<Caps>>,
        workers: Option<Arc<Workers>>,
    ) -> Result<Side<'static>, Error> {
        let backend = Exec::start(program)?;
        let caps = if let Some(nic) = nic {
            nic
        } else {
            let none = || Error::usage(format!("no NIC here executes {}", backend.isa()));
            roomiest(backend.kin().ok_or_else(none)?.name())?
        };
        backend.fits(&caps)?;
        // It is used until the process ends.
        let backend: &'static dyn Backend = Box::leak(Box::new(backend));
        Ok(Side::Nic(Device::new(backend, caps, workers)))
    }
}

/// The built-in NIC of a backend with the longest code store.
fn roomiest(backend: &str) -> Result<Arc<Caps>, Error> {
    let nics = caps::builtin_names()
        .iter()
        .filter_map(|name| caps::builtin(name).ok());
    let room = |nic: &Caps| {
        let length = |limit: Limit| limit.value.known();
        nic.image_length().and_then(length).unwrap_or(u64::MAX)
    };
    nics.filter(|nic| nic.backend == backend)
        .max_by_key(room)
        .map(Arc::new)
        .ok_or_else(|| {
            Error::usage(format!("no built-in NIC has backend {backend}"))
                .help("name one with --nic FILE.toml")
        })
}

impl<'a> Side<'a> {
    /// The same in this process, where what runs can be stepped through, if its code can be
    /// vouched for.
    #[must_use]
    pub fn here(&self) -> Side<'a> {
        match self {
            Side::Nic(device) if device.is_builtin => Side::Nic(Device {
                workers: None,
                ..device.clone()
            }),
            other => other.clone(),
        }
    }
}

impl Side<'_> {
    /// The backend's name, or `interp`, `rbpf`, `kernel`.
    pub fn name(&self) -> &'static str {
        match self {
            Side::Nic(device) => device.backend.name(),
            Side::Interp => "interp",
            Side::Rbpf => "rbpf",
            Side::Kernel => "kernel",
        }
    }

    /// Whether its engine counts cycles: the NIC's profile has what instructions cost.
    pub fn counts_cycles(&self) -> bool {
        matches!(self, Side::Nic(device) if device.caps.costs().is_known())
    }

    /// Whether it runs programs on packets alone, and none without a hook.
    pub fn needs_packets(&self) -> bool {
        matches!(self, Side::Nic(device) if nic_model::engine_for(device.backend.isa())
            .is_some_and(|engine| !engine.runs_without_hook()))
    }

    /// Whether it executes eBPF itself and checks every access, so that it also takes programs
    /// that nobody proved safe.
    pub fn executes_ebpf(&self) -> bool {
        matches!(self, Side::Nic(device) if device.backend.isa() == Isa::Ebpf)
    }

    /// Proves a program safe, with the checks of the NIC's driver if it has any.
    ///
    /// # Errors
    /// The finding for which it is refused.
    pub fn verify(&self, program: &Arc<Program>) -> Result<Verified, Box<Finding>> {
        let none = jit_backends::Loaded::default();
        let mut hooks = match self {
            Side::Nic(device) => device.backend.hooks(&device.caps, &none),
            _ => None,
        };
        let options = Options {
            device: hooks
                .as_mut()
                .map(|h| h.as_mut() as &mut dyn verifier::DeviceHooks),
            port: None,
            device_bound: false,
            log: false,
        };
        let verified = verifier::verify(Arc::clone(program), options)
            .map_err(|rejection| Box::new(rejection.finding))?;
        match verified.findings().iter().find(|f| f.is_error()) {
            Some(finding) => Err(Box::new(finding.clone())),
            None => Ok(verified),
        }
    }

    /// Loads a program that was proved safe.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn load(
        &self,
        verified: &Verified,
        environment: &Arc<Environment>,
    ) -> Result<Loaded, NotTaken> {
        match self {
            Side::Nic(device) => {
                let image = device
                    .backend
                    .translate(verified, &device.caps)
                    .map_err(|refusal| refused(self.name(), refusal))?;
                device.start(Arc::new(image), verified.program(), environment)
            }
            _ => self.refer(verified.program(), environment),
        }
    }

    /// Loads a program as its bytes are, where the side [executes eBPF](Side::executes_ebpf).
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn load_unproved(
        &self,
        program: &Program,
        environment: &Arc<Environment>,
    ) -> Result<Loaded, NotTaken> {
        match self {
            Side::Nic(device) if self.executes_ebpf() => {
                let image = jit_backends::ebpf::image(program, 0)
                    .map_err(|refusal| refused(self.name(), refusal))?;
                device.start(Arc::new(image), program, environment)
            }
            _ => Err(not_loaded(self.name(), &"the program is not proved safe")),
        }
    }

    fn refer(
        &self,
        program: &Arc<Program>,
        environment: &Arc<Environment>,
    ) -> Result<Loaded, NotTaken> {
        let maps = MapSet::for_program_set(&program.maps, 1, Placement::Private)
            .map_err(|error| not_loaded(self.name(), &error))?;
        maps.fill_programs(|name| (name == program.name).then_some(0))
            .map_err(|error| not_loaded(self.name(), &error))?;
        let setup = Setup {
            programs: vec![Arc::clone(program)],
            maps,
            environment: Arc::clone(environment),
        };
        let reference: Box<dyn Reference> = match self {
            Side::Rbpf => Box::new(Rbpf::new(setup)?),
            Side::Kernel => Box::new(Kernel::new(setup)?),
            Side::Interp | Side::Nic(_) => Box::new(Interp::new(setup)?),
        };
        let runner = reference.runner();
        Ok(Loaded {
            image: None,
            runs: Runs::Reference { reference, runner },
        })
    }
}

impl Device<'_> {
    fn start(
        &self,
        image: Arc<Image>,
        program: &Program,
        environment: &Arc<Environment>,
    ) -> Result<Loaded, NotTaken> {
        let mut nic = Nic::new(Arc::clone(&self.caps), Arc::clone(environment), 1);
        if let Some(workers) = &self.workers {
            nic = nic.with_workers(Arc::clone(workers));
        }
        let failed = |error: LoadError| match error {
            LoadError::NoEngine { isa } => NotTaken::Environment {
                needs: format!("an engine for {isa}"),
                reason: "this machine has none".to_owned(),
            },
            error => not_loaded(&self.caps.name, &error),
        };
        let ids = nic.create_maps(&program.maps).map_err(failed)?;
        let hook: &Hook = &program.hook;
        let id = if self.is_builtin && self.workers.is_none() {
            load_image(&mut nic, &image, hook, &ids).map_err(failed)?
        } else {
            nic.load(&image, hook, &ids).map_err(failed)?
        };
        let all = nic.arrival_order(id);
        let maps = nic.maps().clone();
        maps.fill_programs(|name| (name == program.name).then_some(id.0))
            .map_err(|error| not_loaded(&self.caps.name, &error))?;
        all.map(|all| Loaded {
            image: Some(image),
            runs: Runs::Nic { maps, all },
        })
        .ok_or_else(|| not_loaded(&self.caps.name, &"the program was lost while loading"))
    }
}

fn refused(side: &str, refusal: Refusal) -> NotTaken {
    match refusal.findings.into_iter().next() {
        Some(finding) => NotTaken::Program {
            finding: Box::new(finding),
        },
        None => not_loaded(side, &"the backend refuses it and says not why"),
    }
}

fn not_loaded(side: &str, why: &dyn fmt::Display) -> NotTaken {
    NotTaken::Load {
        side: side.to_owned(),
        why: why.to_string(),
    }
}
