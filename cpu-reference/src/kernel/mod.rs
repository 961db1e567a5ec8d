//! `kernel`: the Linux kernel's own answer, by `BPF_PROG_TEST_RUN`.
//!
//! It is the judge of the interpreter and of the map and helper semantics that all engines
//! share. One thread of its own does all the work, in an empty network namespace and bound to
//! the CPU that is the packet's queue. What it cannot control: time and random numbers are the
//! machine's, and a frame's receive queue is always 0 (`lo` has no other).
//!
//! [`load`] loads programs (where the object has no types, with [`btf`]'s description of their
//! functions), [`judge`] asks for a verdict only, [`worker`] runs packets, [`maps`] keeps the maps, [`port`] makes the interfaces that redirects name, [`channel`] reads
//! events, [`sys`] holds the system calls.

mod btf;
mod channel;
mod judge;
mod load;
mod maps;
mod port;
mod sys;
mod worker;

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use bpf::hook::XdpAttach;
use bpf::map::MapSet;
use bpf::run::Batch;
use bpf::{Finding, Hook, Stage};

pub use judge::{Judgement, judge, log_from_the_start};

use crate::{Reference, Runner, Setup, Unsupported};

/// Programs loaded into the running kernel.
#[derive(Debug)]
pub struct Kernel {
    requests: Sender<Request>,
    maps: MapSet,
}

/// A batch to run, and where it goes back to.
struct Request {
    batch: Batch,
    back: Sender<Batch>,
}

/// What can go wrong while programs are loaded.
#[derive(Debug, thiserror::Error)]
enum KernelError {
    #[error("map {name}: {error}")]
    Map { name: String, error: io::Error },
    #[error("network namespace: {0}")]
    Namespace(io::Error),
    #[error("an interface for each port: {0}")]
    Ports(io::Error),
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
    /// finding's `why`) or the hook is not XDP, or that of a devmap's or cpumap's slot; [`Unsupported::Environment`] if bpf(2) cannot be
    /// used here.
    pub fn new(setup: Setup) -> Result<Kernel, Unsupported> {
        // The kernel runs the programs of devmap and cpumap slots only behind a redirect.
        let entry = setup.programs.first();
        let slot = entry
            .filter(|p| matches!(p.hook, Hook::Xdp { attach, .. } if attach != XdpAttach::Device));
        let not_xdp = (setup.programs.iter()).find(|p| !matches!(p.hook, Hook::Xdp { .. }));
        if let Some(other) = not_xdp.or(slot) {
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
        let (requests, receiver) = mpsc::channel();
        let (ready, loaded) = mpsc::channel();
        thread::Builder::new()
            .name("kernel reference".into())
            .spawn(move || serve(&setup, &ready, &receiver))
            .map_err(KernelError::Thread)?;
        match loaded.recv() {
            Ok(Ok(())) => Ok(Kernel { requests, maps }),
            Ok(Err(error)) => Err(error.into()),
            Err(mpsc::RecvError) => {
                Err(KernelError::Thread(io::ErrorKind::BrokenPipe.into()).into())
            }
        }
    }
}

/// The thread: loads, says how that went, then runs batches until nobody is left to ask.
fn serve(setup: &Setup, ready: &Sender<Result<(), KernelError>>, requests: &Receiver<Request>) {
    match worker::Worker::new(setup) {
        Err(error) => {
            // Nobody waits only if the asking thread is gone, and then nobody wants to know.
            let _ = ready.send(Err(error));
        }
        Ok(mut worker) => {
            let _ = ready.send(Ok(()));
            while let Ok(Request { mut batch, back }) = requests.recv() {
                worker.process(&mut batch);
                let _ = back.send(batch);
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
        })
    }

    /// The maps, with the kernel's contents as of the end of the last batch.
    fn maps(&self) -> &MapSet {
        &self.maps
    }
}

/// Hands batches to the kernel's thread; batches of all runners wait in one line.
#[derive(Debug)]
struct KernelRunner {
    requests: Sender<Request>,
}

impl Runner for KernelRunner {
    fn process(&mut self, batch: &mut Batch) {
        let (back, done) = mpsc::channel();
        let request = Request {
            batch: std::mem::take(batch),
            back,
        };
        if let Err(mpsc::SendError(request)) = self.requests.send(request) {
            *batch = request.batch;
        } else if let Ok(processed) = done.recv() {
            *batch = processed;
        }
    }
}
