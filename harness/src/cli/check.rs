//! `nicbed check`

use std::path::Path;
use std::sync::Arc;

use bpf::{Program, Refused};
use caps::Caps;
use jit_backends::Loaded;

use super::args::{CheckArgs, FailOn};
use super::input;
use super::output::Output;
use crate::decide::Verdict;
use crate::error::{Error, Status};
use crate::pipeline;
use crate::report::json::{CheckResult, Document, Results};
use crate::report::{Style, Table, render_finding, render_findings};

pub(super) fn run(args: &CheckArgs, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    let nics = input::nics(&args.nics.nic, &args.nics.what_if)?;
    let mut matrix = Matrix::new(args, &nics, output.style);
    for path in &args.objects {
        if let Err(error) = matrix.object(path) {
            matrix.status = matrix.status.worst(error.status);
            if !json {
                output.error(&error);
            }
            matrix.results.push(unreadable(path, &error));
        }
    }
    if json {
        output.json(&Document::new(
            "check",
            Results {
                results: matrix.results,
            },
        ))?;
    } else {
        output.print(&matrix.details)?;
        if matrix.results.iter().any(|r| r.error.is_none()) {
            output.print(&matrix.table.to_string())?;
        }
    }
    Ok(matrix.status)
}

/// Programs × NICs, one cell a verdict, in both forms of the result.
struct Matrix<'a> {
    args: &'a CheckArgs,
    nics: &'a [Arc<Caps>],
    style: Style,
    results: Vec<CheckResult>,
    table: Table,
    details: String,
    status: Status,
}

impl<'a> Matrix<'a> {
    fn new(args: &'a CheckArgs, nics: &'a [Arc<Caps>], style: Style) -> Matrix<'a> {
        let mut heads = vec!["program"];
        heads.extend(nics.iter().map(|n| n.name.as_str()));
        Matrix {
            args,
            nics,
            style,
            results: Vec::new(),
            table: Table::new(&heads),
            details: String::new(),
            status: Status::Ok,
        }
    }

    /// Adds the programs of an object, those that the loader refuses first.
    fn object(&mut self, path: &Path) -> Result<(), Error> {
        let queues = self.nics.first().map_or(1, |n| n.model().queues_default);
        let set = input::object(path, &self.args.load, queues)?;
        let chosen = input::programs(&set, &self.args.load)?;
        for refused in chosen.refused {
            self.refused(&set.object, refused);
        }
        for program in &chosen.programs {
            self.program(&set.object, program);
        }
        Ok(())
    }

    fn refused(&mut self, object: &str, refused: &Refused) {
        self.details
            .push_str(&render_finding(&refused.finding, object, None, self.style));
        if !input::has_hook(refused) {
            self.results.push(no_hook(object, refused));
            return;
        }
        let mut row = vec![format!("{object}: {}", refused.name)];
        for nic in self.nics {
            row.push(self.cell(Verdict::Rejected));
            self.results.push(CheckResult {
                object: object.to_owned(),
                program: refused.name.clone(),
                hook: None,
                nic: nic.name.clone(),
                verdict: Some(Verdict::Rejected.name()),
                findings: vec![refused.finding.clone()],
                usage: None,
                error: None,
            });
        }
        self.table.row(row);
    }

    fn program(&mut self, object: &str, program: &Arc<Program>) {
        let mut row = vec![format!("{object}: {}", program.name)];
        for nic in self.nics {
            let assessment = pipeline::assess(program, nic, &Loaded::default());
            let verdict = assessment.decision.outcome;
            let findings = &assessment.decision.findings;
            row.push(self.cell(verdict));
            if !findings.is_empty() {
                let cell = format!("{} on {}: {}", program.name, nic.name, verdict.name());
                self.details.push_str(&format!(
                    "{}\n{}\n",
                    self.style.head(&cell),
                    render_findings(findings, object, Some(program), self.style)
                ));
            }
            self.results.push(CheckResult {
                object: object.to_owned(),
                program: program.name.clone(),
                hook: Some(program.hook.name().to_owned()),
                nic: nic.name.clone(),
                verdict: Some(verdict.name()),
                findings: findings.clone(),
                usage: usage(&assessment),
                error: None,
            });
        }
        self.table.row(row);
    }

    /// The text of a cell; notes what the verdict means for the exit status.
    fn cell(&mut self, verdict: Verdict) -> String {
        let fails = match self.args.fail_on {
            FailOn::Fallback => verdict != Verdict::Offload,
            FailOn::Rejected => verdict == Verdict::Rejected,
            FailOn::Never => false,
        };
        if fails {
            self.status = self.status.worst(Status::Negative);
        }
        match verdict {
            Verdict::Offload => self.style.good(verdict.name()),
            Verdict::Fallback => self.style.warn(verdict.name()),
            Verdict::Rejected => self.style.bad(verdict.name()),
        }
    }
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
