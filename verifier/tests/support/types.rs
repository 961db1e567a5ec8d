//! Type information for cases: what clang would say of their global functions and map values.
//!
//! `;; global LABEL: ctx, number, mem 8, mem 8 nonnull` describes a function; where one is, the
//! others are static. `;; field MAP: spin_lock 0` puts a special field into a map's value.

use std::collections::BTreeMap;

use bpf::map::MapDef;
use bpf::program::Subprogram;

/// Bytes of a `.BTF` section, made type by type.
pub struct Types {
    records: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
}

impl Types {
    pub fn new() -> Types {
        Types {
            records: Vec::new(),
            strings: vec![0],
            count: 0,
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        at
    }

    fn add(&mut self, name: &str, kind: u32, low: u32, third: u32, extra: &[u32]) -> u32 {
        let name = if name.is_empty() { 0 } else { self.name(name) };
        self.records.extend([name, (kind << 24) | low, third]);
        self.records.extend(extra);
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str, bytes: u32, signed: bool) -> u32 {
        let encoding = (u32::from(signed) << 24) | (bytes * 8);
        self.add(name, 1, 0, bytes, &[encoding])
    }

    fn pointer(&mut self, to: u32) -> u32 {
        self.add("", 2, 0, to, &[])
    }

    fn structure(&mut self, name: &str, bytes: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut extra = Vec::new();
        for (name, ty, offset) in members {
            extra.extend([self.name(name), *ty, offset * 8]);
        }
        self.add(name, 4, members.len() as u32, bytes, &extra)
    }

    fn function(&mut self, name: &str, result: u32, parameters: &[u32], global: bool) -> u32 {
        let mut extra = Vec::new();
        for (at, ty) in parameters.iter().enumerate() {
            extra.extend([self.name(&format!("p{at}")), *ty]);
        }
        let proto = self.add("", 13, parameters.len() as u32, result, &extra);
        self.add(name, 12, u32::from(global), proto, &[])
    }

    fn tag(&mut self, text: &str, on: u32, parameter: u32) {
        self.add(text, 17, 0, on, &[parameter]);
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = self.records.len() as u32 * 4;
        let header = [
            0x0001_eb9f,
            24,
            0,
            length,
            length,
            self.strings.len() as u32,
        ];
        let words = header.iter().chain(&self.records);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(&self.strings);
        bytes
    }
}

/// The special structures by the words that cases use, with their sizes.
fn special(types: &mut Types, word: &str) -> (u32, u32) {
    let int = types.int("unsigned int", 4, false);
    let long = types.int("unsigned long", 8, false);
    match word {
        "spin_lock" => (types.structure("bpf_spin_lock", 4, &[("val", int, 0)]), 4),
        "timer" => {
            let members = [("a", long, 0), ("b", long, 8)];
            (types.structure("bpf_timer", 16, &members), 16)
        }
        other => panic!("unknown field {other}"),
    }
}

/// Headers of one key: what stands before and behind the colon.
fn headers<'t>(text: &'t str, key: &str) -> Vec<(&'t str, &'t str)> {
    text.lines()
        .filter_map(|l| l.strip_prefix(";; ")?.strip_prefix(key)?.split_once(':'))
        .map(|(name, rest)| (name.trim(), rest.trim()))
        .collect()
}

/// Reads the headers of a case: gives maps their value types, and makes the functions and the
/// bytes; `None` where no header asks for types.
pub fn describe(
    text: &str,
    labels: &BTreeMap<String, usize>,
    starts: &[usize],
    end: usize,
    maps: &mut [MapDef],
) -> Option<(Vec<u8>, Vec<Subprogram>)> {
    let globals = headers(text, "global ");
    let fields = headers(text, "field ");
    if globals.is_empty() && fields.is_empty() {
        return None;
    }
    let mut types = Types::new();
    let int = types.int("int", 4, true);
    for def in maps.iter_mut() {
        let mut members = Vec::new();
        for (_, field) in fields.iter().filter(|(map, _)| *map == def.name) {
            let (word, offset) = field.split_once(' ').unwrap();
            let (ty, _) = special(&mut types, word);
            members.push((word, ty, offset.parse().unwrap()));
        }
        if !members.is_empty() {
            def.key_type = int;
            def.value_type = types.structure("value", def.value_size, &members);
        }
    }
    let mut functions = Vec::new();
    for (at, start) in starts.iter().enumerate() {
        let label = labels.iter().find(|(_, pc)| **pc == *start);
        let name = label.map_or("test", |(name, _)| name.as_str());
        let described = globals.iter().find(|(label, _)| *label == name);
        let (btf_type, global) = match described {
            Some((_, parameters)) => (global(&mut types, int, name, parameters), true),
            None => (types.function(name, int, &[], *start == 0), *start == 0),
        };
        functions.push(Subprogram {
            name: name.to_owned(),
            start: *start,
            end: starts.get(at + 1).copied().unwrap_or(end),
            global,
            btf_type,
        });
    }
    Some((types.bytes(), functions))
}

fn global(types: &mut Types, int: u32, name: &str, parameters: &str) -> u32 {
    let mut list = Vec::new();
    let mut tags = Vec::new();
    let (parameters, result) = match parameters.split_once("->") {
        Some((parameters, "void")) => (parameters, 0),
        Some((parameters, _)) => {
            let object = types.structure("result", 8, &[]);
            (parameters, types.pointer(object))
        }
        None => (parameters, int),
    };
    let words = parameters
        .split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty());
    for (at, parameter) in words.enumerate() {
        let mut words = parameter.split(' ');
        let ty = match words.next().unwrap() {
            "number" => int,
            "ctx" => {
                let context = types.structure("xdp_md", 24, &[]);
                types.pointer(context)
            }
            "void" => types.pointer(0),
            "struct" => types.structure("by_value", 8, &[]),
            "mem" => {
                let bytes = words.next().unwrap().parse().unwrap();
                let object = types.structure("object", bytes, &[]);
                types.pointer(object)
            }
            other => panic!("unknown parameter {other}"),
        };
        list.push(ty);
        tags.extend(words.map(|tag| (format!("arg:{tag}"), at as u32)));
    }
    let function = types.function(name, result, &list, true);
    for (tag, at) in tags {
        types.tag(&tag, function, at);
    }
    function
}
