//! A backend that is wrong on purpose: fuzzing finds it, the program shrinks to the few
//! instructions that matter, and the folder it is kept in replays to the same difference.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;

use std::sync::Arc;

use bpf::generate::{self, Spec};
use bpf::object::{LoadOptions, load};
use caps::Caps;
use harness::conformance::{self, Answer, Case};
use harness::fuzz::{self, Settings};
use harness::mutants::{self, Budget};
use harness::outside::Outside;
use harness::repro::{self, Read, Replayed, Repro, Run};
use harness::side::{Device, Side};
use harness::testbed;
use isa::ebpf::{AluOp, Insn, MemSize, Operand, Width, decode, encode};
use isa::{Image, Isa};
use jit_backends::ebpf::Ebpf;
use jit_backends::{Backend, Listing, Refusal};
use nic_model::Workers;
use verifier::Verified;

use cli::Sandbox;

/// The identity backend, with one instruction done wrong.
#[derive(Clone, Copy)]
struct Broken(fn(Insn) -> Insn);

impl Backend for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn isa(&self) -> Isa {
        Isa::Ebpf
    }

    fn translate(&self, program: &Verified, caps: &Caps) -> Result<Image, Refusal> {
        let mut image = Ebpf.translate(program, caps)?;
        let insns = decode(&image.code).unwrap();
        let wrong: Vec<Insn> = insns.into_iter().map(self.0).collect();
        image.code = encode(&wrong).unwrap();
        Ok(image)
    }

    fn disassemble(&self, image: &Image) -> Listing {
        Ebpf.disassemble(image)
    }
}

/// Forgets that a 32-bit subtraction clears the upper half.
fn wide_subtraction(insn: Insn) -> Insn {
    match insn {
        Insn::Alu {
            op: AluOp::Sub,
            width: Width::W32,
            dst,
            src,
        } => Insn::Alu {
            op: AluOp::Sub,
            width: Width::W64,
            dst,
            src,
        },
        other => other,
    }
}

/// Loads signed halves as unsigned ones.
fn unsigned_halves(insn: Insn) -> Insn {
    match insn {
        Insn::Load {
            size: MemSize::H,
            signed: true,
            dst,
            base,
            offset,
        } => Insn::Load {
            size: MemSize::H,
            signed: false,
            dst,
            base,
            offset,
        },
        other => other,
    }
}

/// Stores too little.
fn narrow_stores(insn: Insn) -> Insn {
    match insn {
        Insn::Store {
            size: MemSize::W,
            base,
            offset,
            src: src @ Operand::Reg(_),
        } => Insn::Store {
            size: MemSize::H,
            base,
            offset,
            src,
        },
        other => other,
    }
}

fn side(backend: &Broken) -> Side<'_> {
    let caps = Arc::new(caps::builtin("netdevsim").unwrap());
    Side::Nic(Device::new(backend, caps, None))
}

fn settings(threads: usize) -> Settings {
    Settings {
        seed: 1,
        cases: 2_000,
        threads,
        ..Settings::default()
    }
}

/// Whether mutants of it are caught says nothing then.
#[test]
fn a_backend_that_is_wrong_before_it_is_broken_is_a_false_alarm() {
    let workers = Arc::new(Workers::new(env!("CARGO_BIN_EXE_nicbed")));
    let caps = Arc::new(caps::builtin("netdevsim").unwrap());
    let budget = Budget {
        seed: 0,
        programs: 12,
        mutants: 2,
        packets: 32,
    };
    let broken = Broken(wide_subtraction);
    let summary = mutants::run(&broken, &caps, &workers, budget).unwrap();
    let alarms = summary.false_alarms.len() as u64;
    assert!(alarms > 0, "{summary:?}");
    assert_eq!(summary.programs + alarms, 12);
    assert!(summary.all.mutants <= 2 * summary.programs);
}

#[test]
fn fuzzing_finds_each_fault_and_shrinks_it_to_a_few_instructions() {
    let sandbox = Sandbox::new("broken-fuzz");
    for (name, wrong) in [
        ("wide-subtraction", wide_subtraction as fn(Insn) -> Insn),
        ("unsigned-halves", unsigned_halves),
        ("narrow-stores", narrow_stores),
    ] {
        let broken = Broken(wrong);
        let side = side(&broken);
        let report = fuzz::run(&side, &settings(2)).unwrap();
        let found = report.found.expect(name);
        let repro = Repro::new(name.to_owned(), &side, found.reference, found.trial);
        let small = repro.shrunk(&side);
        let program = &small.trial.program;
        // Where it shows in a map alone, the call that puts it there is part of it.
        assert!(program.insns.len() <= 16, "{name}: {:?}", program.insns);
        assert_eq!(small.trial.frames.len(), 1, "{name}");
        // The fault is in what is left.
        assert!(
            program.insns.iter().any(|insn| wrong(*insn) != *insn),
            "{name}"
        );

        let Replayed::Differs { mismatch, trace } = small.replay(&side).unwrap() else {
            panic!("{name}: the smallest program differs no more");
        };
        let trace = trace.expect("the engine can be stepped through");
        let first = trace.first_json();
        if name != "narrow-stores" {
            // The registers part at the instruction that is wrong.
            let pc = first["pc"].as_u64().expect("a pc") as usize;
            assert_ne!(
                wrong(program.insns[pc]),
                program.insns[pc],
                "{name}: {first}"
            );
            assert_ne!(first["nic"]["registers"], first["reference"]["registers"]);
        }

        // The folder brings the same program, packets and difference back.
        let seen = small.replay(&side).unwrap();
        let folder = repro::write(&sandbox.path(""), name, &small, &seen).unwrap();
        for file in [
            "repro.json",
            "repro.sh",
            "program.hex",
            "packets.pcap",
            "difference.txt",
        ] {
            assert!(folder.join(file).is_file(), "{name}: {file}");
        }
        let Read::Trial(read) = repro::read(&folder).unwrap() else {
            panic!("{name}: it holds a program");
        };
        assert_eq!(read.trial.program.insns, program.insns);
        assert_eq!(read.trial.frames, small.trial.frames);
        let Replayed::Differs {
            mismatch: again, ..
        } = read.replay(&side).unwrap()
        else {
            panic!("{name}: the folder differs no more");
        };
        assert_eq!(again, mismatch, "{name}");
    }
}

#[test]
fn the_answer_does_not_depend_on_threads() {
    let broken = Broken(unsigned_halves);
    let side = side(&broken);
    let reports = [1, 4].map(|threads| fuzz::run(&side, &settings(threads)).unwrap());
    let [one, four] = reports;
    assert_eq!(one.cases, four.cases);
    assert_eq!(one.coverage, four.coverage);
    assert_eq!(one.references, four.references);
    let (a, b) = (one.found.unwrap(), four.found.unwrap());
    assert_eq!((a.case, a.mismatch), (b.case, b.mismatch));
    assert_eq!(a.trial.program.insns, b.trial.program.insns);
}

#[test]
fn a_failed_conformance_case_is_kept_and_replays() {
    let broken = Broken(unsigned_halves);
    let side = side(&broken);
    let (name, text) = conformance::embedded()
        .iter()
        .find(|(name, _)| name.ends_with("loads-signed.data"))
        .unwrap();
    let case = Case::parse(name, text.as_bytes()).unwrap();
    let result = conformance::run(&case, &side);
    assert_eq!(result.result, Answer::Failed);
    assert!(
        result.detail.contains("expected r0 = 0x0"),
        "{}",
        result.detail
    );
    let sandbox = Sandbox::new("broken-conformance");
    let repro = Repro::of_case(&case, &side, 0);
    let seen = repro.replay(&side).unwrap();
    let folder = repro::write(&sandbox.path(""), "case", &repro, &seen).unwrap();
    let Read::Trial(read) = repro::read(&folder).unwrap() else {
        panic!("it holds a program");
    };
    let Replayed::Result { came_to } = read.replay(&side).unwrap() else {
        panic!("it passes");
    };
    assert_eq!(came_to, result.detail);
    // A right backend passes the same case.
    assert!(!read.replay(&Side::Interp).unwrap().differs());
}

#[test]
fn a_run_that_differs_shrinks_to_the_packet_that_matters() {
    let nic = Arc::new(caps::builtin("netdevsim").unwrap());
    let object = "\
        r2 = *(u32 *)(r1 + 0)\n\
        r3 = *(u32 *)(r1 + 4)\n\
        r4 = r2\n\
        r4 += 16\n\
        r0 = 1\n\
        if r4 > r3 goto out\n\
        r0 = *(s16 *)(r2 + 14)\n\
        out:\n\
        exit\n";
    let set = load("halves.bpf", object.as_bytes(), &LoadOptions::default()).unwrap();
    let settings = testbed::Settings {
        outside: Some(Outside {
            backend: Arc::new(Broken(unsigned_halves)),
            workers: Arc::new(Workers::default()),
        }),
        ..testbed::Settings::default()
    };
    let run = Run {
        nic: &nic,
        settings: &settings,
        set: &set,
        entry: &set.programs[0].name,
        seeds: None,
    };
    // Only a packet whose sign bit is set shows the fault.
    let packets: Vec<_> = (0..40u8)
        .map(|n| (u64::from(n), vec![if n == 23 { 0x80 } else { n }; 20]))
        .collect();
    let fewest = run.fewest(packets.clone()).expect("they differ");
    assert_eq!(fewest, [packets[23].clone()]);
    let (report, trace) = run.repeat(&fewest, Some(0)).unwrap();
    assert!(report.disagrees());
    let first = trace.unwrap().first_json();
    assert_eq!(first["pc"], 6);
    assert_eq!(first["nic"]["registers"]["r0"], "0x8080");
    assert_eq!(first["reference"]["registers"]["r0"], "0xffffffffffff8080");
    assert_eq!(run.fewest(packets[..10].to_vec()), None);
}

#[test]
fn nearly_all_generated_programs_verify() {
    let spec = Spec::default();
    let refused = (0..500)
        .filter(|seed| {
            let program = Arc::new(generate::program(&spec, *seed));
            verifier::verify(program, verifier::Options::default()).is_err()
        })
        .count();
    assert!(refused <= 5, "{refused} of 500 are refused");
}

#[test]
fn fuzzing_by_the_command_says_what_the_programs_had() {
    let sandbox = Sandbox::new("fuzz-command");
    let words = ["fuzz", "--backend", "ebpf", "--cases", "300", "-j"];
    let json = sandbox.nicbed(&words).status(0).json();
    assert_eq!(json["schema"], "nicbed/fuzz/1");
    assert_eq!(json["cases"], 300);
    assert_eq!(json["difference"], serde_json::Value::Null);
    let seen = &json["coverage"]["instructions"];
    assert!(seen["seen"].as_u64() > Some(150), "{seen}");
    let text = |threads| {
        let words = [
            "fuzz",
            "--backend",
            "interp",
            "--cases",
            "300",
            "--threads",
            threads,
        ];
        sandbox.nicbed(&words).status(0).stdout
    };
    assert_eq!(text("1"), text("3"));
    // Nothing is kept where nothing differs.
    assert!(!sandbox.path("nicbed-repro").exists());
}

#[test]
fn native_code_is_fuzzed_in_workers() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let sandbox = Sandbox::new("fuzz-native");
    // Among them are redirects, events and records, which a worker must hand back.
    let words = ["fuzz", "--backend", "x86_64", "--cases", "150"];
    let run = sandbox.nicbed(&words).status(0);
    assert!(run.out().contains("no difference"), "{}", run.out());
}

#[test]
fn the_command_keeps_a_failed_case_and_replays_it() {
    let sandbox = Sandbox::new("repro-command");
    sandbox.write("wrong.data", "-- asm\nmov %r0, 1\nexit\n-- result\n2\n");
    let words = [
        "conformance",
        "--backend",
        "ebpf",
        "wrong.data",
        "--repro-out",
        "kept",
        "-j",
    ];
    let json = sandbox.nicbed(&words).status(5).json();
    let folder = json["cases"][0]["repro"].as_str().unwrap().to_owned();
    assert_eq!(folder, "kept/conformance-ebpf-wrong");
    let run = sandbox.nicbed(&["run", "--repro", &folder]).status(5);
    assert!(
        run.out().contains("r0 = 0x1, expected r0 = 0x2"),
        "{}",
        run.out()
    );
    // What is not there, or not of that form, is said.
    sandbox
        .nicbed(&["run", "--repro", "nowhere"])
        .status(3)
        .says(&["repro.json"]);
    sandbox.write(
        "kept/conformance-ebpf-wrong/repro.json",
        "{\"schema\":\"other/1\"}",
    );
    sandbox
        .nicbed(&["run", "--repro", &folder])
        .status(3)
        .says(&["nicbed/repro/1"]);
    sandbox.nicbed(&["run"]).status(2);
}
