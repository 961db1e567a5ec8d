//! The compatibility matrix in every form, held against an earlier one, and what a NIC lacks.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;
mod page;

use std::collections::BTreeSet;
use std::sync::Arc;

use bpf::object::{LoadOptions, load};
use cli::{Sandbox, objects, program, root};
use harness::decide::Verdict;
use harness::matrix::minimal;
use harness::pipeline;
use jit_backends::Loaded;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

fn check(sandbox: &Sandbox, more: &[&str], status: i32) -> String {
    let (vlan, counters, drop) = (program("vlan.o"), program("counters.o"), program("drop.o"));
    let mut args = vec![
        "check",
        &vlan,
        &counters,
        &drop,
        "--nic",
        "agilio-cx,netdevsim,x86-dpu",
    ];
    args.extend(more);
    sandbox.nicbed(&args).status(status).out().to_owned()
}

fn cells(sandbox: &Sandbox) -> Vec<Value> {
    let document: Value = serde_json::from_str(&check(sandbox, &["-j"], 1)).unwrap();
    document["results"].as_array().unwrap().clone()
}

#[test]
fn csv_has_a_line_for_each_cell() {
    let sandbox = Sandbox::new("matrix_csv");
    let text = check(&sandbox, &["--format", "csv"], 1);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().unwrap().clone();
    let column = |name: &str| heads.iter().position(|head| head == name).unwrap();
    let (program, nic, verdict, stack) = (
        column("program"),
        column("nic"),
        column("verdict"),
        column("stack"),
    );
    let lines: Vec<_> = reader.records().map(Result::unwrap).collect();
    for (line, cell) in lines.iter().zip(cells(&sandbox)) {
        assert_eq!(line[program], cell["program"]);
        assert_eq!(line[nic], cell["nic"]);
        assert_eq!(line[verdict], cell["verdict"]);
        assert_eq!(line[stack], cell["usage"]["stack_bytes"].to_string());
    }
    assert_eq!(lines.len(), 4 * 3);
}

#[test]
fn columns_order_and_filters_are_those_asked_for() {
    let sandbox = Sandbox::new("matrix_select");
    let text = check(
        &sandbox,
        &[
            "--format",
            "csv",
            "-e",
            "program,insns",
            "-s",
            "insnsv",
            "-f",
            "nic=x86*",
            "-f",
            "!*drop*",
        ],
        0,
    );
    // The lengths are those of the linked programs, which `inspect` shows too.
    let length = |object: &str, name: &str| {
        let bytes = std::fs::read(program(object)).unwrap();
        let set = load(object, &bytes, &LoadOptions::default()).unwrap();
        set.find(name).unwrap().insns.len()
    };
    let mut expected = [
        ("vlan_push", length("vlan.o", "vlan_push")),
        ("vlan_pop", length("vlan.o", "vlan_pop")),
        ("count", length("counters.o", "count")),
    ];
    expected.sort_by_key(|(_, insns)| std::cmp::Reverse(*insns));
    let lines: String = expected
        .iter()
        .map(|(name, insns)| format!("{name},{insns}\n"))
        .collect::<Vec<_>>()
        .concat();
    assert_eq!(text, format!("program,insns\n{lines}"));

    sandbox
        .nicbed(&["check", &program("drop.o"), "--nic", "hbpf", "-s", "size"])
        .status(2)
        .says(&["no column size", "insns"]);
}

#[test]
fn junit_counts_what_it_holds() {
    let sandbox = Sandbox::new("matrix_junit");
    let text = check(&sandbox, &["--format", "junit"], 1);
    let mut reader = Reader::from_str(&text);
    let (mut cases, mut failures, mut told) = (0, 0, Vec::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(start) | Event::Empty(start) => match start.name().as_ref() {
                "testcase" => cases += 1,
                "failure" => failures += 1,
                "testsuites" => {
                    for attribute in start.attributes().map(Result::unwrap) {
                        told.push((
                            attribute.key.as_ref().to_string(),
                            attribute.value.into_owned(),
                        ));
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
    let negative = cells(&sandbox)
        .iter()
        .filter(|cell| cell["verdict"] != "offload")
        .count();
    assert_eq!((cases, failures), (12, negative));
    let value = |key: &str| told.iter().find(|(k, _)| k == key).unwrap().1.clone();
    assert_eq!(value("tests"), "12");
    assert_eq!(value("failures"), negative.to_string());
}

/// What section 3 of SARIF 2.1.0 requires of the properties that are used.
#[test]
fn sarif_is_well_formed_and_lies_at_the_lines() {
    let sandbox = Sandbox::new("matrix_sarif");
    let document: Value =
        serde_json::from_str(&check(&sandbox, &["--format", "sarif"], 1)).unwrap();
    assert_eq!(document["version"], "2.1.0");
    let run = &document["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: BTreeSet<&str> = rules.iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), rules.len(), "§3.19.23: unique");
    let results = run["results"].as_array().unwrap();
    assert!(!results.is_empty());
    for result in results {
        // §3.27.5 and .6: the index is that of the rule with this id.
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        // §3.27.10.
        let level = result["level"].as_str().unwrap();
        assert!(["none", "note", "warning", "error"].contains(&level));
        // §3.11.
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
    }
    let field = results
        .iter()
        .find(|r| r["ruleId"] == "ctx/field" && r["properties"]["program"] == "vlan_push")
        .unwrap();
    let physical = &field["locations"][0]["physicalLocation"];
    assert_eq!(physical["artifactLocation"]["uri"], "programs/vlan.c");
    let line = physical["region"]["startLine"].as_u64().unwrap() as usize;
    let source = std::fs::read_to_string(root().join("programs/vlan.c")).unwrap();
    assert!(
        source
            .lines()
            .nth(line - 1)
            .unwrap()
            .contains("ingress_ifindex")
    );
}

#[test]
fn annotations_appear_where_github_runs_it() {
    let sandbox = Sandbox::new("matrix_github");
    let vlan = program("vlan.o");
    let args = [
        "check",
        &vlan,
        "--nic",
        "agilio-cx",
        "--program",
        "vlan_push",
    ];
    let commands = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("::"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let asked: Vec<&str> = args.iter().copied().chain(["--format", "github"]).collect();
    let asked = commands(sandbox.nicbed(&asked).status(1).out());
    assert!(
        asked[0].starts_with("::error file=programs/vlan.c,line="),
        "{asked:?}"
    );
    assert!(commands(sandbox.nicbed(&args).status(1).out()).is_empty());
    let ran = sandbox.nicbed_with(&args, &[("GITHUB_ACTIONS", "true")], b"");
    assert_eq!(commands(ran.status(1).out()), asked);
}

#[test]
fn the_page_loads_nothing_and_shows_every_program() {
    let sandbox = Sandbox::new("matrix_html");
    check(&sandbox, &["--html", "page.html"], 1);
    let page = String::from_utf8(sandbox.read("page.html")).unwrap();
    let parsed = page::parse(&page);
    assert_eq!(parsed.anchors.len(), 4);
    assert!(parsed.targets.is_subset(&parsed.anchors));
    for text in [
        "vlan_push",
        "call bpf_map_lookup_elem",
        "ctx/field",
        "default-src 'none'",
    ] {
        let escaped = text.replace('\'', "&#39;");
        assert!(page.contains(text) || page.contains(&escaped), "{text}");
    }
    // Facts on hover, and the machine code of the one NIC whose cores are not eBPF.
    assert!(page.contains("title=\"r1=ctx"));
    assert!(page.contains("mov "));
}

#[test]
fn what_got_worse_since_a_saved_result_is_a_regression() {
    let sandbox = Sandbox::new("matrix_against");
    let vlan = program("vlan.o");
    let small = ["check", &vlan, "--nic", "netdevsim"];
    let large = [
        "check",
        &vlan,
        "--nic",
        "netdevsim",
        "--set",
        "map.entries=64",
    ];
    let with = |args: &[&str], more: &[&str], status: i32| {
        let args: Vec<&str> = args.iter().chain(more).copied().collect();
        sandbox.nicbed(&args).status(status).out().to_owned()
    };
    with(&large, &["--save", "good.json"], 0);
    with(&small, &["--save", "bad.json"], 1);
    // The same is no change, and then a fallback is none either.
    assert!(with(&small, &["--against", "bad.json"], 0).contains("0 changed, 0 for the worse"));
    let worse = with(&small, &["--against", "good.json"], 1);
    assert!(
        worse.contains("offload → fallback, new: map/entries access_vlan"),
        "{worse}"
    );
    assert!(worse.contains("2 changed, 2 for the worse"), "{worse}");
    let better = with(&large, &["--against", "bad.json"], 0);
    assert!(
        better.contains("fallback → offload, gone: map/entries access_vlan"),
        "{better}"
    );
    // `-j` is as good as `--save`; a cell that is gone is a regression.
    sandbox.write("all.json", with(&large, &["-j"], 0).as_bytes());
    let fewer = with(
        &large,
        &["--program", "vlan_pop", "--against", "all.json"],
        1,
    );
    assert!(
        fewer.contains("vlan_push on netdevsim: offload → gone"),
        "{fewer}"
    );

    sandbox.write(
        "other.json",
        b"{\"schema\": \"nicbed/run/1\", \"results\": []}",
    );
    sandbox
        .nicbed(&[
            "check",
            &vlan,
            "--nic",
            "netdevsim",
            "--against",
            "other.json",
        ])
        .status(3)
        .says(&["other.json", "nicbed/run/1"]);
}

/// The changes make the program fit, and none of them can be left out.
#[test]
fn the_smallest_changes_are_enough_and_needed() {
    let mut fitting = 0;
    for object in objects() {
        let bytes = std::fs::read(program(&format!("{object}.o"))).unwrap();
        let set = load(&object, &bytes, &LoadOptions::default()).unwrap();
        for entry in &set.programs {
            let entry = Arc::new(entry.clone());
            let nic = Arc::new(caps::builtin("netdevsim").unwrap());
            let needed = minimal::needed(&entry, &nic);
            if !needed.remaining.is_empty() {
                continue;
            }
            let verdict = |changes: &[&String]| {
                let mut caps = caps::Caps::clone(&nic);
                for change in changes {
                    caps = caps::apply_set(&caps, change).unwrap();
                }
                pipeline::assess(&entry, &Arc::new(caps), &Loaded::default())
                    .decision
                    .outcome
            };
            let all: Vec<&String> = needed.changes.iter().collect();
            assert_eq!(verdict(&all), Verdict::Offload, "{object}: {all:?}");
            for i in 0..all.len() {
                let mut fewer = all.clone();
                fewer.remove(i);
                assert_ne!(verdict(&fewer), Verdict::Offload, "{object}: {:?}", all[i]);
            }
            fitting += usize::from(!all.is_empty());
        }
    }
    assert!(fitting >= 10, "{fitting}");
}

#[test]
fn the_answer_is_the_same_on_any_number_of_cores() {
    let sandbox = Sandbox::new("matrix_cores");
    let paths: Vec<String> = objects()
        .iter()
        .map(|name| program(&format!("{name}.o")))
        .collect();
    let run = |cores: &str| {
        let mut args = vec!["check", "--nic", "all", "-j"];
        args.extend(paths.iter().map(String::as_str));
        let ran = sandbox.nicbed_with(&args, &[("RAYON_NUM_THREADS", cores)], b"");
        ran.stdout
    };
    let one = run("1");
    assert!(!one.is_empty());
    assert!(one == run("7"));
}
