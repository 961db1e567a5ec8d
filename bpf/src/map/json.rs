//! Contents of maps as JSON: seeds before a run (`--maps`), dumps after it (`--maps-out`).
//!
//! ```json
//! {
//!   "globals": { "limit": 100, "banner": "hello", "table": "0x00010203" },
//!   "maps": {
//!     "flows":    [ { "key": "0x0a000001", "value": 7 } ],
//!     "per_cpu":  [ { "key": 0, "values": [1, 2, 3] } ],
//!     "prefixes": [ { "key": "10.0.0.0/8", "value": 1 } ],
//!     "jumps":    [ { "key": 2, "program": "parse_ipv6" } ],
//!     "outer":    [ { "key": 0, "map": "inner_a" } ],
//!     "ports":    [ { "key": 1, "ifindex": 2 } ],
//!     "waiting":  [ { "value": 5 }, { "value": 6 } ]
//!   }
//! }
//! ```
//!
//! A key or value is written as
//! * a number: a little-endian integer of the key's or value's size (at most 8 bytes), negative
//!   ones in two's complement; `true` and `false` are 1 and 0;
//! * a string of hexadecimal digits, with or without `0x`: the bytes in the order in which they
//!   lie in memory;
//! * a list of numbers from 0 to 255: the bytes one by one;
//! * in a longest-prefix map also a string `ADDRESS/LENGTH`.
//!
//! A per-CPU map takes `values`, one for each CPU (missing ones are zero), or one `value` for all
//! of them. Queues and stacks have no `key`; their values are pushed in the order of the list. A
//! global of text is a plain string. What is there already stays unless it is named.
//!
//! [`dump`] writes keys of arrays as numbers and everything else as hexadecimal; elements of
//! arrays that are all zero are left out. Its result can be given to [`apply`] again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DataSection, Errno, Map, MapId, MapSet, MapType};
use crate::program::{Global, GlobalKind};

/// Contents of maps and global variables, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapsJson {
    /// Global variables of .data and .bss.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub globals: BTreeMap<String, Value>,
    /// Elements of the maps.
    #[serde(default)]
    pub maps: BTreeMap<String, Vec<EntryJson>>,
}

/// One element of a map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryJson {
    /// Key; absent for queues and stacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// Value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Values of the CPUs, in a per-CPU map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Value>>,
    /// Program by name, in a prog_array (or, beside `ifindex`, in a devmap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Map by name, in a map-in-map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// Interface index, in a devmap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifindex: Option<u32>,
}

/// Why JSON cannot be put into maps.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON of this form.
    #[error("not a file of maps: {0}")]
    Json(#[from] serde_json::Error),
    /// There is no map of this name.
    #[error("there is no map `{map}`; there are: {}", have.join(", "))]
    NoMap {
        /// The name.
        map: String,
        /// Names that exist.
        have: Vec<String>,
    },
    /// An entry lacks what its map needs.
    #[error("map {map}, entry {index}: expected {expected}")]
    Field {
        /// Map name.
        map: String,
        /// Index in its list.
        index: usize,
        /// What the map takes.
        expected: &'static str,
    },
    /// A key or value cannot be read.
    #[error("map {map}, entry {index}: {field} {problem}")]
    Bytes {
        /// Map name.
        map: String,
        /// Index in its list.
        index: usize,
        /// `key`, `value` or `values`.
        field: &'static str,
        /// What is wrong.
        problem: BytesError,
    },
    /// An entry names a program or map that does not exist.
    #[error("map {map}, entry {index}: there is no {what} `{target}`")]
    NoTarget {
        /// Map name.
        map: String,
        /// Index in its list.
        index: usize,
        /// `program` or `map`.
        what: &'static str,
        /// The name.
        target: String,
    },
    /// The map does not take the element, for Linux's reason.
    #[error("map {map}, entry {index}: the map does not take it: {}", why(*.errno))]
    Refused {
        /// Map name.
        map: String,
        /// Index in its list.
        index: usize,
        /// What Linux answers.
        errno: Errno,
    },
    /// There is no global variable of this name.
    #[error("there is no global variable `{name}`")]
    NoGlobal {
        /// The name.
        name: String,
    },
    /// A constant: the verifier has relied on its value.
    #[error(
        "global variable `{name}` is in .rodata, which is fixed before verification: set it with --global"
    )]
    Constant {
        /// The name.
        name: String,
    },
    /// The value of a global variable cannot be read.
    #[error("global variable `{name}`: value {problem}")]
    Global {
        /// The name.
        name: String,
        /// What is wrong.
        problem: BytesError,
    },
}

/// Why a JSON value is not the bytes that are expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// Neither number, string nor list of bytes.
    #[error("is neither a number, hexadecimal digits nor a list of bytes")]
    Kind,
    /// Something else than pairs of hexadecimal digits.
    #[error("`{text}` is not pairs of hexadecimal digits")]
    Hex {
        /// What stands there.
        text: String,
    },
    /// Another number of bytes.
    #[error("has {got} bytes, expected are {expected}")]
    Length {
        /// How many it has.
        got: usize,
        /// How many are expected.
        expected: usize,
    },
    /// A number that does not fit.
    #[error("{number} does not fit into {bytes} bytes")]
    Range {
        /// The number, as written.
        number: String,
        /// Size of the field.
        bytes: usize,
    },
    /// A list with something else than numbers from 0 to 255.
    #[error("has something else than a number from 0 to 255 at position {at}")]
    List {
        /// Position in the list, from 0.
        at: usize,
    },
    /// A prefix that is none, or does not fit the key.
    #[error("`{text}` is no prefix that fits a key of {bytes} bytes")]
    Prefix {
        /// What stands there.
        text: String,
        /// Key size.
        bytes: usize,
    },
}

/// The errors that an entry can meet, in words.
fn why(errno: Errno) -> &'static str {
    match errno {
        Errno::E2big => "the index is outside, or the map is full (E2BIG)",
        Errno::Enospc => "the map is full (ENOSPC)",
        Errno::Einval => "the key or value is not valid there (EINVAL)",
        Errno::Eoverflow => "the queue is too long (EOVERFLOW)",
        Errno::Enotsupp => "this type of map takes no elements from the host (ENOTSUPP)",
        _ => "Linux refuses it",
    }
}

impl MapsJson {
    /// Reads the text.
    ///
    /// # Errors
    /// [`JsonError::Json`] with line and column.
    pub fn from_json(text: &str) -> Result<MapsJson, JsonError> {
        Ok(serde_json::from_str(text)?)
    }
}

fn number_bytes(text: String, number: i128, size: usize) -> Result<Vec<u8>, BytesError> {
    let bits = 8 * size.min(8) as u32;
    let fits = bits > 0 && number < 1 << bits && number >= -(1 << (bits - 1));
    if !fits {
        return Err(BytesError::Range {
            number: text,
            bytes: size,
        });
    }
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(size.min(8), 0);
    // A field wider than 8 bytes is filled up with the sign.
    bytes.resize(size, if number < 0 { 0xff } else { 0 });
    Ok(bytes)
}

/// The bytes of a field of `size` bytes, as this module describes.
///
/// # Errors
/// [`BytesError`].
pub fn bytes(value: &Value, size: usize) -> Result<Vec<u8>, BytesError> {
    let bytes = match value {
        Value::Bool(set) => return number_bytes(set.to_string(), i128::from(*set), size),
        Value::Number(number) => {
            let text = number.to_string();
            let Ok(integer) = text.parse::<i128>() else {
                return Err(BytesError::Range {
                    number: text,
                    bytes: size,
                });
            };
            return number_bytes(text, integer, size);
        }
        Value::String(text) => hex(text).ok_or_else(|| BytesError::Hex { text: text.clone() })?,
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                byte.as_u64()
                    .and_then(|byte| u8::try_from(byte).ok())
                    .ok_or(BytesError::List { at })
            })
            .collect::<Result<_, _>>()?,
        Value::Null | Value::Object(_) => return Err(BytesError::Kind),
    };
    if bytes.len() != size {
        return Err(BytesError::Length {
            got: bytes.len(),
            expected: size,
        });
    }
    Ok(bytes)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => {
                let digit = |c: &u8| char::from(*c).to_digit(16);
                Some((digit(high)? << 4 | digit(low)?) as u8)
            }
            _ => None,
        })
        .collect()
}

fn to_hex(bytes: &[u8]) -> Value {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    Value::String(text)
}

/// The key of a longest-prefix map for `ADDRESS/LENGTH`.
fn prefix(text: &str, size: usize) -> Option<Vec<u8>> {
    let (address, length) = text.split_once('/')?;
    let mut key = length.parse::<u32>().ok()?.to_le_bytes().to_vec();
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(v4) => key.extend(v4.octets()),
        IpAddr::V6(v6) => key.extend(v6.octets()),
    }
    (key.len() == size).then_some(key)
}

/// One entry on its way into its map.
struct Place<'a> {
    name: &'a str,
    index: usize,
    map: &'a Map,
    entry: &'a EntryJson,
}

impl Place<'_> {
    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Field {
            map: self.name.to_owned(),
            index: self.index,
            expected,
        }
    }

    fn problem(&self, field: &'static str, problem: BytesError) -> JsonError {
        JsonError::Bytes {
            map: self.name.to_owned(),
            index: self.index,
            field,
            problem,
        }
    }

    fn no_target(&self, what: &'static str, target: &str) -> JsonError {
        JsonError::NoTarget {
            map: self.name.to_owned(),
            index: self.index,
            what,
            target: target.to_owned(),
        }
    }

    fn refused(&self, errno: Errno) -> JsonError {
        JsonError::Refused {
            map: self.name.to_owned(),
            index: self.index,
            errno,
        }
    }

    fn key(&self) -> Result<Vec<u8>, JsonError> {
        let size = self.map.def().key_size as usize;
        let Some(key) = &self.entry.key else {
            return Err(self.expected("a `key`"));
        };
        if self.map.kind() == MapType::LpmTrie
            && let Value::String(text) = key
            && text.contains('/')
        {
            return prefix(text, size).ok_or_else(|| {
                let text = text.clone();
                self.problem("key", BytesError::Prefix { text, bytes: size })
            });
        }
        bytes(key, size).map_err(|problem| self.problem("key", problem))
    }

    /// The one value, of the size a program sees.
    fn value(&self) -> Result<Vec<u8>, JsonError> {
        let Some(value) = &self.entry.value else {
            return Err(self.expected("a `value`"));
        };
        bytes(value, self.map.def().value_size as usize)
            .map_err(|problem| self.problem("value", problem))
    }

    /// The values of all CPUs.
    fn values(&self) -> Result<Vec<u8>, JsonError> {
        let size = self.map.def().value_size as usize;
        let room = size.next_multiple_of(8);
        let mut all = Vec::with_capacity(self.map.host_value_size());
        if let Some(values) = &self.entry.values {
            if values.len() > self.map.cpus() as usize {
                return Err(self.expected("no more `values` than there are CPUs (queues)"));
            }
            for value in values {
                let value =
                    bytes(value, size).map_err(|problem| self.problem("values", problem))?;
                all.extend(value);
                all.resize(all.len().next_multiple_of(8), 0);
            }
        } else {
            let value = self.value()?;
            for _ in 0..self.map.cpus() {
                all.extend(&value);
                all.resize(all.len().next_multiple_of(8), 0);
            }
        }
        all.resize(room * self.map.cpus() as usize, 0);
        Ok(all)
    }

    /// A field of the entry that this type of map does not take.
    fn foreign(&self) -> Option<&'static str> {
        let kind = self.map.kind();
        let devmap = matches!(kind, MapType::Devmap | MapType::DevmapHash);
        let entry = self.entry;
        if entry.map.is_some() && !matches!(kind, MapType::ArrayOfMaps | MapType::HashOfMaps) {
            return Some("no `map`: this is no map of maps");
        }
        if entry.program.is_some() && kind != MapType::ProgArray && !devmap {
            return Some("no `program`: this is neither a prog_array nor a devmap");
        }
        if entry.ifindex.is_some() && !devmap {
            return Some("no `ifindex`: this is no devmap");
        }
        if entry.values.is_some() && !kind.is_percpu() {
            return Some("no `values`: this is no per-CPU map");
        }
        None
    }
}

/// Puts contents into maps and global variables. `program` gives the number by which a program
/// is known to whoever runs it (in a devmap 0 means none). What comes before an error has been put in.
///
/// # Errors
/// [`JsonError`], naming the map, the index of the entry and what was expected.
pub fn apply(
    maps: &MapSet,
    globals: &[Global],
    json: &MapsJson,
    mut program: impl FnMut(&str) -> Option<u32>,
) -> Result<(), JsonError> {
    for (name, value) in &json.globals {
        apply_global(maps, globals, name, value)?;
    }
    for (name, entries) in &json.maps {
        let id = maps.by_name(name).ok_or_else(|| JsonError::NoMap {
            map: name.clone(),
            have: maps.iter().map(|map| map.def().name.clone()).collect(),
        })?;
        let Some(map) = maps.get(id) else { continue };
        for (index, entry) in entries.iter().enumerate() {
            let place = Place {
                name,
                index,
                map,
                entry,
            };
            apply_entry(maps, id, &place, &mut program)?;
        }
    }
    Ok(())
}

fn apply_entry(
    maps: &MapSet,
    id: MapId,
    place: &Place<'_>,
    program: &mut dyn FnMut(&str) -> Option<u32>,
) -> Result<(), JsonError> {
    let (map, entry) = (place.map, place.entry);
    if let Some(foreign) = place.foreign() {
        return Err(place.expected(foreign));
    }
    let mut number = |name: &str| program(name).ok_or_else(|| place.no_target("program", name));
    let result = match map.kind() {
        MapType::Queue | MapType::Stack => {
            if entry.key.is_some() {
                return Err(place.expected("no `key`: queues and stacks have none"));
            }
            map.push(&place.value()?, 0)
        }
        MapType::ProgArray => {
            let Some(name) = &entry.program else {
                return Err(place.expected("a `program` by name"));
            };
            map.host_update(&place.key()?, &number(name)?.to_le_bytes(), 0)
        }
        MapType::ArrayOfMaps | MapType::HashOfMaps => {
            let Some(name) = &entry.map else {
                return Err(place.expected("a `map` by name"));
            };
            let inner = maps
                .by_name(name)
                .ok_or_else(|| place.no_target("map", name))?;
            maps.put_inner(id, &place.key()?, inner, 0)
        }
        MapType::Devmap | MapType::DevmapHash if entry.value.is_none() => {
            let Some(ifindex) = entry.ifindex else {
                return Err(place.expected("an `ifindex`"));
            };
            let mut value = ifindex.to_le_bytes().to_vec();
            if let Some(name) = &entry.program {
                value.extend(number(name)?.to_le_bytes());
            } else {
                value.resize(map.def().value_size as usize, 0);
            }
            map.host_update(&place.key()?, &value, 0)
        }
        kind if kind.is_percpu() => map.host_update(&place.key()?, &place.values()?, 0),
        _ => map.host_update(&place.key()?, &place.value()?, 0),
    };
    result.map_err(|errno| place.refused(errno))
}

fn apply_global(
    maps: &MapSet,
    globals: &[Global],
    name: &str,
    value: &Value,
) -> Result<(), JsonError> {
    let no_global = || JsonError::NoGlobal {
        name: name.to_owned(),
    };
    let global = globals
        .iter()
        .find(|global| global.name == name)
        .ok_or_else(no_global)?;
    let map = maps.get(global.map).ok_or_else(no_global)?;
    if map.def().data == Some(DataSection::Rodata) {
        return Err(JsonError::Constant {
            name: name.to_owned(),
        });
    }
    let bytes = global_bytes(global, value).map_err(|problem| JsonError::Global {
        name: name.to_owned(),
        problem,
    })?;
    let at = map.array().and_then(|array| array.at(0, 0));
    at.and_then(|at| map.memory().write(at.0 + global.offset as usize, &bytes))
        .ok_or_else(no_global)
}

/// The bytes of a global variable for a JSON value: for text a plain string, filled up with
/// NULs; else as for keys and values.
///
/// # Errors
/// [`BytesError`].
pub fn global_bytes(global: &Global, value: &Value) -> Result<Vec<u8>, BytesError> {
    let size = global.size as usize;
    match (global.kind, value) {
        (GlobalKind::Text, Value::String(text)) => {
            if text.len() > size {
                return Err(BytesError::Length {
                    got: text.len(),
                    expected: size,
                });
            }
            let mut bytes = text.clone().into_bytes();
            bytes.resize(size, 0);
            Ok(bytes)
        }
        _ => bytes(value, size),
    }
}

/// The JSON value of a global variable.
fn global_value(global: &Global, bytes: &[u8]) -> Value {
    let number = |fill: u8| {
        let mut word = [fill; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    match global.kind {
        GlobalKind::Bool if bytes.len() == 1 => Value::Bool(bytes != [0]),
        GlobalKind::Unsigned if bytes.len() <= 8 => number(0).into(),
        GlobalKind::Signed if bytes.len() <= 8 => {
            let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
            (number(if negative { 0xff } else { 0 }) as i64).into()
        }
        GlobalKind::Text => {
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            match std::str::from_utf8(&bytes[..end]) {
                // Bytes after the end would be lost.
                Ok(text) if bytes[end..].iter().all(|b| *b == 0) => text.into(),
                _ => Value::Array(bytes.iter().map(|b| Value::from(*b)).collect()),
            }
        }
        _ => to_hex(bytes),
    }
}

/// All contents of maps and global variables. `program` gives the name of a program by its
/// number. Maps that hold global variables are left out where `globals` names them; ring
/// buffers and perf event arrays have nothing to dump.
pub fn dump(
    maps: &MapSet,
    globals: &[Global],
    mut program: impl FnMut(u32) -> Option<String>,
) -> MapsJson {
    let mut json = MapsJson::default();
    for global in globals {
        let Some(map) = maps.get(global.map) else {
            continue;
        };
        let mut bytes = vec![0; global.size as usize];
        let at = map.array().and_then(|array| array.at(0, 0));
        if map.def().data != Some(DataSection::Rodata)
            && let Some(at) = at
            && map
                .memory()
                .read(at.0 + global.offset as usize, &mut bytes)
                .is_some()
        {
            json.globals
                .insert(global.name.clone(), global_value(global, &bytes));
        }
    }
    for (id, map) in maps.iter().enumerate() {
        let named = map.def().data.is_some() && globals.iter().any(|global| global.map == id);
        let constant = map.def().data == Some(DataSection::Rodata);
        let silent = matches!(map.kind(), MapType::Ringbuf | MapType::PerfEventArray);
        if !(named || constant || silent) {
            let entries = dump_map(maps, map, &mut program);
            json.maps.insert(map.def().name.clone(), entries);
        }
    }
    json
}

fn dump_map(
    maps: &MapSet,
    map: &Map,
    program: &mut dyn FnMut(u32) -> Option<String>,
) -> Vec<EntryJson> {
    let kind = map.kind();
    if matches!(kind, MapType::Queue | MapType::Stack) {
        return map
            .host_values()
            .iter()
            .map(|value| EntryJson {
                value: Some(to_hex(value)),
                ..EntryJson::default()
            })
            .collect();
    }
    let indexed = !matches!(
        kind,
        MapType::Hash
            | MapType::PercpuHash
            | MapType::LruHash
            | MapType::LruPercpuHash
            | MapType::LpmTrie
            | MapType::HashOfMaps
    );
    let array = matches!(kind, MapType::Array | MapType::PercpuArray);
    // Not all keys at once: an array may have many, nearly all of them zero.
    let keys: Box<dyn Iterator<Item = Vec<u8>>> = if array {
        Box::new((0..map.def().max_entries).map(|index| index.to_le_bytes().to_vec()))
    } else {
        Box::new(map.host_keys().into_iter())
    };
    let mut entries = Vec::new();
    for key in keys {
        let Some(value) = map.element(&key) else {
            continue;
        };
        if array && value.iter().all(|byte| *byte == 0) {
            continue;
        }
        let number = super::index_of(value.get(..4).unwrap_or(&[]));
        let mut entry = EntryJson {
            key: Some(match super::index_of(&key) {
                Some(index) if indexed => index.into(),
                _ => to_hex(&key),
            }),
            ..EntryJson::default()
        };
        match kind {
            MapType::ProgArray => entry.program = number.and_then(&mut *program),
            MapType::ArrayOfMaps | MapType::HashOfMaps => {
                entry.map = number
                    .and_then(|id| maps.get(id as usize))
                    .map(|inner| inner.def().name.clone());
            }
            MapType::Devmap | MapType::DevmapHash => {
                entry.ifindex = number;
                entry.program = value
                    .get(4..8)
                    .and_then(super::index_of)
                    .filter(|number| *number != 0)
                    .and_then(&mut *program);
            }
            _ if kind.is_percpu() => {
                let size = map.def().value_size as usize;
                entry.values = Some(
                    value
                        .chunks(size.next_multiple_of(8).max(1))
                        .map(|chunk| to_hex(chunk.get(..size).unwrap_or(chunk)))
                        .collect(),
                );
            }
            _ => entry.value = Some(to_hex(&value)),
        }
        entries.push(entry);
    }
    entries
}
