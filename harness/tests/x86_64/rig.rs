//! From assembly text to an outcome, through the x86-64 backend and the native engine.

use std::sync::Arc;

use bpf::hook::Hook;
use bpf::map::{MapDef, MapType};
use bpf::program::Source;
use bpf::run::{Arrival, Batch, Environment};
use bpf::{Program, Subprogram};
use isa::ebpf::{Symbols, parse_asm};
use isa::{Image, TrustedImage};
use jit_backends::{Backend, Refusal};
use nic_model::{Nic, ProgramId, Queue};
use verifier::{Options, Verified};

/// Helper names for assembly text.
pub(crate) struct Helpers;

impl Symbols for Helpers {
    fn helper_id(&self, name: &str) -> Option<u32> {
        bpf::helper::id_by_name(name)
    }
}

/// A program from assembly text in the kernel's form.
pub(crate) fn program(name: &str, text: &str, hook: Hook) -> Arc<Program> {
    let assembly = parse_asm(text, &Helpers).unwrap_or_else(|e| panic!("{name}: {e}"));
    let maps: Vec<MapDef> = assembly
        .maps
        .iter()
        .map(|m| MapDef {
            key_size: m.key_size,
            value_size: m.value_size,
            max_entries: m.max_entries,
            ..MapDef::new(&m.name, MapType::from_name(&m.kind).unwrap())
        })
        .collect();
    let functions = assembly.functions.clone();
    linked(name, assembly.insns, &functions, maps, hook)
}

pub(crate) fn linked(
    name: &str,
    insns: Vec<isa::ebpf::Insn>,
    functions: &[(usize, String)],
    maps: Vec<MapDef>,
    hook: Hook,
) -> Arc<Program> {
    let mut starts: Vec<(usize, String)> = functions.to_vec();
    if starts.first().is_none_or(|(start, _)| *start != 0) {
        starts.insert(0, (0, name.to_owned()));
    }
    let ends: Vec<usize> = starts
        .iter()
        .skip(1)
        .map(|(start, _)| *start)
        .chain([insns.len()])
        .collect();
    let subprograms = starts
        .iter()
        .zip(ends)
        .map(|((start, name), end)| Subprogram {
            name: name.clone(),
            start: *start,
            end,
            global: false,
            btf_type: 0,
        })
        .collect();
    Arc::new(Program {
        name: name.to_owned(),
        section: String::new(),
        hook,
        insns: insns.into(),
        maps: maps.into(),
        subprograms,
        globals: Arc::new([]),
        license: Some("GPL".to_owned()),
        source: Source::default(),
        btf: None,
        kernel_btf: None,
    })
}

/// The program, proved safe.
pub(crate) fn verified(program: &Arc<Program>) -> Verified {
    verifier::verify(Arc::clone(program), Options::default())
        .unwrap_or_else(|r| panic!("{}: {}", program.name, r.finding.message))
}

/// Its image.
pub(crate) fn translate(program: &Arc<Program>) -> Result<Image, Refusal> {
    let caps = caps::builtin("x86-dpu").unwrap();
    jit_backends::x86_64::X86_64.translate(&verified(program), &caps)
}

/// The listing of an image, with every instruction of it.
pub(crate) fn listing(image: &Image) -> String {
    let listing = jit_backends::x86_64::X86_64.disassemble(image);
    assert_eq!(listing.ends_early(image), None, "the listing ends early");
    assert_eq!(listing.lines.len(), image.instructions);
    let mut text = String::new();
    for line in listing.lines {
        let pcs: Vec<String> = line.pcs.iter().map(ToString::to_string).collect();
        text.push_str(&format!("{:>4} | {}\n", pcs.join(","), line.text));
    }
    text
}

/// A NIC without programs.
pub(crate) fn new_nic(queues: u32) -> Nic {
    let caps = Arc::new(caps::builtin("x86-dpu").unwrap());
    let environment = Arc::new(Environment {
        seed: 7,
        ports: vec![1],
        ..Environment::default()
    });
    Nic::new(caps, environment, queues)
}

/// Vouches for an image that the built-in backend made.
pub(crate) fn trusted(image: Image) -> TrustedImage {
    #[expect(unsafe_code, reason = "vouches for the built-in backend's image")]
    // SAFETY: the built-in backend made it from a verified program.
    unsafe {
        image.trust()
    }
}

/// A NIC with the maps of `programs` (which share them) and all programs loaded, in order.
pub(crate) fn nic(programs: &[Arc<Program>], queues: u32) -> Nic {
    let mut nic = new_nic(queues);
    let maps = nic.create_maps(&programs[0].maps).unwrap();
    for program in programs {
        let image = translate(program).unwrap_or_else(|r| panic!("{}: {r}", program.name));
        check_image(program, &image);
        nic.load_trusted(&trusted(image), &program.hook, &maps)
            .unwrap();
    }
    nic
}

/// What holds for every image: the source map covers the code, every instruction has code or a
/// reason why it has none, and what is relocated is a hole.
pub(crate) fn check_image(program: &Program, image: &Image) {
    let mut at = 0;
    for range in &image.source_map {
        assert_eq!(range.start, at, "{}: gap in the source map", program.name);
        assert!(range.end > range.start);
        at = range.end;
    }
    assert_eq!(at, image.code.len());
    for relocation in &image.relocations {
        let bytes = match relocation.kind {
            isa::RelocationKind::Absolute64 => 8,
            _ => 4,
        };
        let hole = &image.code[relocation.at..relocation.at + bytes];
        assert!(hole.iter().all(|b| *b == 0), "an address in the image");
    }
    for (pc, insn) in program.insns.iter().enumerate() {
        if matches!(insn, isa::ebpf::Insn::WideTail) {
            continue;
        }
        let covered = image.source_map.iter().any(|r| r.pcs.contains(&pc));
        let removed = image.removed.iter().any(|(removed, _)| *removed == pc);
        assert!(covered != removed, "{}: pc {pc}", program.name);
    }
}

/// Runs one frame through queue 0 of the first program.
pub(crate) fn run_on(nic: &Nic, bytes: &[u8]) -> Batch {
    let mut queues = nic.queues(ProgramId(0));
    run_queue(&mut queues[0], bytes)
}

/// Runs one frame through a queue.
pub(crate) fn run_queue(queue: &mut Queue, bytes: &[u8]) -> Batch {
    let mut batch = Batch::new();
    let arrival = Arrival {
        number: 0,
        arrival_ns: 1_000_000_000,
        port: 1,
        queue: queue.number(),
    };
    batch.push(arrival, bytes, 256, 320);
    queue.process(&mut batch);
    batch
}

/// r0 of a `Raw` program over `memory`, which it may change.
pub(crate) fn run_raw(text: &str, memory: &[u8]) -> (u64, Vec<u8>) {
    let hook = Hook::Raw {
        memory_bytes: memory.len() as u32,
    };
    let program = program("raw", text, hook);
    let nic = nic(&[program], 1);
    let batch = run_on(&nic, memory);
    assert!(batch.traps.is_empty(), "{:?}", batch.traps);
    (batch.frames[0].r0, batch.bytes(0).to_vec())
}
