//! What a device says of itself: both record formats, there and back, and damaged.
#![expect(clippy::panic, reason = "a test stops at the first surprise")]

use caps::record::{nfp, nicbed};
use caps::{Bound, Caps, RecordError, Value, apply_set, builtin, builtin_names};
use proptest::prelude::*;

fn nic(name: &str) -> Caps {
    builtin(name).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_nics_record_reads_back_to_the_same() {
    for name in builtin_names() {
        let caps = nic(name);
        let record = caps.to_record();
        assert_eq!(caps.with_record(&record).unwrap(), caps, "{name}");
    }
}

#[test]
fn a_record_replaces_only_what_the_device_declares() {
    let driver = nic("agilio-cx");
    let smaller = apply_set(&driver, "image.length=1000").unwrap();
    let smaller = apply_set(&smaller, "driver.calls.frames=2").unwrap();
    let smaller = apply_set(&smaller, "model.cores=3").unwrap();
    let read = driver.with_record(&smaller.to_record()).unwrap();
    assert_eq!(read.image_length().unwrap().value, Bound::Known(1000));
    assert_eq!(
        read.fact("image.length").unwrap().source,
        "the device's record"
    );
    assert_eq!(read.call_frames(), Bound::Known(8), "the driver's own");
    assert_eq!(read.model().cores, Bound::Known(50), "modelled");
    assert_eq!(
        read.fact("stack.bytes"),
        driver.fact("stack.bytes"),
        "the same value keeps its source"
    );
}

#[test]
fn what_a_record_leaves_out_is_unknown() {
    let empty = [b"NICB".as_slice(), &[1, 0, 0, 0, 12, 0, 0, 0]].concat();
    let caps = nic("x86-dpu").with_record(&empty).unwrap();
    assert_eq!(caps.stack_bytes(), Bound::Unknown);
    assert_eq!(caps.fact("hooks").unwrap().value, Value::Unknown);
    assert_eq!(
        caps.fact("hooks").unwrap().source,
        "not in the device's record"
    );
    assert_eq!(caps.model(), nic("x86-dpu").model());
}

fn entry(tag: u16, value: &[u8]) -> Vec<u8> {
    let mut out = b"NICB\x01\0\0\0".to_vec();
    out.extend_from_slice(&(12 + 8 + value.len() as u32).to_le_bytes());
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
    out
}

#[test]
fn a_nicbed_record_has_the_documented_bytes() {
    // stack.bytes (0x21): 512 bytes over a program, in steps of 1.
    let value = [0, 3, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0];
    let decoded = nicbed::decode(&entry(0x21, &value)).unwrap();
    assert_eq!(decoded.facts.len(), 1);
    assert_eq!(decoded.facts[0].0, "stack.bytes");
    assert_eq!(decoded.facts[0].1.to_string(), "512 bytes");
    // map.direct_values (0x3a), hooks (0x01), an entry of unknown type.
    let flag = nicbed::decode(&entry(0x3a, &[1])).unwrap();
    assert_eq!(flag.facts[0].1, Value::Flag(true));
    let hooks = nicbed::decode(&entry(0x01, b"\0\x03xdp\x02tc")).unwrap();
    assert_eq!(hooks.facts[0].1.to_string(), "xdp, tc");
    let skipped = nicbed::decode(&entry(0x7777, &[1, 2])).unwrap();
    assert_eq!(skipped.skipped, [(12, 0x7777)]);
    // helper.*.flags (0x43) of helper 25.
    let flags = nicbed::decode(&entry(
        0x43,
        &[25, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
    ))
    .unwrap();
    assert_eq!(flags.facts[0].0, "helper.bpf_perf_event_output.flags");
}

#[test]
fn a_malformed_nicbed_record_says_what_and_where() {
    let good = nic("x86-dpu").to_record();
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let twice = {
        let mut bytes = entry(0x3a, &[1]);
        bytes.extend_from_slice(&[0x3a, 0, 0, 0, 1, 0, 0, 0, 1]);
        bytes[8] = bytes.len() as u8;
        bytes
    };
    for (bytes, expected) in [
        (
            Vec::new(),
            "ends at byte 0, but the header at byte 0 takes 4 bytes",
        ),
        (changed(0, b'X'), "expected \"NICB\""),
        (
            changed(4, 9),
            "is of version 9, this driver reads version 1",
        ),
        (changed(6, 1), "reserved field at byte 6 is 1"),
        (changed(8, 1), "says that it is"),
        (changed(14, 1), "reserved field at byte 14 is 1"),
        (changed(19, 1), "the value at byte 20 takes"),
        (
            twice,
            "entry at byte 21 says `map.direct_values` a second time",
        ),
        (
            entry(0x3a, &[7]),
            "`map.direct_values` at byte 20: state is 7, allowed is 0, 1, 3",
        ),
        (entry(0x3a, &[1, 1]), "1 bytes are left at byte 21"),
        (entry(0x22, &[2]), "`calls.frames` at byte 20: state is 2"),
        (
            entry(0x22, &[0, 99, 0, 0, 0, 0, 0, 0, 0]),
            "value is 99, allowed is 1 to 64",
        ),
        (entry(0x22, &[0, 99]), "the number at byte 21 takes 8 bytes"),
        (
            entry(0x21, &[3, 0, 0, 0, 1, 0, 0, 0]),
            "unit is 0, allowed is bytes",
        ),
        (
            entry(0x21, &[3, 3, 1, 0, 1, 0, 0, 0]),
            "scope is 1, allowed is program",
        ),
        (entry(0x21, &[3, 3, 0, 0, 0, 0, 0, 0]), "granule is 0"),
        (
            entry(0x01, b"\0\x03xxp"),
            "`hooks` at byte 21: there is no hook \"xxp\"",
        ),
        (entry(0x01, b"\0\x09xdp"), "a name at byte 22 takes 9 bytes"),
        (entry(0x02, b"sometimes"), "there is no word \"sometimes\""),
        (entry(0x43, &[0xff, 0xff, 0, 0, 3]), "helper is 65535"),
    ] {
        let error = nic("x86-dpu").with_record(&bytes).unwrap_err();
        assert!(matches!(error, RecordError::Nicbed(_)));
        let error = error.to_string();
        assert!(error.contains(expected), "got  {error}\nwant {expected}");
    }
}

fn bar() -> Vec<u8> {
    nic("agilio-cx").to_record()[..nfp::BAR_BYTES].to_vec()
}

fn with_blob(words: &[u32], tail: &[u8]) -> Vec<u8> {
    let mut out = bar();
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(tail);
    out
}

/// Offsets and units: nfp-drv-kmods 7728618 `src/nfp_net_ctrl.h`; values: nic-firmware 4220fb9.
#[test]
fn the_agilios_registers_are_where_the_driver_reads_them() {
    let bytes = bar();
    assert_eq!(bytes[0x38..0x3c], (1_u32 << 27).to_le_bytes());
    assert_eq!(bytes[0x80..0x82], [2, 1], "ABI 2, reload allowed");
    assert_eq!(bytes[0x82..0x84], 2560_u16.to_le_bytes());
    assert_eq!(bytes[0x84..0x86], 3072_u16.to_le_bytes());
    assert_eq!(bytes[0x86..0x88], 1_u16.to_le_bytes());
    assert_eq!(bytes[0x88..0x8a], [8, 30], "512 / 64, and the split");
    let record = nfp::Record::decode(&nic("agilio-cx").to_record()).unwrap();
    assert!(record.is_capable());
    assert_eq!(record.window_bytes(), 1888);
    let firmware = record.firmware.unwrap();
    assert_eq!(firmware.maps.types, 1 << 1 | 1 << 2);
    assert_eq!(firmware.adjust_head.off_min, 44);
    assert!(firmware.random && firmware.queue_select && firmware.adjust_tail);
    let functions: Vec<_> = firmware.functions.into_iter().collect();
    assert_eq!(functions, [(1, 0xb00)]);
}

#[test]
fn without_the_firmwares_symbol_all_optional_capabilities_are_off() {
    let caps = nic("agilio-cx").with_record(&bar()).unwrap();
    assert!(caps.has("hooks", "xdp"), "ABI 2 is the default");
    assert!(!caps.has("helpers", "bpf_map_lookup_elem"));
    assert!(!caps.has("map.types", "array"));
    assert!(!caps.has("ctx.xdp_write", "rx_queue_index"));
}

#[test]
fn a_port_is_capable_only_if_bit_and_version_agree() {
    let mut no_bit = bar();
    no_bit[0x3b] = 0;
    let caps = nic("agilio-cx").with_record(&no_bit).unwrap();
    assert!(!caps.has("hooks", "xdp"));
    let other_version = with_blob(&[7, 4, 3], &[]);
    let caps = nic("agilio-cx").with_record(&other_version).unwrap();
    assert!(!caps.has("hooks", "xdp"), "register says 2, blob says 3");
    let unknown_version = nfp::Record::decode(&with_blob(&[7, 4, 9], &[])).unwrap();
    assert_eq!(unknown_version.abi_version(), 0);
    assert_eq!(
        unknown_version.warnings[0].to_string(),
        "unsupported BPF ABI version: 9"
    );
}

#[test]
fn later_entries_overwrite_and_unknown_ones_are_skipped() {
    let maps = |count| [3, 24, 6, count, 10, 8, 8, 16];
    let words = [maps(1).as_slice(), &maps(2), &[99, 4, 7]].concat();
    let record = nfp::Record::decode(&with_blob(&words, &[])).unwrap();
    assert_eq!(record.firmware.as_ref().unwrap().maps.max_maps, 2);
    assert_eq!(record.warnings[0].to_string(), "unknown BPF capability: 99");
    // A longer value than the driver knows: the tail is ignored.
    let record = nfp::Record::decode(&with_blob(&[1, 12, 2, 0x55, 0], &[])).unwrap();
    assert_eq!(record.firmware.unwrap().functions[&2], 0x55);
    // Offsets that do not fit in an immediate switch adjust_head off.
    let record = nfp::Record::decode(&with_blob(&[2, 20, 1, 44, 256, 0, 0], &[])).unwrap();
    assert_eq!(record.firmware.unwrap().adjust_head.off_max, 0);
    assert_eq!(record.warnings, [nfp::Warning::AdjustHeadOffsets]);
}

/// The driver's own messages: nfp-drv-kmods 7728618 src/bpf/main.c.
#[test]
fn a_malformed_nfp_record_gets_the_drivers_message() {
    for (bytes, expected) in [
        (vec![0; 10], "10 bytes, but the control BAR alone takes 152"),
        (with_blob(&[4], &[]), "BPF capabilities of 4 bytes"),
        (
            with_blob(&[4, 1], &[]),
            "invalid BPF capabilities at offset:9",
        ),
        (
            with_blob(&[4, 0xffff_ffff], &[]),
            "invalid BPF capabilities at offset:",
        ),
        (
            with_blob(&[4, 0], &[1, 2, 3]),
            "BPF capabilities left after parsing, parsed:8 total length:11",
        ),
        (with_blob(&[1, 4, 1], &[]), "truncated function TLV: 4"),
        (with_blob(&[2, 4, 1], &[]), "truncated adjust_head TLV: 4"),
        (
            with_blob(&[2, 20, 1, 9, 8, 0, 0], &[]),
            "invalid adjust_head TLV: min > max",
        ),
        (with_blob(&[3, 4, 1], &[]), "truncated maps TLV: 4"),
        (with_blob(&[7, 0], &[]), "truncated ABI version TLV: 0"),
    ] {
        let error = nic("agilio-cx").with_record(&bytes).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected), "got  {error}\nwant {expected}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = nicbed::decode(&bytes);
        let _ = nfp::Record::decode(&bytes);
    }

    #[test]
    fn damaged_records_never_panic(
        name in proptest::sample::select(builtin_names()),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let caps = nic(name);
        let mut record = caps.to_record();
        for (at, byte) in damage {
            let at = at.index(record.len());
            record[at] = byte;
        }
        if let Some(cut) = cut {
            record.truncate(cut.index(record.len()));
        }
        if let Ok(read) = caps.with_record(&record) {
            // What was accepted is a whole profile: it can be written and used.
            let _ = read.to_text();
            let _ = read.packet();
            let _ = read.to_record();
        }
    }
}
