//! The engine of NICs whose cores are Netronome's microengines (Agilio): it loads an image's words
//! as the card does and executes them.
//!
//! It trusts nothing about the image: error-correcting bits are checked and words decoded while
//! loading (`load`, into the form that `step` describes), every access is checked against what the
//! program may touch, and a run that goes on and on is stopped. `core` has registers and the
//! instructions on them, `local` local memory, `memory` the memory commands, `execute` the loop,
//! `firmware` the helpers, `machine` what the firmware does before and after a program, `trace`
//! shows a run. What is modelled and how well it is known: `README.md` beside this file.

pub mod control;
mod core;
mod execute;
mod firmware;
mod load;
mod local;
mod machine;
mod memory;
mod step;
mod trace;

use std::any::Any;
use std::sync::Arc;

use bpf::run::Batch;
use bpf::trace::Observer;
use isa::{Image, Isa};

pub use execute::FUEL;

use crate::{Engine, Linked, LoadError, QueueState, Resolver};
use core::Core;
use load::Loaded;

/// The engine.
#[derive(Clone, Copy, Debug)]
pub struct Nfp;

impl Engine for Nfp {
    fn isa(&self) -> Isa {
        Isa::Nfp
    }

    fn runs_without_hook(&self) -> bool {
        false
    }

    fn load(&self, image: &Image, resolver: &Resolver<'_>) -> Result<Arc<dyn Linked>, LoadError> {
        Ok(Arc::new(load::load(image, resolver)?))
    }
}

impl Linked for Loaded {
    fn run(&self, _queues: &mut [QueueState], batch: &mut Batch) {
        self.run_all(batch, &mut trace::Blind);
    }

    fn trace(
        &self,
        _queues: &mut [QueueState],
        batch: &mut Batch,
        observer: &mut dyn Observer,
    ) -> bool {
        self.run_all(batch, &mut trace::Looking { observer });
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Loaded {
    fn run_all<W: trace::Watch>(&self, batch: &mut Batch, watch: &mut W) {
        batch.arrive(&self.hook, &self.environment);
        let mut core = Core::new(self.card.stack_bytes);
        for index in 0..batch.frames.len() {
            machine::run_frame(self, &mut core, batch, index, watch);
        }
    }
}
