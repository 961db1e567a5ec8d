//! What the generator gives: valid frames by the judgement of etherparse's parser and of tshark,
//! the same ones every time, with the traits that each mix promises.

use std::collections::BTreeMap;
use std::process::Command;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcaps::generate::{Distribution, Generator, MAX_FLOWS, Mix, Spec, SpecError, Stamp};

const VALID: [Mix; 9] = [
    Mix::Udp,
    Mix::Imix,
    Mix::Tcp,
    Mix::Ipv6,
    Mix::Vlan,
    Mix::Arp,
    Mix::Icmp,
    Mix::Ipip,
    Mix::Fragments,
];

fn frames(spec: Spec) -> Vec<(Stamp, Vec<u8>)> {
    let mut generator = Generator::new(spec).expect("a valid spec");
    let mut frame = vec![0xee; 9];
    let mut frames = Vec::new();
    while let Some(stamp) = generator.next_into(&mut frame) {
        frames.push((stamp, frame.clone()));
    }
    frames
}

#[test]
fn same_spec_same_bytes() {
    for mix in Mix::EVERY {
        let spec = Spec::new(mix, 500);
        assert_eq!(frames(spec), frames(spec), "{mix}");
        assert_ne!(frames(spec), frames(Spec { seed: 2, ..spec }), "{mix}");
        assert_eq!(mix.name().parse(), Ok(mix));
    }
}

#[test]
fn valid_mixes_parse_and_truncated_say_so() {
    for mix in VALID {
        for (stamp, frame) in frames(Spec::new(mix, 2000)) {
            assert_eq!(stamp.original_len as usize, frame.len());
            assert!((60..=1514).contains(&frame.len()), "{mix}: {}", frame.len());
            SlicedPacket::from_ethernet(&frame).unwrap_or_else(|error| panic!("{mix}: {error}"));
        }
    }
    let cut = frames(Spec::new(Mix::Truncated, 2000));
    assert!(
        cut.iter()
            .any(|(stamp, frame)| stamp.original_len as usize > frame.len())
    );
    assert!(
        cut.iter()
            .any(|(stamp, frame)| stamp.original_len as usize == frame.len())
    );
    assert!(cut.iter().any(|(_, frame)| frame.is_empty()));
    let malformed = frames(Spec::new(Mix::Malformed, 2000));
    let refused = malformed
        .iter()
        .filter(|(_, frame)| SlicedPacket::from_ethernet(frame).is_err())
        .count();
    assert!(refused > 600, "{refused} of 2000");
}

#[test]
fn lengths_times_and_flows_are_those_asked_for() {
    for len in [60, 64, 128, 1514, 9000] {
        let spec = Spec {
            frame_len: Some(len),
            gap_ns: 67,
            start_ns: 5,
            ..Spec::new(Mix::Udp, 40)
        };
        for (n, (stamp, frame)) in frames(spec).into_iter().enumerate() {
            assert_eq!(frame.len(), usize::from(len));
            assert_eq!(stamp.time_ns, 5 + n as u64 * 67);
        }
    }
    for (distribution, least) in [(Distribution::Uniform, 50), (Distribution::Zipf, 30)] {
        let spec = Spec {
            flows: 50,
            distribution,
            ..Spec::new(Mix::Udp, 2000)
        };
        let mut flows = BTreeMap::new();
        for (_, frame) in frames(spec) {
            *flows.entry(frame[26..38].to_vec()).or_insert(0) += 1;
        }
        assert!((least..=50).contains(&flows.len()), "{}", flows.len());
        let most = flows.values().max().copied().unwrap_or(0);
        // Evenly 40 each; by Zipf's law the first has 2000 / H(50) = 445.
        let expected = if distribution == Distribution::Zipf {
            380..510
        } else {
            40..70
        };
        assert!(expected.contains(&most), "{distribution:?}: {most}");
    }
}

#[test]
fn imix_is_seven_to_four_to_one() {
    let mut lengths = BTreeMap::new();
    for (_, frame) in frames(Spec::new(Mix::Imix, 12_000)) {
        *lengths.entry(frame.len()).or_insert(0u32) += 1;
    }
    let expected = [(60, 7000u32), (590, 4000), (1514, 1000)];
    assert_eq!(lengths.len(), 3);
    for (len, count) in expected {
        assert!(lengths[&len].abs_diff(count) < 200, "{lengths:?}");
    }
}

#[test]
fn mixes_hold_what_they_promise() {
    let (mut syn, mut fin, mut rst, mut v6) = (0, 0, 0, 0);
    for (_, frame) in frames(Spec {
        flows: 20,
        ..Spec::new(Mix::Tcp, 3000)
    }) {
        let packet = SlicedPacket::from_ethernet(&frame).expect("valid");
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
            panic!("no TCP")
        };
        syn += u32::from(tcp.syn());
        fin += u32::from(tcp.fin());
        rst += u32::from(tcp.rst());
        v6 += u32::from(matches!(packet.net, Some(NetSlice::Ipv6(_))));
    }
    assert!(
        syn > 100 && fin > 100 && rst > 5 && v6 > 300,
        "{syn} {fin} {rst} {v6}"
    );

    let mut tags = [0; 3];
    for (_, frame) in frames(Spec::new(Mix::Vlan, 800)) {
        tags[SlicedPacket::from_ethernet(&frame)
            .expect("valid")
            .link_exts
            .len()] += 1;
    }
    assert!(tags[0] == 0 && tags[1] > 200 && tags[2] > 200, "{tags:?}");

    let mut fragments = [0; 2];
    for (_, frame) in frames(Spec::new(Mix::Fragments, 800)) {
        let packet = SlicedPacket::from_ethernet(&frame).expect("valid");
        match packet.net.expect("IP") {
            NetSlice::Ipv4(ip) => fragments[0] += u32::from(ip.is_payload_fragmented()),
            NetSlice::Ipv6(ip) => fragments[1] += u32::from(ip.is_payload_fragmented()),
            NetSlice::Arp(_) => panic!("ARP among fragments"),
        }
    }
    assert!(
        fragments[0] + fragments[1] == 800 && fragments[1] > 50,
        "{fragments:?}"
    );

    let chains = frames(Spec::new(Mix::Ipv6, 800));
    for header in [0u8, 43, 44, 51, 60] {
        assert!(
            chains.iter().any(|(_, frame)| frame[20] == header),
            "next header {header}"
        );
    }
}

#[test]
fn tshark_finds_no_wrong_checksum_and_no_gap() {
    if Command::new("tshark").arg("--version").output().is_err() {
        let required = std::env::var_os("NICBED_REQUIRE").unwrap_or_default();
        let required = required.to_string_lossy();
        assert!(!required.contains("tshark"), "NICBED_REQUIRE names tshark");
        println!("skipped: needs tshark");
        return;
    }
    let file = std::env::temp_dir().join(format!("nicbed-generating-{}.pcap", std::process::id()));
    let wrong = "ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0 \
                 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0";
    let tshark = |mix: Mix, filter: &str, spec: Spec| {
        let bytes = std::fs::File::create(&file).expect("a file");
        let written = Generator::new(Spec { mix, ..spec })
            .expect("valid")
            .write_pcap(bytes);
        assert_eq!(written.expect("writes"), spec.packets);
        let output = Command::new("tshark")
            .arg("-r")
            .arg(&file)
            .args([
                "-o",
                "ip.check_checksum:TRUE",
                "-o",
                "tcp.check_checksum:TRUE",
            ])
            .args(["-o", "udp.check_checksum:TRUE", "-Y", filter])
            .output()
            .expect("tshark ran before");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // Few flows, so that connections are seen from their beginning to their end.
    let spec = Spec {
        flows: 12,
        ..Spec::new(Mix::Udp, 600)
    };
    for mix in VALID {
        assert_eq!(tshark(mix, wrong, spec).lines().next(), None, "{mix}");
    }
    // No retransmission, gap, or acknowledgement of what was not sent.
    assert_eq!(
        tshark(Mix::Tcp, "tcp.analysis.flags", spec).lines().next(),
        None
    );
    assert!(
        tshark(Mix::Malformed, "ip.checksum.status == 0", spec)
            .lines()
            .count()
            > 10
    );
    // The fragments come together again, but for the few datagrams whose rest never comes.
    let whole = "ip.reassembled.length || ipv6.reassembled.length";
    assert!(tshark(Mix::Fragments, whole, spec).lines().count() > 80);
    std::fs::remove_file(&file).expect("removes what it made");
}

#[test]
fn specs_out_of_range_are_refused() {
    for flows in [0, MAX_FLOWS + 1] {
        let spec = Spec {
            flows,
            ..Spec::new(Mix::All, 1)
        };
        assert_eq!(
            Generator::new(spec).err(),
            Some(SpecError::Flows { found: flows })
        );
    }
    for len in [0, 59, 9023] {
        let spec = Spec {
            frame_len: Some(len),
            ..Spec::new(Mix::All, 1)
        };
        assert_eq!(
            Generator::new(spec).err(),
            Some(SpecError::FrameLen { found: len })
        );
    }
    let unknown = "udp64".parse::<Mix>().expect_err("no such mix");
    assert!(
        unknown
            .to_string()
            .starts_with("unknown name, expected one of: udp, imix, tcp")
    );
    let spec = Spec {
        start_ns: u64::MAX,
        gap_ns: u64::MAX,
        ..Spec::new(Mix::Udp, 3)
    };
    assert!(
        frames(spec)
            .iter()
            .all(|(stamp, _)| stamp.time_ns == u64::MAX)
    );
}

#[test]
fn every_frame_length_goes_with_every_mix() {
    for mix in Mix::EVERY {
        for len in [60, 61, 77, 78, 79, 100, 1514, 9022] {
            let spec = Spec {
                frame_len: Some(len),
                flows: 3,
                ..Spec::new(mix, 200)
            };
            for (_, frame) in frames(spec) {
                assert!(
                    frame.len() <= 9022.max(usize::from(len)),
                    "{mix} {len}: {}",
                    frame.len()
                );
            }
        }
    }
}
