//! `nicbed check`

use std::path::Path;
use std::sync::Arc;

use caps::Caps;

use super::args::{CheckArgs, FailOn, Format};
use super::input;
use super::output::Output;
use super::progress::Progress;
use crate::decide::Verdict;
use crate::error::{Error, Status};
use crate::matrix::baseline::{self, Change};
use crate::matrix::cells::{self, Input};
use crate::matrix::minimal::{self, Needed};
use crate::matrix::select::Selection;
use crate::matrix::{Cell, Matrix, Row, csv, github, html, junit, markdown, sarif, table};
use crate::report::json::{CheckResult, CheckResults, Document};
use crate::report::{Style, render_finding, render_findings};

pub(super) fn run(args: &CheckArgs, output: &mut Output) -> Result<Status, Error> {
    if let Format::Toml | Format::Tlv = output.format {
        output.is_json()?;
    }
    let selection = Selection::parse(&args.columns, &args.sort, &args.filter)?;
    let earlier = match &args.against {
        Some(path) => Some((path, input::read_text(path)?)),
        None => None,
    };
    let nics = input::nics(&args.nics.nic, &args.nics.what_if)?;
    let mut status = Status::Ok;
    let mut inputs = Vec::new();
    for path in &args.objects {
        if let Err(error) = object(path, args, &nics, &mut inputs) {
            status = status.worst(error.status);
            if output.format == Format::Text {
                output.error(&error);
            }
            inputs.push(Input::Unreadable {
                object: path.display().to_string(),
                error: error.to_string(),
            });
        }
    }
    let bar = Progress::of(output, inputs.len() as u64, "programs");
    let whole = Matrix {
        nics: nics.iter().map(|nic| nic.name.clone()).collect(),
        rows: cells::rows(&inputs, &nics, &|programs| bar.done(programs)),
    };
    bar.finish();
    if let Some(path) = &args.save {
        let document = document(&whole, None, false);
        let text = document
            .to_text()
            .map_err(|e| Error::input(format!("the result cannot be written as JSON: {e}")))?;
        output.file(path, text.as_bytes())?;
    }
    let changes = match earlier {
        Some((path, text)) => Some(
            baseline::changes(&whole, &text)
                .map_err(|e| Error::input(format!("{}: {e}", path.display())))?,
        ),
        None => None,
    };
    let matrix = selection.apply(whole);
    if let Some(path) = &args.html {
        output.file(path, html::render(&matrix).as_bytes())?;
    }
    status = status.worst(negative(args, &matrix, changes.as_deref()));
    match output.format {
        Format::Json => output.json(&document(&matrix, changes, args.minimal_nic))?,
        Format::Csv => output.print(&csv::render(&matrix, &selection.columns)?)?,
        Format::Markdown => output.print(&markdown::render(&matrix, &selection.columns))?,
        Format::Sarif => output.json(&sarif::render(&matrix))?,
        Format::Junit => output.print(&junit::render(&matrix)?)?,
        Format::Github => output.print(&github::render(&matrix))?,
        Format::Text | Format::Toml | Format::Tlv => {
            text(&matrix, &selection, changes.as_deref(), args, output)?;
        }
    }
    Ok(status)
}

/// What the verdicts, or with `--against` the changes, mean for the exit status.
fn negative(args: &CheckArgs, matrix: &Matrix, changes: Option<&[Change]>) -> Status {
    let worse = changes.is_some_and(|changes| changes.iter().any(Change::is_regression));
    let fail_on = match (args.fail_on, changes) {
        (Some(fail_on), _) => fail_on,
        (None, Some(_)) => FailOn::Never,
        (None, None) => FailOn::Fallback,
    };
    let fails = |cell: &Cell| match fail_on {
        FailOn::Fallback => cell.verdict != Verdict::Offload,
        FailOn::Rejected => cell.verdict == Verdict::Rejected,
        FailOn::Never => false,
    };
    if worse || matrix.rows.iter().flat_map(|row| &row.cells).any(fails) {
        Status::Negative
    } else {
        Status::Ok
    }
}

/// Adds the programs of an object, those that the loader refuses first.
fn object(
    path: &Path,
    args: &CheckArgs,
    nics: &[Arc<Caps>],
    inputs: &mut Vec<Input>,
) -> Result<(), Error> {
    let queues = nics.first().map_or(1, |n| n.model().queues_default);
    let set = input::object(path, &args.load, queues)?;
    let chosen = input::programs(&set, &args.load)?;
    for refused in chosen.refused {
        inputs.push(Input::Refused {
            object: set.object.clone(),
            refused: Box::new(refused.clone()),
            has_hook: input::has_hook(refused),
        });
    }
    for program in chosen.programs {
        inputs.push(Input::Program {
            object: set.object.clone(),
            program,
        });
    }
    Ok(())
}

fn text(
    matrix: &Matrix,
    selection: &Selection,
    changes: Option<&[Change]>,
    args: &CheckArgs,
    output: &Output,
) -> Result<(), Error> {
    // Who asks for columns or changes wants these, and not every finding.
    if selection.columns.is_empty() && changes.is_none() {
        for row in &matrix.rows {
            output.print(&details(row, output.style))?;
        }
    }
    output.print(&table::render(matrix, &selection.columns, output.style))?;
    if args.minimal_nic {
        for (row, cell) in fallbacks(matrix) {
            output.print(&needed_text(row, cell))?;
        }
    }
    if let Some(changes) = changes {
        for change in changes {
            let text = change.text();
            let text = if change.is_regression() {
                output.style.bad(&text)
            } else {
                text
            };
            output.print(&format!("{text}\n"))?;
        }
        let worse = changes.iter().filter(|c| c.is_regression()).count();
        output.print(&format!(
            "{} changed, {worse} for the worse\n",
            changes.len()
        ))?;
    }
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true") {
        output.print(&github::render(matrix))?;
    }
    Ok(())
}

/// Every finding of a program.
fn details(row: &Row, style: Style) -> String {
    let mut text = String::new();
    for finding in &row.refused {
        text.push_str(&render_finding(finding, &row.object, None, style));
    }
    for cell in &row.cells {
        let Some(assessment) = &cell.assessment else {
            continue;
        };
        if !cell.findings.is_empty() {
            let head = format!("{} on {}: {}", row.program, cell.nic, cell.verdict.name());
            text.push_str(&format!(
                "{}\n{}\n",
                style.head(&head),
                render_findings(
                    &cell.findings,
                    &row.object,
                    Some(&assessment.program),
                    style
                )
            ));
        }
    }
    text
}

/// Cells that a changed NIC might offload.
fn fallbacks(matrix: &Matrix) -> impl Iterator<Item = (&Row, &Cell)> {
    matrix
        .rows
        .iter()
        .flat_map(|row| row.cells.iter().map(move |cell| (row, cell)))
        .filter(|(_, cell)| cell.verdict == Verdict::Fallback)
}

fn needed(cell: &Cell) -> Option<Needed> {
    let assessment = cell.assessment.as_ref()?;
    Some(minimal::needed(&assessment.program, &assessment.nic))
}

fn needed_text(row: &Row, cell: &Cell) -> String {
    let Some(needed) = needed(cell) else {
        return String::new();
    };
    let sets: Vec<String> = needed
        .changes
        .iter()
        .map(|change| format!("--set {change}"))
        .collect();
    let mut text = format!("\n{} on {}: ", row.program, cell.nic);
    if needed.remaining.is_empty() {
        text.push_str(&format!("would fit with {}\n", sets.join(" ")));
        return text;
    }
    text.push_str("no change of what the NIC declares is enough\n");
    for finding in &needed.remaining {
        let at = finding
            .pc
            .map_or_else(String::new, |pc| format!(" (insn {pc})"));
        text.push_str(&format!("  {} [{}]{at}\n", finding.message, finding.rule));
    }
    if !sets.is_empty() {
        text.push_str(&format!("  the rest would go with {}\n", sets.join(" ")));
    }
    text
}

fn document(
    matrix: &Matrix,
    changes: Option<Vec<Change>>,
    minimal: bool,
) -> Document<CheckResults> {
    let mut results = Vec::new();
    for row in &matrix.rows {
        if let Some(error) = &row.error {
            results.push(CheckResult {
                object: row.object.clone(),
                program: row.program.clone(),
                hook: None,
                nic: String::new(),
                verdict: None,
                findings: row.refused.clone(),
                usage: None,
                binds: None,
                headroom: Vec::new(),
                minimal: None,
                error: Some(error.clone()),
            });
        }
        for cell in &row.cells {
            let asks = minimal && cell.verdict == Verdict::Fallback;
            results.push(CheckResult {
                object: row.object.clone(),
                program: row.program.clone(),
                hook: row.hook.clone(),
                nic: cell.nic.clone(),
                verdict: Some(cell.verdict.name()),
                findings: cell.findings.clone(),
                usage: usage(cell),
                binds: cell.binding().map(|binding| binding.short()),
                headroom: cell.rooms.clone(),
                minimal: if asks { needed(cell) } else { None },
                error: None,
            });
        }
    }
    Document::new("check", CheckResults { results, changes })
}

fn usage(cell: &Cell) -> Option<serde_json::Value> {
    let assessment = cell.assessment.as_ref()?;
    let mut usage = serde_json::to_value(assessment.usage.as_ref()?).ok()?;
    if let Some(object) = usage.as_object_mut() {
        let image = assessment.image.as_ref();
        object.insert(
            "image_instructions".to_owned(),
            image.map(|i| i.instructions).into(),
        );
        object.insert("image_bytes".to_owned(), image.map(|i| i.code.len()).into());
    }
    Some(usage)
}
