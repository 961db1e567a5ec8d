//! One packet on NIC and reference, instruction by instruction.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::sync::Arc;

use bpf::ProgramSet;
use bpf::map::{MapSet, Placement};
use bpf::object::{LoadOptions, load};
use bpf::run::{Arrival, Batch, Environment};
use bpf::trace::Value;
use caps::Caps;
use cpu_reference::{Interp, Reference, Setup};
use harness::report::Style;
use harness::seeds::Seeds;
use harness::testbed::{FrameIn, ReferenceChoice, Settings, Testbed};
use harness::trace::{Differs, Part, Recorded, Trace, Traced, sites};
use isa::Image;
use jit_backends::Backend as _;
use nic_model::{Nic, ProgramId};
use pcaps::generate::{Generator, Mix, Spec};

/// netdevsim, with maps as other NICs have them.
fn lifted() -> Arc<Caps> {
    let lifts = [
        "map.types=all",
        "map.flags=all",
        "map.entries=unlimited",
        "map.direct_values=true",
    ];
    let nic = caps::builtin("netdevsim").unwrap();
    let lift = |nic, set: &&str| caps::apply_set(&nic, set).unwrap();
    Arc::new(lifts.iter().fold(nic, lift))
}

fn frames(mix: Mix, packets: u64) -> Vec<Vec<u8>> {
    let mut generator = Generator::new(Spec::new(mix, packets)).unwrap();
    let mut frames = Vec::new();
    let mut frame = Vec::new();
    while generator.next_into(&mut frame).is_some() {
        frames.push(frame.clone());
    }
    frames
}

fn testbed(nic: Arc<Caps>, set: &ProgramSet, seeds: Option<&Seeds>) -> Testbed {
    let settings = Settings {
        reference: ReferenceChoice::Interp,
        ..Settings::default()
    };
    let mut testbed = Testbed::new(nic, settings).unwrap();
    testbed
        .load_with(set, &set.programs[0].name, seeds)
        .unwrap();
    testbed
}

fn from_text(text: &str) -> ProgramSet {
    load("case.bpf", text.as_bytes(), &LoadOptions::default()).unwrap()
}

/// Traces the last of so many frames.
fn trace_last(testbed: &mut Testbed, frames: &[Vec<u8>]) -> Trace {
    let frame = |bytes| FrameIn {
        arrival_ns: 0,
        port: 1,
        bytes,
    };
    let (last, before) = frames.split_last().unwrap();
    let before = before.iter().map(|bytes| frame(bytes));
    testbed.feed(before, &mut |_| Ok(())).unwrap();
    let trace = testbed.trace(frame(last), &mut |_| Ok(())).unwrap();
    trace.unwrap()
}

/// A number that both sides held in a register after the instruction at `pc`.
fn wrote(trace: &Trace, pc: usize, register: usize) -> Value {
    let row = trace
        .rows
        .iter()
        .find(|row| row.reference.as_ref().is_some_and(|step| step.pc == pc))
        .unwrap();
    let [nic, reference] = &row.wrote;
    assert_eq!(nic, reference);
    nic.iter().find(|(r, _)| *r == register).unwrap().1
}

#[test]
fn every_program_does_the_same_step_by_step_on_both_engines() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
    let mut traced = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "o") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let object = std::fs::read(&path).unwrap();
        let plain = load(&name, &object, &LoadOptions::default()).unwrap();
        let seeds = std::fs::read_to_string(folder.join(format!("seeds/{name}.json")))
            .ok()
            .map(|text| Seeds::parse(&name, &text).unwrap());
        let options = LoadOptions {
            globals: seeds
                .as_ref()
                .map(|s| s.globals(&plain.programs[0].globals))
                .unwrap_or_default(),
            ..LoadOptions::default()
        };
        let set = load(&name, &object, &options).unwrap();
        for nic in [Arc::new(caps::builtin("x86-dpu").unwrap()), lifted()] {
            for mix in [Mix::Tcp, Mix::All] {
                let mut testbed = testbed(Arc::clone(&nic), &set, seeds.as_ref());
                if !testbed.is_running() {
                    continue;
                }
                let trace = trace_last(&mut testbed, &frames(mix, 30));
                assert_eq!(trace.silent, [None, None], "{name}");
                let text = trace.to_text(Style::PLAIN);
                assert_eq!(trace.first(), None, "{name} on {}:\n{text}", nic.name);
                assert!(trace.rows.len() > 1, "{name}");
                let both = trace.rows.iter().filter(|row| row.nic.is_some()).count();
                assert!(both * 2 > trace.rows.len(), "{name}: {text}");
                let report = testbed.finish().unwrap();
                assert!(!report.disagrees(), "{name}");
                assert_eq!(report.packets, 30);
                traced += 1;
            }
        }
    }
    assert!(traced > 60, "{traced}");
}

#[test]
fn maps_are_as_all_packets_before_left_them() {
    let set = from_text(include_str!("../../programs/counter.bpf"));
    for nic in [Arc::new(caps::builtin("x86-dpu").unwrap()), lifted()] {
        let mut testbed = testbed(nic, &set, None);
        let trace = trace_last(&mut testbed, &frames(Mix::Udp, 6000));
        assert_eq!(trace.packet.number, 5999);
        // r1 = the count.
        assert_eq!(wrote(&trace, 7, 1), Value::Number(5999));
        assert_eq!(wrote(&trace, 8, 1), Value::Number(6000));
        let stored = trace.rows.iter().find_map(|row| {
            let step = row.nic.as_ref().filter(|step| step.pc == 9)?;
            step.stored.clone()
        });
        assert_eq!(stored.unwrap().bytes, 6000u64.to_le_bytes());
    }
}

#[test]
fn calls_and_tail_calls_are_followed() {
    let source = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/cases/call/tail-call-from-function.bpf"),
    )
    .unwrap();
    let set = from_text(&source);
    for nic in [Arc::new(caps::builtin("x86-dpu").unwrap()), lifted()] {
        let mut testbed = testbed(nic, &set, None);
        let trace = trace_last(&mut testbed, &frames(Mix::Udp, 1));
        assert_eq!(trace.first(), None, "{}", trace.to_text(Style::PLAIN));
        let ran: std::collections::BTreeSet<u32> = trace
            .rows
            .iter()
            .flat_map(|row| [row.nic.as_ref(), row.reference.as_ref()])
            .map(|step| step.unwrap().program)
            .collect();
        assert!(ran.len() > 1, "{ran:?}");
        let deepest = |side: fn(&harness::trace::Row) -> Option<&bpf::trace::Step>| {
            trace.rows.iter().filter_map(side).map(|s| s.depth).max()
        };
        assert_eq!(deepest(|row| row.nic.as_ref()), Some(1));
        assert_eq!(deepest(|row| row.reference.as_ref()), Some(1));
    }
}

/// Traces one frame on a NIC that holds `image` for the program of `text`, and on interp.
fn with_image(text: &str, change: impl FnOnce(&mut Image)) -> Trace {
    let set = from_text(text);
    let program = Arc::new(set.programs[0].clone());
    let verified = harness::pipeline::verify(&program).unwrap();
    let caps = Arc::new(caps::builtin("x86-dpu").unwrap());
    let mut image = jit_backends::x86_64::X86_64
        .translate(&verified, &caps)
        .unwrap();
    change(&mut image);
    let environment = Arc::new(Environment::default());
    let mut nic = Nic::new(caps, Arc::clone(&environment), 1);
    let maps = nic.create_maps(&program.maps).unwrap();
    #[expect(unsafe_code, reason = "vouches for an image")]
    // SAFETY: what the tests change are operands, none of them of an address.
    let trusted = unsafe { image.clone().trust() };
    nic.load_trusted(&trusted, &program.hook, &maps).unwrap();
    let interp = Interp::new(Setup {
        programs: vec![Arc::clone(&program)],
        maps: MapSet::for_program_set(&program.maps, 1, Placement::Private).unwrap(),
        environment,
    })
    .unwrap();
    let frame = frames(Mix::Udp, 1).remove(0);
    let mut batch = Batch::new();
    let arrival = Arrival {
        number: 0,
        arrival_ns: 0,
        port: 1,
        queue: 0,
    };
    batch.push(arrival, &frame, 64, 0);
    let mut other = batch.clone();
    let sites = sites(&[&verified]);
    let mut queue = nic.queues(ProgramId(0)).remove(0);
    let recorded = [
        Recorded::of(&sites, |observer| queue.trace(&mut batch, observer)),
        Recorded::of(&sites, |observer| {
            interp.runner().trace(&mut other, observer)
        }),
    ];
    let packet = Traced {
        number: 0,
        queue: 0,
        headroom: 64,
        frame,
    };
    let part = Part {
        program,
        image: Some(Arc::new(image)),
        backend: "x86_64".to_owned(),
    };
    Trace::new(packet, vec![part], recorded)
}

/// Changes one byte in the code of the instruction at `pc`.
fn flip(image: &mut Image, pc: usize, byte: usize, to: u8) {
    let range = image
        .source_map
        .iter()
        .find(|range| range.pcs == [pc])
        .unwrap();
    image.code[range.start + byte] = to;
}

const SMALL: &str = "
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 14
    if r4 > r3 goto out
    r5 = *(u8 *)(r2 + 13)
    r5 += 100
    *(u16 *)(r2 + 10) = r5
    if r5 == 100 goto out
    r0 = 1
    exit
    out:
    r0 = 2
    exit
";

#[test]
fn what_the_emitted_code_computed_is_seen() {
    assert_eq!(with_image(SMALL, |_| ()).first(), None);
    // `add r8, 100` becomes `add r8, 101`.
    let trace = with_image(SMALL, |image| flip(image, 6, 3, 101));
    let first = &trace.rows[trace.first().unwrap()];
    assert_eq!(first.differs, [Differs::Register(5)]);
    assert_eq!(first.nic.as_ref().unwrap().pc, 6);
    assert_eq!(first.wrote[0], [(5, Value::Number(101))]);
    assert_eq!(first.wrote[1], [(5, Value::Number(100))]);
    let text = trace.to_text(Style::PLAIN);
    for part in [
        "first difference: in r5",
        "r5=0x65",
        "r5=0x64",
        "add r8, 0x65",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    // The branch that follows goes another way.
    let control = trace
        .rows
        .iter()
        .find(|row| row.differs.contains(&Differs::Control));
    assert_eq!(control.unwrap().nic.as_ref().unwrap().pc, 8);
    let json = trace.to_json();
    assert_eq!(json["first"]["step"], 6);
    assert_eq!(json["steps"][6]["nic"]["wrote"]["r5"], "0x65");
}

#[test]
fn a_store_of_another_width_is_seen_in_memory() {
    // The byte behind is the EtherType's. The operand-size prefix of `mov word [rsi], r8w` becomes a no-op: four bytes are stored.
    let trace = with_image(SMALL, |image| {
        let range = image.source_map.iter().find(|r| r.pcs == [7]).unwrap();
        assert_eq!(image.code[range.start], 0x66);
        let start = range.start;
        image.code[start] = 0x90;
    });
    let first = &trace.rows[trace.first().unwrap()];
    assert_eq!(first.differs, [Differs::Memory]);
    assert_eq!(first.nic.as_ref().unwrap().pc, 7);
}
