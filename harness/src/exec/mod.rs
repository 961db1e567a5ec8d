//! [`Exec`]: a backend that is a program of its own, in any language (`--backend exec:PROGRAM`).
//!
//! The program is started once for each question. It reads one JSON document on stdin and writes
//! one to stdout; `docs/write-a-backend.md` has both. First it is asked what it is, then for each
//! program what it makes of it. What it answers is data: `answer` checks its form, the NIC's
//! engine checks the rest, and native code runs in worker processes.

mod answer;
mod process;
mod question;

pub use question::translate as question;

use std::path::{Path, PathBuf};

use bpf::finding::{Finding, Stage};
use caps::Caps;
use isa::{Image, Isa};
use jit_backends::{Backend, Listing, Refusal};
use verifier::Verified;

use crate::error::Error;

/// What `--backend` begins with for such a program.
pub const PREFIX: &str = "exec:";

/// A backend that is a program of its own.
#[derive(Clone, Debug)]
pub struct Exec {
    program: PathBuf,
    name: &'static str,
    isa: Isa,
}

impl Exec {
    /// The program at this path (or of this name on `PATH`), asked for its instruction set.
    ///
    /// The name of the backend (`exec:PATH`) is kept for the rest of the process, as the names of
    /// all backends are: make one for each program, not one for each use.
    ///
    /// # Errors
    /// If the program cannot be started, fails, or does not say an instruction set that nicbed
    /// has an engine for.
    pub fn start(program: &Path) -> Result<Exec, Error> {
        let told = |why: String| Error::usage(format!("{PREFIX}{}: {why}", program.display()));
        let answer =
            process::ask(program, &question::describe()).map_err(|e| told(e.to_string()))?;
        let isa = answer::isa(&answer).map_err(|e| {
            told(e.to_string()).help("docs/write-a-backend.md has the questions and the answers")
        })?;
        let name = format!("{PREFIX}{}", program.display());
        Ok(Exec {
            program: program.to_owned(),
            name: Box::leak(name.into_boxed_str()),
            isa,
        })
    }

    /// nicbed's own backend for the same instruction set: it names the NICs that have it, and
    /// writes listings.
    pub fn kin(&self) -> Option<&'static dyn Backend> {
        let all = jit_backends::all().iter().copied();
        all.into_iter().find(|backend| backend.isa() == self.isa)
    }

    /// Whether a NIC executes its code.
    ///
    /// # Errors
    /// If it does not, with both sides named.
    pub fn fits(&self, nic: &Caps) -> Result<(), Error> {
        if self.kin().is_some_and(|kin| kin.name() == nic.backend) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{} makes code of {}, which {} does not execute",
            self.name, self.isa, nic.name
        )))
    }

    fn refused(rule: &str, message: String, why: String, help: &str) -> Refusal {
        let finding = Finding::error(rule, Stage::Translate, "", message);
        Refusal {
            findings: vec![finding.why(why).help(help)],
        }
    }
}

impl Backend for Exec {
    fn name(&self) -> &'static str {
        self.name
    }

    fn isa(&self) -> Isa {
        self.isa
    }

    fn translate(&self, program: &Verified, caps: &Caps) -> Result<Image, Refusal> {
        let question = question::translate(program, caps);
        let answer = process::ask(&self.program, &question).map_err(|failure| {
            Exec::refused(
                "backend/failed",
                format!("{} gave no answer", self.name),
                failure.to_string(),
                "run it by hand on what it was asked: `nicbed jit OBJECT --nic NIC --emit question`",
            )
        })?;
        answer::image(&answer, self.isa, program).map_err(|wrong| match wrong {
            answer::Wrong::Refused(findings) => Refusal { findings },
            answer::Wrong::Malformed(why) => Exec::refused(
                "backend/malformed",
                format!("what {} answered is no image", self.name),
                why,
                "docs/write-a-backend.md has the form of an answer",
            ),
        })
    }

    fn disassemble(&self, image: &Image) -> Listing {
        self.kin()
            .map_or_else(Listing::default, |kin| kin.disassemble(image))
    }
}
