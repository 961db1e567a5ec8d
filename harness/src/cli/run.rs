//! `nicbed run`

use bpf::run::Environment;
use pcaps::{CaptureReader, ReadOptions};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::args::{LoadArgs, OnMismatchArg, OrderArg, ReferenceArg, RunArgs};
use super::input;
use super::output::Output;
use super::progress::Progress;
use super::repro;
use crate::decide::Verdict;
use crate::error::{Error, Status};
use crate::outcomes::OutcomeLines;
use crate::outside::Outside;
use crate::races::{MOST_PACKETS, Races};
use crate::replay::order::Order;
use crate::report::html::record::Record;
use crate::report::run::Report;
use crate::report::{html, render_finding};
use crate::repro::Run;
use crate::seeds::Seeds;
use crate::sent::Sent;
use crate::testbed::{FrameIn, OnMismatch, ReferenceChoice, Settings, Testbed};
use crate::trace::Trace;

/// The object and the captures: `--pcap` takes all words behind it, the object too if it is last.
fn inputs(args: &RunArgs) -> Result<(&Path, &[PathBuf]), Error> {
    match (&args.object, args.pcap.split_last()) {
        (Some(object), _) => Ok((object, &args.pcap)),
        (None, Some((object, captures))) if !captures.is_empty() => Ok((object, captures)),
        (None, _) => Err(Error::usage("the OBJECT to run is missing")
            .help("nicbed run OBJECT --nic NIC --pcap FILE…")),
    }
}

pub(super) fn run(args: &RunArgs, output: &mut Output) -> Result<Status, Error> {
    if let Some(folder) = &args.repro {
        return repro::replay(folder, output);
    }
    let json = output.is_json()?;
    let nic = input::nic(
        args.nic.nic.as_deref().unwrap_or_default(),
        &args.nic.what_if,
    )?;
    let (object, captures) = inputs(args)?;
    for path in captures.iter().filter(|p| p.as_os_str() != "-") {
        // A capture that cannot be read is said before anything runs, and even if nothing does.
        CaptureReader::open(path).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    }
    let seeds = args.maps_in.as_deref().map(seeds).transpose()?;
    let updates = updates(&args.maps_at)?;
    let on_host = args.fall_back.as_deref().map(packets).transpose()?;
    let queues = args.queues.unwrap_or(nic.model().queues_default);
    let mut set = input::object(object, &args.load, queues)?;
    if let Some(seeds) = seeds.as_ref().filter(|s| s.has_globals()) {
        // The object's own types say how the values are to be read.
        let load = with_globals(&args.load, seeds, &set);
        set = input::object(object, &load, queues)
            .map_err(|e| Error::input(format!("{}: {e}", seeds.name())))?;
    }
    let program = input::one_program(&set, &args.load)?.name.clone();
    let mut settings = settings(args)?;
    settings.outside = input::backend(args.backend.as_deref(), &nic)?.map(|backend| Outside {
        backend,
        workers: super::workers(),
    });
    let mut testbed = Testbed::new(Arc::clone(&nic), settings.clone())?;
    testbed.load_with(&set, &program, seeds.as_ref())?;

    let mut outcomes = args
        .outcomes
        .as_deref()
        .map(|p| OutcomeLines::create(p, &set))
        .transpose()?;
    let mut sent = args
        .out
        .as_deref()
        .map(|p| Sent::create(p, &nic.name))
        .transpose()?;
    let mut record = args.html.is_some().then(Record::default);
    let (mut trace, mut kept) = (None, Vec::new());
    if testbed.is_running() {
        let mut sink = |packet: &crate::replay::lanes::Processed<'_>| {
            if let Some(outcomes) = &mut outcomes {
                outcomes.write(packet)?;
            }
            if let Some(sent) = &mut sent {
                sent.write(packet)?;
            }
            if let Some(record) = &mut record {
                record.note(packet);
            }
            Ok(())
        };
        let plan = Plan {
            captures,
            updates: &updates,
            trace: args.trace,
            keep: if args.races { MOST_PACKETS } else { 0 },
            on_host: on_host.as_ref(),
        };
        (trace, kept) = replay(&plan, &mut testbed, output, &mut sink)?;
    }
    if let Some(outcomes) = outcomes {
        outcomes.finish()?;
    }
    if let Some(sent) = sent {
        sent.finish()?;
    }
    let name = |id: u32| Some(testbed.assessments().get(id as usize)?.program.name.clone());
    let wanted = args.maps_out.is_some() || args.html.is_some();
    let maps = testbed.nic_maps().filter(|_| wanted);
    let maps = maps.map(|maps| crate::seeds::dump(&set, maps, name));
    if let (Some(path), Some(maps)) = (&args.maps_out, &maps) {
        write_maps(path, maps)?;
    }
    let races = if args.races && testbed.is_running() {
        let frames = kept.iter().map(|(arrival_ns, bytes)| FrameIn {
            arrival_ns: *arrival_ns,
            port: 1,
            bytes,
        });
        Some(testbed.races(seeds.as_ref(), frames)?)
    } else {
        None
    };
    let assessed: Vec<_> = testbed.assessments().to_vec();
    let report = testbed.finish()?;
    if let (Some(path), Some(record)) = (&args.html, &record) {
        let page = html::run::render(&report, record, maps.as_ref());
        output.file(path, page.as_bytes())?;
    }
    let kept = if report.disagrees() {
        let run = Run {
            nic: &nic,
            settings: &settings,
            set: &set,
            entry: &program,
            seeds: seeds.as_ref(),
        };
        repro::keep_run(args, (object, captures), &run, &report, output)
    } else {
        None
    };
    if json {
        let mut document = report.to_json();
        if let Some(folder) = &kept {
            document["repro"] = folder.display().to_string().into();
        }
        if args.trace.is_some() {
            document["trace"] = trace.as_ref().map_or(Value::Null, Trace::to_json);
        }
        if args.races {
            document["races"] = races.as_ref().map_or(Value::Null, Races::to_json);
        }
        output.json(&document)?;
    } else {
        output.print(&report.to_text(output.style))?;
        for finding in &report.decision.findings {
            let program = assessed
                .iter()
                .find(|a| a.decision.findings.contains(finding))
                .or(assessed.first())
                .map(|a| a.program.as_ref());
            output.print(&render_finding(finding, &set.object, program, output.style))?;
        }
        if let Some(races) = &races {
            output.print(&races.to_text(output.style))?;
            for finding in &races.findings {
                let program = assessed.first().map(|a| a.program.as_ref());
                output.print(&render_finding(finding, &set.object, program, output.style))?;
            }
        }
        if let Some(trace) = &trace {
            output.print(&trace.to_text(output.style))?;
        }
        if let Some(folder) = &kept {
            output.print(&repro::kept_text(folder))?;
        }
    }
    Ok(status(&report))
}

/// The exit status of a run.
pub(super) fn status(report: &Report) -> Status {
    if report.disagrees() {
        Status::Disagree
    } else if report.decision.outcome == Verdict::Offload {
        Status::Ok
    } else if report
        .decision
        .findings
        .iter()
        .any(|f| f.rule == "load/no-engine")
    {
        Status::Environment
    } else {
        Status::Negative
    }
}

fn settings(args: &RunArgs) -> Result<Settings, Error> {
    let fib = match &args.fib {
        None => None,
        Some(path) => Some(input::fib(path)?),
    };
    let mut environment = Environment {
        seed: args.seed,
        ..Environment::default()
    };
    environment.fib = fib;
    environment.linear = args.linear;
    if args.linear.is_some() && matches!(args.reference, ReferenceArg::Kernel) {
        return Err(
            Error::usage("--linear: a test run of the kernel has linear packets only")
                .help("choose another --reference"),
        );
    }
    Ok(Settings {
        queues: args.queues,
        order: args.order.map(|o| match o {
            OrderArg::PerQueue => Order::PerQueue,
            OrderArg::Arrival => Order::Arrival,
        }),
        threads: args.threads,
        reference: match args.reference {
            ReferenceArg::Auto => ReferenceChoice::Auto,
            ReferenceArg::Interp => ReferenceChoice::Interp,
            ReferenceArg::Rbpf => ReferenceChoice::Rbpf,
            ReferenceArg::Kernel => ReferenceChoice::Kernel,
            ReferenceArg::None => ReferenceChoice::None,
        },
        environment,
        outside: None,
        on_mismatch: match args.on_mismatch {
            OnMismatchArg::Report => OnMismatch::Report,
            OnMismatchArg::FallBack => OnMismatch::FallBack,
        },
        min_mpps: args.min_mpps,
    })
}

/// Globals of a seeds file come before those of `--global`, which win.
pub(super) fn with_globals(args: &LoadArgs, seeds: &Seeds, set: &bpf::ProgramSet) -> LoadArgs {
    let mut args = args.clone();
    let known = set.programs.first().map_or(&[][..], |p| &p.globals);
    let mut globals: Vec<String> = seeds
        .globals(known)
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    globals.append(&mut args.globals);
    args.globals = globals;
    args
}

fn seeds(path: &Path) -> Result<Seeds, Error> {
    Seeds::parse(&path.display().to_string(), &input::read_text(path)?)
}

/// `--maps-at PACKET=FILE`, by ascending packet.
fn updates(options: &[String]) -> Result<Vec<(u64, Seeds)>, Error> {
    let mut updates = Vec::new();
    for option in options {
        let (packet, file) = input::assignment("--maps-at", option)?;
        let packet = packet.parse().map_err(|_e: std::num::ParseIntError| {
            Error::usage(format!(
                "--maps-at {option}: {packet} is not a packet number"
            ))
        })?;
        updates.push((packet, seeds(Path::new(file))?));
    }
    updates.sort_by_key(|(packet, _)| *packet);
    Ok(updates)
}

/// What is replayed, and what happens on the way.
struct Plan<'a> {
    captures: &'a [PathBuf],
    /// Changes of maps, by ascending packet.
    updates: &'a [(u64, Seeds)],
    /// The packet to trace.
    trace: Option<u64>,
    /// How many frames are kept, from the first on.
    keep: usize,
    /// Packets that the host runs.
    on_host: Option<&'a Range<u64>>,
}

/// `FROM[..TO]`
fn packets(text: &str) -> Result<Range<u64>, Error> {
    let (from, to) = text.split_once("..").unwrap_or((text, ""));
    let wrong = |_e: std::num::ParseIntError| {
        Error::usage(format!("--fall-back {text}: packets are FROM or FROM..TO"))
    };
    let from = from.parse().map_err(wrong)?;
    let to = match to {
        "" => u64::MAX,
        to => to.parse().map_err(wrong)?,
    };
    Ok(from..to)
}

/// A frame that is kept, with its arrival time.
type Kept = (u64, Vec<u8>);

/// Feeds all captures.
fn replay(
    plan: &Plan<'_>,
    testbed: &mut Testbed,
    output: &Output,
    sink: &mut crate::testbed::Sink<'_>,
) -> Result<(Option<Trace>, Vec<Kept>), Error> {
    let mut kept = Vec::new();
    let captures = plan.captures;
    let bar = progress(captures, output);
    let mut updates = plan.updates.iter().peekable();
    let mut trace = None;
    let mut options = ReadOptions::default();
    let mut number = 0;
    for path in captures {
        let name = path.display();
        let fail = |e: pcaps::ReadError| Error::input(format!("{name}: {e}"));
        let mut reader = CaptureReader::open_with(path, options).map_err(fail)?;
        while let Some(chunk) = reader.chunk().map_err(fail)? {
            let mut consumed = 0;
            for record in chunk {
                if record.meta.link != pcaps::LinkType::ETHERNET {
                    return Err(Error::input(format!(
                        "{name}: packet {} at byte {} is of {}, not Ethernet",
                        record.meta.number, record.meta.offset, record.meta.link
                    ))
                    .help("NICs process Ethernet frames; convert the capture first"));
                }
                while updates.peek().is_some_and(|(packet, _)| *packet <= number) {
                    testbed.flush(sink)?;
                    if let Some((_, seeds)) = updates.next() {
                        testbed.apply(seeds)?;
                    }
                }
                consumed += record.data.len() as u64 + 16;
                let frame = FrameIn {
                    arrival_ns: record.meta.arrival_ns,
                    port: 1,
                    bytes: record.data,
                };
                if kept.len() < plan.keep {
                    kept.push((frame.arrival_ns, frame.bytes.to_vec()));
                }
                if let Some(range) = plan.on_host {
                    if number == range.start && !range.is_empty() {
                        testbed.fall_back(sink)?;
                    }
                    if number == range.end {
                        testbed.offload_again(sink)?;
                    }
                }
                let traced = plan.trace == Some(number);
                number += 1;
                if traced {
                    trace = testbed.trace(frame, sink)?;
                } else if testbed.push(frame) {
                    testbed.flush(sink)?;
                    bar.done(std::mem::take(&mut consumed));
                }
            }
            bar.done(consumed);
        }
        for warning in reader.warnings() {
            output.warn(&format!("{name}: {warning}"));
        }
        options = reader.continued(options);
    }
    testbed.flush(sink)?;
    for (packet, _) in updates {
        output.warn(&format!(
            "--maps-at {packet}: the captures have only {number} packets"
        ));
    }
    if let (Some(packet), None) = (plan.trace, &trace) {
        output.warn(&if packet < number {
            format!("--trace {packet}: the program never saw this packet")
        } else {
            format!("--trace {packet}: the captures have only {number} packets")
        });
    }
    bar.finish();
    Ok((trace, kept))
}

/// A bar over the bytes of all captures that are files.
fn progress(paths: &[PathBuf], output: &Output) -> Progress {
    let metadata = paths.iter().filter_map(|p| std::fs::metadata(p).ok());
    Progress::of_bytes(output, metadata.map(|m| m.len()).sum())
}

fn write_maps(path: &Path, document: &bpf::map::json::MapsJson) -> Result<(), Error> {
    let fail =
        |e: &dyn std::fmt::Display| Error::input(format!("{}: cannot write: {e}", path.display()));
    let mut out = BufWriter::new(File::create(path).map_err(|e| fail(&e))?);
    serde_json::to_writer_pretty(&mut out, document).map_err(|e| fail(&e))?;
    out.write_all(b"\n")
        .and_then(|()| out.flush())
        .map_err(|e| fail(&e))
}
