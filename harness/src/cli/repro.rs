//! Repros on the command line: kept on a mismatch, replayed by `run --repro`.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use pcaps::{CaptureReader, LinkType, PcapWriter};
use serde_json::json;

use super::args::{Cli, Command, ReferenceArg, RunArgs, WhatIfArgs};
use super::output::Output;
use super::{input, run};
use crate::error::{Error, Status};
use crate::report::json::Document;
use crate::report::run::Report;
use crate::repro::{self, Files, Packet, Read, Replayed, Repro, Run};
use crate::side::Side;

/// Packets before the one that differs that a run's repro is looked for among.
const MOST_BEFORE: u64 = 4096;

/// Where a repro lies, for people.
pub(super) fn kept_text(folder: &Path) -> String {
    format!("repro: {0} (nicbed run --repro {0})\n", folder.display())
}

/// Keeps a mismatch, shrunk; what stands in the way of that is a warning, since the mismatch is
/// what matters.
pub(super) fn keep(
    parent: &Path,
    name: &str,
    repro: Repro,
    side: &Side<'_>,
    output: &Output,
) -> Option<PathBuf> {
    let repro = repro.shrunk(side);
    let written = match repro.replay(side) {
        Ok(seen) => repro::write(parent, name, &repro, &seen),
        Err(why) => Err(Error::input(format!("no repro: {why}"))),
    };
    written
        .map_err(|error| output.warn(&error.to_string()))
        .ok()
}

/// Replays a folder.
pub(super) fn replay(folder: &Path, output: &mut Output) -> Result<Status, Error> {
    let repro = match repro::read(folder)? {
        Read::Trial(repro) => repro,
        Read::Run(arguments) => {
            let words = ["nicbed".to_owned(), "run".to_owned()];
            let parsed = Cli::try_parse_from(words.into_iter().chain(arguments));
            let malformed = |e: &dyn std::fmt::Display| {
                Error::input(format!("{}: its arguments: {e}", folder.display()))
            };
            return match parsed.map_err(|e| malformed(&e))?.command {
                Some(Command::Run(args)) if args.repro.is_none() => run::run(&args, output),
                _ => Err(malformed(&"not those of a run")),
            };
        }
    };
    let nic = match &repro.nic {
        Some(name) => Some(input::nic(name, &WhatIfArgs::default())?),
        None => None,
    };
    let side = Side::by_name(&repro.backend, nic, Some(super::workers()))?;
    let seen = repro
        .replay(&side)
        .map_err(|why| Error::input(format!("{}: {why}", folder.display())))?;
    if output.is_json()? {
        let mut body = seen.to_json();
        body["found"] = json!(repro.found);
        body["backend"] = json!(repro.backend);
        body["reference"] = json!(repro.reference);
        output.json(&Document::new("repro", body))?;
    } else {
        output.print(&repro::told(&repro, &seen, output.style))?;
    }
    Ok(match seen {
        Replayed::Equal => Status::Ok,
        Replayed::Differs { .. } | Replayed::Result { .. } => Status::Disagree,
    })
}

/// Keeps a run's mismatch: the files it was given, and the fewest packets.
pub(super) fn keep_run(
    args: &RunArgs,
    inputs: (&Path, &[PathBuf]),
    run: &Run<'_>,
    report: &Report,
    output: &Output,
) -> Option<PathBuf> {
    let kept = kept_run(args, inputs, run, report);
    kept.map_err(|error| output.warn(&format!("no repro: {error}")))
        .ok()
}

fn kept_run(
    args: &RunArgs,
    (object, captures): (&Path, &[PathBuf]),
    run: &Run<'_>,
    report: &Report,
) -> Result<PathBuf, Error> {
    if !args.maps_at.is_empty() {
        return Err(Error::usage("updates of maps during the run are not kept"));
    }
    let until = report.first.as_ref().map(|first| first.packet);
    let packets = packets(captures, until.unwrap_or(report.packets))?;
    let packets = run.fewest(packets).ok_or_else(|| {
        Error::usage(format!(
            "the difference does not show on the {MOST_BEFORE} packets before it alone"
        ))
    })?;
    let last = packets.len().saturating_sub(1);
    let (report, trace) = run.repeat(&packets, Some(last))?;
    let mut files = Files::new();
    files.push(("packets.pcap".to_owned(), capture(&packets)?));
    let arguments = arguments(args, object, run.entry, &mut files)?;
    let name = format!("run-{}-{}", run.nic.name, report.program);
    repro::write_run(
        &args.repros.repro_out,
        &name,
        (arguments, &files),
        &report,
        trace.as_ref(),
    )
}

/// The packets up to number `until`, as many as are looked among.
fn packets(captures: &[PathBuf], until: u64) -> Result<Vec<Packet>, Error> {
    let mut packets = Vec::new();
    let mut number = 0;
    for path in captures {
        let fail = |e: pcaps::ReadError| Error::input(format!("{}: {e}", path.display()));
        if path.as_os_str() == "-" {
            return Err(Error::usage("what came on stdin cannot be read again"));
        }
        let mut reader = CaptureReader::open(path).map_err(fail)?;
        while let Some(record) = reader.next().map_err(fail)? {
            if number + MOST_BEFORE > until && number <= until {
                packets.push((record.meta.arrival_ns, record.data.to_vec()));
            }
            number += 1;
        }
    }
    Ok(packets)
}

fn capture(packets: &[Packet]) -> Result<Vec<u8>, Error> {
    let fail = |e: pcaps::WriteError| Error::input(format!("packets.pcap: {e}"));
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, 262_144).map_err(fail)?;
    for (arrival_ns, bytes) in packets {
        let length = bytes.len() as u32;
        writer.write(*arrival_ns, length, bytes).map_err(fail)?;
    }
    writer.finish().map_err(fail)
}

/// The arguments that repeat a run, with the files that they name taken along.
fn arguments(
    args: &RunArgs,
    object: &Path,
    entry: &str,
    files: &mut Files,
) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut take = |words: &mut Vec<String>, path: &Path, stem: &str| -> Result<(), Error> {
        let extension = path.extension().map(|e| e.to_string_lossy());
        let extension = extension.map_or(String::new(), |e| format!(".{e}"));
        let name = format!("{stem}{extension}");
        words.push(format!("@{name}"));
        let bytes =
            std::fs::read(path).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        files.push((name, bytes));
        Ok(())
    };
    take(&mut words, object, "program")?;
    words.extend(["--program".to_owned(), entry.to_owned()]);
    if let Some(hook) = args.load.hook {
        words.extend(["--hook".to_owned(), named(&hook)]);
    }
    for (option, values) in [
        ("--global", &args.load.globals),
        ("--map", &args.load.maps),
        ("--set", &args.nic.what_if.set),
    ] {
        for value in values {
            words.extend([option.to_owned(), value.clone()]);
        }
    }
    match args.load.btf.as_deref() {
        Some("kernel") => words.extend(["--btf".to_owned(), "kernel".to_owned()]),
        Some(file) => {
            words.push("--btf".to_owned());
            take(&mut words, Path::new(file), "types")?;
        }
        None => {}
    }
    let nic = args.nic.nic.clone().unwrap_or_default();
    words.push("--nic".to_owned());
    if Path::new(&nic).is_file() {
        take(&mut words, Path::new(&nic), "nic")?;
    } else {
        words.push(nic);
    }
    for (option, path, stem) in [
        ("--record", &args.nic.what_if.record, "record"),
        ("--maps", &args.maps_in, "maps"),
        ("--fib", &args.fib, "fib"),
    ] {
        if let Some(path) = path {
            words.push(option.to_owned());
            take(&mut words, path, stem)?;
        }
    }
    if args.reference != ReferenceArg::Auto {
        words.extend(["--reference".to_owned(), named(&args.reference)]);
    }
    if let Some(order) = args.order {
        words.extend(["--order".to_owned(), named(&order)]);
    }
    if let Some(queues) = args.queues {
        words.extend(["--queues".to_owned(), queues.to_string()]);
    }
    words.extend(["--seed".to_owned(), args.seed.to_string()]);
    words.extend(["--pcap".to_owned(), "@packets.pcap".to_owned()]);
    Ok(words)
}

/// A value as the command line calls it.
fn named(value: &impl clap::ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or(String::new(), |value| value.get_name().to_owned())
}
