//! `nicbed test --update`: what was got is written into the files.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::super::args::{Format, TestArgs};
use super::super::input;
use super::super::output::Output;
use super::{Ran, run_files};
use crate::error::Error;
use crate::testfile::report;
use crate::testfile::update::updated;

/// Shows how the files of results would have to change, writes them (on a terminal if somebody
/// agrees), and runs their tests again. Gives the results with those in the place of the old.
pub(super) fn update(results: &[Ran], args: &TestArgs, output: &Output) -> Result<Vec<Ran>, Error> {
    let mut after = Vec::new();
    for before in results.chunk_by(|a, b| a.file == b.file) {
        let written = before.first().map_or(Ok(None), |first| {
            write(Path::new(&first.file), before, output)
        })?;
        match written {
            Some(path) => after.extend(run_files(&[path], args, &|| {})?),
            None => after.extend_from_slice(before),
        }
    }
    Ok(after)
}

fn write(path: &Path, results: &[Ran], output: &Output) -> Result<Option<PathBuf>, Error> {
    let Ok(text) = input::read_text(path) else {
        return Ok(None);
    };
    let name = path.display().to_string();
    let new = updated(&text, results);
    for left in &new.left {
        output.talk(&format!("{name}: not written: {left}"));
    }
    if new.text == text {
        return Ok(None);
    }
    let difference = TextDiff::from_lines(&text, &new.text);
    let difference = difference
        .unified_diff()
        .header(&name, &format!("{name}, updated"))
        .to_string();
    let difference = report::difference(&difference, output.style);
    if output.format == Format::Text {
        output.print(&format!("\n{difference}"))?;
    } else {
        output.talk(&difference);
    }
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        output.talk(&format!("Write this to {name}? [y/N]"));
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.map_err(|e| Error::input(format!("stdin: cannot read: {e}")))?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(None);
        }
    }
    output.file(path, new.text.as_bytes())?;
    output.talk(&format!("{name}: written"));
    Ok(Some(path.to_owned()))
}
