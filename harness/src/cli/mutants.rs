//! `nicbed mutants`

use std::fmt::Write as _;

use super::args::{MutantsArgs, WhatIfArgs};
use super::output::Output;
use super::progress::Progress;
use super::{input, workers};
use crate::error::{Error, Status};
use crate::mutants::{self, Budget, Counts, Summary};
use crate::report::json::Document;
use crate::report::{Style, Table};
use crate::side::Side;

/// The share of mutants that change behaviour which a suite has to catch.
const ENOUGH: f64 = 0.99;

pub(super) fn run(args: &MutantsArgs, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    let nic = args
        .nic
        .as_deref()
        .map(|nic| input::nic(nic, &WhatIfArgs::default()))
        .transpose()?;
    let Side::Nic(device) = Side::by_name(&args.backend, nic, None)? else {
        return Err(Error::usage(format!("{} is no backend", args.backend)));
    };
    let budget = Budget {
        seed: args.seed,
        programs: args.programs,
        mutants: args.mutants,
        packets: args.packets.clamp(1, 4096),
    };
    let bar = Progress::of(output, budget.programs, "programs");
    let done = |programs| bar.done(programs);
    let (backend, caps) = (device.backend(), device.caps());
    let summary = mutants::run_telling(backend, caps, &workers(), budget, &done)?;
    bar.finish();
    let trusted = summary.false_alarms.is_empty();
    let enough = summary.share().is_none_or(|share| share >= ENOUGH);
    if json {
        output.json(&Document::new("mutants", &summary))?;
    } else {
        output.print(&text(&summary, output.style))?;
    }
    Ok(match (trusted, enough) {
        (false, _) => Status::Disagree,
        (true, true) => Status::Ok,
        (true, false) => Status::Negative,
    })
}

fn text(summary: &Summary, style: Style) -> String {
    let mut table = Table::new(&["kind", "mutants", "change behaviour", "caught"]);
    let mut row = |name: &str, counts: &Counts| {
        table.row([
            name.to_owned(),
            counts.mutants.to_string(),
            counts.changed.to_string(),
            counts.caught.to_string(),
        ]);
    };
    for (kind, counts) in &summary.kinds {
        row(kind.name(), counts);
    }
    row("all", &summary.all);
    (1..4).for_each(|column| table.right(column));
    let mut text = format!("{table}\n");
    for alarm in &summary.false_alarms {
        let _ = writeln!(
            text,
            "{} of program {}: its unbroken image differs at packet {}, so its mutants do not count",
            style.bad("false alarm"),
            alarm.program,
            alarm.shown_by,
        );
    }
    for survivor in &summary.survivors {
        let pc = survivor
            .pc
            .map_or_else(|| "glue".to_owned(), |pc| format!("insn {pc}"));
        let _ = writeln!(
            text,
            "{} {} of program {}: image+{:#x} ({pc}), {}: {} instead of {}; the judge's packet {}",
            style.bad("survivor"),
            survivor.kind,
            survivor.program,
            survivor.offset,
            survivor.text,
            survivor.wrong,
            survivor.right,
            survivor.shown_by,
        );
    }
    let share = summary.share().map_or_else(
        || "no mutant changes behaviour".to_owned(),
        |share| {
            format!(
                "{} of {} mutants that change behaviour are caught ({:.2} %)",
                summary.all.caught,
                summary.all.changed,
                share * 100.0
            )
        },
    );
    let _ = writeln!(
        text,
        "{} on {}: {} mutants of {} programs, {} packets each; {share}",
        summary.backend, summary.nic, summary.all.mutants, summary.programs, summary.packets
    );
    text
}
