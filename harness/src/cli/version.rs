//! `nicbed --version [--verbose]`

use std::fmt::Write as _;
use std::sync::Arc;

use bpf::{Hook, Program};
use isa::ebpf::{AluOp, Insn, Operand, Reg, Width};
use serde_json::json;

use super::output::Output;
use crate::error::{Error, Status};

pub(super) fn run(verbose: bool, output: &Output) -> Result<Status, Error> {
    let version = env!("CARGO_PKG_VERSION");
    // The build script knows these.
    let commit = option_env!("NICBED_COMMIT");
    let rustc = env!("NICBED_RUSTC");
    let target = env!("NICBED_TARGET");
    if !verbose {
        if output.is_json()? {
            output.json(&json!({ "schema": "nicbed/version/1", "version": version }))?;
        } else {
            output.print(&format!("nicbed {version}\n"))?;
        }
        return Ok(Status::Ok);
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let release = release.as_deref().map(str::trim);
    let bpf = kernel_bpf();
    let backends: Vec<&str> = jit_backends::all().iter().map(|b| b.name()).collect();
    let engines = |name: &&str| {
        let backend = jit_backends::by_name(name);
        backend.is_some_and(|b| nic_model::engine_for(b.isa()).is_some())
    };
    let engines: Vec<&str> = backends.iter().copied().filter(engines).collect();
    let nics = caps::builtin_names();
    if output.is_json()? {
        output.json(&json!({
            "schema": "nicbed/version/1",
            "version": version, "commit": commit, "rustc": rustc, "target": target,
            "kernel": release, "kernel_bpf": bpf.is_ok(), "kernel_bpf_why": bpf.err(),
            "backends": backends, "engines": engines, "nics": nics,
        }))?;
        return Ok(Status::Ok);
    }
    let mut text = format!("nicbed {version}\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    row("commit", commit.unwrap_or("not known"));
    row("rustc", rustc);
    row("target", target);
    row("kernel", release.unwrap_or("not Linux"));
    match &bpf {
        Ok(()) => row(
            "BPF",
            "this kernel can be asked (--reference kernel, --compare kernel)",
        ),
        Err(why) => row("BPF", &format!("this kernel cannot be asked: {why}")),
    }
    row("backends", &backends.join(", "));
    row("engines", &engines.join(", "));
    row("NICs", &nics.join(", "));
    output.print(&text)?;
    Ok(Status::Ok)
}

/// Whether the kernel takes the shortest of programs; if not, why.
fn kernel_bpf() -> Result<(), String> {
    let pass = Insn::Alu {
        op: AluOp::Mov,
        width: Width::W64,
        dst: Reg::R0,
        src: Operand::Imm(2),
    };
    let program = Program::of_instructions("probe", Hook::XDP, vec![pass, Insn::Exit]);
    match cpu_reference::judge(&Arc::new(program)) {
        Ok(judgement) if judgement.accepted => Ok(()),
        Ok(judgement) => Err(judgement.message),
        Err(lack) => Err(lack.to_string()),
    }
}
