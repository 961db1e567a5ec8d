//! The engine whose cores are the host's: x86-64 images run as they are.
//!
//! Only a [`isa::TrustedImage`] gets here, since nothing checks the code while it runs. `pages`
//! holds the code (writable or executable, never both), `link` fills its relocations, `run` is
//! the loop over a batch, `machine` and `entries` are what helpers see and how the code calls
//! them, `trace` steps through the code. The contract with the backend is [`isa::x86_64::abi`].
//!
//! **What generated code may touch**: its machine stack below the engine's frame, the run state
//! it is given (and, of that, only the members that `abi` lets it write), the frame's area in
//! the batch, values of the maps it is linked with, and the engine's entries. All unsafe code of
//! this module rests on that promise, which [`isa::Image::trust`] makes.
#![expect(
    unsafe_code,
    reason = "native code is entered, and calls back with raw pointers"
)]

mod entries;
mod link;
mod machine;
mod pages;
mod run;
#[cfg(target_os = "linux")]
mod trace;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

use bpf::map::MapSet;
use bpf::run::{Batch, Environment};
#[cfg(target_os = "linux")]
use bpf::trace::Observer;
use isa::{Image, Isa, TrustedImage};

use crate::{Engine, Linked, LoadError, ProgramId, ProgramTable, QueueState, Resolver};
use link::MapEntry;
use pages::CodePages;

/// Runs x86-64 images on the host's own CPU.
#[derive(Clone, Copy, Debug)]
pub struct Native;

/// A program whose code lies in executable pages.
struct Program {
    pages: CodePages,
    /// Bytes of code.
    code_len: usize,
    /// Byte offset of the entry.
    entry: usize,
    /// Where the code of each eBPF instruction begins, ascending, and its pc.
    starts: Vec<(usize, usize)>,
    /// Which machine register holds which eBPF register.
    registers: [u8; 11],
    /// Its number on the NIC.
    id: ProgramId,
    /// What map handles point to: one entry a map of the NIC, by id.
    maps: Box<[MapEntry]>,
    map_set: MapSet,
    environment: Arc<Environment>,
    /// Targets of tail calls. Weak, since the table holds this program.
    programs: Weak<ProgramTable>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({:?}, entry {:#x})", self.pages, self.entry)
    }
}

impl Engine for Native {
    fn isa(&self) -> Isa {
        Isa::X86_64
    }

    fn load(&self, _image: &Image, _resolver: &Resolver<'_>) -> Result<Arc<dyn Linked>, LoadError> {
        Err(LoadError::Untrusted)
    }

    fn load_trusted(
        &self,
        image: &TrustedImage,
        resolver: &Resolver<'_>,
    ) -> Result<Arc<dyn Linked>, LoadError> {
        let image = image.image();
        if image.isa != Isa::X86_64 {
            return Err(LoadError::NoEngine { isa: image.isa });
        }
        if image.entry >= image.code.len() {
            return Err(LoadError::Malformed {
                offset: image.entry,
                what: "the entry lies outside the code",
            });
        }
        let maps = link::entries(resolver.map_set);
        let mut code = image.code.clone();
        link::relocate(&mut code, image, resolver, &maps)?;
        let pages = CodePages::new(&code).map_err(|errno| LoadError::NoCodePages { errno })?;
        Ok(Arc::new(Program {
            pages,
            code_len: code.len(),
            entry: image.entry,
            starts: image
                .source_map
                .iter()
                .filter_map(|range| Some((range.start, *range.pcs.first()?)))
                .collect(),
            registers: isa::x86_64::abi::registers(image),
            id: resolver.id,
            maps,
            map_set: resolver.map_set.clone(),
            environment: Arc::clone(resolver.environment),
            programs: Arc::downgrade(resolver.programs),
        }))
    }
}

impl Linked for Program {
    fn run(&self, _queues: &mut [QueueState], batch: &mut Batch) {
        run::run(self, batch);
    }

    #[cfg(target_os = "linux")]
    fn trace(
        &self,
        _queues: &mut [QueueState],
        batch: &mut Batch,
        observer: &mut dyn Observer,
    ) -> bool {
        trace::run(self, batch, observer)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
