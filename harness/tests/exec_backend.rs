//! Backends that are programs of their own: the example in Python, and ones that go wrong.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says on a line why it is skipped, may not be, and stops at the first surprise"
)]

mod cli;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use cli::{Sandbox, capture, program, root, text};

/// The example, where there is a Python.
fn example() -> Option<String> {
    if Command::new("python3").arg("--version").output().is_err() {
        let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|r| r == "python3"),
            "needs python3"
        );
        println!("skipped: needs python3");
        return None;
    }
    Some(format!(
        "exec:{}",
        text(&root().join("harness/examples/backend.py"))
    ))
}

/// A backend of a shell: it says it is for eBPF, and else does `what`.
fn shell(sandbox: &Sandbox, what: &str) -> String {
    let name = sandbox.write(
        "backend.sh",
        format!(
            "#!/bin/sh\nif grep -q describe; then echo '{{\"isa\": \"ebpf\"}}'; exit; fi\n{what}\n"
        )
        .as_bytes(),
    );
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(sandbox.path(&name), executable).unwrap();
    format!("exec:./{name}")
}

#[test]
fn the_example_passes_conformance_like_the_backend_it_stands_for() {
    let Some(example) = example() else { return };
    let sandbox = Sandbox::new("exec-conformance");
    let counts = |backend: &str| {
        let ran = sandbox.nicbed(&["conformance", "--backend", backend, "-j"]);
        let json = ran.status(0).json();
        [&json["passed"], &json["failed"], &json["unsupported"]].map(serde_json::Value::as_u64)
    };
    assert_eq!(counts(&example), counts("ebpf"));
}

#[test]
fn the_example_is_fuzzed_without_a_difference() {
    let Some(example) = example() else { return };
    let sandbox = Sandbox::new("exec-fuzz");
    let args = ["fuzz", "--backend", &example, "--cases", "8", "-j"];
    let json = sandbox.nicbed(&args).status(0).json();
    assert_eq!(json["cases"], 8);
}

#[test]
fn its_image_runs_on_a_nic_that_executes_ebpf() {
    let Some(example) = example() else { return };
    let sandbox = Sandbox::new("exec-run");
    let prog = sandbox.write("zero.bpf", b"r0 = 0\nr0 += 2\nexit\n");
    let nic = ["--nic", "netdevsim", "--backend", &example];
    let listing = sandbox.nicbed(&[&["jit", &prog, "--hook", "xdp"], &nic[..]].concat());
    assert!(listing.status(0).out().contains("r0 ^= r0"));
    let pcap = capture("all.pcap");
    let run = ["run", &prog, "--hook", "xdp", "--pcap", &pcap, "-j"];
    let json = sandbox.nicbed(&[&run, &nic[..]].concat()).status(0).json();
    assert_eq!(json["compare"]["mismatched"], 0);
    assert_eq!(json["image"]["backend"], example.as_str());
    // Maps are named by relocations.
    let counters = program("parse_ports.o");
    let run = [
        "run",
        &counters,
        "--pcap",
        &pcap,
        "-j",
        "--set",
        "map.entries=unlimited",
    ];
    sandbox.nicbed(&[&run, &nic[..]].concat()).status(0);
}

#[test]
fn a_backend_that_goes_wrong_is_a_finding_with_its_own_words() {
    let sandbox = Sandbox::new("exec-wrong");
    let prog = sandbox.write("pass.bpf", b"r0 = 2\nexit\n");
    for (what, rule, why) in [
        (
            "echo out of ideas >&2; exit 3",
            "backend/failed",
            "out of ideas",
        ),
        ("echo '{'", "backend/failed", "no JSON"),
        (
            "echo '{}'",
            "backend/malformed",
            "neither `image` nor `refused`",
        ),
        (
            r#"echo '{"image": {"code": "00", "instructions": 1, "entry": 1}}'"#,
            "backend/malformed",
            "`entry` lies behind the code",
        ),
        (
            r#"echo '{"image": {"code": "950", "instructions": 1}}'"#,
            "backend/malformed",
            "hexadecimal",
        ),
        (
            r#"echo '{"refused": [{"message": "no exits yet", "pc": 1, "why": "exits are hard"}]}'"#,
            "backend/refused",
            "exits are hard",
        ),
    ] {
        let backend = shell(&sandbox, what);
        let args = [
            "jit",
            &prog,
            "--hook",
            "xdp",
            "--nic",
            "netdevsim",
            "--backend",
            &backend,
            "-j",
        ];
        let json = sandbox.nicbed(&args).status(1).json();
        let finding = json["findings"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(finding["rule"], rule, "{what}");
        assert!(finding["why"].as_str().unwrap().contains(why), "{finding}");
    }
}

#[test]
fn what_is_no_backend_is_told_before_anything_runs() {
    let sandbox = Sandbox::new("exec-none");
    let prog = sandbox.write("pass.bpf", b"r0 = 2\nexit\n");
    let jit = |nic: &str, backend: &str| {
        let args = [
            "jit",
            &prog,
            "--hook",
            "xdp",
            "--nic",
            nic,
            "--backend",
            backend,
        ];
        sandbox.nicbed(&args).status(2)
    };
    jit("netdevsim", "exec:./nowhere").says(&["exec:./nowhere: it cannot be started"]);
    jit("netdevsim", "x86_64").says(&["netdevsim is a NIC of backend ebpf, not of x86_64"]);
    let backend = shell(&sandbox, "exit 1");
    jit("x86-dpu", &backend).says(&["makes code of ebpf, which x86-dpu does not execute"]);
}
