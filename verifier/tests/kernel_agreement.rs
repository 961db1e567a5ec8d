//! Every case in `tests/cases` gets here the verdict its first line states, and the same from
//! the kernel.
//!
//! A case is one program: `;; accept`, or `;; reject RULE` with the rule it breaks. Where the
//! kernel's verdict differs and that is known, a line `;; kernel accept|reject: why` says so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::Hook;
use bpf::hook::XdpAttach;
use support::kernel;
use verifier::{Options, verify};

struct Case {
    path: PathBuf,
    text: String,
    /// The rule broken, or `None` where it is accepted.
    rule: Option<String>,
    kernel_accepts: bool,
    hook: Hook,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "bpf"))
        .collect();
    paths.sort();
    assert!(paths.len() > 100, "only {} cases", paths.len());
    paths.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Case {
    let text = std::fs::read_to_string(&path).unwrap();
    let first = text.lines().next().unwrap_or_default();
    let rule = first
        .strip_prefix(";; reject ")
        .map(|rule| rule.trim().to_owned());
    assert!(
        rule.is_some() || first == ";; accept",
        "{}: no verdict",
        path.display()
    );
    let header = |key: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(";; ")?.strip_prefix(key))
            .map(|v| v.trim().to_owned())
    };
    let kernel_accepts = match header("kernel ") {
        Some(said) => said.starts_with("accept"),
        None => rule.is_none(),
    };
    let hook = match header("hook ").as_deref() {
        Some("devmap") => Hook::Xdp {
            attach: XdpAttach::Devmap,
            frags: false,
        },
        Some("tc") => Hook::TC,
        Some(other) => panic!("{}: unknown hook {other}", path.display()),
        None => Hook::XDP,
    };
    Case {
        path,
        text,
        rule,
        kernel_accepts,
        hook,
    }
}

#[test]
fn cases_get_the_stated_verdict() {
    let mut wrong = Vec::new();
    for case in cases() {
        let program = Arc::new(support::assemble(&case.text, case.hook.clone()));
        let got = match verify(program, Options::default()) {
            Ok(_) => None,
            Err(rejection) => Some(rejection.finding),
        };
        if got.as_ref().map(|f| f.rule.as_str()) != case.rule.as_deref() {
            wrong.push(format!(
                "{}: stated {:?}, got {:?}",
                case.path.file_name().unwrap().to_string_lossy(),
                case.rule,
                got.map(|f| format!("{} at {:?}: {}", f.rule, f.pc, f.message))
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_kernel_agrees_with_the_cases() {
    if !kernel::available() {
        return;
    }
    let mut wrong = Vec::new();
    for case in cases() {
        let program = support::assemble(&case.text, case.hook.clone());
        let verdict = kernel::load(&program).unwrap();
        if verdict.accepted != case.kernel_accepts {
            wrong.push(format!(
                "{}: kernel accepts: {}: {}",
                case.path.file_name().unwrap().to_string_lossy(),
                verdict.accepted,
                verdict.reason()
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
