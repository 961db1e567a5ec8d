//! `nicbed snapshot`

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bpf::{Program, ProgramSet};
use caps::Caps;
use jit_backends::Loaded;
use rayon::prelude::*;

use super::args::{LoadArgs, SnapshotCommand, WhatIfArgs};
use super::input;
use super::output::Output;
use crate::error::{Error, Status};
use crate::pipeline::{self, Assessment};
use crate::snapshot::expect::{self, Expectation};
use crate::snapshot::manifest::{self, Manifest, Object};
use crate::snapshot::pinned;
use crate::snapshot::report::Report;

pub(super) fn run(what: &SnapshotCommand, output: &Output) -> Result<Status, Error> {
    let (folder, accept) = match what {
        SnapshotCommand::Check { dir } => (dir, false),
        SnapshotCommand::Accept { dir } => (dir, true),
    };
    let json = output.is_json()?;
    let path = folder.join(manifest::NAME);
    let name = path.display().to_string();
    let manifest = Manifest::parse(&name, &input::read_text(&path)?)?;
    let mut report = Report::default();
    let mut now = BTreeMap::new();
    for object in &manifest.objects {
        if let Err(error) = one(folder, &manifest, object, &mut now, &mut report) {
            report.errors.push((error.status, told(&error)));
        }
    }
    report.snapshots = pinned::compare(folder, &now)?;
    // What could not be made now must not look like something nobody wants.
    if !report.errors.is_empty() {
        report.snapshots.retain(|(name, _)| now.contains_key(name));
    }
    if accept {
        pinned::accept(folder, &now, &report.snapshots)?;
        report.accepted = true;
    }
    if json {
        output.json(&report.json())?;
    } else {
        output.print(&report.text(output.style))?;
    }
    Ok(report.status())
}

fn told(error: &Error) -> String {
    match error.help_text() {
        Some(help) => format!("{error} ({help})"),
        None => error.to_string(),
    }
}

/// The snapshots and expectations of one object.
fn one(
    folder: &Path,
    manifest: &Manifest,
    object: &Object,
    now: &mut BTreeMap<String, String>,
    report: &mut Report,
) -> Result<(), Error> {
    let nics = manifest
        .nics(object)
        .iter()
        .map(|name| nic(folder, name))
        .collect::<Result<Vec<_>, _>>()?;
    let pairs: Vec<(Arc<Program>, Arc<Caps>)> = nics
        .iter()
        .map(|nic| Ok((programs(folder, object, nic)?, nic)))
        .collect::<Result<Vec<_>, Error>>()?
        .into_iter()
        .flat_map(|(programs, nic)| programs.into_iter().map(|p| (p, Arc::clone(nic))))
        .collect();
    let assessed: Vec<Assessment> = pairs
        .par_iter()
        .map(|(program, nic)| pipeline::assess(program, nic, &Loaded::default()))
        .collect();
    for assessment in &assessed {
        let (program, nic) = (&assessment.program.name, &assessment.nic.name);
        let file = object.snapshot(program, nic);
        let text = crate::snapshot::of(assessment);
        if now.insert(file.clone(), text).is_some() {
            return Err(Error::input(format!(
                "{}: another object has a snapshot {file} too",
                object.path
            ))
            .help("objects of one manifest need different names"));
        }
    }
    expectations(folder, object, &assessed, report)
}

/// A NIC by name, or by the path of its profile from the manifest's folder.
fn nic(folder: &Path, name: &str) -> Result<Arc<Caps>, Error> {
    let is_path = Path::new(name).extension().is_some_and(|e| e == "toml");
    let path = folder.join(name).display().to_string();
    input::nic(if is_path { &path } else { name }, &WhatIfArgs::default())
}

fn load(folder: &Path, object: &Object, nic: &Caps) -> Result<ProgramSet, Error> {
    let args = LoadArgs {
        globals: object.globals.clone(),
        maps: object.maps.clone(),
        ..LoadArgs::default()
    };
    let queues = nic.model().queues_default;
    input::object(&folder.join(&object.path), &args, queues)
}

/// The programs of an object that are pinned, as loaded for a NIC.
fn programs(folder: &Path, object: &Object, nic: &Caps) -> Result<Vec<Arc<Program>>, Error> {
    let set = load(folder, object, nic)?;
    let all = LoadArgs::default();
    let Some(names) = &object.programs else {
        return Ok(input::programs(&set, &all)?.programs);
    };
    let named = |name: &String| {
        let args = LoadArgs {
            program: Some(name.clone()),
            ..LoadArgs::default()
        };
        Ok(Arc::new(input::one_program(&set, &args)?.clone()))
    };
    names.iter().map(named).collect()
}

/// Holds the expectations of an object's C source against the code of its programs.
fn expectations(
    folder: &Path,
    object: &Object,
    assessed: &[Assessment],
    report: &mut Report,
) -> Result<(), Error> {
    let Some((name, text)) = source(folder, object, assessed)? else {
        return Ok(());
    };
    let mut programs: Vec<&str> = Vec::new();
    for assessment in assessed {
        let program = assessment.program.name.as_str();
        if !programs.contains(&program) {
            programs.push(program);
        }
    }
    let all = expect::parse(&text, &programs);
    report.expectations += all.len();
    let groups: BTreeSet<(Option<&str>, &str)> = all
        .iter()
        .map(|e| (e.program.as_deref(), e.nic.as_str()))
        .collect();
    for (program, nic) in groups {
        let of_group = |e: &&Expectation| e.program.as_deref() == program && e.nic == nic;
        let group = all.iter().filter(of_group);
        let assessment = assessed
            .iter()
            .find(|a| Some(a.program.name.as_str()) == program && a.nic.name == nic);
        let unmet = match assessment.map(|a| (a, code(a))) {
            Some((_, Some(code))) => {
                let code: Vec<&str> = code.iter().map(String::as_str).collect();
                expect::unmet(group, &code)
            }
            Some((a, None)) => group
                .map(|e| {
                    let outcome = a.decision.outcome.name();
                    e.unmet(format!(
                        "{nic} gets no code of {}: {outcome}",
                        a.program.name
                    ))
                })
                .collect(),
            None => {
                let why = match program {
                    None => "no program of the object follows it".to_owned(),
                    Some(_) => format!("{} has no NIC {nic}", manifest::NAME),
                };
                group.map(|e| e.unmet(why.clone())).collect()
            }
        };
        report
            .unmet
            .extend(unmet.into_iter().map(|unmet| (name.clone(), unmet)));
    }
    Ok(())
}

/// The lines of a program's code; `None` if it was not translated.
fn code(assessment: &Assessment) -> Option<Vec<String>> {
    let image = assessment.image.as_ref()?;
    let backend = jit_backends::by_name(&assessment.nic.backend)?;
    let lines = backend.disassemble(image).lines;
    Some(lines.into_iter().map(|line| line.text).collect())
}

/// The C source of an object: its name without folders, and its text. One that the manifest names
/// must be there.
fn source(
    folder: &Path,
    object: &Object,
    assessed: &[Assessment],
) -> Result<Option<(String, String)>, Error> {
    let mut known: Vec<&str> = assessed
        .iter()
        .flat_map(|a| &a.program.source.files)
        .map(String::as_str)
        .filter(|file| Path::new(file).extension().is_some_and(|e| e == "c"))
        .collect();
    known.dedup();
    if object.source.is_some() {
        known = vec![""];
    }
    for path in known.iter().flat_map(|file| object.sources(folder, file)) {
        if object.source.is_some() || path.is_file() {
            let text = input::read_text(&path)?;
            let name = path.file_name().unwrap_or_default();
            return Ok(Some((name.to_string_lossy().into_owned(), text)));
        }
    }
    Ok(None)
}
