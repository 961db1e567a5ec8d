//! What a NIC hands to the host, and falling back to the host in the midst of a capture.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::ProgramSet;
use bpf::finding::Stage;
use bpf::object::{LoadOptions, load};
use caps::Caps;
use harness::decide::Verdict;
use harness::outcomes::outcome_json;
use harness::outside::Outside;
use harness::report::run::Report;
use harness::seeds::Seeds;
use harness::testbed::{FrameIn, OnMismatch, ReferenceChoice, Settings, Testbed};
use isa::{Image, Isa};
use jit_backends::{Backend, Listing, Refusal};
use nic_model::Workers;
use pcaps::generate::{Distribution, Generator, Mix, Spec};
use serde_json::Value;
use verifier::Verified;

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

/// A program of `programs/` with its seeds, if there are any.
fn program(name: &str) -> (ProgramSet, Option<Seeds>) {
    let object = std::fs::read(programs().join(format!("{name}.o"))).unwrap();
    let plain = load(name, &object, &LoadOptions::default()).unwrap();
    let seeds = std::fs::read_to_string(programs().join(format!("seeds/{name}.json")))
        .ok()
        .map(|text| Seeds::parse(name, &text).unwrap());
    let options = LoadOptions {
        globals: seeds
            .as_ref()
            .map(|s| s.globals(&plain.programs[0].globals))
            .unwrap_or_default(),
        ..LoadOptions::default()
    };
    (load(name, &object, &options).unwrap(), seeds)
}

fn capture(mix: Mix, packets: u64) -> Vec<(u64, Vec<u8>)> {
    let mut spec = Spec::new(mix, packets);
    spec.flows = 40;
    spec.distribution = Distribution::Zipf;
    spec.gap_ns = 10_000;
    let mut generator = Generator::new(spec).unwrap();
    let mut frames = Vec::new();
    let mut frame = Vec::new();
    while let Some(stamp) = generator.next_into(&mut frame) {
        frames.push((stamp.time_ns, frame.clone()));
    }
    frames
}

fn nic(name: &str, sets: &[&str]) -> Arc<Caps> {
    let nic = caps::builtin(name).unwrap();
    let set = |nic, set: &&str| caps::apply_set(&nic, set).unwrap();
    Arc::new(sets.iter().fold(nic, set))
}

/// netdevsim, with maps as other NICs have them.
const LIFTED: [&str; 4] = [
    "map.types=all",
    "map.flags=all",
    "map.entries=unlimited",
    "map.direct_values=true",
];

struct Run {
    outcomes: Vec<Value>,
    maps: Value,
    report: Report,
}

/// Replays, with the packets of these ranges on the host.
fn run(
    nic: &Arc<Caps>,
    (set, seeds): &(ProgramSet, Option<Seeds>),
    frames: &[(u64, Vec<u8>)],
    threads: usize,
    on_host: &[Range<usize>],
) -> Run {
    let settings = Settings {
        threads,
        reference: ReferenceChoice::Interp,
        ..Settings::default()
    };
    let mut testbed = Testbed::new(Arc::clone(nic), settings).unwrap();
    testbed
        .load_with(set, &set.programs[0].name, seeds.as_ref())
        .unwrap();
    assert!(testbed.is_running(), "{:?}", testbed.decision());
    let names: Vec<String> = set.maps.iter().map(|m| m.name.clone()).collect();
    let mut outcomes = Vec::new();
    {
        let mut sink = |packet: &harness::replay::lanes::Processed<'_>| {
            outcomes.push(outcome_json(packet, &names));
            Ok(())
        };
        for (number, (arrival_ns, bytes)) in frames.iter().enumerate() {
            if on_host.iter().any(|range| range.start == number) {
                testbed.fall_back(&mut sink).unwrap();
            }
            if on_host.iter().any(|range| range.end == number) {
                testbed.offload_again(&mut sink).unwrap();
            }
            let frame = FrameIn {
                arrival_ns: *arrival_ns,
                port: 1,
                bytes,
            };
            if testbed.push(frame) {
                testbed.flush(&mut sink).unwrap();
            }
        }
        testbed.flush(&mut sink).unwrap();
    }
    let maps = harness::seeds::dump(set, testbed.nic_maps().unwrap(), |_| None);
    Run {
        outcomes,
        maps: serde_json::to_value(&maps).unwrap(),
        report: testbed.finish().unwrap(),
    }
}

/// An outcome without who ran it.
fn anywhere(outcome: &Value) -> Value {
    let mut outcome = outcome.clone();
    let fields = outcome.as_object_mut().unwrap();
    fields.remove("punted");
    fields.remove("fallback");
    outcome
}

fn same(what: &str, expected: &Run, found: &Run) {
    assert_eq!(expected.outcomes.len(), found.outcomes.len(), "{what}");
    for (a, b) in expected.outcomes.iter().zip(&found.outcomes) {
        assert_eq!(anywhere(a), anywhere(b), "{what}");
    }
    assert_eq!(expected.maps, found.maps, "{what}");
    assert!(
        !found.report.disagrees(),
        "{what}: {:?}",
        found.report.first
    );
}

#[test]
fn a_fallback_in_the_midst_of_a_capture_loses_nothing() {
    let frames = capture(Mix::All, 9000);
    let names = [
        "nat",
        "rate_limiter",
        "heavy_hitter",
        "port_pool",
        "flow_slots",
        "ipv6_ext",
    ];
    for name in names.into_iter().chain(["counters", "jumbo"]) {
        let program = program(name);
        for nic in [nic("x86-dpu", &[]), nic("netdevsim", &LIFTED)] {
            let expected = run(&nic, &program, &frames, 1, &[]);
            assert!(
                expected
                    .outcomes
                    .iter()
                    .all(|o| o.get("fallback").is_none())
            );
            // Once to the end, and twice there and back, in the midst of chunks.
            let once: Vec<Range<usize>> = std::iter::once(1000..9000).collect();
            for (threads, ranges) in [(1, once), (7, vec![700..2500, 5000..5001])] {
                let found = run(&nic, &program, &frames, threads, &ranges);
                same(name, &expected, &found);
                for outcome in &found.outcomes {
                    let number = outcome["packet"].as_u64().unwrap() as usize;
                    let host = ranges.iter().any(|range| range.contains(&number));
                    assert_eq!(outcome.get("fallback").is_some(), host, "{name}: {number}");
                }
                let rules: Vec<&str> = found
                    .report
                    .decision
                    .findings
                    .iter()
                    .map(|f| f.rule.as_str())
                    .collect();
                assert!(rules.contains(&"performance/fell-back"), "{rules:?}");
                assert_eq!(found.report.decision.outcome, Verdict::Offload);
            }
        }
    }
}

#[test]
fn frames_beyond_the_window_run_on_the_host_in_their_place() {
    let frames = capture(Mix::All, 6000);
    let punting = ["packet.window_bytes=200", "packet.beyond_window=punt"];
    for name in ["nat", "rate_limiter", "heavy_hitter", "counters", "jumbo"] {
        let program = program(name);
        let expected = run(&nic("x86-dpu", &[]), &program, &frames, 1, &[]);
        for threads in [1, 7] {
            let found = run(&nic("x86-dpu", &punting), &program, &frames, threads, &[]);
            same(name, &expected, &found);
            let mut punted = 0;
            for outcome in &found.outcomes {
                let number = outcome["packet"].as_u64().unwrap() as usize;
                let long = frames[number].1.len() > 200;
                assert_eq!(outcome["punted"], long, "{name}: {number}");
                punted += u64::from(long);
            }
            assert!(punted > 100);
            let json = found.report.to_json();
            assert_eq!(json["replay"]["punted"], punted);
            let share = json["decision"]["punted_share"].as_f64().unwrap();
            assert!((share - punted as f64 / found.outcomes.len() as f64).abs() < 1e-9);
            assert_eq!(json["decision"]["outcome"], "offload");
        }
    }
}

/// The eBPF backend, but XDP_PASS has become XDP_DROP.
struct Wrong;

impl Backend for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn isa(&self) -> Isa {
        Isa::Ebpf
    }

    fn translate(&self, program: &Verified, caps: &Caps) -> Result<Image, Refusal> {
        let mut image = jit_backends::ebpf::Ebpf.translate(program, caps)?;
        let last = image.code.len() - 16;
        assert_eq!(image.code[last..last + 8], [0xb7, 0, 0, 0, 2, 0, 0, 0]);
        image.code[last + 4] = 1;
        Ok(image)
    }

    fn disassemble(&self, image: &Image) -> Listing {
        jit_backends::ebpf::Ebpf.disassemble(image)
    }
}

#[test]
fn a_packet_that_differs_takes_the_program_off_the_nic() {
    let text = include_str!("../../programs/counter.bpf");
    let set = load("counter.bpf", text.as_bytes(), &LoadOptions::default()).unwrap();
    let frames = capture(Mix::Udp, 10_000);
    let reports = [OnMismatch::Report, OnMismatch::FallBack].map(|on_mismatch| {
        let settings = Settings {
            reference: ReferenceChoice::Interp,
            outside: Some(Outside {
                backend: Arc::new(Wrong),
                workers: Arc::new(Workers::new("nicbed")),
            }),
            on_mismatch,
            ..Settings::default()
        };
        let mut testbed = Testbed::new(nic("netdevsim", &LIFTED), settings).unwrap();
        testbed.load(&set, "counter").unwrap();
        assert!(testbed.is_running(), "{:?}", testbed.decision());
        let frames = frames.iter().map(|(arrival_ns, bytes)| FrameIn {
            arrival_ns: *arrival_ns,
            port: 1,
            bytes,
        });
        testbed.feed(frames, &mut |_| Ok(())).unwrap();
        testbed.finish().unwrap()
    });
    let [all, first_chunk] = &reports;
    assert_eq!((all.mismatched, all.on_host), (10_000, 0));
    // The chunk with the mismatch still ran on the NIC; the count of packets went on with it.
    let chunk = harness::replay::chunk::CHUNK_FRAMES as u64;
    assert_eq!(first_chunk.mismatched, chunk);
    assert_eq!(first_chunk.on_host, 10_000 - chunk);
    assert_eq!(first_chunk.map_differences, Some(Vec::new()));
    for report in &reports {
        assert_eq!(report.decision.outcome, Verdict::Fallback);
        assert_eq!(report.decision.stage, Some(Stage::Behaviour));
    }
}

#[test]
fn a_nic_that_is_slower_than_asked_for_is_a_fallback() {
    let frames = capture(Mix::Udp, 100);
    let (set, _) = program("pass");
    for (least, outcome) in [(1e-9, Verdict::Offload), (1e9, Verdict::Fallback)] {
        for name in ["x86-dpu", "hbpf"] {
            let settings = Settings {
                min_mpps: Some(least),
                ..Settings::default()
            };
            let mut testbed = Testbed::new(nic(name, &[]), settings).unwrap();
            testbed.load(&set, "pass").unwrap();
            if !testbed.is_running() {
                assert_eq!(name, "hbpf", "{:?}", testbed.decision());
                continue;
            }
            let frames = frames.iter().map(|(arrival_ns, bytes)| FrameIn {
                arrival_ns: *arrival_ns,
                port: 1,
                bytes,
            });
            testbed.feed(frames, &mut |_| Ok(())).unwrap();
            let report = testbed.finish().unwrap();
            assert_eq!(report.decision.outcome, outcome, "{name}");
            let stage = (outcome == Verdict::Fallback).then_some(Stage::Performance);
            assert_eq!(report.decision.stage, stage);
        }
    }
}
