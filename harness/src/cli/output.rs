//! Where a command writes: results to stdout, talk to stderr.

use std::io::Write as _;

use super::args::Format;
use crate::error::Error;
use crate::report::Style;

/// How a command writes.
#[derive(Debug)]
pub(super) struct Output {
    /// Form of the result.
    pub(super) format: Format,
    /// Colour of the result.
    pub(super) style: Style,
    /// Colour of the talk.
    pub(super) talk: Style,
    /// Whether progress bars are shown.
    pub(super) progress: bool,
}

impl Output {
    /// Writes a piece of the result.
    ///
    /// # Errors
    /// If stdout cannot be written; a closed pipe is no error.
    pub(super) fn print(&self, text: &str) -> Result<(), Error> {
        self.print_bytes(text.as_bytes())
    }

    /// Writes a piece of the result.
    ///
    /// # Errors
    /// If stdout cannot be written; a closed pipe is no error.
    #[expect(
        clippy::unused_self,
        reason = "a result is written through the output alone"
    )]
    pub(super) fn print_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::input(format!("stdout: cannot write: {e}")))
            }
            _ => Ok(()),
        }
    }

    /// Writes a JSON document.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub(super) fn json(&self, value: &impl serde::Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|e| Error::input(format!("the result cannot be written as JSON: {e}")))?;
        text.push('\n');
        self.print(&text)
    }

    /// Writes a file that the user named.
    ///
    /// # Errors
    /// If it cannot be written.
    #[expect(
        clippy::unused_self,
        reason = "what a command writes is written through the output alone"
    )]
    pub(super) fn file(&self, path: &std::path::Path, bytes: &[u8]) -> Result<(), Error> {
        std::fs::write(path, bytes)
            .map_err(|e| Error::input(format!("{}: cannot write: {e}", path.display())))
    }

    /// Whether the result is to be JSON.
    ///
    /// # Errors
    /// If another form was asked for that this command does not have.
    pub(super) fn is_json(&self) -> Result<bool, Error> {
        match self.format {
            Format::Text => Ok(false),
            Format::Json => Ok(true),
            Format::Toml | Format::Tlv => Err(Error::usage(
                "--format toml and tlv are for `nicbed nic show`",
            )
            .help("this command has --format text and json")),
            Format::Csv | Format::Markdown | Format::Sarif | Format::Junit | Format::Github => {
                Err(Error::usage(
                    "--format csv, markdown, sarif and github are for `nicbed check`, junit also for `nicbed test`",
                )
                .help("this command has --format text and json"))
            }
        }
    }

    /// Something worth knowing that is no part of the result.
    pub(super) fn talk(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{}", self.talk.dim(text));
    }

    /// A remark.
    pub(super) fn warn(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{}: {text}", self.talk.warn("warning"));
    }

    /// What stopped the command.
    pub(super) fn error(&self, error: &Error) {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{}: {error}", self.talk.bad("error"));
        if let Some(help) = error.help_text() {
            let _ = writeln!(err, "  = help: {help}");
        }
    }
}
