//! `nicbed check`

use std::path::Path;
use std::sync::Arc;

use bpf::Refused;
use caps::Caps;
use jit_backends::Loaded;

use super::args::{CheckArgs, FailOn};
use super::input;
use super::output::Output;
use crate::decide::Verdict;
use crate::error::{Error, Status};
use crate::pipeline;
use crate::report::json::{CheckResult, Document, Results};
use crate::report::{Table, render_finding, render_findings};

pub(super) fn run(args: &CheckArgs, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    let nics = input::nics(&args.nics.nic, &args.nics.what_if)?;
    let mut status = Status::Ok;
    let mut results = Vec::new();
    let mut heads = vec!["program"];
    heads.extend(nics.iter().map(|n| n.name.as_str()));
    let mut matrix = Table::new(&heads);
    let mut details = String::new();
    for path in &args.objects {
        if let Err(error) = one_object(
            args,
            path,
            &nics,
            output,
            &mut results,
            &mut matrix,
            &mut details,
            &mut status,
        ) {
            status = status.worst(error.status);
            if !json {
                output.error(&error);
            }
            results.push(unreadable(path, &error));
        }
    }
    if json {
        output.json(&Document::new("check", Results { results }))?;
    } else {
        output.print(&details)?;
        if results.iter().any(|r| r.error.is_none()) {
            output.print(&matrix.to_string())?;
        }
    }
    Ok(status)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the two forms of the result grow side by side"
)]
fn one_object(
    args: &CheckArgs,
    path: &Path,
    nics: &[Arc<Caps>],
    output: &Output,
    results: &mut Vec<CheckResult>,
    matrix: &mut Table,
    details: &mut String,
    status: &mut Status,
) -> Result<(), Error> {
    let queues = nics.first().map_or(1, |n| n.model().queues_default);
    let set = input::object(path, &args.load, queues)?;
    let chosen = input::programs(&set, &args.load)?;
    for refused in chosen.refused {
        details.push_str(&render_finding(
            &refused.finding,
            &set.object,
            None,
            output.style,
        ));
        if !input::has_hook(refused) {
            results.push(no_hook(&set.object, refused));
            continue;
        }
        if args.fail_on != FailOn::Never {
            *status = status.worst(Status::Negative);
        }
        let mut row = vec![format!("{}: {}", set.object, refused.name)];
        for nic in nics {
            row.push(output.style.bad(Verdict::Rejected.name()));
            results.push(CheckResult {
                object: set.object.clone(),
                program: refused.name.clone(),
                hook: None,
                nic: nic.name.clone(),
                verdict: Some(Verdict::Rejected.name()),
                findings: vec![refused.finding.clone()],
                usage: None,
                error: None,
            });
        }
        matrix.row(row);
    }
    for program in &chosen.programs {
        let mut row = vec![format!("{}: {}", set.object, program.name)];
        for nic in nics {
            let assessment = pipeline::assess(program, nic, &Loaded::default());
            let verdict = assessment.decision.outcome;
            let fails = match args.fail_on {
                FailOn::Fallback => verdict != Verdict::Offload,
                FailOn::Rejected => verdict == Verdict::Rejected,
                FailOn::Never => false,
            };
            if fails {
                *status = status.worst(Status::Negative);
            }
            row.push(match verdict {
                Verdict::Offload => output.style.good(verdict.name()),
                Verdict::Fallback => output.style.warn(verdict.name()),
                Verdict::Rejected => output.style.bad(verdict.name()),
            });
            if !assessment.decision.findings.is_empty() {
                let cell = format!("{} on {}: {}", program.name, nic.name, verdict.name());
                details.push_str(&format!("{}\n", output.style.head(&cell)));
                details.push_str(&render_findings(
                    &assessment.decision.findings,
                    &set.object,
                    Some(program),
                    output.style,
                ));
                details.push('\n');
            }
            results.push(CheckResult {
                object: set.object.clone(),
                program: program.name.clone(),
                hook: Some(program.hook.name().to_owned()),
                nic: nic.name.clone(),
                verdict: Some(verdict.name()),
                findings: assessment.decision.findings.clone(),
                usage: usage(&assessment),
                error: None,
            });
        }
        matrix.row(row);
    }
    Ok(())
}

fn usage(assessment: &pipeline::Assessment) -> Option<serde_json::Value> {
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

/// A program of another kind: nothing to check.
fn no_hook(object: &str, refused: &Refused) -> CheckResult {
    CheckResult {
        object: object.to_owned(),
        program: refused.name.clone(),
        hook: None,
        nic: String::new(),
        verdict: None,
        findings: vec![refused.finding.clone()],
        usage: None,
        error: Some(refused.finding.message.clone()),
    }
}

fn unreadable(path: &Path, error: &Error) -> CheckResult {
    CheckResult {
        object: path.display().to_string(),
        program: String::new(),
        hook: None,
        nic: String::new(),
        verdict: None,
        findings: Vec::new(),
        usage: None,
        error: Some(error.to_string()),
    }
}
