//! Progress bars: on stderr, on a terminal alone, and only for what takes more than a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::output::Output;

/// What takes less has no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar with rate and time left.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// Whether it may be shown, and is not yet.
    waits: AtomicBool,
}

impl Progress {
    /// So many pieces of work, which `unit` names in the plural.
    pub(super) fn of(output: &Output, pieces: u64, unit: &str) -> Progress {
        let template =
            format!("{{bar:32}} {{human_pos}}/{{human_len}} {unit}, {{rate}}, {{eta}} left");
        Progress::new(output, pieces, &template)
    }

    /// So many bytes.
    pub(super) fn of_bytes(output: &Output, bytes: u64) -> Progress {
        let template = "{bar:32} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        Progress::new(output, bytes, template)
    }

    fn new(output: &Output, length: u64, template: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", rate));
        }
        Progress {
            bar,
            waits: AtomicBool::new(output.progress),
        }
    }

    /// So much more is done.
    pub(super) fn done(&self, pieces: u64) {
        let late = self.waits.load(Ordering::Relaxed) && self.bar.elapsed() > PATIENCE;
        if late && self.waits.swap(false, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(pieces);
    }

    /// All is done: the bar goes.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// Pieces a second, as precisely as one reads it.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let rate = state.per_sec();
    let _ = if rate < 10.0 {
        write!(out, "{rate:.1}/s")
    } else {
        write!(out, "{rate:.0}/s")
    };
}
