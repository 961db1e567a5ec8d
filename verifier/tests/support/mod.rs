//! What the verifier's tests share: programs from text, and the kernel as the judge.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code; each test uses its own part of it"
)]

pub mod calls;
pub mod generate;
pub mod kernel;
pub mod machine;
pub mod pointers;
pub mod types;

use std::sync::Arc;

use bpf::helper::HelperNames;
use bpf::map::{DataSection, MapDef, MapType};
use bpf::program::{LineInfo, Source};
use bpf::{Hook, Program};
use isa::ebpf::{Insn, parse_asm};

/// A program around these instructions.
pub fn program(insns: Vec<Insn>, maps: Vec<MapDef>, hook: Hook) -> Program {
    Program {
        name: "test".into(),
        section: "xdp".into(),
        hook,
        insns: insns.into(),
        maps: maps.into(),
        subprograms: Vec::new(),
        globals: Arc::from([]),
        license: Some("GPL".into()),
        source: Source::default(),
        btf: None,
        kernel_btf: None,
    }
}

/// An array map's definition.
pub fn map(name: &str, kind: MapType, key: u32, value: u32, entries: u32) -> MapDef {
    MapDef {
        key_size: key,
        value_size: value,
        max_entries: entries,
        ..MapDef::new(name, kind)
    }
}

/// Assembles a case. Maps come from `.map` lines; one named `.rodata` is frozen and holds
/// 1, 2, 3, … in its bytes.
pub fn assemble(text: &str, hook: Hook) -> Program {
    let assembly = parse_asm(text, &HelperNames).unwrap_or_else(|e| panic!("{e}\n{text}"));
    from_assembly(text, assembly, hook)
}

/// The same; `None` if it is no assembly.
pub fn assembled(text: &str, hook: Hook) -> Option<Program> {
    parse_asm(text, &HelperNames)
        .ok()
        .map(|assembly| from_assembly(text, assembly, hook))
}

fn from_assembly(text: &str, assembly: isa::ebpf::Assembly, hook: Hook) -> Program {
    let mut maps: Vec<MapDef> = assembly
        .maps
        .iter()
        .map(|decl| {
            let kind = MapType::from_name(&decl.kind).expect("map type");
            let mut def = map(
                &decl.name,
                kind,
                decl.key_size,
                decl.value_size,
                decl.max_entries,
            );
            def.flags = decl.flags;
            if decl.name.contains("rodata") {
                def.data = Some(DataSection::Rodata);
                def.flags |= 1 << 7;
                def.initial = Some((1..=decl.value_size).map(|b| b as u8).collect());
            }
            if matches!(kind, MapType::ArrayOfMaps | MapType::HashOfMaps) {
                def.inner = Some(Box::new(map("inner", MapType::Array, 4, 8, 4)));
            }
            def
        })
        .collect();
    let mut starts: Vec<usize> = assembly.functions.iter().map(|(pc, _)| *pc).collect();
    starts.push(0);
    starts.sort_unstable();
    starts.dedup();
    let end = assembly.insns.len();
    let described = types::describe(text, &assembly.labels, &starts, end, &mut maps);
    let mut program = program(assembly.insns, maps, hook);
    if let Some((bytes, functions)) = described {
        program.btf = Some(bytes.into());
        program.subprograms = functions;
    }
    program.source.files.push("case.bpf".into());
    let mut last = 0;
    for (pc, line) in assembly.lines.iter().enumerate() {
        if *line != last {
            last = *line;
            program.source.lines.push(LineInfo {
                pc,
                file: 0,
                line: *line as u32,
                column: 0,
                text: String::new(),
            });
        }
    }
    program
}
