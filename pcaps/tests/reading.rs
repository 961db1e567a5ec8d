//! What the reader makes of captures built by hand, byte by byte, after the two specifications:
//! draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use pcaps::read::{Format, Warning};
use pcaps::{CaptureReader, LinkType, ReadError, ReadOptions};

/// One packet as a test remembers it.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    number: u64,
    time_ns: u64,
    interface: u32,
    link: LinkType,
    original_len: u32,
    offset: u64,
    data: Vec<u8>,
}

/// Everything in a capture, by `chunk`; checks that `next` and `chunk_mut` and a reader that
/// trickles give the same.
fn read(bytes: &[u8]) -> (Vec<Got>, Vec<Warning>, Option<ReadError>) {
    fn got(meta: pcaps::read::Meta, data: &[u8]) -> Got {
        Got {
            number: meta.number,
            time_ns: meta.time_ns,
            interface: meta.interface,
            link: meta.link,
            original_len: meta.original_len,
            offset: meta.offset,
            data: data.to_vec(),
        }
    }
    let mut packets = Vec::new();
    let mut reader = match CaptureReader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (packets, Vec::new(), Some(error)),
    };
    let error = loop {
        match reader.chunk() {
            Ok(Some(chunk)) => {
                let records: Vec<_> = chunk.collect();
                packets.extend(records.iter().map(|record| got(record.meta, record.data)));
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let mut by_next = Vec::new();
    let mut one_by_one = CaptureReader::new(bytes).expect("it opened before");
    while let Ok(Some(record)) = one_by_one.next() {
        by_next.push(got(record.meta, record.data));
    }
    assert_eq!(packets, by_next);
    let mut by_mut = Vec::new();
    let mut trickling = CaptureReader::new(Trickle(bytes)).expect("it opened before");
    while let Ok(Some(chunk)) = trickling.chunk_mut() {
        by_mut.extend(chunk.map(|record| got(record.meta, record.data)));
    }
    assert_eq!(packets, by_mut);
    assert_eq!(reader.warnings(), one_by_one.warnings());
    assert_eq!(reader.warnings(), trickling.warnings());
    assert_eq!(reader.interfaces(), one_by_one.interfaces());
    assert_eq!(reader.interfaces(), trickling.interfaces());
    assert_eq!(reader.packets(), packets.len() as u64);
    (packets, reader.warnings().to_vec(), error)
}

/// Gives one to three bytes a read, and an interruption now and then.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.0.len() % 7 == 3 {
            let n = to.len().min(1).min(self.0.len());
            to[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            return Ok(n);
        }
        let n = to.len().min(3).min(self.0.len());
        to[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

/// Numbers in one byte order.
#[derive(Clone, Copy)]
struct Order(bool);

impl Order {
    fn w(self, value: u32) -> [u8; 4] {
        if self.0 {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn h(self, value: u16) -> [u8; 2] {
        if self.0 {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn pcap(self, magic: u32, snaplen: u32, link: u32) -> Vec<u8> {
        let mut bytes = self.w(magic).to_vec();
        bytes.extend(self.h(2));
        bytes.extend(self.h(4));
        bytes.extend([0; 8]);
        bytes.extend(self.w(snaplen));
        bytes.extend(self.w(link));
        bytes
    }

    fn record(self, to: &mut Vec<u8>, seconds: u32, fraction: u32, original: u32, data: &[u8]) {
        for value in [seconds, fraction, data.len() as u32, original] {
            to.extend(self.w(value));
        }
        to.extend(data);
    }

    fn block(self, to: &mut Vec<u8>, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let total = self.w(padded as u32 + 12);
        to.extend(self.w(kind));
        to.extend(total);
        to.extend(body);
        to.extend(vec![0; padded - body.len()]);
        to.extend(total);
    }

    fn section(self, to: &mut Vec<u8>) {
        let mut body = self.w(0x1a2b_3c4d).to_vec();
        body.extend(self.h(1));
        body.extend(self.h(0));
        body.extend([0xff; 8]);
        self.block(to, 0x0a0d_0d0a, &body);
    }

    fn interface(self, to: &mut Vec<u8>, link: u16, snaplen: u32, options: &[(u16, &[u8])]) {
        let mut body = self.h(link).to_vec();
        body.extend([0; 2]);
        body.extend(self.w(snaplen));
        for (code, value) in options {
            body.extend(self.h(*code));
            body.extend(self.h(value.len() as u16));
            body.extend(*value);
            body.extend(vec![0; value.len().next_multiple_of(4) - value.len()]);
        }
        self.block(to, 1, &body);
    }

    fn enhanced(self, to: &mut Vec<u8>, interface: u32, ticks: u64, original: u32, data: &[u8]) {
        let mut body = Vec::new();
        let (high, low) = ((ticks >> 32) as u32, ticks as u32);
        for value in [interface, high, low, data.len() as u32, original] {
            body.extend(self.w(value));
        }
        body.extend(data);
        self.block(to, 6, &body);
    }
}

const ORDERS: [Order; 2] = [Order(false), Order(true)];

#[test]
fn classic_pcap_in_both_orders_and_resolutions() {
    for order in ORDERS {
        for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let mut file = order.pcap(magic, 65_535, 1);
            order.record(&mut file, 1_700_000_000, 123_456, 60, &[7; 60]);
            order.record(&mut file, 1, 999, 1500, &[8; 3]);
            order.record(&mut file, 2, 0, 0, &[]);
            let (packets, warnings, error) = read(&file);
            assert!(error.is_none() && warnings.is_empty());
            assert_eq!(packets.len(), 3);
            assert_eq!(
                packets[0].time_ns,
                1_700_000_000_000_000_000 + 123_456 * unit
            );
            assert_eq!(packets[1].time_ns, 1_000_000_000 + 999 * unit);
            assert_eq!(packets[1].original_len, 1500);
            assert_eq!(packets[1].data, [8; 3]);
            assert_eq!(packets[1].offset, 24 + 76);
            assert_eq!(packets[2].data, []);
            assert_eq!(packets[2].number, 2);
            assert_eq!(packets[0].link, LinkType::ETHERNET);
        }
    }
}

#[test]
fn a_packet_longer_than_the_snaplen_reads() {
    let mut file = ORDERS[0].pcap(0xa1b2_c3d4, 96, 1);
    ORDERS[0].record(&mut file, 1, 0, 1514, &[1; 1514]);
    ORDERS[0].record(&mut file, 2, 0, 64, &[2; 64]);
    let (packets, _, error) = read(&file);
    assert!(error.is_none());
    assert_eq!(packets[0].data.len(), 1514);
    assert_eq!(packets[1].data.len(), 64);
}

#[test]
fn link_types_are_reported_with_the_packet() {
    // The upper half of the field holds the length of the frame check sequence.
    for (field, link) in [
        (101, LinkType::RAW),
        (0x2400_0001, LinkType::ETHERNET),
        (276, LinkType::LINUX_SLL2),
    ] {
        let mut file = ORDERS[1].pcap(0xa1b2_c3d4, 96, field);
        ORDERS[1].record(&mut file, 1, 0, 20, &[0x45; 20]);
        assert_eq!(read(&file).0[0].link, link);
    }
}

#[test]
fn pcapng_sections_interfaces_and_blocks() {
    let mut file = Vec::new();
    for order in ORDERS {
        order.section(&mut file);
        order.block(&mut file, 0x0bad_cafe, &[9; 21]);
        order.interface(&mut file, 1, 10, &[(2, b"eth0"), (9, &[9])]);
        order.interface(&mut file, 101, 0, &[(9, &[0x81]), (0, &[])]);
        order.enhanced(&mut file, 0, 5_000_000_000, 1500, &[1; 61]);
        order.enhanced(&mut file, 1, 3, 20, &[0x45; 20]);
        // Simple packet: the length on the wire, then as much as snaplen and block allow.
        let mut simple = order.w(12).to_vec();
        simple.extend([3; 12]);
        order.block(&mut file, 3, &simple);
        // Obsolete packet: interface and drops are 16 bits each.
        let mut obsolete = order.h(1).to_vec();
        obsolete.extend(order.h(7));
        for value in [0, 4, 2, 2] {
            obsolete.extend(order.w(value));
        }
        obsolete.extend([4; 2]);
        order.block(&mut file, 2, &obsolete);
    }
    let (packets, warnings, error) = read(&file);
    assert!(
        error.is_none() && warnings.is_empty(),
        "{error:?} {warnings:?}"
    );
    assert_eq!(packets.len(), 8);
    for (section, packets) in packets.chunks(4).enumerate() {
        let base = section as u32 * 2;
        assert_eq!(
            (packets[0].interface, packets[0].time_ns),
            (base, 5_000_000_000)
        );
        assert_eq!((packets[0].original_len, packets[0].data.len()), (1500, 61));
        assert_eq!(
            (packets[1].interface, packets[1].time_ns),
            (base + 1, 1_500_000_000)
        );
        assert_eq!(packets[1].link, LinkType::RAW);
        assert_eq!((packets[2].interface, packets[2].time_ns), (base, 0));
        assert_eq!(
            (packets[2].original_len, &packets[2].data[..]),
            (12, &[3; 10][..])
        );
        assert_eq!(
            (packets[3].interface, packets[3].time_ns),
            (base + 1, 2_000_000_000)
        );
        assert_eq!(packets[3].data, [4; 2]);
    }
    let mut reader = CaptureReader::new(&file[..]).expect("opens");
    assert_eq!(reader.format(), Format::Pcapng);
    while reader.next().expect("reads").is_some() {}
    assert_eq!(reader.interfaces().len(), 4);
    assert_eq!(reader.interfaces()[0].name.as_deref(), Some("eth0"));
    assert_eq!(reader.interfaces()[3].section, 1);
    assert_eq!(reader.interfaces()[3].tsresol, 0x81);
}

#[test]
fn blocks_and_packets_longer_than_the_buffer() {
    let order = ORDERS[0];
    let mut file = Vec::new();
    order.section(&mut file);
    order.interface(&mut file, 1, 0, &[]);
    order.block(&mut file, 0x0bad_cafe, &vec![9; 1_000_000]);
    order.enhanced(&mut file, 0, 1, 262_144, &vec![5; 262_144]);
    order.enhanced(&mut file, 0, 1, 60, &[6; 60]);
    let whole = file.len();
    order.block(&mut file, 0x0bad_cafe, &vec![9; 600_000]);
    let (packets, warnings, error) = read(&file);
    assert!(error.is_none() && warnings.is_empty());
    assert_eq!(packets.len(), 2);
    assert_eq!(packets[0].data.len(), 262_144);
    let (_, warnings, _) = read(&file[..whole + 500_000]);
    let expected = Warning::Truncated {
        offset: whole as u64,
        expected: 600_012,
        got: 500_000,
        packets: 2,
    };
    assert_eq!(warnings, [expected]);
}

#[test]
fn a_capture_cut_anywhere_warns_with_offset_and_count() {
    let order = ORDERS[0];
    let mut file = order.pcap(0xa1b2_c3d4, 65_535, 1);
    order.record(&mut file, 1, 0, 10, &[1; 10]);
    let second = file.len();
    order.record(&mut file, 2, 0, 10, &[2; 10]);
    for cut in second + 1..file.len() {
        let (packets, warnings, error) = read(&file[..cut]);
        assert!(error.is_none());
        assert_eq!(packets.len(), 1);
        let got = (cut - second) as u64;
        let expected = if got < 16 { 16 } else { 26 };
        let offset = second as u64;
        assert_eq!(
            warnings,
            [Warning::Truncated {
                offset,
                expected,
                got,
                packets: 1
            }]
        );
    }
    assert_eq!(
        read(&file[..second + 20]).1[0].to_string(),
        "at offset 50: the capture ends inside a record (20 of 26 bytes); 1 packets before it \
         were read"
    );
}

#[test]
fn garbage_is_an_error_with_offset_and_value() {
    let order = ORDERS[0];
    let says = |bytes: &[u8]| read(bytes).2.expect("an error").to_string();
    assert_eq!(
        says(b""),
        "at offset 0: the input is empty, expected a pcap or pcapng header"
    );
    assert_eq!(
        says(b"\x7fELF\x02\x01\x01"),
        "at offset 0: found bytes 7f 45 4c 46, expected a pcap magic (a1b2c3d4 or a1b23c4d, in \
         either byte order) or a pcapng section header (0a0d0d0a); `editcap -F pcapng` rewrites \
         other formats"
    );
    assert_eq!(
        says(&order.pcap(0xa1b2_c3d4, 1, 1)[..10]),
        "at offset 0: the pcap header is 10 bytes, expected 24"
    );
    assert!(says(&[0x1f, 0x8b, 8, 0]).contains("gzip"));
    assert!(says(&[0x28, 0xb5, 0x2f, 0xfd]).contains("zstd -dc"));
    assert!(says(&order.pcap(0xa1b2_cd34, 1, 1)).contains("found pcap magic a1b2cd34"));
    let mut version = order.pcap(0xa1b2_c3d4, 1, 1);
    version[4] = 7;
    assert_eq!(
        says(&version),
        "at offset 4: found pcap version 7.4, expected 2.4"
    );

    let mut long = order.pcap(0xa1b2_c3d4, 65_535, 1);
    order.record(&mut long, 1, 0, 4, &[1; 4]);
    long.extend([0xff; 16]);
    let (packets, warnings, error) = read(&long);
    assert_eq!((packets.len(), warnings.len()), (1, 0));
    assert_eq!(
        error.expect("an error").to_string(),
        "at offset 44: found a captured length of 4294967295 (0xffffffff), expected at most \
         262144; the capture is damaged here, or a variant with other record headers"
    );

    let mut ng = Vec::new();
    order.section(&mut ng);
    let section = ng.len();
    let mut order_magic = ng.clone();
    order_magic[8] = 0;
    assert!(says(&order_magic).starts_with("at offset 8: found byte-order magic 003c2b1a"));
    assert_eq!(
        says(&ng[..20]),
        "at offset 0: the pcapng header is 20 bytes, expected 28"
    );
    order.enhanced(&mut ng, 3, 0, 1, &[1]);
    assert_eq!(
        says(&ng),
        "at offset 28: packet names interface 3, but this section has described 0"
    );
    let mut length = ng.clone();
    length[section + 4] += 1;
    assert!(says(&length).starts_with("at offset 28: block of type 0x00000006 has a total length"));
    let mut trailer = ng.clone();
    *trailer.last_mut().expect("bytes") = 1;
    assert!(says(&trailer).starts_with("at offset 28: block of type 0x00000006 begins with total"));
    ng.truncate(section);
    order.interface(&mut ng, 1, 0, &[]);
    let at = ng.len();
    order.enhanced(&mut ng, 0, 0, 1, &[1]);
    ng[at + 20] = 200;
    assert_eq!(
        says(&ng),
        "at offset 48: found a captured length of 200 in a block with room for 4"
    );
}

#[test]
fn arrival_never_goes_back_and_counting_goes_on() {
    let order = ORDERS[0];
    let mut file = order.pcap(0xa1b2_3c4d, 65_535, 1);
    for seconds in [5, 3, 9] {
        order.record(&mut file, seconds, 0, 1, &[1]);
    }
    let mut reader = CaptureReader::new(&file[..]).expect("opens");
    let mut arrivals = Vec::new();
    while let Some(record) = reader.next().expect("reads") {
        arrivals.push(record.meta.arrival_ns / 1_000_000_000);
    }
    assert_eq!(arrivals, [5, 5, 9]);
    let options = reader.continued(ReadOptions::default());
    let mut second = CaptureReader::with_options(&file[..], options).expect("opens");
    let first = second.next().expect("reads").expect("a packet").meta;
    assert_eq!(
        (first.number, first.arrival_ns, first.time_ns),
        (3, 9_000_000_000, 5_000_000_000)
    );
    assert_eq!(second.packets(), 1);
}

#[test]
fn a_chunk_dropped_early_loses_nothing() {
    let order = ORDERS[0];
    let mut file = order.pcap(0xa1b2_3c4d, 65_535, 1);
    for number in 0..10u8 {
        order.record(&mut file, 1, 0, 1, &[number]);
    }
    let mut reader = CaptureReader::new(&file[..]).expect("opens");
    let mut seen = Vec::new();
    while let Some(chunk) = reader.chunk().expect("reads") {
        seen.extend(chunk.take(3).map(|record| record.data[0]));
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

/// The test runs itself again as a child that reads its standard input.
#[test]
fn a_dash_is_standard_input() {
    if std::env::var_os("NICBED_READ_STDIN").is_some() {
        let mut reader = CaptureReader::open("-").expect("opens");
        while let Some(chunk) = reader.chunk().expect("reads") {
            chunk.for_each(drop);
        }
        println!("child read {} packets", reader.packets());
        return;
    }
    let order = ORDERS[0];
    let mut file = order.pcap(0xa1b2_3c4d, 65_535, 1);
    for _ in 0..20_000 {
        order.record(&mut file, 1, 0, 60, &[1; 60]);
    }
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "a_dash_is_standard_input", "--nocapture"])
        .env("NICBED_READ_STDIN", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs itself");
    let mut to = child.stdin.take().expect("a pipe");
    to.write_all(&file).expect("writes");
    drop(to);
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("child read 20000 packets"), "{said}");
}

#[test]
fn a_path_that_is_not_there_is_an_error() {
    let error = CaptureReader::open("/no/such.pcap").expect_err("is not there");
    assert!(matches!(error, ReadError::Open { .. }));
    assert!(error.to_string().starts_with("cannot open: "), "{error}");
    let error = CaptureReader::open(env!("CARGO_MANIFEST_DIR")).expect_err("a directory");
    assert!(
        matches!(error, ReadError::Read { offset: 0, .. }),
        "{error}"
    );
}
