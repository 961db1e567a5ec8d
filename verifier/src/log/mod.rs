//! The log of exploration, in the form of the kernel's own (`log_level` 2): what is met on which
//! path, so that tools and eyes that know that log can read this one.
//!
//! Ids that link values are counted differently, and lines about precision and liveness
//! (`mark_precise: …`, `live stack update …`) have no counterpart here.

mod insn;
mod value;

use std::fmt::Write;

use isa::ebpf::Insn;

use crate::Stats;
use crate::domain::State;
use crate::transfer::{Context, Effects};

pub(crate) use insn::text;
pub(crate) use value::{register, registers};

/// Longest log kept, in bytes.
const MAX_LOG: usize = 64 << 20;
/// Column of what is known behind an instruction, or a multiple of 8 further to the right.
const STATE_COLUMN: usize = 40;

/// Writes a log.
#[derive(Debug)]
pub(crate) struct Log<'l> {
    out: &'l mut String,
    /// The source line that was written last: file and line.
    line: Option<(usize, u32)>,
    /// Where the current line starts.
    start: usize,
}

impl<'l> Log<'l> {
    pub(crate) fn new(out: &'l mut String, cx: &Context<'_>) -> Log<'l> {
        for (n, function) in cx.cfg.functions.iter().enumerate() {
            let _ = writeln!(out, "func#{n} @{}", function.start);
        }
        Log {
            out,
            line: None,
            start: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.out.len() > MAX_LOG
    }

    /// A path starts, or goes on behind the branch at `from`.
    pub(crate) fn path(&mut self, cx: &Context<'_>, from: Option<usize>, state: &State, pc: usize) {
        if self.is_full() {
            return;
        }
        let known = registers(&cx.platform, state);
        if let Some(from) = from {
            let _ = writeln!(self.out, "\nfrom {from} to {pc}: {known}");
        }
        let _ = writeln!(self.out, "{pc}: {known}");
        self.line = None;
    }

    /// What follows is covered by a kept state; `from` is the branch if the path started here.
    pub(crate) fn safe(&mut self, from: Option<usize>, pc: usize) {
        if self.is_full() {
            return;
        }
        let _ = match from {
            Some(from) => writeln!(self.out, "\nfrom {from} to {pc}: safe"),
            None => writeln!(self.out, "{pc}: safe"),
        };
    }

    /// An instruction is looked at.
    pub(crate) fn insn(&mut self, cx: &Context<'_>, pc: usize) {
        if self.is_full() {
            return;
        }
        let source = &cx.platform.program.source;
        let line = source.line_at(pc);
        let place = line.map(|line| (line.file, line.line));
        if place != self.line {
            self.line = place;
            if let Some(line) = line {
                let file = source.files.get(line.file).map_or("", String::as_str);
                let file = file.rsplit('/').next().unwrap_or(file);
                let _ = writeln!(self.out, "; {} @ {file}:{}", line.text.trim(), line.line);
            }
        }
        self.start = self.out.len();
        let _ = write!(self.out, "{pc}: {}", text(cx.platform.program, pc));
    }

    /// What is known behind it of what it touched.
    pub(crate) fn known(&mut self, cx: &Context<'_>, pc: usize, state: &State, effects: &Effects) {
        if self.is_full() {
            return;
        }
        let insn = &cx.platform.program.insns[pc];
        let regs = insn.reads() | insn.writes();
        let depth = state.depth();
        let is_call = matches!(insn, Insn::Call(_));
        let touched = effects.touches.iter().filter(|_| !is_call);
        let slots = touched
            .filter(|(frame, _)| usize::from(*frame) == depth)
            .fold(0, |all, (_, slots)| all | slots);
        let known = value::some(&cx.platform, state, regs, slots);
        if !known.is_empty() && !insn.is_terminator() {
            let used = self.out.len() - self.start + 2;
            let pad = (used + 3).max(STATE_COLUMN).next_multiple_of(8) - used;
            let _ = write!(self.out, "{:pad$}; {known}", "");
        }
        self.out.push('\n');
    }

    /// A function was entered.
    pub(crate) fn entered(&mut self, cx: &Context<'_>, state: &State, pc: usize) {
        if self.is_full() {
            return;
        }
        let caller = state.depth().saturating_sub(1);
        let above = value::frame(&cx.platform, state, caller);
        let known = registers(&cx.platform, state);
        let _ = writeln!(
            self.out,
            "\ncaller:\n {above}\ncallee:\n {known}\n{pc}: {known}"
        );
    }

    /// A function was left; `callee` is what was known at its exit.
    pub(crate) fn left(
        &mut self,
        cx: &Context<'_>,
        callee: &str,
        state: &State,
        (from, to): (usize, usize),
    ) {
        if self.is_full() {
            return;
        }
        let known = registers(&cx.platform, state);
        let _ = writeln!(
            self.out,
            "\nreturning from callee:\n {callee}\nto caller at {to}:\n {known}\n\nfrom {from} to {to}: {known}"
        );
        self.line = None;
    }

    /// The line of an instruction that ends the path.
    pub(crate) fn end_line(&mut self) {
        if !self.is_full() {
            self.out.push('\n');
        }
    }
}

/// Why the program is refused.
pub(crate) fn refused(log: &mut String, message: &str) {
    if !log.is_empty() && !log.ends_with('\n') {
        log.push('\n');
    }
    let _ = writeln!(log, "{message}");
}

/// What was spent, also written where the log is full; `frames` are the bytes of stack that each
/// function uses, if all was looked at.
pub(crate) fn processed(log: &mut String, stats: &Stats, frames: &[u32]) {
    if !frames.is_empty() {
        let bytes: Vec<String> = frames.iter().map(u32::to_string).collect();
        let _ = writeln!(log, "stack depth {}", bytes.join("+"));
    }
    let _ = writeln!(
        log,
        "processed {} insns (limit 1000000) max_states_per_insn {} \
         total_states {} peak_states {} mark_read 0",
        stats.insns_processed, stats.states_per_insn, stats.states, stats.states
    );
}
