//! Proves an eBPF program safe, and reports what it learned about every instruction.
//!
//! [`verify`] is the only maker of [`Verified`], and every later stage takes one: a backend
//! cannot be handed an unverified program. Start with [`facts`] for what is learned.
//!
//! The parts, from the bottom up: `domain` holds abstract values and knows no instruction;
//! `platform` is what surrounds a program; `cfg` is its control-flow graph; `assertions` decides
//! what must hold at an instruction, `check` holds it against a state that it never changes, and
//! `transfer` changes a state and never reports; `explore` follows every path and alone prunes;
//! `facts` alone joins; `report` has the rules.
//!
//! ```
//! use std::sync::Arc;
//! use bpf::object::{LoadOptions, load};
//! use verifier::facts::Region;
//!
//! let text = "\
//!     r2 = *(u32 *)(r1 + 0)
//!     r3 = *(u32 *)(r1 + 4)
//!     r4 = r2
//!     r4 += 14
//!     if r4 > r3 goto out
//!     r5 = *(u16 *)(r2 + 12)
//! out:
//!     r0 = 2
//!     exit
//! ";
//! let set = load("ethertype.bpf", text.as_bytes(), &LoadOptions::default())?;
//! let program = Arc::new(set.programs[0].clone());
//! let verified = verifier::verify(program, verifier::Options::default())?;
//! let access = verified.facts(5).access.ok_or("no access")?;
//! assert_eq!((access.region, access.min, access.max), (Region::Packet, 12, 12));
//!
//! // Without the comparison nothing says that the packet has these bytes.
//! let text = text.replace("if r4 > r3 goto out", "");
//! let set = load("ethertype.bpf", text.as_bytes(), &LoadOptions::default())?;
//! let program = Arc::new(set.programs[0].clone());
//! let rejection = verifier::verify(program, verifier::Options::default()).unwrap_err();
//! assert_eq!(rejection.finding.rule, "verify/packet-bounds");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod assertions;
mod cfg;
mod check;
mod declared;
pub mod domain;
mod early_ends;
mod exceptions;
mod explore;
pub mod facts;
mod hooks;
mod kernel;
mod log;
mod objects;
mod platform;
pub mod report;
mod stack;
mod transfer;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use bpf::{Finding, Program};
use isa::ebpf::{AtomicOp, Insn};

pub use facts::Facts;
use report::Failure;
use transfer::Context;

pub use hooks::{DeviceHooks, Summary, Visit};

/// How to verify.
#[derive(Default)]
pub struct Options<'a> {
    /// The NIC driver's own checks, if a NIC is named.
    pub device: Option<&'a mut dyn DeviceHooks>,
    /// The port (ifindex) that the program is to be attached to, for the driver.
    pub port: Option<u32>,
    /// Whether the program is bound to a device (may write `rx_queue_index`).
    pub device_bound: bool,
    /// Keep a log in the kernel's form.
    pub log: bool,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("device_bound", &self.device_bound)
            .finish_non_exhaustive()
    }
}

/// What the verifier spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instructions looked at, over all paths.
    pub insns_processed: u64,
    /// States kept for pruning.
    pub states: u64,
    /// The most of them at one instruction.
    pub states_per_insn: u64,
    /// Stack bytes over the deepest chain of calls.
    pub stack_bytes: u32,
    /// Functions in the deepest chain of calls, the entry included.
    pub call_depth: u32,
}

/// A program that was proved safe. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    program: Arc<Program>,
    device_bound: bool,
    visits: facts::Visits,
    /// Computed when they are first asked for.
    facts: OnceLock<Vec<Facts>>,
    stats: Stats,
    log: String,
    findings: Vec<Finding>,
    frames: Vec<u32>,
    /// What the device's hooks learned, for its backend.
    pub device: Vec<u64>,
}

impl Verified {
    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// What holds at `pc` over all paths. The first call computes the facts of all.
    ///
    /// # Panics
    /// If `pc` is outside the program.
    pub fn facts(&self, pc: usize) -> &Facts {
        let complete = || facts::complete(&self.program, self.device_bound, &self.visits);
        &self.facts.get_or_init(complete)[pc]
    }

    /// What the verifier spent.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Bytes of its stack frame that a function uses, in whole slots of 8, by its index in the
    /// program's list of functions. 0 for a function that is not there.
    pub fn frame_bytes(&self, function: usize) -> u32 {
        self.frames.get(function).copied().unwrap_or(0)
    }

    /// The maps into whose values the program stores itself, in any way but by an atomic addition
    /// whose old value it does not use.
    ///
    /// Where queues run side by side, every lookup in an array among these has to mark the
    /// element ([`bpf::map::watch`]), also one that a backend inlines.
    pub fn stores_into(&self) -> BTreeSet<usize> {
        let insns = self.program.insns.iter().enumerate();
        insns
            .filter(|(_, insn)| match insn {
                Insn::Store { .. } | Insn::StoreRelease { .. } => true,
                Insn::Atomic { op, .. } => *op != AtomicOp::Add,
                _ => false,
            })
            .map(|(pc, _)| self.facts(pc))
            .filter(|facts| facts.reachable)
            .filter_map(|facts| match facts.access?.region {
                facts::Region::MapValue { map } => map,
                _ => None,
            })
            .collect()
    }

    /// What the device's hooks found, in the order in which they found it. The program is safe
    /// all the same; an error among them says that the device refuses it.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The log, if one was asked for.
    pub fn log(&self) -> &str {
        &self.log
    }
}

/// Why a program is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", finding.message)]
pub struct Rejection {
    /// The first reason, in the order in which Linux would meet it.
    pub finding: Finding,
    /// What the verifier spent until then.
    pub stats: Stats,
    /// The log, if one was asked for.
    pub log: String,
}

/// Proves `program` safe.
///
/// # Errors
/// [`Rejection`] with the first thing that cannot be proved.
pub fn verify(program: Arc<Program>, options: Options<'_>) -> Result<Verified, Box<Rejection>> {
    let mut log = String::new();
    let (wanted, device_bound) = (options.log, options.device_bound);
    let result = prove(&program, options, &mut log);
    if wanted {
        match &result {
            Ok(proved) => log::processed(&mut log, &proved.stats, &proved.frames),
            Err(failed) => {
                log::refused(&mut log, &failed.problem.message);
                log::processed(&mut log, &failed.stats, &[]);
            }
        }
    }
    match result {
        Ok(proved) => Ok(Verified {
            device_bound,
            visits: proved.visits,
            facts: OnceLock::new(),
            stats: proved.stats,
            findings: proved.findings,
            frames: proved.frames,
            program,
            log,
            device: proved.device,
        }),
        Err(failed) => {
            let Failure {
                pc,
                problem,
                path,
                stats,
            } = *failed;
            Err(Box::new(Rejection {
                finding: problem.at(pc, &program).path(path, &program.source),
                stats,
                log,
            }))
        }
    }
}

/// What is left of a proof.
struct Proved {
    visits: facts::Visits,
    stats: Stats,
    findings: Vec<Finding>,
    frames: Vec<u32>,
    device: Vec<u64>,
}

fn prove(
    program: &Arc<Program>,
    options: Options<'_>,
    log: &mut String,
) -> Result<Proved, Box<Failure>> {
    let early = |(pc, problem)| Failure::new(pc, problem, Stats::default());
    let declared = declared::Declared::of(program);
    let platform = platform::Platform {
        program,
        declared: &declared,
        device_bound: options.device_bound,
    };
    let catcher = exceptions::catcher(program, &declared).map_err(|p| early((0, p)))?;
    let cfg = cfg::build(&platform, catcher).map_err(early)?;
    early_ends::check(&platform, &cfg).map_err(early)?;
    let insns = program.insns.iter().enumerate();
    let assertions: Vec<_> = insns.map(|(pc, i)| assertions::of(i, pc)).collect();
    let cx = Context {
        platform,
        cfg: &cfg,
    };
    let port = options.port;
    let mut device = options.device;
    let log = options.log.then(|| log::Log::new(log, &cx));
    let mut findings = Vec::new();
    if let Some(hooks) = device.as_deref_mut() {
        hooks.begin(program);
        for map in program.maps.iter() {
            findings.extend(hooks.map(map));
        }
    }
    let explorer = explore::Explorer::new(&cx, &assertions, device.as_deref_mut(), log);
    let mut outcome = explorer.run()?;
    exceptions::check(program, &cfg)
        .map_err(|(pc, problem)| Failure::new(pc, problem, outcome.stats))?;
    outcome.stats.stack_bytes = stack::check(program, &cfg, &outcome.stack, &outcome.later)
        .map_err(|(pc, problem)| Failure::new(pc, problem, outcome.stats))?;
    findings.append(&mut outcome.findings);
    let mut learned = Vec::new();
    if let Some(hooks) = device {
        for (pc, ways) in outcome.visits.branches() {
            if ways.taken != ways.fall_through {
                findings.extend(hooks.branch_hardwired(pc, ways.taken));
            }
        }
        for removed in outcome.visits.unreached() {
            findings.extend(hooks.removed(removed));
        }
        findings.extend(hooks.finalize(&Summary {
            stats: &outcome.stats,
            frames: &outcome.stack,
            packet_end: outcome.visits.packet_end(),
        }));
        if let Some(port) = port {
            findings.extend(hooks.attach(port));
        }
        learned = hooks.learned();
        for finding in &mut findings {
            if let Some(pc) = finding.pc {
                *finding = finding.clone().at(pc, &program.source);
            }
        }
    }
    Ok(Proved {
        visits: outcome.visits,
        stats: outcome.stats,
        findings,
        frames: outcome.stack,
        device: learned,
    })
}
