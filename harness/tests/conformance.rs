//! `nicbed conformance` and `nicbed plugin`: the embedded cases pass, odd files are told one by
//! one, and a driver that follows the public suite's protocol gets its answers.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use harness::conformance::{self, Case, Expected};
use isa::ebpf::{Group, encode, table};

use cli::Sandbox;

fn embedded() -> impl Iterator<Item = Case> {
    conformance::embedded()
        .iter()
        .map(|(name, text)| Case::parse(name, text.as_bytes()).expect("an embedded case reads"))
}

#[test]
fn every_mnemonic_of_the_suite_has_an_embedded_case() {
    let used: BTreeSet<&str> = embedded()
        .flat_map(|case| case.program.insns.iter().copied().collect::<Vec<_>>())
        .map(|insn| insn.row().mnemonic())
        .collect();
    let missing: Vec<&str> = table()
        .iter()
        .filter(|row| row.suite().is_some() && row.group() != Group::Packet)
        .map(isa::ebpf::Row::mnemonic)
        .filter(|name| !used.contains(name))
        .collect();
    assert_eq!(
        missing,
        ["call_helper"],
        "which the suite leaves to the runtime"
    );
}

#[test]
fn the_embedded_cases_pass_on_every_engine() {
    let sandbox = Sandbox::new("conformance-embedded");
    for backend in ["interp", "x86_64", "ebpf"] {
        if backend == "x86_64" && !cfg!(target_arch = "x86_64") {
            continue;
        }
        let run = sandbox
            .nicbed(&["conformance", "--backend", backend, "-j"])
            .status(0);
        let json = run.json();
        assert_eq!(json["schema"], "nicbed/conformance/1");
        assert_eq!(json["failed"], 0);
        // callx, which no Linux accepts.
        assert_eq!(json["unsupported"], 1, "{}", run.out());
        assert_eq!(json["passed"], conformance::embedded().len() - 1);
        for group in [
            "base32", "base64", "divmul32", "divmul64", "atomic32", "atomic64",
        ] {
            assert!(
                json["groups"][group]["passed"].as_u64() > Some(0),
                "{group}"
            );
            assert_eq!(json["groups"][group]["failed"], 0);
        }
    }
}

#[test]
fn rbpf_passes_what_it_takes() {
    let run = Sandbox::new("conformance-rbpf")
        .nicbed(&["conformance", "--backend", "rbpf", "-j"])
        .status(0);
    assert!(run.json()["passed"].as_u64() > Some(40), "{}", run.out());
}

/// Name, contents, part of what is said, result.
type Odd = (&'static str, &'static [u8], &'static str, &'static str);

const ODD: [Odd; 15] = [
    (
        "crlf",
        b"-- asm\r\nmov %r0, 1\r\nexit\r\n-- result\r\n0x1\r\n",
        "",
        "passed",
    ),
    (
        "comments",
        b"-- asm # here\nmov %r0, 1 # one\nexit\n-- result # r0\n1 # one\n",
        "",
        "passed",
    ),
    (
        "negative",
        b"-- asm\nmov %r0, -1\nexit\n-- result\n-1\n",
        "",
        "passed",
    ),
    (
        "error",
        b"-- asm\nmov %r0, %r5\nexit\n-- error\nr5 is not readable\n",
        "",
        "passed",
    ),
    (
        "no-error",
        b"-- asm\nmov %r0, 1\nexit\n-- error\nnothing\n",
        "r0 = 0x1, expected an error",
        "failed",
    ),
    (
        "wrong",
        b"-- asm\nmov %r0, 1\nexit\n-- result\n2\n",
        "r0 = 0x1, expected r0 = 0x2",
        "failed",
    ),
    (
        "refused",
        b"-- asm\nldxb %r0, [%r1+1]\nexit\n-- mem\n00\n-- result\n0\n",
        "the verifier refuses it: insn 0",
        "unsupported",
    ),
    ("empty", b"", "no section result or error", ""),
    ("no-program", b"-- result\n0\n", "no section asm or raw", ""),
    (
        "section",
        b"-- asm\nexit\n-- wrong\n",
        "line 3: unknown section `wrong`",
        "",
    ),
    (
        "hex",
        b"-- asm\nexit\n-- mem\n00 1ff\n-- result\n0\n",
        "line 4: `1ff` is not a byte",
        "",
    ),
    (
        "twice",
        b"-- asm\nexit\n-- result\n0\n1\n",
        "line 5: a second result",
        "",
    ),
    (
        "asm",
        b"# a\n-- asm\nmov %r0, 1\nfrob %r0\n-- result\n0\n",
        "line 4",
        "",
    ),
    (
        "raw",
        b"-- raw\n0x00000000000000ff\n-- result\n0\n",
        "raw: ",
        "",
    ),
    (
        "bytes",
        b"-- asm\nexit\n\xff\xfe-- result\n0\n",
        "line 3: not UTF-8",
        "",
    ),
];

#[test]
fn odd_files_are_told_one_by_one_and_the_others_go_on() {
    let sandbox = Sandbox::new("conformance-odd");
    std::fs::create_dir(sandbox.path("cases")).expect("a folder");
    for (name, bytes, _, _) in ODD {
        sandbox.write(&format!("cases/{name}.data"), bytes);
    }
    let large = "00 ".repeat((1 << 20) + 1);
    sandbox.write(
        "cases/large.data",
        format!("-- asm\nexit\n-- mem\n{large}\n-- result\n0\n"),
    );
    // A failed case wins over files that cannot be read.
    let run = sandbox
        .nicbed(&["conformance", "--backend", "interp", "-j", "cases"])
        .status(5);
    let json = run.json();
    let cases = json["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), ODD.len() + 1);
    let find = |name: &str| {
        let file = format!("cases/{name}.data");
        cases
            .iter()
            .find(|case| case["file"] == file)
            .expect("each file is there")
    };
    for (name, _, said, result) in ODD {
        let case = find(name);
        let detail = case["detail"].as_str().expect("detail");
        assert!(detail.contains(said), "{name}: {detail}");
        if result.is_empty() {
            assert_eq!(case["error"], case["detail"], "{name}");
        } else {
            assert_eq!(case["result"], result, "{name}: {detail}");
        }
    }
    let said = find("large")["error"].as_str().expect("told");
    assert!(said.contains("1048577, at most 1048576"), "{said}");
}

#[test]
fn the_exit_status_tells_failures_from_files_that_are_no_cases() {
    let sandbox = Sandbox::new("conformance-status");
    sandbox.write("good.data", "-- asm\nmov %r0, 1\nexit\n-- result\n1\n");
    sandbox.write("bad.data", "-- asm\n");
    let run = |words: &[&str]| {
        let mut all = vec!["conformance", "--backend"];
        all.extend(words);
        sandbox.nicbed(&all)
    };
    run(&["interp", "good.data"]).status(0);
    run(&["interp", "good.data", "bad.data"]).status(3);
    run(&["interp", "missing.data", "good.data"]).status(3);
    run(&["nobody"])
        .status(2)
        .says(&["there is no backend nobody", "interp"]);
    run(&["interp", "--nic", "netdevsim"]).status(2);
    run(&["ebpf", "--nic", "x86-dpu"])
        .status(2)
        .says(&["backend x86_64"]);
    std::fs::create_dir(sandbox.path("none")).expect("a folder");
    run(&["interp", "none"])
        .status(3)
        .says(&["no .data or .test file"]);
}

/// Bytes as the public suite's runner writes them: two digits and two spaces each.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}  ");
        text
    })
}

/// What the public suite's runner does: the memory as first argument (none if it is empty), then
/// options, the program on stdin; r0 on stdout with status 0, or another status.
#[test]
fn the_plugin_answers_the_public_runner() {
    let sandbox = Sandbox::new("plugin-runner");
    for backend in ["interp", "ebpf"] {
        for case in embedded() {
            let memory = hex(&case.memory);
            let mut words = vec!["plugin", "--backend", backend];
            if !memory.is_empty() {
                words.push(&memory);
            }
            words.extend(["--debug", ""]);
            let code = encode(&case.program.insns).expect("a case has an encoding");
            let run = sandbox.nicbed_with(&words, &[], format!("{}\n", hex(&code)).as_bytes());
            if case.file.starts_with("callx") {
                assert_eq!((run.status, run.out()), (1, ""), "{backend}");
                continue;
            }
            let run = run.status(0);
            let r0 = u64::from_str_radix(run.out().trim(), 16).expect("a hexadecimal number");
            assert_eq!(Expected::Result(r0), case.expected, "{}", case.file);
        }
    }
}

#[test]
fn the_plugin_takes_packets_and_objects() {
    let sandbox = Sandbox::new("plugin-packet");
    // r0 = data_end - data.
    let program = "61 12 00 00 00 00 00 00 61 10 04 00 00 00 00 00 \
                   1f 20 00 00 00 00 00 00 95 00 00 00 00 00 00 00";
    let frame = "00 ".repeat(20);
    let xdp = [
        "plugin",
        "--backend",
        "interp",
        "--hook",
        "xdp",
        "--program",
        program,
        &frame,
    ];
    assert_eq!(sandbox.nicbed(&xdp).status(0).out(), "14\n");
    // The object's section says the hook: XDP_PASS.
    let object = std::fs::read(cli::program("pass.o")).expect("an object");
    let run = sandbox.nicbed_with(
        &["plugin", "--backend", "interp", &frame, "--elf"],
        &[],
        hex(&object).as_bytes(),
    );
    assert_eq!(run.status(0).out(), "2\n");
}

#[test]
fn the_plugin_says_what_it_cannot_read() {
    let sandbox = Sandbox::new("plugin-malformed");
    for (program, memory, said) in [
        ("zz", "", "not a hexadecimal digit"),
        ("95 0", "", "odd number"),
        ("", "", "no instruction"),
        ("ff 00 00 00 00 00 00 00", "", "program: "),
        ("95 00 00 00 00 00 00 00", "xy", "memory: "),
    ] {
        let words = [
            "plugin",
            "--backend",
            "interp",
            "--program",
            program,
            memory,
        ];
        let run = sandbox.nicbed(&words).status(3).says(&[said]);
        assert_eq!(run.out(), "");
    }
}
