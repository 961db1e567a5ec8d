//! The kernel reference runs programs, and reads back what they left.
#![expect(
    clippy::print_stdout,
    clippy::panic,
    reason = "helpers of tests, outside of test functions"
)]

use std::sync::Arc;

use bpf::map::{MapSet, Placement};
use bpf::object::{LoadOptions, load};
use bpf::run::{Arrival, Batch, Environment, Event, EventKind, XDP_HEADROOM};
use cpu_reference::{Kernel, Reference, Setup, Unsupported};

/// Loads all programs of a text, the first of which is the entry.
fn kernel(text: &str) -> Result<Kernel, Unsupported> {
    let set = load("test.bpf", text.as_bytes(), &LoadOptions::default()).expect("assembly");
    let maps = MapSet::for_program_set(&set.maps, 1, Placement::Private).expect("maps");
    let place = |name: &str| set.programs.iter().position(|p| p.name == name);
    maps.fill_programs(|name| place(name).map(|n| n as u32))
        .expect("slots");
    Kernel::new(Setup {
        programs: set.programs.into_iter().map(Arc::new).collect(),
        maps,
        environment: Arc::new(Environment::default()),
    })
}

/// The kernel with these programs, or `None` (with a line that says so) where there is none.
///
/// # Panics
/// If `NICBED_REQUIRE` asks for the kernel.
fn loaded(text: &str) -> Option<Kernel> {
    match kernel(text) {
        Ok(kernel) => Some(kernel),
        Err(Unsupported::Environment { needs, reason }) => {
            #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
            let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|word| word == needs), "{reason}");
            println!("skipped: needs {needs} ({reason})");
            None
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn run(kernel: &Kernel, frames: &[&[u8]]) -> Batch {
    let mut batch = Batch::new();
    for (number, bytes) in frames.iter().enumerate() {
        let arrival = Arrival {
            number: number as u64,
            arrival_ns: 0,
            port: 1,
            queue: 0,
        };
        batch.push(arrival, bytes, XDP_HEADROOM, 64);
    }
    kernel.runner().process(&mut batch);
    batch
}

#[test]
fn packets_change_and_maps_are_read_back() {
    let text = ".map counter type=array key=4 value=8 entries=1
        r6 = r1
        r2 = *(u32 *)(r6 + 4)
        r1 = *(u32 *)(r6 + 0)
        r3 = r1
        r3 += 14
        if r3 > r2 goto out
        *(u8 *)(r1 + 0) = 0xab
        r1 = r6
        r2 = -4
        call bpf_xdp_adjust_head
        r1 = map[counter][0] ll
        r2 = 1
        lock *(u64 *)(r1 + 0) += r2
    out:
        r0 = 3
        exit";
    let Some(kernel) = loaded(text) else { return };
    let batch = run(&kernel, &[&[7; 20], &[7; 5], &[7; 3000]]);
    assert_eq!(batch.frames[0].r0, 3);
    assert_eq!(batch.bytes(0).len(), 24);
    assert_eq!(batch.bytes(0)[4..6], [0xab, 7]);
    // The kernel takes no frame shorter than an Ethernet header.
    assert!(batch.frames[1].trapped);
    assert_eq!(batch.bytes(2).len(), 3004);
    let value = kernel.maps().get(0).expect("map").host_lookup(&[0; 4]);
    assert_eq!(value, Ok(2u64.to_le_bytes().to_vec()));
}

#[test]
fn events_of_ring_buffers_and_perf_channels_arrive() {
    let text = ".map ring type=ringbuf entries=4096
        .map perf type=perf_event_array key=4 value=4 entries=1
        r6 = r1
        *(u64 *)(r10 - 8) = 0x1234
        r1 = map[ring] ll
        r2 = r10
        r2 += -8
        r3 = 6
        r4 = 0
        call bpf_ringbuf_output
        r1 = r6
        r2 = map[perf] ll
        r3 = 0
        r4 = r10
        r4 += -8
        r5 = 4
        call bpf_perf_event_output
        r0 = 2
        exit";
    let Some(kernel) = loaded(text) else { return };
    let batch = run(&kernel, &[&[0; 64], &[0; 64]]);
    let ring = |packet| Event {
        packet,
        kind: EventKind::Ringbuf { map: 0 },
        bytes: vec![0x34, 0x12, 0, 0, 0, 0],
    };
    let perf = |packet| Event {
        packet,
        kind: EventKind::Perf { map: 1 },
        bytes: vec![0x34, 0x12, 0, 0],
    };
    // As a host that drains rings after each packet sees them.
    assert_eq!(batch.events, [perf(0), ring(0), perf(1), ring(1)]);
}

#[test]
fn tail_calls_reach_the_other_programs() {
    let text = ".map jump type=prog_array key=4 value=4 entries=2
        .section xdp
        entry:
        r2 = map[jump] ll
        r3 = 1
        call bpf_tail_call
        r0 = 1
        exit
        .section 0/1
        second:
        r0 = 3
        exit";
    let Some(kernel) = loaded(text) else { return };
    assert_eq!(run(&kernel, &[&[0; 64]]).frames[0].r0, 3);
}

#[test]
fn rejection_carries_the_verifiers_log() {
    if loaded("r0 = 0\n exit").is_none() {
        return;
    }
    match kernel("r0 = *(u64 *)(r2 + 0)\n exit") {
        Err(Unsupported::Program { finding }) => {
            assert!(finding.why.contains("R2 !read_ok"), "{}", finding.why);
            assert!(finding.message.ends_with(": R2 !read_ok"), "{finding:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn programs_of_devmap_slots_load_as_such_but_cannot_be_the_entry() {
    // Only a program of a devmap slot may read egress_ifindex (offset 20).
    let slot = ".section xdp/devmap
        slot:
        r0 = *(u32 *)(r1 + 20)
        exit
        ";
    let entry = ".section xdp
        entry:
        r0 = 3
        exit
        ";
    let Some(kernel) = loaded(&format!("{entry}{slot}")) else {
        return;
    };
    assert_eq!(run(&kernel, &[&[0; 64]]).frames[0].r0, 3);
    match self::kernel(slot) {
        Err(Unsupported::Program { finding }) => assert_eq!(finding.rule, "reference/hook"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn large_maps_are_read_back_in_time() {
    let text = ".map ports type=array key=4 value=8 entries=65536
        r1 = 65535
        *(u32 *)(r10 - 4) = r1
        r1 = map[ports] ll
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r1 = 7
        *(u64 *)(r0 + 0) = r1
    out:
        r0 = 2
        exit";
    let Some(kernel) = loaded(text) else { return };
    #[expect(clippy::disallowed_methods, reason = "the speed is what is tested")]
    let start = std::time::Instant::now();
    run(&kernel, &[&[0; 64]]);
    let last = kernel.maps().iter().next().expect("ports");
    let value = last.host_lookup(&65535u32.to_le_bytes()).expect("element");
    assert_eq!(value, 7u64.to_le_bytes());
    // Looking for each key among all takes minutes in this build.
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

/// What user space may do with a map is no matter of the program's.
#[test]
fn maps_that_user_space_may_only_read_are_seeded() {
    for flags in [8, 16] {
        let text = format!(
            ".map m type=array key=4 value=8 entries=1 flags={flags}
            r1 = map[m][0] ll
            r0 = *(u64 *)(r1 + 0)
            exit"
        );
        let Some(kernel) = loaded(&text) else { return };
        assert_eq!(run(&kernel, &[&[0; 64]]).frames[0].r0, 0);
    }
}
