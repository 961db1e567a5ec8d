//! Random programs about contexts, helpers and sockets get the kernel's verdict.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

mod support;

use std::sync::Arc;

use support::{calls, kernel};
use verifier::{Options, verify};

/// Programs per run; `NICBED_PROGRAMS` gives another number.
fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "how long the test may take")]
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let from = number("NICBED_SEED").unwrap_or(0);
    from..from + number("NICBED_PROGRAMS").unwrap_or(1000)
}

/// Takes out lines that the difference does not need.
fn shrink(text: &str, differs: impl Fn(&str) -> bool) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let mut fewer = lines.clone();
        let line = fewer.remove(at);
        if !line.starts_with('.') && differs(&fewer.join("\n")) {
            lines = fewer;
        } else {
            at += 1;
        }
    }
    lines.join("\n")
}

#[test]
fn calls_get_the_kernels_verdict() {
    if !kernel::available() {
        return;
    }
    let verdicts = |text: &str, hook: &bpf::Hook| {
        let program = Arc::new(support::assembled(text, hook.clone())?);
        let kernels = kernel::load(&program).ok()?;
        Some((verify(program, Options::default()), kernels))
    };
    let (mut accepted, mut wrong) = (0, Vec::new());
    for seed in seeds() {
        let (text, hook) = calls::text(seed);
        let (ours, kernels) = verdicts(&text, &hook).unwrap_or_else(|| panic!("{text}"));
        accepted += u32::from(kernels.accepted);
        if ours.is_ok() == kernels.accepted {
            continue;
        }
        let differs = |text: &str| {
            verdicts(text, &hook).is_some_and(|(ours, theirs)| {
                ours.is_ok() != theirs.accepted && theirs.accepted == kernels.accepted
            })
        };
        let small = shrink(&text, differs);
        let (ours, kernels) = verdicts(&small, &hook).unwrap();
        wrong.push(format!(
            "seed {seed}, {hook}: here {:?}, kernel {}\n{small}",
            ours.err().map(|r| r.finding.message),
            kernels.reason()
        ));
    }
    println!("{accepted} accepted");
    let shown = wrong
        .iter()
        .take(5)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n\n");
    assert!(wrong.is_empty(), "{} differences\n{shown}", wrong.len());
}
