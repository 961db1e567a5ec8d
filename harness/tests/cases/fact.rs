//! One expected fact: how it is written, and whether it holds.

use bpf::Hook;
use bpf::map::{Map, json};
use bpf::run::{EventKind, RedirectTarget};
use cpu_reference::TOLD_BY_TEST_RUN;
use serde_json::Value;

use crate::engines::{Engine, Seen};

/// A fact after `;; expect`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    /// `r0 = N`, of the last packet; `r0[P] = N` of packet P.
    R0 { packet: Option<usize>, value: u64 },
    /// `packet = "hex"`, the last packet's bytes; `packet[P] = …`.
    Packet {
        packet: Option<usize>,
        bytes: Vec<u8>,
    },
    /// `meta = "hex"`: the last packet's metadata.
    Meta { bytes: Vec<u8> },
    /// `words[I] = N`: the I-th 8 bytes in the only value of the map `words`.
    Word { index: usize, value: u64 },
    /// `map NAME[KEY] = VALUE`, or `= none` where the key is absent.
    Element {
        map: String,
        key: Value,
        value: Option<Value>,
    },
    /// `map NAME = [V, V]`: the values of a queue or stack, oldest first.
    Values { map: String, values: Vec<Value> },
    /// `entries NAME = N`.
    Entries { map: String, count: usize },
    /// `redirect = none`, `= ifindex N` or `= map NAME N` of the last packet.
    Redirect { target: Target },
    /// `context NAME = N`, `context cb[I] = N`: a number of the last tc packet's context.
    Context {
        name: String,
        index: usize,
        value: u64,
    },
    /// `emitted N = "hex"`: the only copy of the last packet that was sent, to port N.
    Emitted { ifindex: u32, bytes: Vec<u8> },
    /// `event NAME = "hex"`: the next event, of that map, or `trace`.
    Event { from: String, bytes: Vec<u8> },
    /// `instructions = N`: executed for the last packet, on engines that count.
    Instructions { count: u64 },
}

/// Where a packet is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    None,
    Ifindex(u32),
    /// `ingress`, `peer` or `neighbour`.
    Via(&'static str, u32),
    Map(String, u64),
    All(String),
}

/// Bytes from pairs of hexadecimal digits; spaces between them mean nothing, `xx*N` repeats.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let bad = || format!("`{text}` is not pairs of hexadecimal digits");
    let mut bytes = Vec::new();
    for part in text.split_whitespace() {
        let (digits, times) = match part.split_once('*') {
            Some((digits, times)) => (digits, times.parse().ok().ok_or_else(bad)?),
            None => (part, 1),
        };
        if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
            return Err(bad());
        }
        let part: Option<Vec<u8>> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
            .collect();
        let part = part.ok_or_else(bad)?;
        for _ in 0..times {
            bytes.extend_from_slice(&part);
        }
    }
    Ok(bytes)
}

/// A number of 64 bits: decimal, negative, or hexadecimal with `0x`; `_` between digits.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let text = text.trim().replace('_', "");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, &*text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|error| format!("`{text}`: {error}"))?;
    Ok(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// A number of 64 bits in a header: a number, or a string that holds one.
pub(crate) fn word(value: &Value) -> Result<u64, String> {
    match value {
        Value::String(text) => number(text),
        other => number(&other.to_string()),
    }
}

/// A key or value as `--maps` takes it: hexadecimal bytes in quotes, or a number.
fn field(text: &str) -> Result<Value, String> {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(bytes) => Ok(Value::from(hex(bytes)?)),
        None => number(text).map(Value::from),
    }
}

fn quoted(text: &str) -> Result<Vec<u8>, String> {
    let inside = text
        .trim()
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'));
    hex(inside.ok_or_else(|| format!("expected \"hex\", found {text}"))?)
}

impl Fact {
    /// Reads what stands after `;; expect`, up to a comment.
    pub(crate) fn read(text: &str) -> Result<Fact, String> {
        let text = text.split(" ;").next().unwrap_or("").trim();
        let (left, right) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` has no `=`"))?;
        let (left, right) = (left.trim(), right.trim());
        let (subject, index) = match left.strip_suffix(']').and_then(|l| l.split_once('[')) {
            Some((subject, index)) => (subject, Some(index)),
            None => (left, None),
        };
        let place = || {
            index
                .map(|i| i.parse().ok().ok_or_else(|| format!("index `{i}`")))
                .transpose()
        };
        let mut words = subject.split_whitespace();
        let fact = match (words.next(), words.next()) {
            (Some("r0"), None) => Fact::R0 {
                packet: place()?,
                value: number(right)?,
            },
            (Some("packet"), None) => Fact::Packet {
                packet: place()?,
                bytes: quoted(right)?,
            },
            (Some("meta"), None) => Fact::Meta {
                bytes: quoted(right)?,
            },
            (Some("words"), None) => Fact::Word {
                index: place()?.ok_or("words without an index")?,
                value: number(right)?,
            },
            (Some("instructions"), None) => Fact::Instructions {
                count: number(right)?,
            },
            (Some("entries"), Some(map)) => Fact::Entries {
                map: map.to_owned(),
                count: number(right)? as usize,
            },
            (Some("event"), Some(from)) => Fact::Event {
                from: from.to_owned(),
                bytes: quoted(right)?,
            },
            (Some("context"), Some(name)) => Fact::Context {
                name: name.to_owned(),
                index: place()?.unwrap_or(0),
                value: number(right)?,
            },
            (Some("emitted"), Some(port)) => Fact::Emitted {
                ifindex: number(port)? as u32,
                bytes: quoted(right)?,
            },
            (Some("redirect"), None) => Fact::Redirect {
                target: Target::read(right)?,
            },
            (Some("map"), Some(map)) => {
                let map = map.to_owned();
                if let Some(key) = index {
                    let key = field(key)?;
                    let value = (right != "none").then(|| field(right)).transpose()?;
                    Fact::Element { map, key, value }
                } else {
                    let list = right.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
                    let list = list.ok_or("expected a list of values")?;
                    let parts = list.split(',').filter(|part| !part.trim().is_empty());
                    let values = parts.map(field).collect::<Result<_, _>>()?;
                    Fact::Values { map, values }
                }
            }
            _ => return Err(format!("unknown fact `{left}`")),
        };
        Ok(fact)
    }

    /// Why the fact does not hold, if so.
    pub(crate) fn check(&self, engine: Engine, seen: &Seen, events: &mut usize) -> Option<String> {
        let last = seen.frames.len() - 1;
        match self {
            Fact::R0 { packet, value } => {
                let found = seen.frames.get(packet.unwrap_or(last))?.r0;
                differs("r0", &format!("{found:#x}"), &format!("{value:#x}"))
            }
            Fact::Packet { packet, bytes } => {
                let found = &seen.frames.get(packet.unwrap_or(last))?.bytes;
                differs("packet", &to_hex(found), &to_hex(bytes))
            }
            Fact::Meta { bytes } => {
                differs("meta", &to_hex(&seen.frames[last].meta), &to_hex(bytes))
            }
            Fact::Word { index, value } => {
                let element = seen.map("words").and_then(|m| element(m, &[0; 4]));
                let found = element.as_ref().and_then(|bytes| {
                    let word = bytes.get(8 * index..8 * index + 8)?;
                    Some(u64::from_le_bytes(word.try_into().ok()?))
                });
                let found = found.map_or("none".to_owned(), |word| format!("{word:#x}"));
                differs(&format!("words[{index}]"), &found, &format!("{value:#x}"))
            }
            Fact::Element { map, key, value } => {
                let Some(found) = seen.map(map) else {
                    return Some(format!("there is no map `{map}`"));
                };
                check_element(found, key, value.as_ref())
            }
            Fact::Values { map, values } => {
                let Some(found) = seen.map(map) else {
                    return Some(format!("there is no map `{map}`"));
                };
                let size = found.def().value_size as usize;
                let expected: Result<Vec<String>, _> = values
                    .iter()
                    .map(|v| json::bytes(v, size).map(|b| to_hex(&b)))
                    .collect();
                let found: Vec<String> = found.host_values().iter().map(|v| to_hex(v)).collect();
                match expected {
                    Ok(expected) => differs(map, &found.join(", "), &expected.join(", ")),
                    Err(error) => Some(format!("{map}: {error}")),
                }
            }
            Fact::Entries { map, count } => {
                let found = seen.map(map).map_or(0, Map::host_len);
                differs(
                    &format!("entries {map}"),
                    &found.to_string(),
                    &count.to_string(),
                )
            }
            Fact::Context { name, index, value } => {
                let field = bpf::context::fields(&Hook::TC).iter();
                let Some(field) = field.clone().find(|f| f.name == name) else {
                    return Some(format!("there is no field `{name}`"));
                };
                let offset = usize::from(field.offset) + 4 * index;
                if engine == Engine::Kernel && !TOLD_BY_TEST_RUN.contains(&(offset / 4)) {
                    return None;
                }
                let size = if field.size == 8 { 8 } else { 4 };
                let context = seen.frames[last].context.as_ref()?;
                let found = context.load(offset, size)?;
                differs(name, &format!("{found:#x}"), &format!("{value:#x}"))
            }
            // The kernel tells a test run nothing of it.
            Fact::Redirect { .. } | Fact::Emitted { .. } if engine == Engine::Kernel => None,
            Fact::Emitted { ifindex, bytes } => {
                let found: Vec<String> = seen.frames[last]
                    .emitted
                    .iter()
                    .map(|copy| format!("{} {}", copy.ifindex, to_hex(&copy.bytes)))
                    .collect();
                let expected = format!("{ifindex} {}", to_hex(bytes));
                differs("emitted", &found.join(", "), &expected)
            }
            Fact::Redirect { target } => {
                let found = Target::of(seen.frames[last].redirect, seen);
                differs("redirect", &format!("{found:?}"), &format!("{target:?}"))
            }
            // What the kernel traces goes to a place that other programs share.
            Fact::Event { from, .. } if from == "trace" && engine == Engine::Kernel => None,
            Fact::Event { from, bytes } => {
                let index = *events;
                *events += 1;
                let Some(event) = seen.events.get(index) else {
                    return Some(format!("there are only {index} events"));
                };
                let name = match event.kind {
                    EventKind::Trace => "trace".to_owned(),
                    EventKind::Perf { map } | EventKind::Ringbuf { map } => seen
                        .maps
                        .get(map)
                        .map_or(String::new(), |m| m.def().name.clone()),
                };
                // The kernel pads what goes into a perf channel.
                let padded = engine == Engine::Kernel
                    && matches!(event.kind, EventKind::Perf { .. })
                    && event.bytes.len() < bytes.len() + 8;
                let found = if padded {
                    event.bytes.get(..bytes.len()).unwrap_or(&event.bytes)
                } else {
                    &event.bytes
                };
                let found = format!("{name} {}", to_hex(found));
                differs("event", &found, &format!("{from} {}", to_hex(bytes)))
            }
            Fact::Instructions { count } if engine.counts() => {
                let found = seen.frames[last].instructions;
                differs("instructions", &found.to_string(), &count.to_string())
            }
            Fact::Instructions { .. } => None,
        }
    }
}

impl Target {
    fn read(text: &str) -> Result<Target, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        Ok(match words.as_slice() {
            ["none"] => Target::None,
            ["ifindex", n] => Target::Ifindex(number(n)? as u32),
            ["ingress", n] => Target::Via("ingress", number(n)? as u32),
            ["peer", n] => Target::Via("peer", number(n)? as u32),
            ["neighbour", n] => Target::Via("neighbour", number(n)? as u32),
            ["map", name, key] => Target::Map((*name).to_owned(), number(key)?),
            ["all", name] => Target::All((*name).to_owned()),
            _ => return Err(format!("redirect to `{text}`")),
        })
    }

    fn of(target: Option<RedirectTarget>, seen: &Seen) -> Target {
        let name = |map: usize| {
            seen.maps
                .get(map)
                .map_or(String::new(), |m| m.def().name.clone())
        };
        match target {
            None => Target::None,
            Some(RedirectTarget::Ifindex { ifindex }) => Target::Ifindex(ifindex),
            Some(RedirectTarget::Via { ifindex, via }) => Target::Via(via.name(), ifindex),
            Some(RedirectTarget::Map { map, key }) => Target::Map(name(map), key),
            Some(RedirectTarget::All { map, .. }) => Target::All(name(map)),
        }
    }
}

fn check_element(map: &Map, key: &Value, value: Option<&Value>) -> Option<String> {
    let what = format!("map {}[{key}]", map.def().name);
    let bytes = match json::bytes(key, map.def().key_size as usize) {
        Ok(bytes) => bytes,
        Err(error) => return Some(format!("{what}: key {error}")),
    };
    let found = element(map, &bytes);
    let size = map.def().value_size as usize;
    let expected = match value.map(|value| json::bytes(value, size)).transpose() {
        Ok(expected) => expected,
        Err(error) => return Some(format!("{what}: value {error}")),
    };
    let text = |bytes: Option<Vec<u8>>| bytes.map_or("none".to_owned(), |b| to_hex(&b));
    differs(&what, &text(found), &text(expected))
}

/// An element's value; of a per-CPU map that of CPU 0.
fn element(map: &Map, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = map.host_lookup(key).ok()?;
    value.truncate(map.def().value_size as usize);
    Some(value)
}

/// Bytes as pairs of digits, 16 a group.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let groups: Vec<String> = pairs.chunks(16).map(<[String]>::concat).collect();
    groups.join(" ")
}

fn differs(what: &str, found: &str, expected: &str) -> Option<String> {
    (found != expected).then(|| format!("{what} is {found}, expected {expected}"))
}
