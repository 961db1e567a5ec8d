//! A matrix held against an earlier one, as `check -j` or `--save` wrote it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Matrix;
use crate::decide::Verdict;
use crate::error::Error;

/// The part of a saved document that is compared.
#[derive(Debug, Deserialize)]
struct Document {
    schema: String,
    results: Vec<Saved>,
}

#[derive(Debug, Deserialize)]
struct Saved {
    object: String,
    program: String,
    nic: String,
    verdict: Option<String>,
    #[serde(default)]
    findings: Vec<SavedFinding>,
    usage: Option<SavedUsage>,
}

#[derive(Debug, Deserialize)]
struct SavedFinding {
    rule: String,
    severity: String,
    #[serde(default)]
    subject: String,
}

#[derive(Debug, Deserialize)]
struct SavedUsage {
    image_instructions: Option<u64>,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Object as named.
    pub object: String,
    /// Program.
    pub program: String,
    /// NIC.
    pub nic: String,
    /// Verdict before; none if the cell is new.
    pub before: Option<Verdict>,
    /// Verdict now; none if the cell is gone.
    pub now: Option<Verdict>,
    /// Errors that were not there, as `rule subject`.
    pub new_errors: Vec<String>,
    /// Errors that are gone.
    pub gone_errors: Vec<String>,
    /// Length of the image in instructions, before and now, if it changed.
    pub image_instructions: Option<(u64, u64)>,
}

impl Change {
    /// Whether it is for the worse: a verdict that got worse, or a cell that is gone.
    pub fn is_regression(&self) -> bool {
        match (self.before, self.now) {
            (Some(before), Some(now)) => now > before,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// In one line.
    pub fn text(&self) -> String {
        let name = |verdict: Option<Verdict>, none: &str| {
            verdict.map_or_else(|| none.to_owned(), |v| v.name().to_owned())
        };
        let mut text = format!(
            "{}: {} on {}: {} → {}",
            self.object,
            self.program,
            self.nic,
            name(self.before, "absent"),
            name(self.now, "gone")
        );
        for (sign, errors) in [("new", &self.new_errors), ("gone", &self.gone_errors)] {
            if !errors.is_empty() {
                text.push_str(&format!(", {sign}: {}", errors.join(", ")));
            }
        }
        if let Some((before, now)) = self.image_instructions {
            text.push_str(&format!(", image {before} → {now} instructions"));
        }
        text
    }
}

type Key = (String, String, String);

struct Then {
    verdict: Verdict,
    errors: Vec<String>,
    image: Option<u64>,
}

fn verdict(name: &str) -> Option<Verdict> {
    [Verdict::Offload, Verdict::Fallback, Verdict::Rejected]
        .into_iter()
        .find(|v| v.name() == name)
}

fn error_name(rule: &str, subject: &str) -> String {
    format!("{rule} {subject}").trim_end().to_owned()
}

/// What changed since `text` was written, in the order of the matrix; what is gone stands last.
///
/// # Errors
/// `text` is no document of `nicbed check`.
pub fn changes(matrix: &Matrix, text: &str) -> Result<Vec<Change>, Error> {
    let document: Document = serde_json::from_str(text)
        .map_err(|e| Error::input(format!("no result of `nicbed check -j`: {e}")))?;
    if document.schema != "nicbed/check/1" {
        return Err(Error::input(format!(
            "a document of schema {}, not nicbed/check/1",
            document.schema
        )));
    }
    let mut before: BTreeMap<Key, Then> = BTreeMap::new();
    for saved in document.results {
        let Some(verdict) = saved.verdict.as_deref().and_then(verdict) else {
            continue;
        };
        let errors = saved
            .findings
            .iter()
            .filter(|f| f.severity == "error")
            .map(|f| error_name(&f.rule, &f.subject));
        before.insert(
            (saved.object, saved.program, saved.nic),
            Then {
                verdict,
                errors: sorted(errors),
                image: saved.usage.and_then(|u| u.image_instructions),
            },
        );
    }
    let mut changes = Vec::new();
    for row in &matrix.rows {
        for cell in &row.cells {
            let key = (row.object.clone(), row.program.clone(), cell.nic.clone());
            let then = before.remove(&key);
            let errors = sorted(
                cell.findings
                    .iter()
                    .filter(|f| f.is_error())
                    .map(|f| error_name(&f.rule, &f.subject)),
            );
            let image = cell
                .assessment
                .as_ref()
                .and_then(|a| a.image.as_ref())
                .map(|image| image.instructions as u64);
            let (new_errors, gone_errors) = match &then {
                Some(then) => (minus(&errors, &then.errors), minus(&then.errors, &errors)),
                None => (errors, Vec::new()),
            };
            let lengths = then.as_ref().and_then(|then| then.image).zip(image);
            let change = Change {
                object: key.0,
                program: key.1,
                nic: key.2,
                before: then.map(|then| then.verdict),
                now: Some(cell.verdict),
                new_errors,
                gone_errors,
                image_instructions: lengths.filter(|(before, now)| before != now),
            };
            if change.before != change.now
                || !change.new_errors.is_empty()
                || !change.gone_errors.is_empty()
                || change.image_instructions.is_some()
            {
                changes.push(change);
            }
        }
    }
    changes.extend(before.into_iter().map(|(key, then)| Change {
        object: key.0,
        program: key.1,
        nic: key.2,
        before: Some(then.verdict),
        now: None,
        new_errors: Vec::new(),
        gone_errors: Vec::new(),
        image_instructions: None,
    }));
    Ok(changes)
}

fn sorted(errors: impl Iterator<Item = String>) -> Vec<String> {
    let mut errors: Vec<String> = errors.collect();
    errors.sort();
    errors.dedup();
    errors
}

fn minus(from: &[String], those: &[String]) -> Vec<String> {
    from.iter()
        .filter(|e| !those.contains(e))
        .cloned()
        .collect()
}
