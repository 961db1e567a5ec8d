//! Runs with the kernel as reference: what it cannot match is found, left out, and said.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, or says why it is skipped"
)]

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use bpf::object::{self, LoadOptions};
use harness::Status;
use harness::report::run::Report;
use harness::testbed::{FrameIn, ReferenceChoice, Settings, Testbed};

/// A testbed with the kernel that runs this text; `None` where there is no kernel.
fn testbed(text: &str, queues: u32) -> Option<Testbed> {
    testbed_with(text, queues, None)
}

/// The same, and the object has these types.
fn testbed_with(text: &str, queues: u32, types: Option<&[u8]>) -> Option<Testbed> {
    let options = LoadOptions {
        queues,
        ..LoadOptions::default()
    };
    let mut set = object::load("test.bpf", text.as_bytes(), &options).unwrap();
    if let Some(types) = types {
        set.programs[0].btf = Some(types.into());
    }
    let nic = Arc::new(caps::builtin("x86-dpu").unwrap());
    let settings = Settings {
        queues: Some(queues),
        reference: ReferenceChoice::Kernel,
        ..Settings::default()
    };
    let mut testbed = Testbed::new(nic, settings).unwrap();
    match testbed.load(&set, "entry") {
        Ok(_) => {
            let findings = &testbed.decision().findings;
            assert!(testbed.is_running(), "{findings:?}");
            Some(testbed)
        }
        Err(error) if error.status == Status::Environment => {
            #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
            let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
            assert!(!required.contains("kernel"), "{error}");
            println!("skipped: needs kernel ({error})");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Feeds frames whose bytes 14 to 17 are a number from `from` on.
fn feed(testbed: &mut Testbed, from: u32, frames: u32) {
    let frames: Vec<Vec<u8>> = (from..from + frames)
        .map(|n| {
            let mut bytes = vec![0; 60];
            bytes[14..18].copy_from_slice(&n.to_le_bytes());
            bytes
        })
        .collect();
    let arriving = frames.iter().map(|bytes| FrameIn {
        arrival_ns: 1_000,
        port: 1,
        bytes,
    });
    testbed.feed(arriving, &mut |_| Ok(())).unwrap();
}

fn names(report: &Report) -> Vec<&'static str> {
    report.not_compared.iter().map(|u| u.what).collect()
}

#[test]
fn addresses_in_values_are_left_out_and_nothing_else() {
    let text = |number: u32| {
        format!(
            ".map values type=array key=4 value=24 entries=1
            .section xdp
            entry:
            r6 = map[values][0] ll
            *(u64 *)(r6 + 0) = {number}
            *(u64 *)(r6 + 8) = r1
            *(u64 *)(r6 + 16) = r10
            r0 = 2
            exit"
        )
    };
    let Some(mut testbed) = testbed(&text(7), 1) else {
        return;
    };
    feed(&mut testbed, 0, 3);
    let report = testbed.finish().unwrap();
    assert_eq!(report.map_differences, Some(vec![]));
    assert_eq!(names(&report), ["addresses"]);
    assert!(!report.disagrees());
    assert!(
        report
            .to_text(harness::report::Style::default())
            .contains("addresses: ")
    );
    let json = report.to_json();
    assert_eq!(json["compare"]["not_compared"][0], "addresses");
    assert!(json["compare"]["not_compared_why"]["addresses"].is_string());
}

#[test]
fn stack_bytes_that_were_never_written_are_left_out() {
    let text = ".map values type=hash key=4 value=16 entries=8
        .section xdp
        entry:
        *(u32 *)(r10 - 4) = 1
        *(u32 *)(r10 - 24) = 7
        *(u16 *)(r10 - 20) = 8
        *(u32 *)(r10 - 12) = 9
        r1 = map[values] ll
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -24
        r4 = 0
        call bpf_map_update_elem
        r0 = 2
        exit";
    let Some(mut testbed) = testbed(text, 1) else {
        return;
    };
    feed(&mut testbed, 0, 3);
    let report = testbed.finish().unwrap();
    assert_eq!(report.map_differences, Some(vec![]));
    assert_eq!(names(&report), ["stack"]);
}

/// Remembers numbers of frames, and answers whether it knew them.
const LRU: &str = ".map seen type=lru_hash key=4 value=4 entries=256
    .map count type=array key=4 value=8 entries=1
    .section xdp
    entry:
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 18
    if r4 > r3 goto pass
    r5 = *(u32 *)(r2 + 14)
    *(u32 *)(r10 - 4) = r5
    r1 = map[seen] ll
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 != 0 goto known
    r1 = map[seen] ll
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -4
    r4 = 0
    call bpf_map_update_elem
    pass:
    r0 = 2
    exit
    known:
    r0 = 1
    exit";

#[test]
fn a_full_lru_map_is_no_disagreement() {
    let Some(mut testbed) = testbed(LRU, 1) else {
        return;
    };
    for from in [0, 200, 0, 400, 100, 0] {
        feed(&mut testbed, from, 300);
    }
    let report = testbed.finish().unwrap();
    assert!(!report.disagrees(), "{:?}", report.first);
    assert!(names(&report).contains(&"lru"), "{:?}", names(&report));
}

#[test]
fn an_lru_map_with_room_is_compared() {
    let Some(mut testbed) = testbed(LRU, 1) else {
        return;
    };
    feed(&mut testbed, 0, 20);
    feed(&mut testbed, 10, 20);
    let report = testbed.finish().unwrap();
    assert_eq!(report.compared, 40);
    assert_eq!(report.map_differences, Some(vec![]));
}

#[test]
fn maps_may_be_changed_during_a_run() {
    let text = ".map rules type=hash key=4 value=4 entries=8
        .section xdp
        entry:
        *(u32 *)(r10 - 4) = 1
        r1 = map[rules] ll
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto pass
        r1 = *(u32 *)(r0 + 0)
        r2 = r1
        r2 += 1
        *(u32 *)(r0 + 0) = r2
        r0 = r1
        exit
        pass:
        r0 = 2
        exit";
    let Some(mut testbed) = testbed(text, 1) else {
        return;
    };
    let one = 1u32.to_le_bytes();
    feed(&mut testbed, 0, 2);
    testbed.update("rules", &one, &one, 0).unwrap();
    feed(&mut testbed, 0, 2);
    testbed.update("rules", &one, &[0; 4], 0).unwrap();
    feed(&mut testbed, 0, 1);
    testbed.delete("rules", &one).unwrap();
    feed(&mut testbed, 0, 2);
    let report = testbed.finish().unwrap();
    assert_eq!(report.compared, 7);
    assert!(!report.disagrees(), "{:?}", report.first);
}

/// Every queue is a CPU, and its values are compared slot by slot.
#[test]
fn queues_are_cpus() {
    let queues = std::thread::available_parallelism()
        .map_or(1, |n| n.get() as u32)
        .min(4);
    let text = ".map seen type=percpu_array key=4 value=8 entries=1
        .section xdp
        entry:
        r6 = *(u32 *)(r1 + 16)
        *(u32 *)(r10 - 4) = 0
        r1 = map[seen] ll
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r1 = *(u64 *)(r0 + 0)
        r1 += 1
        *(u64 *)(r0 + 0) = r1
        out:
        call bpf_get_smp_processor_id
        if r0 == r6 goto same
        r0 = 1
        exit
        same:
        r0 = 2
        exit";
    let Some(mut testbed) = testbed(text, queues) else {
        return;
    };
    let frames: Vec<Vec<u8>> = (0..200u8)
        .map(|n| {
            let mut frame = vec![0; 60];
            // IPv4 and UDP, with another source each, so that RSS spreads them.
            frame[12] = 8;
            frame[14] = 0x45;
            frame[17] = 46;
            frame[23] = 17;
            frame[26..30].copy_from_slice(&[10, 0, n, n]);
            frame[34..36].copy_from_slice(&[n, 1]);
            frame
        })
        .collect();
    let arriving = frames.iter().map(|bytes| FrameIn {
        arrival_ns: 0,
        port: 1,
        bytes,
    });
    testbed.feed(arriving, &mut |_| Ok(())).unwrap();
    let report = testbed.finish().unwrap();
    assert_eq!(report.compared, 200);
    assert!(
        !report.disagrees(),
        "{:?} {:?}",
        report.first,
        report.map_differences
    );
    assert_eq!(
        report.verdicts.keys().copied().collect::<Vec<_>>(),
        ["XDP_PASS"]
    );
}

/// The kernel has no test run for it: the NIC runs it, and nothing is compared.
#[test]
fn a_program_of_a_devmap_slot_is_not_compared() {
    let text = ".section xdp/devmap
        entry:
        r0 = 1
        exit";
    let Some(mut testbed) = testbed(text, 1) else {
        return;
    };
    feed(&mut testbed, 0, 3);
    let report = testbed.finish().unwrap();
    assert_eq!((report.compared, report.reference), (0, Some("kernel")));
    assert_eq!(report.map_differences, None);
    assert_eq!(names(&report), ["slot programs"]);
}

#[test]
fn more_queues_than_cpus_are_refused() {
    let nic = Arc::new(caps::builtin("x86-dpu").unwrap());
    let settings = Settings {
        queues: Some(1000),
        reference: ReferenceChoice::Kernel,
        ..Settings::default()
    };
    let error = Testbed::new(nic, settings).unwrap_err();
    assert_eq!(error.status, Status::Usage);
}

/// Without the right to use bpf(2) the status is 4, and the reason is told.
#[test]
fn without_privilege_the_status_is_4() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = std::env::temp_dir().join(format!("nicbed-{}.bpf", std::process::id()));
    std::fs::write(&program, "r0 = 2\nexit\n").unwrap();
    let binary = std::env::temp_dir().join(format!("nicbed-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_nicbed"), &binary).unwrap();
    let capture = std::env::temp_dir().join(format!("nicbed-{}.pcap", std::process::id()));
    std::fs::copy(root.join("pcaps/data/all.pcap"), &capture).unwrap();
    let output = Command::new(&binary)
        .arg("run")
        .arg(&program)
        .args(["--nic", "netdevsim", "--reference", "kernel", "--pcap"])
        .arg(&capture)
        .uid(65_534)
        .gid(65_534)
        .output();
    for path in [&program, &binary, &capture] {
        let _ = std::fs::remove_file(path);
    }
    let Ok(output) = output else {
        println!("skipped: needs root (to become somebody without rights)");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert!(errors.contains("kernel"), "{errors}");
}

/// Linux refuses the types of an object with a parameter without a name, which clang writes for
/// `int f(int)`; libbpf loads it without types, and so does the reference.
#[test]
fn types_that_the_kernel_refuses_are_left_out() {
    // A header, and a pointer to type 99, which is not there.
    let mut types = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0];
    types.extend([12, 0, 0, 0, 1, 0, 0, 0]);
    types.extend([0, 0, 0, 0, 0, 0, 0, 2, 99, 0, 0, 0, 0]);
    let Some(mut testbed) = testbed_with("entry:\n r0 = 2\n exit", 1, Some(&types)) else {
        return;
    };
    feed(&mut testbed, 0, 3);
    let report = testbed.finish().unwrap();
    assert_eq!(report.compared, 3);
}
