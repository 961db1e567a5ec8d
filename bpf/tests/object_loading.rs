//! Objects that people have: what the loader makes of them. The objects of this crate are
//! built from the sources beside them (`objects/build.sh`).
#![expect(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is the failure"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bpf::Hook;
use bpf::hook::{TcAttach, XdpAttach};
use bpf::map::{DataSection, InitialSlot, MapDef, MapType, SlotValue};
use bpf::object::{GlobalProblem, LoadOptions, MapProblem, ObjectError, load};
use bpf::program::{GlobalKind, ProgramSet};
use isa::ebpf::{CallTarget, Insn, Reg, Wide};

fn objects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects")
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

fn read(object: &str) -> Vec<u8> {
    fs::read(objects().join(object)).unwrap()
}

fn open(object: &str) -> ProgramSet {
    open_with(object, &LoadOptions::default())
}

fn open_with(object: &str, options: &LoadOptions<'_>) -> ProgramSet {
    load(object, &read(object), options).unwrap()
}

fn map<'a>(set: &'a ProgramSet, name: &str) -> &'a MapDef {
    set.maps.iter().find(|map| map.name == name).unwrap()
}

fn sizes(map: &MapDef) -> (MapType, u32, u32, u32, u32) {
    (
        map.kind,
        map.key_size,
        map.value_size,
        map.max_entries,
        map.flags,
    )
}

fn slot(index: u32, value: SlotValue) -> InitialSlot {
    InitialSlot { index, value }
}

#[test]
fn every_object_of_programs_loads_whole() {
    let mut seen = 0;
    for entry in fs::read_dir(programs()).unwrap() {
        let path = entry.unwrap().path();
        if !matches!(path.extension().and_then(|e| e.to_str()), Some("o" | "bpf")) {
            continue;
        }
        let name = path.to_str().unwrap();
        let set = load(name, &fs::read(&path).unwrap(), &LoadOptions::default()).unwrap();
        seen += 1;
        assert!(set.refused.is_empty(), "{name}: {:?}", set.refused);
        for program in &set.programs {
            let is_tc = path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("tc_");
            let hook = if is_tc { Hook::TC } else { Hook::XDP };
            assert_eq!(program.hook.name(), hook.name(), "{name}");
            assert!(!program.source.lines.is_empty(), "{name}: no lines");
            assert_eq!(
                program.subprograms.last().map(|s| s.end),
                Some(program.insns.len())
            );
        }
    }
    assert!(seen >= 5, "only {seen} objects in {:?}", programs());
}

#[test]
fn the_section_tells_the_hook_and_the_context_corrects_it() {
    let set = open("sections.o");
    let xdp = |attach, frags| Hook::Xdp { attach, frags };
    let tc = |attach| Hook::Tc { attach };
    let expected = [
        ("plain", Hook::XDP),
        ("frags", xdp(XdpAttach::Device, true)),
        ("devmap", xdp(XdpAttach::Devmap, false)),
        ("frags_cpumap", xdp(XdpAttach::Cpumap, true)),
        ("optional", Hook::XDP),
        ("sample", Hook::XDP),
        ("iproute", Hook::XDP),
        ("by_context", Hook::XDP),
        ("ingress", tc(TcAttach::TcxIngress)),
        ("peer", tc(TcAttach::NetkitPeer)),
        ("act", tc(TcAttach::Action)),
        ("cls", Hook::TC),
        ("guessed_xdp", Hook::XDP),
        ("guessed_tc", Hook::TC),
    ];
    let found: Vec<(&str, Hook)> = set
        .programs
        .iter()
        .map(|p| (p.name.as_str(), p.hook.clone()))
        .collect();
    assert_eq!(found, expected);
    let refused: Vec<(&str, &str)> = set
        .refused
        .iter()
        .map(|r| (r.name.as_str(), r.finding.rule.as_str()))
        .collect();
    assert_eq!(
        refused,
        [
            ("probe", "object/hook-not-packet"),
            ("cgroup", "object/hook-not-packet"),
            ("unknown", "object/hook-unknown"),
        ]
    );
    let noted: Vec<&str> = set.notes.iter().map(|n| n.subject.as_str()).collect();
    assert_eq!(noted, ["by_context", "guessed_xdp", "guessed_tc"]);
}

#[test]
fn the_users_hook_takes_unknown_sections_and_named_programs_of_other_kinds() {
    let mut options = LoadOptions {
        hook: Some(Hook::TC),
        ..LoadOptions::default()
    };
    let set = open_with("sections.o", &options);
    assert_eq!(set.find("unknown").unwrap().hook, Hook::TC);
    assert_eq!(set.find("plain").unwrap().hook, Hook::TC);
    // Details of the same hook stay.
    assert_eq!(
        set.find("act").unwrap().hook,
        Hook::Tc {
            attach: TcAttach::Action
        }
    );
    assert!(set.find("probe").is_none());

    options.program = Some("probe".to_owned());
    let set = open_with("sections.o", &options);
    assert_eq!(set.find("probe").unwrap().hook, Hook::TC);
    assert!(set.find("cgroup").is_none());

    options.program = Some("nothing".to_owned());
    let error = load("sections.o", &read("sections.o"), &options).unwrap_err();
    assert!(
        matches!(error, ObjectError::NoSuchProgram { .. }),
        "{error}"
    );

    // A function of .text can be taken by name.
    options.program = Some("leaf".to_owned());
    let set = open_with("subprograms.o", &options);
    let leaf = set.find("leaf").unwrap();
    assert_eq!((leaf.section.as_str(), &leaf.hook), (".text", &Hook::TC));
}

#[test]
fn a_program_knows_its_functions_lines_and_places() {
    let set = open("subprograms.o");
    let names: Vec<&str> = set.programs.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "third", "fourth"]);
    let first = set.find("first").unwrap();
    assert_eq!(first.license.as_deref(), Some("GPL"));
    assert!(first.is_gpl_compatible());
    let functions: Vec<(&str, bool)> = first
        .subprograms
        .iter()
        .map(|s| (s.name.as_str(), s.global))
        .collect();
    // As the source calls them: the callback first, global functions marked.
    assert_eq!(
        functions,
        [
            ("first", true),
            ("callback", false),
            ("leaf", false),
            ("global", true),
            ("mid_b", false),
            ("mid_a", false),
        ]
    );
    let third = set.find("third").unwrap();
    let hidden = third.subprograms.iter().find(|s| s.name == "hidden");
    assert!(
        !hidden.unwrap().global,
        "hidden symbols are static for libbpf"
    );

    // The callback's address is loaded, and calls go to the starts of functions.
    let loads: Vec<i64> = first
        .insns
        .iter()
        .enumerate()
        .filter(|(_, insn)| {
            matches!(
                insn,
                Insn::LoadWide {
                    value: Wide::Function { .. },
                    ..
                }
            )
        })
        .filter_map(|(pc, insn)| insn.function_target(pc))
        .collect();
    assert_eq!(loads, [first.subprograms[1].start as i64]);
    for (pc, insn) in first.insns.iter().enumerate() {
        if let Insn::Call(CallTarget::Local { .. }) = insn {
            let target = insn.function_target(pc).unwrap();
            assert!(
                first.subprograms.iter().any(|s| s.start as i64 == target),
                "call at {pc} goes to {target}"
            );
        }
    }

    // The lines of a function's instructions are those of its text.
    let text = fs::read_to_string(objects().join("subprograms.c")).unwrap();
    let text: Vec<&str> = text.lines().collect();
    for function in &first.subprograms {
        let head = format!(" {}(", function.name);
        let start = text
            .iter()
            .position(|l| l.contains(&head) && !l.starts_with('\t'))
            .unwrap();
        let end = start + text[start..].iter().position(|l| *l == "}").unwrap();
        for pc in function.start..function.end {
            let line = first.source.line_at(pc).unwrap();
            let at = line.line as usize - 1;
            assert!((start..=end).contains(&at), "{}: {line:?}", function.name);
            assert_eq!(line.text, text[at]);
            assert_eq!(first.source.place_at(pc).unwrap().0, "./subprograms.c");
        }
    }
    let origin = first.source.origins[first.subprograms[2].start];
    assert_eq!(first.source.sections[origin.section], ".text");
    assert_eq!(first.source.origins.len(), first.insns.len());
    let entry = set.find("second").unwrap().source.origins[0];
    assert!(
        entry.offset > 0,
        "second stands behind first in its section"
    );
}

#[test]
fn maps_with_btf_have_inner_maps_and_filled_slots() {
    let set = open_with(
        "maps.o",
        &LoadOptions {
            queues: 7,
            ..LoadOptions::default()
        },
    );
    let outer = map(&set, "outer");
    assert_eq!(sizes(outer), (MapType::ArrayOfMaps, 4, 4, 6, 0));
    let inner = outer.inner.as_deref().unwrap();
    assert_eq!(sizes(inner), (MapType::Hash, 4, 8, 8, 0));
    assert_eq!(
        outer.slots,
        [
            slot(1, SlotValue::Map("one".to_owned())),
            slot(4, SlotValue::Map("two".to_owned())),
        ]
    );
    let inner = map(&set, "keyed").inner.as_deref().unwrap();
    assert_eq!(sizes(inner), (MapType::Array, 4, 24, 1, 0));
    assert_eq!(
        map(&set, "jumps").slots,
        [
            slot(0, SlotValue::Program("tail_one".to_owned())),
            slot(3, SlotValue::Program("tail_two".to_owned())),
        ]
    );
    // One entry for each queue; whole pages, a power of two.
    assert_eq!(map(&set, "events").max_entries, 7);
    assert_eq!(map(&set, "ring").max_entries, 8192);
    assert_eq!(
        sizes(map(&set, "prefixes")),
        (MapType::LpmTrie, 8, 16, 50, 1)
    );
    assert_eq!(sizes(map(&set, "queue")), (MapType::Queue, 0, 4, 50, 0));
    let notes: Vec<(&str, &str)> = set
        .notes
        .iter()
        .map(|n| (n.rule.as_str(), n.subject.as_str()))
        .collect();
    assert_eq!(notes, [("object/pinning", "ports")]);
}

#[test]
fn maps_of_dot_maps_need_btf() {
    let set = open("maps_without_btf.o");
    assert!(set.programs.is_empty());
    assert!(
        set.refused
            .iter()
            .all(|r| r.finding.rule == "object/no-btf")
    );
    assert_eq!(set.refused.len(), 3);
}

#[test]
fn legacy_definitions_of_all_lengths_are_read() {
    for (object, fields) in [
        ("legacy_4.o", 4),
        ("legacy_5.o", 5),
        ("legacy_6.o", 6),
        ("legacy_7.o", 7),
    ] {
        let set = open(object);
        let counts = map(&set, "counts");
        assert_eq!(
            sizes(counts),
            (MapType::PercpuArray, 4, 8, 256, 0),
            "{object}"
        );
        let flags = u32::from(fields >= 5);
        assert_eq!(
            sizes(map(&set, "prefixes")),
            (MapType::LpmTrie, 8, 4, 100, flags),
            "{object}"
        );
        if fields >= 6 {
            let inner = map(&set, "outer").inner.as_deref().unwrap();
            assert_eq!(sizes(inner), sizes(counts), "{object}: inner map 0");
        }
        // r1 of the first lookup is the map.
        let program = set.find("count").unwrap();
        assert!(
            program.insns.contains(&Insn::LoadWide {
                dst: Reg::R1,
                value: Wide::Map(0)
            }),
            "{object}"
        );
    }
}

#[test]
fn iproute2_objects_fill_slots_by_section_names_and_ids() {
    let set = open("iproute2.o");
    assert_eq!(
        map(&set, "jumps").slots,
        [
            slot(7, SlotValue::Program("seven".to_owned())),
            slot(1, SlotValue::Program("one".to_owned())),
        ]
    );
    let outer = map(&set, "outer");
    assert_eq!(outer.slots, [slot(3, SlotValue::Map("inner".to_owned()))]);
    assert_eq!(
        sizes(outer.inner.as_deref().unwrap()),
        (MapType::Array, 4, 8, 1, 0)
    );
    // Without BTF the tail calls' hook is that of the entry.
    assert!(set.programs.iter().all(|p| p.hook == Hook::TC));
    assert_eq!(set.find("2/7").unwrap().name, "seven");
}

#[test]
fn externs_stop_their_program_alone_and_weak_ones_are_absent() {
    let set = open("externs.o");
    let refused: Vec<(&str, &str, &str)> = set
        .refused
        .iter()
        .map(|r| {
            (
                r.name.as_str(),
                r.finding.rule.as_str(),
                r.finding.subject.as_str(),
            )
        })
        .collect();
    assert_eq!(
        refused,
        [
            ("needs_config", "object/extern", "CONFIG_HZ"),
            ("needs_symbol", "object/extern", "kernel_symbol"),
            ("needs_function", "object/extern", "kernel_function"),
        ]
    );
    let finding = &set.refused[0].finding;
    assert_eq!(finding.file.as_deref(), Some("./externs.c"));
    let source = fs::read_to_string(objects().join("externs.c")).unwrap();
    let line = source.lines().position(|l| l.contains("return CONFIG_HZ"));
    assert_eq!(finding.line, line.map(|l| l as u32 + 1));
    let program = set.find("weak_only").unwrap();
    let zero = Insn::LoadWide {
        dst: Reg::R1,
        value: Wide::Value(0),
    };
    let absent = program.insns.iter().filter(|i| {
        matches!(
            i,
            Insn::LoadWide {
                value: Wide::Value(0),
                ..
            }
        )
    });
    assert!(absent.count() >= 2, "symbol and function are 0: {zero:?}");
    // As libbpf from 1.2 on: 2002000000 + nothing.
    assert!(
        program
            .insns
            .contains(&Insn::Call(CallTarget::Helper(2_002_000_000)))
    );
    // A configuration value can be given.
    let given = open_with(
        "externs.o",
        &LoadOptions {
            globals: vec![("CONFIG_HZ".to_owned(), "250".to_owned())],
            ..LoadOptions::default()
        },
    );
    assert!(given.find("needs_config").is_some());
    assert_eq!(value(&given, "CONFIG_HZ"), 250_u32.to_le_bytes());

    let config = map(&set, ".kconfig");
    assert_eq!(config.data, Some(DataSection::Rodata));
    assert!(config.initial.as_ref().unwrap().iter().all(|b| *b == 0));
}

#[test]
fn big_endian_objects_are_refused_by_name() {
    let bytes = read("big_endian.o");
    let error = load("big_endian.o", &bytes, &LoadOptions::default()).unwrap_err();
    assert!(matches!(
        error,
        ObjectError::ElfHeader {
            field: "EI_DATA",
            offset: 5,
            found: 2,
            ..
        }
    ));
    assert!(error.to_string().contains("big-endian"), "{error}");
}

fn with_globals(values: &[(&str, &str)]) -> Result<ProgramSet, ObjectError> {
    let options = LoadOptions {
        globals: values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..LoadOptions::default()
    };
    load("variables.o", &read("variables.o"), &options)
}

/// The bytes of a variable.
fn value<'a>(set: &'a ProgramSet, name: &str) -> &'a [u8] {
    let global = set.programs[0].globals.iter().find(|g| g.name == name);
    let global = global.unwrap();
    let bytes = set.maps[global.map].initial.as_ref().unwrap();
    &bytes[global.offset as usize..][..global.size as usize]
}

#[test]
fn variables_are_listed_with_place_and_kind() {
    let set = open("variables.o");
    let program = &set.programs[0];
    let kind = |name: &str| {
        program
            .globals
            .iter()
            .find(|g| g.name == name)
            .unwrap()
            .kind
    };
    assert_eq!(kind("limit"), GlobalKind::Unsigned);
    assert_eq!(kind("enabled"), GlobalKind::Bool);
    assert_eq!(kind("iface"), GlobalKind::Text);
    assert_eq!(kind("levels"), GlobalKind::Bytes);
    assert_eq!(kind("big"), GlobalKind::Signed);
    // The initial values of the source.
    assert_eq!(value(&set, "limit"), 17_u32.to_le_bytes());
    assert_eq!(value(&set, "iface"), *b"eth0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(value(&set, "big"), (-5_i64).to_le_bytes());
    assert_eq!(value(&set, "hits"), 100_u64.to_le_bytes());
    assert_eq!(value(&set, "text"), *b"static text\0");
    assert_eq!(value(&set, "custom"), 9_u32.to_le_bytes());
    assert_eq!(value(&set, "zero_second"), [0; 12]);
    let section = |name: &str| map(&set, name).data.unwrap();
    assert_eq!(section(".rodata"), DataSection::Rodata);
    assert_eq!(section(".rodata.str1.1"), DataSection::Rodata);
    assert_eq!(section(".rodata.custom"), DataSection::Rodata);
    assert_eq!(section(".data.custom"), DataSection::Data);
    assert_eq!(section(".bss"), DataSection::Bss);

    // Without BTF the symbols tell names and sizes.
    let set = open("variables_without_btf.o");
    assert_eq!(value(&set, "limit"), 17_u32.to_le_bytes());
    assert_eq!(value(&set, "hits"), 100_u64.to_le_bytes());
}

#[test]
fn values_are_read_by_type() {
    let set = with_globals(&[
        ("limit", "0x10"),
        ("enabled", "false"),
        ("iface", "lan0"),
        ("levels", "-1, 2, 0x7fff, -32768"),
        ("color", "RED"),
        ("config.burst", "7"),
        ("config.mac", "hex:02 00 00 00 00 01"),
        ("config.inner[2].port", "443"),
        ("big", "-9223372036854775808"),
        ("hits", "18446744073709551615"),
        ("zero_second[1]", "5"),
        ("fixed", "hex:01020304"),
    ])
    .unwrap();
    assert_eq!(value(&set, "limit"), 16_u32.to_le_bytes());
    assert_eq!(value(&set, "enabled"), [0]);
    assert_eq!(value(&set, "iface"), *b"lan0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(
        value(&set, "levels"),
        [0xff, 0xff, 2, 0, 0xff, 0x7f, 0, 0x80]
    );
    assert_eq!(value(&set, "color"), 5_u32.to_le_bytes());
    assert_eq!(
        value(&set, "config"),
        [7, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xbb, 1]
    );
    assert_eq!(value(&set, "big"), i64::MIN.to_le_bytes());
    assert_eq!(value(&set, "hits"), [0xff; 8]);
    assert_eq!(
        value(&set, "zero_second"),
        [0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(value(&set, "fixed"), [1, 2, 3, 4]);
    // A function's own variable, by its whole name.
    let set = with_globals(&[("program.counter", "8")]).unwrap();
    assert_eq!(value(&set, "program.counter"), [8, 0, 0, 0]);
}

#[test]
fn values_that_do_not_fit_say_what_does() {
    let problem = |name: &str, value: &str| match with_globals(&[(name, value)]) {
        Err(ObjectError::Global { problem, .. }) => problem,
        other => panic!("{name}={value}: {other:?}"),
    };
    for (name, value, expected) in [
        ("limit", "4294967296", "a number from 0 to 4294967295"),
        ("limit", "-1", "a number from 0 to 4294967295"),
        ("limit", "many", "a number from 0 to 4294967295"),
        (
            "levels",
            "1,2,3",
            "4 elements by comma, or hex: and 8 bytes",
        ),
        ("levels", "1,2,3,40000", "a number from -32768 to 32767"),
        ("enabled", "2", "true or false"),
        (
            "iface",
            "a name that is too long",
            "text of at most 16 bytes",
        ),
        (
            "config",
            "5",
            "hex: and 16 bytes in memory order; its members can be set one by one",
        ),
        ("fixed", "hex:0102", "hex: and 4 bytes, two digits each"),
    ] {
        match problem(name, value) {
            GlobalProblem::Value {
                expected: found, ..
            } => assert_eq!(found, expected, "{name}"),
            other => panic!("{name}={value}: {other:?}"),
        }
    }
    assert!(matches!(
        problem("absent", "1"),
        GlobalProblem::Unknown { .. }
    ));
    assert!(matches!(
        problem("counter", "1"),
        GlobalProblem::Ambiguous { count: 2 }
    ));
    assert!(matches!(
        problem("config.absent", "1"),
        GlobalProblem::Member { .. }
    ));
    assert!(matches!(
        problem("levels[4]", "1"),
        GlobalProblem::Member { .. }
    ));
}

#[test]
fn map_sizes_are_set_by_name() {
    let mut options = LoadOptions {
        map_entries: vec![("one".to_owned(), 3)],
        ..LoadOptions::default()
    };
    assert_eq!(map(&open_with("maps.o", &options), "one").max_entries, 3);
    options.map_entries = vec![("three".to_owned(), 3)];
    let error = load("maps.o", &read("maps.o"), &options).unwrap_err();
    assert!(matches!(error, ObjectError::NoSuchMap { .. }), "{error}");
    // 16 bytes of value and 8 of key, 2^32 - 1 times, is below 2^40 bytes; a table of 2^28
    // values of 4 KiB is not.
    options.map_entries = vec![("prefixes".to_owned(), u32::MAX)];
    open_with("maps.o", &options);
    let text = b".map big type=hash key=4 value=4096 entries=268435456\nr0 = map[big] ll\nexit\n";
    let error = load("big.s", text, &LoadOptions::default()).unwrap_err();
    assert!(
        matches!(&error, ObjectError::Map { map, problem: MapProblem::TooLarge { .. }, .. } if map == "big"),
        "{error}"
    );
}

#[test]
fn without_a_target_types_mean_themselves() {
    let set = open("core.o");
    assert!(
        set.notes
            .iter()
            .any(|n| n.rule == "object/core-own-types" && n.why.contains("no BTF"))
    );
    // p->mac_len is at byte 4 of the object's own struct packet.
    let program = set.find("accesses").unwrap();
    assert!(program.insns.iter().any(|insn| matches!(
        insn,
        Insn::Load {
            size: isa::ebpf::MemSize::H,
            offset: 4,
            ..
        }
    )));
    let poison = Insn::Call(CallTarget::Helper(bpf::btf::core::POISON));
    assert!(!set.programs.iter().any(|p| p.insns.contains(&poison)));
}

#[test]
fn what_a_target_lacks_is_named() {
    let target = read("core_target.btf");
    let set = open_with(
        "core.o",
        &LoadOptions {
            btf: Some(&target),
            ..LoadOptions::default()
        },
    );
    let missing: Vec<&str> = set
        .notes
        .iter()
        .filter(|n| n.rule == "object/core-unresolved")
        .map(|n| n.subject.as_str())
        .collect();
    assert!(missing.contains(&"device___mine.absent"), "{missing:?}");
    assert!(missing.contains(&"kind___x::KIND_GONE___x"), "{missing:?}");
    let poison = Insn::Call(CallTarget::Helper(195_896_080));
    assert!(set.find("program").unwrap().insns.contains(&poison));
}

#[test]
fn usage_counts_what_the_source_does() {
    let set = open("maps.o");
    // redirect_map is helper 51, perf_event_output 25, map_push_elem 87, ringbuf_output 130.
    let helpers = |name: &str| -> Vec<u32> {
        let usage = set.find(name).unwrap().usage();
        usage.helpers.keys().copied().collect()
    };
    assert_eq!(helpers("tail_one"), [51]);
    assert_eq!(helpers("tail_two"), [25, 87, 130]);
    assert_eq!(helpers("entry"), [1, 12]);
    let maps = |name: &str| -> Vec<&str> {
        let usage = set.find(name).unwrap().usage();
        usage
            .maps
            .keys()
            .map(|m| set.maps[*m].name.as_str())
            .collect()
    };
    assert_eq!(maps("entry"), ["outer", "jumps", "keyed", "prefixes"]);
    let usage = open("variables.o").programs[0].usage();
    assert_eq!(usage.atomics, 1);
    // -mcpu=v3: 32-bit arithmetic came with v3.
    assert_eq!(usage.cpu, Some(isa::ebpf::CpuVersion::V3));
}

#[test]
fn every_rule_of_the_loader_has_a_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rules = Vec::new();
    for entry in fs::read_dir(root.join("src/object")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        rules.extend(
            source
                .split('"')
                .filter(|text| text.starts_with("object/") && !text.contains(' '))
                .map(str::to_owned),
        );
    }
    assert!(rules.len() >= 13, "{rules:?}");
    for rule in rules {
        let page = root.join("../docs/rules").join(format!("{rule}.md"));
        let text = fs::read_to_string(&page).unwrap_or_default();
        assert!(text.starts_with(&format!("# {rule}\n")), "no page {page:?}");
    }
}
