//! An example for your own tests: what NICs make of a program, pinned with `insta`. It needs
//! `harness` and `insta` as dev-dependencies (docs/snapshots.md), and the object that your build
//! makes. `cargo insta review` shows what changed.

/// Where the object of this example lies; yours may come from a build script.
const OBJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/counters.o");

/// The code for a NIC that takes the program.
#[test]
fn the_code_for_x86_dpu() -> Result<(), harness::Error> {
    let text = harness::snapshot::of_file(OBJECT, "count", "x86-dpu")?;
    insta::assert_snapshot!(text);
    Ok(())
}

/// The reasons of a NIC that does not.
#[test]
fn why_agilio_cx_refuses() -> Result<(), harness::Error> {
    let text = harness::snapshot::of_file(OBJECT, "count", "agilio-cx")?;
    insta::assert_snapshot!(text);
    Ok(())
}
