//! Captures written by the crate `pcap-file`, in every byte order and resolution that it writes,
//! read by us.

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapTsResolution};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::{DataLink, Endianness};
use pcaps::{CaptureReader, LinkType};

const TIME_NS: u64 = 1_700_000_000_123_456_789;

/// Time, link type, length on the wire, data.
fn read(file: &[u8]) -> Vec<(u64, LinkType, u32, Vec<u8>)> {
    let mut reader = CaptureReader::new(file).expect("opens");
    let mut packets = Vec::new();
    while let Some(chunk) = reader.chunk().expect("reads") {
        packets.extend(chunk.map(|record| {
            let meta = record.meta;
            (
                meta.time_ns,
                meta.link,
                meta.original_len,
                record.data.to_vec(),
            )
        }));
    }
    packets
}

#[test]
fn pcap_of_every_kind() {
    for endianness in [Endianness::Little, Endianness::Big] {
        for (ts_resolution, unit) in [
            (PcapTsResolution::MicroSecond, 1000),
            (PcapTsResolution::NanoSecond, 1),
        ] {
            let header = PcapHeader {
                endianness,
                ts_resolution,
                datalink: DataLink::ETHERNET,
                snaplen: 2000,
                ..PcapHeader::default()
            };
            let mut writer = pcap_file::pcap::PcapWriter::with_header(Vec::new(), header)
                .expect("writes a header");
            for n in 0..20u8 {
                let data = vec![n; 60 + usize::from(n)];
                let time = Duration::from_nanos(TIME_NS + u64::from(n));
                writer
                    .write_packet(&PcapPacket::new(time, 1600, data).expect("valid"))
                    .expect("writes");
            }
            let packets = read(&writer.into_inner());
            assert_eq!(packets.len(), 20);
            for (n, (time, link, original, data)) in (0u8..).zip(packets) {
                assert_eq!(time, (TIME_NS + u64::from(n)) / unit * unit);
                assert_eq!((link, original), (LinkType::ETHERNET, 1600));
                assert_eq!(data, vec![n; 60 + usize::from(n)]);
            }
        }
    }
}

#[test]
fn pcapng_of_both_orders() {
    for endianness in [Endianness::Little, Endianness::Big] {
        let mut writer = pcap_file::pcapng::PcapNgWriter::with_endianness(Vec::new(), endianness)
            .expect("writes a section");
        for (linktype, options) in [
            (DataLink::ETHERNET, vec![]),
            (
                DataLink::RAW,
                vec![InterfaceDescriptionOption::IfTsResol(
                    InterfaceTsResolution::NANO,
                )],
            ),
        ] {
            let block = InterfaceDescriptionBlock {
                linktype,
                snaplen: 0xffff,
                options,
            };
            writer
                .write_pcapng_block(block)
                .expect("writes an interface");
        }
        for n in 0..20u8 {
            let data: Cow<'_, [u8]> = Cow::Owned(vec![n; 60 + usize::from(n)]);
            if n == 13 {
                let original_len = data.len() as u32;
                writer
                    .write_pcapng_block(SimplePacketBlock { original_len, data })
                    .expect("writes");
                continue;
            }
            let block = EnhancedPacketBlock {
                interface_id: u32::from(n % 2),
                timestamp: Duration::from_nanos(TIME_NS + u64::from(n)),
                original_len: 1600,
                data,
                options: Vec::new(),
            };
            writer.write_pcapng_block(block).expect("writes a packet");
        }
        let packets = read(&writer.into_inner());
        assert_eq!(packets.len(), 20);
        for (n, (time, link, original, data)) in (0u8..).zip(packets) {
            assert_eq!(data, vec![n; 60 + usize::from(n)]);
            let expected_time = TIME_NS + u64::from(n);
            match n {
                13 => assert_eq!((time, link, original), (0, LinkType::ETHERNET, 73)),
                _ if n % 2 == 0 => {
                    let micros = expected_time / 1000 * 1000;
                    assert_eq!((time, link, original), (micros, LinkType::ETHERNET, 1600));
                }
                _ => assert_eq!((time, link, original), (expected_time, LinkType::RAW, 1600)),
            }
        }
    }
}

/// The defect that `docs/decisions/0001-capture-reading.md` is about. When this fails, pcap-file
/// has learned to read such files, and the decision has lost its first reason.
#[test]
fn pcap_file_stays_at_a_packet_longer_than_the_snaplen() {
    let mut writer = pcaps::PcapWriter::new(Vec::new(), LinkType::ETHERNET, 96).expect("begins");
    for len in [60, 1514, 60] {
        writer
            .write(TIME_NS, len as u32, &vec![1; len])
            .expect("writes");
    }
    let file = writer.finish().expect("finishes");
    let mut theirs = pcap_file::pcap::PcapReader::new(&file[..]).expect("opens");
    assert!(theirs.next_packet().expect("the first").is_ok());
    for _ in 0..10 {
        assert!(theirs.next_packet().expect("still not at the end").is_err());
    }
    let ours: Vec<_> = read(&file)
        .into_iter()
        .map(|(.., data)| data.len())
        .collect();
    assert_eq!(ours, [60, 1514, 60]);
}
