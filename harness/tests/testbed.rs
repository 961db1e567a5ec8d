//! The testbed as a running thing: fed in pieces, maps changed in between, programs replaced.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;
use std::sync::Arc;

use bpf::ProgramSet;
use bpf::object::{self, LoadOptions};
use bpf::run::{Verdict, XdpAction};
use harness::Status;
use harness::decide;
use harness::report::run::NotRun;
use harness::testbed::{FrameIn, ReferenceChoice, Settings, Testbed};

/// Drops what its map says for the frame's byte 14, else passes; counts frames in map `seen`.
const FILTER: &str = "
.map rules type=hash key=4 value=4 entries=16
.map seen type=array key=4 value=8 entries=1
  r6 = r1
  r2 = *(u32 *)(r1 + 0)
  r3 = *(u32 *)(r1 + 4)
  r4 = r2
  r4 += 15
  if r4 > r3 goto pass
  r5 = *(u8 *)(r2 + 14)
  *(u32 *)(r10 - 4) = r5
  *(u32 *)(r10 - 8) = 0
  r1 = map[seen] ll
  r2 = r10
  r2 += -8
  call bpf_map_lookup_elem
  if r0 == 0 goto pass
  r1 = 1
  lock *(u64 *)(r0 + 0) += r1
  r1 = map[rules] ll
  r2 = r10
  r2 += -4
  call bpf_map_lookup_elem
  if r0 == 0 goto pass
  r0 = *(u32 *)(r0 + 0)
  exit
pass:
  r0 = 2
  exit
";

/// The same maps, but everything passes.
const OPEN: &str = "
.map rules type=hash key=4 value=4 entries=16
.map seen type=array key=4 value=8 entries=1
  r1 = map[rules] ll
  r1 = map[seen] ll
  r0 = 2
  exit
";

fn program(text: &str) -> ProgramSet {
    object::load("filter.bpf", text.as_bytes(), &LoadOptions::default()).unwrap()
}

fn testbed(settings: Settings) -> Testbed {
    let nic = Arc::new(caps::builtin("x86-dpu").unwrap());
    Testbed::new(nic, settings).unwrap()
}

fn frame(kind: u8) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[14] = kind;
    bytes
}

fn feed(testbed: &mut Testbed, kinds: &[u8]) -> Vec<XdpAction> {
    let frames: Vec<Vec<u8>> = kinds.iter().map(|k| frame(*k)).collect();
    let mut verdicts = Vec::new();
    let arriving = frames.iter().map(|bytes| FrameIn {
        arrival_ns: 0,
        port: 1,
        bytes,
    });
    testbed
        .feed(arriving, &mut |packet| {
            let Verdict::Xdp(action) = packet.nic.verdict else {
                panic!("an XDP program")
            };
            verdicts.push(action);
            Ok(())
        })
        .unwrap();
    verdicts
}

fn seen(testbed: &Testbed) -> u64 {
    let value = testbed.lookup("seen", &0u32.to_le_bytes()).unwrap();
    u64::from_le_bytes(value.try_into().unwrap())
}

#[test]
fn maps_change_between_feeds_on_both_sides() {
    let mut testbed = testbed(Settings::default());
    let set = program(FILTER);
    let name = set.programs[0].name.clone();
    testbed.load(&set, &name).unwrap();
    assert_eq!(
        testbed.decision().outcome,
        decide::Verdict::Offload,
        "{:?}",
        testbed.decision()
    );
    assert_eq!(
        feed(&mut testbed, &[7, 8]),
        [XdpAction::Pass, XdpAction::Pass]
    );

    testbed
        .update("rules", &7u32.to_le_bytes(), &1u32.to_le_bytes(), 0)
        .unwrap();
    assert_eq!(
        feed(&mut testbed, &[7, 8]),
        [XdpAction::Drop, XdpAction::Pass]
    );
    assert_eq!(
        testbed.entries("rules"),
        [(vec![7, 0, 0, 0], vec![1, 0, 0, 0])]
    );

    testbed.delete("rules", &7u32.to_le_bytes()).unwrap();
    assert_eq!(
        feed(&mut testbed, &[7, 8]),
        [XdpAction::Pass, XdpAction::Pass]
    );
    assert_eq!(seen(&testbed), 6);

    let gone = testbed.delete("rules", &7u32.to_le_bytes()).unwrap_err();
    assert_eq!(gone.status, Status::Input);
    assert!(gone.to_string().contains("ENOENT"), "{gone}");
    let unknown = testbed.update("rulez", &[0; 4], &[0; 4], 0).unwrap_err();
    assert!(
        unknown.help_text().unwrap().contains("rules, seen"),
        "{unknown}"
    );

    let report = testbed.finish().unwrap();
    assert_eq!(
        (report.packets, report.compared, report.mismatched),
        (6, 6, 0)
    );
    assert_eq!(report.map_differences, Some(Vec::new()));
    assert_eq!(report.verdicts.get("XDP_DROP"), Some(&1));
}

#[test]
fn a_replaced_program_finds_the_maps_as_they_were() {
    let mut testbed = testbed(Settings::default());
    let filter = program(FILTER);
    let name = filter.programs[0].name.clone();
    testbed.load(&filter, &name).unwrap();
    testbed
        .update("rules", &7u32.to_le_bytes(), &1u32.to_le_bytes(), 0)
        .unwrap();
    feed(&mut testbed, &[7, 7, 8]);

    testbed.replace(&program(OPEN), &name).unwrap();
    assert_eq!(
        feed(&mut testbed, &[7]),
        [XdpAction::Pass],
        "the new program runs"
    );
    assert_eq!(seen(&testbed), 3, "the count stays");

    testbed.replace(&filter, &name).unwrap();
    assert_eq!(
        feed(&mut testbed, &[7]),
        [XdpAction::Drop],
        "the rule is still there"
    );
    let report = testbed.finish().unwrap();
    assert_eq!((report.packets, report.mismatched), (5, 0));
    assert_eq!(
        report.map_differences,
        Some(Vec::new()),
        "on the reference too"
    );
}

#[test]
fn frames_that_no_program_could_see_are_counted() {
    let mut testbed = testbed(Settings::default());
    let set = program(OPEN);
    let name = set.programs[0].name.clone();
    testbed.load(&set, &name).unwrap();
    let (short, long, whole) = (vec![0; 13], vec![0; 3521], vec![0; 3520]);
    let frames = [(&short, 1), (&long, 1), (&whole, 1), (&whole, 2)].map(|(bytes, port)| FrameIn {
        arrival_ns: 0,
        port,
        bytes,
    });
    testbed.feed(frames, &mut |_| Ok(())).unwrap();
    let report = testbed.finish().unwrap();
    let not_run: Vec<_> = report.not_run.into_iter().collect();
    let expected = [
        (NotRun::TooShort, 1),
        (NotRun::TooLong, 1),
        (NotRun::NotAttached, 1),
    ];
    assert_eq!(not_run, expected);
    assert_eq!((report.packets, report.compared), (4, 1));
}

#[test]
fn a_detached_port_gets_no_program() {
    let mut testbed = testbed(Settings::default());
    let set = program(OPEN);
    let name = set.programs[0].name.clone();
    testbed.load(&set, &name).unwrap();
    testbed.attach(&[]);
    assert!(feed(&mut testbed, &[1, 2]).is_empty());
    testbed.attach(&[1]);
    assert_eq!(feed(&mut testbed, &[1]).len(), 1);
}

#[test]
fn without_a_reference_nothing_is_compared() {
    let settings = Settings {
        reference: ReferenceChoice::None,
        ..Settings::default()
    };
    let mut testbed = testbed(settings);
    let set = program(FILTER);
    let name = set.programs[0].name.clone();
    testbed.load(&set, &name).unwrap();
    feed(&mut testbed, &[1, 2, 3]);
    let report = testbed.finish().unwrap();
    assert_eq!((report.packets, report.compared), (3, 0));
    assert_eq!(report.reference, None);
    assert_eq!(report.map_differences, None);
}

#[test]
fn a_nic_that_refuses_runs_nothing_and_says_why() {
    let nic = Arc::new(caps::builtin("agilio-cx").unwrap());
    let mut testbed = Testbed::new(nic, Settings::default()).unwrap();
    let set = program(FILTER);
    let name = set.programs[0].name.clone();
    testbed.load(&set, &name).unwrap();
    assert!(!testbed.is_running());
    let error = testbed.update("rules", &[0; 4], &[0; 4], 0).unwrap_err();
    assert!(error.to_string().contains("no program runs"), "{error}");
    feed(&mut testbed, &[1]);
    let report = testbed.finish().unwrap();
    assert_eq!(report.decision.outcome, decide::Verdict::Fallback);
    assert!(report.decision.findings.iter().any(bpf::Finding::is_error));
}

#[test]
fn an_unknown_program_is_named_with_those_there_are() {
    let mut testbed = testbed(Settings::default());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs/vlan.o");
    let bytes = std::fs::read(path).unwrap();
    let set = object::load("vlan.o", &bytes, &LoadOptions::default()).unwrap();
    let error = testbed.load(&set, "vlan").unwrap_err();
    assert_eq!(error.status, Status::Usage);
    assert!(
        error.help_text().unwrap().contains("vlan_push, vlan_pop"),
        "{error}"
    );
}

#[test]
fn only_programs_that_tail_calls_reach_are_taken() {
    let mut testbed = testbed(Settings::default());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs/classifier.o");
    let bytes = std::fs::read(path).unwrap();
    let set = object::load("classifier.o", &bytes, &LoadOptions::default()).unwrap();
    let taken = |testbed: &Testbed| -> Vec<String> {
        testbed
            .assessments()
            .iter()
            .map(|a| a.program.name.clone())
            .collect()
    };
    testbed.load(&set, "classifier").unwrap();
    assert_eq!(taken(&testbed), ["classifier", "dns", "quic"]);
    // `dns` calls nobody, so that the object's prog_array fills no slot for it.
    testbed.load(&set, "dns").unwrap();
    assert_eq!(taken(&testbed), ["dns"]);
    assert_eq!(
        testbed.decision().outcome,
        decide::Verdict::Offload,
        "{:?}",
        testbed.decision()
    );
}

#[test]
fn a_replaced_program_keeps_its_own_constants() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs/edge_policy.o");
    let bytes = std::fs::read(path).unwrap();
    let with = |verdict: &str| {
        let globals = vec![("default_verdict".to_owned(), verdict.to_owned())];
        let options = LoadOptions {
            globals,
            ..LoadOptions::default()
        };
        object::load("edge_policy.o", &bytes, &options).unwrap()
    };
    let mut testbed = testbed(Settings::default());
    testbed.load(&with("2"), "edge_policy").unwrap();
    assert_eq!(
        feed(&mut testbed, &[0]),
        [XdpAction::Pass],
        "what is not IP"
    );
    testbed.replace(&with("1"), "edge_policy").unwrap();
    assert_eq!(feed(&mut testbed, &[0]), [XdpAction::Drop]);
    let report = testbed.finish().unwrap();
    assert_eq!(
        (report.mismatched, report.map_differences),
        (0, Some(Vec::new()))
    );
}
