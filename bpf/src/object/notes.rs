//! What the loader remarks, and what it says of a program that it refuses: the findings of
//! stage `object`, each rule in one place.

use std::collections::BTreeSet;

use crate::finding::{Finding, Severity, Stage};

/// Remarks of one load.
#[derive(Debug, Default)]
pub(super) struct Notes {
    findings: Vec<Finding>,
    said: BTreeSet<(String, String)>,
}

impl Notes {
    pub(super) fn add(&mut self, finding: Finding) {
        let key = (finding.rule.clone(), finding.message.clone());
        if self.said.insert(key) {
            self.findings.push(finding);
        }
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// A map that asks to be pinned.
    pub(super) fn pinning(&mut self, map: &str) {
        self.add(
            note("object/pinning", map, format!("map {map} is not pinned"))
                .why("there is no BPF file system: a map lives as long as the run")
                .help("give its contents with --maps FILE"),
        );
    }
}

/// A remark.
pub(super) fn note(rule: &str, subject: &str, message: String) -> Finding {
    Finding::new(rule, Severity::Note, Stage::Object, subject, message)
}

/// A refusal.
pub(super) fn refusal(rule: &str, subject: &str, message: String) -> Finding {
    Finding::error(rule, Stage::Object, subject, message)
}

/// The section of a program says nothing of its hook.
pub(super) fn unknown_hook(section: &str) -> Finding {
    refusal(
        "object/hook-unknown",
        section,
        format!("section `{section}` does not tell the hook"),
    )
    .why(
        "its name is none of libbpf's, the kernel samples' or iproute2's, and BTF names no context",
    )
    .help("name the hook with --hook xdp or --hook tc")
}

/// The program is of a kind that no NIC runs.
pub(super) fn not_a_packet_hook(section: &str, kind: &str) -> Finding {
    refusal(
        "object/hook-not-packet",
        section,
        format!("a {kind} program has no packet hook on a NIC"),
    )
    .why(format!(
        "section `{section}` declares a {kind} program; a NIC runs XDP and tc programs"
    ))
    .help("to take the function all the same, name it with --program and its hook with --hook")
}

/// What [`unresolved_extern`] calls a variable of `.kconfig`.
pub(super) const CONFIG_VALUE: &str = "kernel configuration value";

/// The program uses something that only a kernel has.
pub(super) fn unresolved_extern(name: &str, what: &str) -> Finding {
    refusal(
        "object/extern",
        name,
        format!("{what} `{name}` cannot be resolved"),
    )
    .why("there is no kernel here whose symbols or configuration could be linked")
    .help(if what == CONFIG_VALUE {
        "give it a value with --global NAME=VALUE"
    } else {
        "declare it __weak and test for it with bpf_ksym_exists"
    })
}

/// A relocation that cannot be done.
pub(super) fn bad_relocation(symbol: &str, message: String) -> Finding {
    refusal("object/relocation", symbol, message)
        .why("the object was compiled or edited in a way that no loader links")
        .help("recompile it with clang -target bpf -O2")
}
