//! Generated programs: native code and the references, which share no semantics, agree on every
//! packet, event and map.

use harness::fuzz::{self, Settings};
use harness::side::Side;

/// Programs per run; `NICBED_PROGRAMS` gives another number.
fn cases() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long the test may take")]
    let given = std::env::var("NICBED_PROGRAMS").ok();
    given.and_then(|v| v.parse().ok()).unwrap_or(600)
}

#[test]
fn native_code_and_references_agree_on_generated_programs() {
    let side = Side::by_name("x86_64", None, None).unwrap();
    let settings = Settings {
        seed: 2,
        cases: cases(),
        ..Settings::default()
    };
    let report = fuzz::run(&side, &settings).unwrap();
    if let Some(found) = &report.found {
        panic!(
            "case {} differs from {}: nicbed fuzz --backend x86_64 --seed 2 --first {} --cases 1",
            found.case, found.reference, found.case
        );
    }
    assert_eq!(report.not_taken, (0, None));
    assert!(
        report.refused * 50 < report.cases,
        "{} refused",
        report.refused
    );
}
