//! Conformance: cases in the public suite's `.data` form on any backend's engine, on interp and
//! on rbpf, counted by conformance group (RFC 9669 §2.4).
//!
//! `case` reads a file, this module runs it. [`embedded`] is the set that the binary carries, so
//! that a backend's author has an answer before anything is downloaded.

mod case;

use std::collections::BTreeMap;
use std::sync::Arc;

use bpf::run::{Arrival, Batch, Environment, TrapCause};
use isa::ebpf::Group;
use serde::Serialize;

pub use case::{Case, CaseError, Expected, MOST_MEMORY, MOST_SLOTS, raw_program};

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
    let mut loaded = match load(case, side) {
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
    // Headroom, so that no engine gives the memory an address whose lower half is 0.
    batch.push(arrival, &case.memory, 64, 0);
    loaded.process(&mut batch);
    let outcome = batch.outcome(0, &case.program.hook);
    let end = match outcome.trap {
        None => Ok(outcome.r0),
        Some(trap) => {
            let at = trap.pc.map_or(String::new(), |pc| format!(" at insn {pc}"));
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

fn load(case: &Case, side: &Side<'_>) -> Result<Loaded, Stop> {
    if let Some(error) = &case.undecodable {
        return Err(Stop::NotTaken(error.to_string()));
    }
    let environment = Arc::new(Environment::default());
    let not_taken = |error: NotTaken| Stop::NotTaken(error.to_string());
    match side.verify(&case.program) {
        Ok(verified) => side.load(&verified, &environment).map_err(not_taken),
        Err(_) if side.executes_ebpf() => side
            .load_unproved(&case.program, &environment)
            .map_err(not_taken),
        Err(finding) => {
            let at = finding
                .pc
                .map_or(String::new(), |pc| format!("insn {pc}: "));
            Err(Stop::NotTaken(format!(
                "the verifier refuses it: {at}{}",
                finding.message
            )))
        }
    }
}
