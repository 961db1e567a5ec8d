//! The command line: parses, calls the library, prints. Nothing is decided here.

pub mod args;
mod check;
mod conformance;
mod demo;
mod explain;
mod fuzz;
mod input;
mod inspect;
mod jit;
mod man;
mod mutants;
mod nic;
mod output;
mod pcap;
mod progress;
mod repro;
mod run;
mod snapshot;
mod test;
mod verify;
mod version;

use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::Parser as _;
use nic_model::Workers;

use self::args::{Cli, Color, Command, Format};
use self::output::Output;
use crate::error::{Error, Status};
use crate::report::Style;

/// Parses the arguments, runs the command and returns the exit status.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                Status::Usage.code()
            } else {
                Status::Ok.code()
            };
        }
    };
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let colour = |terminal: bool| match cli.output.color {
        Color::Auto => terminal && !no_color,
        Color::Always => true,
        Color::Never => false,
    };
    let mut output = Output {
        format: if cli.output.json {
            Format::Json
        } else {
            cli.output.format
        },
        style: Style {
            colour: colour(std::io::stdout().is_terminal()),
        },
        talk: Style {
            colour: colour(std::io::stderr().is_terminal()),
        },
        progress: std::io::stderr().is_terminal() && cli.output.color != Color::Never,
    };
    match dispatch(cli, &mut output) {
        Ok(status) => status.code(),
        Err(error) => {
            output.error(&error);
            error.status.code()
        }
    }
}

/// Worker processes for native code, which may be wrong: this very binary.
fn workers() -> Arc<Workers> {
    Arc::new(Workers::new("/proc/self/exe"))
}

/// Serves worker processes, see `nic_model::native::worker`.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn worker() -> Result<Status, Error> {
    match nic_model::native::worker::serve() {
        Ok(()) => Ok(Status::Ok),
        Err(error) => Err(Error::usage(error.to_string())),
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn worker() -> Result<Status, Error> {
    Err(Error::environment("native images run on x86-64 Linux only"))
}

fn dispatch(cli: Cli, output: &mut Output) -> Result<Status, Error> {
    if cli.version {
        return version::run(cli.verbose, output);
    }
    match cli.command {
        None => demo::run(output),
        Some(Command::Nic { what }) => nic::run(&what, output),
        Some(Command::Inspect(args)) => inspect::run(&args, output),
        Some(Command::Verify(args)) => verify::run(&args, output),
        Some(Command::Check(args)) => check::run(&args, output),
        Some(Command::Jit(args)) => jit::run(&args, output),
        Some(Command::Run(args)) => run::run(&args, output),
        Some(Command::Test(args)) => test::run(&args, output),
        Some(Command::Snapshot { what }) => snapshot::run(&what, output),
        Some(Command::Conformance(args)) => conformance::run(&args, output),
        Some(Command::Plugin(args)) => conformance::plugin(&args, output),
        Some(Command::Fuzz(args)) => fuzz::run(&args, output),
        Some(Command::Mutants(args)) => mutants::run(&args, output),
        Some(Command::Pcap { what }) => pcap::run(&what, output),
        Some(Command::Explain { rule }) => explain::run(rule.as_deref(), output),
        Some(Command::Worker) => worker(),
        Some(Command::Completions { shell }) => man::completions(shell, output),
        Some(Command::Man { dir }) => man::run(dir.as_deref(), output),
    }
}
