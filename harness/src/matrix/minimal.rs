//! The smallest set of changes to what a NIC declares after which a program fits.

use std::sync::Arc;

use bpf::Program;
use bpf::finding::Finding;
use caps::Caps;
use jit_backends::Loaded;
use serde::Serialize;

use super::cells::image_length;
use crate::pipeline::{self, Assessment};

/// Rounds of checking and changing: each round answers every finding of the one before, and
/// what only translation tells needs one of its own.
const MOST_ROUNDS: usize = 16;

/// What would make a program fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// Changes as `--set` takes them; none can be left out. Empty if the program fits as it is.
    pub changes: Vec<String>,
    /// Errors that no change of what is declared takes away; the program does not fit while
    /// there are any.
    pub remaining: Vec<Finding>,
}

/// The changes that `program` needs on `nic`.
pub fn needed(program: &Arc<Program>, nic: &Arc<Caps>) -> Needed {
    let assess = |changes: &[String]| {
        let nic = changed(nic, changes)?;
        Some(pipeline::assess(program, &nic, &Loaded::default()))
    };
    let mut changes: Vec<String> = Vec::new();
    let mut last = pipeline::assess(program, nic, &Loaded::default());
    for _ in 0..MOST_ROUNDS {
        // A change that contradicts the rest of the profile is no help.
        let mut more = changes.clone();
        for change in wanted(&last) {
            let tried = merged(&more, change);
            if changed(nic, &tried).is_some() {
                more = tried;
            }
        }
        if more == changes {
            break;
        }
        changes = more;
        let Some(assessment) = assess(&changes) else {
            break;
        };
        last = assessment;
    }
    let remaining: Vec<Finding> = errors(&last).cloned().collect();
    // Leave out every change without which the outcome is the same.
    let mut at = changes.len();
    while at > 0 {
        at -= 1;
        let mut fewer = changes.clone();
        fewer.remove(at);
        if assess(&fewer).is_some_and(|a| errors(&a).eq(&remaining)) {
            changes = fewer;
        }
    }
    Needed { changes, remaining }
}

fn errors(assessment: &Assessment) -> impl Iterator<Item = &Finding> {
    assessment.decision.findings.iter().filter(|f| f.is_error())
}

/// Changes that the errors ask for.
fn wanted(assessment: &Assessment) -> Vec<String> {
    let Some(verified) = &assessment.verified else {
        return Vec::new();
    };
    let image = image_length(assessment);
    errors(assessment)
        .flat_map(|finding| caps::changes(verified, &assessment.nic, finding, image))
        .collect()
}

/// The changes with one more. A key that is set keeps the larger of two numbers, else the later
/// value; what is added to a list stays.
fn merged(changes: &[String], new: String) -> Vec<String> {
    let set = |change: &str| {
        let (key, value) = change.split_once('=')?;
        (!key.ends_with(['+', '-'])).then(|| (key.to_owned(), value.to_owned()))
    };
    let mut merged = changes.to_vec();
    let same = |old: &String| match (set(old), set(&new)) {
        (Some((old, _)), Some((new, _))) => old == new,
        _ => *old == new,
    };
    let Some(at) = merged.iter().position(same) else {
        merged.push(new);
        return merged;
    };
    let number = |change: &str| set(change).and_then(|(_, value)| value.parse::<u64>().ok());
    if number(&merged[at]).is_none_or(|old| number(&new).is_none_or(|new| new > old)) {
        merged[at] = new;
    }
    merged
}

fn changed(nic: &Arc<Caps>, changes: &[String]) -> Option<Arc<Caps>> {
    let mut caps = Caps::clone(nic);
    for change in changes {
        caps = caps::apply_set(&caps, change).ok()?;
    }
    Some(Arc::new(caps))
}
