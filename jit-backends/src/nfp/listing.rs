//! The listing: the text that `isa::nfp` writes, with names in place of addresses.

use isa::nfp::{Insn, Relocation, decode};
use isa::{Image, Symbol};

use crate::{Listing, ListingLine};

/// Disassembles an image. Where a word is no instruction the listing ends; see
/// [`Listing::ends_early`].
pub(super) fn listing(image: &Image) -> Listing {
    let mut lines = Vec::with_capacity(image.instructions);
    let mut relocations = image.relocations.iter().peekable();
    let mut ranges = image.source_map.iter().peekable();
    let mut notes = image.notes.iter().peekable();
    for (index, bytes) in image.code.chunks_exact(8).enumerate() {
        let offset = index * 8;
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        let Some((kind, word)) = Relocation::split(u64::from_le_bytes(word)) else {
            break;
        };
        let Ok(insn) = decode(word) else {
            break;
        };
        while ranges.next_if(|range| range.end <= offset).is_some() {}
        let relocation = relocations.next_if(|relocation| relocation.at == offset);
        let symbol = relocation.map(|r| r.symbol);
        let mut text = text(image, &insn, kind, symbol);
        while let Some((_, note)) = notes.next_if(|(at, _)| *at == offset) {
            text = format!("{text}  ; {note}");
        }
        lines.push(ListingLine {
            offset,
            bytes: bytes.to_vec(),
            text,
            pcs: ranges.peek().map_or_else(Vec::new, |r| r.pcs.clone()),
        });
    }
    Listing { lines }
}

fn text(image: &Image, insn: &Insn, kind: Relocation, symbol: Option<Symbol>) -> String {
    let text = insn.to_string();
    let name = match (kind, symbol) {
        (Relocation::GoOut, _) => "out".to_owned(),
        (Relocation::GoAbort, _) => "abort".to_owned(),
        (Relocation::GoPush, _) => "push".to_owned(),
        (Relocation::GoPop, _) => "pop".to_owned(),
        (Relocation::NextPacket, _) => "next_packet".to_owned(),
        (_, Some(Symbol::Helper(id))) => {
            bpf::helper::name(id).map_or_else(|| format!("helper_{id}"), str::to_owned)
        }
        (_, Some(Symbol::Code(at))) => format!("+{at:#x}"),
        (_, Some(Symbol::Map(map))) => {
            let at = image.resources.maps.binary_search(&map).ok();
            at.and_then(|at| image.resources.map_names.get(at))
                .filter(|name| !name.is_empty())
                .map_or_else(|| format!("map_{map}"), Clone::clone)
        }
        _ => return text,
    };
    // The address, or the number that stands for one, is what follows the last dot or comma
    // within the brackets.
    let Some((head, tail)) = text.split_once(']') else {
        return text;
    };
    let operand = match insn.target() {
        Some(_) => head.rfind('.'),
        None => head.rfind(' ').map(|at| at + 1),
    };
    match operand {
        Some(at) => format!("{}{name}]{tail}", &head[..at]),
        None => text,
    }
}
