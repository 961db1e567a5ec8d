//! Profiles and `--set` values from TOML text, held against the schema.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::domain::{Domain, near};
use crate::profile::{Caps, Known, Place, ProfileError, RecordFormat, alternatives};
use crate::schema::{self, Found, Kind, Need};
use crate::value::{Bound, By, Fact, Limit, Names, Scope, Trust, Unit, Value};

/// Longest interval end that a profile can write.
const INTERVAL: i64 = 1 << 48;

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

/// Holds a whole profile against the schema: is everything there, does it go together?
pub(crate) fn complete(
    caps: &Caps,
    file: &str,
    place: &dyn Fn(&str) -> Place,
) -> Result<(), ProfileError> {
    let costs_unknown = caps.facts.contains_key("model.cycles");
    for row in schema::ROWS {
        let must = match row.need {
            Need::Always | Need::Model => true,
            Need::Cost => !costs_unknown,
            Need::Nfp => caps.record == RecordFormat::Nfp,
            Need::NfpOptional | Need::ModelOptional | Need::Optional => false,
        };
        if must && caps.layers(row.key).next().is_none() {
            let key = match row.need {
                Need::Model | Need::Cost => schema::full_key(By::Model, row.key),
                _ if caps.record == RecordFormat::Nfp && !crate::record::nfp::declares(row.key) => {
                    schema::full_key(By::Driver, row.key)
                }
                _ => row.key.to_owned(),
            };
            return Err(ProfileError::Missing {
                file: file.to_owned(),
                key,
                doc: row.doc,
            });
        }
    }
    for key in caps.facts.keys() {
        let (by, rest) = By::split(key);
        if by != By::Device {
            continue;
        }
        let declarable = match (caps.record, schema::find(key)) {
            (RecordFormat::Nicbed, Some(found)) => found.row.tag != 0,
            (RecordFormat::Nfp, Some(found)) => crate::record::nfp::declares(found.row.key),
            (_, None) => true,
        };
        if !declarable {
            return Err(ProfileError::NotDeclarable {
                at: place(key),
                key: rest.to_owned(),
                record: caps.record.name(),
            });
        }
    }
    consistent(caps, place)
}

/// Values that contradict each other.
fn consistent(caps: &Caps, place: &dyn Fn(&str) -> Place) -> Result<(), ProfileError> {
    let pairs = [
        (
            "packet.headroom_usable_bytes",
            "packet.headroom_bytes",
            "that is more than packet.headroom_bytes",
        ),
        (
            "packet.frame_min_bytes",
            "packet.frame_max_bytes",
            "that is more than packet.frame_max_bytes",
        ),
        (
            "queues_default",
            "queues_max",
            "that is more than model.queues_max",
        ),
    ];
    for (low, high, why) in pairs {
        if let (Bound::Known(a), Bound::Known(b)) = (caps.bound(low), caps.bound(high))
            && a > b
        {
            let key = caps
                .layers(low)
                .next()
                .map_or_else(|| low.to_owned(), |(by, _)| schema::full_key(by, low));
            return Err(ProfileError::Conflict {
                at: place(&key),
                key,
                value: a.to_string(),
                why,
            });
        }
    }
    if caps.record == RecordFormat::Nfp {
        crate::record::nfp::expressible(caps).map_err(|(key, why)| ProfileError::Conflict {
            at: place(key),
            key: key.to_owned(),
            value: caps
                .fact(key)
                .map_or_else(String::new, |fact| fact.value.to_string()),
            why,
        })?;
    }
    Ok(())
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

/// Reads the value that `--set` gives for a fact that may already be there.
pub(crate) fn set_value(
    key: &str,
    kind: Kind,
    text: &str,
    before: Option<&Value>,
) -> Result<Value, ProfileError> {
    let file = format!("--set {key}");
    let origin = Origin {
        file: &file,
        text: None,
    };
    let document = format!("value = {text}");
    let quoted = format!("value = {}", toml::Value::String(text.to_owned()));
    let table = DeTable::parse(&document).or_else(|_| DeTable::parse(&quoted));
    let table = table.map_err(|error| ProfileError::Syntax {
        at: origin.at(&(0..0)),
        message: error.message().to_owned(),
    })?;
    let Some(inner) = table.get_ref().get("value") else {
        return Err(ProfileError::Assignment {
            text: format!("{key}={text}"),
        });
    };
    let read = Read {
        key,
        kind,
        table: None,
        origin,
    };
    // A list may be given as words with commas, a limit as its number alone.
    if let (Kind::Names(domain), DeValue::String(words)) = (kind, inner.get_ref())
        && words != "all"
        && words != "unknown"
    {
        let names = words
            .split(',')
            .map(str::trim)
            .filter(|w| !w.is_empty() && *w != "none")
            .map(|w| read.name(domain, w, &(0..0)))
            .collect::<Result<_, _>>()?;
        return Ok(Value::Names(Names::List(names)));
    }
    if let (Kind::Limit(..), Some(Value::Limit(limit))) = (kind, before)
        && !matches!(inner.get_ref(), DeValue::Table(_))
    {
        let value = read.bound(inner, 0, 1 << 48, LIMIT_WORDS)?;
        return Ok(Value::Limit(Limit { value, ..*limit }));
    }
    if let (Kind::Limit(..), DeValue::Table(table)) = (kind, inner.get_ref()) {
        let read = Read {
            table: Some(table),
            ..read
        };
        let value = table.get("value").ok_or_else(|| ProfileError::Missing {
            file: file.clone(),
            key: format!("{key}.value"),
            doc: "how much",
        })?;
        return read.value(value);
    }
    read.value(inner)
}

/// Words that a limit can have instead of a number.
const LIMIT_WORDS: &[&str] = &["unlimited", "unknown"];

/// Reads one value of one key.
struct Read<'a> {
    key: &'a str,
    kind: Kind,
    /// The table of the fact, where unit, scope and granule of a limit stand.
    table: Option<&'a DeTable<'a>>,
    origin: Origin<'a>,
}

impl Read<'_> {
    fn value(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, ProfileError> {
        let is_unknown = matches!(value.get_ref(), DeValue::String(word) if word == "unknown");
        match self.kind {
            Kind::Number(min, max, words) => Ok(Value::Number(self.bound(value, min, max, words)?)),
            Kind::Limit(units, scope) => Ok(Value::Limit(self.limit(value, units, scope)?)),
            _ if is_unknown => Ok(Value::Unknown),
            Kind::Flag => match value.get_ref() {
                DeValue::Boolean(flag) => Ok(Value::Flag(*flag)),
                _ => Err(self.wrong(value, "true, false or \"unknown\"")),
            },
            Kind::Choice(words) => {
                let pairs: Vec<_> = words.iter().map(|w| (*w, *w)).collect();
                let word = self.word("value", value, &pairs)?;
                Ok(Value::Choice(word.to_owned()))
            }
            Kind::Names(domain) => self.names(value, domain),
            Kind::Interval => self.interval(value),
            Kind::Absent => Err(self.wrong(value, "\"unknown\"")),
        }
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, expected: &str) -> ProfileError {
        ProfileError::Type {
            at: self.origin.at(&value.span()),
            key: self.key.to_owned(),
            found: match value.get_ref() {
                DeValue::String(text) => format!("{text:?}"),
                other => other.type_str().to_owned(),
            },
            expected: expected.to_owned(),
        }
    }

    fn bound(
        &self,
        value: &Spanned<DeValue<'_>>,
        min: u64,
        max: u64,
        words: &'static [&'static str],
    ) -> Result<Bound, ProfileError> {
        match value.get_ref() {
            DeValue::Integer(_) => {
                let number = self.integer(value)?;
                match u64::try_from(number) {
                    Ok(n) if (min..=max).contains(&n) => Ok(Bound::Known(n)),
                    _ => Err(ProfileError::Range {
                        at: self.origin.at(&value.span()),
                        key: self.key.to_owned(),
                        value: number,
                        min,
                        max,
                        words,
                    }),
                }
            }
            DeValue::String(word) if words.contains(&word.as_ref()) => {
                let bounds = [Bound::Unlimited, Bound::Host, Bound::Unknown];
                bounds
                    .into_iter()
                    .find(|b| b.word() == Some(word.as_ref()))
                    .ok_or_else(|| self.wrong(value, "a number"))
            }
            _ => Err(self.wrong(value, &format!("{min} to {max}{}", alternatives(words)))),
        }
    }

    fn integer(&self, value: &Spanned<DeValue<'_>>) -> Result<i64, ProfileError> {
        match value.get_ref() {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_too_large| self.wrong(value, "a number of 64 bits")),
            _ => Err(self.wrong(value, "a number")),
        }
    }

    fn limit(
        &self,
        value: &Spanned<DeValue<'_>>,
        units: &[Unit],
        scope: Scope,
    ) -> Result<Limit, ProfileError> {
        let bound = self.bound(value, 0, 1 << 48, LIMIT_WORDS)?;
        let part = |name: &str| self.table.and_then(|t| t.get(name));
        let missing = |name: &str, doc: &'static str| ProfileError::Missing {
            file: self.origin.at(&value.span()).to_string(),
            key: format!("{}.{name}", self.key),
            doc,
        };
        let unit = part("unit").ok_or_else(|| missing("unit", "what the limit counts"))?;
        let allowed: Vec<_> = units.iter().map(|u| (u.name(), *u)).collect();
        let unit = self.word("unit", unit, &allowed)?;
        let written = part("scope").ok_or_else(|| missing("scope", "what is counted together"))?;
        self.word("scope", written, &[(scope.name(), scope)])?;
        let granule = match part("granule") {
            None => 1,
            Some(granule) => {
                let number = self.integer(granule)?;
                match u64::try_from(number) {
                    Ok(n) if (1..=1 << 20).contains(&n) => n,
                    _ => {
                        return Err(ProfileError::Range {
                            at: self.origin.at(&granule.span()),
                            key: format!("{}.granule", self.key),
                            value: number,
                            min: 1,
                            max: 1 << 20,
                            words: &[],
                        });
                    }
                }
            }
        };
        Ok(Limit {
            value: bound,
            unit,
            scope,
            granule,
        })
    }

    fn word<T: Copy>(
        &self,
        part: &str,
        value: &Spanned<DeValue<'_>>,
        allowed: &[(&'static str, T)],
    ) -> Result<T, ProfileError> {
        let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
        let DeValue::String(text) = value.get_ref() else {
            return Err(self.wrong(value, &format!("one of {}", names.join(", "))));
        };
        let found = allowed.iter().find(|(name, _)| *name == text.as_ref());
        found.map(|(_, t)| *t).ok_or_else(|| ProfileError::Name {
            at: self.origin.at(&value.span()),
            key: self.key.to_owned(),
            what: match part {
                "unit" => "unit",
                "scope" => "scope",
                "trust" => "trust",
                _ => "value",
            },
            value: text.to_string(),
            known: Box::new(Known {
                near: Vec::new(),
                allowed: names.join(", "),
            }),
        })
    }

    fn names(&self, value: &Spanned<DeValue<'_>>, domain: Domain) -> Result<Value, ProfileError> {
        match value.get_ref() {
            DeValue::String(word) if word == "all" => Ok(Value::Names(Names::All)),
            DeValue::Array(items) => {
                let mut list = Vec::new();
                for item in items {
                    let DeValue::String(text) = item.get_ref() else {
                        return Err(self.wrong(item, &format!("a {}", domain.what())));
                    };
                    let name = self.name(domain, text, &item.span())?;
                    if !list.contains(&name) {
                        list.push(name);
                    }
                }
                Ok(Value::Names(Names::List(list)))
            }
            _ => Err(self.wrong(
                value,
                &format!("a list of {}s, \"all\" or \"unknown\"", domain.what()),
            )),
        }
    }

    fn name(
        &self,
        domain: Domain,
        text: &str,
        span: &Range<usize>,
    ) -> Result<String, ProfileError> {
        if domain.names().contains(&text) {
            Ok(text.to_owned())
        } else {
            Err(unknown_name(self.key, domain, text, self.origin.at(span)))
        }
    }

    fn interval(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, ProfileError> {
        let expected = "two numbers, least and largest, or \"unknown\"";
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong(value, expected));
        };
        let numbers = items
            .iter()
            .map(|item| self.integer(item))
            .collect::<Result<Vec<_>, _>>()?;
        match numbers[..] {
            [low, high] if low <= high && low.abs() <= INTERVAL && high.abs() <= INTERVAL => {
                Ok(Value::Interval(low, high))
            }
            _ => Err(self.wrong(value, expected)),
        }
    }
}

/// The error for a name that a domain does not have.
pub(crate) fn unknown_name(key: &str, domain: Domain, text: &str, at: Place) -> ProfileError {
    let names = domain.names();
    ProfileError::Name {
        at,
        key: key.to_owned(),
        what: domain.what(),
        value: text.to_owned(),
        known: Box::new(Known {
            near: near(text, names.iter().copied()),
            allowed: if names.len() <= 40 {
                names.join(", ")
            } else {
                format!("one of {} names", names.len())
            },
        }),
    }
}
