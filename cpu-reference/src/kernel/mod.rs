//! `kernel`: the Linux kernel's own answer, by `BPF_PROG_TEST_RUN`.
//!
//! It is the judge of the interpreter and of the map and helper semantics that all engines
//! share. One thread of its own does all the work, in a network namespace of its own and bound to
//! the CPU that is the packet's queue.
//!
//! [`load`] loads programs (where the object has no types, with [`btf`]'s description of their
//! functions), [`judge`] asks for a verdict only, [`worker`] runs packets, [`given`] puts the
//! packet's time and random numbers in place of the machine's, [`maps`] keeps the maps,
//! [`network`] makes interfaces and routes by [`netlink`], [`channel`] reads events, [`untold`]
//! (by [`reads`]) says what a run cannot tell, [`sys`] holds the system calls.

mod btf;
mod channel;
mod given;
mod judge;
mod load;
mod maps;
mod netlink;
mod network;
mod reads;
mod skb;
mod sys;
mod untold;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use bpf::hook::XdpAttach;
use bpf::map::MapSet;
use bpf::run::Batch;
use bpf::{Finding, Hook, Stage};

pub use judge::{Judgement, Prepared, judge, log_from_the_start};
pub use skb::TOLD_BY_TEST_RUN;

use crate::{Reference, Runner, Setup, Unsupported, Untold};

/// Programs loaded into the running kernel.
#[derive(Debug)]
pub struct Kernel {
    requests: Sender<Request>,
    maps: MapSet,
    /// Whether programs ran since the maps were read back.
    ran: Arc<AtomicBool>,
    untold: Vec<Untold>,
}

/// What the worker's thread is asked for, and where the answer goes.
enum Request {
    /// To run a batch.
    Run { batch: Batch, back: Sender<Batch> },
    /// To make the contents of our maps those of the kernel's.
    ReadBack { done: Sender<io::Result<()>> },
    /// To make the contents of the kernel's maps those of ours.
    Write { done: Sender<io::Result<()>> },
}

/// What can go wrong while programs are loaded.
#[derive(Debug, thiserror::Error)]
enum KernelError {
    #[error("map {name}: {error}")]
    Map { name: String, error: io::Error },
    #[error("network namespace: {0}")]
    Namespace(io::Error),
    #[error("network: {0}")]
    Network(network::NetworkError),
    #[error("BTF: {0}")]
    Btf(io::Error),
    #[error("{0}")]
    Thread(io::Error),
    #[error("program {name} is rejected: {error}\n{log}")]
    Rejected {
        name: String,
        error: io::Error,
        log: String,
    },
    #[error("program {name} cannot be loaded: {reason}")]
    NotLoadable { name: String, reason: String },
}

impl From<KernelError> for Unsupported {
    fn from(error: KernelError) -> Unsupported {
        match error {
            KernelError::Rejected {
                ref name, ref log, ..
            } => Unsupported::Program {
                finding: Box::new(
                    Finding::error(
                        "reference/kernel-rejects",
                        Stage::Behaviour,
                        name,
                        format!("the kernel's verifier rejects {name}{}", reason(log)),
                    )
                    .why(log.trim_end()),
                ),
            },
            other => Unsupported::Environment {
                needs: "kernel",
                reason: other.to_string(),
            },
        }
    }
}

/// What the verifier's log ends with before its statistics.
fn reason(log: &str) -> String {
    let said = |line: &&str| !line.is_empty() && !line.starts_with("processed ");
    let last = log.lines().map(str::trim).rfind(said);
    last.map(|line| format!(": {line}")).unwrap_or_default()
}

impl Kernel {
    /// Creates the maps with their contents, loads the programs, and fills program arrays.
    ///
    /// # Errors
    /// [`Unsupported::Program`] if the kernel's verifier rejects a program (its log is the
    /// finding's `why`), there is no program, or it has no hook or that of a devmap's or cpumap's
    /// slot; [`Unsupported::Environment`] if bpf(2) cannot be used here.
    pub fn new(setup: Setup) -> Result<Kernel, Unsupported> {
        // The kernel runs the programs of devmap and cpumap slots only behind a redirect.
        let entry = setup.programs.first();
        let slot = entry
            .filter(|p| matches!(p.hook, Hook::Xdp { attach, .. } if attach != XdpAttach::Device));
        let raw = (setup.programs.iter()).find(|p| matches!(p.hook, Hook::Raw { .. }));
        if let Some(other) = raw.or(slot) {
            let of = match other.hook {
                Hook::Xdp { .. } => "that a slot of a devmap or cpumap holds".into(),
                _ => format!("of hook {}", other.hook),
            };
            return Err(Unsupported::Program {
                finding: Box::new(Finding::error(
                    "reference/hook",
                    Stage::Behaviour,
                    &other.name,
                    format!("the kernel has no test run for a program {of}"),
                )),
            });
        }
        let maps = setup.maps.clone();
        let untold = untold::all(&setup);
        let (requests, receiver) = mpsc::channel();
        let (ready, loaded) = mpsc::channel();
        thread::Builder::new()
            .name("kernel reference".into())
            .spawn(move || serve(&setup, &ready, &receiver))
            .map_err(KernelError::Thread)?;
        match loaded.recv() {
            Ok(Ok(())) => Ok(Kernel {
                requests,
                maps,
                ran: Arc::new(AtomicBool::new(false)),
                untold,
            }),
            Ok(Err(error)) => Err(error.into()),
            Err(mpsc::RecvError) => {
                Err(KernelError::Thread(io::ErrorKind::BrokenPipe.into()).into())
            }
        }
    }

    /// Asks the worker's thread for something, and waits.
    fn ask(&self, request: impl FnOnce(Sender<io::Result<()>>) -> Request) -> io::Result<()> {
        let (done, answer) = mpsc::channel();
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        if self.requests.send(request(done)).is_err() {
            return Err(gone());
        }
        answer.recv().unwrap_or_else(|mpsc::RecvError| Err(gone()))
    }
}

/// The thread: loads, says how that went, then does what it is asked for until nobody is left to
/// ask.
fn serve(setup: &Setup, ready: &Sender<Result<(), KernelError>>, requests: &Receiver<Request>) {
    match worker::Worker::new(setup) {
        Err(error) => {
            // Nobody waits only if the asking thread is gone, and then nobody wants to know.
            let _ = ready.send(Err(error));
        }
        Ok(mut worker) => {
            let _ = ready.send(Ok(()));
            while let Ok(request) = requests.recv() {
                match request {
                    Request::Run { mut batch, back } => {
                        worker.process(&mut batch);
                        let _ = back.send(batch);
                    }
                    Request::ReadBack { done } => {
                        let _ = done.send(worker.read_back());
                    }
                    Request::Write { done } => {
                        let _ = done.send(worker.write_maps());
                    }
                }
            }
        }
    }
}

impl Reference for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn runner(&self) -> Box<dyn Runner> {
        Box::new(KernelRunner {
            requests: self.requests.clone(),
            ran: Arc::clone(&self.ran),
        })
    }

    /// The maps, with the kernel's contents as of now. A map that cannot be read keeps its old
    /// contents, which a comparison then shows.
    fn maps(&self) -> &MapSet {
        if self.ran.swap(false, Ordering::AcqRel) {
            let _ = self.ask(|done| Request::ReadBack { done });
        }
        &self.maps
    }

    fn maps_changed(&self) -> io::Result<()> {
        self.ask(|done| Request::Write { done })
    }

    fn untold(&self) -> &[Untold] {
        &self.untold
    }
}

/// Hands batches to the kernel's thread; batches of all runners wait in one line.
#[derive(Debug)]
struct KernelRunner {
    requests: Sender<Request>,
    ran: Arc<AtomicBool>,
}

impl Runner for KernelRunner {
    fn process(&mut self, batch: &mut Batch) {
        let (back, done) = mpsc::channel();
        let request = Request::Run {
            batch: std::mem::take(batch),
            back,
        };
        // The thread lives as long as somebody can ask; were it gone, no frame would come back.
        if self.requests.send(request).is_ok()
            && let Ok(processed) = done.recv()
        {
            *batch = processed;
        }
        self.ran.store(true, Ordering::Release);
    }
}
