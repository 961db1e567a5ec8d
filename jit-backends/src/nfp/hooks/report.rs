//! From refusals to findings: each once, and the first is where the driver stops.

use std::collections::BTreeSet;

use bpf::finding::{Channel, DriverAnswer, Finding, Severity, Stage};

/// One refusal of the driver.
pub(super) struct Refusal {
    pub(super) rule: &'static str,
    /// By name; empty where the driver refuses nothing.
    pub(super) errno: &'static str,
    /// The driver's words without their prefix; empty where it says none.
    pub(super) text: String,
    /// What happens, in our words, where the driver says none.
    pub(super) silent: &'static str,
    pub(super) pc: Option<usize>,
    pub(super) subject: String,
    pub(super) why: String,
    pub(super) help: String,
    /// General rules that say the same.
    pub(super) means: &'static [&'static str],
}

impl Refusal {
    pub(super) fn new(rule: &'static str, errno: &'static str, text: impl Into<String>) -> Refusal {
        Refusal {
            rule,
            errno,
            text: text.into(),
            silent: "",
            pc: None,
            subject: String::new(),
            why: String::new(),
            help: String::new(),
            means: &[],
        }
    }

    /// One for which the driver has no words.
    pub(super) fn silent(rule: &'static str, errno: &'static str, what: &'static str) -> Refusal {
        Refusal {
            silent: what,
            ..Refusal::new(rule, errno, "")
        }
    }

    pub(super) fn at(mut self, pc: usize) -> Refusal {
        self.pc = Some(pc);
        self
    }

    pub(super) fn subject(mut self, subject: impl Into<String>) -> Refusal {
        self.subject = subject.into();
        self
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Refusal {
        self.why = why.into();
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Refusal {
        self.help = help.into();
        self
    }

    pub(super) fn means(mut self, rules: &'static [&'static str]) -> Refusal {
        self.means = rules;
        self
    }
}

/// Where a stage's words come out, with which prefix.
struct Voice {
    stage: Stage,
    channel: Channel,
    prefix: &'static str,
}

fn voice(rule: &str) -> Voice {
    let (stage, channel, prefix) = match rule {
        super::MAP_CREATE => (Stage::Caps, Channel::KernelLog, ""),
        super::TRANSLATION | super::ACCEPTED_BUT_WRONG => {
            (Stage::Translate, Channel::KernelLog, "NFP net bpf: ")
        }
        super::PORT | super::PACKET_SPLIT | super::BUSY => (Stage::Load, Channel::Extack, "nfp: "),
        _ => (Stage::Verify, Channel::VerifierLog, "[nfp] "),
    };
    Voice {
        stage,
        channel,
        prefix,
    }
}

/// What was said so far.
#[derive(Default)]
pub(super) struct Report {
    said: BTreeSet<(Option<usize>, &'static str, String)>,
    stopped: bool,
}

impl Report {
    /// The refusal as a finding, unless the same was said before: instructions are visited once
    /// for each path.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Option<Finding> {
        let words = if refusal.text.is_empty() {
            refusal.silent
        } else {
            &refusal.text
        };
        if !self.is_new(refusal.pc, refusal.rule, words) {
            return None;
        }
        let voice = voice(refusal.rule);
        let (message, text) = if refusal.text.is_empty() {
            (refusal.silent.to_owned(), String::new())
        } else {
            let seen = format!("{}{}", voice.prefix, refusal.text);
            (refusal.text, seen)
        };
        let finding = Finding {
            pc: refusal.pc,
            ..Finding::error(refusal.rule, voice.stage, refusal.subject, message)
        }
        .why(refusal.why)
        .help(refusal.help);
        if refusal.errno.is_empty() {
            return Some(finding);
        }
        let answer = DriverAnswer {
            rule: refusal.rule.to_owned(),
            errno: refusal.errno.to_owned(),
            text,
            channel: voice.channel,
            stops: !std::mem::replace(&mut self.stopped, true),
            means: refusal.means,
        };
        Some(finding.answered(answer))
    }

    /// A finding of this stage's that is no refusal of the driver's.
    pub(super) fn remark(
        &mut self,
        severity: Severity,
        rule: &'static str,
        pc: usize,
        subject: &str,
        message: &str,
    ) -> Option<Finding> {
        self.is_new(Some(pc), rule, message).then(|| Finding {
            pc: Some(pc),
            ..Finding::new(rule, severity, voice(rule).stage, subject, message)
        })
    }

    fn is_new(&mut self, pc: Option<usize>, rule: &'static str, text: &str) -> bool {
        self.said.insert((pc, rule, text.to_owned()))
    }
}
