//! [`Mutated`]: a backend whose images are wrong in one place.

use caps::Caps;
use isa::{Image, Isa, Symbol};
use jit_backends::{Backend, Listing, Loaded, Refusal};
use verifier::{DeviceHooks, Verified};

use super::kind::{Kind, Mutator, Surroundings};

/// How many instructions before a call move its arguments.
const ARGUMENTS: usize = 5;

/// One mistake in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// What is wrong.
    pub kind: Kind,
    /// Byte offset of the instruction in the image.
    pub offset: usize,
    /// The first pc it came from; `None` for glue.
    pub pc: Option<usize>,
    /// The instruction, as the backend's listing has it.
    pub text: String,
    /// Its bytes.
    pub right: Vec<u8>,
    /// What stands there instead.
    pub wrong: Vec<u8>,
}

/// Every mistake that a mutator knows for the instructions of an image.
pub fn mutations(backend: &dyn Backend, image: &Image, mutator: &dyn Mutator) -> Vec<Mutation> {
    let listing = backend.disassemble(image);
    let calls: Vec<usize> = image
        .relocations
        .iter()
        .filter(|r| matches!(r.symbol, Symbol::Helper(_)))
        .map(|r| r.at)
        .collect();
    let call_pcs: Vec<usize> = calls
        .iter()
        .filter_map(|at| {
            let range = image
                .source_map
                .iter()
                .find(|r| r.start <= *at && *at < r.end)?;
            range.pcs.first().copied()
        })
        .chain(ebpf_calls(image))
        .collect();
    let mut found = Vec::new();
    for line in &listing.lines {
        let end = line.offset + line.bytes.len();
        let relocated = image
            .relocations
            .iter()
            .any(|r| line.offset <= r.at && r.at < end);
        let pc = line.pcs.first().copied();
        let around = Surroundings {
            relocated,
            of_call: pc.is_some_and(|pc| call_pcs.contains(&pc)),
            before_call: pc.is_some_and(|pc| {
                call_pcs
                    .iter()
                    .any(|call| pc < *call && *call - pc <= ARGUMENTS)
            }),
        };
        for (kind, wrong) in mutator.changes(&line.bytes, around) {
            found.push(Mutation {
                kind,
                offset: line.offset,
                pc,
                text: line.text.clone(),
                right: line.bytes.clone(),
                wrong,
            });
        }
    }
    found
}

/// pcs of helper calls in an image that is eBPF itself.
fn ebpf_calls(image: &Image) -> impl Iterator<Item = usize> {
    let code = match image.isa {
        Isa::Ebpf => image.code.as_slice(),
        Isa::X86_64 | Isa::Rv64 | Isa::Nfp | Isa::Hxdp => &[],
    };
    let slots = code.chunks_exact(8).enumerate();
    slots
        .filter(|(_, slot)| slot[0] == 0x85 && slot[1] >> 4 == 0)
        .map(|(pc, _)| pc)
}

/// A backend with a mistake.
pub struct Mutated<'a> {
    inner: &'a dyn Backend,
    mutation: &'a Mutation,
}

impl<'a> Mutated<'a> {
    /// Another backend, but for one mistake in the image of the program it was found in.
    pub fn new(inner: &'a dyn Backend, mutation: &'a Mutation) -> Mutated<'a> {
        Mutated { inner, mutation }
    }
}

impl std::fmt::Debug for Mutated<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mutated({}, {:?})", self.inner.name(), self.mutation)
    }
}

impl Backend for Mutated<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn isa(&self) -> Isa {
        self.inner.isa()
    }

    fn hooks(&self, caps: &Caps, loaded: &Loaded) -> Option<Box<dyn DeviceHooks>> {
        self.inner.hooks(caps, loaded)
    }

    fn translate(&self, program: &Verified, caps: &Caps) -> Result<Image, Refusal> {
        let mut image = self.inner.translate(program, caps)?;
        let Mutation { offset, wrong, .. } = self.mutation;
        if let Some(place) = image.code.get_mut(*offset..offset + wrong.len()) {
            place.copy_from_slice(wrong);
        }
        Ok(image)
    }

    fn disassemble(&self, image: &Image) -> Listing {
        self.inner.disassemble(image)
    }
}
