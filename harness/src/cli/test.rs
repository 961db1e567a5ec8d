//! `nicbed test`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::ProgramSet;
use caps::Caps;
use pcaps::CaptureReader;
use rayon::prelude::*;

use super::args::{Format, LoadArgs, TestArgs, WhatIfArgs};
use super::input;
use super::output::Output;
use super::run::with_globals;
use crate::error::{Error, Status};
use crate::seeds::Seeds;
use crate::testfile::SUFFIX;
use crate::testfile::format::{File, Packet};
use crate::testfile::report::{self, Result as Ran};
use crate::testfile::run::{Case, Ended, Frame, run as run_case};

/// Most frames that one packet of a test takes of a capture.
const MOST_FRAMES: usize = 10_000;

pub(super) fn run(args: &TestArgs, output: &Output) -> Result<Status, Error> {
    if !matches!(output.format, Format::Text | Format::Json | Format::Junit) {
        output.is_json()?;
    }
    let files = files(&args.paths)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()
        .map_err(|e| Error::environment(format!("threads cannot be started: {e}")))?;
    // By file and then by test and NIC, whoever is done first.
    let results: Vec<Ran> = pool.install(|| {
        files
            .par_iter()
            .flat_map_iter(|path| file(path, &args.filter))
            .collect()
    });
    if results.is_empty() {
        return Err(Error::usage("no test is left by --filter")
            .help("it is a part of `file: test [nic]`; without it all run"));
    }
    let text = match output.format {
        Format::Json => {
            return output
                .json(&report::json(&results))
                .map(|()| status(&results));
        }
        Format::Junit => report::junit(&results)?,
        _ => report::text(&results, output.style),
    };
    output.print(&text)?;
    Ok(status(&results))
}

fn status(results: &[Ran]) -> Status {
    results
        .iter()
        .fold(Status::Ok, |worst, result| worst.worst(result.status()))
}

/// The test files that paths mean: a file as it is, of a folder all below, by name.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        collect(path, true, &mut files)?;
        if files.len() == before {
            return Err(Error::usage(format!(
                "{}: no file below it ends in {SUFFIX}",
                path.display()
            )));
        }
    }
    Ok(files)
}

fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let fail = |e: std::io::Error| Error::input(format!("{}: cannot read: {e}", path.display()));
    // Links to folders are followed only where they are named: below they may lead in circles.
    let kind = if named {
        std::fs::metadata(path)
    } else {
        std::fs::symlink_metadata(path)
    };
    let kind = kind.map_err(fail)?;
    if kind.is_dir() {
        let mut entries = std::fs::read_dir(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(fail)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            collect(&entry.path(), false, files)?;
        }
    } else if named || path.to_string_lossy().ends_with(SUFFIX) {
        files.push(path.to_owned());
    }
    Ok(())
}

/// The results of a file; an error that concerns all of it is one result.
fn file(path: &Path, filter: &[String]) -> Vec<Ran> {
    let name = path.display().to_string();
    let unread = |error: &Error| {
        vec![Ran {
            file: name.clone(),
            test: String::new(),
            nic: String::new(),
            ended: Ended::Error(error.status, error.to_string()),
        }]
    };
    let file = match input::read_text(path).and_then(|text| File::parse(&name, &text)) {
        Ok(file) => file,
        Err(error) => return unread(&error),
    };
    let wanted = |test: &str, nic: &str| {
        let name = report::name(&name, test, nic);
        filter.is_empty() || filter.iter().any(|part| name.contains(part))
    };
    let mut results = Vec::new();
    for nic in &file.nics {
        if !file.tests.iter().any(|test| wanted(&test.name, nic)) {
            continue;
        }
        match Loaded::new(path, &name, &file, nic) {
            Ok(loaded) => {
                let tests = file.tests.iter().filter(|test| wanted(&test.name, nic));
                results.extend(tests.map(|test| Ran {
                    file: name.clone(),
                    test: test.name.clone(),
                    nic: nic.clone(),
                    ended: loaded.run(path, &name, &file, test, nic),
                }));
            }
            Err(error) => results.extend(unread(&error)),
        }
    }
    results
}

/// A file's object, loaded for a NIC.
struct Loaded {
    nic: Arc<Caps>,
    set: ProgramSet,
    program: String,
    seeds: Seeds,
}

impl Loaded {
    fn new(path: &Path, name: &str, file: &File, nic: &str) -> Result<Loaded, Error> {
        let at = |e: Error| match e.help_text() {
            Some(help) => Error::input(format!("{name}: {e} ({help})")),
            None => Error::input(format!("{name}: {e}")),
        };
        let profile = if Path::new(nic).extension().is_some_and(|e| e == "toml") {
            beside(path, nic).display().to_string()
        } else {
            nic.to_owned()
        };
        let seeds = match &file.maps_file {
            Some(maps) => {
                let maps = beside(path, maps);
                Seeds::parse(&maps.display().to_string(), &input::read_text(&maps)?)?
            }
            None => file.seeds(name)?,
        };
        let entries = file.map_entries.iter();
        let mut load = LoadArgs {
            program: file.program.clone(),
            maps: entries
                .map(|(map, n)| format!("{map}.max_entries={n}"))
                .collect(),
            ..LoadArgs::default()
        };
        let object = beside(path, &file.object);
        let mut set = input::object(&object, &load, file.queues).map_err(at)?;
        if seeds.has_globals() {
            load = with_globals(&load, &seeds, &set);
            set = input::object(&object, &load, file.queues).map_err(at)?;
        }
        Ok(Loaded {
            nic: input::nic(&profile, &WhatIfArgs::default()).map_err(at)?,
            program: input::one_program(&set, &load).map_err(at)?.name.clone(),
            set,
            seeds,
        })
    }

    fn run(
        &self,
        path: &Path,
        name: &str,
        file: &File,
        test: &crate::testfile::format::Test,
        nic: &str,
    ) -> Ended {
        let captured = test.packets.iter().map(|packet| captured(path, packet));
        let captured = match captured.collect::<Result<Vec<_>, _>>() {
            Ok(captured) => captured,
            Err(error) => return Ended::Error(error.status, format!("{name}: {error}")),
        };
        run_case(&Case {
            file_name: name,
            file,
            test,
            nic_name: nic,
            nic: Arc::clone(&self.nic),
            set: &self.set,
            program: &self.program,
            seeds: &self.seeds,
            captured,
        })
    }
}

/// A path that a test file names, which lies beside it.
fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}

/// The frames that a packet takes of its capture.
fn captured(file: &Path, packet: &Packet) -> Result<Vec<Frame>, Error> {
    let Some(name) = &packet.pcap else {
        return Ok(Vec::new());
    };
    let path = beside(file, name);
    let fail = |e: pcaps::ReadError| Error::input(format!("{}: {e}", path.display()));
    let mut reader = CaptureReader::open(&path).map_err(fail)?;
    let mut frames = Vec::new();
    let mut number = 0;
    while let Some(chunk) = reader.chunk().map_err(fail)? {
        for record in chunk {
            let wanted = packet.frames.as_ref().is_none_or(|f| f.contains(&number));
            number += 1;
            if !wanted {
                continue;
            }
            if frames.len() == MOST_FRAMES || record.meta.link != pcaps::LinkType::ETHERNET {
                let why = if frames.len() == MOST_FRAMES {
                    format!("more than {MOST_FRAMES} frames; name some with `frames`")
                } else {
                    format!(
                        "frame {} is of {}, not Ethernet",
                        number - 1,
                        record.meta.link
                    )
                };
                return Err(Error::input(format!("{}: {why}", path.display())));
            }
            frames.push(Frame {
                arrival_ns: Some(record.meta.arrival_ns),
                bytes: record.data.to_vec(),
            });
        }
    }
    if let Some(missing) = packet.frames.iter().flatten().find(|f| **f >= number) {
        return Err(Error::input(format!(
            "{}: there is no frame {missing}; it has {number}, counted from 0",
            path.display()
        )));
    }
    Ok(frames)
}
