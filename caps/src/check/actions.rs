//! Return codes: which verdicts a program can give, and where each is chosen.
//!
//! From every exit of the entry function the instructions that may have written r0 are sought
//! backwards. A constant is judged where it is loaded, so that a finding names that line, and
//! not the exit which all paths share.

use bpf::Hook;
use bpf::finding::Severity;
use isa::ebpf::{AluOp, CallTarget, Insn, Operand, Reg};

use super::{Certainty, Checker};
use crate::rules;
use crate::value::{Names, Value};

/// Ranges longer than this are not listed code by code: nothing is known of them.
const MOST_CODES: u64 = 16;

pub(super) fn check(checker: &mut Checker<'_>) {
    let row = match checker.program.hook {
        Hook::Xdp { .. } => "actions.xdp",
        Hook::Tc { .. } => "actions.tc",
        Hook::Raw { .. } => return,
    };
    if checker.names_all(row) {
        return;
    }
    for (pc, codes) in verdicts(checker) {
        let is_sure = codes.len() == 1;
        for code in codes {
            judge(checker, row, pc, code, is_sure);
        }
    }
}

impl Checker<'_> {
    /// Whether every layer of a list has every name.
    fn names_all(&self, row: &str) -> bool {
        self.grounds(row)
            .iter()
            .all(|ground| ground.fact.value == Value::Names(Names::All))
    }
}

fn judge(checker: &mut Checker<'_>, row: &'static str, pc: usize, code: u32, is_sure: bool) {
    let verdict = bpf::run::Verdict::new(&checker.program.hook, u64::from(code), false);
    let name = verdict.name();
    let Some((ground, certainty)) = checker.lacks(row, name) else {
        return;
    };
    let why = checker.why(&ground);
    let may = if is_sure { "returns" } else { "may return" };
    let severity = match certainty {
        Certainty::Sure if is_sure => Severity::Error,
        _ => Severity::Warning,
    };
    let message = match certainty {
        Certainty::Sure => format!(
            "the program {may} {name} ({}), on which {} does not act",
            code as i32, checker.caps.name
        ),
        Certainty::Unknown => format!(
            "the program {may} {name}; whether {} acts on it is not known",
            checker.caps.name
        ),
    };
    let help = if name == "XDP_REDIRECT" {
        "answer out of the same port with XDP_TX, or pass the frame to the host"
    } else {
        "return one of the codes of the list"
    };
    checker.add(severity, rules::ACTION, Some(pc), name, message, why, help);
}

/// Where return codes are chosen, and which can be chosen there.
fn verdicts(checker: &Checker<'_>) -> Vec<(usize, Vec<u32>)> {
    let program = checker.program;
    let graph = &checker.graph;
    let entry_end = program
        .subprograms
        .first()
        .map_or(program.insns.len(), |entry| entry.end);
    let exits = checker
        .reachable()
        .filter(|(pc, insn, _)| **insn == Insn::Exit && *pc < entry_end)
        .map(|(pc, _, _)| pc);
    let (definitions, _) = graph.definitions(&program.insns, exits, Reg::R0);
    definitions
        .into_iter()
        .filter_map(|(pc, next)| {
            let insn = &program.insns[pc];
            Some((pc, codes_of(checker, pc, next, insn)?))
        })
        .collect()
}

/// The codes that an instruction which writes r0 can leave there; `None` if they are not known.
fn codes_of(checker: &Checker<'_>, pc: usize, next: usize, insn: &Insn) -> Option<Vec<u32>> {
    match *insn {
        Insn::Alu {
            op: AluOp::Mov,
            src: Operand::Imm(code),
            ..
        } => Some(vec![code as u32]),
        Insn::Alu {
            op: AluOp::Mov,
            src: Operand::Reg(reg),
            ..
        } => range_of(checker, pc, reg),
        // They return the code that redirects; on an error another one, which its flags choose.
        Insn::Call(CallTarget::Helper(id)) => match bpf::helper::name(id) {
            Some("bpf_redirect" | "bpf_redirect_map") => None,
            _ => range_of(checker, next, Reg::R0),
        },
        _ => range_of(checker, next, Reg::R0),
    }
}

fn range_of(checker: &Checker<'_>, pc: usize, reg: Reg) -> Option<Vec<u32>> {
    let facts = checker.verified.facts(pc);
    if !facts.reachable {
        return None;
    }
    let fact = facts.registers[reg.index()];
    if fact.kind != verifier::facts::RegKind::Scalar {
        return None;
    }
    let range = fact.range;
    if u64::from(range.u32_max - range.u32_min) > MOST_CODES {
        return None;
    }
    Some(
        (range.u32_min..=range.u32_max)
            .filter(|code| {
                let bits = range.bits;
                (*code ^ bits.value as u32) & !(bits.mask as u32) == 0
            })
            .collect(),
    )
}
