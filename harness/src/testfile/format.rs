//! The form of a test file: TOML, every key known.

use std::collections::BTreeMap;
use std::ops::Range;

use bpf::run::Via;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::seeds::Seeds;

/// A test file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Object, from the file's folder.
    pub object: String,
    /// Program; the object's only one if absent.
    pub program: Option<String>,
    /// NICs: built-in names, or paths of profiles from the file's folder.
    pub nics: Vec<String>,
    /// What outcomes are compared with; every test runs with each.
    #[serde(default)]
    pub reference: References,
    /// Hook of the program, where its section does not say it.
    pub hook: Option<HookName>,
    /// BTF that CO-RE relocations are resolved against: a file from this one's folder, or
    /// `kernel`.
    pub btf: Option<String>,
    /// Routes for `bpf_fib_lookup`, from this file's folder.
    pub fib: Option<String>,
    /// Bytes of a tc packet that are linear at entry; all if absent.
    pub linear: Option<u32>,
    /// Receive queues.
    #[serde(default = "one")]
    pub queues: u32,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Interface indices of the NIC's ports; empty means 1 alone.
    #[serde(default)]
    pub ports: Vec<u32>,
    /// Values of global variables, set before verification.
    #[serde(default)]
    pub globals: BTreeMap<String, Value>,
    /// Sizes of maps, in entries.
    #[serde(default)]
    pub map_entries: BTreeMap<String, u32>,
    /// Contents of maps at the start of every test, as `run --maps` has them.
    #[serde(default)]
    pub maps: BTreeMap<String, Vec<Value>>,
    /// The same from a JSON file, from this file's folder.
    pub maps_file: Option<String>,
    /// NICs that do not take the program, each with the rule of the first error.
    #[serde(default)]
    pub fallback: BTreeMap<String, String>,
    /// The tests.
    #[serde(rename = "test")]
    pub tests: Vec<Test>,
}

const fn one() -> u32 {
    1
}

/// A reference by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceName {
    /// interp, with rbpf as second opinion.
    #[default]
    Auto,
    /// The checked interpreter.
    Interp,
    /// The crate rbpf.
    Rbpf,
    /// This machine's kernel.
    Kernel,
    /// None.
    None,
}

impl ReferenceName {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            ReferenceName::Auto => "auto",
            ReferenceName::Interp => "interp",
            ReferenceName::Rbpf => "rbpf",
            ReferenceName::Kernel => "kernel",
            ReferenceName::None => "none",
        }
    }
}

/// One reference, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected auto, interp, rbpf, kernel or none, or a list of them"
)]
pub enum References {
    /// One.
    One(ReferenceName),
    /// Several.
    Several(Vec<ReferenceName>),
}

impl Default for References {
    fn default() -> References {
        References::One(ReferenceName::default())
    }
}

impl References {
    /// All of them.
    pub fn all(&self) -> &[ReferenceName] {
        match self {
            References::One(one) => std::slice::from_ref(one),
            References::Several(several) => several,
        }
    }
}

/// A hook by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookName {
    /// XDP on a device.
    Xdp,
    /// XDP on a device, frames in several buffers.
    XdpFrags,
    /// tc classifier.
    Tc,
}

/// A test: fresh maps, then packets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What it shows; once in a file.
    pub name: String,
    /// Contents of maps beyond the file's.
    #[serde(default)]
    pub maps: BTreeMap<String, Vec<Value>>,
    /// The packets, in order.
    #[serde(rename = "packet")]
    pub packets: Vec<Packet>,
}

/// A packet, or several of a capture, and what is expected of each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    /// The frame: hexadecimal digits, or layers.
    pub send: Option<String>,
    /// A capture in its place, from the file's folder.
    pub pcap: Option<String>,
    /// Which frames of the capture, from 0; all if absent.
    pub frames: Option<Vec<u64>>,
    /// Port it comes in on.
    #[serde(default = "one")]
    pub port: u32,
    /// Receive queue; that which RSS chooses if absent.
    pub queue: Option<u32>,
    /// Arrival in nanoseconds; that of the packet before (or of the capture) if absent.
    pub at_ns: Option<u64>,
    /// Verdict, by the kernel's name.
    pub verdict: Option<String>,
    /// Where it is redirected to.
    pub redirect: Option<Redirect>,
    /// The frame that leaves: hexadecimal digits with `?` for any, layers, or `same`.
    pub out: Option<String>,
    /// What of the frame, and of copies, is not compared: `layer.field`, bytes `FROM..TO`, each
    /// perhaps with `&MASK`.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Whether every checksum of the frame that leaves must be right.
    #[serde(default)]
    pub checksums: bool,
    /// Metadata in front of the frame, as hexadecimal digits.
    pub meta: Option<String>,
    /// Numbers of a tc packet's context afterwards.
    #[serde(default)]
    pub context: BTreeMap<String, ContextIs>,
    /// Copies of the packet that the program sent, in order.
    pub emitted: Option<Vec<EmittedIs>>,
    /// What the host is handed, in order.
    pub events: Option<Vec<EventIs>>,
    /// What maps hold afterwards; other elements are not looked at.
    #[serde(default)]
    pub maps: BTreeMap<String, Vec<ElementIs>>,
}

/// A redirect: a port, or a slot of a map.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Interface index.
    pub ifindex: Option<u32>,
    /// Name of the map.
    pub map: Option<String>,
    /// Key in the map; absent for every port in it.
    pub key: Option<u64>,
    /// Another way than leaving by the port (tc).
    pub via: Option<Via>,
}

/// A number of a context, or those of `cb`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ContextIs {
    /// A number.
    Number(u64),
    /// The words of `cb`; those left out are not looked at.
    Words(Vec<u32>),
}

/// A copy of a packet that was sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmittedIs {
    /// Interface index of the port.
    pub ifindex: u32,
    /// Whether it came in there instead of leaving by it.
    #[serde(default)]
    pub ingress: bool,
    /// The frame, written as `out`; `same` for the frame that was sent.
    pub out: String,
}

/// An event.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventIs {
    /// Name of the map it goes through; absent for what is printed.
    pub map: Option<String>,
    /// Its bytes as hexadecimal digits, with `?` for any.
    pub bytes: Option<String>,
    /// Its text, for what is printed.
    pub text: Option<String>,
}

/// An element of a map.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElementIs {
    /// Key.
    pub key: Value,
    /// Value; as hexadecimal digits it may have `?` for any.
    pub value: Option<Value>,
    /// Values of the queues, in a per-CPU map; those left out are 0.
    pub values: Option<Vec<Value>>,
    /// Whether there must be no such element.
    #[serde(default)]
    pub absent: bool,
}

impl File {
    /// Parses a test file; `name` is what errors call it.
    ///
    /// # Errors
    /// If it is not TOML of this form (with line and column), or says what cannot be (with test
    /// and packet).
    pub fn parse(name: &str, text: &str) -> Result<File, Error> {
        let file: File = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |at: Range<usize>| {
                text.bytes().take(at.start).filter(|b| *b == b'\n').count() + 1
            });
            Error::input(format!("{name}:{line}: {}", e.message()))
                .help("docs/testing-your-program.md has the form of a test file")
        })?;
        file.check()
            .map_err(|why| Error::input(format!("{name}: {why}")))?;
        Ok(file)
    }

    fn check(&self) -> Result<(), String> {
        if self.nics.is_empty() {
            return Err("`nics`: none is named; `nicbed nic list` shows all".to_owned());
        }
        if self.reference.all().is_empty() {
            return Err("`reference`: none is named; `none` compares with nothing".to_owned());
        }
        if self.tests.is_empty() {
            return Err("`test`: there is none; each begins with [[test]]".to_owned());
        }
        if self.maps_file.is_some() && !(self.maps.is_empty() && self.globals.is_empty()) {
            return Err("`maps_file`: stands in place of `globals` and `maps`".to_owned());
        }
        if let Some(nic) = self.fallback.keys().find(|nic| !self.nics.contains(nic)) {
            return Err(format!("`fallback`: {nic} is not among `nics`"));
        }
        for (at, test) in self.tests.iter().enumerate() {
            let name = &test.name;
            if self.tests[..at].iter().any(|other| other.name == *name) {
                return Err(format!(
                    "test `{name}` is there twice; names tell them apart"
                ));
            }
            for (at, packet) in test.packets.iter().enumerate() {
                packet
                    .check()
                    .map_err(|why| format!("test `{name}`, packet {at}: {why}"))?;
            }
        }
        Ok(())
    }

    /// Globals and maps at the start, as seeds; `name` is what errors call the file.
    ///
    /// # Errors
    /// If an entry has not the form of `run --maps`.
    pub fn seeds(&self, name: &str) -> Result<Seeds, Error> {
        seeds(name, &self.globals, &self.maps)
    }
}

impl Test {
    /// The maps of this test alone, as seeds.
    ///
    /// # Errors
    /// If an entry has not the form of `run --maps`.
    pub fn seeds(&self, file: &str) -> Result<Seeds, Error> {
        let name = format!("{file}: test `{}`", self.name);
        seeds(&name, &BTreeMap::new(), &self.maps)
    }
}

fn seeds(
    name: &str,
    globals: &BTreeMap<String, Value>,
    maps: &BTreeMap<String, Vec<Value>>,
) -> Result<Seeds, Error> {
    let document = serde_json::json!({ "globals": globals, "maps": maps });
    Seeds::parse(name, &document.to_string())
}

impl Packet {
    /// Whether nothing is said of what becomes of it.
    pub fn expects_nothing(&self) -> bool {
        let one = [&self.verdict, &self.out, &self.meta];
        one.into_iter().all(Option::is_none)
            && self.redirect.is_none()
            && self.events.is_none()
            && self.emitted.is_none()
            && self.context.is_empty()
            && self.maps.is_empty()
            && !self.checksums
    }

    fn check(&self) -> Result<(), String> {
        match (&self.send, &self.pcap) {
            (None, None) => return Err("`send` or `pcap` is missing".to_owned()),
            (Some(_), Some(_)) => return Err("`send` and `pcap`: one of them".to_owned()),
            (Some(_), None) if self.frames.is_some() => {
                return Err("`frames` are those of a `pcap`".to_owned());
            }
            _ => {}
        }
        if let Some(name) = &self.verdict
            && !VERDICTS.contains(&name.as_str())
        {
            let names = VERDICTS.join(", ");
            return Err(format!("`verdict`: there is no {name}; there are {names}"));
        }
        if let Some(to) = &self.redirect {
            match (to.ifindex, &to.map, to.key, to.via) {
                (Some(_), None, None, _) | (None, Some(_), _, None) => {}
                _ => {
                    return Err(
                        "`redirect`: either `ifindex`, perhaps with `via`, or `map` and `key`"
                            .to_owned(),
                    );
                }
            }
        }
        for event in self.events.iter().flatten() {
            if event.bytes.is_some() == event.text.is_some() {
                return Err("`events`: each has either `bytes` or `text`".to_owned());
            }
        }
        for (map, elements) in &self.maps {
            for element in elements {
                let told = [
                    element.value.is_some(),
                    element.values.is_some(),
                    element.absent,
                ];
                if told.iter().filter(|is| **is).count() != 1 {
                    return Err(format!(
                        "`maps.{map}`: key {} needs one of `value`, `values` and `absent = true`",
                        element.key
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Verdicts by name.
const VERDICTS: [&str; 15] = [
    "XDP_ABORTED",
    "XDP_DROP",
    "XDP_PASS",
    "XDP_TX",
    "XDP_REDIRECT",
    "TC_ACT_UNSPEC",
    "TC_ACT_OK",
    "TC_ACT_RECLASSIFY",
    "TC_ACT_SHOT",
    "TC_ACT_PIPE",
    "TC_ACT_STOLEN",
    "TC_ACT_QUEUED",
    "TC_ACT_REPEAT",
    "TC_ACT_REDIRECT",
    "TC_ACT_TRAP",
];
