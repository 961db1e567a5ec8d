//! The programs of `programs/nfp` fit the card; where one is a changed copy of a program that
//! does not, the findings on the original say what was changed.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod cli;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bpf::finding::Finding;
use bpf::object::{LoadOptions, load};
use harness::decide::Verdict;
use harness::pipeline::{Assessment, assess_all};
use jit_backends::Loaded;

use cli::{Sandbox, capture, program};

/// A rule that the findings on a program name, and words of its help that were followed.
type Told = (&'static str, &'static str);

/// Original, changed copy, and what the findings on the original say.
const CHANGED: [(&str, &str, &[Told]); 4] = [
    (
        "counters",
        "nfp/counters",
        &[
            ("map/type", "use an array, and add to it atomically"),
            ("map/value-write", "count by atomic additions"),
        ],
    ),
    (
        "vlan",
        "nfp/vlan",
        &[("ctx/field", "leave the field alone")],
    ),
    (
        "link_meter",
        "nfp/link_meter",
        &[
            ("map/direct-value", "pass global variables in an array map"),
            ("map/value-write", "let the host write the value"),
            ("helper/not-on-nic", "let the host write the time"),
            ("nfp/divide", "bound the number before"),
        ],
    ),
    (
        "load_balancer",
        "nfp/l4_balancer",
        &[
            ("map/type", "use a hash, filled by the host"),
            ("map/direct-value", "pass global variables in an array map"),
            ("isa/not-on-nic", "with shifts and masks"),
            ("helper/not-on-nic", "let the host fill the map"),
            ("map/value-write", "count by atomic additions"),
        ],
    ),
];

/// The programs that were written for the card.
const FITTING: [&str; 10] = [
    "blocklist",
    "nfp/count_drop",
    "nfp/counters",
    "nfp/ipip",
    "nfp/l4_balancer",
    "nfp/link_meter",
    "nfp/next_hop",
    "nfp/queue_rss",
    "nfp/tc_guard",
    "nfp/vlan",
];

fn assessments(name: &str, nic: &str) -> Vec<Assessment> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../programs/{name}.o"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let set = load(name, &bytes, &LoadOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let programs: Vec<_> = set.programs.into_iter().map(Arc::new).collect();
    let caps = Arc::new(caps::builtin(nic).unwrap_or_else(|e| panic!("{nic}: {e}")));
    let backend = jit_backends::by_name(&caps.backend);
    assess_all(&programs, &caps, Loaded::default(), backend)
}

fn errors(assessments: &[Assessment]) -> Vec<&Finding> {
    let findings = assessments.iter().flat_map(|a| &a.decision.findings);
    findings.filter(|finding| finding.is_error()).collect()
}

#[test]
fn programs_for_the_card_fit_it() {
    for nic in ["agilio-cx", "agilio-full"] {
        for name in FITTING {
            let assessments = assessments(name, nic);
            assert!(!assessments.is_empty());
            let errors = errors(&assessments);
            assert!(errors.is_empty(), "{name} on {nic}: {errors:#?}");
            for assessment in &assessments {
                assert_eq!(assessment.decision.outcome, Verdict::Offload);
                assert!(assessment.image.is_some());
            }
        }
    }
}

#[test]
fn programs_for_the_card_do_there_what_the_reference_does() {
    let sandbox = Sandbox::new("nfp-programs");
    let pcap = capture("all.pcap");
    for nic in ["agilio-cx", "agilio-full"] {
        for name in FITTING {
            let object = program(&format!("{name}.o"));
            for entry in assessments(name, nic).iter().map(|a| &a.program.name) {
                let args = [
                    "run",
                    &object,
                    "--program",
                    entry,
                    "--nic",
                    nic,
                    "--pcap",
                    &pcap,
                    "-j",
                ];
                let json = sandbox.nicbed(&args).status(0).json();
                assert!(json["compare"]["compared"].as_u64() > Some(200), "{json}");
                assert_eq!(json["compare"]["mismatched"], 0, "{name} on {nic}");
                assert_eq!(json["compare"]["maps_equal"], true, "{name} on {nic}");
            }
        }
    }
}

#[test]
fn what_the_findings_say_makes_a_program_fit() {
    for (original, changed, told) in CHANGED {
        let before = assessments(original, "agilio-cx");
        let found = errors(&before);
        for (rule, help) in told {
            assert!(
                found
                    .iter()
                    .any(|f| f.rule == *rule && f.help.contains(help)),
                "{original}: no {rule} that says `{help}`: {found:#?}"
            );
        }
        // Nothing else is in the way, but for what those changes take with them.
        let rules: BTreeSet<&str> = found.iter().map(|f| f.rule.as_str()).collect();
        let named = |rule: &&str| told.iter().any(|(known, _)| known == rule);
        let along = [
            "atomic/not-on-nic",
            "map/pair-size",
            "map/value-size",
            "nfp/accepted-but-wrong",
            "nfp/helper-argument",
        ];
        let rest: Vec<_> = rules
            .iter()
            .filter(|rule| !named(rule) && !along.contains(rule))
            .collect();
        assert!(rest.is_empty(), "{original}: {rest:?}");
        let after = assessments(changed, "agilio-cx");
        let errors = errors(&after);
        assert!(errors.is_empty(), "{changed}: {errors:#?}");
    }
}

#[test]
fn each_place_is_found_once_and_one_is_where_the_driver_stops() {
    for name in ["counters", "load_balancer", "firewall", "nat", "metadata"] {
        for assessment in assessments(name, "agilio-cx") {
            let findings = &assessment.decision.findings;
            let stops = findings
                .iter()
                .filter(|f| f.driver.as_ref().is_some_and(|d| d.stops));
            assert_eq!(stops.count(), 1, "{name}");
            let mut seen = BTreeSet::new();
            for finding in findings {
                let key = (
                    finding.pc,
                    &finding.rule,
                    &finding.subject,
                    &finding.message,
                );
                assert!(seen.insert(key), "{name}: twice {finding:?}");
            }
        }
    }
}
