//! Repros: a mismatch as a folder, with all that is needed to see it again.
//!
//! | file | what |
//! |---|---|
//! | `repro.json` | what is needed to replay, both outcomes, the first pc at which they part with both register files and the emitted code |
//! | `program.hex` | the program's instructions; its maps are declared in `repro.json` |
//! | `packets.pcap` | the packets, or the memory of a program without hook |
//! | `difference.txt` | the same for people: outcomes, the packet step by step, the listing |
//! | `repro.sh` | replays it |
//!
//! A repro of a run holds the object as it is, and copies of the other files that the run was
//! given, in place of `program.hex`.
//!
//! `folder` writes and reads, `run` finds the packets of a run that matter, this module says what a repro is and replays it.

mod folder;
mod run;

use std::sync::Arc;

use serde_json::Value;

pub use folder::{Files, Read, read, told, write, write_run};
pub use run::{Packet, Run};

use crate::conformance::Case;
use crate::side::{NotTaken, Side};
use crate::trace::Trace;
use crate::trial::{Mismatch, Trial};

/// A mismatch, ready to be kept.
#[derive(Clone, Debug)]
pub struct Repro {
    /// What found it, in words: `fuzz, seed 3, case 17`.
    pub found: String,
    /// The backend (`interp` or `rbpf` where one of those was tested).
    pub backend: String,
    /// The NIC that ran its code.
    pub nic: Option<String>,
    /// What it differs from: a reference; `result` for what a conformance case expects.
    pub reference: String,
    /// The program and its packets.
    pub trial: Trial,
    /// r0 that a conformance case expects.
    pub expected: Option<u64>,
}

/// What a replay saw.
#[derive(Clone, Debug)]
pub enum Replayed {
    /// Both sides agree.
    Equal,
    /// They differ, in this; where it can be shown, with the packet step by step.
    Differs {
        /// In what.
        mismatch: Mismatch,
        /// The packet on which they part first.
        trace: Option<Box<Trace>>,
    },
    /// A conformance case comes to this instead of what it must.
    Result {
        /// r0, or why there is none.
        came_to: String,
    },
}

impl Repro {
    /// A mismatch of `side` with `reference` on a trial.
    pub fn new(found: String, side: &Side<'_>, reference: &str, trial: Trial) -> Repro {
        Repro {
            found,
            backend: side.name().to_owned(),
            nic: nic_of(side),
            reference: reference.to_owned(),
            trial,
            expected: None,
        }
    }

    /// A conformance case that `side` fails.
    pub fn of_case(case: &Case, side: &Side<'_>, expected: u64) -> Repro {
        Repro {
            found: format!("conformance, case {}", case.file),
            backend: side.name().to_owned(),
            nic: nic_of(side),
            reference: "result".to_owned(),
            trial: Trial {
                program: Arc::clone(&case.program),
                frames: vec![case.memory.clone()],
                seed: 0,
            },
            expected: Some(expected),
        }
    }

    /// The same with the smallest trial that still differs. What a conformance case expects of
    /// its program it would not expect of another: such a repro stays as it is.
    #[must_use]
    pub fn shrunk(self, side: &Side<'_>) -> Repro {
        let Some(reference) = Side::reference(&self.reference) else {
            return self;
        };
        let Some(first) = self.trial.mismatch(side, &reference) else {
            return self;
        };
        // What differs stays what it was: a trap is not to become a wrong number.
        let field = first.field();
        let first = first.packet.map(|(index, _)| index);
        let differs = |trial: &Trial| {
            let mismatch = trial.mismatch(side, &reference);
            mismatch.is_some_and(|m| (m.field() == "trap") == (field == "trap"))
        };
        Repro {
            trial: crate::shrink::shrink(&self.trial, first, &differs),
            ..self
        }
    }

    /// Runs it again on `side`.
    ///
    /// # Errors
    /// If a side does not take the program.
    pub fn replay(&self, side: &Side<'_>) -> Result<Replayed, NotTaken> {
        if let Some(expected) = self.expected {
            return Ok(self.result(side, expected));
        }
        let reference = Side::reference(&self.reference).unwrap_or(Side::Interp);
        let trial = &self.trial;
        let verified = side
            .verify(&trial.program)
            .map_err(|finding| NotTaken::Program { finding })?;
        let nic = trial.run(&verified, side)?;
        let referred = trial.run(&verified, &reference)?;
        let Some(mismatch) = trial.compare(&nic, &referred) else {
            return Ok(Replayed::Equal);
        };
        // Where maps alone differ, the last packet is as good as any.
        let packet = mismatch.packet.as_ref().map(|(index, _)| *index);
        let index = packet.unwrap_or(trial.frames.len().saturating_sub(1));
        let trace = trial.trace(index, &verified, side, &reference).ok();
        Ok(Replayed::Differs {
            mismatch,
            trace: trace.map(Box::new),
        })
    }

    fn result(&self, side: &Side<'_>, expected: u64) -> Replayed {
        let case = Case {
            file: self.found.clone(),
            program: Arc::clone(&self.trial.program),
            memory: self.trial.frames.first().cloned().unwrap_or_default(),
            expected: crate::conformance::Expected::Result(expected),
            ticks: None,
            undecodable: None,
        };
        match crate::conformance::execute(&case, side).end {
            Ok(r0) if r0 == expected => Replayed::Equal,
            Ok(r0) => Replayed::Result {
                came_to: format!("r0 = {r0:#x}, expected r0 = {expected:#x}"),
            },
            Err(stop) => Replayed::Result {
                came_to: format!("{stop}, expected r0 = {expected:#x}"),
            },
        }
    }
}

fn nic_of(side: &Side<'_>) -> Option<String> {
    match side {
        Side::Nic(device) => Some(device.caps().name.clone()),
        _ => None,
    }
}

impl Replayed {
    /// Whether the sides differ.
    pub fn differs(&self) -> bool {
        !matches!(self, Replayed::Equal)
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Replayed::Equal => serde_json::json!({ "differs": false }),
            Replayed::Result { came_to } => serde_json::json!({
                "differs": true,
                "result": came_to,
            }),
            Replayed::Differs { mismatch, trace } => serde_json::json!({
                "differs": true,
                "mismatch": mismatch.to_json(),
                "first_difference": trace.as_ref().map(|t| t.first_json()),
            }),
        }
    }
}
