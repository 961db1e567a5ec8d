//! Helpers and the constraints on their arguments.

use bpf::finding::Severity;
use bpf::kfunc;
use isa::ebpf::Insn;
use verifier::Facts;
use verifier::facts::Region;

use super::instructions::region_name;
use super::{Certainty, Checker};
use crate::rules;
use crate::value::{Bound, Value};

pub(super) fn check(checker: &mut Checker<'_>) {
    for (pc, insn, facts) in checker.reachable() {
        let &Insn::Call(target) = insn else {
            continue;
        };
        let Some(id) = kfunc::callee(target) else {
            continue;
        };
        let name = bpf::helper::name(id).map_or_else(|| format!("helper {id}"), str::to_owned);
        if let Some((ground, certainty)) = checker.lacks("helpers", &name) {
            let why = checker.why(&ground);
            let message = match certainty {
                Certainty::Sure => format!("{name} cannot run on {}", checker.caps.name),
                Certainty::Unknown => {
                    format!("whether {} has {name} is not known", checker.caps.name)
                }
            };
            checker.add(
                certainty.severity(),
                rules::HELPER,
                Some(pc),
                name.clone(),
                message,
                why,
                help(&name),
            );
        } else {
            constraints(checker, pc, &name, facts);
            body(checker, pc, id, &name);
        }
    }
}

/// What the verifier knows of a helper is not enough to run it.
fn body(checker: &mut Checker<'_>, pc: usize, id: u32, name: &str) {
    if bpf::helper::has_body(id) {
        return;
    }
    checker.add(
        Severity::Error,
        rules::HELPER_BODY,
        Some(pc),
        name,
        format!("{name} is known to the verifier, but no engine here can run it"),
        "nicbed has the helper's types and rules, not what it does".to_owned(),
        "the kernel runs it: the program is safe there",
    );
}

fn help(name: &str) -> &'static str {
    match name {
        "bpf_fib_lookup" => "resolve the route on the host and pass it in a map",
        "bpf_redirect" | "bpf_redirect_map" => {
            "answer out of the same port with XDP_TX, or pass the frame to the host"
        }
        "bpf_map_update_elem" | "bpf_map_delete_elem" => {
            "let the host fill the map, or count by atomic additions to values that exist"
        }
        "bpf_tail_call" => "put the parts into one program",
        "bpf_ktime_get_ns"
        | "bpf_ktime_get_boot_ns"
        | "bpf_ktime_get_coarse_ns"
        | "bpf_jiffies64" => "let the host write the time into a map now and then",
        "bpf_csum_diff" => "compute the checksum's change by hand from the words that change",
        "bpf_trace_printk" | "bpf_trace_vprintk" => "leave it out: count in a map instead",
        "bpf_perf_event_output" | "bpf_ringbuf_output" | "bpf_ringbuf_reserve" => {
            "pass the frame to the host and sample it there"
        }
        "bpf_get_smp_processor_id" => "use a map with one value instead of one a CPU",
        _ => "do this part on the host",
    }
}

fn constraints(checker: &mut Checker<'_>, pc: usize, name: &str, facts: &Facts) {
    if let Some(call) = &facts.call {
        regions(checker, pc, name, "key", call.key);
        regions(checker, pc, name, "value", call.value);
        key_alignment(checker, pc, name, call.key);
    }
    flags(checker, pc, name, facts);
    delta(checker, pc, name, facts);
}

fn regions(
    checker: &mut Checker<'_>,
    pc: usize,
    name: &str,
    which: &'static str,
    place: Option<(Region, i64)>,
) {
    let region = place.and_then(|(region, _)| region_name(region));
    for ground in checker.grounds(&format!("helper.{name}.{which}_regions")) {
        let Value::Names(names) = &ground.fact.value else {
            continue;
        };
        let (severity, lies) = match region {
            Some(region) if names.contains(region) => continue,
            Some(region) => (
                Severity::Error,
                format!("lies in the {}", region.replace('_', " ")),
            ),
            // It may lie in the region at an offset that differs from path to path.
            None => (
                Severity::Warning,
                "lies at no single known place".to_owned(),
            ),
        };
        let why = checker.why(&ground);
        checker.add(
            severity,
            rules::HELPER_CONSTRAINT,
            Some(pc),
            name,
            format!(
                "the {which} of {name} {lies}, {} takes it only from: {names}",
                checker.caps.name
            ),
            why,
            format!("copy the {which} into a local variable and pass that"),
        );
    }
}

fn key_alignment(checker: &mut Checker<'_>, pc: usize, name: &str, key: Option<(Region, i64)>) {
    let Some((_, offset)) = key else { return };
    for ground in checker.grounds(&format!("helper.{name}.key_align_bytes")) {
        let Value::Number(Bound::Known(align)) = ground.fact.value else {
            continue;
        };
        if align > 0 && offset.rem_euclid(align as i64) != 0 {
            let why = checker.why(&ground);
            checker.error(
                rules::HELPER_CONSTRAINT,
                Some(pc),
                name,
                format!("the key of {name} lies at offset {offset}, no multiple of {align} bytes"),
                why,
                format!("align the key: __attribute__((aligned({align})))"),
            );
        }
    }
}

/// Which register holds the flags of a helper.
fn flags_register(name: &str) -> Option<u8> {
    match name {
        "bpf_map_update_elem" | "bpf_fib_lookup" => Some(4),
        "bpf_perf_event_output" | "bpf_redirect_map" | "bpf_map_push_elem" => Some(3),
        "bpf_redirect" => Some(2),
        _ => None,
    }
}

fn flags(checker: &mut Checker<'_>, pc: usize, name: &str, facts: &Facts) {
    for ground in checker.grounds(&format!("helper.{name}.flags")) {
        let Value::Number(Bound::Known(only)) = ground.fact.value else {
            continue;
        };
        let Some(register) = flags_register(name) else {
            continue;
        };
        let range = checker.argument(pc, register, facts);
        if range.is_some_and(|(low, high)| low == high && u64::from(low as u32) == only) {
            continue;
        }
        let why = checker.why_shown(&ground, &format!("only {only:#x}"));
        let found = match range {
            Some((low, high)) if low == high => format!("{low:#x}"),
            _ => "not one known constant".to_owned(),
        };
        checker.error(
            rules::HELPER_CONSTRAINT,
            Some(pc),
            name,
            format!("the flags of {name} are {found}"),
            why,
            if only == 0xffff_ffff {
                "pass BPF_F_CURRENT_CPU".to_owned()
            } else {
                format!("pass {only:#x}")
            },
        );
    }
}

fn delta(checker: &mut Checker<'_>, pc: usize, name: &str, facts: &Facts) {
    let Some((low, high)) = checker.argument(pc, 2, facts) else {
        return;
    };
    let (low, high) = (i64::from(low), i64::from(high));
    for ground in checker.grounds(&format!("helper.{name}.delta_bytes")) {
        let Value::Interval(least, largest) = ground.fact.value else {
            continue;
        };
        if low >= least && high <= largest {
            continue;
        }
        let why = checker.why(&ground);
        let (severity, message) = if low == high {
            (
                Severity::Error,
                format!("{name} adjusts by {low}, outside {least} to {largest}"),
            )
        } else {
            (
                Severity::Warning,
                format!("{name} may adjust by less or more than {least} to {largest}"),
            )
        };
        checker.add(
            severity,
            rules::HELPER_CONSTRAINT,
            Some(pc),
            name,
            message,
            why,
            "adjust in several steps, or by a constant that fits",
        );
    }
}
