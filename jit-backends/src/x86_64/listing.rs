//! The listing: capstone reads the code, and names take the place of addresses.

use capstone::prelude::*;
use isa::x86_64::abi::{CPU_STRIDE32, RUNTIME_NAMES};
use isa::{CodeRange, Image, RelocationKind, Symbol};

use crate::{Listing, ListingLine};

/// Disassembles an image. Where capstone finds no instruction the listing ends; see
/// [`Listing::ends_early`].
pub(super) fn listing(image: &Image) -> Listing {
    let mut lines = Vec::with_capacity(image.instructions);
    let disassembler = Capstone::new()
        .x86()
        .mode(arch::x86::ArchMode::Mode64)
        .syntax(arch::x86::ArchSyntax::Intel)
        .build();
    let Ok(disassembler) = disassembler else {
        return Listing { lines };
    };
    let Ok(insns) = disassembler.disasm_all(&image.code, 0) else {
        return Listing { lines };
    };
    for insn in insns.iter() {
        let offset = insn.address() as usize;
        let bytes = insn.bytes();
        let end = offset + bytes.len();
        let mnemonic = insn.mnemonic().unwrap_or("?");
        let operands = insn.op_str().unwrap_or("");
        let mut operands = operands.to_owned();
        if let Some(relocation) = image
            .relocations
            .get(image.relocations.partition_point(|r| r.at < offset))
            .filter(|r| r.at < end)
        {
            let mut name = symbol_name(image, relocation.symbol);
            if relocation.kind == RelocationKind::Target(CPU_STRIDE32) {
                name.push_str(" per CPU");
            }
            if let Some(comma) = operands.rfind(", ") {
                operands.truncate(comma + 2);
                operands.push_str(&name);
            }
        } else if is_transfer(mnemonic)
            && let Some(target) = hexadecimal(&operands)
        {
            operands = label(image, target);
        } else if mnemonic == "lea"
            && let Some((register, target)) = rip_relative(&operands, end)
        {
            operands = format!("{register}, {}", label(image, target));
        }
        let text = if operands.is_empty() {
            mnemonic.to_owned()
        } else {
            format!("{mnemonic} {operands}")
        };
        lines.push(ListingLine {
            offset,
            bytes: bytes.to_vec(),
            text,
            pcs: range_at(image, offset).map_or_else(Vec::new, |r| r.pcs.clone()),
        });
    }
    Listing { lines }
}

fn is_transfer(mnemonic: &str) -> bool {
    mnemonic.starts_with('j') || mnemonic == "call"
}

fn hexadecimal(text: &str) -> Option<usize> {
    match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `reg, [rip ± distance]` as (reg, target).
fn rip_relative(operands: &str, end: usize) -> Option<(&str, usize)> {
    let (register, place) = operands.split_once(", [rip ")?;
    let (sign, distance) = place.strip_suffix(']')?.split_once(' ')?;
    let distance = hexadecimal(distance)?;
    let target = if sign == "-" {
        end.checked_sub(distance)?
    } else {
        end.checked_add(distance)?
    };
    Some((register, target))
}

fn range_at(image: &Image, offset: usize) -> Option<&CodeRange> {
    let index = image
        .source_map
        .partition_point(|r| r.start <= offset)
        .checked_sub(1)?;
    image.source_map.get(index).filter(|r| offset < r.end)
}

/// The name of a place in the code: `pc_N` where that instruction's code starts, `fn_N` where
/// the function starts whose first instruction is N, `leave_N` for the way out of the function
/// whose last instruction is N, else with the distance from there.
fn label(image: &Image, target: usize) -> String {
    let Some(index) = image
        .source_map
        .partition_point(|r| r.start <= target)
        .checked_sub(1)
    else {
        return format!("+{target:#x}");
    };
    let range = &image.source_map[index];
    let name = if let Some(pc) = range.pcs.first() {
        format!("pc_{pc}")
    } else {
        // A function starts with its prologue and ends with its way out.
        let next = image.source_map.get(index + 1).and_then(|r| r.pcs.first());
        let before = index
            .checked_sub(1)
            .and_then(|i| image.source_map[i].pcs.last());
        match (next, before) {
            (_, Some(before)) if starts_with_way_out(image, range) => format!("leave_{before}"),
            (Some(next), _) => format!("fn_{next}"),
            (None, Some(before)) => format!("leave_{before}"),
            (None, None) => "glue".to_owned(),
        }
    };
    match target - range.start {
        0 => name,
        distance => format!("{name}+{distance:#x}"),
    }
}

/// The way out of a function clears r0 first; a prologue never does.
fn starts_with_way_out(image: &Image, range: &CodeRange) -> bool {
    image.code.get(range.start..range.start + 2) == Some(&[0x31, 0xc0])
}

fn symbol_name(image: &Image, symbol: Symbol) -> String {
    let map_name = |map: usize| {
        let at = image.resources.maps.binary_search(&map).ok();
        at.and_then(|at| image.resources.map_names.get(at))
            .filter(|name| !name.is_empty())
            .map_or_else(|| format!("map_{map}"), Clone::clone)
    };
    match symbol {
        Symbol::Helper(id) => helper_name(id),
        Symbol::Map(map) => map_name(map),
        Symbol::MapValues { map, offset: 0 } => format!("{}.values", map_name(map)),
        Symbol::MapValues { map, offset } => format!("{}.values+{offset:#x}", map_name(map)),
        Symbol::Code(at) => label(image, at),
        Symbol::Runtime(number) => RUNTIME_NAMES
            .iter()
            .find(|(n, _)| *n == number)
            .map_or_else(
                || format!("runtime_{number}"),
                |(_, name)| (*name).to_owned(),
            ),
    }
}

fn helper_name(id: u32) -> String {
    bpf::helper::name(id).map_or_else(|| format!("helper_{id}"), str::to_owned)
}
