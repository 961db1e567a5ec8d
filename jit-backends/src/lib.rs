//! Translators from verified eBPF to the code of a NIC.
//!
//! One folder a backend, all shaped alike; [`all`] is the list, one line each. A backend never
//! sees a NIC: they meet in [`isa::Image`].
//!
//! Start with [`Backend`], then [`x86_64`], whose README has its register map. What belongs
//! here: what a program becomes on a NIC, and how that is shown. What does not: running it
//! (`nic-model`), and what a NIC declares (`caps`).
#![forbid(unsafe_code)]

pub mod ebpf;
pub mod nfp;
pub mod x86_64;

use std::collections::BTreeSet;
use std::sync::Arc;

use bpf::map::{DataSection, MapDef};
use bpf::{Finding, Hook, Program};
use caps::Caps;
use isa::ebpf::{Insn, Wide};
use isa::{Image, Isa};
use verifier::{DeviceHooks, Verified};

/// A translator for one kind of NIC.
pub trait Backend: Send + Sync {
    /// Name, as profiles and `--backend` use it.
    fn name(&self) -> &'static str;

    /// The instruction set of its images.
    fn isa(&self) -> Isa;

    /// The driver's own checks during verification, if it has any. `loaded` is what the NIC
    /// already holds.
    fn hooks(&self, caps: &Caps, loaded: &Loaded) -> Option<Box<dyn DeviceHooks>> {
        let _ = (caps, loaded);
        None
    }

    /// Translates a program.
    ///
    /// # Errors
    /// [`Refusal`] with every reason known.
    fn translate(&self, program: &Verified, caps: &Caps) -> Result<Image, Refusal>;

    /// Writes an image as text, by an independent disassembler where there is one.
    fn disassemble(&self, image: &Image) -> Listing;
}

/// What a NIC already holds when a program comes: it can change what is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Definitions of the maps that exist.
    pub maps: Vec<MapDef>,
    /// What the driver learned of the programs that were loaded, in that order.
    pub programs: Vec<LoadedProgram>,
    /// The hook of the program that is attached, if one is.
    pub attached: Option<Hook>,
}

/// A program that a NIC holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedProgram {
    /// Its list of maps.
    pub maps: Arc<[MapDef]>,
    /// What the driver's hooks learned of it ([`Verified::device`]).
    pub device: Vec<u64>,
}

impl Loaded {
    /// The same with a program, and the maps that it refers to.
    pub fn add(&mut self, verified: &Verified) {
        let program = verified.program();
        for map in program.referenced_maps().into_keys() {
            if let Some(def) = program.maps.get(map)
                && !self.maps.contains(def)
            {
                self.maps.push(def.clone());
            }
        }
        self.programs.push(LoadedProgram {
            maps: Arc::clone(&program.maps),
            device: verified.device.clone(),
        });
    }
}

/// Why a backend does not translate a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", findings.first().map_or("refused", |f| f.message.as_str()))]
pub struct Refusal {
    /// The reasons, at least one, by ascending pc.
    pub findings: Vec<Finding>,
}

/// An image as text: one line an instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The lines, by ascending offset; together they cover the code.
    pub lines: Vec<ListingLine>,
}

impl Listing {
    /// The offset at which the listing ends, if that is before the end of the image's code:
    /// an error of the backend or of the disassembler.
    pub fn ends_early(&self, image: &Image) -> Option<usize> {
        let end = self.lines.last().map_or(0, |l| l.offset + l.bytes.len());
        (end < image.code.len()).then_some(end)
    }
}

/// One instruction of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingLine {
    /// Byte offset in the code.
    pub offset: usize,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The instruction, with symbols instead of addresses.
    pub text: String,
    /// pcs it came from, ascending; empty for glue.
    pub pcs: Vec<usize>,
}

/// Read-only data that the program names, for [`isa::Resources::frozen`]: what it holds may have
/// decided branches, whether or not the code still refers to it.
pub fn frozen(program: &Program) -> Vec<(usize, Vec<u8>)> {
    let named = program.insns.iter().filter_map(|insn| match insn {
        Insn::LoadWide {
            value: Wide::MapValue { map, .. } | Wide::Map(map),
            ..
        } => Some(*map as usize),
        _ => None,
    });
    let named: BTreeSet<usize> = named.collect();
    named
        .into_iter()
        .filter_map(|map| {
            let def = program.maps.get(map)?;
            (def.data == Some(DataSection::Rodata))
                .then(|| (map, def.initial.clone().unwrap_or_default()))
        })
        .collect()
}

/// All backends, one line each.
pub fn all() -> &'static [&'static dyn Backend] {
    &[&ebpf::Ebpf, &nfp::Nfp, &x86_64::X86_64]
}

/// The backend of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Backend> {
    all().iter().copied().find(|b| b.name() == name)
}
