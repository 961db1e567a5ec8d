//! What the CPU would do: the answer every NIC is held against.
//!
//! A [`Reference`] is built once for a program and its maps; each thread of a replay takes its
//! own [`Runner`] from it. Nothing here shares instruction semantics with `nic-model`; maps and
//! helper bodies are `bpf`'s, for both.
//!
//! * [`Interp`] is complete and checks every access: the one that decides.
//! * [`Kernel`] is this machine's Linux, by `BPF_PROG_TEST_RUN`. It needs root.
//! * [`Rbpf`] is the crate rbpf, for programs that it runs as meant ([`Rbpf::supports`]).
#![deny(unsafe_code)]

mod interp;
mod kernel;
mod rbpf;

use std::io;
use std::sync::Arc;

use bpf::map::MapSet;
use bpf::run::{Batch, Environment};
use bpf::trace::Observer;
use bpf::{Finding, Program};

pub use interp::Interp;
pub use kernel::{Judgement, Kernel, Prepared, TOLD_BY_TEST_RUN, judge, log_from_the_start};
pub use rbpf::Rbpf;

/// What a reference is built from: the programs of one object that run together, and their maps.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The entry program first, then those that its program array slots reach. Such a slot
    /// holds an index into this list.
    pub programs: Vec<Arc<Program>>,
    /// The maps, seeded.
    pub maps: MapSet,
    /// What surrounds the programs.
    pub environment: Arc<Environment>,
}

/// A second opinion on what a program does to a frame.
pub trait Reference: Send + Sync {
    /// Name, as `--reference` takes it.
    fn name(&self) -> &'static str;

    /// A runner with state of its own; all runners work on the same maps.
    fn runner(&self) -> Box<dyn Runner>;

    /// The maps it works on.
    fn maps(&self) -> &MapSet;

    /// To be called after the contents of [`Reference::maps`] were changed from outside.
    ///
    /// # Errors
    /// If what it works on cannot be brought to those contents.
    fn maps_changed(&self) -> io::Result<()> {
        Ok(())
    }

    /// What this reference cannot tell of its programs, so that it is not compared.
    fn untold(&self) -> &[Untold] {
        &[]
    }
}

/// Something that a reference cannot tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// What, in one or two words, as reports list it.
    pub what: &'static str,
    /// Why not, and what is compared instead.
    pub why: String,
}

/// Runs a reference's entry program.
pub trait Runner: Send {
    /// Runs the entry program on every frame of the batch, in order, in place. A frame's queue
    /// is the CPU the program sees.
    fn process(&mut self, batch: &mut Batch);

    /// The same, and `observer` looks at every instruction. Gives false, and runs nothing, where
    /// the reference has no instructions to show.
    fn trace(&mut self, batch: &mut Batch, observer: &mut dyn Observer) -> bool {
        let _ = (batch, observer);
        false
    }
}

/// Why a reference cannot take a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The program uses something this reference does not have, or has wrong.
    #[error("{}", finding.message)]
    Program {
        /// What, where and why.
        finding: Box<Finding>,
    },
    /// This machine lacks what the reference needs.
    #[error("{needs}: {reason}")]
    Environment {
        /// What is needed.
        needs: &'static str,
        /// Why it is not there.
        reason: String,
    },
}
