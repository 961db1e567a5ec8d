//! The testbed tests itself: a backend that is broken on purpose is found. `nicbed mutants` does
//! the same with any budget.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::sync::Arc;

use harness::mutants::{Budget, Summary, run};
use harness::side::{Device, Side};
use nic_model::Workers;

fn device(backend: &str) -> Device<'static> {
    let device = match Side::by_name(backend, None, None) {
        Ok(Side::Nic(device)) => Some(device),
        _ => None,
    };
    device.expect("a backend of this name")
}

fn summary(backend: &str, budget: Budget) -> Summary {
    let device = device(backend);
    let workers = Arc::new(Workers::new(env!("CARGO_BIN_EXE_nicbed")));
    run(device.backend(), device.caps(), &workers, budget).expect("it runs")
}

/// A budget that a test can have: 99 in 100 must be caught with it.
fn caught(backend: &str) {
    let budget = Budget {
        seed: 0,
        programs: 4,
        mutants: 10,
        packets: 256,
    };
    let summary = summary(backend, budget);
    let (all, survivors) = (summary.all, &summary.survivors);
    assert_eq!(summary.false_alarms, []);
    assert_eq!(all.mutants, 40, "{survivors:#?}");
    assert!(all.changed > 10, "{all:?}");
    assert!(
        all.caught * 100 >= all.changed * 99,
        "{all:?}: {survivors:#?}"
    );
    assert_eq!(all.changed - all.caught, survivors.len() as u64);
}

#[test]
fn mutants_of_the_native_backend_are_caught() {
    caught("x86_64");
}

#[test]
fn mutants_of_the_identity_backend_are_caught() {
    caught("ebpf");
}

#[test]
fn two_runs_find_the_same() {
    let budget = Budget {
        seed: 7,
        programs: 2,
        mutants: 4,
        packets: 16,
    };
    let run = || format!("{:?}", summary("x86_64", budget));
    assert_eq!(run(), run());
}
