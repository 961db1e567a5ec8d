//! [`Decision`]: offload, or fall back to the CPU, or neither, and why.

use bpf::finding::{Finding, Severity, Stage};
use serde::Serialize;

/// What is to become of a program on a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The NIC runs it and does what the CPU does.
    Offload,
    /// The NIC cannot or must not run it; the CPU can.
    Fallback,
    /// The CPU's verifier refuses it too.
    Rejected,
}

impl Verdict {
    /// Lower-case name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Offload => "offload",
            Verdict::Fallback => "fallback",
            Verdict::Rejected => "rejected",
        }
    }
}

/// The answer for one program and one NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub outcome: Verdict,
    /// The stage that decided against offloading; `None` for [`Verdict::Offload`].
    pub stage: Option<Stage>,
    /// Everything the stages had to say, notes included, by stage and then by pc.
    pub findings: Vec<Finding>,
}

impl Decision {
    /// The decision that follows from the findings of the stages passed: an error of the loader
    /// or of the CPU's verifier rejects, any other falls back (so does one that a NIC's own
    /// driver has while the program is verified); the first such stage is named.
    pub fn from_findings(mut findings: Vec<Finding>) -> Decision {
        findings.sort_by_key(|f| (f.stage, f.pc));
        let error = findings.iter().find(|f| f.severity == Severity::Error);
        let outcome = match error {
            None => Verdict::Offload,
            Some(f) if f.stage == Stage::Object || f.rule.starts_with("verify/") => {
                Verdict::Rejected
            }
            Some(_) => Verdict::Fallback,
        };
        let stage = error.map(|f| f.stage);
        Decision {
            outcome,
            stage,
            findings,
        }
    }

    /// The same with more findings.
    #[must_use]
    pub fn and(self, more: impl IntoIterator<Item = Finding>) -> Decision {
        let mut findings = self.findings;
        findings.extend(more);
        Decision::from_findings(findings)
    }

    /// The worst of the decisions of the programs that run together, with all their findings.
    pub fn worst(all: impl IntoIterator<Item = Decision>) -> Decision {
        let mut worst = Decision {
            outcome: Verdict::Offload,
            stage: None,
            findings: Vec::new(),
        };
        for decision in all {
            if decision.outcome > worst.outcome {
                worst.outcome = decision.outcome;
                worst.stage = decision.stage;
            }
            worst.findings.extend(decision.findings);
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stage_with_an_error_decides() {
        let caps = Finding::error("helper/not-on-nic", Stage::Caps, "x", "m");
        let translate = Finding::error("translate/no-backend", Stage::Translate, "x", "m");
        let decision = Decision::from_findings(vec![translate.clone(), caps]);
        assert_eq!(decision.outcome, Verdict::Fallback);
        assert_eq!(decision.stage, Some(Stage::Caps));
        let rejected = Decision::from_findings(vec![
            translate,
            Finding::error("verify/null-pointer", Stage::Verify, "x", "m"),
        ]);
        assert_eq!(rejected.outcome, Verdict::Rejected);
        assert_eq!(rejected.stage, Some(Stage::Verify));
    }

    #[test]
    fn what_a_driver_refuses_while_verifying_falls_back() {
        let driver = Finding::error("nfp/helper", Stage::Verify, "x", "not supported by FW");
        let decision = Decision::from_findings(vec![driver]);
        assert_eq!(decision.outcome, Verdict::Fallback);
        assert_eq!(decision.stage, Some(Stage::Verify));
    }

    #[test]
    fn notes_do_not_decide() {
        let note = Finding::new(
            "image/not-translated",
            Severity::Note,
            Stage::Caps,
            "x",
            "m",
        );
        assert_eq!(
            Decision::from_findings(vec![note]).outcome,
            Verdict::Offload
        );
    }
}
