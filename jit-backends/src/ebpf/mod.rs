//! The identity backend: for NICs that execute eBPF itself. The image is the program's own
//! bytes, with a relocation wherever it names a map.

use bpf::Program;
use bpf::finding::{Finding, Stage};
use caps::Caps;
use isa::ebpf::{Insn, NoSymbols, Wide};
use isa::{CodeRange, Image, Isa, Relocation, RelocationKind, Resources, Symbol};
use verifier::Verified;

use crate::{Backend, Listing, ListingLine, Refusal};

/// The backend.
#[derive(Clone, Copy, Debug)]
pub struct Ebpf;

impl Backend for Ebpf {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn isa(&self) -> Isa {
        Isa::Ebpf
    }

    fn translate(&self, verified: &Verified, _caps: &Caps) -> Result<Image, Refusal> {
        image(verified.program(), verified.stats().stack_bytes as usize)
    }

    fn disassemble(&self, image: &Image) -> Listing {
        // The text form of the table is held against LLVM's disassembler by the tests of `isa`.
        let Ok(insns) = isa::ebpf::decode(&image.code) else {
            return Listing::default();
        };
        let lines = insns
            .iter()
            .enumerate()
            .filter(|(_, insn)| !matches!(insn, Insn::WideTail))
            .map(|(pc, insn)| {
                let bytes = image.code[pc * 8..(pc + insn.slots()) * 8].to_vec();
                let name = match insn {
                    Insn::Call(target) => bpf::kfunc::callee(*target).and_then(bpf::helper::name),
                    _ => None,
                };
                let text = match name {
                    Some(name) => format!("call {name}"),
                    None => insn.display(pc, &NoSymbols).to_string(),
                };
                ListingLine {
                    offset: pc * 8,
                    bytes,
                    text,
                    pcs: vec![pc],
                }
            })
            .collect();
        Listing { lines }
    }
}

/// The image of a program that need not be proved safe: NICs that execute eBPF check every
/// access. `stack_bytes` is what the program needs of the stack.
///
/// # Errors
/// [`Refusal`] if an instruction has no encoding.
pub fn image(program: &Program, stack_bytes: usize) -> Result<Image, Refusal> {
    let code = isa::ebpf::encode(&program.insns).map_err(|e| Refusal {
        findings: vec![
            Finding::error(
                "translate/unencodable",
                Stage::Translate,
                "",
                "the instruction has no encoding",
            )
            .at(e.pc, &program.source)
            .why(e.to_string()),
        ],
    })?;
    let mut relocations = Vec::new();
    let mut resources = Resources {
        stack_bytes,
        frozen: crate::frozen(program),
        ..Resources::default()
    };
    for (pc, insn) in program.insns.iter().enumerate() {
        let symbol = match insn {
            Insn::LoadWide {
                value: Wide::Map(map),
                ..
            } => Symbol::Map(*map as usize),
            Insn::LoadWide {
                value: Wide::MapValue { map, offset },
                ..
            } => Symbol::MapValues {
                map: *map as usize,
                offset: u64::from(*offset),
            },
            Insn::Call(target) => {
                resources.helpers.extend(bpf::kfunc::callee(*target));
                continue;
            }
            _ => continue,
        };
        let (Symbol::Map(map) | Symbol::MapValues { map, .. }) = symbol else {
            continue;
        };
        resources.maps.push(map);
        relocations.push(Relocation {
            at: pc * 8,
            kind: RelocationKind::EbpfWide,
            symbol,
        });
    }
    resources.maps.sort_unstable();
    resources.maps.dedup();
    resources.helpers.sort_unstable();
    resources.helpers.dedup();
    let whole = || {
        let all = program.insns.iter().enumerate();
        all.filter(|(_, insn)| !matches!(insn, Insn::WideTail))
    };
    Ok(Image {
        isa: Isa::Ebpf,
        code,
        instructions: whole().count(),
        relocations,
        entry: 0,
        resources,
        source_map: whole()
            .map(|(pc, insn)| CodeRange {
                start: pc * 8,
                end: (pc + insn.slots()) * 8,
                lane: 0,
                pcs: vec![pc],
            })
            .collect(),
        removed: Vec::new(),
        notes: Vec::new(),
    })
}
