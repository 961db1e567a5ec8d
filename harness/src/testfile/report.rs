//! What tests came to: text, JSON, JUnit.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::run::{Ended, Run};
use crate::error::{Error, Status};
use crate::report::Style;
use crate::report::junit::{self, Outcome};

/// A test that was run on a NIC.
#[derive(Clone, Debug)]
pub struct Result {
    /// The file.
    pub file: String,
    /// The test; empty where the file could not be read.
    pub test: String,
    /// The NIC; empty where the file could not be read.
    pub nic: String,
    /// What it is compared with, where the file names several.
    pub reference: Option<&'static str>,
    /// How it went.
    pub run: Run,
}

impl Result {
    /// A file that could not be read.
    pub fn unread(file: &str, error: &Error) -> Result {
        let why = match error.help_text() {
            Some(help) => format!("{error} ({help})"),
            None => error.to_string(),
        };
        Result {
            file: file.to_owned(),
            test: String::new(),
            nic: String::new(),
            reference: None,
            run: Run::ended(Ended::Error(error.status, why)),
        }
    }

    /// `file: test [nic]`, by which tests are filtered; `[nic, reference]` where the file names
    /// several references.
    pub fn name(&self) -> String {
        name(&self.file, &self.test, &self.nic, self.reference)
    }

    /// The exit status that it alone leads to.
    pub const fn status(&self) -> Status {
        match self.run.ended {
            Ended::Passed => Status::Ok,
            Ended::Failed(_) => Status::Negative,
            Ended::Disagreed(_) => Status::Disagree,
            Ended::Skipped(_) => Status::Environment,
            Ended::Error(status, _) => status,
        }
    }

    /// The word for how it ended.
    pub const fn word(&self) -> &'static str {
        match self.run.ended {
            Ended::Passed => "passed",
            Ended::Failed(_) => "failed",
            Ended::Disagreed(_) => "disagreed",
            Ended::Skipped(_) => "skipped",
            Ended::Error(..) => "error",
        }
    }

    /// Everything that is not as expected, line by line; empty if it passed.
    pub fn detail(&self, style: Style) -> String {
        let mut text = String::new();
        match &self.run.ended {
            Ended::Passed => {}
            Ended::Failed(failures) => {
                let mut last = None;
                for miss in failures {
                    if last != Some(miss.frame) {
                        match miss.frame {
                            Some(frame) => _ = writeln!(text, "  packet {frame}"),
                            None => _ = writeln!(text, "  before the first packet"),
                        }
                        last = Some(miss.frame);
                    }
                    let failure = &miss.failure;
                    let (expected, got) = (&failure.expected, style.bad(&failure.got));
                    _ = writeln!(
                        text,
                        "    {}: expected {expected}, got {got}",
                        failure.field
                    );
                    for line in failure.hexdump(style).lines() {
                        _ = writeln!(text, "    {line}");
                    }
                }
            }
            Ended::Disagreed(why) => {
                _ = writeln!(text, "  NIC and reference differ");
                for line in why.lines() {
                    _ = writeln!(text, "    {line}");
                }
            }
            Ended::Skipped(why) => _ = writeln!(text, "  skipped: {why}"),
            Ended::Error(_, why) => _ = writeln!(text, "  {why}"),
        }
        text
    }
}

/// The name of a test on a NIC.
pub fn name(file: &str, test: &str, nic: &str, reference: Option<&str>) -> String {
    if test.is_empty() {
        return file.to_owned();
    }
    format!("{file}: {test} [{}]", run_on(nic, reference))
}

fn run_on(nic: &str, reference: Option<&str>) -> String {
    match reference {
        Some(reference) => format!("{nic}, {reference}"),
        None => nic.to_owned(),
    }
}

/// The results as text: a line each, what failed in full, and the sums.
pub fn text(results: &[Result], style: Style) -> String {
    let mut text = String::new();
    for result in results {
        let word = match result.run.ended {
            Ended::Passed => style.good("ok    "),
            Ended::Skipped(_) => style.warn("skipped"),
            _ => style.bad(&format!("{:6}", result.word())),
        };
        _ = writeln!(text, "{word} {}", result.name());
        text.push_str(&result.detail(style));
    }
    let count = |word| results.iter().filter(|r| r.word() == word).count();
    let of = results.len();
    _ = write!(text, "\n{} of {of} passed", count("passed"));
    for (number, word) in [
        (count("failed"), "failed"),
        (count("disagreed"), "disagreed"),
        (count("skipped"), "skipped"),
        (count("error"), "not run"),
    ] {
        if number > 0 {
            _ = write!(text, ", {number} {word}");
        }
    }
    text.push('\n');
    text
}

/// A unified difference, coloured.
pub fn difference(unified: &str, style: Style) -> String {
    let line = |line: &str| match line.as_bytes().first() {
        Some(b'-') => style.bad(line),
        Some(b'+') => style.good(line),
        _ => line.to_owned(),
    };
    unified.lines().map(|text| line(text) + "\n").collect()
}

/// The results as JSON: the body of `nicbed/test/1`.
pub fn json(results: &[Result]) -> Value {
    let each: Vec<Value> = results
        .iter()
        .map(|result| {
            let failures: Vec<Value> = match &result.run.ended {
                Ended::Failed(failures) => failures.iter().map(failure).collect(),
                _ => Vec::new(),
            };
            let error = match &result.run.ended {
                Ended::Disagreed(why) | Ended::Skipped(why) | Ended::Error(_, why) => Some(why),
                _ => None,
            };
            json!({
                "file": result.file,
                "test": result.test,
                "nic": result.nic,
                "reference": result.reference,
                "result": result.word(),
                "failures": failures,
                "error": error,
            })
        })
        .collect();
    let passed = results.iter().filter(|r| r.word() == "passed").count();
    json!({
        "schema": "nicbed/test/1",
        "passed": passed,
        "of": results.len(),
        "results": each,
    })
}

fn failure(miss: &super::run::Miss) -> Value {
    json!({
        "packet": miss.frame,
        "field": miss.failure.field,
        "expected": miss.failure.expected,
        "got": miss.failure.got,
    })
}

/// The results as JUnit XML: a suite for each file.
///
/// # Errors
/// If it cannot be written, which needs memory to run out.
pub fn junit(results: &[Result]) -> std::result::Result<String, Error> {
    let mut suites: Vec<junit::Suite> = Vec::new();
    for result in results {
        if suites.last().is_none_or(|suite| suite.name != result.file) {
            suites.push(junit::Suite {
                name: result.file.clone(),
                cases: Vec::new(),
            });
        }
        let detail = result.detail(Style::PLAIN);
        let case = junit::Case {
            name: if result.test.is_empty() {
                "reading the file".to_owned()
            } else {
                let on = run_on(&result.nic, result.reference);
                format!("{} [{on}]", result.test)
            },
            class: result.file.clone(),
            outcome: match &result.run.ended {
                Ended::Passed => Outcome::Passed,
                Ended::Skipped(why) => Outcome::Skipped(why.clone()),
                Ended::Error(_, why) => Outcome::Error(why.clone()),
                Ended::Failed(_) | Ended::Disagreed(_) => Outcome::Failed {
                    message: detail
                        .lines()
                        .nth(1)
                        .or(detail.lines().next())
                        .unwrap_or("")
                        .trim()
                        .to_owned(),
                    detail,
                },
            },
        };
        if let Some(suite) = suites.last_mut() {
            suite.cases.push(case);
        }
    }
    junit::document("nicbed test", &suites)
}
