//! What the Agilio cards' driver translates wrongly: here it is right, the listing says so, and
//! with `driver.exact` the driver's words leave another packet.
//!
//! One file in `nfp_exact/` is one test: a program, run over the same frames by the card's engine
//! and by the interpreter.

use std::path::Path;
use std::sync::Arc;

use bpf::Hook;
use bpf::object::{LoadOptions, load};
use harness::side::Side;
use harness::trial::{Ran, Trial};
use libtest_mimic::{Arguments, Failed};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nfp_exact");
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        trials.push(libtest_mimic::Trial::test(
            name.unwrap_or_default(),
            move || {
                let text = std::fs::read_to_string(&path)?;
                check(&text).map_err(|e| Failed::from(e.to_string()))
            },
        ));
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&arguments, trials).exit();
}

/// Frames that differ in every byte: 64 bytes, of four patterns.
fn frames() -> Vec<Vec<u8>> {
    let patterns: [fn(u8) -> u8; 4] = [
        |_| 0,
        |i| i.wrapping_mul(37).wrapping_add(0x81),
        |i| 0xff - i,
        |i| if i % 8 == 0 { 0 } else { i.wrapping_mul(0x6d) },
    ];
    patterns
        .iter()
        .map(|pattern| (0..64).map(pattern).collect())
        .collect()
}

fn check(text: &str) -> Result<(), Box<dyn std::error::Error>> {
    let options = LoadOptions {
        hook: Some(Hook::XDP),
        ..LoadOptions::default()
    };
    let set = load("case.bpf", text.as_bytes(), &options)?;
    let program = Arc::new(set.programs.first().ok_or("no program")?.clone());
    let trial = Trial {
        program: Arc::clone(&program),
        frames: frames(),
        seed: 0,
    };
    let verified = Side::Interp.verify(&program).map_err(|f| f.message)?;
    let expected = trial.run(&verified, &Side::Interp)?;
    let caps = caps::builtin("agilio-cx")?;
    let run = |exact: bool| -> Result<Ran, Box<dyn std::error::Error>> {
        let caps = caps::apply_set(&caps, &format!("driver.exact={exact}"))?;
        let nic = Side::by_name("nfp", Some(Arc::new(caps)), None)?;
        let verified = nic.verify(&program).map_err(|f| f.message)?;
        Ok(trial.run(&verified, &nic)?)
    };
    let ours = run(false)?;
    if let Some(mismatch) = trial.compare(&ours, &expected) {
        return Err(format!("differs from interp: {mismatch:?}").into());
    }
    let notes = |ran: &Ran| ran.image().map_or(0, |image| image.notes.len());
    if notes(&ours) == 0 {
        return Err("the listing says nothing of it".into());
    }
    let theirs = run(true)?;
    if notes(&theirs) != 0 || trial.compare(&theirs, &expected).is_none() {
        return Err("the driver's own words do the same".into());
    }
    Ok(())
}
