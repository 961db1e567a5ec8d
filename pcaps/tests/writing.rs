//! What is written is read by tools that are not ours: the crate `pcap-file`, and tshark where
//! it is installed.

use std::path::Path;
use std::process::Command;

use pcap_file::pcapng::{Block, PcapNgReader};
use pcaps::write::{
    FLAG_OUTBOUND, InterfaceInfo, PacketOptions, PcapWriter, PcapngWriter, Section, VerdictOption,
};
use pcaps::{LinkType, WriteError};

const TIME: u64 = 1_700_000_000_123_456_789;

fn pcap() -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, 262_144).expect("begins");
    for n in 0..5u32 {
        let data = vec![n as u8; 60 + n as usize];
        writer
            .write(TIME + u64::from(n), 1500, &data)
            .expect("writes");
    }
    writer.finish().expect("finishes")
}

fn pcapng() -> Vec<u8> {
    let section = Section {
        application: Some("nicbed"),
        ..Section::default()
    };
    let mut writer = PcapngWriter::new(Vec::new(), &section).expect("begins");
    let info = InterfaceInfo {
        name: Some("port1:pass"),
        ..InterfaceInfo::ETHERNET
    };
    let ethernet = writer.add_interface(&info).expect("describes");
    let info = InterfaceInfo {
        link: LinkType::RAW,
        snaplen: 128,
        name: Some("tun0"),
        description: Some("raw IP"),
        comment: Some("second"),
    };
    let raw = writer.add_interface(&info).expect("describes");
    let options = PacketOptions {
        flags: Some(FLAG_OUTBOUND),
        packet_id: Some(77),
        queue: Some(3),
        verdicts: &[VerdictOption::Hardware(4), VerdictOption::Xdp(2)],
        comments: &["nicbed: differs in frame", "and again"],
    };
    writer
        .write(ethernet, TIME, 60, &[0xaa; 60], &options)
        .expect("writes");
    writer
        .write(raw, TIME + 1, 333, &[0x45; 21], &PacketOptions::default())
        .expect("writes");
    let options = PacketOptions {
        verdicts: &[VerdictOption::Tc(7)],
        ..PacketOptions::default()
    };
    writer
        .write(ethernet, TIME + 2, 62, &[0xbb; 62], &options)
        .expect("writes");
    writer.finish().expect("finishes")
}

#[test]
fn pcap_file_reads_our_pcap() {
    let file = pcap();
    let mut reader = pcap_file::pcap::PcapReader::new(&file[..]).expect("opens");
    for n in 0..5u32 {
        let packet = reader.next_packet().expect("a packet").expect("valid");
        assert_eq!(
            packet.timestamp().as_nanos(),
            u128::from(TIME) + u128::from(n)
        );
        assert_eq!(packet.orig_len(), 1500);
        assert_eq!(packet.data(), vec![n as u8; 60 + n as usize]);
    }
    assert!(reader.next_packet().is_none());
}

#[test]
fn pcap_file_reads_our_pcapng() {
    let file = pcapng();
    let mut reader = PcapNgReader::new(&file[..]).expect("opens");
    let mut packets = Vec::new();
    let mut names = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.expect("valid").0 {
            Block::EnhancedPacket(packet) => packets.push(packet.into_owned()),
            Block::InterfaceDescription(interface) => {
                names.push(format!("{:?}", interface.options));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(packets.len(), 3);
    assert!(
        names[0].contains("port1:pass") && names[1].contains("raw IP"),
        "{names:?}"
    );
    assert_eq!(packets[1].interface_id, 1);
    assert_eq!(packets[1].original_len, 333);
    assert_eq!(packets[1].data[..], [0x45; 21]);
    assert_eq!(packets[2].data[..], [0xbb; 62]);
    let options = format!("{:?}", packets[0].options);
    for part in [
        "nicbed: differs in frame",
        "and again",
        "Flags(2)",
        "code: 5, value: [77, 0, 0, 0, 0, 0, 0, 0]",
        "code: 6, value: [3, 0, 0, 0]",
    ] {
        assert!(options.contains(part), "{part} in {options}");
    }
    assert!(
        options.contains("code: 7, value: [2, 2, 0, 0, 0, 0, 0, 0, 0]"),
        "{options}"
    );
}

#[test]
fn tshark_reads_our_files() {
    let dir = std::env::temp_dir().join(format!("nicbed-writing-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let tshark = |file: &Path, arguments: &[&str]| {
        let output = Command::new("tshark")
            .arg("-r")
            .arg(file)
            .args(arguments)
            .output();
        let output = output.expect("tshark ran before");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    };
    if Command::new("tshark").arg("--version").output().is_err() {
        let required = std::env::var_os("NICBED_REQUIRE").unwrap_or_default();
        let required = required.to_string_lossy();
        assert!(!required.contains("tshark"), "NICBED_REQUIRE names tshark");
        println!("skipped: needs tshark");
        return;
    }
    let classic = dir.join("w.pcap");
    std::fs::write(&classic, pcap()).expect("a file");
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.time_epoch",
        "-e",
        "frame.len",
        "-e",
        "frame.cap_len",
    ];
    let text = tshark(&classic, &fields);
    assert_eq!(text.lines().count(), 5);
    assert_eq!(text.lines().nth(1), Some("1700000000.123456790\t1500\t61"));

    let ng = dir.join("w.pcapng");
    std::fs::write(&ng, pcapng()).expect("a file");
    let mut wanted = vec![
        "-Y",
        "frame.comment contains \"nicbed: differs\"",
        "-T",
        "fields",
    ];
    for field in [
        "frame.number",
        "frame.interface_name",
        "frame.packet_id",
        "frame.interface_queue",
        "frame.packet_flags_direction",
        "frame.time_epoch",
        "frame.verdict.hw",
        "frame.verdict.ebpf_xdp",
    ] {
        wanted.extend(["-e", field]);
    }
    let text = tshark(&ng, &wanted);
    // Whether bytes are printed with spaces between them depends on tshark's version.
    assert_eq!(
        text.trim_end().replace(' ', ""),
        "1\tport1:pass\t77\t3\t0x00000002\t1700000000.123456789\t0400000000000000\t2"
    );
    let text = tshark(
        &ng,
        &[
            "-T",
            "fields",
            "-e",
            "frame.interface_name",
            "-e",
            "frame.verdict.ebpf_tc",
        ],
    );
    assert_eq!(text.lines().nth(1).map(str::trim_end), Some("tun0"));
    assert_eq!(text.lines().nth(2), Some("port1:pass\t7"));
    std::fs::remove_dir_all(&dir).expect("removes what it made");
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, 64).expect("begins");
    let refused = writer.write(u64::MAX, 1, &[0]).expect_err("after 2106");
    assert!(matches!(refused, WriteError::Time { time_ns: u64::MAX }));
    let long = "x".repeat(65_536);
    let section = Section {
        comment: Some(&long),
        ..Section::default()
    };
    let refused = PcapngWriter::new(Vec::new(), &section).expect_err("too long");
    assert!(matches!(
        refused,
        WriteError::OptionLength {
            code: 1,
            len: 65_536
        }
    ));
}

/// Takes so many bytes, then fails.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 < bytes.len() {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let mut writer = PcapWriter::new(Full(50), LinkType::ETHERNET, 64).expect("begins");
    assert!(matches!(
        writer.write(0, 60, &[0; 60]),
        Err(WriteError::Io { .. })
    ));
}
