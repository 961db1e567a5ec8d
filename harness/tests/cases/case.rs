//! Reading a case: its header, its facts, its program.

use std::collections::BTreeMap;

use bpf::map::MapSet;
use bpf::map::json::{self, EntryJson, MapsJson};
use bpf::object::{LoadOptions, load};
use bpf::{Hook, ProgramSet};
use serde::Deserialize;

use crate::engines::Engine;
use crate::fact::{self, Fact};

/// Bytes of the packet where the header gives none.
const DEFAULT_PACKET: [u8; 64] = [0; 64];

/// The lines `;;! …`, as TOML.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The engines; all where it is absent.
    run: Option<Vec<Engine>>,
    /// Engines that cannot run the case, and why.
    #[serde(default)]
    without: BTreeMap<Engine, String>,
    /// `xdp`, `tc` or `raw`.
    hook: Option<String>,
    /// Bytes of a tc packet that are linear at entry.
    linear: Option<u32>,
    /// The packet, in hexadecimal.
    packet: Option<String>,
    /// Several packets, instead of one.
    packets: Option<Vec<String>>,
    /// Seeds of maps, as `--maps` takes them.
    #[serde(default)]
    maps: BTreeMap<String, Vec<EntryJson>>,
    /// Seed of the map `words`: consecutive numbers of 8 bytes.
    #[serde(default)]
    words: Vec<serde_json::Value>,
}

/// A case as read from its file.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) engines: Vec<Engine>,
    pub(crate) programs: ProgramSet,
    pub(crate) packets: Vec<Vec<u8>>,
    /// Bytes of a tc packet that are linear at entry.
    pub(crate) linear: Option<u32>,
    seeds: MapsJson,
    words: Vec<u64>,
    /// The facts, with their line.
    pub(crate) facts: Vec<(usize, Fact)>,
    /// Rules that reject the program, by the line they stand on.
    pub(crate) rejections: Vec<(usize, String)>,
    /// Whether the case says why an engine is left out.
    pub(crate) without: BTreeMap<Engine, String>,
}

impl Case {
    /// Reads a case; all that is wrong with it, in words.
    pub(crate) fn read(name: &str, text: &str) -> Result<Case, Vec<String>> {
        let mut header = String::new();
        let mut facts = Vec::new();
        let mut rejections = Vec::new();
        let mut errors = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if let Some(key) = line.trim_start().strip_prefix(";;!") {
                header.push_str(key);
            } else if let Some(fact) = line.trim_start().strip_prefix(";; expect ") {
                match Fact::read(fact) {
                    Ok(fact) => facts.push((number, fact)),
                    Err(error) => errors.push(format!("line {number}: {error}")),
                }
            } else if let Some((_, rule)) = line.split_once("error[") {
                let rule = rule.split(']').next().unwrap_or("");
                rejections.push((number, rule.to_owned()));
            }
            // Line numbers of the header stay those of the file.
            header.push('\n');
        }
        let header: Header = match toml::from_str(&header) {
            Ok(header) => header,
            Err(error) => {
                errors.push(format!("header: {error}"));
                return Err(errors);
            }
        };
        match Case::build(name, text, header, facts, rejections) {
            Ok(case) if errors.is_empty() => Ok(case),
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(error);
                Err(errors)
            }
        }
    }

    fn build(
        name: &str,
        text: &str,
        header: Header,
        facts: Vec<(usize, Fact)>,
        rejections: Vec<(usize, String)>,
    ) -> Result<Case, String> {
        let packets = match (header.packet, header.packets) {
            (None, None) => vec![DEFAULT_PACKET.to_vec()],
            (Some(packet), None) => vec![fact::hex(&packet)?],
            (None, Some(packets)) => packets
                .iter()
                .map(|packet| fact::hex(packet))
                .collect::<Result<_, _>>()?,
            (Some(_), Some(_)) => {
                return Err("header: packet and packets exclude each other".into());
            }
        };
        let hook = match header.hook.as_deref() {
            None | Some("xdp") => None,
            Some("raw") => Some(Hook::Raw {
                memory_bytes: packets[0].len() as u32,
            }),
            Some("tc") => Some(Hook::TC),
            Some(other) => {
                return Err(format!("header: hook `{other}` is none of xdp, tc and raw"));
            }
        };
        let words = header
            .words
            .iter()
            .map(fact::word)
            .collect::<Result<_, _>>()?;
        let engines = match header.run {
            Some(engines) => engines,
            None => Engine::ALL
                .into_iter()
                .filter(|engine| !header.without.contains_key(engine))
                .collect(),
        };
        let options = LoadOptions {
            hook,
            queues: 1,
            ..LoadOptions::default()
        };
        let programs = load(&format!("{name}.bpf"), text.as_bytes(), &options)
            .map_err(|error| error.to_string())?;
        if let Some(refused) = programs.refused.first() {
            return Err(format!("{}: {}", refused.name, refused.finding.message));
        }
        if facts.is_empty() == rejections.is_empty() {
            return Err("a case expects either facts or a rejection".into());
        }
        Ok(Case {
            name: name.to_owned(),
            engines,
            programs,
            packets,
            linear: header.linear,
            seeds: MapsJson {
                maps: header.maps,
                ..MapsJson::default()
            },
            words,
            facts,
            rejections,
            without: header.without,
        })
    }

    /// Puts the header's contents into maps, and programs into their slots.
    pub(crate) fn seed(&self, maps: &MapSet) -> Result<(), String> {
        let number = |name: &str| {
            let mut programs = self.programs.programs.iter();
            programs.position(|p| p.name == name).map(|n| n as u32)
        };
        maps.fill_programs(number).map_err(|e| e.to_string())?;
        json::apply(maps, &[], &self.seeds, number).map_err(|e| e.to_string())?;
        if !self.words.is_empty() {
            let map = maps.by_name("words").and_then(|id| maps.get(id));
            let map = map.ok_or("header: words, but no map `words`")?;
            let mut value: Vec<u8> = self.words.iter().flat_map(|w| w.to_le_bytes()).collect();
            value.resize(map.def().value_size as usize, 0);
            map.host_update(&[0; 4], &value, 0)
                .map_err(|e| format!("header: words: {e}"))?;
        }
        Ok(())
    }
}
