//! Control messages of the Agilio, and what the driver keeps of their answers. Layouts, status
//! numbers and errnos: the description of `nfp-drv-kmods` 7728618f3622, `src/bpf/fw.h` and
//! `src/bpf/cmsg.c`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use bpf::map::{MapDef, MapType};
use caps::record::nfp::Record;
use isa::nfp::learned::{Word, WordUse};
use nic_model::nfp::control::{
    CACHE_NS, Entry, Fields, Firmware, Host, HostError, HostMap, MessageError, Op, Reply, Request,
    Status,
};

const FIELDS: Fields = Fields {
    key_bytes: 64,
    value_bytes: 64,
};

fn def(kind: MapType, entries: u32) -> MapDef {
    let mut def = MapDef::new("m", kind);
    (def.key_size, def.value_size, def.max_entries) = (4, 8, entries);
    def
}

/// A hash with keys 0 to 5, value `[key, 0, …]`, and everything around it.
fn filled(multi: bool) -> (Host, Firmware, HostMap) {
    let mut firmware = Firmware::new(FIELDS);
    let mut host = Host::new(FIELDS, FIELDS.message_bytes(4), multi).unwrap();
    let mut map = host.create(&mut firmware, &def(MapType::Hash, 8)).unwrap();
    for key in 0..6_u8 {
        let value = [key, 0, 0, 0, 0, 0, 0, 0];
        host.update(&mut firmware, &mut map, &[key, 0, 0, 0], &value, 0)
            .unwrap();
    }
    (host, firmware, map)
}

fn errno<T: std::fmt::Debug>(result: Result<T, HostError>) -> &'static str {
    match result {
        Err(HostError::Errno { errno, .. }) => errno,
        other => {
            assert!(other.is_err(), "{other:?}");
            ""
        }
    }
}

#[test]
fn a_request_has_the_documented_bytes() {
    let request = Request::Entries {
        op: Op::Update,
        table: 0x0102,
        count: 1,
        flags: 2,
        entry: Entry {
            key: vec![0xaa; 4],
            value: vec![0xbb; 8],
        },
    };
    let bytes = request.encode(0x1234, FIELDS);
    assert_eq!(bytes.len(), 16 + 64 + 64);
    let head = [4, 1, 0x12, 0x34, 0, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(bytes[..16], head);
    assert_eq!(bytes[16..20], [0xaa; 4]);
    assert_eq!(bytes[20..80], [0; 60]);
    assert_eq!(bytes[80..88], [0xbb; 8]);
    let reply = Reply::Alloc {
        status: Status::NoMemory,
        table: 3,
    };
    let bytes = reply.encode(7, FIELDS);
    assert_eq!(bytes, [0x81, 1, 0, 7, 0, 0, 0, 6, 0, 0, 0, 3]);
    assert_eq!(Reply::decode(&bytes, FIELDS), Ok((7, reply)));
}

#[test]
fn fields_are_as_the_record_says() {
    let record = |nic: &str| Record::decode(&caps::builtin(nic).unwrap().to_record()).unwrap();
    assert_eq!(Fields::of(&record("agilio-cx")), FIELDS, "ABI 2");
    let abi3 = Fields::of(&record("agilio-full"));
    assert_eq!((abi3.key_bytes, abi3.value_bytes), (56, 56));
}

#[test]
fn a_channel_that_takes_no_message_is_refused() {
    let refused = Host::new(FIELDS, 143, true).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "ctrl channel MTU below min required 143 < 144"
    );
    assert!(Host::new(FIELDS, 144, true).is_ok());
}

#[test]
fn several_entries_come_in_one_message_and_serve_for_250_microseconds() {
    let (mut host, mut firmware, mut map) = filled(true);
    let before = host.sent();
    let mut keys = vec![
        host.next(&mut firmware, &mut map, None, 0)
            .unwrap()
            .unwrap(),
    ];
    while let Some(next) = host
        .next(&mut firmware, &mut map, keys.last().map(Vec::as_slice), 10)
        .unwrap()
    {
        let value = host.lookup(&mut firmware, &mut map, &next, 20).unwrap();
        assert_eq!(value[0], next[0]);
        keys.push(next);
    }
    assert_eq!(keys.len(), 6);
    // Four, two, and the end; every value was in one of them.
    assert_eq!(host.sent() - before, 3);

    let (mut host, mut firmware, mut map) = filled(false);
    host.next(&mut firmware, &mut map, None, 0).unwrap();
    let before = host.sent();
    host.next(&mut firmware, &mut map, Some(&[0; 4]), 0)
        .unwrap();
    assert_eq!(host.sent() - before, 1, "one entry a message");
}

#[test]
fn what_was_read_may_be_old_until_it_expires_or_the_host_writes() {
    let (mut host, mut firmware, mut map) = filled(true);
    host.next(&mut firmware, &mut map, None, 0).unwrap();
    // Somebody else writes to the same table.
    let request = Request::Entries {
        op: Op::Update,
        table: 1,
        count: 1,
        flags: 0,
        entry: Entry {
            key: vec![1, 0, 0, 0],
            value: vec![9; 8],
        },
    };
    firmware.answer(&request.encode(0, FIELDS)).unwrap();
    let mut look = |host: &mut Host, at| {
        host.lookup(&mut firmware, &mut map, &[1, 0, 0, 0], at)
            .unwrap()[0]
    };
    assert_eq!(look(&mut host, CACHE_NS), 1, "the old value");
    assert_eq!(look(&mut host, CACHE_NS + 1), 9);

    let (mut host, mut firmware, mut map) = filled(true);
    host.next(&mut firmware, &mut map, None, 0).unwrap();
    host.update(&mut firmware, &mut map, &[1, 0, 0, 0], &[7; 8], 0)
        .unwrap();
    let value = host
        .lookup(&mut firmware, &mut map, &[1, 0, 0, 0], 1)
        .unwrap();
    assert_eq!(value, [7; 8]);
}

#[test]
fn errors_are_the_drivers() {
    let (mut host, mut firmware, mut map) = filled(true);
    let missing = [99, 0, 0, 0];
    assert_eq!(
        errno(host.lookup(&mut firmware, &mut map, &missing, 0)),
        "ENOENT"
    );
    assert_eq!(
        errno(host.delete(&mut firmware, &mut map, &missing)),
        "ENOENT"
    );
    let exists = host.update(&mut firmware, &mut map, &[1, 0, 0, 0], &[0; 8], 1);
    assert_eq!(errno(exists), "EEXIST");
    let flags = host.update(&mut firmware, &mut map, &[1, 0, 0, 0], &[0; 8], 1 << 32);
    assert_eq!(errno(flags), "EOPNOTSUPP");
    assert_eq!(host.free(&mut firmware, &map).unwrap(), 6);
    assert_eq!(
        errno(host.lookup(&mut firmware, &mut map, &missing, 0)),
        "EBADFD"
    );

    let mut array = host.create(&mut firmware, &def(MapType::Array, 4)).unwrap();
    assert_eq!(
        errno(host.delete(&mut firmware, &mut array, &[0; 4])),
        "EINVAL"
    );
    assert_eq!(
        errno(host.create(&mut firmware, &def(MapType::LruHash, 4))),
        "EINVAL"
    );
}

#[test]
fn counters_are_turned_on_their_way() {
    let (mut host, mut firmware, mut map) = filled(true);
    map.words[0].used = WordUse::Atomic;
    firmware.count_in(1, &map.words);
    host.update(
        &mut firmware,
        &mut map,
        &[1, 0, 0, 0],
        &[1, 2, 3, 4, 5, 6, 7, 8],
        0,
    )
    .unwrap();
    // On the wire the counter's word is big-endian, the other as it is.
    let request = Request::Entries {
        op: Op::Lookup,
        table: 1,
        count: 1,
        flags: 0,
        entry: Entry {
            key: vec![1, 0, 0, 0],
            value: Vec::new(),
        },
    };
    let answer = firmware.answer(&request.encode(0, FIELDS)).unwrap();
    let (_, reply) = Reply::decode(&answer, FIELDS).unwrap();
    let Reply::Entries { entries, .. } = reply else {
        unreachable!("a lookup's answer has entries");
    };
    assert_eq!(entries[0].value[..8], [4, 3, 2, 1, 5, 6, 7, 8]);
    let value = host
        .lookup(&mut firmware, &mut map, &[1, 0, 0, 0], 0)
        .unwrap();
    assert_eq!(value, [1, 2, 3, 4, 5, 6, 7, 8]);
    // The host wrote to a word that no program uses yet: it cannot become a counter.
    let expected = Word {
        used: WordUse::Unused,
        non_zero_update: true,
    };
    assert_eq!(map.words[1], expected);
}

#[test]
fn bytes_that_are_no_message_are_told() {
    let decode = |bytes: &[u8]| Request::decode(bytes, FIELDS).unwrap_err();
    assert_eq!(decode(&[1]), MessageError::Short { len: 1, needed: 4 });
    assert_eq!(decode(&[1, 2, 0, 0]), MessageError::Version { version: 2 });
    assert_eq!(decode(&[9, 1, 0, 0]), MessageError::Kind { kind: 9 });
    assert_eq!(
        decode(&[2, 1, 0, 0, 0]),
        MessageError::Short { len: 5, needed: 8 }
    );
    // An answer that claims more entries than it has bytes.
    let mut answer = vec![
        0x83, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ];
    answer.resize(144, 0);
    assert!(matches!(
        Reply::decode(&answer, FIELDS),
        Err(MessageError::Short { .. })
    ));
}
