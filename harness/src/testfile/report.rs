//! What tests came to: text, JSON, JUnit.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::run::Ended;
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
    /// How it ended.
    pub ended: Ended,
}

impl Result {
    /// `file: test [nic]`, by which tests are filtered.
    pub fn name(&self) -> String {
        name(&self.file, &self.test, &self.nic)
    }

    /// The exit status that it alone leads to.
    pub const fn status(&self) -> Status {
        match self.ended {
            Ended::Passed => Status::Ok,
            Ended::Failed(_) => Status::Negative,
            Ended::Disagreed(_) => Status::Disagree,
            Ended::Error(status, _) => status,
        }
    }

    /// The word for how it ended.
    pub const fn word(&self) -> &'static str {
        match self.ended {
            Ended::Passed => "passed",
            Ended::Failed(_) => "failed",
            Ended::Disagreed(_) => "disagreed",
            Ended::Error(..) => "error",
        }
    }

    /// Everything that is not as expected, line by line; empty if it passed.
    pub fn detail(&self, style: Style) -> String {
        let mut text = String::new();
        match &self.ended {
            Ended::Passed => {}
            Ended::Failed(failures) => {
                let mut last = None;
                for (packet, failure) in failures {
                    if last != Some(packet) {
                        match packet {
                            Some(packet) => _ = writeln!(text, "  packet {packet}"),
                            None => _ = writeln!(text, "  before the first packet"),
                        }
                        last = Some(packet);
                    }
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
                for line in why.lines() {
                    _ = writeln!(text, "  NIC and reference differ: {line}");
                }
            }
            Ended::Error(_, why) => _ = writeln!(text, "  {why}"),
        }
        text
    }
}

/// The name of a test on a NIC.
pub fn name(file: &str, test: &str, nic: &str) -> String {
    if test.is_empty() {
        return file.to_owned();
    }
    format!("{file}: {test} [{nic}]")
}

/// The results as text: a line each, what failed in full, and the sums.
pub fn text(results: &[Result], style: Style) -> String {
    let mut text = String::new();
    for result in results {
        let word = match result.ended {
            Ended::Passed => style.good("ok    "),
            _ => style.bad(&format!("{:6}", result.word())),
        };
        _ = writeln!(text, "{word} {}", result.name());
        text.push_str(&result.detail(style));
    }
    let count = |word| results.iter().filter(|r| r.word() == word).count();
    let (passed, failed, disagreed, errors) = (
        count("passed"),
        count("failed"),
        count("disagreed"),
        count("error"),
    );
    _ = write!(text, "\n{passed} of {} passed", results.len());
    for (number, word) in [
        (failed, "failed"),
        (disagreed, "disagreed"),
        (errors, "not run"),
    ] {
        if number > 0 {
            _ = write!(text, ", {number} {word}");
        }
    }
    text.push('\n');
    text
}

/// The results as JSON: the body of `nicbed/test/1`.
pub fn json(results: &[Result]) -> Value {
    let each: Vec<Value> = results
        .iter()
        .map(|result| {
            let failures: Vec<Value> = match &result.ended {
                Ended::Failed(failures) => failures.iter().map(failure).collect(),
                _ => Vec::new(),
            };
            let error = match &result.ended {
                Ended::Disagreed(why) | Ended::Error(_, why) => Some(why),
                _ => None,
            };
            json!({
                "file": result.file,
                "test": result.test,
                "nic": result.nic,
                "result": result.word(),
                "failures": failures,
                "error": error,
            })
        })
        .collect();
    let passed = results.iter().filter(|r| r.ended == Ended::Passed).count();
    json!({
        "schema": "nicbed/test/1",
        "passed": passed,
        "of": results.len(),
        "results": each,
    })
}

fn failure((packet, failure): &(Option<u64>, super::expect::Failure)) -> Value {
    json!({
        "packet": packet,
        "field": failure.field,
        "expected": failure.expected,
        "got": failure.got,
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
                format!("{} [{}]", result.test, result.nic)
            },
            class: result.file.clone(),
            outcome: match &result.ended {
                Ended::Passed => Outcome::Passed,
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
