//! The same answer for any number of threads: every program of `programs/` with its seeds, on the
//! host's DPU and on netdevsim without limits, gives the same bytes in every file it writes.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;

use cli::{Sandbox, capture, objects, program, programs_of};
use serde_json::Value;

/// What a run wrote; of the report what may differ is taken out.
#[derive(Debug, PartialEq)]
struct Written {
    report: Value,
    outcomes: String,
    maps: Vec<u8>,
    sent: Vec<u8>,
}

const LIFTED: [&str; 8] = [
    "--set",
    "map.types=all",
    "--set",
    "map.entries=unlimited",
    "--set",
    "map.flags=all",
    "--set",
    "map.direct_values=true",
];

/// Runs with these options, and reads what came out.
fn run(sandbox: &Sandbox, object: &str, entry: &str, nic: &str, more: &[&str]) -> Written {
    run_with(sandbox, object, entry, nic, more, b"")
}

fn run_with(
    sandbox: &Sandbox,
    object: &str,
    entry: &str,
    nic: &str,
    more: &[&str],
    input: &[u8],
) -> Written {
    let file = program(&format!("{object}.o"));
    let seeds = program(&format!("seeds/{object}.json"));
    let fib = program("seeds/router.fib.json");
    let mut args = vec![
        "run",
        "-j",
        &file,
        "--program",
        entry,
        "--nic",
        nic,
        "--seed",
        "7",
        "--outcomes",
        "outcomes.jsonl",
        "--maps-out",
        "maps.json",
        "--out",
        "sent.pcapng",
    ];
    if std::path::Path::new(&seeds).exists() {
        args.extend(["--maps", &seeds]);
    }
    if object == "router" {
        args.extend(["--fib", &fib]);
    }
    if nic == "netdevsim" {
        args.extend(LIFTED);
    }
    args.extend(more);
    let ran = sandbox.nicbed_with(&args, &[], input).status(0);
    let mut report = ran.json();
    let document = report.as_object_mut().unwrap();
    document.remove("throughput").unwrap();
    let replay = document.get_mut("replay").unwrap().as_object_mut().unwrap();
    replay.remove("threads").unwrap();
    assert_eq!(report["compare"]["mismatched"], 0, "{}", ran.line);
    assert_eq!(report["compare"]["maps_equal"], true, "{}", ran.line);
    Written {
        report,
        outcomes: String::from_utf8(sandbox.read("outcomes.jsonl")).unwrap(),
        maps: sandbox.read("maps.json"),
        sent: sandbox.read("sent.pcapng"),
    }
}

/// A capture of several chunks, with all kinds of frames.
fn long_capture(sandbox: &Sandbox) {
    let args = [
        "pcap",
        "gen",
        "--packets",
        "9000",
        "--flows",
        "200",
        "--distribution",
        "zipf",
        "--seed",
        "3",
        "-o",
        "long.pcapng",
    ];
    sandbox.nicbed(&args).status(0);
}

fn any_number_of_threads(name: &str, nic: &str) {
    let sandbox = Sandbox::new(name);
    long_capture(&sandbox);
    let mut runs = 0;
    for object in objects() {
        for entry in programs_of(&object) {
            let with = |threads| {
                let more = ["--pcap", "long.pcapng", "--threads", threads];
                run(&sandbox, &object, &entry, nic, &more)
            };
            let one = with("1");
            assert_eq!(
                one.outcomes.lines().count() as u64,
                ran_packets(&one.report),
                "{object} {entry}"
            );
            for threads in ["2", "7"] {
                same(
                    &one,
                    &with(threads),
                    &format!("{object} {entry}: 1 and {threads} threads"),
                );
            }
            runs += 1;
        }
    }
    assert!(runs >= 25, "{runs}");
}

fn ran_packets(report: &Value) -> u64 {
    let verdicts = report["replay"]["verdicts"].as_object().unwrap();
    verdicts.values().map(|n| n.as_u64().unwrap()).sum()
}

/// Compares part by part: the whole would be megabytes of message.
#[track_caller]
fn same(a: &Written, b: &Written, what: &str) {
    assert_eq!(a.report, b.report, "{what}");
    assert_eq!(a.outcomes.lines().count(), b.outcomes.lines().count());
    for (one, other) in a.outcomes.lines().zip(b.outcomes.lines()) {
        assert_eq!(one, other, "{what}");
    }
    assert!(a.outcomes == b.outcomes, "{what}: ends of lines");
    assert!(a.maps == b.maps, "{what}: maps");
    assert!(a.sent == b.sent, "{what}: frames sent");
}

#[test]
fn any_number_of_threads_on_the_dpu() {
    if cfg!(not(target_arch = "x86_64")) {
        println!("skipped: needs an x86-64 host");
        return;
    }
    any_number_of_threads("determinism_dpu", "x86-dpu");
}

#[test]
fn any_number_of_threads_on_netdevsim() {
    any_number_of_threads("determinism_netdevsim", "netdevsim");
}

/// Programs whose answer depends on the order of packets, and some whose does not.
const SOME: [(&str, &str); 5] = [
    ("firewall", "firewall"),
    ("nat", "nat"),
    ("rate_limiter", "rate_limiter"),
    ("port_pool", "port_pool"),
    ("heavy_hitter", "heavy_hitter"),
];

#[test]
fn captures_in_a_row_are_as_one() {
    let sandbox = Sandbox::new("determinism_row");
    let (first, second) = (capture("tcp.pcap"), capture("udp.pcap"));
    // What both hold, as one file: the headers are alike, so the second's is left out.
    let mut joined = std::fs::read(&first).unwrap();
    let more = std::fs::read(&second).unwrap();
    assert_eq!(joined[..24], more[..24]);
    joined.extend(&more[24..]);
    sandbox.write("joined.pcap", &joined);
    for (object, entry) in SOME {
        let one = run(
            &sandbox,
            object,
            entry,
            "netdevsim",
            &["--pcap", "joined.pcap"],
        );
        let row = run(
            &sandbox,
            object,
            entry,
            "netdevsim",
            &["--pcap", &first, &second],
        );
        same(&one, &row, object);
        let twice = ["--pcap", &first, "--pcap", &second];
        same(
            &one,
            &run(&sandbox, object, entry, "netdevsim", &twice),
            object,
        );
    }
}

#[test]
fn a_capture_from_stdin_is_as_from_its_file() {
    let sandbox = Sandbox::new("determinism_stdin");
    for name in ["recorded.pcap", "all.pcap"] {
        let file = capture(name);
        let bytes = std::fs::read(&file).unwrap();
        for (object, entry) in SOME {
            let from_file = run(&sandbox, object, entry, "netdevsim", &["--pcap", &file]);
            let args = ["--pcap", "-"];
            let piped = run_with(&sandbox, object, entry, "netdevsim", &args, &bytes);
            same(&from_file, &piped, object);
        }
    }
}

#[test]
fn threads_do_not_matter_for_any_number_of_queues() {
    let sandbox = Sandbox::new("determinism_queues");
    long_capture(&sandbox);
    let nic = if cfg!(target_arch = "x86_64") {
        "x86-dpu"
    } else {
        "netdevsim"
    };
    for (object, entry) in SOME {
        for queues in ["1", "3", "16"] {
            let with = |threads| {
                let more = [
                    "--pcap",
                    "long.pcapng",
                    "--queues",
                    queues,
                    "--threads",
                    threads,
                    "--set",
                    "model.queues_max=16",
                ];
                run(&sandbox, object, entry, nic, &more)
            };
            let one = with("1");
            assert_eq!(one.report["replay"]["queues"].to_string(), queues);
            same(&one, &with("7"), &format!("{object} with {queues} queues"));
        }
    }
}

/// In arrival order no number of queues changes a verdict, unless the program asks for its queue
/// or counts per CPU.
#[test]
fn queues_do_not_change_verdicts_in_arrival_order() {
    let sandbox = Sandbox::new("determinism_arrival");
    long_capture(&sandbox);
    let nic = if cfg!(target_arch = "x86_64") {
        "x86-dpu"
    } else {
        "netdevsim"
    };
    for (object, entry) in [
        ("firewall", "firewall"),
        ("nat", "nat"),
        ("port_pool", "port_pool"),
    ] {
        let verdicts = |queues| {
            let more = [
                "--pcap",
                "long.pcapng",
                "--order",
                "arrival",
                "--queues",
                queues,
                "--set",
                "model.queues_max=16",
            ];
            run(&sandbox, object, entry, nic, &more).report["replay"]["verdicts"].clone()
        };
        let one = verdicts("1");
        assert_eq!(one, verdicts("3"), "{object}");
        assert_eq!(one, verdicts("16"), "{object}");
    }
}
