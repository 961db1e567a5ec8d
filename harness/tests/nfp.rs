//! The Agilio cards as a whole: their driver, translator and engine against the CPU.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use harness::conformance::{self, Answer, Case};
use harness::fuzz::{self, Settings};
use harness::side::Side;

fn side(nic: &str) -> Side<'static> {
    let caps = Arc::new(caps::builtin(nic).unwrap());
    Side::by_name("nfp", Some(caps), None).unwrap()
}

#[test]
fn conformance_cases_pass_or_the_driver_refuses_them() {
    let side = side("agilio-cx");
    let mut passed = 0;
    for (name, text) in conformance::embedded() {
        let case = Case::parse(name, text.as_bytes()).unwrap();
        let result = conformance::run(&case, &side);
        match result.result {
            Answer::Passed => passed += 1,
            Answer::Failed => panic!("{name}: {}", result.detail),
            // Neither translator nor card: they take whatever passes the driver's checks.
            Answer::Unsupported => {
                assert!(
                    result.detail.contains("refuses it"),
                    "{name}: {}",
                    result.detail
                );
            }
        }
    }
    // Every operation and every branch, but products, quotients and what version 4 brought.
    assert!(passed > 50, "{passed} passed");
}

#[test]
fn random_programs_do_what_they_do_on_the_cpu() {
    for nic in ["agilio-cx", "agilio-full"] {
        let side = side(nic);
        let settings = Settings {
            seed: 11,
            cases: 300,
            card: fuzz::card(&side),
            ..Settings::default()
        };
        let report = fuzz::run(&side, &settings).unwrap();
        if let Some(found) = report.found {
            panic!(
                "{nic}: case {} differs in {}",
                found.case,
                found.mismatch.field()
            );
        }
        assert_eq!(report.not_taken, (0, None), "{nic}");
        assert!(report.refused < 30, "{nic}: {} refused", report.refused);
    }
}
