//! Linked programs and maps equal what libbpf gives the kernel. `objects/libbpf.py` recorded
//! that (`objects/build.sh --golden`), with libbpf 1.1.
#![expect(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is the failure"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bpf::object::{LoadOptions, load};
use isa::ebpf::{Insn, Wide, encode};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects")
}

/// The object in the form of `libbpf.py`.
fn ours(object: &str, options: &LoadOptions<'_>) -> String {
    let bytes = fs::read(folder().join(object)).unwrap();
    let set = load(object, &bytes, options).unwrap();
    let mut text = String::new();
    for map in set.maps.iter() {
        writeln!(
            text,
            "map {} {} {} {} {}",
            map.name,
            map.kind.number(),
            map.key_size,
            map.value_size,
            map.max_entries
        )
        .unwrap();
    }
    for program in &set.programs {
        writeln!(text, "program {} {}", program.name, program.insns.len()).unwrap();
        let code = encode(&program.insns).unwrap();
        for (insn, slot) in program.insns.iter().zip(code.chunks(8)) {
            let mut slot = slot.to_vec();
            let mut note = String::new();
            if let Insn::LoadWide {
                value: Wide::Map(map) | Wide::MapValue { map, .. },
                ..
            } = insn
            {
                slot[4..].fill(0);
                note = format!(" {}", set.maps[*map as usize].name);
            }
            for byte in slot {
                write!(text, "{byte:02x}").unwrap();
            }
            writeln!(text, "{note}").unwrap();
        }
    }
    text
}

#[track_caller]
fn equal(object: &str, golden: &str, options: &LoadOptions<'_>) {
    let expected = fs::read_to_string(folder().join(golden)).unwrap();
    let found = ours(object, options);
    let first = expected
        .lines()
        .zip(found.lines())
        .enumerate()
        .find(|(_, (expected, found))| expected != found);
    assert_eq!(first, None, "{object}: first difference (libbpf, ours)");
    assert_eq!(expected.lines().count(), found.lines().count(), "{object}");
}

#[test]
fn functions_are_appended_in_libbpfs_order() {
    let options = LoadOptions::default();
    equal("subprograms.o", "subprograms.libbpf", &options);
    equal("subprograms_v1.o", "subprograms_v1.libbpf", &options);
}

#[test]
fn variables_are_addressed_as_libbpf_does() {
    let options = LoadOptions::default();
    equal("variables.o", "variables.libbpf", &options);
    equal(
        "variables_without_btf.o",
        "variables_without_btf.libbpf",
        &options,
    );
}

#[test]
fn maps_get_libbpfs_sizes() {
    // libbpf gives a perf_event_array of 0 entries one for each CPU; 2 where it was recorded.
    let options = LoadOptions {
        queues: 2,
        ..LoadOptions::default()
    };
    equal("maps.o", "maps.libbpf", &options);
}

#[test]
fn core_relocations_come_to_what_libbpf_computes() {
    let target = fs::read(folder().join("core_target.btf")).unwrap();
    let options = LoadOptions {
        btf: Some(&target),
        ..LoadOptions::default()
    };
    equal("core.o", "core.libbpf", &options);
    // Written by bpftool's linker, which gives types new numbers.
    equal("core_linked.o", "core_linked.libbpf", &options);
}
