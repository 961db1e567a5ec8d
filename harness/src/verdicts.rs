//! Two verdicts on one program: nicbed's verifier's and the running kernel's, and where they
//! first differ.

use std::sync::Arc;

use bpf::Program;
use cpu_reference::{Judgement, Unsupported};
use serde::Serialize;
use verifier::{Options, Rejection, Verified};

/// What the kernel said, beside what nicbed said.
#[derive(Debug, Serialize)]
pub struct KernelVerdict {
    /// Whether the kernel takes the program.
    pub accepted: bool,
    /// Error number of the load, if not.
    pub errno: Option<i32>,
    /// Slot it was at when it refused, where its log tells.
    pub pc: Option<usize>,
    /// Why it refused, in its words.
    pub message: String,
    /// Instructions it looked at over all paths.
    pub insns_processed: Option<u64>,
    /// Microseconds it took, by its own clock; differs from run to run.
    pub micros: Option<u64>,
    /// Whether both verdicts are the same.
    pub agrees: bool,
    /// The first difference; null where there is none.
    pub difference: Option<Difference>,
}

/// Where both first differ.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// `verdict` where only one accepts, `place` where both refuse, at different instructions.
    pub kind: &'static str,
    /// The step of exploration, counted from 0, from which on other instructions are looked at;
    /// null where one log is the beginning of the other or there is none.
    pub step: Option<usize>,
    /// The line of nicbed's log there.
    pub here: String,
    /// The line of the kernel's.
    pub kernel: String,
}

/// Asks the kernel about a program that nicbed has judged.
///
/// # Errors
/// [`Unsupported`] if the kernel cannot be asked.
pub fn ask_kernel(
    program: &Arc<Program>,
    ours: &Result<Verified, Box<Rejection>>,
) -> Result<KernelVerdict, Unsupported> {
    let theirs = cpu_reference::judge(program)?;
    let agrees = ours.is_ok() == theirs.accepted;
    let kind = match ours {
        _ if !agrees => Some("verdict"),
        Err(rejection) if theirs.pc.is_some() && rejection.finding.pc != theirs.pc => Some("place"),
        _ => None,
    };
    let difference = match kind {
        Some(kind) => Some(difference(kind, program)?),
        None => None,
    };
    let Judgement {
        accepted,
        errno,
        pc,
        message,
        insns_processed,
        micros,
        ..
    } = theirs;
    Ok(KernelVerdict {
        accepted,
        errno,
        pc,
        message,
        insns_processed,
        micros,
        agrees,
        difference,
    })
}

fn difference(kind: &'static str, program: &Arc<Program>) -> Result<Difference, Unsupported> {
    let options = Options {
        log: true,
        ..Options::default()
    };
    let ours = match verifier::verify(Arc::clone(program), options) {
        Ok(verified) => verified.log().to_owned(),
        Err(rejection) => rejection.log,
    };
    let theirs = cpu_reference::log_from_the_start(program)?;
    let (mut here, mut kernel) = (steps(&ours), steps(&theirs));
    let mut step = 0;
    Ok(loop {
        let (a, b) = (here.next(), kernel.next());
        let same = match (a, b) {
            (Some((a, _)), Some((b, _))) => a == b,
            _ => false,
        };
        if same {
            step += 1;
            continue;
        }
        let line = |found: Option<(usize, &str)>| found.map(|(_, line)| line.to_owned());
        break Difference {
            kind,
            step: a.and(b).is_some().then_some(step),
            here: line(a).unwrap_or_default(),
            kernel: line(b).unwrap_or_default(),
        };
    })
}

/// The instructions that a log shows, in order: pc and line.
pub fn steps(log: &str) -> impl Iterator<Item = (usize, &str)> {
    log.lines().filter_map(|line| {
        let (pc, rest) = line.split_once(": (")?;
        // `12: (b7) r0 = 0`
        rest.get(2..3).filter(|close| *close == ")")?;
        Some((pc.parse().ok()?, line))
    })
}
