//! Cases of whole files: those of `tests/hbpf`, and with `NICBED_CASES=DIR` every `.data` and
//! `.test` file in and below that folder.
//!
//! A `.data` file runs on `interp` and on each backend's engine, a `.test` file (hBPF's suite) on
//! hBPF. Where a table `ticks.tsv` (name, tab, cycles) lies beside a file and has its name, the
//! cycles of the whole program must be those.
#![expect(
    clippy::print_stdout,
    reason = "a test says on a line why it is skipped"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use harness::conformance::{self, Answer, Case};
use harness::side::Side;
use libtest_mimic::{Arguments, Failed, Trial};

const VARIABLE: &str = "NICBED_CASES";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_args();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/hbpf");
    let mut trials = trials("hbpf", &own)?;
    match std::env::var_os(VARIABLE) {
        Some(folder) => trials.extend(self::trials(VARIABLE, Path::new(&folder))?),
        None => println!("skipped: needs {VARIABLE}, a folder of .data or .test files"),
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn trials(of: &str, folder: &Path) -> Result<Vec<Trial>, Box<dyn std::error::Error>> {
    let mut found = Vec::new();
    files(folder, &mut found)?;
    if found.is_empty() {
        let place = folder.display();
        return Err(format!("{of}: there is no .data or .test file below {place}").into());
    }
    let trials = found.into_iter().map(|path| {
        let name = path.strip_prefix(folder).unwrap_or(&path);
        Trial::test(format!("{of}/{}", name.display()), move || {
            check(&path).map_err(Failed::from)
        })
    });
    Ok(trials.collect())
}

/// The cases in and below a folder, by name.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut entries = entries.collect::<std::io::Result<Vec<PathBuf>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "data" || e == "test") {
            found.push(path);
        }
    }
    Ok(())
}

fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read(path).map_err(|e| e.to_string())?;
    let mut case = Case::parse(&path.display().to_string(), &text).map_err(|e| e.to_string())?;
    let is_hbpf = path.extension().is_some_and(|e| e == "test");
    let mut sides = Vec::new();
    if is_hbpf {
        case.ticks = case.ticks.or(recorded_ticks(path)?);
        let caps = caps::builtin("hbpf").map_err(|e| e.to_string())?;
        let side = Side::by_name("ebpf", Some(Arc::new(caps)), None);
        sides.push(side.map_err(|e| e.to_string())?);
    } else {
        let native = cfg!(target_arch = "x86_64");
        let names = Side::names().into_iter();
        for name in names.filter(|&name| name != "rbpf" && (native || name != "x86_64")) {
            sides.push(Side::by_name(name, None, None).map_err(|e| e.to_string())?);
        }
    }
    let mut problems = Vec::new();
    for side in &sides {
        let result = conformance::run(&case, side);
        if result.result == Answer::Failed || is_hbpf && result.result == Answer::Unsupported {
            problems.push(format!("{}: {}", side.name(), result.detail));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

/// What the table beside a case has for it.
fn recorded_ticks(path: &Path) -> Result<Option<u64>, String> {
    let Ok(table) = std::fs::read_to_string(path.with_file_name("ticks.tsv")) else {
        return Ok(None);
    };
    let rows: BTreeMap<&str, &str> = table.lines().filter_map(|l| l.split_once('\t')).collect();
    let name = path.file_stem().and_then(|stem| stem.to_str());
    let ticks = name.and_then(|name| rows.get(name));
    ticks
        .map(|ticks| ticks.trim().parse().map_err(|e| format!("ticks.tsv: {e}")))
        .transpose()
}
