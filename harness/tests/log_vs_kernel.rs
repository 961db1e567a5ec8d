//! `--log` against the kernel's own log: the same instructions in the same order, and the same
//! known about what they touch.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bpf::Program;
use bpf::object::{LoadOptions, load};
use cpu_reference::Unsupported;
use verifier::Options;

/// A log's lines of instructions and of arriving paths, with ids in the order of their
/// appearance in the line, and without what has no counterpart.
fn comparable(log: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in log.lines() {
        let Some((head, rest)) = line.split_once(": ") else {
            continue;
        };
        let is_state = rest.starts_with('R') || rest.starts_with("frame");
        if head.starts_with("from ") {
            lines.push(renumbered(line));
        } else if head.parse::<usize>().is_err() {
        } else if !is_state {
            lines.push(renumbered(line));
        } else if let Some(last) = lines.last_mut()
            && last.contains(": (")
            && !last.contains("; ")
        {
            // Lines about precision part an instruction from what is known behind it.
            last.push_str(" ; ");
            last.push_str(&renumbered(rest));
        }
    }
    lines
}

fn renumbered(line: &str) -> String {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut out = String::new();
    let mut rest = line.trim_end();
    while let Some(at) = rest.find("id=") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let digits = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let next = known.len() + 1;
        let number = *known.entry(after[..digits].to_owned()).or_insert(next);
        out.push_str(&number.to_string());
        rest = &after[digits..];
    }
    out.push_str(rest);
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    // A map's address there, its name here.
    match out.split_once(" = ") {
        Some((head, _)) if out.contains("(18) r") => head.to_owned(),
        _ => out,
    }
}

fn ours(program: &Arc<Program>) -> String {
    let options = Options {
        log: true,
        ..Options::default()
    };
    match verifier::verify(Arc::clone(program), options) {
        Ok(verified) => verified.log().to_owned(),
        Err(rejection) => rejection.log,
    }
}

/// The pc of a line of an instruction or of an arriving path.
fn pc(line: &str) -> &str {
    line.split(": ").next().unwrap_or_default()
}

#[test]
fn the_log_reads_as_the_kernels_as_long_as_both_go_the_same_way() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "o"))
        .collect();
    paths.sort();
    let (mut shared, mut different, mut programs) = (0, Vec::new(), 0);
    for path in paths {
        let name = path.display().to_string();
        // Its log is long, and says no more.
        if name.ends_with("ipv6_ext.o") {
            continue;
        }
        let set = load(
            &name,
            &std::fs::read(path).unwrap(),
            &LoadOptions::default(),
        )
        .unwrap();
        for program in set.programs {
            let program = Arc::new(program);
            let theirs = match cpu_reference::log_from_the_start(&program) {
                Ok(log) => comparable(&log),
                Err(Unsupported::Environment { reason, .. }) => {
                    let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
                    assert!(!required.split(',').any(|r| r == "kernel"), "{reason}");
                    println!("skipped: needs kernel ({reason})");
                    return;
                }
                Err(other) => panic!("{name}: {other}"),
            };
            let ours = comparable(&ours(&program));
            assert!(!ours.is_empty());
            programs += 1;
            for (here, kernel) in ours.iter().zip(&theirs) {
                if pc(here) != pc(kernel) || here.ends_with("safe") != kernel.ends_with("safe") {
                    break;
                }
                shared += 1;
                // Before a cut the kernel does not say what was known.
                let untold = here.starts_with(kernel) && !kernel.contains("; ");
                if here != kernel && !untold {
                    different.push(format!("{name}\n  here   {here}\n  kernel {kernel}"));
                }
            }
        }
    }
    let shown = different.iter().take(20).cloned().collect::<Vec<_>>();
    println!(
        "{programs} programs, {shared} lines, {} different\n{}",
        different.len(),
        shown.join("\n")
    );
    assert!(programs > 20 && shared > 3000);
    // The kernel leaves linked registers as they were where nothing reads them any more.
    assert!(different.len() * 40 < shared);
}
