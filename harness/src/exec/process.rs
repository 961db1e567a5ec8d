//! Starting the program, and waiting for its answer with a limit on time and size.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde_json::Value;

/// What one answer may take; a program that needs longer is stopped.
const LIMIT: Duration = Duration::from_mins(1);
/// Most bytes of an answer.
const MOST_ANSWER: u64 = 64 << 20;
/// Most bytes kept of what it wrote to stderr.
const MOST_WORDS: u64 = 4096;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It could not be started.
    #[error("it cannot be started: {0}")]
    Start(std::io::Error),
    /// It ended with another status than 0.
    #[error("it ended with {status}{words}")]
    Status {
        /// The status.
        status: std::process::ExitStatus,
        /// The end of what it wrote to stderr, after `: `.
        words: String,
    },
    /// It took too long.
    #[error("it gave no answer in {} s, and was stopped", LIMIT.as_secs())]
    Time,
    /// The answer is no JSON.
    #[error("its answer is no JSON document: {0}")]
    Json(#[from] serde_json::Error),
    /// A pipe to it broke.
    #[error("talking to it failed: {0}")]
    Pipe(std::io::Error),
}

/// Asks one question.
pub(super) fn ask(program: &Path, question: &Value) -> Result<Value, Failure> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Failure::Start)?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Failure::Pipe(std::io::ErrorKind::BrokenPipe.into()));
    };
    let question = question.to_string();
    // A program may end without reading all that it is asked: that is no failure of its own.
    std::thread::spawn(move || stdin.write_all(question.as_bytes()));
    let (done, answer) = sync_channel(2);
    let words = std::thread::spawn(move || {
        let mut words = Vec::new();
        let read = stderr.take(MOST_WORDS).read_to_end(&mut words);
        read.map(|_bytes| String::from_utf8_lossy(&words).trim().to_owned())
    });
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(MOST_ANSWER).read_to_end(&mut bytes);
        // Nobody listens after the limit.
        let _nobody = done.send(read.map(|_bytes| bytes));
    });
    let answer = match answer.recv_timeout(LIMIT) {
        Ok(answer) => answer.map_err(Failure::Pipe),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Failure::Time),
    };
    if answer.is_err() {
        child.kill().map_err(Failure::Pipe)?;
    }
    let status = child.wait().map_err(Failure::Pipe)?;
    let answer = answer?;
    if !status.success() {
        let words = words.join().ok().and_then(Result::ok).unwrap_or_default();
        return Err(Failure::Status {
            status,
            words: if words.is_empty() {
                String::new()
            } else {
                format!(": {words}")
            },
        });
    }
    Ok(serde_json::from_slice(&answer)?)
}
