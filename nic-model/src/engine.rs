//! [`Engine`]: what runs an image.

use std::any::Any;
use std::sync::Arc;

use bpf::Hook;
use bpf::map::MapSet;
use bpf::run::{Batch, Environment};
use bpf::trace::Observer;
use caps::Caps;
use isa::{Image, Isa, TrustedImage};

use crate::LoadError;

/// Runs images of one instruction set.
pub trait Engine: Send + Sync {
    /// The instruction set.
    fn isa(&self) -> Isa;

    /// Whether it runs programs that have no hook; else they have to work on packets.
    fn runs_without_hook(&self) -> bool {
        true
    }

    /// Prepares an image for running: resolves relocations, decodes, checks limits.
    ///
    /// # Errors
    /// [`LoadError`] if the image is malformed or does not fit the device.
    fn load(&self, image: &Image, resolver: &Resolver<'_>) -> Result<Arc<dyn Linked>, LoadError>;

    /// The same for an image that somebody vouches for. Only an engine that runs code unchecked
    /// makes a difference.
    ///
    /// # Errors
    /// As [`Engine::load`].
    fn load_trusted(
        &self,
        image: &TrustedImage,
        resolver: &Resolver<'_>,
    ) -> Result<Arc<dyn Linked>, LoadError> {
        self.load(image.image(), resolver)
    }
}

/// All engines of this machine, one line each.
pub fn engines() -> &'static [&'static dyn Engine] {
    &[
        &crate::ebpf::Ebpf,
        &crate::nfp::Nfp,
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        &crate::native::Native,
    ]
}

/// The engine that runs images of this set, if this machine has one.
pub fn engine_for(isa: Isa) -> Option<&'static dyn Engine> {
    engines().iter().copied().find(|e| e.isa() == isa)
}

/// An image made ready by its engine.
pub trait Linked: Send + Sync {
    /// Runs the program on every frame of the batch, in order, in place. A frame names its
    /// queue. In per-queue order `queues` holds one state, and all frames are of that queue; in
    /// arrival order it holds all, by queue number.
    fn run(&self, queues: &mut [QueueState], batch: &mut Batch);

    /// The same, and `observer` looks at every instruction. Gives false, and runs nothing, where
    /// the engine cannot show what it does.
    fn trace(
        &self,
        queues: &mut [QueueState],
        batch: &mut Batch,
        observer: &mut dyn Observer,
    ) -> bool {
        let _ = (queues, batch, observer);
        false
    }

    /// For the engine that made it.
    fn as_any(&self) -> &dyn Any;
}

/// What an engine may ask while it loads an image.
#[derive(Clone, Copy, Debug)]
pub struct Resolver<'a> {
    /// The NIC's capabilities.
    pub caps: &'a Caps,
    /// The hook of the program.
    pub hook: &'a Hook,
    /// For each map of the program, its id on the NIC.
    pub maps: &'a [usize],
    /// The NIC's maps.
    pub map_set: &'a MapSet,
    /// What surrounds the program.
    pub environment: &'a Arc<Environment>,
    /// The number that the program will have.
    pub id: crate::ProgramId,
    /// The programs already loaded, targets of tail calls: filled as programs are loaded.
    pub programs: &'a Arc<crate::nic::ProgramTable>,
    /// Where native code runs that nobody vouches for.
    pub workers: Option<&'a Arc<crate::Workers>>,
}

/// What belongs to one queue: nothing of it is shared.
#[derive(Debug)]
pub struct QueueState {
    /// Queue number, from 0; the CPU id that programs see.
    pub queue: u32,
    /// What the engine keeps between packets (for example a call stack it reuses).
    pub scratch: Option<Box<dyn Any + Send>>,
}
