//! What `programs/seeds/` says fits the objects beside it.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

use bpf::helper::Fib;
use bpf::map::{MapSet, Placement};
use bpf::object::{LoadOptions, load};
use harness::seeds::Seeds;

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

/// Seeds by name of their program; routing tables are not among them.
fn seeds() -> Vec<(String, PathBuf)> {
    let mut all: Vec<_> = std::fs::read_dir(programs().join("seeds"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, path)
        })
        .filter(|(name, _)| !name.contains(".fib"))
        .collect();
    all.sort();
    all
}

#[test]
fn every_seeds_file_fits_its_object() {
    let all = seeds();
    assert!(all.len() >= 10, "{all:?}");
    for (name, path) in all {
        let text = std::fs::read_to_string(&path).unwrap();
        let seeds = Seeds::parse(&name, &text).unwrap();
        let object = std::fs::read(programs().join(format!("{name}.o"))).unwrap();
        let plain = load(&name, &object, &LoadOptions::default()).unwrap();
        let options = LoadOptions {
            globals: seeds.globals(&plain.programs[0].globals),
            ..LoadOptions::default()
        };
        let set = load(&name, &object, &options).unwrap_or_else(|e| panic!("{e}"));
        let maps = MapSet::for_program_set(&set.maps, 8, Placement::Private).unwrap();
        let before = harness::seeds::dump(&set, &maps, |_| None);
        let id = |program: &str| set.programs.iter().position(|p| p.name == program);
        seeds
            .apply(&maps, &|program| id(program).map(|id| id as u32))
            .unwrap_or_else(|e| panic!("{e}"));
        let after = harness::seeds::dump(&set, &maps, |_| None);
        assert_ne!(before, after, "{name}: nothing came into the maps");
    }
}

#[test]
fn the_routing_table_is_one() {
    let text = std::fs::read_to_string(programs().join("seeds/router.fib.json")).unwrap();
    Fib::from_json(&text).unwrap();
}
