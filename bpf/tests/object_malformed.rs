//! Malformed objects: an answer, never a panic, a hang, or more memory than the file is worth.
//! All objects of this repository are cut and changed, at random (seeded) and where it hurts.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test a failed unwrap is the failure"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bpf::object::{LoadOptions, ObjectError, SectionProblem, load};

/// Every object there is, with its name.
fn all_objects() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = ["tests/objects", "../programs"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "o"))
        .collect();
    paths.sort();
    assert!(paths.len() > 20, "{paths:?}");
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

fn object(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read(root.join("tests/objects").join(name)).unwrap()
}

/// Loads it; whatever comes is short, and an error says something.
fn try_load(name: &str, bytes: &[u8], options: &LoadOptions<'_>) -> bool {
    match load(name, bytes, options) {
        Ok(set) => {
            let data: usize = set
                .maps
                .iter()
                .filter_map(|m| m.initial.as_ref().map(Vec::len))
                .sum();
            assert!(data <= 64 << 20, "{name}: {data} bytes of data");
            for program in &set.programs {
                assert_eq!(program.source.origins.len(), program.insns.len());
            }
            true
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(name), "{text}");
            assert!(text.len() < 4000, "{name}: {} bytes of message", text.len());
            false
        }
    }
}

/// A small generator (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

const EXTREMES: [u64; 10] = [
    0,
    1,
    7,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    u64::MAX,
];

#[test]
fn truncated_objects_have_an_answer() {
    for (name, bytes) in all_objects() {
        for length in (0..bytes.len()).step_by(13) {
            try_load(&name, &bytes[..length], &LoadOptions::default());
        }
    }
}

#[test]
fn changed_bytes_have_an_answer() {
    let target = object("core_target.btf");
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut loaded = 0;
    for (name, bytes) in all_objects() {
        let options = LoadOptions {
            btf: name.starts_with("core").then_some(&target),
            ..LoadOptions::default()
        };
        for _ in 0..300 {
            let mut changed = bytes.clone();
            for _ in 0..=random.below(8) {
                let at = random.below(changed.len());
                changed[at] = random.next() as u8;
            }
            loaded += usize::from(try_load(&name, &changed, &options));
        }
    }
    assert!(loaded > 100, "changes must not only break the header");
}

#[test]
fn extreme_numbers_in_headers_have_an_answer() {
    for (name, bytes) in all_objects() {
        let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
        let fields = (16..64).chain(table..bytes.len());
        for at in fields.step_by(4) {
            for value in EXTREMES {
                let mut changed = bytes.clone();
                let width = if at + 8 <= bytes.len() && value > u64::from(u32::MAX) {
                    8
                } else {
                    4.min(bytes.len() - at)
                };
                changed[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
                try_load(&name, &changed, &LoadOptions::default());
            }
        }
    }
}

/// File offset and size of a section, by name.
fn section(bytes: &[u8], name: &str) -> (usize, usize, usize) {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()) as usize;
    let table = word(40);
    let strings = word(table + half(62) * 64 + 24);
    for index in 0..half(60) {
        let header = table + index * 64;
        let at =
            strings + u32::from_le_bytes(bytes[header..header + 4].try_into().unwrap()) as usize;
        if bytes[at..].starts_with(name.as_bytes()) && bytes[at + name.len()] == 0 {
            return (header, word(header + 24), word(header + 32));
        }
    }
    panic!("no section {name}");
}

#[test]
fn extreme_numbers_in_type_information_have_an_answer() {
    let target = object("core_target.btf");
    for name in ["core.o", "maps.o", "variables.o", "externs.o"] {
        let bytes = object(name);
        for part in [".BTF", ".BTF.ext", ".symtab", ".relxdp"] {
            if name == "externs.o" && part == ".relxdp" {
                continue;
            }
            let (_, start, size) = section(&bytes, part);
            let options = LoadOptions {
                btf: Some(&target),
                ..LoadOptions::default()
            };
            for at in (start..=start + size - 4).step_by(4) {
                for value in [0, 1, 0xffff, 0x00ff_ffff, 0x7fff_ffff, u32::MAX] {
                    let mut changed = bytes.clone();
                    changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
                    try_load(name, &changed, &options);
                }
            }
        }
    }
    let bytes = object("core.o");
    for at in (0..=target.len() - 4).step_by(4) {
        for value in [0, 1, 5, 0xffff, 0x8400_ffff, u32::MAX] {
            let mut changed = target.clone();
            changed[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            let options = LoadOptions {
                btf: Some(&changed),
                ..LoadOptions::default()
            };
            try_load("core.o", &bytes, &options);
        }
    }
}

#[test]
fn random_bytes_and_text_have_an_answer() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..2000 {
        let mut bytes: Vec<u8> = (0..random.below(400))
            .map(|_| random.next() as u8)
            .collect();
        if round % 2 == 0 && bytes.len() > 20 {
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            bytes[16..20].copy_from_slice(&[1, 0, 247, 0]);
        }
        for name in ["x.o", "x.bpf", "x.bin", "x.hex", "x"] {
            try_load(name, &bytes, &LoadOptions::default());
        }
    }
}

fn patched(bytes: &[u8], at: usize, value: u64) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at..at + 8].copy_from_slice(&value.to_le_bytes());
    changed
}

#[test]
fn overlapping_sections_are_named() {
    let bytes = object("subprograms.o");
    let (header, ..) = section(&bytes, ".text");
    let (_, other, _) = section(&bytes, "xdp");
    let changed = patched(&bytes, header + 24, other as u64);
    let error = load("x.o", &changed, &LoadOptions::default()).unwrap_err();
    match &error {
        ObjectError::Overlap {
            first,
            second,
            offset,
            ..
        } => {
            let mut names = [first.as_str(), second.as_str()];
            names.sort_unstable();
            assert_eq!(names, [".text", "xdp"]);
            assert!(*offset >= other as u64);
        }
        _ => panic!("{error}"),
    }
}

#[test]
fn sections_that_refer_to_themselves_end() {
    let bytes = object("subprograms.o");
    for name in [".relxdp", ".symtab", ".strtab", ".rel.text"] {
        let (header, ..) = section(&bytes, name);
        let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
        let index = (header - table) / 64;
        for field in [40, 44] {
            for target in [index as u32, 0, 1, 2, u32::MAX] {
                let mut changed = bytes.clone();
                changed[header + field..header + field + 4].copy_from_slice(&target.to_le_bytes());
                try_load("x.o", &changed, &LoadOptions::default());
            }
        }
    }
}

#[test]
fn a_terabyte_of_data_is_refused_by_name() {
    let bytes = object("variables.o");
    let (header, ..) = section(&bytes, ".bss");
    let changed = patched(&bytes, header + 32, 1 << 40);
    let error = load("x.o", &changed, &LoadOptions::default()).unwrap_err();
    assert!(
        matches!(
            &error,
            ObjectError::Section { section, problem: SectionProblem::DataSize { size, .. }, .. }
                if section == ".bss" && *size == 1 << 40
        ),
        "{error}"
    );
}

#[test]
fn an_object_without_a_program_says_so() {
    // A section of code becomes one of data.
    let mut bytes = object("legacy_5.o");
    let (header, ..) = section(&bytes, "xdp1");
    bytes[header + 8] = 2;
    let error = load("x.o", &bytes, &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, ObjectError::NoProgram { .. }), "{error}");
    for (name, bytes) in [
        ("x.bin", &b""[..]),
        ("x.hex", b"# nothing"),
        ("x.s", b"; nothing"),
    ] {
        let error = load(name, bytes, &LoadOptions::default()).unwrap_err();
        assert!(
            matches!(error, ObjectError::NoProgram { .. }),
            "{name}: {error}"
        );
    }
    let error = load("x", b"", &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("the file is empty"), "{error}");
}

#[test]
fn what_is_no_bpf_object_is_told_apart() {
    // The machine of x86-64 is 62.
    let mut bytes = object("legacy_5.o");
    bytes[18] = 62;
    let error = load("x.o", &bytes, &LoadOptions::default()).unwrap_err();
    assert!(matches!(
        error,
        ObjectError::ElfHeader {
            field: "e_machine",
            offset: 18,
            found: 62,
            ..
        }
    ));
    let error = load(
        "x.pcap",
        &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0],
        &LoadOptions::default(),
    );
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("d4 c3 b2 a1") && text.contains("clang -target bpf"),
        "{text}"
    );
}

#[test]
fn an_undecodable_instruction_stops_its_program_alone() {
    let mut bytes = object("subprograms.o");
    let (_, start, _) = section(&bytes, "tc");
    bytes[start] = 0xff;
    let set = load("x.o", &bytes, &LoadOptions::default()).unwrap();
    assert_eq!(set.programs.len(), 3);
    assert_eq!(set.refused[0].name, "fourth");
    assert_eq!(set.refused[0].finding.rule, "object/instruction");
    assert_eq!(set.refused[0].finding.pc, Some(0));
    assert!(set.refused[0].finding.message.starts_with("tc+0x0"));
}

/// BTF whose `struct packet` has two anonymous members, each of which has two, and so on:
/// 2^30 ways to go down, each of them in vain.
fn endless_types() -> Vec<u8> {
    const DEPTH: u32 = 30;
    let strings = b"\0packet\0";
    let mut types = Vec::new();
    let mut word = |value: u32| types.extend_from_slice(&value.to_le_bytes());
    for level in 1..=DEPTH {
        // Name, kind struct with 2 members, size; then name, type and offset of each.
        for value in [u32::from(level == 1), 4 << 24 | 2, 8] {
            word(value);
        }
        for value in [0, level + 1, 0, 0, level + 1, 32] {
            word(value);
        }
    }
    for value in [0, 4 << 24, 0] {
        word(value);
    }
    let length = types.len() as u32;
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for value in [24, 0, length, length, strings.len() as u32] {
        bytes.extend_from_slice(&u32::to_le_bytes(value));
    }
    bytes.extend(types);
    bytes.extend_from_slice(strings);
    bytes
}

#[test]
fn types_that_nest_without_end_are_given_up() {
    let target = endless_types();
    let options = LoadOptions {
        btf: Some(&target),
        ..LoadOptions::default()
    };
    let set = load("core.o", &object("core.o"), &options).unwrap();
    let accesses = set.refused.iter().find(|r| r.name == "accesses").unwrap();
    assert_eq!(accesses.finding.rule, "object/core-relocation");
    assert!(
        accesses.finding.message.contains("too deeply nested"),
        "{}",
        accesses.finding.message
    );
}
