//! The repository's own programs: accepted here and by the kernel.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use support::kernel;
use verifier::{Options, verify};

fn programs(folder: &Path) -> Vec<(String, bpf::Program)> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "o"))
        .collect();
    paths.sort();
    let options = LoadOptions {
        queues: 4,
        ..LoadOptions::default()
    };
    let mut all = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let set = load(&path.to_string_lossy(), &bytes, &options)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        for program in set.programs {
            all.push((format!("{name}/{}", program.name), program));
        }
    }
    all
}

#[test]
fn our_programs_are_accepted_here_and_by_the_kernel() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
    let all = programs(&folder);
    assert!(all.len() >= 14);
    let ask = kernel::available();
    let mut wrong = Vec::new();
    for (name, program) in all {
        let ours = verify(Arc::new(program.clone()), Options::default());
        if let Err(rejection) = &ours {
            let f = &rejection.finding;
            wrong.push(format!(
                "{name}: {} at {:?}: {}; {}",
                f.rule, f.pc, f.message, f.why
            ));
        }
        if ask {
            let theirs = kernel::load(&program).unwrap();
            let processed = kernel::load_with_log(&program, 4).unwrap().processed;
            if !theirs.accepted {
                wrong.push(format!("{name}: the kernel says {}", theirs.reason()));
            }
            if let Ok(verified) = &ours {
                println!(
                    "{name}: {} insns, processed {} here, {processed:?} by the kernel",
                    program.insns.len(),
                    verified.stats().insns_processed
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
