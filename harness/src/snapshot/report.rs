//! What a look at snapshots and expectations came to: text and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::expect::Unmet;
use super::pinned::State;
use crate::error::Status;
use crate::report::Style;

/// Everything there is to tell of a folder.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Snapshots by file.
    pub snapshots: Vec<(String, State)>,
    /// How many expectations there are.
    pub expectations: usize,
    /// Those that do not hold, with the source they stand in.
    pub unmet: Vec<(String, Unmet)>,
    /// What could not be read, with the status that it means.
    pub errors: Vec<(Status, String)>,
    /// Whether snapshots were made what they should be.
    pub accepted: bool,
}

impl Report {
    /// The exit status.
    pub fn status(&self) -> Status {
        let changed = self.changed().next().is_some() && !self.accepted;
        let status = if changed || !self.unmet.is_empty() {
            Status::Negative
        } else {
            Status::Ok
        };
        let errors = self.errors.iter().map(|(status, _)| *status);
        errors.fold(status, Status::worst)
    }

    fn changed(&self) -> impl Iterator<Item = &(String, State)> {
        self.snapshots.iter().filter(|(_, s)| *s != State::Same)
    }

    /// For people: what is not as it was, and the sums.
    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for (name, state) in self.changed() {
            let word = match (self.accepted, state) {
                (true, State::Leftover) => style.good("removed "),
                (true, _) => style.good("written "),
                (false, _) => style.bad(&format!("{:8}", state.name())),
            };
            let _ = writeln!(text, "{word} {name}");
            if let State::Changed(diff) = state {
                for line in diff.lines() {
                    let line = match line.as_bytes().first() {
                        Some(b'-') => style.bad(line),
                        Some(b'+') => style.good(line),
                        Some(b'@') => style.dim(line),
                        _ => line.to_owned(),
                    };
                    let _ = writeln!(text, "{line}");
                }
            }
        }
        for (source, unmet) in &self.unmet {
            let _ = writeln!(
                text,
                "{} {source}:{}: {}\n  {}",
                style.bad("unmet   "),
                unmet.line,
                unmet.text,
                unmet.why
            );
        }
        for (_, error) in &self.errors {
            let _ = writeln!(text, "{} {error}", style.bad("error   "));
        }
        let changed = self.changed().count();
        let _ = write!(
            text,
            "{} snapshots, {changed} {}",
            self.snapshots.len(),
            if self.accepted {
                "made new"
            } else {
                "not as they were"
            }
        );
        if self.expectations > 0 {
            let held = self.expectations - self.unmet.len().min(self.expectations);
            let _ = write!(text, "; {held} of {} expectations hold", self.expectations);
        }
        text.push('\n');
        text
    }

    /// The document of `nicbed snapshot -j`.
    pub fn json(&self) -> Value {
        json!({
            "schema": "nicbed/snapshot/1",
            "accepted": self.accepted,
            "results": self.snapshots.iter().map(|(name, state)| json!({
                "file": name,
                "state": state.name(),
                "diff": match state {
                    State::Changed(diff) => Some(diff),
                    _ => None,
                },
            })).collect::<Vec<_>>(),
            "expectations": self.expectations,
            "unmet": self.unmet.iter().map(|(source, unmet)| json!({
                "source": source,
                "line": unmet.line,
                "nic": unmet.nic,
                "text": unmet.text,
                "why": unmet.why,
            })).collect::<Vec<_>>(),
            "errors": self.errors.iter().map(|(_, error)| error).collect::<Vec<_>>(),
        })
    }
}
