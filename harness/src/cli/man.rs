//! `nicbed man` and `nicbed completions`: both come from the definitions of the command line.

use std::path::Path;

use clap::CommandFactory as _;

use super::args::Cli;
use super::output::Output;
use crate::error::{Error, Status};

/// Writes a page for each command into a folder, or without one the page of `nicbed` to stdout.
pub(super) fn run(folder: Option<&Path>, output: &Output) -> Result<Status, Error> {
    let command = Cli::command();
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|e| Error::input(format!("the page cannot be written: {e}")))?;
        output.print_bytes(&page)?;
        return Ok(Status::Ok);
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .map_err(|e| Error::input(format!("{}: cannot write: {e}", folder.display())))?;
    Ok(Status::Ok)
}

pub(super) fn completions(shell: clap_complete::Shell, output: &Output) -> Result<Status, Error> {
    let mut command = Cli::command();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "nicbed", &mut text);
    output.print_bytes(&text)?;
    Ok(Status::Ok)
}
