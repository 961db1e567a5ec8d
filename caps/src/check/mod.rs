//! Holds a verified program against what a NIC declares.
//!
//! Each file looks at one side of the program and reports every violation; nothing here stops
//! at the first. Only instructions that a path reaches count. Where a fact is unknown and the
//! program depends on it, that is a warning.

mod actions;
mod flow;
mod frames;
mod helpers;
mod instructions;
mod maps;
mod memory;
mod resources;

use bpf::finding::{Finding, Severity, Stage};
use bpf::{Hook, Program};
use isa::ebpf::{Insn, Reg};
use verifier::facts::RegKind;
use verifier::{Facts, Verified};

use crate::profile::Caps;
use crate::rules;
use crate::value::{By, Fact, Names, Value};

pub(crate) use frames::deepest as deepest_stack;
pub(crate) use instructions::region_name;
pub(crate) use maps::{sizes as maps_sizes, used as maps_used};
pub(crate) use memory::packet_reach;

/// How many instructions close a loop.
pub(crate) fn flow_loops(verified: &Verified) -> usize {
    flow::Graph::new(verified).loops().len()
}

/// Every violation of `caps` by `program`, by ascending pc (those without one first). An empty
/// list, or one of notes and warnings only, means that the NIC takes it.
pub fn check(program: &Verified, caps: &Caps) -> Vec<Finding> {
    let mut checker = Checker {
        verified: program,
        program: program.program(),
        caps,
        graph: flow::Graph::new(program),
        findings: Vec::new(),
    };
    checker.hook();
    instructions::check(&mut checker);
    helpers::check(&mut checker);
    maps::check(&mut checker);
    memory::check(&mut checker);
    actions::check(&mut checker);
    resources::check(&mut checker);
    let mut findings = checker.findings;
    findings.sort_by(|a, b| a.pc.cmp(&b.pc).then_with(|| a.rule.cmp(&b.rule)));
    findings
}

/// The program, the NIC, and what was found so far.
pub(crate) struct Checker<'a> {
    pub(crate) verified: &'a Verified,
    pub(crate) program: &'a Program,
    pub(crate) caps: &'a Caps,
    graph: flow::Graph,
    findings: Vec<Finding>,
}

/// A fact that a finding rests on.
#[derive(Clone)]
struct Ground<'a> {
    by: By,
    key: String,
    fact: &'a Fact,
}

impl<'a> Checker<'a> {
    /// The instructions that a path reaches, with their pc and facts.
    fn reachable(&self) -> impl Iterator<Item = (usize, &'a Insn, &'a Facts)> + use<'a> {
        reachable(self.verified)
    }

    /// The facts of a row in every layer that holds it.
    fn grounds(&self, key: &str) -> Vec<Ground<'a>> {
        self.caps
            .layers(key)
            .map(|(by, fact)| Ground {
                by,
                key: crate::schema::full_key(by, key),
                fact,
            })
            .collect()
    }

    /// The first layer of a list that does not have `name`: the fact, and whether it says so (or
    /// nobody knows).
    fn lacks(&self, key: &str, name: &str) -> Option<(Ground<'a>, Certainty)> {
        let mut unknown = None;
        for ground in self.grounds(key) {
            match &ground.fact.value {
                Value::Names(names) if names.contains(name) => {}
                Value::Names(_) => return Some((ground, Certainty::Sure)),
                _ => unknown = Some((ground, Certainty::Unknown)),
            }
        }
        unknown
    }

    /// The least and largest value that an argument of a call, taken as a 32-bit number with
    /// sign, can have; `None` if nothing is known of it.
    fn argument(&self, pc: usize, number: u8, facts: &Facts) -> Option<(i32, i32)> {
        let register = Reg::new(number)?;
        if let Some(constants) = self.graph.constants(&self.program.insns, pc, register) {
            return Some(constants);
        }
        let fact = facts.registers[register.index()];
        (facts.reachable && fact.kind == RegKind::Scalar)
            .then_some((fact.range.s32_min, fact.range.s32_max))
    }

    fn error(
        &mut self,
        rule: &str,
        pc: Option<usize>,
        subject: impl Into<String>,
        message: impl Into<String>,
        why: String,
        help: impl Into<String>,
    ) {
        self.add(Severity::Error, rule, pc, subject, message, why, help);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a finding, each of another meaning"
    )]
    fn add(
        &mut self,
        severity: Severity,
        rule: &str,
        pc: Option<usize>,
        subject: impl Into<String>,
        message: impl Into<String>,
        why: String,
        help: impl Into<String>,
    ) {
        let finding = Finding::new(rule, severity, Stage::Caps, subject, message);
        let finding = match pc {
            Some(pc) => finding.at(pc, &self.program.source),
            None => finding,
        };
        self.findings.push(finding.why(why).help(help));
    }

    /// What a finding rests on, in words: who says it, which key, and the source.
    fn why(&self, ground: &Ground<'_>) -> String {
        self.why_shown(ground, &shortened(&ground.fact.value))
    }

    fn why_shown(&self, ground: &Ground<'_>, value: &str) -> String {
        format!(
            "{} {value} ({}, key `{}`; source: {})",
            ground.by.says(),
            self.caps.file,
            ground.key,
            ground.fact.source
        )
    }

    fn hook(&mut self) {
        let hook = &self.program.hook;
        if let Hook::Raw { .. } = hook {
            self.error(
                rules::HOOK_RAW,
                None,
                "raw",
                format!("a raw program cannot be attached to {}", self.caps.name),
                "it has no packet hook: r1 is a block of memory, not a context".to_owned(),
                "write it as an XDP program, or run it by `nicbed conformance`",
            );
            return;
        }
        let name = hook.name();
        if let Some((ground, certainty)) = self.lacks("hooks", name) {
            let why = self.why(&ground);
            self.add(
                certainty.severity(),
                rules::HOOK,
                None,
                name,
                format!("{} has no {name} hook", self.caps.name),
                why,
                "attach the program on the host, or write it for a hook of the list",
            );
        }
        if !self.caps.model().executes
            && let Some(ground) = self.grounds("executes").first().cloned()
        {
            let why = self.why_shown(&ground, "a device that runs nothing");
            self.add(
                Severity::Note,
                rules::NEVER_RUNS,
                None,
                self.caps.name.clone(),
                format!(
                    "in reality {} never runs a program: outcomes are modelled",
                    self.caps.name
                ),
                why,
                "",
            );
        }
    }
}

/// Whether a fact says no, or nobody knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Sure,
    Unknown,
}

impl Certainty {
    fn severity(self) -> Severity {
        match self {
            Certainty::Sure => Severity::Error,
            Certainty::Unknown => Severity::Warning,
        }
    }
}

/// The instructions that a path reaches. The entry is reached by every path: where even it is
/// not, there are no facts, and all instructions count.
pub(crate) fn reachable(
    verified: &Verified,
) -> impl Iterator<Item = (usize, &Insn, &Facts)> + use<'_> {
    let program = verified.program();
    let has_facts = !program.insns.is_empty() && verified.facts(0).reachable;
    program
        .insns
        .iter()
        .enumerate()
        .map(|(pc, insn)| (pc, insn, verified.facts(pc)))
        .filter(move |(_, insn, facts)| **insn != Insn::WideTail && (facts.reachable || !has_facts))
}

/// A value in a finding: long lists are cut.
fn shortened(value: &Value) -> String {
    match value {
        Value::Names(Names::List(list)) if list.len() > 12 => {
            format!("{} and {} more", list[..12].join(", "), list.len() - 12)
        }
        Value::Unknown => "no known value".to_owned(),
        other => other.to_string(),
    }
}
