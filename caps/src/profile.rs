//! [`Caps`]: what one NIC declares, and how a profile becomes one.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::read;
use crate::schema::{self, full_key};
use crate::value::{Bound, By, Fact, Value};

include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// What one NIC declares: a profile, typed.
///
/// Facts are held by their full key (see [`crate::schema`]); the methods of [`Caps`] give those
/// that engines and backends need in a type of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Name: the profile's file name without extension.
    pub name: String,
    /// The profile's file, as findings name it: `profiles/agilio-cx.toml`.
    pub file: String,
    /// One line for humans.
    pub summary: String,
    /// Who makes it.
    pub vendor: String,
    /// Name of the backend that translates for it.
    pub backend: String,
    /// Form of the record that it serves.
    pub record: RecordFormat,
    /// What else a reader should know, one sentence each.
    pub remarks: Vec<String>,
    pub(crate) facts: BTreeMap<String, Fact>,
}

/// Form of the record in which a device declares its capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordFormat {
    /// Our own TLV, see [`crate::record::nicbed`].
    Nicbed,
    /// The NFP's registers and TLV blob, see [`crate::record::nfp`].
    Nfp,
}

impl RecordFormat {
    /// The name in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            RecordFormat::Nicbed => "nicbed",
            RecordFormat::Nfp => "nfp",
        }
    }
}

/// Where in a profile something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// File, or `--set …`.
    pub file: String,
    /// Line from 1, where there is one.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// Why a profile cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No built-in profile has this name.
    #[error("no NIC is named {name}; known are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// Not TOML.
    #[error("{at}: not TOML: {message}")]
    Syntax {
        /// Where.
        at: Place,
        /// What the parser says.
        message: String,
    },
    /// A key that no profile has.
    #[error("{at}: unknown key `{key}`{}", suggest(near))]
    UnknownKey {
        /// Where.
        at: Place,
        /// The key.
        key: String,
        /// Keys that are close.
        near: Vec<String>,
    },
    /// A key that must be there is not.
    #[error("{file}: no key `{key}` ({doc}); write value = \"unknown\" if nobody knows")]
    Missing {
        /// File.
        file: String,
        /// The key.
        key: String,
        /// What it says.
        doc: &'static str,
    },
    /// A value of another type than its key has.
    #[error("{at}: `{key}` is {found}, expected {expected}")]
    Type {
        /// Where.
        at: Place,
        /// The key.
        key: String,
        /// What was found.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// A number outside the interval of its key.
    #[error(
        "{at}: `{key}` is {value}, allowed is {min} to {max}{}",
        alternatives(words)
    )]
    Range {
        /// Where.
        at: Place,
        /// The key.
        key: String,
        /// What was found.
        value: i64,
        /// Least.
        min: u64,
        /// Largest.
        max: u64,
        /// Words allowed instead.
        words: &'static [&'static str],
    },
    /// A word or name that its key does not know.
    #[error(
        "{at}: `{key}` has no {what} `{value}`{}; allowed is {}",
        suggest(&known.near),
        known.allowed
    )]
    Name {
        /// Where.
        at: Place,
        /// The key.
        key: String,
        /// What a value of the key is.
        what: &'static str,
        /// What was found.
        value: String,
        /// What it could have been.
        known: Box<Known>,
    },
    /// A fact without its source.
    #[error("{at}: `{key}` has no `source` (document and section, or \"modelled: why\")")]
    NoSource {
        /// Where.
        at: Place,
        /// The key.
        key: String,
    },
    /// A fact in a layer that cannot hold it.
    #[error(
        "{at}: a record of format {record} cannot declare `{key}`; write it as `driver.{key}` or `model.{key}`"
    )]
    NotDeclarable {
        /// Where.
        at: Place,
        /// The key.
        key: String,
        /// The record format.
        record: &'static str,
    },
    /// Values that do not go together.
    #[error("{at}: `{key}` is {value}, but {why}")]
    Conflict {
        /// Where.
        at: Place,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What speaks against it.
        why: &'static str,
    },
    /// `--set` without `=`.
    #[error("--set {text}: expected KEY=VALUE, KEY+=NAME or KEY-=NAME")]
    Assignment {
        /// What was given.
        text: String,
    },
}

/// The names that a key knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Those that are close to what was found, best first.
    pub near: Vec<String>,
    /// All of them, or how many there are.
    pub allowed: String,
}

fn suggest(near: &[String]) -> String {
    if near.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", near.join(" or "))
    }
}

pub(crate) fn alternatives(words: &[&str]) -> String {
    words.iter().fold(String::new(), |mut text, word| {
        let _ = write!(text, " or \"{word}\"");
        text
    })
}

/// Names of the built-in profiles, sorted.
pub fn builtin_names() -> &'static [&'static str] {
    NAMES
}

/// The text of the built-in profile of this name.
pub fn builtin_text(name: &str) -> Option<&'static str> {
    PROFILES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// The built-in profile of this name.
///
/// # Errors
/// [`ProfileError::Unknown`].
pub fn builtin(name: &str) -> Result<Caps, ProfileError> {
    let text = builtin_text(name).ok_or_else(|| ProfileError::Unknown {
        name: name.to_owned(),
        known: builtin_names().join(", "),
    })?;
    Caps::from_toml(&format!("profiles/{name}.toml"), text)
}

impl Caps {
    /// Reads a profile. `file` is where its text came from: errors name it, and the NIC's name
    /// is its last part without `.toml`.
    ///
    /// # Errors
    /// [`ProfileError`] with the first thing that is wrong, and its line.
    pub fn from_toml(file: &str, text: &str) -> Result<Caps, ProfileError> {
        read::profile(file, text)
    }

    /// The facts of a row in every layer that holds it, the device's first. `key` has no layer.
    pub fn layers(&self, key: &str) -> impl Iterator<Item = (By, &Fact)> {
        let keys = By::ALL.map(|by| (by, full_key(by, key)));
        keys.into_iter()
            .filter_map(|(by, full)| self.facts.get(&full).map(|fact| (by, fact)))
    }

    /// The fact with this full key.
    pub fn fact(&self, key: &str) -> Option<&Fact> {
        self.facts.get(key)
    }

    /// All facts with their full keys, in the order of the schema, layer by layer.
    pub fn facts(&self) -> Vec<(&str, &Fact)> {
        let mut all: Vec<_> = self.facts.iter().map(|(k, f)| (k.as_str(), f)).collect();
        all.sort_by_key(|(key, _)| {
            let (by, _) = By::split(key);
            let place = schema::find(key).map_or(usize::MAX, |found| {
                schema::ROWS
                    .iter()
                    .position(|row| std::ptr::eq(row, found.row))
                    .unwrap_or(usize::MAX)
            });
            (by, place, (*key).to_owned())
        });
        all
    }

    /// The number of a row: the smallest over the layers that hold it.
    pub(crate) fn bound(&self, key: &str) -> Bound {
        let mut least = None;
        for (_, fact) in self.layers(key) {
            let bound = match &fact.value {
                Value::Number(bound) => *bound,
                Value::Limit(limit) => limit.value,
                _ => Bound::Unknown,
            };
            least = Some(match (least, bound) {
                (Some(Bound::Known(a)), Bound::Known(b)) => Bound::Known(a.min(b)),
                (Some(Bound::Known(a)), _) => Bound::Known(a),
                (_, b) => b,
            });
        }
        least.unwrap_or(Bound::Unknown)
    }
}
