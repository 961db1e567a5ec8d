//! Random programs: whatever is accepted runs without a fault, and what the facts say holds at
//! every instruction; and the kernel's verdict is the same.
//!
//! For longer runs: `NICBED_PROGRAMS=100000 NICBED_SEED=7 cargo test -p verifier --test generated`.
//! A difference shrinks to the smallest program that shows it, which is written as a case to
//! `target/tmp/found/`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

mod support;

use std::sync::Arc;

use bpf::generate::{case_text, shrink};
use isa::ebpf::Insn;
use support::{generate, kernel, machine};
use verifier::facts::{RegFact, RegKind};
use verifier::{Options, Verified, verify};

/// Programs per run; `NICBED_PROGRAMS` gives another number.
fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "how long the test may take")]
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let from = number("NICBED_SEED").unwrap_or(0);
    from..from + number("NICBED_PROGRAMS").unwrap_or(300)
}

fn accepted(program: &bpf::Program) -> Result<Verified, Box<verifier::Rejection>> {
    verify(Arc::new(program.clone()), Options::default())
}

/// Whether a register's concrete value is one that the fact allows.
fn allows(fact: &RegFact, value: u64, depth: usize) -> bool {
    match fact.kind {
        // The machine has no context.
        RegKind::Unknown | RegKind::Ctx => true,
        RegKind::Scalar => fact.range.contains(value),
        RegKind::Stack { up } => {
            let frame = (depth as u64).checked_sub(u64::from(up));
            frame.is_some_and(|frame| {
                let end = machine::STACK + frame * machine::STACK_STEP;
                fact.range.contains(value.wrapping_sub(end))
            })
        }
        RegKind::MapValue { map, .. } => {
            map == Some(0) && fact.range.contains(value.wrapping_sub(machine::VALUE))
        }
        _ => false,
    }
}

fn hold_facts(program: &bpf::Program, verified: &Verified, seed: u64) -> Result<(), String> {
    let mut wrong = None;
    let result = machine::run(program, seed, |pc, depth, regs| {
        let facts = verified.facts(pc);
        if !facts.reachable {
            wrong.get_or_insert(format!("pc {pc} is said to be unreachable"));
        }
        for (n, (fact, value)) in facts.registers.iter().zip(regs).enumerate() {
            if !allows(fact, *value, depth) {
                wrong.get_or_insert(format!("pc {pc}: r{n} = {value:#x}, but {fact:?}"));
            }
        }
        if let (Some(access), Insn::Load { base, offset, .. } | Insn::Store { base, offset, .. }) =
            (facts.access, program.insns[pc])
        {
            let address = regs[base.index()].wrapping_add(i64::from(offset) as u64);
            let start = match access.region {
                verifier::facts::Region::Stack { up } => {
                    machine::STACK + (depth as u64 - u64::from(up)) * machine::STACK_STEP
                }
                verifier::facts::Region::MapValue { .. } => machine::VALUE,
                _ => return,
            };
            let at = address.wrapping_sub(start) as i64;
            if at < access.min || at > access.max || at % i64::from(access.align) != 0 {
                wrong.get_or_insert(format!("pc {pc}: access at {at}, but {access:?}"));
            }
        }
    });
    match (wrong, result) {
        (Some(wrong), _) => Err(wrong),
        (None, Err(fault)) => Err(format!("{fault:?}")),
        (None, Ok(())) => Ok(()),
    }
}

#[test]
fn accepted_programs_run_safely_and_as_the_facts_say() {
    let mut taken = 0;
    for seed in seeds() {
        let program = generate::program(seed);
        let Ok(verified) = accepted(&program) else {
            continue;
        };
        taken += 1;
        for run in 0..8 {
            if let Err(wrong) = hold_facts(&program, &verified, seed * 8 + run) {
                let bad = |p: &bpf::Program| {
                    accepted(p).is_ok_and(|v| (0..64).any(|r| hold_facts(p, &v, r).is_err()))
                };
                let small = if bad(&program) {
                    shrink(&program, bad)
                } else {
                    program.clone()
                };
                let case = case(seed, &small, &["accept", &format!("facts: {wrong}")]);
                panic!(
                    "seed {seed}: {wrong}\n{}\n{case}",
                    generate::listing(&small)
                );
            }
        }
    }
    println!("{taken} accepted");
    assert!(taken > 100, "only {taken} were accepted");
}

/// Writes a case to where it can be taken from into `tests/cases`, once its first line is right;
/// tells where.
fn case(seed: u64, program: &bpf::Program, header: &[&str]) -> String {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("found");
    let path = folder.join(format!("seed-{seed}.bpf"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&path, case_text(program, header)).unwrap();
    format!("written to {}", path.display())
}

/// Compares verdicts; at most one of `rarely` programs may get another.
fn compare(make: fn(u64) -> bpf::Program, rarely: u32) {
    if !kernel::available() {
        return;
    }
    let (mut same, mut different, mut taken) = (0u32, 0u32, 0u32);
    let mut examples = Vec::new();
    for seed in seeds() {
        let mut program = make(seed);
        let mut differs = false;
        // What is refused is taken out, until the rest is accepted.
        for _ in 0..40 {
            let ours = accepted(&program);
            let theirs = kernel::load_with_log(&program, 0).unwrap();
            taken += u32::from(theirs.accepted);
            differs = ours.is_ok() != theirs.accepted;
            let pc = match ours {
                Err(rejection) if !differs && rejection.finding.rule != "verify/too-complex" => {
                    rejection.finding.pc
                }
                _ => None,
            };
            let Some(pc) = pc.filter(|pc| *pc < program.insns.len()) else {
                break;
            };
            same += 1;
            let mut insns = program.insns.to_vec();
            if matches!(insns[pc], Insn::Exit | Insn::LoadWide { .. }) {
                break;
            }
            insns[pc] = generate::NOTHING;
            program.insns = insns.into();
        }
        if !differs {
            same += 1;
            continue;
        }
        let ours = accepted(&program);
        different += 1;
        if examples.len() < 8 {
            let accepts = ours.is_ok();
            let small = shrink(&program, |p| {
                accepted(p).is_ok() == accepts
                    && kernel::load_with_log(p, 0).unwrap().accepted != accepts
            });
            let said = match accepted(&small) {
                Ok(_) => "accepted".to_owned(),
                Err(r) => format!(
                    "{} at {:?}: {} ({})",
                    r.finding.rule, r.finding.pc, r.finding.message, r.finding.why
                ),
            };
            let reason = kernel::load(&small).unwrap().reason().to_owned();
            let verdict = if accepts {
                "reject verify/RULE"
            } else {
                "accept"
            };
            let kernel = format!("found by seed {seed}: here {said}; the kernel: {reason}");
            let case = case(seed, &small, &[verdict, &kernel]);
            examples.push(format!(
                "seed {seed}: here {said}; the kernel {reason}\n{}\n{case}",
                generate::listing(&small)
            ));
        }
    }
    println!(
        "{same} the same, {different} different, the kernel accepts {taken}\n{}",
        examples.join("\n")
    );
    assert!(
        different * rarely <= same,
        "{different} of {} differ\n{}",
        same + different,
        examples.join("\n")
    );
}

#[test]
fn the_kernel_gives_the_same_verdict_on_numbers() {
    compare(generate::program, 200);
}

#[test]
fn the_kernel_gives_the_same_verdict_on_pointers() {
    compare(support::pointers::program, 200);
}
