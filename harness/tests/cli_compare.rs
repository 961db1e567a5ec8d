//! `nicbed verify --compare kernel`: both verdicts, their first difference, and what is said
//! where the kernel cannot be asked.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod cli;

use std::os::unix::process::CommandExt;
use std::process::Command;

use cli::{Sandbox, program};
use serde_json::Value;

/// Whether the kernel answers; if not, says so, and fails where it is required.
fn kernel_answers(sandbox: &Sandbox) -> bool {
    let ran = sandbox.nicbed(&["verify", &program("pass.o"), "--compare", "kernel"]);
    if ran.status != 4 {
        return true;
    }
    let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|r| r == "kernel"),
        "{}",
        ran.stderr
    );
    println!("skipped: needs kernel ({})", ran.stderr.trim());
    false
}

fn results(sandbox: &Sandbox, args: &[&str], status: i32) -> Vec<Value> {
    let document = sandbox.nicbed(args).status(status).json();
    document["results"].as_array().unwrap().clone()
}

#[test]
fn every_program_gets_both_verdicts() {
    let sandbox = Sandbox::new("compare_all");
    if !kernel_answers(&sandbox) {
        return;
    }
    let objects = ["firewall.o", "nat.o", "heavy_hitter.o", "jumbo.o", "vlan.o"].map(program);
    let mut args = vec!["verify", "-j", "--compare", "kernel"];
    args.extend(objects.iter().map(String::as_str));
    let results = results(&sandbox, &args, 0);
    assert!(results.len() >= objects.len());
    for result in &results {
        let kernel = &result["kernel"];
        assert_eq!(result["accepted"], true, "{result}");
        assert_eq!(kernel["accepted"], true, "{result}");
        assert_eq!(kernel["agrees"], true, "{result}");
        assert_eq!(kernel["difference"], Value::Null, "{result}");
        assert!(kernel["insns_processed"].as_u64().unwrap() > 0, "{result}");
    }
}

#[test]
fn a_program_that_both_refuse_has_two_reasons() {
    let sandbox = Sandbox::new("compare_refused");
    if !kernel_answers(&sandbox) {
        return;
    }
    let object = sandbox.write(
        "window.bpf",
        b"r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nexit\n",
    );
    let args = ["verify", "-j", "--compare", "kernel", &object];
    let results = results(&sandbox, &args, 1);
    let (reject, kernel) = (&results[0]["reject"], &results[0]["kernel"]);
    assert_eq!(reject["pc"], 1);
    assert_eq!(kernel["pc"], 1);
    assert_eq!(kernel["errno"], 13);
    assert!(
        kernel["message"]
            .as_str()
            .unwrap()
            .contains("invalid access to packet")
    );
    assert_eq!(kernel["agrees"], true);
}

#[test]
fn without_the_right_to_load_programs_the_status_is_four() {
    let sandbox = Sandbox::new("compare_nobody");
    // As somebody else: only root can become that, and a folder may be closed to them.
    let binary = std::env::temp_dir().join(format!("nicbed-compare-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_nicbed"), &binary).unwrap();
    let object = binary.with_extension("o");
    std::fs::copy(program("pass.o"), &object).unwrap();
    let ran = Command::new(&binary)
        .args(["verify", "--compare", "kernel"])
        .arg(&object)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output();
    std::fs::remove_file(&binary).unwrap();
    std::fs::remove_file(&object).unwrap();
    drop(sandbox);
    let Ok(ran) = ran else {
        println!("skipped: needs root to become somebody else");
        return;
    };
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(4), "{said}");
    assert!(said.contains("the kernel cannot be asked"), "{said}");
    assert!(said.contains("CAP_BPF"), "{said}");
}

#[test]
fn a_device_is_not_the_kernels_to_judge() {
    let sandbox = Sandbox::new("compare_nic");
    let args = [
        "verify",
        &program("pass.o"),
        "--nic",
        "netdevsim",
        "--compare",
        "kernel",
    ];
    sandbox.nicbed(&args).status(2);
}
