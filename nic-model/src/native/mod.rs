//! The engine whose cores are the host's: x86-64 images run as they are.
//!
//! Nothing checks the code while it runs. So only a [`isa::TrustedImage`] runs in this process;
//! every other runs in a [`worker`] process. `pages` holds the code (writable or executable,
//! never both), `link` fills its relocations, `run` is the loop over a batch, `machine` and
//! `entries` are what helpers see and how the code calls them. `enter` and `fault` are the way
//! out of code that the processor stops: such a packet is trapped, and the next one runs. `trace`
//! steps through the code. The contract with the backend is [`isa::x86_64::abi`].
//!
//! **What generated code may touch**: its machine stack below the engine's frame, the run state
//! it is given (and, of that, only the members that `abi` lets it write), the frame's area in
//! the batch, values of the maps it is linked with, and the engine's entries. All unsafe code of
//! this module rests on that promise, which [`isa::Image::trust`] makes.
#![expect(
    unsafe_code,
    reason = "native code is entered, and calls back with raw pointers"
)]

mod enter;
mod entries;
mod fault;
mod link;
mod machine;
mod pages;
mod run;
mod trace;
pub mod worker;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

use bpf::Hook;
use bpf::map::{MapId, MapSet};
use bpf::run::{Batch, Environment};
use bpf::trace::Observer;
use isa::{CodeRange, Image, Isa, TrustedImage};

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
    /// What the code came from.
    source_map: Vec<CodeRange>,
    /// What map handles point to: one entry a map of the NIC, by id.
    maps: Box<[MapEntry]>,
    map_set: MapSet,
    hook: Hook,
    environment: Arc<Environment>,
    /// Targets of tail calls. Weak, since the table holds this program.
    programs: Weak<ProgramTable>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({:?}, entry {:#x})", self.pages, self.entry)
    }
}

/// The first pc of the range that holds the byte at `offset`.
fn pc_at(source_map: &[CodeRange], offset: usize) -> Option<usize> {
    let after = source_map.partition_point(|range| range.start <= offset);
    let range = source_map.get(after.checked_sub(1)?)?;
    (offset < range.end).then(|| range.pcs.first().copied())?
}

impl Program {
    /// Links `image`, which will have this number; `ids` gives for each map of the program its
    /// id in `map_set`.
    fn new(
        image: &Image,
        id: ProgramId,
        ids: &[MapId],
        map_set: &MapSet,
        (hook, environment): (&Hook, &Arc<Environment>),
        programs: Weak<ProgramTable>,
    ) -> Result<Program, LoadError> {
        let maps = link::entries(map_set);
        let code = linked(image, ids, &maps)?;
        let pages = CodePages::new(&code).map_err(|errno| LoadError::NoCodePages { errno })?;
        Ok(Program {
            pages,
            code_len: code.len(),
            entry: image.entry,
            starts: image
                .source_map
                .iter()
                .filter_map(|range| Some((range.start, *range.pcs.first()?)))
                .collect(),
            registers: isa::x86_64::abi::registers(image),
            id,
            source_map: image.source_map.clone(),
            maps,
            map_set: map_set.clone(),
            hook: hook.clone(),
            environment: Arc::clone(environment),
            programs,
        })
    }

    /// The pc that the code at a byte offset came from.
    fn pc_at(&self, offset: usize) -> Option<usize> {
        pc_at(&self.source_map, offset)
    }
}

/// The code of an image with its relocations filled.
fn linked(image: &Image, ids: &[MapId], maps: &[MapEntry]) -> Result<Vec<u8>, LoadError> {
    if image.isa != Isa::X86_64 {
        return Err(LoadError::NoEngine { isa: image.isa });
    }
    if image.entry >= image.code.len() {
        return Err(LoadError::Malformed {
            offset: image.entry,
            what: "the entry lies outside the code",
        });
    }
    let mut code = image.code.clone();
    link::relocate(&mut code, image, ids, maps)?;
    Ok(code)
}

impl Engine for Native {
    fn isa(&self) -> Isa {
        Isa::X86_64
    }

    fn load(&self, image: &Image, resolver: &Resolver<'_>) -> Result<Arc<dyn Linked>, LoadError> {
        let workers = resolver.workers.ok_or(LoadError::Untrusted)?;
        // Refuses here what a worker would refuse.
        linked(image, resolver.maps, &link::entries(resolver.map_set))?;
        worker::load(workers, image, resolver)
    }

    fn load_trusted(
        &self,
        image: &TrustedImage,
        resolver: &Resolver<'_>,
    ) -> Result<Arc<dyn Linked>, LoadError> {
        if resolver.workers.is_some() {
            // All programs of a NIC are in one place: they call each other.
            return self.load(image.image(), resolver);
        }
        fault::install();
        let programs = Arc::downgrade(resolver.programs);
        let set = resolver.map_set;
        let environment = (resolver.hook, resolver.environment);
        let (id, ids) = (resolver.id, resolver.maps);
        let program = Program::new(image.image(), id, ids, set, environment, programs)?;
        Ok(Arc::new(program))
    }
}

impl Linked for Program {
    fn run(&self, _queues: &mut [QueueState], batch: &mut Batch) {
        run::run(self, batch);
    }

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
