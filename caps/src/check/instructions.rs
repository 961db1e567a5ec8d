//! Instructions: groups, versions, single opcodes, atomics.

use bpf::finding::Severity;
use isa::ebpf::{AluOp, CpuVersion, Group, Insn, Operand, Row, Width};
use verifier::Facts;
use verifier::facts::{RegKind, Region};

use super::{Certainty, Checker, Ground};
use crate::rules;
use crate::value::{Names, Value};

/// Why an instruction is not taken.
enum Refusal<'a> {
    /// Its group.
    Missing(Ground<'a>, Certainty),
    /// It by name.
    Excluded(Ground<'a>),
    /// Its version.
    TooNew(Ground<'a>, &'static str),
}

pub(super) fn check(checker: &mut Checker<'_>) {
    for (pc, insn, facts) in checker.reachable() {
        let row = insn.row();
        division(checker, pc, insn, facts);
        let is_atomic = matches!(
            insn,
            Insn::Atomic { .. } | Insn::LoadAcquire { .. } | Insn::StoreRelease { .. }
        );
        match refusal(checker, row) {
            None => {
                if is_atomic && let Some(access) = facts.access {
                    atomic_region(checker, pc, row, access.region);
                }
            }
            Some(Refusal::TooNew(ground, newest)) => {
                let why = checker.why(&ground);
                checker.error(
                    rules::TOO_NEW,
                    Some(pc),
                    row.mnemonic(),
                    format!(
                        "`{}` is of CPU version {}, {} takes up to {newest}",
                        row.mnemonic(),
                        row.cpu(),
                        checker.caps.name
                    ),
                    why,
                    too_new_help(row, newest),
                );
            }
            Some(refusal) => {
                let (why, certainty) = match refusal {
                    Refusal::Missing(ground, certainty) => (checker.why(&ground), certainty),
                    Refusal::Excluded(ground) | Refusal::TooNew(ground, _) => {
                        let without = format!("no `{}`", row.mnemonic());
                        (checker.why_shown(&ground, &without), Certainty::Sure)
                    }
                };
                let (rule, help) = if is_atomic {
                    (
                        rules::ATOMIC,
                        "use a per-CPU map and plain additions, or an atomic of the list",
                    )
                } else {
                    (rules::ISA, help(row))
                };
                let message = match certainty {
                    Certainty::Sure => {
                        format!(
                            "{} does not execute `{}`",
                            checker.caps.name,
                            row.mnemonic()
                        )
                    }
                    Certainty::Unknown => format!(
                        "whether {} executes `{}` is not known",
                        checker.caps.name,
                        row.mnemonic()
                    ),
                };
                checker.add(
                    certainty.severity(),
                    rule,
                    Some(pc),
                    row.mnemonic(),
                    message,
                    why,
                    help,
                );
            }
        }
    }
}

/// A division whose divisor can be zero, where that stops the core.
fn division(checker: &mut Checker<'_>, pc: usize, insn: &Insn, facts: &Facts) {
    let Insn::Alu {
        op: AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod,
        width,
        src: Operand::Reg(divisor),
        ..
    } = insn
    else {
        return;
    };
    let fact = facts.registers[divisor.index()];
    let least = match width {
        Width::W64 => fact.range.umin,
        Width::W32 => u64::from(fact.range.u32_min),
    };
    if fact.kind == RegKind::Scalar && least > 0 {
        return;
    }
    for ground in checker.grounds("isa.division_by_zero") {
        let (severity, message) = match &ground.fact.value {
            Value::Choice(word) if word == "halt" => (
                Severity::Error,
                format!(
                    "{} stops if {divisor} is 0 here, where a CPU goes on with 0",
                    checker.caps.name
                ),
            ),
            Value::Choice(_) => continue,
            _ => (
                Severity::Warning,
                format!(
                    "what {} does if {divisor} is 0 here is not known",
                    checker.caps.name
                ),
            ),
        };
        let why = checker.why(&ground);
        checker.add(
            severity,
            rules::DIVISION_BY_ZERO,
            Some(pc),
            insn.row().mnemonic(),
            message,
            why,
            "compare the divisor with 0 before, and divide only if it is not",
        );
    }
}

/// Why the NIC does not take a row of the instruction table; `None` if it does.
fn refusal<'a>(checker: &Checker<'a>, row: &Row) -> Option<Refusal<'a>> {
    let listed = |ground: &Ground<'_>| match &ground.fact.value {
        Value::Names(names) => names.contains(row.mnemonic()),
        _ => false,
    };
    if let Some(ground) = checker
        .grounds("isa.excluded_opcodes")
        .into_iter()
        .find(listed)
    {
        return Some(Refusal::Excluded(ground));
    }
    let extra = checker.grounds("isa.extra_opcodes");
    if !extra.is_empty() && extra.iter().any(listed) {
        return None;
    }
    for ground in checker.grounds("isa.groups") {
        match &ground.fact.value {
            Value::Names(Names::All) => {}
            Value::Names(Names::List(list)) => {
                let has = list
                    .iter()
                    .filter_map(|name| Group::from_name(name))
                    .any(|group| group.includes(row.group()));
                if !has {
                    return Some(Refusal::Missing(ground, Certainty::Sure));
                }
            }
            _ => return Some(Refusal::Missing(ground, Certainty::Unknown)),
        }
    }
    for ground in checker.grounds("isa.cpu_version") {
        match &ground.fact.value {
            Value::Choice(word) => {
                if let Some(newest) = CpuVersion::from_name(word)
                    && row.cpu() > newest
                {
                    return Some(Refusal::TooNew(ground, newest.name()));
                }
            }
            _ if row.cpu() > CpuVersion::V1 => {
                return Some(Refusal::Missing(ground, Certainty::Unknown));
            }
            _ => {}
        }
    }
    None
}

fn atomic_region(checker: &mut Checker<'_>, pc: usize, row: &Row, region: Region) {
    let Some(name) = region_name(region) else {
        return;
    };
    if let Some((ground, certainty)) = checker.lacks("isa.atomic_regions", name) {
        let why = checker.why(&ground);
        let severity = match certainty {
            Certainty::Sure => Severity::Error,
            Certainty::Unknown => Severity::Warning,
        };
        checker.add(
            severity,
            rules::ATOMIC,
            Some(pc),
            row.mnemonic(),
            format!(
                "{} does not take an atomic on the {}",
                checker.caps.name,
                name.replace('_', " ")
            ),
            why,
            "keep what is counted in a map value, or add without an atomic",
        );
    }
}

/// The name that profiles use of a region; `None` where there is no single one.
pub(crate) fn region_name(region: Region) -> Option<&'static str> {
    match region {
        Region::Stack { .. } => Some("stack"),
        Region::Packet => Some("packet"),
        Region::PacketMeta => Some("packet_meta"),
        Region::MapValue { .. } => Some("map_value"),
        Region::Memory => Some("memory"),
        Region::Ctx | Region::Socket | Region::Kernel | Region::Mixed => None,
    }
}

fn too_new_help(row: &Row, newest: &str) -> String {
    if row.cpu() == CpuVersion::Later {
        "leave it out: no -mcpu makes clang emit it by itself".to_owned()
    } else {
        format!("compile with -mcpu={newest}")
    }
}

fn help(row: &Row) -> &'static str {
    match row.group() {
        Group::Divmul32 | Group::Divmul64 => {
            "divide by powers of two with shifts and masks, or divide on the host"
        }
        Group::Packet => "read the packet directly, after a comparison with data_end",
        Group::Callx => "compile with -O1 or more, so that the callee is known",
        _ if row.mnemonic().starts_with('j') && row.mnemonic().contains("32_") => {
            "compile with -mcpu=v2, which has no such jump"
        }
        _ if row.mnemonic().starts_with("call_") => "inline the function (__always_inline)",
        _ => "",
    }
}
