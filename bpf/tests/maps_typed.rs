//! Keys and values as JSON objects and lists, by the types that an object's BTF tells.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;

use bpf::map::json::{BytesError, MapsJson, apply, typed_bytes};
use bpf::map::{Layout, LayoutKind, MapDef, MapSet, MapType, MemberLayout, Placement};
use bpf::object::{LoadOptions, load};
use serde_json::json;

fn number(size: u32) -> Layout {
    Layout {
        size,
        kind: LayoutKind::Unsigned,
    }
}

fn member(name: &str, offset: u32, layout: Layout) -> MemberLayout {
    MemberLayout {
        name: name.to_owned(),
        bit_offset: offset * 8,
        bits: None,
        layout,
    }
}

fn structure(size: u32, members: Vec<MemberLayout>) -> Layout {
    Layout {
        size,
        kind: LayoutKind::Composite { members },
    }
}

/// `struct { u16 id; u8 version : 4, length : 4; bool on; struct { be32 addr; u16 ports[2]; } to;
/// union { u32 word; u8 bytes[4]; }; enum { LOW = 1, HIGH = 9 } level; }`
fn rule() -> Layout {
    let bits = |name: &str, bit_offset| MemberLayout {
        bit_offset,
        bits: Some(4),
        ..member(name, 0, number(1))
    };
    let array = |count, element: Layout| Layout {
        size: count * element.size,
        kind: LayoutKind::Array {
            element: Box::new(element),
            count,
        },
    };
    let to = structure(
        8,
        vec![
            member("addr", 0, number(4)),
            member("ports", 4, array(2, number(2))),
        ],
    );
    let level = Layout {
        size: 4,
        kind: LayoutKind::Enum {
            signed: false,
            values: vec![("LOW".to_owned(), 1), ("HIGH".to_owned(), 9)],
        },
    };
    let on = Layout {
        size: 1,
        kind: LayoutKind::Bool,
    };
    structure(
        20,
        vec![
            member("id", 0, number(2)),
            bits("version", 16),
            bits("length", 20),
            member("on", 3, on),
            member("to", 4, to),
            member("word", 12, number(4)),
            member("bytes", 12, array(4, number(1))),
            member("level", 16, level),
        ],
    )
}

#[test]
fn members_land_where_the_type_puts_them() {
    let value = json!({
        "id": 258, "version": 4, "length": 5, "on": true,
        "to": {"addr": "c0000201", "ports": [80, 443]},
        "bytes": [1, 2, 3, 4], "level": "HIGH",
    });
    let bytes = typed_bytes(&value, 20, Some(&rule())).unwrap();
    let expected = [
        2, 1, 0x54, 1, 192, 0, 2, 1, 80, 0, 0xbb, 1, 1, 2, 3, 4, 9, 0, 0, 0,
    ];
    assert_eq!(bytes, expected);
}

#[test]
fn missing_members_and_elements_are_zero() {
    let bytes = typed_bytes(&json!({"to": {"ports": [7]}}), 20, Some(&rule())).unwrap();
    let mut expected = [0; 20];
    expected[8] = 7;
    assert_eq!(bytes, expected);
    assert_eq!(typed_bytes(&json!({}), 20, Some(&rule())).unwrap(), [0; 20]);
}

#[test]
fn untyped_forms_go_on_meaning_bytes() {
    let hex = "000102030405060708090a0b0c0d0e0f10111213";
    let bytes: Vec<u8> = (0..20).collect();
    let list = json!(bytes);
    assert_eq!(
        typed_bytes(&json!(hex), 20, Some(&rule())),
        Ok(bytes.clone())
    );
    assert_eq!(typed_bytes(&list, 20, Some(&rule())), Ok(bytes.clone()));
    // A list as long as the array has bytes, not elements.
    let ports = json!({"to": {"ports": [1, 2, 3, 4]}});
    let placed = typed_bytes(&ports, 20, Some(&rule())).unwrap();
    assert_eq!(placed[8..12], [1, 2, 3, 4]);
    // A layout of another size than the map's says nothing.
    assert_eq!(
        typed_bytes(&json!({"id": 1}), 4, Some(&rule())),
        Err(BytesError::Object)
    );
}

#[test]
fn what_is_wrong_is_named_down_to_the_member() {
    for (value, said) in [
        (
            json!({"idd": 1}),
            "has no member `idd`; there are: id, version, length, on, to, word, bytes, level",
        ),
        (
            json!({"to": {"port": 1}}),
            "at .to: has no member `port`; there are: addr, ports",
        ),
        (
            json!({"to": {"ports": [1, 70000]}}),
            "at .to.ports[1]: 70000 does not fit into 2 bytes",
        ),
        (
            json!({"to": {"ports": [1, 2, 3]}}),
            "at .to.ports: has 3 elements, the array 2",
        ),
        (
            json!({"word": 1, "bytes": [1]}),
            "has both `word` and `bytes`, which share their bytes: give one of them",
        ),
        (
            json!({"version": 16}),
            "at .version: 16 does not fit into 4 bits",
        ),
        (
            json!({"version": "04"}),
            "at .version: is not a number, as a bit field needs",
        ),
        (
            json!({"level": "MIDDLE"}),
            "at .level: `MIDDLE` is neither hexadecimal digits nor one of LOW, HIGH",
        ),
        (
            json!({"on": {"x": 1}}),
            "at .on: is an object, but its type is no structure that the object's BTF tells: \
             write a number, hexadecimal digits or a list of bytes",
        ),
        (json!({"id": 1.5}), "at .id: 1.5 does not fit into 2 bytes"),
        (
            json!({"id": null}),
            "at .id: is neither a number, hexadecimal digits nor a list of bytes",
        ),
    ] {
        let problem = typed_bytes(&value, 20, Some(&rule())).unwrap_err();
        // `word` and `bytes` may come in either order.
        let text = problem
            .to_string()
            .replace("`bytes` and `word`", "`word` and `bytes`");
        assert_eq!(text, said, "{value}");
    }
}

fn maps_of(name: &str) -> Vec<MapDef> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../programs")
        .join(name);
    let bytes = std::fs::read(path).unwrap();
    load(name, &bytes, &LoadOptions::default())
        .unwrap()
        .maps
        .to_vec()
}

/// `struct flow`, `struct rule` and `struct counter` stand in programs/firewall.c and
/// programs/include/parse.h.
#[test]
fn objects_tell_the_types_of_their_maps() {
    let maps = maps_of("firewall.o");
    let set = MapSet::for_program_set(&maps, 2, Placement::Private).unwrap();
    let put = |text: &str| {
        let json = MapsJson::from_json(text).unwrap();
        apply(&set, &[], &json, |_| None).map_err(|e| e.to_string())
    };
    put(r#"{"maps": {"blocklist": [{
        "key": {"saddr": "c0000201", "daddr": "c6336401", "sport": "0400", "dport": "0050",
                "protocol": 6},
        "value": {"id": 7, "action": 1}}]}}"#)
    .unwrap();
    let blocklist = set.get(set.by_name("blocklist").unwrap()).unwrap();
    let key = [192, 0, 2, 1, 198, 51, 100, 1, 4, 0, 0, 80, 6, 0, 0, 0];
    assert_eq!(
        blocklist.host_lookup(&key),
        Ok(vec![7, 0, 0, 0, 1, 0, 0, 0])
    );
    let error = put(r#"{"maps": {"blocklist": [{"key": {}, "value": {"id": 1, "aktion": 0}}]}}"#);
    assert_eq!(
        error.unwrap_err(),
        "map blocklist, entry 0: value has no member `aktion`; there are: id, action"
    );
}

#[test]
fn values_per_cpu_are_typed_too() {
    let maps = maps_of("counters.o");
    let name = &maps
        .iter()
        .find(|map| map.kind == MapType::PercpuArray)
        .unwrap()
        .name;
    let set = MapSet::for_program_set(&maps, 3, Placement::Private).unwrap();
    let text = format!(
        r#"{{"maps": {{"{name}": [{{"key": 1,
            "values": [{{"packets": 1, "bytes": 60}}, {{"bytes": 2}}]}}]}}}}"#
    );
    apply(&set, &[], &MapsJson::from_json(&text).unwrap(), |_| None).unwrap();
    let map = set.get(set.by_name(name).unwrap()).unwrap();
    let words: Vec<u64> = map
        .host_lookup(&[1, 0, 0, 0])
        .unwrap()
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    assert_eq!(words, [1, 60, 0, 2, 0, 0]);
}
