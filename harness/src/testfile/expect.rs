//! What is expected of one packet, held against what the NIC made of it.

use bpf::map::MapSet;
use bpf::run::{Emitted, Event, EventKind, RedirectTarget};
use serde_json::{Value, json};

use super::format::{EmittedIs, Packet, Redirect};
use super::frames::{Ignored, Wanted};
use super::layers::{called, dissect};
use super::pattern::Pattern;
use super::{checksum, context, elements, packet};
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
    /// Both frames (or metadata, or bytes of an event), where they differ.
    pub frames: Option<(Vec<u8>, Vec<u8>)>,
    /// What the file would have to say, where it can.
    pub now: Option<Now>,
}

/// What a packet of a file would have to say to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Where.
    pub key: Key,
    /// What.
    pub value: Value,
}

/// A place in the table of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A key of the packet.
    Of(&'static str),
    /// A number of `context`.
    Context(String),
    /// An element of a map, by its place in the list; its value is a table of `value`, `values`
    /// or `absent`.
    Element {
        /// Name of the map.
        map: String,
        /// Place among its elements in the file.
        at: usize,
    },
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
            now: None,
        }
    }

    pub(super) fn now(mut self, key: Key, value: impl Into<Value>) -> Failure {
        self.now = Some(Now {
            key,
            value: value.into(),
        });
        self
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
    out: Option<Frame>,
    ignore: Vec<Ignored>,
    meta: Option<Pattern>,
    emitted: Option<Vec<(&'a EmittedIs, Frame)>>,
    events: Option<Vec<Handed<'a>>>,
}

#[derive(Debug)]
enum Frame {
    Same,
    Wanted(Wanted),
}

/// An event: its map, if it goes through one, and its bytes.
type Handed<'a> = (Option<&'a str>, Pattern);

impl Frame {
    fn parse(text: &str, ignore: &[Ignored]) -> Result<Frame, packet::TextError> {
        Ok(match text {
            "same" => Frame::Same,
            text => Frame::Wanted(Wanted::parse(text)?.without(ignore)),
        })
    }

    fn differences(&self, name: &str, sent: &[u8], ignore: &[Ignored], got: &[u8]) -> Vec<Failure> {
        match self {
            Frame::Same => Wanted::exactly(sent).without(ignore).differences(name, got),
            Frame::Wanted(wanted) => wanted.differences(name, got),
        }
    }
}

/// A frame as a file says it, where `sent` came in.
fn written(sent: &[u8], got: &[u8]) -> String {
    if sent == got {
        "same".to_owned()
    } else {
        packet::describe(got)
    }
}

impl<'a> Expected<'a> {
    /// Reads the texts of a packet's expectations.
    ///
    /// # Errors
    /// The key, and why its text means nothing.
    pub fn new(packet: &'a Packet) -> Result<Expected<'a>, String> {
        let ignore: Vec<Ignored> = packet
            .ignore
            .iter()
            .map(|text| Ignored::parse(text))
            .collect::<Result<_, _>>()?;
        let frame = |key: &'static str, text: &str| {
            Frame::parse(text, &ignore).map_err(|e| format!("`{key}`: {e}"))
        };
        let out = packet.out.as_deref().map(|text| frame("out", text));
        let emitted = packet.emitted.as_ref().map(|all| {
            let all = all.iter();
            all.map(|is| Ok::<_, String>((is, frame("emitted", &is.out)?)))
                .collect::<Result<Vec<_>, _>>()
        });
        let meta = packet.meta.as_deref().map(Pattern::parse);
        let events = packet.events.as_ref().map(|all| {
            let all = all.iter().map(|event| {
                let bytes = match (&event.bytes, &event.text) {
                    (Some(digits), _) => Pattern::parse(digits)?,
                    (None, text) => Pattern::exactly(text.clone().unwrap_or_default().into_bytes()),
                };
                Ok((event.map.as_deref(), bytes))
            });
            all.collect::<Result<_, packet::TextError>>()
        });
        Ok(Expected {
            packet,
            out: out.transpose()?,
            emitted: emitted.transpose()?,
            meta: meta.transpose().map_err(|e| format!("`meta`: {e}"))?,
            events: events.transpose().map_err(|e| format!("`events`: {e}"))?,
            ignore,
        })
    }

    /// What of an outcome is not as expected; `maps` are the names by index.
    ///
    /// # Errors
    /// If the context has no field that is named.
    pub fn outcome(&self, got: &Processed<'_>, maps: &[String]) -> Result<Vec<Failure>, String> {
        let mut failures = Vec::new();
        let nic = &got.nic;
        if let Some(trap) = nic.trap {
            failures.push(Failure::new("trap", "none", trap.cause.to_string()));
        }
        let verdict = nic.verdict.name();
        if let Some(name) = &self.packet.verdict
            && name != verdict
        {
            let failure = Failure::new("verdict", name, verdict);
            failures.push(failure.now(Key::Of("verdict"), verdict));
        }
        if let Some(expected) = &self.packet.redirect {
            failures.extend(redirect(expected, redirected(nic.redirect, maps)));
        }
        if let Some(out) = &self.out {
            let mut differences = out.differences("out", got.original, &self.ignore, nic.frame);
            if let Some(last) = differences.last_mut() {
                let text = written(got.original, nic.frame);
                *last = last.clone().now(Key::Of("out"), text);
            }
            failures.extend(differences);
        }
        if self.packet.checksums {
            failures.extend(checksums(nic.frame));
        }
        if let Some(expected) = &self.meta
            && !expected.holds(nic.meta)
        {
            let mut failure = Failure::new("meta", expected.text(), hex(nic.meta));
            failure.frames = Some(expected.beside(nic.meta));
            failures.push(failure.now(Key::Of("meta"), hex(nic.meta)));
        }
        failures.extend(context::failures(&self.packet.context, nic.context)?);
        if let Some(expected) = &self.emitted {
            failures.extend(self.emitted(expected, got.original, nic.emitted));
        }
        if let Some(expected) = &self.events {
            failures.extend(events(expected, got.events, maps));
        }
        Ok(failures)
    }

    /// What maps hold that is not as expected.
    ///
    /// # Errors
    /// If there is no such map, or a key or value does not fit it.
    pub fn maps(&self, maps: &MapSet) -> Result<Vec<Failure>, String> {
        elements::failures(&self.packet.maps, maps)
    }

    fn emitted(
        &self,
        expected: &[(&EmittedIs, Frame)],
        sent: &[u8],
        got: &[Emitted],
    ) -> Vec<Failure> {
        let way = |ingress| if ingress { "in at" } else { "out of" };
        let text = |copy: &Emitted| {
            let bytes = copy.bytes.len();
            format!(
                "{bytes} bytes {} ifindex {}",
                way(copy.ingress),
                copy.ifindex
            )
        };
        let mut failures = Vec::new();
        for at in 0..expected.len().max(got.len()) {
            let name = format!("copy {at}");
            match (expected.get(at), got.get(at)) {
                (Some((is, frame)), Some(copy)) => {
                    if (is.ifindex, is.ingress) != (copy.ifindex, copy.ingress) {
                        let wanted = format!("{} ifindex {}", way(is.ingress), is.ifindex);
                        failures.push(Failure::new(&name, wanted, text(copy)));
                    }
                    failures.extend(frame.differences(&name, sent, &self.ignore, &copy.bytes));
                }
                (Some((is, _)), None) => {
                    let wanted = format!("a frame {} ifindex {}", way(is.ingress), is.ifindex);
                    failures.push(Failure::new(name, wanted, "none"));
                }
                (None, Some(copy)) => failures.push(Failure::new(name, "none", text(copy))),
                (None, None) => {}
            }
        }
        if let Some(last) = failures.last_mut() {
            let all: Vec<Value> = got.iter().map(|copy| emitted_now(sent, copy)).collect();
            *last = last.clone().now(Key::Of("emitted"), all);
        }
        failures
    }
}

fn emitted_now(sent: &[u8], copy: &Emitted) -> Value {
    let mut now = json!({ "ifindex": copy.ifindex, "out": written(sent, &copy.bytes) });
    if copy.ingress {
        now["ingress"] = Value::Bool(true);
    }
    now
}

/// What a packet that expects nothing is given to expect: the verdict, where it goes, and the frame.
pub fn first_time(got: &Processed<'_>, maps: &[String]) -> Vec<Now> {
    let now = |key, value: Value| Now {
        key: Key::Of(key),
        value,
    };
    let nic = &got.nic;
    let mut all = vec![now("verdict", nic.verdict.name().into())];
    let target = redirected(nic.redirect, maps);
    all.extend(target.map(|target| now("redirect", redirect_now(&target))));
    all.push(now("out", written(got.original, nic.frame).into()));
    if !nic.emitted.is_empty() {
        let copies = nic.emitted.iter();
        let copies = copies.map(|copy| emitted_now(got.original, copy)).collect();
        all.push(now("emitted", copies));
    }
    if !got.events.is_empty() {
        let events = got.events.iter().map(|event| event_now(event, maps));
        all.push(now("events", events.collect()));
    }
    all
}

fn checksums(frame: &[u8]) -> Vec<Failure> {
    let layers = dissect(frame);
    let wrong = checksum::all(frame, &layers)
        .into_iter()
        .filter(|sum| !sum.holds());
    wrong
        .map(|sum| {
            let field = format!("{}.checksum", called(&layers, sum.layer));
            let [right, is] = [sum.right, sum.is].map(|n| format!("{n:#06x}"));
            Failure::new(field, format!("{right}, which is right"), is)
        })
        .collect()
}

fn redirected(target: Option<RedirectTarget>, maps: &[String]) -> Option<Redirect> {
    let mut to = Redirect {
        ifindex: None,
        map: None,
        key: None,
        via: None,
    };
    let name = |map: usize| maps.get(map).cloned();
    match target? {
        RedirectTarget::Ifindex { ifindex } => to.ifindex = Some(ifindex),
        RedirectTarget::Via { ifindex, via } => {
            (to.ifindex, to.via) = (Some(ifindex), Some(via));
        }
        RedirectTarget::Map { map, key } => (to.map, to.key) = (name(map), Some(key)),
        RedirectTarget::All { map, .. } => to.map = name(map),
    }
    Some(to)
}

fn redirect(expected: &Redirect, got: Option<Redirect>) -> Option<Failure> {
    if got.as_ref() == Some(expected) {
        return None;
    }
    let text = got
        .as_ref()
        .map_or_else(|| "none".to_owned(), redirect_text);
    let failure = Failure::new("redirect", redirect_text(expected), text);
    Some(failure.now(
        Key::Of("redirect"),
        got.map_or(Value::Null, |to| redirect_now(&to)),
    ))
}

fn redirect_text(redirect: &Redirect) -> String {
    let via = redirect
        .via
        .map_or_else(String::new, |via| format!(", {via}"));
    match (redirect.ifindex, &redirect.map, redirect.key) {
        (Some(ifindex), ..) => format!("ifindex {ifindex}{via}"),
        (None, Some(map), Some(key)) => format!("map {map}, key {key}"),
        (None, map, _) => format!("map {}, every key", map.as_deref().unwrap_or("")),
    }
}

fn redirect_now(to: &Redirect) -> Value {
    let parts = [
        ("ifindex", to.ifindex.map(Value::from)),
        ("map", to.map.clone().map(Value::from)),
        ("key", to.key.map(Value::from)),
        ("via", to.via.map(|via| Value::from(via.name()))),
    ];
    let parts = parts.into_iter();
    Value::Object(
        parts
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect(),
    )
}

fn map_of<'a>(event: &Event, maps: &'a [String]) -> Option<&'a str> {
    match event.kind {
        EventKind::Perf { map } | EventKind::Ringbuf { map } => maps.get(map).map(String::as_str),
        EventKind::Trace => None,
    }
}

fn event_now(event: &Event, maps: &[String]) -> Value {
    match (map_of(event, maps), std::str::from_utf8(&event.bytes)) {
        (Some(map), _) => json!({ "map": map, "bytes": hex(&event.bytes) }),
        (None, Ok(text)) => json!({ "text": text }),
        (None, Err(_)) => json!({ "bytes": hex(&event.bytes) }),
    }
}

fn events(expected: &[Handed<'_>], got: &[Event], maps: &[String]) -> Vec<Failure> {
    let wanted = |(map, bytes): &Handed<'_>| match map {
        Some(map) => format!("{map}: {}", bytes.text()),
        None => format!("text {:?}", String::from_utf8_lossy(&bytes.bytes)),
    };
    let text = |event: &Event| match map_of(event, maps) {
        Some(map) => format!("{map}: {}", hex(&event.bytes)),
        None => format!("text {:?}", String::from_utf8_lossy(&event.bytes)),
    };
    let none = || "none".to_owned();
    let mut failures = Vec::new();
    for at in 0..expected.len().max(got.len()) {
        let (a, b) = (expected.get(at), got.get(at));
        let holds = a.zip(b).is_some_and(|((map, bytes), event)| {
            *map == map_of(event, maps) && bytes.holds(&event.bytes)
        });
        if !holds {
            let both = a
                .zip(b)
                .map(|((_, bytes), event)| bytes.beside(&event.bytes));
            let (a, b) = (a.map_or_else(none, wanted), b.map_or_else(none, text));
            failures.push(Failure {
                frames: both,
                ..Failure::new(format!("event {at}"), a, b)
            });
        }
    }
    if let Some(last) = failures.last_mut() {
        let all: Vec<Value> = got.iter().map(|event| event_now(event, maps)).collect();
        *last = last.clone().now(Key::Of("events"), all);
    }
    failures
}
