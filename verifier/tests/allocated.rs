//! Objects that programs allocate: programs with type information, as clang makes them. Their
//! verdicts are Linux 6.18's; what gives the kernel programs as bare instructions cannot ask it
//! here.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use verifier::{Options, verify};

/// Each program of the source, and the rule it breaks.
const VERDICTS: [(&str, Option<&str>); 8] = [
    ("add_and_take", None),
    ("never_dropped", Some("verify/reference")),
    ("not_compared_with_null", Some("verify/null-pointer")),
    ("pushed_without_the_lock", Some("verify/lock")),
    ("pushed_twice", Some("verify/helper-arg")),
    ("used_after_unlock", Some("verify/wrong-type")),
    ("seen_under_the_lock", None),
    ("node_written", Some("verify/lock")),
];

#[test]
fn objects_have_one_owner_and_lists_one_lock() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources/allocated.c");
    let object = Path::new(env!("CARGO_TARGET_TMPDIR")).join("allocated.o");
    let compiled = Command::new("clang-19")
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c"])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .status();
    let Ok(status) = compiled else {
        let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
        assert!(!required.contains("clang"), "needs clang-19");
        println!("skipped: needs clang-19");
        return;
    };
    assert!(status.success(), "{}", source.display());
    let bytes = std::fs::read(&object).unwrap();
    let set = load("allocated.o", &bytes, &LoadOptions::default()).unwrap();
    for (name, rule) in VERDICTS {
        let program = set.programs.iter().find(|p| p.name == name).unwrap();
        let verdict = verify(Arc::new(program.clone()), Options::default());
        let found = verdict.err().map(|r| r.finding.rule.clone());
        assert_eq!(found.as_deref(), rule, "{name}");
    }
}
