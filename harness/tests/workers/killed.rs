//! A worker process that somebody ends from outside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bpf::Hook;
use bpf::run::{Environment, TrapCause};
use nic_model::{Nic, Workers};

use crate::rig::{PASS, frames, image, maps};

/// The ids of the processes that run this file.
fn processes(program: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("processes are listed");
    all.filter_map(|entry| {
        let entry = entry.ok()?;
        let runs = std::fs::read_link(entry.path().join("exe")).ok()?;
        (runs == program).then(|| entry.file_name().to_string_lossy().into_owned())
    })
    .collect()
}

/// `nicbed` by a name of its own, so that its processes are told from those of other tests.
fn program() -> PathBuf {
    let place =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("killed-{}", std::process::id()));
    let _ = std::fs::remove_file(&place);
    std::fs::copy(env!("CARGO_BIN_EXE_nicbed"), &place).expect("a copy");
    place
}

#[test]
fn the_next_packet_runs_in_a_new_worker() {
    let program = program();
    let caps = Arc::new(caps::builtin("x86-dpu").expect("a profile"));
    let workers = Arc::new(Workers::new(&program));
    let mut nic = Nic::new(caps, Arc::new(Environment::default()), 1).with_workers(workers);
    let ids = nic.create_maps(&maps()).expect("maps");
    let id = nic
        .load(&image(PASS, &[]), &Hook::XDP, &ids)
        .expect("an image that loads");
    let mut queues = nic.queues(id);
    let mut process = || {
        let mut batch = frames(3);
        queues[0].process(&mut batch);
        batch
    };
    assert_eq!(process().traps, []);
    let running = processes(&program);
    assert!(!running.is_empty(), "a worker runs");
    for id in &running {
        let ended = Command::new("kill").args(["-9", id]).status();
        assert!(ended.expect("kill runs").success());
    }
    // Whichever packet met it is told of; the others pass.
    let met = process();
    assert!(met.traps.len() <= 1, "{:?}", met.traps);
    for (_, trap) in &met.traps {
        assert_eq!(trap.cause, TrapCause::WorkerDied);
    }
    let after = process();
    assert_eq!(after.traps, []);
    assert!(after.frames.iter().all(|frame| frame.r0 == 2));
    drop(queues);
    let _ = std::fs::remove_file(&program);
}
