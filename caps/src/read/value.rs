//! The value of one fact, held against the kind of its row.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Origin;
use crate::domain::{Domain, near};
use crate::profile::{Known, Place, ProfileError, alternatives};
use crate::schema::Kind;
use crate::value::{Bound, Limit, Names, Scope, Unit, Value};

/// Longest interval end that a profile can write.
const INTERVAL: i64 = 1 << 48;

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
pub(super) struct Read<'a> {
    pub(super) key: &'a str,
    pub(super) kind: Kind,
    /// The table of the fact, where unit, scope and granule of a limit stand.
    pub(super) table: Option<&'a DeTable<'a>>,
    pub(super) origin: Origin<'a>,
}

impl Read<'_> {
    pub(super) fn value(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, ProfileError> {
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

    pub(super) fn word<T: Copy>(
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
pub(super) fn unknown_name(key: &str, domain: Domain, text: &str, at: Place) -> ProfileError {
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
