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
//!     "rules":    [ { "key": "0x0a000001", "value": { "id": 7, "ports": [80, 443] } } ],
//!     "waiting":  [ { "value": 5 }, { "value": 6 } ]
//!   }
//! }
//! ```
//!
//! A key or value is written as
//! * a number: a little-endian integer of the key's or value's size (at most 8 bytes), negative
//!   ones in two's complement; `true` and `false` are 1 and 0;
//! * a string of hexadecimal digits, with or without `0x` and spaces: the bytes in the order in which they
//!   lie in memory;
//! * a list of numbers from 0 to 255: the bytes one by one;
//! * in a longest-prefix map also a string `ADDRESS/LENGTH`;
//! * where the object's BTF tells the type ([`Layout`](crate::map::Layout)): an object for a
//!   structure, with a value for each member (missing ones are zero, of a union one is given), a
//!   list of values for an array (missing ones are zero), and a name for an enumeration. The
//!   values inside are written as here; a string is the bytes in memory order, whatever the
//!   type, so an address reads as on the wire.
//!
//! A per-CPU map takes `values`, one for each CPU (missing ones are zero), or one `value` for all
//! of them. Queues and stacks have no `key`; their values are pushed in the order of the list. A
//! global of text is a plain string. What is there already stays unless it is named.
//!
//! [`dump`] writes keys of arrays as numbers and everything else as hexadecimal; elements of
//! arrays that are all zero are left out. Its result can be given to [`apply`] again.

mod bytes;
mod dump;
mod seed;
mod typed;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use bytes::{BytesError, bytes, global_bytes};
pub use dump::dump;
pub use seed::apply;
pub use typed::{key_bytes, typed_bytes};

use super::Errno;

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
    /// Program by name, in a `prog_array` (or, beside `ifindex`, in a devmap).
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
