//! Snapshots beside a manifest, against what they should be now.

use std::collections::BTreeMap;
use std::path::Path;

use similar::TextDiff;

use crate::error::Error;

/// Extension of snapshots: a file of the folder that ends in it is one.
pub const EXTENSION: &str = "snap";

/// How a snapshot compares with what is made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Equal.
    Same,
    /// Other; the unified difference, from the snapshot to now.
    Changed(String),
    /// There is no such file.
    Missing,
    /// A file that no program and NIC of the manifest has.
    Leftover,
}

impl State {
    /// Name, as in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            State::Same => "same",
            State::Changed(_) => "changed",
            State::Missing => "missing",
            State::Leftover => "leftover",
        }
    }
}

/// Compares the snapshots of a folder with `now`: the text of each by file name. Leftover ones
/// come last, by name.
///
/// # Errors
/// If the folder or a snapshot cannot be read.
pub fn compare(
    folder: &Path,
    now: &BTreeMap<String, String>,
) -> Result<Vec<(String, State)>, Error> {
    let mut states = Vec::new();
    for (name, text) in now {
        let path = folder.join(name);
        let state = match std::fs::read(&path) {
            Ok(bytes) => against(name, &String::from_utf8_lossy(&bytes), text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => State::Missing,
            Err(e) => return Err(cannot(&path, "read", &e)),
        };
        states.push((name.clone(), state));
    }
    let mut leftover: Vec<String> = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| cannot(folder, "read", &e))?
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|e| e == EXTENSION))
        .filter(|name| !now.contains_key(name))
        .collect();
    leftover.sort();
    states.extend(leftover.into_iter().map(|name| (name, State::Leftover)));
    Ok(states)
}

/// Line ends of another system are no change.
fn against(name: &str, pinned: &str, now: &str) -> State {
    let pinned = pinned.replace("\r\n", "\n");
    if pinned == now {
        return State::Same;
    }
    let diff = TextDiff::from_lines(pinned.as_str(), now);
    let mut unified = diff.unified_diff();
    let unified = unified.header(name, "now");
    State::Changed(unified.to_string())
}

/// Makes the snapshots of a folder what they should be now.
///
/// # Errors
/// If a file cannot be written or removed.
pub fn accept(
    folder: &Path,
    now: &BTreeMap<String, String>,
    states: &[(String, State)],
) -> Result<(), Error> {
    for (name, state) in states {
        let path = folder.join(name);
        let done = match (state, now.get(name)) {
            (State::Changed(_) | State::Missing, Some(text)) => std::fs::write(&path, text),
            (State::Leftover, _) => std::fs::remove_file(&path),
            _ => Ok(()),
        };
        done.map_err(|e| cannot(&path, "write", &e))?;
    }
    Ok(())
}

fn cannot(path: &Path, what: &str, error: &std::io::Error) -> Error {
    Error::input(format!("{}: cannot {what}: {error}", path.display()))
}
