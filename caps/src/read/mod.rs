//! Profiles and `--set` values from TOML text, held against the schema.

mod value;
mod whole;

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::domain::{Domain, near};
use crate::profile::{Caps, Known, Place, ProfileError, RecordFormat};
use crate::schema::{self, Found, Kind};
use crate::value::{Fact, Trust};
use value::{Read, unknown_name};

pub(crate) use value::set_value;
pub(crate) use whole::complete;

/// Where errors are placed: a file's text, or a command-line option.
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    file: &'a str,
    /// Text that spans point into; `None` for a command-line option.
    text: Option<&'a str>,
}

impl Origin<'_> {
    fn at(&self, span: &Range<usize>) -> Place {
        Place {
            file: self.file.to_owned(),
            line: self.text.map(|text| {
                let before = text.as_bytes().iter().take(span.start);
                before.filter(|b| **b == b'\n').count() + 1
            }),
        }
    }
}

/// Reads a whole profile.
pub(crate) fn profile(file: &str, text: &str) -> Result<Caps, ProfileError> {
    let origin = Origin {
        file,
        text: Some(text),
    };
    let table = DeTable::parse(text).map_err(|error| ProfileError::Syntax {
        at: origin.at(&error.span().unwrap_or(0..0)),
        message: error.message().to_owned(),
    })?;
    let mut reader = Reader {
        origin,
        identity: BTreeMap::new(),
        remarks: Vec::new(),
        facts: BTreeMap::new(),
        places: BTreeMap::new(),
    };
    reader.table("", table.get_ref())?;
    reader.finish()
}

/// Identity keys: plain text at the top of a profile.
const IDENTITY: [&str; 4] = ["summary", "vendor", "backend", "record"];

struct Reader<'a> {
    origin: Origin<'a>,
    identity: BTreeMap<&'static str, String>,
    remarks: Vec<String>,
    facts: BTreeMap<String, Fact>,
    places: BTreeMap<String, Place>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), ProfileError> {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let at = self.origin.at(&name.span());
            if let Some(identity) = IDENTITY.iter().copied().find(|known| *known == key) {
                let text = plain_text(&key, value, &self.origin)?;
                if identity == "record" {
                    record_format(&text, at)?;
                }
                self.identity.insert(identity, text);
            } else if key == "remarks" {
                self.remarks = texts(&key, value, &self.origin)?;
            } else if let Some(found) = schema::find(&key)
                && is_fact(found.row.kind, value.get_ref())
            {
                check_helper(&found, &key, &at)?;
                let fact = fact(&key, found.row.kind, value, &self.origin)?;
                self.facts.insert(key.clone(), fact);
                self.places.insert(key, at);
            } else if schema::is_table(&key) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.table(&format!("{key}."), inner)?,
                    other => {
                        return Err(ProfileError::Type {
                            at,
                            key,
                            found: other.type_str().to_owned(),
                            expected: "a table of facts".to_owned(),
                        });
                    }
                }
            } else {
                return Err(unknown_key(key, at));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Caps, ProfileError> {
        let file = self.origin.file.to_owned();
        let mut take = |key: &'static str, doc: &'static str| {
            self.identity.remove(key).ok_or(ProfileError::Missing {
                file: file.clone(),
                key: key.to_owned(),
                doc,
            })
        };
        let summary = take("summary", "one line for humans")?;
        let vendor = take("vendor", "who makes it")?;
        let backend = take("backend", "name of the backend that translates for it")?;
        let record = take("record", "form of the device's record: nicbed or nfp")?;
        let at = Place {
            file: file.clone(),
            line: None,
        };
        let caps = Caps {
            name: stem(&file).to_owned(),
            file: file.clone(),
            summary,
            vendor,
            backend,
            record: record_format(&record, at)?,
            remarks: self.remarks,
            facts: self.facts,
        };
        complete(&caps, &file, &|key| {
            self.places.get(key).cloned().unwrap_or(Place {
                file: file.clone(),
                line: None,
            })
        })?;
        Ok(caps)
    }
}

/// The file's last part without `.toml`.
fn stem(file: &str) -> &str {
    let last = file.rsplit(['/', '\\']).next().unwrap_or(file);
    last.strip_suffix(".toml").unwrap_or(last)
}

pub(crate) fn record_format(text: &str, at: Place) -> Result<RecordFormat, ProfileError> {
    match text {
        "nicbed" => Ok(RecordFormat::Nicbed),
        "nfp" => Ok(RecordFormat::Nfp),
        other => Err(ProfileError::Name {
            at,
            key: "record".to_owned(),
            what: "record format",
            value: other.to_owned(),
            known: Box::new(Known {
                near: Vec::new(),
                allowed: "nicbed, nfp".to_owned(),
            }),
        }),
    }
}

pub(crate) fn unknown_key(key: String, at: Place) -> ProfileError {
    let known = schema::all_keys();
    let known = known
        .iter()
        .map(String::as_str)
        .chain(IDENTITY)
        .chain(["remarks"]);
    let near = near(&key, known);
    ProfileError::UnknownKey { at, key, near }
}

/// A constraint must be of a helper that exists.
pub(crate) fn check_helper(found: &Found<'_>, key: &str, at: &Place) -> Result<(), ProfileError> {
    let Some(name) = found.helper else {
        return Ok(());
    };
    if bpf::helper::id_by_name(name).is_some() {
        return Ok(());
    }
    Err(unknown_name(key, Domain::Helpers, name, at.clone()))
}

/// Whether the value under a key that names a row is the fact itself (and not a table of
/// longer keys).
fn is_fact(kind: Kind, value: &DeValue<'_>) -> bool {
    match (kind, value) {
        (Kind::Absent, DeValue::Table(table)) => table.contains_key("value"),
        _ => true,
    }
}

fn plain_text(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    origin: &Origin<'_>,
) -> Result<String, ProfileError> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(ProfileError::Type {
            at: origin.at(&value.span()),
            key: key.to_owned(),
            found: other.type_str().to_owned(),
            expected: "text".to_owned(),
        }),
    }
}

fn texts(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    origin: &Origin<'_>,
) -> Result<Vec<String>, ProfileError> {
    match value.get_ref() {
        DeValue::Array(items) => items
            .iter()
            .map(|item| plain_text(key, item, origin))
            .collect(),
        other => Err(ProfileError::Type {
            at: origin.at(&value.span()),
            key: key.to_owned(),
            found: other.type_str().to_owned(),
            expected: "a list of texts".to_owned(),
        }),
    }
}

fn fact(
    key: &str,
    kind: Kind,
    value: &Spanned<DeValue<'_>>,
    origin: &Origin<'_>,
) -> Result<Fact, ProfileError> {
    let at = origin.at(&value.span());
    let DeValue::Table(table) = value.get_ref() else {
        return Err(ProfileError::Type {
            at,
            key: key.to_owned(),
            found: value.get_ref().type_str().to_owned(),
            expected: "{ value = …, source = \"…\" }".to_owned(),
        });
    };
    let limit_keys: &[&str] = match kind {
        Kind::Limit(..) => &["unit", "scope", "granule"],
        _ => &[],
    };
    for (name, _) in table {
        let name_text = name.get_ref().as_ref();
        let known = ["value", "source", "trust"];
        let mut all = known.iter().chain(limit_keys).copied();
        if !all.any(|k| k == name_text) {
            return Err(ProfileError::UnknownKey {
                at: origin.at(&name.span()),
                key: format!("{key}.{name_text}"),
                near: near(name_text, known.iter().chain(limit_keys).copied()),
            });
        }
    }
    let inner = table.get("value").ok_or_else(|| ProfileError::Missing {
        file: at.to_string(),
        key: format!("{key}.value"),
        doc: "what the fact says",
    })?;
    let read = Read {
        key,
        kind,
        table: Some(table),
        origin: *origin,
    };
    let value = read.value(inner)?;
    let source = match table.get("source") {
        Some(source) => plain_text(&format!("{key}.source"), source, origin)?,
        None => String::new(),
    };
    if source.trim().is_empty() {
        return Err(ProfileError::NoSource {
            at,
            key: key.to_owned(),
        });
    }
    let trust = match table.get("trust") {
        Some(word) => read.word("trust", word, &Trust::ALL.map(|t| (t.name(), t)))?,
        None if source.starts_with("modelled") => Trust::Modelled,
        None => Trust::Read,
    };
    Ok(Fact {
        value,
        source,
        trust,
    })
}
