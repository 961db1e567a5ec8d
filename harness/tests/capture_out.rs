//! The capture that a run writes, as tshark reads it: verdicts of both sides, queue, packet id,
//! interfaces, times, and the comment to filter by.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, or says why it is skipped"
)]

mod cli;
mod wrong;

use std::path::Path;
use std::process::Command;

use harness::sent::Sent;

use cli::{Sandbox, capture, program};

/// The fields of the packets that a display filter leaves, a line each; `None` without tshark.
fn fields(file: &Path, filter: &str, fields: &[&str]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-T", "fields"]);
    if !filter.is_empty() {
        command.args(["-Y", filter]);
    }
    for field in fields {
        command.args(["-e", field]);
    }
    let Ok(output) = command.output() else {
        #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
        let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
        assert!(!required.contains("tshark"), "NICBED_REQUIRE names tshark");
        println!("skipped: needs tshark");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // Versions of tshark differ in whether there is a blank between bytes.
    let plain = |(field, text): (&&str, &str)| match *field {
        "frame.verdict.hw" => text.replace([' ', ':'], ""),
        _ => text.to_owned(),
    };
    let split = |line: &str| fields.iter().zip(line.split('\t')).map(plain).collect();
    Some(text.lines().map(split).collect())
}

const START: u64 = 1_700_000_000_123_456_789;

fn sent(sandbox: &Sandbox, hook: &bpf::Hook) -> std::path::PathBuf {
    let path = sandbox.path("sent.pcapng");
    let mut sent = Sent::create(&path, "netdevsim").unwrap();
    let report = wrong::run(hook, &[1, 2, 3, 2, 1], START, &mut |packet| {
        sent.write(packet)
    });
    sent.finish().unwrap();
    assert_eq!(report.mismatched, 1);
    path
}

#[test]
fn tshark_shows_both_verdicts_and_finds_the_packet_that_differs() {
    let sandbox = Sandbox::new("capture_out_xdp");
    let path = sent(&sandbox, &bpf::Hook::XDP);
    let shown = [
        "frame.packet_id",
        "frame.interface_name",
        "frame.interface_queue",
        "frame.verdict.hw",
        "frame.verdict.ebpf_xdp",
        "frame.time_epoch",
        "eth.dst",
    ];
    let Some(lines) = fields(&path, "", &shown) else {
        return;
    };
    // Packets 0 and 4 are dropped on both sides; 2 is dropped by the NIC and sent by the CPU.
    let dst = "aa:00:00:00:00:00";
    let line = |id: &str, verdict: &str, hw: &str, cpu: &str| {
        let time = format!("1700000000.{}", 123_456_789 + id.parse::<u64>().unwrap());
        let name = format!("port1 {verdict}");
        [id, &name, "0", hw, cpu, &time, dst]
            .map(str::to_owned)
            .to_vec()
    };
    let expected = [
        line("1", "XDP_PASS", "0200000000000000", "2"),
        line("2", "XDP_DROP", "0100000000000000", "3"),
        line("3", "XDP_PASS", "0200000000000000", "2"),
    ];
    assert_eq!(lines, expected);
    let filter = "frame.comment contains \"nicbed: differs\"";
    let found = fields(&path, filter, &["frame.packet_id", "frame.comment"]).unwrap();
    let comment = "nicbed: differs in verdict (NIC XDP_DROP, reference XDP_TX); \
                   r0 (NIC 0x1, reference 0x3)";
    assert_eq!(found, [["2", comment]]);
}

#[test]
fn verdicts_of_tc_have_the_type_of_tc() {
    let sandbox = Sandbox::new("capture_out_tc");
    let path = sent(&sandbox, &bpf::Hook::TC);
    let shown = [
        "frame.packet_id",
        "frame.verdict.hw",
        "frame.verdict.ebpf_tc",
    ];
    let Some(lines) = fields(&path, "", &shown) else {
        return;
    };
    // TC_ACT_SHOT is 2, and of what is left the NIC says 1 (RECLASSIFY) where the CPU says 3.
    assert_eq!(
        lines,
        [
            ["0", "0100000000000000", "1"],
            ["2", "0100000000000000", "3"],
            ["4", "0100000000000000", "1"],
        ]
    );
}

/// Without a difference the filter finds nothing, and what left is there as it left.
#[test]
fn a_run_writes_what_left() {
    let sandbox = Sandbox::new("capture_out_run");
    let (object, traffic) = (program("icmp_echo.o"), capture("icmp.pcap"));
    let args = [
        "run",
        &object,
        "--nic",
        "x86-dpu",
        "--pcap",
        &traffic,
        "--out",
        "out.pcapng",
        "--outcomes",
        "out.jsonl",
    ];
    sandbox.nicbed(&args).status(0);
    let path = sandbox.path("out.pcapng");
    let Some(found) = fields(&path, "frame.comment", &["frame.number"]) else {
        return;
    };
    assert_eq!(found, Vec::<Vec<String>>::new());
    let ids = fields(&path, "", &["frame.packet_id", "frame.verdict.ebpf_xdp"]).unwrap();
    let outcomes = String::from_utf8(sandbox.read("out.jsonl")).unwrap();
    let expected: Vec<[String; 2]> = outcomes
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| ["XDP_PASS", "XDP_TX"].contains(&line["verdict"].as_str().unwrap()))
        .map(|line| [line["packet"].to_string(), line["r0"].to_string()])
        .collect();
    assert!(expected.len() > 10);
    assert_eq!(ids, expected);
}
