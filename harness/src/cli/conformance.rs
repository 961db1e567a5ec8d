//! `nicbed conformance` and `nicbed plugin`

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::args::{ConformanceArgs, PluginArgs, WhatIfArgs};
use super::input;
use super::output::Output;
use super::progress::Progress;
use super::repro;
use crate::conformance::{self, Answer, Case, Expected, Summary};
use crate::error::{Error, Status};
use crate::plugin;
use crate::report::json::Document;
use crate::report::{Style, Table};
use crate::repro::Repro;
use crate::side::Side;

/// Most bytes of a `.data` file: one with the most memory there can be, and comments.
const MOST_FILE: u64 = 8 << 20;
/// Most bytes of a plugin's standard input: an object in hexadecimal.
const MOST_INPUT: u64 = 64 << 20;

pub(super) fn run(args: &ConformanceArgs, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    let side = side(&args.backend, args.nic.as_deref())?;
    let mut summary = Summary {
        backend: side.name().to_owned(),
        nic: match &side {
            Side::Nic(device) => Some(device.caps().name.clone()),
            _ => None,
        },
        ..Summary::default()
    };
    let mut status = Status::Ok;
    let keep: &Keep<'_> = &|case, expected| {
        let stem = case.program.name.as_str();
        let name = format!("conformance-{}-{stem}", side.name());
        let repro = Repro::of_case(case, &side, expected);
        repro::keep(&args.repros.repro_out, &name, repro, &side, output)
    };
    let embedded = conformance::embedded();
    let embedded = if args.paths.is_empty() { embedded } else { &[] };
    let mut found = Vec::new();
    for path in &args.paths {
        found.extend(files(path)?);
    }
    let bar = Progress::of(output, (embedded.len() + found.len()) as u64, "cases");
    for (name, text) in embedded {
        one(name, text.as_bytes(), &side, keep, &mut summary);
        bar.done(1);
    }
    for file in found {
        let name = file.display().to_string();
        match input::read(&file, MOST_FILE) {
            Ok(bytes) => one(&name, &bytes, &side, keep, &mut summary),
            Err(error) => {
                summary.add(conformance::unreadable(&name, &error.to_string()));
            }
        }
        bar.done(1);
    }
    bar.finish();
    if summary.cases.iter().any(|case| case.error.is_some()) {
        status = status.worst(Status::Input);
    }
    if summary.counts.failed > 0 {
        status = status.worst(Status::Disagree);
    }
    if json {
        output.json(&Document::new("conformance", &summary))?;
    } else {
        output.print(&text(&summary, output.style))?;
    }
    Ok(status)
}

/// Keeps a failed case with the result that it expects; gives the folder.
type Keep<'a> = dyn Fn(&Case, u64) -> Option<PathBuf> + 'a;

fn one(name: &str, bytes: &[u8], side: &Side<'_>, keep: &Keep<'_>, summary: &mut Summary) {
    summary.add(match Case::parse(name, bytes) {
        Ok(case) => {
            let mut result = conformance::run(&case, side);
            if let (Answer::Failed, Expected::Result(r0)) = (result.result, case.expected) {
                result.repro = keep(&case, r0).map(|folder| folder.display().to_string());
            }
            result
        }
        Err(error) => conformance::unreadable(name, &error.to_string()),
    });
}

/// The side that `--backend` and `--nic` name.
pub(super) fn side(backend: &str, nic: Option<&str>) -> Result<Side<'static>, Error> {
    let nic = match nic {
        Some(name) => Some(input::nic(name, &WhatIfArgs::default())?),
        None => None,
    };
    Side::by_name(backend, nic, Some(super::workers()))
}

/// The cases that a path names: itself, or all `.data` and `.test` files in and below a folder, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let fail =
        |path: &Path, e: &dyn std::fmt::Display| Error::input(format!("{}: {e}", path.display()));
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| fail(&folder, &e))?;
        for entry in entries {
            let path = entry.map_err(|e| fail(&folder, &e))?.path();
            // A link to a folder may lead around in a circle.
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "data" || e == "test") {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        return Err(Error::input(format!(
            "{}: there is no .data or .test file in or below it",
            path.display()
        )));
    }
    found.sort();
    Ok(found)
}

fn text(summary: &Summary, style: Style) -> String {
    let mut text = String::new();
    for case in &summary.cases {
        let (word, detail) = match case.result {
            _ if case.error.is_some() => (style.bad("no case"), &case.detail),
            Answer::Passed => continue,
            Answer::Failed => (style.bad("failed"), &case.detail),
            Answer::Unsupported => (style.warn("unsupported"), &case.detail),
        };
        let _ = writeln!(text, "{word}: {}: {detail}", case.file);
        if let Some(repro) = &case.repro {
            let _ = writeln!(text, "  repro: {repro}");
        }
    }
    let mut table = Table::new(&["group", "passed", "failed", "unsupported"]);
    let rows = summary.groups.iter().map(|(name, counts)| (*name, counts));
    for (name, counts) in rows.chain([("all cases", &summary.counts)]) {
        table.row([
            name.to_owned(),
            counts.passed.to_string(),
            counts.failed.to_string(),
            counts.unsupported.to_string(),
        ]);
    }
    for column in 1..=3 {
        table.right(column);
    }
    let _ = write!(text, "{table}");
    text
}

pub(super) fn plugin(args: &PluginArgs, output: &mut Output) -> Result<Status, Error> {
    let side = side(&args.backend, args.nic.as_deref())?;
    let program = if let Some(program) = &args.program {
        program.clone()
    } else {
        let mut text = String::new();
        let mut stdin = std::io::stdin().lock().take(MOST_INPUT);
        stdin
            .read_to_string(&mut text)
            .map_err(|e| Error::input(format!("stdin: {e}")))?;
        text
    };
    let request = plugin::Request {
        program: &program,
        memory: args.memory.as_deref().unwrap_or_default(),
        is_elf: args.elf,
        hook: args.hook.map(input::hook),
    };
    match plugin::answer(&request, &side)? {
        Ok(r0) => {
            output.print(&format!("{r0:x}\n"))?;
            Ok(Status::Ok)
        }
        Err(why) => {
            output.warn(&why);
            Ok(Status::Negative)
        }
    }
}
