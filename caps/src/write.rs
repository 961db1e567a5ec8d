//! Profiles as text: TOML that reads back to the same, a listing for humans, JSON.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use crate::profile::Caps;
use crate::value::{By, Fact, Names, Trust, Value};

impl Caps {
    /// The profile as TOML. Reading it gives the same capabilities again.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (key, value) in [
            ("summary", &self.summary),
            ("vendor", &self.vendor),
            ("backend", &self.backend),
        ] {
            line(&mut text, key, &quoted(value));
        }
        line(&mut text, "record", &quoted(self.record.name()));
        if !self.remarks.is_empty() {
            let remarks: Vec<String> = self.remarks.iter().map(|r| quoted(r)).collect();
            line(&mut text, "remarks", &format!("[{}]", remarks.join(", ")));
        }
        // Facts of a table stay together; those at the top must come before any table.
        let mut tables: Vec<(&str, Vec<(&str, &Fact)>)> = vec![("", Vec::new())];
        for (key, fact) in self.facts() {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
            match tables.iter_mut().find(|(known, _)| *known == table) {
                Some((_, facts)) => facts.push((name, fact)),
                None => tables.push((table, vec![(name, fact)])),
            }
        }
        for (table, facts) in tables {
            if table.is_empty() {
                text.push('\n');
            } else {
                let _ = write!(text, "\n[{table}]\n");
            }
            for (name, fact) in facts {
                line(&mut text, name, &toml_fact(fact));
            }
        }
        text
    }

    /// The profile for humans: who says what, and where it is known from.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}: {}\n", self.name, self.summary);
        let _ = writeln!(
            text,
            "vendor {}, backend {}, record {}",
            self.vendor,
            self.backend,
            self.record.name()
        );
        for remark in &self.remarks {
            let _ = writeln!(text, "* {remark}");
        }
        let facts = self.facts();
        let width = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for by in By::ALL {
            let title = match by {
                By::Device => "What the device declares",
                By::Driver => "What the driver knows of itself",
                By::Model => "What is modelled",
            };
            let mut of_layer = facts
                .iter()
                .filter(|(key, _)| By::split(key).0 == by)
                .peekable();
            if of_layer.peek().is_some() {
                let _ = write!(text, "\n{title}\n");
            }
            for (key, fact) in of_layer {
                let mark = match fact.trust {
                    Trust::Read | Trust::Modelled => String::new(),
                    trust => format!(", {}", trust.name()),
                };
                let _ = writeln!(
                    text,
                    "  {key:width$}  {}  ({}{mark})",
                    fact.value, fact.source
                );
            }
        }
        text
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key} = {value}");
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn toml_fact(fact: &Fact) -> String {
    let value = match &fact.value {
        Value::Number(bound) => bound
            .known()
            .map_or_else(|| quoted(&bound.to_string()), |n| n.to_string()),
        Value::Limit(limit) => {
            let mut text = limit
                .value
                .known()
                .map_or_else(|| quoted(&limit.value.to_string()), |n| n.to_string());
            let _ = write!(
                text,
                ", unit = {}, scope = {}",
                quoted(limit.unit.name()),
                quoted(limit.scope.name())
            );
            if limit.granule != 1 {
                let _ = write!(text, ", granule = {}", limit.granule);
            }
            text
        }
        Value::Flag(flag) => flag.to_string(),
        Value::Choice(word) => quoted(word),
        Value::Names(Names::All) => quoted("all"),
        Value::Names(Names::List(list)) => {
            let names: Vec<String> = list.iter().map(|n| quoted(n)).collect();
            format!("[{}]", names.join(", "))
        }
        Value::Interval(low, high) => format!("[{low}, {high}]"),
        Value::Unknown => quoted("unknown"),
    };
    let mut text = format!("{{ value = {value}, source = {}", quoted(&fact.source));
    let implied = if fact.source.starts_with("modelled") {
        Trust::Modelled
    } else {
        Trust::Read
    };
    if fact.trust != implied {
        let _ = write!(text, ", trust = {}", quoted(fact.trust.name()));
    }
    text.push_str(" }");
    text
}

impl Serialize for Caps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Caps", 7)?;
        out.serialize_field("name", &self.name)?;
        out.serialize_field("summary", &self.summary)?;
        out.serialize_field("vendor", &self.vendor)?;
        out.serialize_field("backend", &self.backend)?;
        out.serialize_field("record", self.record.name())?;
        out.serialize_field("remarks", &self.remarks)?;
        out.serialize_field("facts", &FactMap(&self.facts()))?;
        out.end()
    }
}

struct FactMap<'a>(&'a [(&'a str, &'a Fact)]);

impl Serialize for FactMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(self.0.len()))?;
        for (key, fact) in self.0 {
            out.serialize_entry(key, &OneFact(key, fact))?;
        }
        out.end()
    }
}

struct OneFact<'a>(&'a str, &'a Fact);

impl Serialize for OneFact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        match &self.1.value {
            Value::Number(bound) => match bound.known() {
                Some(n) => out.serialize_entry("value", &n)?,
                None => out.serialize_entry("value", &bound.word())?,
            },
            Value::Limit(limit) => {
                match limit.value.known() {
                    Some(n) => out.serialize_entry("value", &n)?,
                    None => out.serialize_entry("value", &limit.value.word())?,
                }
                out.serialize_entry("unit", limit.unit.name())?;
                out.serialize_entry("scope", limit.scope.name())?;
                out.serialize_entry("granule", &limit.granule)?;
            }
            Value::Flag(flag) => out.serialize_entry("value", flag)?,
            Value::Choice(word) => out.serialize_entry("value", word)?,
            Value::Names(Names::All) => out.serialize_entry("value", "all")?,
            Value::Names(Names::List(list)) => out.serialize_entry("value", list)?,
            Value::Interval(low, high) => out.serialize_entry("value", &[low, high])?,
            Value::Unknown => out.serialize_entry("value", "unknown")?,
        }
        out.serialize_entry("source", &self.1.source)?;
        out.serialize_entry("trust", self.1.trust.name())?;
        let by = match By::split(self.0).0 {
            By::Device => "device",
            By::Driver => "driver",
            By::Model => "model",
        };
        out.serialize_entry("by", by)?;
        out.end()
    }
}
