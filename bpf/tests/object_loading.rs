//! Objects that people have: what the loader makes of them.

use std::fs;
use std::path::{Path, PathBuf};

use bpf::Hook;
use bpf::object::{LoadOptions, load};
use bpf::program::ProgramSet;

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

fn load_file(path: &Path) -> ProgramSet {
    let bytes = fs::read(path).unwrap();
    let options = LoadOptions {
        queues: 8,
        ..LoadOptions::default()
    };
    load(path.to_str().unwrap(), &bytes, &options).unwrap()
}

#[test]
fn every_object_of_programs_loads_whole() {
    let mut seen = 0;
    for entry in fs::read_dir(programs()).unwrap() {
        let path = entry.unwrap().path();
        if !matches!(path.extension().and_then(|e| e.to_str()), Some("o" | "bpf")) {
            continue;
        }
        let set = load_file(&path);
        seen += 1;
        assert!(set.refused.is_empty(), "{path:?}: {:?}", set.refused);
        for program in &set.programs {
            assert_eq!(program.hook.name(), Hook::XDP.name(), "{path:?}");
            assert!(
                !program.source.lines.is_empty(),
                "{path:?}: no lines of {}",
                program.name
            );
            assert_eq!(
                program.subprograms.last().map(|s| s.end),
                Some(program.insns.len())
            );
        }
    }
    assert!(seen >= 5, "only {seen} objects in {:?}", programs());
}
