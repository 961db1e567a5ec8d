//! What no input may do to the reader: panic, hang, hold more than its bound, or give other
//! packets one way than another.

use proptest::prelude::*;

use super::{BUFFER, CaptureReader, Warning, pcapng};
use crate::info::Summary;
use crate::write::{InterfaceInfo, PacketOptions, PcapngWriter, Section, VerdictOption};

/// The most that the buffer may come to with the default options.
const BOUND: usize = 262_144 + pcapng::BESIDE_PACKET as usize + 4096;

const REAL: [&[u8]; 3] = [
    include_bytes!("../../data/recorded.pcap"),
    include_bytes!("../../data/truncated.pcap"),
    include_bytes!("../../data/malformed.pcap"),
];

fn pcapng() -> Vec<u8> {
    let mut bytes = Vec::new();
    // Two sections.
    for _ in 0..2 {
        let section = Section {
            comment: Some("a section"),
            ..Section::default()
        };
        let mut writer = PcapngWriter::new(Vec::new(), &section).expect("writes");
        for n in 0..40u32 {
            let info = InterfaceInfo {
                name: Some("eth0"),
                ..InterfaceInfo::ETHERNET
            };
            let interface = writer.add_interface(&info).expect("writes");
            let options = PacketOptions {
                verdicts: &[VerdictOption::Xdp(2)],
                comments: &["c"],
                ..PacketOptions::default()
            };
            let data = vec![n as u8; 60 + n as usize];
            writer
                .write(interface, u64::from(n), 60, &data, &options)
                .expect("writes");
        }
        bytes.extend(writer.finish().expect("finishes"));
    }
    bytes
}

/// Reads all of it both ways, and holds the reader to its promises.
fn survive(bytes: &[u8]) -> (u64, Vec<Warning>, bool) {
    let Ok(mut reader) = CaptureReader::new(bytes) else {
        return (0, Vec::new(), true);
    };
    let mut packets = Vec::new();
    let failed = loop {
        match reader.chunk() {
            Ok(Some(chunk)) => {
                packets.extend(chunk.map(|record| (record.meta, record.data.len())));
            }
            Ok(None) => break false,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break true;
            }
        }
        assert!(reader.buffer.capacity() <= BOUND.max(BUFFER));
    };
    assert!(reader.buffer.capacity() <= BOUND.max(BUFFER));
    assert!(matches!(reader.next(), Ok(None)), "ended means ended");
    assert!(matches!(reader.chunk(), Ok(None)));
    assert!(
        packets.len() <= bytes.len() / 16,
        "a record has at least 16 bytes"
    );
    assert_eq!(reader.packets(), packets.len() as u64);
    assert!(reader.warnings().len() <= 1);
    for ((meta, len), number) in packets.iter().zip(0u64..) {
        assert_eq!(meta.number, number);
        assert!(meta.arrival_ns >= meta.time_ns);
        assert!(meta.offset + *len as u64 <= bytes.len() as u64);
        assert!((meta.interface as usize) < reader.interfaces().len());
    }

    let mut one_by_one = CaptureReader::new(bytes).expect("it opened before");
    let mut expected = packets.iter();
    while let Ok(Some(record)) = one_by_one.next() {
        assert_eq!(expected.next(), Some(&(record.meta, record.data.len())));
    }
    assert_eq!(expected.next(), None);
    assert_eq!(one_by_one.warnings(), reader.warnings());

    if let Ok(summary) = Summary::of(&mut CaptureReader::new(bytes).expect("it opened before")) {
        assert!(!failed);
        assert_eq!(summary.packets, packets.len() as u64);
    }

    for most in [1, 7, usize::MAX] {
        let mut taking = CaptureReader::new(bytes).expect("it opened before");
        let mut both = CaptureReader::new(bytes).expect("it opened before");
        let (mut memory, mut placed) = (Vec::new(), Vec::new());
        while let Ok(true) = taking.take_chunk(&mut memory, &mut placed, most) {
            assert!(!placed.is_empty() && placed.len() <= most);
            assert!(memory.capacity() <= BOUND.max(BUFFER));
            for packet in &placed {
                let record = both.next().expect("reads").expect("as many");
                assert_eq!(
                    (packet.meta, &memory[packet.range.clone()]),
                    (record.meta, record.data)
                );
            }
        }
        assert_eq!(taking.packets(), reader.packets());
        assert_eq!(taking.warnings(), reader.warnings());
    }
    (reader.packets(), reader.warnings().to_vec(), failed)
}

/// Bytes to overwrite: places as a share of the length, and values that lengths like.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u32, bool)>> {
    let value = prop_oneof![
        any::<u32>(),
        0..64u32,
        Just(u32::MAX),
        Just(0x7fff_fffc),
        Just(262_144),
        Just(262_145),
        Just(0x0a0d_0d0a),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), value, any::<bool>()), 1..6)
}

fn overwrite(bytes: &mut [u8], damage: &[(prop::sample::Index, u32, bool)]) {
    for (place, value, aligned) in damage {
        let mut at = place.index(bytes.len());
        if *aligned {
            at = at / 4 * 4;
        }
        for (to, from) in bytes[at..].iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), magic in 0..6usize) {
        let mut bytes = bytes;
        let magics: [&[u8]; 5] = [
            &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0],
            &[0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4],
            &[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0],
            &[10, 13, 13, 10, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0],
            &[10, 13, 13, 10, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0],
        ];
        if let Some(magic) = magics.get(magic) {
            bytes.splice(..magic.len().min(bytes.len()), magic.iter().copied());
        }
        survive(&bytes);
    }

    #[test]
    fn damaged_pcap(file in 0..REAL.len(), damage in damage()) {
        // The first 8 KiB, so that damage is found near the place that has it.
        let mut bytes = REAL[file][..8192].to_vec();
        overwrite(&mut bytes, &damage);
        survive(&bytes);
    }

    #[test]
    fn damaged_pcapng(damage in damage()) {
        let mut bytes = pcapng();
        overwrite(&mut bytes, &damage);
        survive(&bytes);
    }

    #[test]
    fn cut_anywhere(file in 0..REAL.len() + 1, place in any::<prop::sample::Index>()) {
        let ng = pcapng();
        let bytes = REAL.get(file).copied().unwrap_or(&ng);
        let (whole, ..) = survive(bytes);
        let cut = 28 + place.index(bytes.len() - 28);
        let (packets, warnings, failed) = survive(&bytes[..cut]);
        prop_assert!(!failed);
        prop_assert!(packets < whole);
        if let Some(Warning::Truncated { offset, expected, got, packets: before }) = warnings.first() {
            prop_assert_eq!(*offset + got, cut as u64);
            prop_assert!(got < expected);
            prop_assert_eq!(*before, packets);
        }
    }
}

#[test]
fn whole_files_read_without_complaint() {
    for file in REAL {
        let (packets, warnings, failed) = survive(file);
        assert!(packets > 100 && warnings.is_empty() && !failed);
    }
    assert_eq!(survive(&pcapng()).0, 80);
}

#[test]
fn a_skipped_block_of_4_gib_is_not_held() {
    let mut bytes = pcapng();
    bytes.extend(0x0bad_cafeu32.to_le_bytes());
    bytes.extend(0xffff_fffcu32.to_le_bytes());
    bytes.resize(bytes.len() + 3_000_000, 0);
    let (packets, warnings, failed) = survive(&bytes);
    assert!(packets == 80 && !failed);
    assert!(matches!(
        warnings[..],
        [Warning::Truncated {
            expected: 0xffff_fffc,
            ..
        }]
    ));
}
