//! The page of a run: nothing is loaded, nothing but what was measured differs from run to run,
//! and it says what the run says.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod cli;
mod page;
mod wrong;

use harness::report::html;
use harness::report::html::record::Record;

use cli::{Sandbox, capture, program};

/// The page of a run of two captures through the firewall on a NIC with a window of 256 bytes.
fn firewall(sandbox: &Sandbox, threads: &str) -> String {
    let (object, seeds) = (program("firewall.o"), program("seeds/firewall.json"));
    let (imix, tcp) = (capture("imix.pcap"), capture("tcp.pcap"));
    let args = [
        "run",
        &object,
        "--nic",
        "x86-dpu",
        "--maps",
        &seeds,
        "--threads",
        threads,
        "--html",
        "page.html",
        "--set",
        "packet.window_bytes=256",
        "--set",
        "packet.beyond_window=punt",
        "--pcap",
        &imix,
        &tcp,
    ];
    sandbox.nicbed(&args).status(0);
    String::from_utf8(sandbox.read("page.html")).unwrap()
}

/// The page without what was measured.
fn lasting(page: &str) -> &str {
    page.split("<section id=\"measured\">").next().unwrap()
}

#[test]
fn it_loads_nothing_and_is_the_same_in_every_run() {
    let sandbox = Sandbox::new("run_page");
    let one = firewall(&sandbox, "1");
    let parsed = page::parse(&one);
    for id in ["verdicts", "rates", "compared", "host", "maps", "measured"] {
        assert!(parsed.anchors.contains(id), "{id}");
    }
    for text in [
        "XDP_DROP",
        "XDP_PASS",
        "none differs",
        "prefers-color-scheme",
    ] {
        assert!(one.contains(text), "{text}");
    }
    assert!(lasting(&one) == lasting(&firewall(&sandbox, "3")));
}

#[test]
fn what_differs_is_shown_field_by_field() {
    let mut record = Record::default();
    let bytes = [1, 2, 3, 2, 3, 1];
    let report = wrong::run(&bpf::Hook::XDP, &bytes, 5, &mut |packet| {
        record.note(packet);
        Ok(())
    });
    let page = html::run::render(&report, &record, None);
    let parsed = page::parse(&page);
    assert!(parsed.anchors.contains("packet2") && parsed.anchors.contains("packet4"));
    for text in [
        "2 differ",
        "behaviour/mismatch",
        "verdict (NIC XDP_DROP, reference XDP_TX)",
        "aa:00:00:00:00:00",
        "0000  00 00 00 00",
    ] {
        assert!(page.contains(text), "{text}");
    }
    // Nothing is shown of what there is not.
    assert!(!parsed.anchors.contains("host") && !parsed.anchors.contains("maps"));
}

/// A program that does not run has its reasons alone.
#[test]
fn a_program_that_the_nic_refuses_has_findings() {
    let sandbox = Sandbox::new("run_page_refused");
    let (object, traffic) = (program("counters.o"), capture("udp.pcap"));
    let args = [
        "run",
        &object,
        "--nic",
        "agilio-cx",
        "--html",
        "page.html",
        "--pcap",
        &traffic,
    ];
    sandbox.nicbed(&args).status(1);
    let page = String::from_utf8(sandbox.read("page.html")).unwrap();
    let parsed = page::parse(&page);
    assert_eq!(parsed.anchors.into_iter().collect::<Vec<_>>(), ["findings"]);
    assert!(page.contains("map/value-write") && page.contains("./programs/counters.c:"));
}
