//! Conformance: cases in the public suite's `.data` form on any backend's engine, on interp and
//! on rbpf, counted by conformance group (RFC 9669 §2.4).
//!
//! `case` reads a file, this module runs it; `wrap` makes an XDP program of it for NICs that run
//! programs on packets alone. [`embedded`] is the set that the binary carries, so
//! that a backend's author has an answer before anything is downloaded.

mod case;
mod wrap;

use std::collections::BTreeMap;
use std::sync::Arc;

use bpf::Finding;
use bpf::run::{Arrival, Batch, Environment, TrapCause};
use isa::ebpf::Group;
use serde::Serialize;

pub use wrap::{WrapError, Wrapped};

pub use case::{Case, CaseError, Expected, MOST_MEMORY, MOST_SLOTS, raw_program};

use verifier::Options;

use crate::side::{Loaded, NotTaken, Side};

include!(concat!(env!("OUT_DIR"), "/conformance.rs"));

/// The cases that the binary carries: (name, text), by name.
pub fn embedded() -> &'static [(&'static str, &'static str)] {
    EMBEDDED
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It came to what it must.
    Passed,
    /// It came to something else.
    Failed,
    /// The side, or the verifier before it, does not take it.
    Unsupported,
}

/// A case's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// The file, as the user named it.
    pub file: String,
    /// The groups that its instructions are of; none for a file that is no case.
    pub groups: Vec<&'static str>,
    /// What became of it.
    pub result: Answer,
    /// Why it failed or is unsupported; empty if it passed.
    pub detail: String,
    /// Cycles of the whole program, where the engine counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<u64>,
    /// Why the file is no case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Folder with all that is needed to replay a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repro: Option<String>,
}

/// Answers counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Not taken.
    pub unsupported: u64,
}

impl Counts {
    /// Counts one.
    pub fn add(&mut self, answer: Answer) {
        match answer {
            Answer::Passed => self.passed += 1,
            Answer::Failed => self.failed += 1,
            Answer::Unsupported => self.unsupported += 1,
        }
    }
}

/// The answers of all cases, as `nicbed conformance` prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Backend, `interp` or `rbpf`.
    pub backend: String,
    /// NIC, where a backend's code ran on one.
    pub nic: Option<String>,
    /// All of them.
    #[serde(flatten)]
    pub counts: Counts,
    /// By conformance group: a case counts in every group that it needs.
    pub groups: BTreeMap<&'static str, Counts>,
    /// Each, in the order in which the files were given.
    pub cases: Vec<CaseResult>,
}

impl Summary {
    /// Adds an answer.
    pub fn add(&mut self, result: CaseResult) {
        self.counts.add(result.result);
        for &group in &result.groups {
            self.groups.entry(group).or_default().add(result.result);
        }
        self.cases.push(result);
    }
}

/// Why a case did not come to r0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// It was not taken.
    #[error("{0}")]
    NotTaken(String),
    /// It was stopped while it ran.
    #[error("{0}")]
    Trapped(String),
    /// The NIC stopped where its profile says that it does.
    #[error("{0}")]
    Halted(String),
}

/// How a case ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// r0 at the exit, all 64 bits; or why there was none.
    pub end: Result<u64, Stop>,
    /// Cycles up to there, where the engine counts them.
    pub cycles: Option<u64>,
}

/// Runs a case.
pub fn run(case: &Case, side: &Side<'_>) -> CaseResult {
    let ran = execute(case, side);
    let (mut result, mut detail) = match (ran.end, case.expected) {
        (Ok(r0), Expected::Result(expected)) if r0 == expected => (Answer::Passed, String::new()),
        (Ok(_), Expected::End) | (Err(_), Expected::Error) => (Answer::Passed, String::new()),
        (Ok(r0), expected) => (Answer::Failed, format!("r0 = {r0:#x}, expected {expected}")),
        (Err(Stop::Trapped(why)), expected) => {
            (Answer::Failed, format!("{why}, expected {expected}"))
        }
        (Err(Stop::Halted(why) | Stop::NotTaken(why)), _) => (Answer::Unsupported, why),
    };
    if let (Answer::Passed, Some(expected), Some(cycles)) = (result, case.ticks, ran.cycles)
        && expected != cycles
    {
        result = Answer::Failed;
        detail = format!("{cycles} cycles, expected {expected}");
    }
    CaseResult {
        file: case.file.clone(),
        groups: case.groups().into_iter().map(Group::name).collect(),
        result,
        detail,
        cycles: ran.cycles,
        error: None,
        repro: None,
    }
}

/// What a file that is no case counts as.
pub fn unreadable(file: &str, error: &str) -> CaseResult {
    CaseResult {
        file: file.to_owned(),
        groups: Vec::new(),
        result: Answer::Unsupported,
        detail: error.to_owned(),
        cycles: None,
        error: Some(error.to_owned()),
        repro: None,
    }
}

/// Runs a case's program, whatever it must come to.
pub fn execute(case: &Case, side: &Side<'_>) -> Ran {
    let (mut loaded, wrapped) = match load(case, side) {
        Ok(loaded) => loaded,
        Err(stop) => {
            return Ran {
                end: Err(stop),
                cycles: None,
            };
        }
    };
    let mut batch = Batch::new();
    let arrival = Arrival {
        number: 0,
        arrival_ns: 1_000_000_000,
        port: 1,
        queue: 0,
    };
    let (memory, hook) = match &wrapped {
        None => (&case.memory, &case.program.hook),
        Some(wrapped) => (&wrapped.packet, &wrapped.program.hook),
    };
    // Headroom, so that no engine gives the memory an address whose lower half is 0.
    batch.push(arrival, memory, 64, 0);
    loaded.process(&mut batch);
    let outcome = batch.outcome(0, hook);
    let r0 = match &wrapped {
        None => outcome.r0,
        Some(wrapped) => wrapped.result(&outcome),
    };
    let end = match (outcome.trap, r0) {
        (None, Some(r0)) => Ok(r0),
        (None, None) => Err(Stop::Trapped(
            "the NIC told no result: the program found its packet too short".to_owned(),
        )),
        (Some(trap), _) => {
            let pc = match &wrapped {
                None => trap.pc,
                Some(wrapped) => trap.pc.and_then(|pc| wrapped.slot(pc)),
            };
            let at = pc.map_or(String::new(), |pc| format!(" at insn {pc}"));
            let why = format!("stopped{at}: {}", trap.cause);
            Err(match trap.cause {
                TrapCause::DivisionByZero => Stop::Halted(why),
                _ => Stop::Trapped(why),
            })
        }
    };
    Ran {
        end,
        cycles: side.counts_cycles().then_some(outcome.cost.cycles),
    }
}

/// Loads a case's program, wrapped if the NIC runs programs on packets alone.
fn load(case: &Case, side: &Side<'_>) -> Result<(Loaded, Option<Wrapped>), Stop> {
    if let Some(error) = &case.undecodable {
        return Err(Stop::NotTaken(error.to_string()));
    }
    let environment = Arc::new(Environment::default());
    let not_taken = |error: NotTaken| Stop::NotTaken(error.to_string());
    let refused = |finding: &Finding, pc: Option<usize>| {
        let at = pc.map_or(String::new(), |pc| format!("insn {pc}: "));
        Stop::NotTaken(format!("the verifier refuses it: {at}{}", finding.message))
    };
    if side.needs_packets() {
        verifier::verify(Arc::clone(&case.program), Options::default())
            .map_err(|rejection| refused(&rejection.finding, rejection.finding.pc))?;
        let wrapped = Wrapped::new(case).map_err(|error| Stop::NotTaken(error.to_string()))?;
        let verified = side.verify(&wrapped.program).map_err(|finding| {
            let pc = finding.pc.and_then(|pc| wrapped.slot(pc));
            refused(&finding, pc)
        })?;
        let loaded = side.load(&verified, &environment).map_err(not_taken)?;
        return Ok((loaded, Some(wrapped)));
    }
    let loaded = match side.verify(&case.program) {
        Ok(verified) => side.load(&verified, &environment).map_err(not_taken)?,
        Err(_) if side.executes_ebpf() => side
            .load_unproved(&case.program, &environment)
            .map_err(not_taken)?,
        Err(finding) => return Err(refused(&finding, finding.pc)),
    };
    Ok((loaded, None))
}
