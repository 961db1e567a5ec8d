//! Program memory, stack, nested calls, loops.

use bpf::finding::Severity;
use isa::ebpf::{CallTarget, Insn};
use verifier::facts::Region;

use super::{Checker, frames};
use crate::rules;
use crate::value::{Bound, Unit, Value};

pub(super) fn check(checker: &mut Checker<'_>) {
    image(checker);
    stack(checker);
    calls(checker);
    loops(checker);
}

fn image(checker: &mut Checker<'_>) {
    let slots = checker.program.insns.len() as u64;
    let name = checker.program.name.clone();
    for ground in checker.grounds("image.length") {
        let Value::Limit(limit) = &ground.fact.value else {
            continue;
        };
        if limit.value == Bound::Unlimited {
            continue;
        }
        let why = checker.why(&ground);
        if limit.value == Bound::Unknown {
            checker.add(
                Severity::Note,
                rules::NOT_TRANSLATED,
                None,
                name.clone(),
                format!(
                    "how long an image can be on {} is not known",
                    checker.caps.name
                ),
                why,
                "",
            );
        } else if limit.unit != Unit::Slots {
            checker.add(
                Severity::Note,
                rules::NOT_TRANSLATED,
                None,
                name.clone(),
                format!("whether the image fits into {limit} is known only after translation"),
                why,
                "",
            );
        } else if limit.exceeded_by(slots) {
            checker.error(
                rules::TOO_LONG,
                // The first instruction that does not fit.
                limit.value.known().map(|n| n as usize),
                name.clone(),
                format!(
                    "the program is {slots} slots long, {} has {}",
                    checker.caps.name, limit.value
                ),
                why,
                "compile with -O2 or -Os, leave out cases, or split the work with the host",
            );
        }
    }
}

fn stack(checker: &mut Checker<'_>) {
    for ground in checker.grounds("stack.bytes") {
        let Value::Limit(limit) = &ground.fact.value else {
            continue;
        };
        let (used, function) = frames::deepest(checker.verified, limit.granule);
        if !limit.value.exceeded_by(used) {
            continue;
        }
        let room = limit.value.known().unwrap_or(0);
        let why = checker.why(&ground);
        checker.error(
            rules::STACK,
            stack_access(checker, function),
            "stack",
            format!(
                "the program needs {used} bytes of stack, {} has {room}",
                checker.caps.name
            ),
            why,
            if room == 0 {
                "keep everything in registers: look at what the compiler spills, and at local structures"
            } else {
                "keep large local structures in a map, or inline fewer functions"
            },
        );
    }
}

/// The access of a function that reaches deepest into its frame.
fn stack_access(checker: &Checker<'_>, function: usize) -> Option<usize> {
    checker
        .reachable()
        .filter(|(pc, _, _)| checker.program.subprogram_at(*pc) == Some(function))
        .filter_map(|(pc, _, facts)| Some((pc, facts.access?)))
        .filter(|(_, access)| matches!(access.region, Region::Stack { up: 0 }))
        .min_by_key(|(pc, access)| (access.min, *pc))
        .map(|(pc, _)| pc)
}

fn calls(checker: &mut Checker<'_>) {
    let depth = u64::from(checker.verified.stats().call_depth);
    let first = checker
        .reachable()
        .find(|(_, insn, _)| matches!(insn, Insn::Call(CallTarget::Local { .. })))
        .map(|(pc, _, _)| pc);
    // A verifier that counts nothing still shows that there are calls.
    let depth = depth.max(if first.is_some() { 2 } else { 1 });
    for ground in checker.grounds("calls.frames") {
        let Value::Number(bound) = ground.fact.value else {
            continue;
        };
        let (severity, message) = match bound {
            Bound::Known(frames) if depth > frames => (
                Severity::Error,
                format!(
                    "calls are {depth} functions deep, {} has {frames}",
                    checker.caps.name
                ),
            ),
            Bound::Unknown if depth > 1 => (
                Severity::Warning,
                format!(
                    "whether {} executes calls between functions is not known",
                    checker.caps.name
                ),
            ),
            _ => continue,
        };
        let why = checker.why_shown(&ground, &format!("{bound} frames"));
        checker.add(
            severity,
            rules::CALLS,
            first,
            "call_local",
            message,
            why,
            "inline functions (static __always_inline)",
        );
    }
}

fn loops(checker: &mut Checker<'_>) {
    let closing = checker.graph.loops();
    for ground in checker.grounds("loops") {
        let (severity, message) = match &ground.fact.value {
            Value::Choice(word) if word == "none" => (
                Severity::Error,
                format!("{} does not execute loops", checker.caps.name),
            ),
            Value::Unknown => (
                Severity::Warning,
                format!("whether {} executes loops is not known", checker.caps.name),
            ),
            _ => continue,
        };
        for &pc in &closing {
            let known = ground.fact.value != Value::Unknown;
            let value = if known { "no loops" } else { "no known value" };
            let why = checker.why_shown(&ground, value);
            checker.add(
                severity,
                rules::LOOPS,
                Some(pc),
                "loop",
                message.clone(),
                why,
                "unroll the loop: #pragma clang loop unroll(full)",
            );
        }
    }
}
