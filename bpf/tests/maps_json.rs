//! Contents of maps as JSON, in and out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use bpf::map::json::{MapsJson, apply, dump};
use bpf::map::{DataSection, InitialSlot, MapDef, MapSet, MapType, Placement, SlotValue};
use bpf::program::{Global, GlobalKind};

fn def(name: &str, kind: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        key_size,
        value_size,
        max_entries,
        flags: u32::from(kind == MapType::LpmTrie),
        ..MapDef::new(name, kind)
    }
}

fn set() -> MapSet {
    let inner = def("inner_a", MapType::Array, 4, 8, 2);
    let defs = [
        def("flows", MapType::Hash, 4, 2, 8),
        def("per_cpu", MapType::PercpuArray, 4, 4, 4),
        def("prefixes", MapType::LpmTrie, 8, 1, 4),
        def("prefixes6", MapType::LpmTrie, 20, 1, 4),
        def("jumps", MapType::ProgArray, 4, 4, 4),
        MapDef {
            inner: Some(Box::new(inner.clone())),
            slots: vec![InitialSlot {
                index: 1,
                value: SlotValue::Map("inner_a".to_owned()),
            }],
            ..def("outer", MapType::ArrayOfMaps, 4, 4, 4)
        },
        inner,
        def("ports", MapType::Devmap, 4, 8, 4),
        def("waiting", MapType::Queue, 0, 4, 2),
        MapDef {
            data: Some(DataSection::Data),
            initial: Some(vec![9; 32]),
            ..def(".data", MapType::Array, 4, 32, 1)
        },
        MapDef {
            data: Some(DataSection::Rodata),
            ..def(".rodata", MapType::Array, 4, 8, 1)
        },
        def("counts", MapType::Array, 4, 8, 1 << 20),
    ];
    MapSet::for_program_set(&defs, 3, Placement::Private).unwrap()
}

fn globals() -> Vec<Global> {
    let global = |name: &str, map, offset, size, kind| Global {
        name: name.to_owned(),
        map,
        offset,
        size,
        kind,
    };
    vec![
        global("limit", 9, 0, 4, GlobalKind::Unsigned),
        global("delta", 9, 4, 4, GlobalKind::Signed),
        global("enabled", 9, 8, 1, GlobalKind::Bool),
        global("banner", 9, 12, 8, GlobalKind::Text),
        global("table", 9, 20, 4, GlobalKind::Bytes),
        global("constant", 10, 0, 4, GlobalKind::Unsigned),
    ]
}

fn program(name: &str) -> Option<u32> {
    (name == "parse_ipv6").then_some(5)
}

fn put(text: &str) -> Result<MapSet, String> {
    let set = set();
    let json = MapsJson::from_json(text).map_err(|e| e.to_string())?;
    apply(&set, &globals(), &json, program).map_err(|e| e.to_string())?;
    Ok(set)
}

const ALL: &str = r#"{
  "globals": {"limit": 4000000000, "delta": -2, "enabled": true, "banner": "hi", "table": [1, 2, 3, 255]},
  "maps": {
    "flows": [{"key": "0x0a000001", "value": 258}, {"key": 1, "value": "ff00"}, {"key": [1, 2, 3, 4], "value": -1}],
    "per_cpu": [{"key": 0, "values": [1, 2]}, {"key": 3, "value": 7}],
    "prefixes": [{"key": "10.0.0.0/8", "value": true}],
    "prefixes6": [{"key": "2001:db8::/32", "value": 1}],
    "jumps": [{"key": 2, "program": "parse_ipv6"}],
    "outer": [{"key": 0, "map": "inner_a"}],
    "ports": [{"key": 1, "ifindex": 2}],
    "waiting": [{"value": 5}, {"value": 6}],
    "counts": [{"key": 1000000, "value": 3}]
  }
}"#;

#[test]
fn every_form_arrives_as_the_bytes_it_means() {
    let set = put(ALL).unwrap();
    let map = |name: &str| set.get(set.by_name(name).unwrap()).unwrap();
    let flows = map("flows");
    assert_eq!(flows.host_lookup(&[10, 0, 0, 1]), Ok(vec![2, 1]));
    assert_eq!(flows.host_lookup(&[1, 0, 0, 0]), Ok(vec![0xff, 0]));
    assert_eq!(flows.host_lookup(&[1, 2, 3, 4]), Ok(vec![0xff, 0xff]));
    let per_cpu = map("per_cpu");
    let cpus = |values: [u8; 3]| {
        values
            .iter()
            .flat_map(|v| [*v, 0, 0, 0, 0, 0, 0, 0])
            .collect()
    };
    assert_eq!(per_cpu.host_lookup(&[0; 4]), Ok(cpus([1, 2, 0])));
    assert_eq!(per_cpu.host_lookup(&[3, 0, 0, 0]), Ok(cpus([7, 7, 7])));
    assert!(
        map("prefixes")
            .lookup(&[32, 0, 0, 0, 10, 9, 8, 7], 0)
            .is_some()
    );
    assert!(
        map("prefixes")
            .lookup(&[32, 0, 0, 0, 11, 9, 8, 7], 0)
            .is_none()
    );
    assert_eq!(map("jumps").program(2), Some(5));
    assert_eq!(map("outer").inner(&[0; 4]), set.by_name("inner_a"));
    assert_eq!(map("outer").inner(&[1, 0, 0, 0]), set.by_name("inner_a"));
    assert_eq!(map("outer").inner(&[2, 0, 0, 0]), None);
    assert_eq!(
        map("ports").host_lookup(&[1, 0, 0, 0]),
        Ok(vec![2, 0, 0, 0, 0, 0, 0, 0])
    );
    assert_eq!(map("waiting").host_values(), [[5, 0, 0, 0], [6, 0, 0, 0]]);
    let data = map(".data").host_lookup(&[0; 4]).unwrap();
    assert_eq!(data[..8], [0, 0x28, 0x6b, 0xee, 0xfe, 0xff, 0xff, 0xff]);
    assert_eq!(data[8..12], [1, 9, 9, 9]);
    assert_eq!(data[12..24], [b'h', b'i', 0, 0, 0, 0, 0, 0, 1, 2, 3, 255]);
    assert_eq!(data[24..], [9; 8]);
}

#[test]
fn a_dump_put_into_new_maps_gives_the_same_dump() {
    let first = put(ALL).unwrap();
    let name = |number: u32| (number == 5).then(|| "parse_ipv6".to_owned());
    let text = serde_json::to_string(&dump(&first, &globals(), name)).unwrap();
    let second = put(&text).unwrap();
    let again = serde_json::to_string(&dump(&second, &globals(), name)).unwrap();
    assert_eq!(text, again);
    for part in [
        r#""delta":-2"#,
        r#""enabled":true"#,
        r#""banner":"hi""#,
        r#""table":"0x010203ff""#,
        r#"{"key":"0x0a000001","value":"0x0201"}"#,
        r#"{"key":0,"values":["0x01000000","0x02000000","0x00000000"]}"#,
        r#""counts":[{"key":1000000,"value":"0x0300000000000000"}]"#,
        r#"{"key":1,"ifindex":2}"#,
        r#""waiting":[{"value":"0x05000000"},{"value":"0x06000000"}]"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("constant"));
}

#[test]
fn what_is_wrong_is_named() {
    for (text, message) in [
        (
            r#"{"maps": {"flow": []}}"#,
            "there is no map `flow`; there are: flows, per_cpu",
        ),
        (
            r#"{"maps": {"flows": [{"key": 1, "value": 1}, {"key": "0x0102", "value": 1}]}}"#,
            "map flows, entry 1: key has 2 bytes, expected are 4",
        ),
        (
            r#"{"maps": {"flows": [{"key": 1, "value": 65536}]}}"#,
            "map flows, entry 0: value 65536 does not fit into 2 bytes",
        ),
        (
            r#"{"maps": {"flows": [{"key": 1, "value": -32769}]}}"#,
            "map flows, entry 0: value -32769 does not fit into 2 bytes",
        ),
        (
            r#"{"maps": {"flows": [{"key": 1, "value": 1.5}]}}"#,
            "map flows, entry 0: value 1.5 does not fit into 2 bytes",
        ),
        (
            r#"{"maps": {"flows": [{"key": 1, "value": "0xzz00"}]}}"#,
            "map flows, entry 0: value `0xzz00` is not pairs of hexadecimal digits",
        ),
        (
            r#"{"maps": {"flows": [{"key": 1, "value": "été"}]}}"#,
            "map flows, entry 0: value `été` is not pairs of hexadecimal digits",
        ),
        (
            r#"{"maps": {"flows": [{"key": 1, "value": [1, 256]}]}}"#,
            "map flows, entry 0: value has something else than a number from 0 to 255 at position 1",
        ),
        (
            r#"{"maps": {"flows": [{"value": 1}]}}"#,
            "map flows, entry 0: expected a `key`",
        ),
        (
            r#"{"maps": {"flows": [{"key": 1}]}}"#,
            "map flows, entry 0: expected a `value`",
        ),
        (
            r#"{"maps": {"flows": [{"key": 1, "values": [1]}]}}"#,
            "map flows, entry 0: expected no `values`: this is no per-CPU map",
        ),
        (
            r#"{"maps": {"per_cpu": [{"key": 4, "value": 1}]}}"#,
            "map per_cpu, entry 0: the map does not take it: the index is outside, or the map is full (E2BIG)",
        ),
        (
            r#"{"maps": {"per_cpu": [{"key": 0, "values": [1, 2, 3, 4]}]}}"#,
            "map per_cpu, entry 0: expected no more `values` than there are CPUs (queues)",
        ),
        (
            r#"{"maps": {"prefixes": [{"key": "10.0.0.0/33", "value": 1}]}}"#,
            "map prefixes, entry 0: the map does not take it: the key or value is not valid there (EINVAL)",
        ),
        (
            r#"{"maps": {"prefixes": [{"key": "::/0", "value": 1}]}}"#,
            "map prefixes, entry 0: key `::/0` is no prefix that fits a key of 8 bytes",
        ),
        (
            r#"{"maps": {"jumps": [{"key": 0, "program": "gone"}]}}"#,
            "map jumps, entry 0: there is no program `gone`",
        ),
        (
            r#"{"maps": {"outer": [{"key": 0, "map": "flows"}]}}"#,
            "map outer, entry 0: the map does not take it: the key or value is not valid there (EINVAL)",
        ),
        (
            r#"{"maps": {"waiting": [{"value": 1}, {"value": 2}, {"value": 3}]}}"#,
            "map waiting, entry 2: the map does not take it: the index is outside, or the map is full (E2BIG)",
        ),
        (
            r#"{"globals": {"limits": 1}}"#,
            "there is no global variable `limits`",
        ),
        (
            r#"{"globals": {"banner": "much too long"}}"#,
            "global variable `banner`: value has 13 bytes, expected are 8",
        ),
        (
            r#"{"globals": {"constant": 1}}"#,
            "global variable `constant` is in .rodata, which is fixed before verification: set it with --global",
        ),
        (r#"{"map": {}}"#, "not a file of maps: unknown field `map`"),
    ] {
        let error = put(text).err().unwrap_or_else(|| panic!("{text} is taken"));
        assert!(error.starts_with(message), "{text}: {error}");
    }
}

/// Bytes of a right file changed at random: an answer of some kind, never a panic.
#[test]
fn mutated_files_are_answered() {
    let mut state = 1u64;
    let mut below = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % n
    };
    let routes = r#"{"interfaces": [{"ifindex": 1, "mac": "02:00:00:00:00:01", "mtu": 9000}],
        "routes": [{"to": "10.0.0.0/8", "ifindex": 1, "via": "10.0.0.1", "metric": 3},
                   {"to": "2001:db8::/32", "type": "blackhole"}],
        "neighbours": [{"ip": "10.0.0.1", "ifindex": 1, "mac": "02:00:00:00:00:02"}]}"#;
    let (mut taken, mut refused) = (0, 0);
    for round in 0..4000 {
        let mut bytes = if round % 2 == 0 { ALL } else { routes }
            .as_bytes()
            .to_vec();
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] = b"0123456789abcdefx/:.-\"[]{},tn"[below(29)],
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"0123456789"[below(10)]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let good = if round % 2 == 0 {
            put(&text).is_ok()
        } else {
            bpf::helper::Fib::from_json(&text).is_ok()
        };
        if good {
            taken += 1;
        } else {
            refused += 1;
        }
    }
    assert!(
        taken > 100 && refused > 100,
        "{taken} taken, {refused} refused"
    );
}
