//! The elements of maps that are expected after a packet.

use std::collections::BTreeMap;

use bpf::map::json::{key_bytes, typed_bytes};
use bpf::map::{Layout, LayoutKind, Map, MapSet};
use serde_json::{Value, json};

use super::expect::{Failure, Key};
use super::format::ElementIs;
use super::pattern::Pattern;
use crate::mapdiff::hex;

/// What maps hold that is not as expected.
///
/// # Errors
/// If there is no such map, or a key or value does not fit it.
pub fn failures(
    expected: &BTreeMap<String, Vec<ElementIs>>,
    maps: &MapSet,
) -> Result<Vec<Failure>, String> {
    let mut failures = Vec::new();
    for (name, elements) in expected {
        let map = maps
            .by_name(name)
            .and_then(|id| maps.get(id))
            .ok_or_else(|| {
                let names: Vec<&str> = maps.iter().map(|m| m.def().name.as_str()).collect();
                format!(
                    "`maps`: there is no map {name}; there are {}",
                    names.join(", ")
                )
            })?;
        for (at, is) in elements.iter().enumerate() {
            let failure =
                element(map, is).map_err(|why| format!("`maps.{name}`, key {}: {why}", is.key))?;
            failures.extend(failure.map(|(expected, got, now)| {
                let map = name.clone();
                Failure::new(format!("map {name}, key {}", is.key), expected, got)
                    .now(Key::Element { map, at }, now)
            }));
        }
    }
    Ok(failures)
}

/// Both texts and what would be right, if the element is not as expected.
fn element(map: &Map, is: &ElementIs) -> Result<Option<(String, String, Value)>, String> {
    let def = map.def();
    let key = key_bytes(def, &is.key).map_err(|e| format!("the key: {e}"))?;
    let value = |value: &Value| value_of(map, value);
    let got = map.host_lookup(&key).ok();
    let expected = match (&is.value, &is.values) {
        (Some(_), _) if map.kind().is_percpu() => {
            return Err("a per-CPU map has `values`, one a queue".to_owned());
        }
        (Some(one), _) => Some(value(one)?),
        (None, Some(_)) if !map.kind().is_percpu() => {
            return Err("`values` are those of a per-CPU map; give `value`".to_owned());
        }
        (None, Some(all)) => {
            if all.len() > map.cpus() as usize {
                return Err(format!(
                    "there are {} queues, not {}",
                    map.cpus(),
                    all.len()
                ));
            }
            let mut whole = Pattern::default();
            for one in all {
                let one = value(one)?;
                whole.bytes.extend(one.bytes);
                whole.mask.extend(one.mask);
                // The bytes behind a value are of nobody.
                whole.bytes.resize(whole.bytes.len().next_multiple_of(8), 0);
                whole.mask.resize(whole.bytes.len(), 0);
            }
            whole.bytes.resize(map.host_value_size(), 0);
            whole.mask.resize(map.host_value_size(), 0xff);
            Some(whole)
        }
        (None, None) => None,
    };
    let holds = match (&expected, &got) {
        (Some(expected), Some(got)) => expected.holds(got),
        (expected, got) => expected.is_none() && got.is_none(),
    };
    let absent = || "absent".to_owned();
    Ok((!holds).then(|| {
        let now = got
            .as_ref()
            .map_or(json!({ "absent": true }), |got| now(map, is, got));
        match by_members(is, &now) {
            Some((expected, got)) => (expected, got, now),
            None => (
                expected.map_or_else(absent, |pattern| pattern.text()),
                got.as_deref().map_or_else(absent, hex),
                now,
            ),
        }
    }))
}

/// Both texts by the members of structures, where the file tells them so.
fn by_members(is: &ElementIs, now: &Value) -> Option<(String, String)> {
    let values = |all: &[Value]| {
        all.iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (&is.value, &is.values) {
        (Some(value), _) if value.is_object() => {
            Some((value.to_string(), now.get("value")?.to_string()))
        }
        (None, Some(all)) if !all.is_empty() && all.iter().all(Value::is_object) => {
            let got = now.get("values")?.as_array()?;
            Some((values(all), values(got.get(..all.len())?)))
        }
        _ => None,
    }
}

fn value_of(map: &Map, value: &Value) -> Result<Pattern, String> {
    let def = map.def();
    let size = def.value_size as usize;
    if let Some(text) = value.as_str().filter(|text| text.contains('?')) {
        let pattern = Pattern::parse(text).map_err(|e| format!("the value: {e}"))?;
        if pattern.bytes.len() != size {
            let bytes = pattern.bytes.len();
            return Err(format!(
                "the value: {bytes} bytes, where a value has {size}"
            ));
        }
        return Ok(pattern);
    }
    typed_bytes(value, size, def.value_layout.as_deref())
        .map(Pattern::exactly)
        .map_err(|e| format!("the value: {e}"))
}

/// The element as a file says it: numbers where the file has numbers, members where it has
/// members.
fn now(map: &Map, is: &ElementIs, got: &[u8]) -> Value {
    let layout = map.def().value_layout.as_deref();
    let one = |bytes: &[u8], before: Option<&Value>| match bytes.len() {
        1..=8 if before.is_none_or(Value::is_number) => number(bytes),
        _ if before.is_some_and(Value::is_object) => members(layout, bytes),
        _ => Value::from(hex(bytes)),
    };
    if !map.kind().is_percpu() {
        return json!({ "value": one(got, is.value.as_ref()) });
    }
    let size = map.def().value_size as usize;
    let before = is.values.as_deref().unwrap_or_default();
    let values = got.chunks(size.next_multiple_of(8).max(1));
    let values = values
        .enumerate()
        .map(|(at, bytes)| one(&bytes[..size.min(bytes.len())], before.get(at)));
    json!({ "values": values.collect::<Vec<_>>() })
}

fn number(bytes: &[u8]) -> Value {
    let bytes = bytes.iter().rev();
    Value::from(bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
}

/// A structure by its members, where they lie apart; numbers are without sign, whatever is longer
/// is in digits.
fn members(layout: Option<&Layout>, bytes: &[u8]) -> Value {
    let composite = layout.and_then(|layout| match &layout.kind {
        LayoutKind::Composite { members } => Some(members),
        _ => None,
    });
    let mut end = 0;
    let named = composite.into_iter().flatten().map(|member| {
        let start = member.bit_offset as usize;
        let whole = member.bits.is_none() && start.is_multiple_of(8) && start / 8 >= end;
        end = start / 8 + member.layout.size as usize;
        let bytes = bytes.get(start / 8..end).filter(|_| whole)?;
        Some((member.name.clone(), members(Some(&member.layout), bytes)))
    });
    match named.collect::<Option<serde_json::Map<_, _>>>() {
        Some(named) if !named.is_empty() => Value::Object(named),
        _ if (1..=8).contains(&bytes.len()) => number(bytes),
        _ => Value::from(hex(bytes)),
    }
}
