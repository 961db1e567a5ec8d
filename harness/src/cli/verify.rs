//! `nicbed verify`

use std::path::Path;
use std::sync::Arc;

use bpf::{Program, ProgramSet, Refused};
use cpu_reference::Unsupported;
use verifier::Options;

use super::args::{CompareWith, VerifyArgs, WhatIfArgs};
use super::input;
use super::output::Output;
use crate::clock::Stopwatch;
use crate::error::{Error, Status};
use crate::report::facts::{self, facts};
use crate::report::json::{Document, Reject, Results, VerifyResult, VerifyStats};
use crate::report::render_finding;
use crate::verdicts::{self, KernelVerdict};

pub(super) fn run(args: &VerifyArgs, output: &mut Output) -> Result<Status, Error> {
    let json = output.is_json()?;
    let device = match &args.nic {
        Some(name) => Some(input::nic(name, &WhatIfArgs::default())?),
        None => None,
    };
    let queues = device.as_ref().map_or(1, |d| d.model().queues_default);
    let mut status = Status::Ok;
    let mut results = Vec::new();
    for path in &args.objects {
        let mut unreadable = |error: Error| {
            status = status.worst(error.status);
            if !json {
                output.error(&error);
            }
            results.push(unreadable(path, &error));
        };
        let set = match input::object(path, &args.load, queues) {
            Ok(set) => set,
            Err(error) => {
                unreadable(error);
                continue;
            }
        };
        let chosen = match input::programs(&set, &args.load) {
            Ok(chosen) => chosen,
            Err(error) => {
                unreadable(error);
                continue;
            }
        };
        for refused in chosen.refused {
            results.push(one_refused(&set, refused, output, json)?);
        }
        for program in &chosen.programs {
            results.push(one(args, &set, program, device.as_deref(), output, json)?);
        }
    }
    if results.iter().any(|r| r.accepted == Some(false)) {
        status = status.worst(Status::Negative);
    }
    if results
        .iter()
        .filter_map(|r| r.kernel.as_ref())
        .any(|k| !k.agrees)
    {
        status = status.worst(Status::Disagree);
    }
    if json {
        output.json(&Document::new("verify", Results { results }))?;
    }
    Ok(status)
}

fn one(
    args: &VerifyArgs,
    set: &ProgramSet,
    program: &Arc<Program>,
    device: Option<&caps::Caps>,
    output: &Output,
    json: bool,
) -> Result<VerifyResult, Error> {
    let backend = device.and_then(|d| jit_backends::by_name(&d.backend));
    let mut hooks = backend
        .zip(device)
        .and_then(|(b, d)| b.hooks(d, &jit_backends::Loaded::default()));
    let watch = Stopwatch::start();
    let verdict = verifier::verify(
        Arc::clone(program),
        Options {
            device: hooks
                .as_mut()
                .map(|h| h.as_mut() as &mut dyn verifier::DeviceHooks),
            port: device.map(|_| 1),
            device_bound: device.is_some(),
            log: args.log,
        },
    );
    let micros = watch.elapsed().as_micros() as u64;
    let kernel = match args.compare {
        Some(CompareWith::Kernel) => {
            let asked = verdicts::ask_kernel(program, &verdict);
            Some(asked.map_err(|reason| cannot_ask(&set.object, program, &reason))?)
        }
        None => None,
    };
    let (stats, log) = match &verdict {
        Ok(v) => (v.stats(), v.log().to_owned()),
        Err(r) => (r.stats, r.log.clone()),
    };
    let result = VerifyResult {
        object: set.object.clone(),
        program: program.name.clone(),
        accepted: Some(verdict.is_ok()),
        reject: verdict.as_ref().err().map(|r| Reject::from(&r.finding)),
        stats: Some(VerifyStats {
            insns_processed: stats.insns_processed,
            states: stats.states,
            micros,
        }),
        kernel,
        facts: match &verdict {
            Ok(v) if args.facts => Some(facts(v)),
            _ => None,
        },
        log: args.log.then_some(log.clone()),
        error: None,
    };
    if !json {
        let style = output.style;
        output.print(&log)?;
        match &verdict {
            Ok(v) => {
                output.print(&format!(
                    "{}: {} {}: {} insns, {} processed, {} states, {} bytes of stack\n",
                    set.object,
                    program.name,
                    style.good("accepted"),
                    program.insns.len(),
                    stats.insns_processed,
                    stats.states,
                    stats.stack_bytes,
                ))?;
                if args.facts {
                    output.print(&facts_text(v))?;
                }
            }
            Err(rejection) => {
                output.print(&format!(
                    "{}: {} {}\n{}",
                    set.object,
                    program.name,
                    style.bad("rejected"),
                    render_finding(&rejection.finding, &set.object, Some(program), style)
                ))?;
            }
        }
        if let Some(kernel) = &result.kernel {
            output.print(&kernel_text(kernel, style))?;
        }
    }
    Ok(result)
}

fn cannot_ask(object: &str, program: &Program, reason: &Unsupported) -> Error {
    let text = format!(
        "{object}: {}: the kernel cannot be asked: {reason}",
        program.name
    );
    Error::environment(text)
        .help("--compare kernel needs Linux, and the right to load programs (root, or CAP_BPF with CAP_PERFMON and CAP_NET_ADMIN)")
}

fn kernel_text(kernel: &KernelVerdict, style: crate::report::Style) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let processed = kernel
        .insns_processed
        .map_or_else(String::new, |n| format!(": {n} processed"));
    if kernel.accepted {
        let _ = writeln!(text, "  kernel: {}{processed}", style.good("accepted"));
    } else {
        let at = kernel
            .pc
            .map_or_else(String::new, |pc| format!(" at insn {pc}"));
        let _ = writeln!(
            text,
            "  kernel: {}{at}: {}",
            style.bad("rejected"),
            kernel.message
        );
    }
    if !kernel.agrees {
        let _ = writeln!(text, "  {}", style.bad("the verdicts differ"));
    }
    if let Some(difference) = &kernel.difference {
        let step = match difference.step {
            Some(step) => format!("after {step} instructions on the same way"),
            None => "where one ends".to_owned(),
        };
        let line = |line: &str| {
            if line.is_empty() {
                "(ends)".to_owned()
            } else {
                line.to_owned()
            }
        };
        let _ = writeln!(
            text,
            "  first difference, {step}:\n    here   {}\n    kernel {}",
            line(&difference.here),
            line(&difference.kernel)
        );
    }
    text
}

/// A program that the loader refuses: rejected, or of another kind and then no matter here.
fn one_refused(
    set: &ProgramSet,
    refused: &Refused,
    output: &Output,
    json: bool,
) -> Result<VerifyResult, Error> {
    let (style, has_hook) = (output.style, input::has_hook(refused));
    if !json {
        output.print(&format!(
            "{}: {} {}\n{}",
            set.object,
            refused.name,
            if has_hook {
                style.bad("rejected")
            } else {
                style.warn("not for a NIC")
            },
            render_finding(&refused.finding, &set.object, None, style)
        ))?;
    }
    Ok(VerifyResult {
        object: set.object.clone(),
        program: refused.name.clone(),
        accepted: has_hook.then_some(false),
        reject: has_hook.then(|| Reject::from(&refused.finding)),
        stats: None,
        kernel: None,
        facts: None,
        log: None,
        error: (!has_hook).then(|| refused.finding.message.clone()),
    })
}

fn unreadable(path: &Path, error: &Error) -> VerifyResult {
    VerifyResult {
        object: path.display().to_string(),
        program: String::new(),
        accepted: None,
        reject: None,
        stats: None,
        kernel: None,
        facts: None,
        log: None,
        error: Some(error.to_string()),
    }
}

fn facts_text(verified: &verifier::Verified) -> String {
    use std::fmt::Write as _;
    let program = verified.program();
    let mut text = String::new();
    for (pc, insn) in program.insns.iter().enumerate() {
        if matches!(insn, isa::ebpf::Insn::WideTail) {
            continue;
        }
        let shown = crate::disassembly::insn(program, pc);
        let known = facts::line(verified, pc);
        let _ = writeln!(text, "{pc:>5}: {shown:<44} ; {known}");
    }
    text
}
