//! [`Error`]: what stops a command, and the exit status it means.

use std::fmt;

/// Exit status of the command line, as `docs/cli.md` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Every cell offloads and is equal, every test or case passed.
    Ok,
    /// A fallback, a rejection, a failed test, a changed snapshot, a regression.
    Negative,
    /// Bad invocation; unknown NIC, rule or program name.
    Usage,
    /// Input unreadable or malformed, output not writable.
    Input,
    /// The environment lacks what was asked for.
    Environment,
    /// NIC and reference disagree.
    Disagree,
}

impl Status {
    /// The number that the process exits with.
    pub const fn code(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::Negative => 1,
            Status::Usage => 2,
            Status::Input => 3,
            Status::Environment => 4,
            Status::Disagree => 5,
        }
    }

    /// The one of two that a command with several results exits with: a disagreement wins over
    /// all, unreadable input over a negative answer.
    #[must_use]
    pub fn worst(self, other: Status) -> Status {
        self.max(other)
    }
}

/// What stops a command. The text names what, where and why, and what to do next.
#[derive(Debug)]
pub struct Error {
    /// The exit status it means.
    pub status: Status,
    message: String,
    help: Option<String>,
}

impl Error {
    /// A bad invocation (2).
    pub fn usage(message: impl Into<String>) -> Error {
        Error {
            status: Status::Usage,
            message: message.into(),
            help: None,
        }
    }

    /// Unreadable or malformed input, or an unwritable output (3).
    pub fn input(message: impl Into<String>) -> Error {
        Error {
            status: Status::Input,
            message: message.into(),
            help: None,
        }
    }

    /// Something the environment lacks (4).
    pub fn environment(message: impl Into<String>) -> Error {
        Error {
            status: Status::Environment,
            message: message.into(),
            help: None,
        }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Error {
        self.help = Some(help.into());
        self
    }

    /// What to do next, where it is known.
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
