//! A backend from outside through the whole testbed: a right one is as right in workers as in
//! this process, and a broken one is found, with place and C line, while the run goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use caps::Caps;
use harness::outside::Outside;
use harness::report::run::Report;
use harness::seeds::Seeds;
use harness::testbed::{FrameIn, ReferenceChoice, Settings, Testbed};
use isa::{Image, Isa};
use jit_backends::x86_64::X86_64;
use jit_backends::{Backend, Listing, Refusal};
use pcaps::generate::{Generator, Mix, Spec};
use verifier::Verified;

use crate::rig::workers;

/// The built-in backend, with something done to its images.
struct Changed(fn(&mut Image));

impl Backend for Changed {
    fn name(&self) -> &'static str {
        "changed"
    }

    fn isa(&self) -> Isa {
        Isa::X86_64
    }

    fn translate(&self, program: &Verified, caps: &Caps) -> Result<Image, Refusal> {
        let mut image = X86_64.translate(program, caps)?;
        (self.0)(&mut image);
        Ok(image)
    }

    fn disassemble(&self, image: &Image) -> Listing {
        X86_64.disassemble(image)
    }
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

/// The report of a program of `programs/` under generated traffic.
fn report(object: &str, program: &str, change: fn(&mut Image), packets: u64) -> Report {
    let path = programs().join(format!("{object}.o"));
    let bytes = std::fs::read(path).expect("the object is there");
    let set = load(object, &bytes, &LoadOptions::default()).expect("it loads");
    let seeds = std::fs::read_to_string(programs().join(format!("seeds/{object}.json")))
        .ok()
        .map(|text| Seeds::parse(object, &text).expect("seeds"));
    let nic = Arc::new(caps::builtin("x86-dpu").expect("a profile"));
    let settings = Settings {
        queues: Some(2),
        threads: 2,
        reference: ReferenceChoice::Interp,
        outside: Some(Outside {
            backend: Arc::new(Changed(change)),
            workers: workers(),
        }),
        ..Settings::default()
    };
    let mut testbed = Testbed::new(nic, settings).expect("a testbed");
    let decision = testbed.load_with(&set, program, seeds.as_ref());
    let decision = decision.expect("it is loaded").clone();
    assert!(testbed.is_running(), "{program}: {:?}", decision.findings);
    for mix in [Mix::Imix, Mix::Malformed] {
        let spec = Spec {
            flows: 20,
            ..Spec::new(mix, packets)
        };
        let mut generator = Generator::new(spec).expect("a mix");
        let mut frame = Vec::new();
        while let Some(stamp) = generator.next_into(&mut frame) {
            let frame = FrameIn {
                arrival_ns: stamp.time_ns,
                port: 1,
                bytes: &frame,
            };
            testbed
                .feed([frame], &mut |_| Ok(()))
                .expect("no sink fails");
        }
    }
    testbed.finish().expect("it ends")
}

#[test]
fn every_program_does_in_workers_what_the_reference_does() {
    let mut seen = 0;
    for entry in std::fs::read_dir(programs()).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "o") {
            continue;
        }
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let bytes = std::fs::read(&path).expect("the object is there");
        let set = load(&name, &bytes, &LoadOptions::default()).expect("it loads");
        let xdp = |p: &&bpf::Program| matches!(p.hook, bpf::Hook::Xdp { .. });
        for program in set.programs.iter().filter(xdp) {
            let report = report(&name, &program.name, |_| {}, 40);
            let context = format!("{name}/{}", program.name);
            assert!(report.compared > 40, "{context}: {}", report.compared);
            assert_eq!(report.mismatched, 0, "{context}: {:?}", report.first);
            let maps = report.map_differences.expect("maps are compared");
            assert!(maps.is_empty(), "{context}: {maps:?}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} programs");
}

#[test]
fn a_crash_is_a_finding_with_the_line_and_the_run_goes_on() {
    // The code of the first load that the source map tells of becomes `ud2`.
    let change = |image: &mut Image| {
        let range = image
            .source_map
            .iter()
            .find(|r| r.pcs.iter().any(|pc| *pc > 3));
        let start = range.expect("code").start;
        image.code[start..start + 2].copy_from_slice(&[0x0f, 0x0b]);
    };
    let report = report("icmp_echo", "icmp_echo", change, 40);
    let mut findings = report.decision.findings.iter();
    let finding = findings
        .find(|f| f.rule == "native/crash")
        .expect("a finding");
    assert!(
        finding
            .message
            .starts_with("native code crashed with SIGILL at image+0x")
    );
    assert!(finding.pc.is_some_and(|pc| pc > 3), "{finding:?}");
    let place = (finding.file.as_deref(), finding.line);
    assert!(
        matches!(place, (Some(file), Some(_)) if file.contains("programs/")),
        "{place:?}"
    );
    assert!(finding.why.contains("rdi = context+0x0"), "{}", finding.why);
    assert!(report.compared > 40);
    assert!(report.disagrees());
}

#[test]
fn the_program_that_serves_must_be_nicbed() {
    let caps = Arc::new(caps::builtin("x86-dpu").expect("a profile"));
    let image = crate::rig::image(crate::rig::PASS, &[]);
    for program in ["/nowhere/nicbed", "/bin/true"] {
        let workers = Arc::new(nic_model::Workers::new(program));
        let mut nic = nic_model::Nic::new(Arc::clone(&caps), Arc::default(), 1);
        let refused = nic
            .load(&image, &bpf::Hook::XDP, &[])
            .expect_err("nobody vouches");
        assert_eq!(refused, nic_model::LoadError::Untrusted);
        let mut nic = nic.with_workers(workers);
        let error = nic
            .load(&image, &bpf::Hook::XDP, &[])
            .expect_err("no worker");
        assert!(error.to_string().contains(program), "{error}");
    }
}
