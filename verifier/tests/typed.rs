//! Programs with type information, as clang makes them: allocated objects, structures of the
//! kernel, pointers in maps, exceptions. Above each program of `tests/sources` stands its verdict,
//! and the kernel is asked whether it is its own.
//!
//! `/* accept */`, or `/* reject RULE */`; where the kernel's verdict differs and that is known,
//! `/* reject RULE, kernel accepts: why */`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use support::kernel;
use verifier::{Options, verify};

/// What a source says of one of its programs.
struct Stated {
    program: String,
    /// The rule broken, or `None` where it is accepted.
    rule: Option<String>,
    kernel_accepts: bool,
}

fn stated(text: &str) -> Vec<Stated> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let rule = if line == "/* accept */" {
            None
        } else if let Some(rest) = line.strip_prefix("/* reject ") {
            Some(rest.trim_end_matches(" */"))
        } else {
            continue;
        };
        let program = lines
            .find(|line| line.contains(") int "))
            .unwrap_or_default();
        let (_, rest) = program.split_once(") int ").expect(program);
        let (program, _) = rest.split_once('(').unwrap();
        found.push(Stated {
            program: program.to_owned(),
            rule: rule.map(|r| r.split(',').next().unwrap().to_owned()),
            kernel_accepts: rule.is_none_or(|r| r.contains(", kernel accepts")),
        });
    }
    found
}

/// The object that clang makes of a source; `None` without clang.
fn compiled(name: &str) -> Option<(String, Vec<u8>)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sources/{name}.c"));
    let object = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.o"));
    let compiled = Command::new("clang-19")
        .args([
            "-target",
            "bpf",
            "-mcpu=v3",
            "-O2",
            "-g",
            "-Wno-unused",
            "-c",
        ])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .status();
    let Ok(status) = compiled else {
        let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
        assert!(!required.contains("clang"), "needs clang-19");
        println!("skipped: needs clang-19");
        return None;
    };
    assert!(status.success(), "{}", source.display());
    let text = std::fs::read_to_string(source).unwrap();
    Some((text, std::fs::read(&object).unwrap()))
}

/// Holds every program of a source against what is stated.
fn hold(name: &str) {
    let Some((text, bytes)) = compiled(name) else {
        return;
    };
    let kernel = kernel::available();
    let types = kernel.then(kernel::types);
    let all = stated(&text);
    assert!(!all.is_empty());
    let mut wrong = Vec::new();
    // With the types of a kernel, and with what the object says of them alone.
    for btf in [None, types] {
        let options = LoadOptions {
            btf,
            ..LoadOptions::default()
        };
        let set = load(&format!("{name}.o"), &bytes, &options).unwrap();
        for stated in &all {
            let program = set.programs.iter().find(|p| p.name == stated.program);
            let program =
                program.unwrap_or_else(|| panic!("{}: {:?}", stated.program, set.refused));
            let verdict = verify(Arc::new(program.clone()), Options::default()).err();
            let found = verdict.as_ref().map(|r| r.finding.rule.as_str());
            if found != stated.rule.as_deref() {
                wrong.push(format!(
                    "{}: stated {:?}, got {:?}",
                    stated.program,
                    stated.rule,
                    verdict.map(|r| format!("{}: {}", r.finding.rule, r.finding.message))
                ));
            }
            if btf.is_some() {
                let said = kernel::load(program).unwrap();
                if said.accepted != stated.kernel_accepts {
                    wrong.push(format!(
                        "{}: kernel accepts: {}: {}",
                        stated.program,
                        said.accepted,
                        said.reason()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn objects_have_one_owner_and_lists_one_lock() {
    hold("allocated");
}

#[test]
fn connections_are_looked_up_and_given_back() {
    hold("conntrack");
}

#[test]
fn structures_of_the_kernel_are_read_by_their_types() {
    hold("structures");
}

#[test]
fn maps_keep_pointers() {
    hold("kept");
}

#[test]
fn exceptions_leave_nothing_held() {
    hold("exceptions");
}

#[test]
fn kernel_functions_need_a_license_wherever_they_stand() {
    hold("license");
}
