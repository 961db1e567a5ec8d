//! The test cases of `tests/cases`: one file is one named test, run on every engine.
//!
//! A case is assembly with a header and the facts that must hold afterwards; `tests/cases/README.md`
//! says how they are written. Facts are derived by hand from RFC 9669 and the kernel's
//! documentation, nothing blesses them. What all engines leave (verdict, packet, maps, events)
//! must be equal beyond that, and the running kernel is one of the engines.
//!
//! * [`case`] reads a file, [`fact`] one expected fact.
//! * [`engines`] runs a case on each engine.
//! * [`actions`] runs every action alone and in pairs, and prints the grid that the README shows.
//! * [`coverage`] checks that no instruction and no helper is left without a case.
#![expect(
    clippy::print_stdout,
    reason = "a test says on a line why it is skipped"
)]

mod actions;
mod case;
mod coverage;
mod engines;
mod fact;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use case::Case;

/// Where the cases are.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases")
}

/// All files below a folder with this extension, sorted.
fn files(folder: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_args();
    let root = root();
    let mut trials = Vec::new();
    let mut cases = Vec::new();
    for path in files(&root, "bpf")? {
        let name = path
            .strip_prefix(&root)?
            .with_extension("")
            .display()
            .to_string();
        let case = Case::read(&name, &std::fs::read_to_string(&path)?).map(Arc::new);
        if let Ok(case) = &case {
            cases.push(Arc::clone(case));
        }
        trials.push(Trial::test(name, move || {
            let case = case.map_err(|errors| Failed::from(errors.join("\n")))?;
            let problems = engines::run(&case);
            if problems.is_empty() {
                Ok(())
            } else {
                Err(problems.join("\n").into())
            }
        }));
    }
    trials.extend(coverage::trials(cases));
    trials.push(Trial::test("actions", || {
        actions::check().map_err(Failed::from)
    }));
    libtest_mimic::run(&arguments, trials).exit();
}
