//! Verification here and by the running kernel, of the same programs in the same run, on one
//! core.
//!
//! `cargo bench -p benches --bench verify_vs_kernel [-- OBJECT…]`; without objects those of
//! `programs/`. The kernel's time is that of `BPF_PROG_LOAD` with the log off, which also makes
//! machine code: the time of a trivial program of the same length (`r0 = 0`, again and again) is
//! taken off it. Beside it stands the time that the kernel itself gives for verification alone.
//! Each figure is the median of several rounds, which take turns.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench reads the clock and prints"
)]

use std::sync::Arc;
use std::time::Instant;

use bpf::Program;
use bpf::object::{LoadOptions, load};
use cpu_reference::Prepared;
use isa::ebpf::{AluOp, Insn, Operand, Reg, Width};

/// Rounds for each program.
const ROUNDS: usize = 15;

fn median(mut micros: Vec<f64>) -> f64 {
    micros.sort_by(f64::total_cmp);
    micros.get(micros.len() / 2).copied().unwrap_or(0.0)
}

fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64() * 1e6
}

/// `r0 = 0` so often that the program has `slots` slots, then `exit`.
fn trivial(like: &Program) -> Program {
    let mut insns = vec![
        Insn::Alu {
            op: AluOp::Mov,
            width: Width::W64,
            dst: Reg::R0,
            src: Operand::Imm(0),
        };
        like.insns.len().saturating_sub(1).max(1)
    ];
    insns.push(Insn::Exit);
    Program {
        insns: insns.into(),
        subprograms: Vec::new(),
        btf: None,
        kernel_btf: None,
        ..like.clone()
    }
}

struct Row {
    name: String,
    insns: usize,
    processed: u64,
    states: u64,
    here: f64,
    kernel: f64,
    kernel_processed: u64,
    kernel_says: f64,
}

fn measure(name: &str, program: &Arc<Program>) -> Result<Row, String> {
    let stats = match verifier::verify(Arc::clone(program), verifier::Options::default()) {
        Ok(verified) => verified.stats(),
        Err(rejection) => return Err(format!("rejected here: {rejection}")),
    };
    let said = cpu_reference::judge(program).map_err(|e| e.to_string())?;
    if !said.accepted {
        return Err(format!("the kernel: {}", said.message));
    }
    let prepared = Prepared::new(program).map_err(|e| e.to_string())?;
    let nothing = Prepared::new(&trivial(program)).map_err(|e| e.to_string())?;
    let (mut here, mut whole, mut base) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        here.push(timed(|| {
            verifier::verify(Arc::clone(program), verifier::Options::default())
        }));
        whole.push(timed(|| prepared.load()));
        base.push(timed(|| nothing.load()));
    }
    Ok(Row {
        name: name.to_owned(),
        insns: program.insns.len(),
        processed: stats.insns_processed,
        states: stats.states,
        here: median(here),
        kernel: median(whole) - median(base),
        kernel_processed: said.insns_processed.unwrap_or(0),
        kernel_says: said.micros.unwrap_or(0) as f64,
    })
}

fn main() {
    let mut objects: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    if objects.is_empty() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        objects = entries
            .map(|e| e.path().display().to_string())
            .filter(|p| {
                std::path::Path::new(p)
                    .extension()
                    .is_some_and(|e| e == "o")
            })
            .collect();
        objects.sort();
    }
    println!(
        "{:<40} {:>7} {:>9} {:>9} {:>7} {:>10} {:>10} {:>10} {:>6}",
        "program",
        "insns",
        "processed",
        "(kernel)",
        "states",
        "here us",
        "kernel us",
        "says us",
        "ratio"
    );
    for path in objects {
        let Ok(bytes) = std::fs::read(&path) else {
            eprintln!("{path}: cannot be read");
            continue;
        };
        let options = LoadOptions {
            queues: 1,
            ..LoadOptions::default()
        };
        let set = match load(&path, &bytes, &options) {
            Ok(set) => set,
            Err(error) => {
                eprintln!("{path}: {error}");
                continue;
            }
        };
        let file = path.rsplit('/').next().unwrap_or(&path);
        for program in set.programs {
            let name = format!("{file}:{}", program.name);
            match measure(&name, &Arc::new(program)) {
                Ok(row) => println!(
                    "{:<40} {:>7} {:>9} {:>9} {:>7} {:>10.1} {:>10.1} {:>10.1} {:>6.2}",
                    row.name,
                    row.insns,
                    row.processed,
                    row.kernel_processed,
                    row.states,
                    row.here,
                    row.kernel,
                    row.kernel_says,
                    row.here / row.kernel
                ),
                Err(reason) => eprintln!("{name}: {reason}"),
            }
        }
    }
}
