//! The committed captures: the generated ones are what the generator gives today, the recorded
//! one reads the same here, in the crate `pcap-file` and in tshark.
//!
//! `BLESS=1 cargo test -p pcaps --test data` writes the generated ones anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use pcaps::generate::{Distribution, Generator, Mix, Spec};
use pcaps::{CaptureReader, LinkType};

/// Mix, packets, flows, frame length.
const GENERATED: [(Mix, u64, u32, Option<u16>); 12] = [
    (Mix::Udp, 400, 64, None),
    (Mix::Imix, 120, 16, None),
    (Mix::Tcp, 160, 8, Some(300)),
    (Mix::Ipv6, 200, 16, None),
    (Mix::Vlan, 240, 16, None),
    (Mix::Arp, 60, 8, None),
    (Mix::Icmp, 200, 8, None),
    (Mix::Ipip, 200, 16, None),
    (Mix::Fragments, 160, 8, Some(300)),
    (Mix::Truncated, 300, 16, None),
    (Mix::Malformed, 300, 16, None),
    (Mix::All, 240, 32, Some(200)),
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

#[test]
fn generated_captures_are_what_the_generator_gives() {
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    for (mix, packets, flows, frame_len) in GENERATED {
        let distribution = Distribution::Zipf;
        let spec = Spec {
            flows,
            frame_len,
            distribution,
            ..Spec::new(mix, packets)
        };
        let mut bytes = Vec::new();
        Generator::new(spec)
            .expect("valid")
            .write_pcap(&mut bytes)
            .expect("writes");
        assert!(bytes.len() < 60_000, "{mix}: {} bytes", bytes.len());
        let file = data().join(format!("{mix}.pcap"));
        if bless {
            std::fs::write(&file, &bytes).expect("writes");
        }
        let committed = std::fs::read(&file).expect("the committed capture");
        assert!(
            committed == bytes,
            "{mix}.pcap differs; BLESS=1 writes it anew"
        );
    }
}

#[test]
fn the_recorded_capture_reads_as_in_pcap_file() {
    let file = data().join("recorded.pcap");
    let bytes = std::fs::read(&file).expect("the committed capture");
    let mut oracle = pcap_file::pcap::PcapReader::new(&bytes[..]).expect("opens");
    let mut reader = CaptureReader::open(&file).expect("opens");
    let mut packets = 0;
    while let Some(record) = reader.next().expect("reads") {
        let packet = oracle.next_packet().expect("as many").expect("valid");
        assert_eq!(
            u128::from(record.meta.time_ns),
            packet.timestamp().as_nanos()
        );
        assert_eq!(record.meta.original_len, packet.orig_len());
        assert_eq!(record.data, packet.data());
        assert_eq!(record.meta.link, LinkType::ETHERNET);
        packets += 1;
    }
    assert!(oracle.next_packet().is_none());
    assert!(packets > 100);
    assert!(reader.warnings().is_empty());
}

/// The same capture as tshark's companion editcap rewrites it: other format, other resolution.
#[test]
fn the_recorded_capture_reads_the_same_in_every_format() {
    if Command::new("editcap").arg("--version").output().is_err() {
        println!("skipped: needs editcap");
        return;
    }
    let file = data().join("recorded.pcap");
    let read = |path: &Path| {
        let mut reader = CaptureReader::open(path).expect("opens");
        let mut packets = Vec::new();
        while let Some(chunk) = reader.chunk().expect("reads") {
            packets.extend(chunk.map(|record| (record.meta.time_ns, record.data.to_vec())));
        }
        packets
    };
    let expected = read(&file);
    for (format, unit) in [("pcapng", 1), ("nsecpcap", 1), ("pcap", 1000)] {
        let name = format!("nicbed-data-{}-{format}", std::process::id());
        let to = std::env::temp_dir().join(name);
        let status = Command::new("editcap")
            .arg("-F")
            .arg(format)
            .arg(&file)
            .arg(&to)
            .status();
        assert!(status.expect("editcap ran before").success());
        let got = read(&to);
        assert_eq!(got.len(), expected.len());
        for ((got_time, got), (time, data)) in got.iter().zip(&expected) {
            assert_eq!(*got_time, time / unit * unit, "{format}");
            assert_eq!(got, data);
        }
        std::fs::remove_file(&to).expect("removes what it made");
    }
}
