//! `nicbed fuzz`

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::FuzzArgs;
use super::conformance::side;
use super::output::Output;
use super::progress::Progress;
use super::repro;
use crate::clock::Stopwatch;
use crate::error::{Error, Status};
use crate::fuzz::{self, Found, Report, Settings};
use crate::report::Style;
use crate::report::json::Document;
use crate::repro::Repro;
use crate::side::Side;

/// Names of missing edges that the text shows; JSON has all.
const SHOWN: usize = 6;

pub(super) fn run(args: &FuzzArgs, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    let side = side(&args.backend, args.nic.as_deref())?;
    let settings = Settings {
        seed: args.seed,
        first: args.first,
        cases: args.cases,
        packets: args.packets,
        kernel: args.kernel,
        card: fuzz::card(&side),
        threads: args.threads,
    };
    let watch = Stopwatch::start();
    let bar = Progress::of(output, settings.cases, "programs");
    let report = fuzz::run_telling(&side, &settings, &|cases| bar.done(cases))?;
    bar.finish();
    let seconds = watch.elapsed().as_secs_f64();
    let rate = report.cases as f64 * 60.0 / seconds.max(1e-9);
    let kept = report.found.as_ref().and_then(|found| {
        let name = format!("fuzz-{}-{}-{}", side.name(), settings.seed, found.case);
        let how = format!("fuzz, seed {}, case {}", settings.seed, found.case);
        let repro = Repro::new(how, &side, found.reference, found.trial.clone());
        repro::keep(&args.repros.repro_out, &name, repro, &side, output)
    });
    if json {
        let mut body = to_json(&report, &settings, &side, rate);
        if let Some(folder) = &kept {
            body["difference"]["repro"] = folder.display().to_string().into();
        }
        output.json(&Document::new("fuzz", body))?;
    } else {
        output.print(&text(&report, &settings, &side, output.style))?;
        if let Some(folder) = &kept {
            output.print(&repro::kept_text(folder))?;
        }
        output.talk(&format!("{rate:.0} programs a minute"));
    }
    Ok(match report.found {
        Some(_) => Status::Disagree,
        None => Status::Ok,
    })
}

fn text(report: &Report, settings: &Settings, side: &Side<'_>, style: Style) -> String {
    let mut t = String::new();
    let ran = report.cases - report.refused - report.not_taken.0;
    let _ = writeln!(
        t,
        "{}: seed {}, {} cases from {}: {ran} ran on {} packets, {} refused",
        style.head(&format!("fuzz {}", side.name())),
        settings.seed,
        report.cases,
        settings.first,
        report.packets,
        report.refused,
    );
    if let (count, Some(why)) = &report.not_taken {
        let _ = writeln!(t, "  not taken: {count}, the first since {why}");
    }
    let references: Vec<String> = report
        .references
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let _ = writeln!(t, "  compared with: {}", references.join(", "));
    let (seen, missing) = report.coverage.instructions();
    let _ = writeln!(
        t,
        "  instructions: {seen} of {}{}",
        seen + missing.len(),
        shortened(&missing)
    );
    let (seen, missing) = report.coverage.edges();
    let missing: Vec<&str> = missing.iter().map(String::as_str).collect();
    let _ = writeln!(
        t,
        "  operand edges: {seen} of {}{}",
        seen + missing.len(),
        shortened(&missing)
    );
    let helpers: Vec<String> = report
        .coverage
        .helpers()
        .map(|(name, count)| format!("{} {count}", name.trim_start_matches("bpf_")))
        .collect();
    let _ = writeln!(t, "  helpers: {}", helpers.join(", "));
    match &report.found {
        None => {
            let _ = writeln!(t, "{}", style.good("no difference"));
        }
        Some(found) => found_text(&mut t, found, side, style),
    }
    t
}

fn shortened(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        names if names.len() <= SHOWN => format!(", missing {}", names.join(", ")),
        names => format!(
            ", missing {} and {} more",
            names[..SHOWN].join(", "),
            names.len() - SHOWN
        ),
    }
}

fn found_text(t: &mut String, found: &Found, side: &Side<'_>, style: Style) {
    let with = match found.between {
        None => format!("{} and {}", side.name(), found.reference),
        Some(other) => format!(
            "{}, and with it {other}, and {}",
            side.name(),
            found.reference
        ),
    };
    let _ = writeln!(
        t,
        "{} case {}: {with} differ in {}",
        style.bad("difference:"),
        found.case,
        found.mismatch.field(),
    );
    found.mismatch.write_text(t, style);
}

fn to_json(report: &Report, settings: &Settings, side: &Side<'_>, rate: f64) -> Value {
    json!({
        "backend": side.name(),
        "nic": match side {
            Side::Nic(device) => Some(device.caps().name.as_str()),
            _ => None,
        },
        "seed": settings.seed,
        "first": settings.first,
        "cases": report.cases,
        "refused": report.refused,
        "not_taken": report.not_taken.0,
        "not_taken_why": report.not_taken.1,
        "packets": report.packets,
        "references": report.references.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
        "coverage": report.coverage.to_json(),
        "difference": report.found.as_ref().map(|found| json!({
            "case": found.case,
            "reference": found.reference,
            "agrees_with": found.between,
            "mismatch": found.mismatch.to_json(),
        })),
        "throughput": { "programs_per_minute": rate },
    })
}
