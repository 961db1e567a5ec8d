//! Every exit status by a real case, the keys of JSON documents that scripts rely on, and colour.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod cli;

use std::process::Command;

use bpf::object::{LoadOptions, load};
use cli::{Ran, Sandbox, capture, program, root};
use harness::Status;
use harness::testbed::{FrameIn, Settings, Testbed};
use serde_json::Value;

/// A NIC whose engine runs on every machine, with what most programs need.
const LIFTED: [&str; 10] = [
    "--nic",
    "netdevsim",
    "--set",
    "map.types=all",
    "--set",
    "map.entries=unlimited",
    "--set",
    "map.flags=all",
    "--set",
    "map.direct_values=true",
];

fn nicbed(sandbox: &Sandbox, args: &[&str]) -> Ran {
    sandbox.nicbed(args)
}

fn run_lifted(sandbox: &Sandbox, object: &str, more: &[&str]) -> Ran {
    let (object, capture) = (program(object), capture("all.pcap"));
    let mut args = vec!["run", &object, "--pcap", &capture];
    args.extend(LIFTED);
    args.extend(more);
    sandbox.nicbed(&args)
}

/// Reads what it must not: r0 is not set.
const UNSAFE: &str = "r0 = *(u64 *)(r1 + 400)\nexit\n";

#[test]
fn zero_is_offload_and_equal() {
    let sandbox = Sandbox::new("status_0");
    let pass = program("pass.o");
    nicbed(&sandbox, &["verify", &pass]).status(0);
    nicbed(&sandbox, &["check", &pass, "--nic", "netdevsim"]).status(0);
    nicbed(&sandbox, &["jit", &pass, "--nic", "netdevsim"]).status(0);
    nicbed(&sandbox, &["inspect", &pass]).status(0);
    nicbed(&sandbox, &["nic", "list"]).status(0);
    nicbed(&sandbox, &["explain"]).status(0);
    nicbed(&sandbox, &["--version"]).status(0);
    nicbed(&sandbox, &["run", "--help"]).status(0);
    run_lifted(&sandbox, "firewall.o", &[]).status(0);
}

#[test]
fn the_object_may_stand_behind_the_captures() {
    let sandbox = Sandbox::new("object_last");
    let (object, capture) = (program("pass.o"), capture("udp.pcap"));
    let first = nicbed(
        &sandbox,
        &[
            "run",
            &object,
            "--nic",
            "netdevsim",
            "--pcap",
            &capture,
            "-j",
        ],
    );
    let last = nicbed(
        &sandbox,
        &[
            "run",
            "-j",
            "--nic",
            "netdevsim",
            "--pcap",
            &capture,
            &object,
        ],
    );
    let program = |ran: &Ran| ran.json()["program"].clone();
    assert_eq!(program(&first), program(&last));
    last.status(0);
    nicbed(&sandbox, &["run", "--nic", "netdevsim", "--pcap", &capture]).status(2);
}

#[test]
fn one_is_a_fallback_or_a_rejection() {
    let sandbox = Sandbox::new("status_1");
    let firewall = program("firewall.o");
    // Its maps are none that netdevsim has.
    let check = ["check", &firewall, "--nic", "netdevsim"];
    let ran = nicbed(&sandbox, &check).status(1);
    assert!(ran.out().contains("fallback"), "{}", ran.out());
    let capture = capture("udp.pcap");
    let run = ["run", &firewall, "--nic", "netdevsim", "--pcap", &capture];
    let ran = nicbed(&sandbox, &run).status(1);
    assert!(ran.out().contains("fall back to the CPU"), "{}", ran.out());
    nicbed(&sandbox, &["jit", &firewall, "--nic", "netdevsim"]).status(1);

    let bad = sandbox.write("unsafe.bpf", UNSAFE);
    nicbed(&sandbox, &["verify", &bad]).status(1);
    nicbed(&sandbox, &["check", &bad, "--nic", "netdevsim"]).status(1);
    let ran = nicbed(
        &sandbox,
        &["run", &bad, "--nic", "netdevsim", "--pcap", &capture],
    )
    .status(1);
    assert!(ran.out().contains("rejected"), "{}", ran.out());

    for (answer, fallback, rejected) in [("fallback", 1, 1), ("rejected", 0, 1), ("never", 0, 0)] {
        let with = |object: &str| {
            let args = ["check", object, "--nic", "netdevsim", "--fail-on", answer];
            nicbed(&sandbox, &args).status
        };
        assert_eq!(
            (with(&firewall), with(&bad)),
            (fallback, rejected),
            "{answer}"
        );
    }
}

#[test]
fn two_is_a_bad_invocation_and_three_a_bad_file() {
    let sandbox = Sandbox::new("status_2_3");
    let pass = program("pass.o");
    nicbed(&sandbox, &["check", &pass, "--nic", "nosuch"]).status(2);
    nicbed(
        &sandbox,
        &["check", &pass, "--nic", "netdevsim", "--program", "nosuch"],
    )
    .status(2);
    nicbed(&sandbox, &["explain", "nosuch"]).status(2);
    // A queue is a CPU of this machine, whose number is no matter of a disagreement.
    let many = [
        "--reference",
        "kernel",
        "--queues",
        "1024",
        "--set",
        "model.queues_max=1024",
    ];
    run_lifted(&sandbox, "pass.o", &many)
        .status(2)
        .says(&["queues", "CPU"]);
    nicbed(&sandbox, &["check", "none.o", "--nic", "netdevsim"]).status(3);
    run_lifted(&sandbox, "pass.o", &["--outcomes", "/dev/full"]).status(3);
    run_lifted(&sandbox, "pass.o", &["--pcap", "none.pcap"]).status(3);
}

/// Without its capabilities the command may not use bpf(2), whoever runs it.
#[test]
fn four_is_what_the_environment_lacks() {
    let (pass, capture) = (program("pass.o"), capture("udp.pcap"));
    let run = [
        "run",
        &pass,
        "--nic",
        "netdevsim",
        "--pcap",
        &capture,
        "--reference",
        "kernel",
    ];
    let output = Command::new("setpriv")
        .args([
            "--bounding-set=-all",
            "--inh-caps=-all",
            env!("CARGO_BIN_EXE_nicbed"),
        ])
        .args(run)
        .output();
    match output {
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("setpriv:") => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(4), "{text}");
            assert!(
                text.contains("kernel") && text.contains("--reference interp"),
                "{text}"
            );
        }
        _ => println!("skipped: needs setpriv, and to be root"),
    }
}

/// No command of ours disagrees with itself: the NIC's map is changed behind the reference's back.
#[test]
fn five_is_a_disagreement() {
    let bytes = std::fs::read(program("counters.o")).unwrap();
    let set = load("counters.o", &bytes, &LoadOptions::default()).unwrap();
    let mut nic = caps::builtin("netdevsim").unwrap();
    for change in ["map.types=all", "map.entries=unlimited", "map.flags=all"] {
        nic = caps::apply_set(&nic, change).unwrap();
    }
    let mut bed = Testbed::new(nic.into(), Settings::default()).unwrap();
    bed.load(&set, &set.programs[0].name).unwrap();
    assert!(bed.is_running(), "{:?}", bed.decision());
    let frame = FrameIn {
        arrival_ns: 1,
        port: 1,
        bytes: &[0; 60],
    };
    bed.feed([frame], &mut |_| Ok(())).unwrap();
    let maps = bed.nic_maps().unwrap();
    let map = maps.get(0).unwrap();
    let value = vec![0x55; map.host_value_size()];
    map.host_update(&[0; 4], &value, 0).unwrap();
    let report = bed.finish().unwrap();
    assert!(report.disagrees());
    assert_eq!(report.to_json()["compare"]["maps_equal"], false);
    assert_eq!(report.to_json()["decision"]["stage"], "behaviour");
    assert_eq!(Status::Disagree.code(), 5);
    assert_eq!(Status::Disagree.worst(Status::Input), Status::Disagree);
    assert_eq!(Status::Negative.worst(Status::Input), Status::Input);
}

#[test]
fn one_unreadable_object_of_several_is_a_result_and_the_others_go_on() {
    let sandbox = Sandbox::new("status_several");
    let (pass, firewall) = (program("pass.o"), program("firewall.o"));
    let junk = sandbox.write("junk.o", b"nothing");
    for (objects, nic, without) in [
        ([&junk, &pass, &pass], "netdevsim", 0),
        ([&firewall, &junk, &pass], "netdevsim", 1),
        ([&pass, &firewall, &junk], "netdevsim", 1),
    ] {
        let mut args = vec!["check", "-j", "--nic", nic];
        args.extend(objects.map(String::as_str));
        let ran = nicbed(&sandbox, &args).status(3);
        let document = ran.json();
        let results = document["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        for (result, object) in results.iter().zip(objects) {
            assert_eq!(result["object"], object.as_str());
            if *object == junk {
                let error = result["error"].as_str().unwrap();
                assert!(
                    error.contains("junk.o") && error.contains("expected"),
                    "{error}"
                );
                assert!(result["verdict"].is_null());
            } else {
                assert!(result["error"].is_null());
                assert!(result["verdict"].is_string());
            }
        }
        args.retain(|a| *a != junk);
        nicbed(&sandbox, &args).status(without);
    }
    let ran = nicbed(&sandbox, &["check", &junk, &pass, "--nic", "netdevsim"]).status(3);
    assert!(ran.out().contains("offload"), "{}", ran.out());
    ran.says(&["junk.o"]);

    let bad = sandbox.write("unsafe.bpf", UNSAFE);
    let verify = ["verify", "-j", &bad, &junk, &pass];
    let document = nicbed(&sandbox, &verify).status(3).json();
    let accepted: Vec<&Value> = document["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["accepted"])
        .collect();
    assert_eq!(
        accepted,
        [&Value::Bool(false), &Value::Null, &Value::Bool(true)]
    );
    assert!(document["results"][1]["error"].is_string());

    let document = nicbed(&sandbox, &["inspect", "-j", &junk, &pass])
        .status(3)
        .json();
    assert!(document["results"][0]["error"].is_string());
    assert_eq!(document["results"][1]["programs"][0]["name"], "pass");
}

/// sections.o has programs of other kinds beside those for a NIC, externs.o one that asks for the
/// kernel's configuration.
#[test]
fn programs_that_the_loader_refuses_are_results_with_the_reason() {
    let sandbox = Sandbox::new("status_refused");
    let object = |name: &str| cli::text(&root().join("bpf/tests/objects").join(name));
    let sections = object("sections.o");
    let by_name = |document: &Value, name: &str| {
        let results = document["results"].as_array().unwrap().clone();
        results.into_iter().find(|r| r["program"] == name).unwrap()
    };
    let document = nicbed(&sandbox, &["verify", "-j", &sections])
        .status(0)
        .json();
    let probe = by_name(&document, "probe");
    assert!(probe["accepted"].is_null());
    assert!(
        probe["error"].as_str().unwrap().contains("kprobe"),
        "{probe}"
    );
    nicbed(&sandbox, &["verify", &sections, "--program", "probe"])
        .status(3)
        .says(&["sections.o", "probe", "kprobe"]);

    let externs = object("externs.o");
    let document = nicbed(&sandbox, &["verify", "-j", &externs])
        .status(1)
        .json();
    let config = by_name(&document, "needs_config");
    assert_eq!(config["accepted"], false);
    assert_eq!(config["reject"]["rule"], "object/extern");
    let check = ["check", "-j", &externs, "--nic", "netdevsim"];
    let document = nicbed(&sandbox, &check).status(1).json();
    let config = by_name(&document, "needs_config");
    assert_eq!(config["verdict"], "rejected");
    assert_eq!(config["findings"][0]["rule"], "object/extern");
    let capture = capture("udp.pcap");
    let run = [
        "run",
        &externs,
        "--program",
        "needs_config",
        "--nic",
        "netdevsim",
        "--pcap",
        &capture,
    ];
    nicbed(&sandbox, &run)
        .status(3)
        .says(&["needs_config", "CONFIG_HZ"]);
}

/// The value has every key of the list; `a.b` goes inside.
#[track_caller]
fn has(value: &Value, keys: &[&str]) {
    for path in keys {
        let mut inside = value;
        for key in path.split('.') {
            let object = inside.as_object();
            inside = object
                .and_then(|object| object.get(key))
                .unwrap_or_else(|| panic!("no `{path}` in {value:#}"));
        }
    }
}

#[test]
fn documents_have_the_keys_that_scripts_rely_on() {
    let sandbox = Sandbox::new("status_keys");
    let (firewall, capture) = (program("firewall.o"), capture("all.pcap"));

    let check = ["check", "-j", &firewall, "--nic", "netdevsim"];
    let document = nicbed(&sandbox, &check).status(1).json();
    assert_eq!(document["schema"], "nicbed/check/1");
    let result = &document["results"][0];
    has(
        result,
        &[
            "object", "program", "hook", "nic", "verdict", "findings", "usage",
        ],
    );
    has(
        &result["usage"],
        &["insns", "image_instructions", "stack_bytes"],
    );
    assert_eq!(result["hook"], "xdp");
    let findings = result["findings"].as_array().unwrap();
    assert!(!findings.is_empty());
    for finding in findings {
        let keys = [
            "rule", "severity", "stage", "subject", "pc", "file", "line", "message", "why", "help",
        ];
        has(finding, &keys);
    }
    let type_of = |f: &Value| f["rule"] == "map/type";
    let finding = findings.iter().find(|f| type_of(f)).unwrap();
    assert!(finding["subject"].is_string() && finding["why"].is_string());

    let bad = sandbox.write("unsafe.bpf", UNSAFE);
    let verify = ["verify", "--format", "json", &firewall, &bad];
    let document = nicbed(&sandbox, &verify).status(1).json();
    assert_eq!(document["schema"], "nicbed/verify/1");
    let (good, bad) = (&document["results"][0], &document["results"][1]);
    has(good, &["object", "program", "accepted", "reject"]);
    has(&good["stats"], &["insns_processed", "states", "micros"]);
    assert!(good["reject"].is_null());
    has(
        &bad["reject"],
        &["rule", "pc", "file", "line", "message", "why"],
    );
    assert_eq!(bad["reject"]["pc"], 0);

    let outcomes = ["-j", "--outcomes", "outcomes.jsonl"];
    let document = run_lifted(&sandbox, "firewall.o", &outcomes)
        .status(0)
        .json();
    assert_eq!(document["schema"], "nicbed/run/1");
    let keys = [
        "program",
        "nic",
        "decision.outcome",
        "decision.stage",
        "decision.findings",
        "image.backend",
        "image.bytes",
        "image.instructions",
        "replay.packets",
        "replay.bytes",
        "replay.queues",
        "replay.threads",
        "replay.order",
        "replay.verdicts",
        "replay.punted",
        "compare.reference",
        "compare.compared",
        "compare.mismatched",
        "compare.maps_equal",
        "compare.first",
        "throughput.emulated_mpps",
        "throughput.reference_mpps",
        "throughput.predicted_mpps",
        "throughput.line_rate_mpps",
    ];
    has(&document, &keys);
    assert_eq!(document["decision"]["outcome"], "offload");
    assert!(document["decision"]["stage"].is_null());
    let order = document["replay"]["order"].as_str().unwrap();
    assert!(matches!(order, "per-queue" | "arrival"));
    let verdicts = document["replay"]["verdicts"].as_object().unwrap();
    assert!(
        verdicts.keys().all(|name| name.starts_with("XDP_")),
        "{verdicts:?}"
    );
    let lines = String::from_utf8(sandbox.read("outcomes.jsonl")).unwrap();
    let mut last = None;
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let keys = [
            "packet", "queue", "verdict", "r0", "redirect", "meta", "frame", "punted",
        ];
        has(&line, &keys);
        assert_eq!(line.as_object().unwrap().len(), keys.len());
        let packet = line["packet"].as_u64();
        assert!(packet > last, "in arrival order");
        last = packet;
    }
    assert!(last.is_some());

    let fallback = [
        "run",
        "-j",
        &firewall,
        "--nic",
        "netdevsim",
        "--pcap",
        &capture,
    ];
    let document = nicbed(&sandbox, &fallback).status(1).json();
    assert_eq!(document["decision"]["outcome"], "fallback");
    assert_eq!(document["decision"]["stage"], "caps");

    let mut jit = vec!["jit", &firewall, "--emit", "json"];
    jit.extend(LIFTED);
    let document = nicbed(&sandbox, &jit).status(0).json();
    has(&document, &["schema", "isa", "words", "listing"]);
    let listing = document["listing"].as_array().unwrap();
    assert_eq!(listing.len(), document["words"].as_array().unwrap().len());
    for line in listing {
        has(line, &["offset", "text", "pc", "pcs", "line"]);
    }
    jit[3] = "hex";
    let ran = nicbed(&sandbox, &jit).status(0);
    assert_eq!(ran.out().lines().count(), listing.len());

    let document = nicbed(&sandbox, &["explain", "-j"]).status(0).json();
    assert_eq!(document["schema"], "nicbed/explain/1");
    let rules = document["rules"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule == "map/type"));
    let document = nicbed(&sandbox, &["explain", "map/type", "-j"])
        .status(0)
        .json();
    has(&document, &["schema", "rule", "page"]);
    for command in [
        vec!["nic", "list", "-j"],
        vec!["nic", "show", "x86-dpu", "-j"],
        vec!["inspect", "-j", &firewall],
        vec!["pcap", "info", "-j", &capture],
        vec!["pcap", "gen", "-j", "-o", "x.pcap", "--packets", "3"],
    ] {
        let document = nicbed(&sandbox, &command).status(0).json();
        let schema = document["schema"].as_str().unwrap();
        let expected = format!("nicbed/{}", command[0]);
        assert!(
            schema.starts_with(&expected) && schema.ends_with("/1"),
            "{schema}"
        );
    }
}

/// Every finding's rule can be explained.
#[test]
fn rules_of_findings_have_a_page() {
    let sandbox = Sandbox::new("status_rules");
    let mut args = vec!["check", "-j", "--nic", "all", "--fail-on", "never"];
    let paths: Vec<String> = cli::objects()
        .iter()
        .map(|name| program(&format!("{name}.o")))
        .collect();
    args.extend(paths.iter().map(String::as_str));
    let document = nicbed(&sandbox, &args).status(0).json();
    let results = document["results"].as_array().unwrap();
    let rules: std::collections::BTreeSet<&str> = results
        .iter()
        .flat_map(|r| r["findings"].as_array().unwrap())
        .map(|f| f["rule"].as_str().unwrap())
        .collect();
    assert!(rules.len() > 5, "{rules:?}");
    for rule in rules {
        let ran = nicbed(&sandbox, &["explain", rule]).status(0);
        assert!(ran.out().contains(rule), "{rule}");
    }
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    let sandbox = Sandbox::new("status_colour");
    let firewall = program("firewall.o");
    let check = |more: &[&str], environment: &[(&str, &str)]| {
        let mut args = vec!["check", &firewall, "none.o", "--nic", "netdevsim"];
        args.extend(more);
        let ran = sandbox.nicbed_with(&args, environment, b"").status(3);
        (ran.out().contains('\x1b'), ran.stderr.contains('\x1b'))
    };
    assert_eq!(check(&[], &[]), (false, false));
    assert_eq!(check(&["--color", "auto"], &[]), (false, false));
    assert_eq!(check(&["--color", "never"], &[]), (false, false));
    assert_eq!(check(&["--color", "always"], &[]), (true, true));
    assert_eq!(check(&[], &[("NO_COLOR", "1")]), (false, false));
    // What was asked for on the line goes before the environment.
    assert_eq!(
        check(&["--color", "always"], &[("NO_COLOR", "1")]),
        (true, true)
    );
    // A document is never coloured.
    let (stdout, _) = check(&["--color", "always", "-j"], &[]);
    assert!(!stdout);

    // On a terminal there is colour, unless NO_COLOR is set and not empty.
    let on_a_terminal = |environment: &str| {
        let line = format!(
            "{environment} {} check {firewall} --nic netdevsim",
            env!("CARGO_BIN_EXE_nicbed")
        );
        let args = ["-q", "-c", &line, "/dev/null"];
        let output = Command::new("script")
            .args(args)
            .env_remove("NO_COLOR")
            .output();
        output.ok().map(|o| o.stdout.contains(&0x1b))
    };
    match on_a_terminal("") {
        None => println!("skipped: needs script"),
        Some(coloured) => {
            assert!(coloured);
            assert_eq!(on_a_terminal("NO_COLOR=1"), Some(false));
            assert_eq!(on_a_terminal("NO_COLOR="), Some(true));
        }
    }
}

/// A reader that has seen enough is no error.
#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
    let line = format!(
        "{} check {} --nic all; echo $? >&2",
        env!("CARGO_BIN_EXE_nicbed"),
        program("pass.o")
    );
    let status = |tail: &str| {
        let line = format!("( {line} ) {tail}");
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let whole = status("> /dev/null");
    assert_eq!(status("| true").trim(), whole.trim());
    let full = status("> /dev/full");
    assert!(
        full.contains("stdout: cannot write") && full.trim().ends_with('3'),
        "{full}"
    );
}
