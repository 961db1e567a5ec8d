//! What a test file would have to say to pass: its text with what was got in the place of what is
//! expected, comments and layout as they are.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

use super::expect::Key;
use super::report::Result as Ran;
use super::run::Ended;

/// A file with what was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updated {
    /// Its text.
    pub text: String,
    /// What was not written, and why.
    pub left: Vec<String>,
}

/// Name of a test, place of a packet in it, key of the packet.
type Place<'a> = (&'a str, usize, &'a Key);

/// What was got at each place, in the order of packets.
#[derive(Default)]
struct Places<'a> {
    values: Vec<(Place<'a>, Vec<&'a Json>)>,
    index: BTreeMap<Place<'a>, usize>,
}

impl<'a> Places<'a> {
    fn note(&mut self, place: Place<'a>, value: &'a Json) {
        let next = self.values.len();
        let at = *self.index.entry(place).or_insert(next);
        match self.values.get_mut(at) {
            Some((_, values)) => values.push(value),
            None => self.values.push((place, vec![value])),
        }
    }
}

/// The text of a test file, changed so that its tests would end as expected.
///
/// A key is written only if every frame of its packet, on every NIC, makes the same of it. What
/// differs from what is right by itself stays: checksums, where the program runs, and what NIC and
/// reference do not agree on.
pub fn updated(text: &str, results: &[Ran]) -> Updated {
    let mut left = Vec::new();
    let mut places = Places::default();
    for result in results {
        let test = result.test.as_str();
        let misses = match &result.run.ended {
            Ended::Failed(misses) => misses.as_slice(),
            _ => &[],
        };
        for miss in misses {
            let Some(now) = &miss.failure.now else {
                continue;
            };
            places.note((test, miss.packet, &now.key), &now.value);
        }
        for fresh in &result.run.fresh {
            for now in &fresh.now {
                places.note((test, fresh.packet, &now.key), &now.value);
            }
        }
    }
    let Ok(mut document) = text.parse::<DocumentMut>() else {
        return Updated {
            text: text.to_owned(),
            left: vec!["the file is not TOML".to_owned()],
        };
    };
    for ((test, packet, key), values) in places.values {
        let wanted: u64 = results
            .iter()
            .filter(|result| result.test == test)
            .filter_map(|result| result.run.frames.get(packet))
            .map(|frames| match key {
                Key::Element { .. } => 1,
                Key::Of(_) | Key::Context(_) => *frames,
            })
            .sum();
        let alike = values.iter().all(|value| *value == values[0]);
        let written = if alike && values.len() as u64 == wanted {
            write(&mut document, test, packet, key, values[0])
        } else {
            Err("not every frame and NIC makes the same of it".to_owned())
        };
        if let Err(why) = written {
            left.push(format!(
                "test `{test}`, packet {packet}, {}: {why}",
                key.name()
            ));
        }
    }
    Updated {
        text: document.to_string(),
        left,
    }
}

impl Key {
    fn name(&self) -> String {
        match self {
            Key::Of(name) => (*name).to_owned(),
            Key::Context(name) => format!("context {name}"),
            Key::Element { map, .. } => format!("map {map}"),
        }
    }
}

fn write(
    document: &mut DocumentMut,
    test: &str,
    packet: usize,
    key: &Key,
    value: &Json,
) -> Result<(), String> {
    let found = test_of(document, test).and_then(|test| test.get_mut("packet")?.get_mut(packet));
    let table = found.and_then(Item::as_table_like_mut);
    let not_there = || "the file does not have it".to_owned();
    let table = table.ok_or_else(not_there)?;
    match key {
        Key::Of(name) => put(table, name, value),
        Key::Context(name) => {
            let context = table.get_mut("context").and_then(Item::as_table_like_mut);
            put(context.ok_or_else(not_there)?, name, value)
        }
        Key::Element { map, at } => {
            let element = table
                .get_mut("maps")
                .and_then(|maps| maps.get_mut(map)?.get_mut(*at))
                .and_then(Item::as_table_like_mut);
            let element = element.ok_or_else(not_there)?;
            let Json::Object(says) = value else {
                return Err(not_there());
            };
            for key in ["value", "values", "absent"] {
                if !says.contains_key(key) {
                    element.remove(key);
                }
            }
            says.iter()
                .try_for_each(|(key, value)| put(element, key, value))
        }
    }
}

/// The table of the test of this name.
fn test_of<'a>(document: &'a mut DocumentMut, name: &str) -> Option<&'a mut Item> {
    let tests = document.get_mut("test")?;
    let named = |item: &Item| item.get("name").and_then(Item::as_str) == Some(name);
    let at = (0..).map_while(|at| tests.get(at)).position(named)?;
    tests.get_mut(at)
}

/// Gives a key a value, with the space and the comments around the one before; null takes it away.
fn put(table: &mut dyn TableLike, key: &str, value: &Json) -> Result<(), String> {
    let Some(mut value) = toml(value)? else {
        table.remove(key);
        return Ok(());
    };
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(before) => {
            *value.decor_mut() = before.decor().clone();
            *before = value;
        }
        None => _ = table.insert(key, Item::Value(value)),
    }
    Ok(())
}

fn toml(value: &Json) -> Result<Option<Value>, String> {
    Ok(Some(match value {
        Json::Null => return Ok(None),
        Json::Bool(is) => Value::from(*is),
        Json::Number(number) => Value::from(
            number
                .as_i64()
                .ok_or_else(|| format!("TOML has no number {number}"))?,
        ),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(all) => {
            let all = all.iter().map(toml);
            Value::Array(
                all.filter_map(Result::transpose)
                    .collect::<Result<_, _>>()?,
            )
        }
        Json::Object(all) => {
            let mut table = InlineTable::new();
            for (key, value) in all {
                if let Some(value) = toml(value)? {
                    table.insert(key, value);
                }
            }
            Value::InlineTable(table)
        }
    }))
}
