//! What is expected of one packet, held against what the NIC made of it.

use bpf::map::json::typed_bytes;
use bpf::map::{Map, MapSet};
use bpf::run::{Event, EventKind, RedirectTarget};
use serde_json::Value;

use super::checksum;
use super::format::{ElementIs, EventIs, Packet, Redirect};
use super::layers::{Layer, dissect};
use super::packet;
use crate::error::Error;
use crate::mapdiff::hex;
use crate::replay::lanes::Processed;
use crate::report::{Style, hexdump_of};

/// One thing that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What of the outcome: `verdict`, `redirect`, `out`, `ipv4.ttl`, `map passed`, …
    pub field: String,
    /// What the file says.
    pub expected: String,
    /// What was got.
    pub got: String,
    /// Both frames, where a frame differs.
    pub frames: Option<(Vec<u8>, Vec<u8>)>,
}

impl Failure {
    pub(super) fn new(
        field: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Failure {
        Failure {
            field: field.into(),
            expected: expected.into(),
            got: got.into(),
            frames: None,
        }
    }

    /// The bytes of both frames, with those that differ marked; empty if no frame differs.
    pub fn hexdump(&self, style: Style) -> String {
        match &self.frames {
            Some((expected, got)) => hexdump_of(["expected", "got"], expected, got, style),
            None => String::new(),
        }
    }
}

/// What is expected of a packet, its texts read.
#[derive(Debug)]
pub struct Expected<'a> {
    packet: &'a Packet,
    out: Out,
    ignore: Vec<Ignored>,
    meta: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Out {
    Any,
    Same,
    Frame(Vec<u8>),
}

#[derive(Debug)]
enum Ignored {
    Bytes(std::ops::Range<usize>),
    Field {
        layer: &'static Layer,
        field: &'static str,
    },
}

impl<'a> Expected<'a> {
    /// Reads the texts of a packet's expectations.
    ///
    /// # Errors
    /// The key, and why its text means nothing.
    pub fn new(packet: &'a Packet) -> Result<Expected<'a>, String> {
        let out = match packet.out.as_deref() {
            None => Out::Any,
            Some("same") => Out::Same,
            Some(text) => Out::Frame(packet::frame(text).map_err(|e| format!("`out`: {e}"))?),
        };
        let ignore = packet
            .ignore
            .iter()
            .map(|text| ignored(text))
            .collect::<Result<_, _>>()?;
        let meta = packet.meta.as_deref().map(packet::hex).transpose();
        Ok(Expected {
            packet,
            out,
            ignore,
            meta: meta.map_err(|e| format!("`meta`: {e}"))?,
        })
    }

    /// What of an outcome is not as expected; `maps` are the names by index.
    ///
    /// # Errors
    /// If the bytes of an event are not hexadecimal digits.
    pub fn outcome(&self, got: &Processed<'_>, maps: &[String]) -> Result<Vec<Failure>, Error> {
        let mut failures = Vec::new();
        let nic = &got.nic;
        if let Some(trap) = nic.trap {
            failures.push(Failure::new("trap", "none", trap.cause.to_string()));
        }
        if let Some(name) = &self.packet.verdict
            && name != nic.verdict.name()
        {
            failures.push(Failure::new("verdict", name, nic.verdict.name()));
        }
        if let Some(expected) = &self.packet.redirect {
            let target = redirect(nic.redirect, maps);
            if target.as_ref() != Some(expected) {
                let got = target.map_or_else(|| "none".to_owned(), |t| redirect_text(&t));
                failures.push(Failure::new("redirect", redirect_text(expected), got));
            }
        }
        match &self.out {
            Out::Any => {}
            Out::Same => self.frames(got.original, nic.frame, &mut failures),
            Out::Frame(expected) => self.frames(expected, nic.frame, &mut failures),
        }
        if self.packet.checksums {
            for (sum, on_ipv4) in checksum::all(nic.frame) {
                if !sum.holds(on_ipv4) {
                    let field = format!("{}.checksum", sum.layer);
                    let [right, is] = [sum.right, sum.is].map(|n| format!("{n:#06x}"));
                    failures.push(Failure::new(field, format!("{right}, which is right"), is));
                }
            }
        }
        if let Some(expected) = &self.meta
            && expected != nic.meta
        {
            failures.push(Failure::new("meta", hex(expected), hex(nic.meta)));
        }
        if let Some(expected) = &self.packet.events {
            events(expected, got.events, maps, &mut failures)?;
        }
        Ok(failures)
    }

    /// Compares frames field by field, in the layers of the expected one.
    fn frames(&self, expected: &[u8], got: &[u8], failures: &mut Vec<Failure>) {
        let ignored = self.ignored_in(expected);
        // What is ignored is equal, so that it is not marked either.
        let mut alike = got.to_vec();
        for range in ignored {
            let end = range.end.min(expected.len()).min(got.len());
            let range = range.start.min(end)..end;
            alike[range.clone()].copy_from_slice(&expected[range]);
        }
        if alike == expected {
            return;
        }
        let before = failures.len();
        if expected.len() != got.len() {
            let [a, b] = [expected.len(), got.len()].map(|n| format!("{n} bytes"));
            failures.push(Failure::new("length", a, b));
        }
        let layers = dissect(expected);
        for found in &layers {
            for field in found.layer.fields {
                let [a, b] = [expected, &alike[..]]
                    .map(|frame| frame.get(found.start..).and_then(|bytes| field.get(bytes)));
                if a != b {
                    let [a, b] =
                        [a, b].map(|n| n.map_or_else(|| "not there".to_owned(), |n| field.text(n)));
                    let name = format!("{}.{}", found.layer.name, field.name);
                    failures.push(Failure::new(name, a, b));
                }
            }
        }
        let start = layers.last().map_or(0, |found| found.end);
        let rest = |frame: &[u8]| frame.get(start..).unwrap_or_default().to_vec();
        let (a, b) = (rest(expected), rest(&alike));
        if a != b && a.len().max(b.len()) > 0 {
            let at = a
                .iter()
                .zip(&b)
                .position(|(x, y)| x != y)
                .unwrap_or(a.len().min(b.len()));
            let byte = |bytes: &[u8]| {
                let byte = bytes
                    .get(at)
                    .map_or_else(|| "end".to_owned(), |b| format!("{b:02x}"));
                format!("{byte} at byte {}", start + at)
            };
            failures.push(Failure::new("payload", byte(&a), byte(&b)));
        }
        if failures.len() == before {
            failures.push(Failure::new("out", hex(expected), hex(got)));
        }
        if let Some(last) = failures.last_mut() {
            last.frames = Some((expected.to_vec(), alike));
        }
    }

    fn ignored_in(&self, frame: &[u8]) -> Vec<std::ops::Range<usize>> {
        let layers = dissect(frame);
        let mut ranges = Vec::new();
        for ignored in &self.ignore {
            match ignored {
                Ignored::Bytes(range) => ranges.push(range.clone()),
                Ignored::Field { layer, field } => {
                    let Some(field) = layer.field(field) else {
                        continue;
                    };
                    for found in layers.iter().filter(|found| found.layer == *layer) {
                        let start = found.start + field.bit / 8;
                        let end = found.start + (field.bit + field.bits).div_ceil(8);
                        ranges.push(start..end);
                    }
                }
            }
        }
        ranges
    }

    /// What maps hold that is not as expected.
    ///
    /// # Errors
    /// If there is no such map, or a key or value does not fit it.
    pub fn maps(&self, maps: &MapSet) -> Result<Vec<Failure>, String> {
        let mut failures = Vec::new();
        for (name, elements) in &self.packet.maps {
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
            for is in elements {
                let failure = element(map, is)
                    .map_err(|why| format!("`maps.{name}`, key {}: {why}", is.key))?;
                failures.extend(failure.map(|(expected, got)| {
                    Failure::new(format!("map {name}, key {}", is.key), expected, got)
                }));
            }
        }
        Ok(failures)
    }
}

fn ignored(text: &str) -> Result<Ignored, String> {
    if let Some((from, to)) = text.split_once("..")
        && let (Ok(from), Ok(to)) = (from.parse::<usize>(), to.parse::<usize>())
        && from < to
    {
        return Ok(Ignored::Bytes(from..to));
    }
    let (layer, name) = text.split_once('.').unwrap_or((text, ""));
    let wrong = |why: String| format!("`ignore`: `{text}`: {why}");
    let layer = Layer::by_name(layer).ok_or_else(|| {
        wrong("expected layer.field, as in ipv4.id, or bytes FROM..TO".to_owned())
    })?;
    let field = layer.field(name).ok_or_else(|| {
        let names: Vec<&str> = layer.fields.iter().map(|f| f.name).collect();
        wrong(format!("{} has {}", layer.name, names.join(", ")))
    })?;
    Ok(Ignored::Field {
        layer,
        field: field.name,
    })
}

fn redirect(target: Option<RedirectTarget>, maps: &[String]) -> Option<Redirect> {
    let to_map = |map: usize, key| Redirect {
        ifindex: None,
        map: Some(maps.get(map).cloned().unwrap_or_default()),
        key,
    };
    Some(match target? {
        RedirectTarget::Ifindex { ifindex } | RedirectTarget::Via { ifindex, .. } => Redirect {
            ifindex: Some(ifindex),
            map: None,
            key: None,
        },
        RedirectTarget::Map { map, key } => to_map(map, Some(key)),
        RedirectTarget::All { map, .. } => to_map(map, None),
    })
}

fn redirect_text(redirect: &Redirect) -> String {
    match (redirect.ifindex, &redirect.map, redirect.key) {
        (Some(ifindex), ..) => format!("ifindex {ifindex}"),
        (None, Some(map), Some(key)) => format!("map {map}, key {key}"),
        (None, map, _) => format!("map {}, every key", map.as_deref().unwrap_or("")),
    }
}

/// An event: its map, if it goes through one, and its bytes.
type Handed<'a> = (Option<&'a str>, Vec<u8>);

fn events(
    expected: &[EventIs],
    got: &[Event],
    maps: &[String],
    failures: &mut Vec<Failure>,
) -> Result<(), Error> {
    let expected: Vec<Handed<'_>> = expected
        .iter()
        .map(|event| {
            let bytes = match (&event.bytes, &event.text) {
                (Some(digits), _) => {
                    packet::hex(digits).map_err(|e| Error::input(format!("`events`: {e}")))?
                }
                (None, text) => text.clone().unwrap_or_default().into_bytes(),
            };
            Ok((event.map.as_deref(), bytes))
        })
        .collect::<Result<_, Error>>()?;
    let got: Vec<Handed<'_>> = got
        .iter()
        .map(|event| match event.kind {
            EventKind::Perf { map } | EventKind::Ringbuf { map } => {
                (maps.get(map).map(String::as_str), event.bytes.clone())
            }
            EventKind::Trace => (None, event.bytes.clone()),
        })
        .collect();
    let text = |event: Option<&Handed<'_>>| match event {
        None => "none".to_owned(),
        Some((Some(map), bytes)) => format!("{map}: {}", hex(bytes)),
        Some((None, bytes)) => format!("text {:?}", String::from_utf8_lossy(bytes)),
    };
    for at in 0..expected.len().max(got.len()) {
        let (a, b) = (expected.get(at), got.get(at));
        if a != b {
            failures.push(Failure::new(format!("event {at}"), text(a), text(b)));
        }
    }
    Ok(())
}

/// Both texts if the element is not as expected.
fn element(map: &Map, is: &ElementIs) -> Result<Option<(String, String)>, String> {
    let def = map.def();
    let key = typed_bytes(&is.key, def.key_size as usize, def.key_layout.as_deref())
        .map_err(|e| format!("the key: {e}"))?;
    let value = |value: &Value| {
        typed_bytes(value, def.value_size as usize, def.value_layout.as_deref())
            .map_err(|e| format!("the value: {e}"))
    };
    let got = map.host_lookup(&key).ok();
    let shown = |value: Option<&Vec<u8>>| value.map_or_else(|| "absent".to_owned(), |v| hex(v));
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
            let mut bytes = Vec::new();
            for one in all {
                bytes.extend(value(one)?);
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
            bytes.resize(map.host_value_size(), 0);
            Some(bytes)
        }
        (None, None) => None,
    };
    Ok((expected != got).then(|| (shown(expected.as_ref()), shown(got.as_ref()))))
}
