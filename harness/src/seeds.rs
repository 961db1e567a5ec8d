//! Globals and map contents as JSON: `--maps`, `--maps-at`, `--maps-out`. The form is that of
//! [`bpf::map::json`].

use bpf::ProgramSet;
use bpf::map::MapSet;
use bpf::map::json::{self, MapsJson};
use bpf::program::{Global, GlobalKind};
use serde_json::Value;

use crate::error::Error;

/// What a seeds file says.
#[derive(Clone, Debug)]
pub struct Seeds {
    name: String,
    globals: Vec<(String, Value)>,
    maps: MapsJson,
}

impl Seeds {
    /// Parses a seeds file; `name` is what errors call it.
    ///
    /// # Errors
    /// If it is not JSON of the form that [`bpf::map::json`] gives.
    pub fn parse(name: &str, text: &str) -> Result<Seeds, Error> {
        let mut maps = MapsJson::from_json(text)
            .map_err(|e| Error::input(format!("{name}: {e}")).help(
                "the form is {\"globals\": {NAME: value}, \"maps\": {NAME: [{\"key\": …, \"value\": …}]}}",
            ))?;
        let globals = std::mem::take(&mut maps.globals).into_iter().collect();
        Ok(Seeds {
            name: name.to_owned(),
            globals,
            maps,
        })
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Values of global variables, as `--global` takes them: they are set before verification.
    /// `globals` are the object's, by whose types texts are read.
    pub fn globals(&self, globals: &[Global]) -> Vec<(String, String)> {
        let is_text = |name: &str| {
            globals
                .iter()
                .any(|g| g.name == name && g.kind == GlobalKind::Text)
        };
        self.globals
            .iter()
            .map(|(name, value)| (name.clone(), text_of(value, is_text(name))))
            .collect()
    }

    /// Whether there are any.
    pub fn has_globals(&self) -> bool {
        !self.globals.is_empty()
    }

    /// Names of the programs put into `prog_array` slots.
    pub fn programs(&self) -> Vec<String> {
        self.maps
            .maps
            .values()
            .flatten()
            .filter_map(|entry| entry.program.clone())
            .collect()
    }

    /// Applies the map contents; `program` gives the number of a program by its name.
    ///
    /// # Errors
    /// If they do not fit the maps; the error names file, map and entry.
    pub fn apply(&self, maps: &MapSet, program: &dyn Fn(&str) -> Option<u32>) -> Result<(), Error> {
        json::apply(maps, &[], &self.maps, program)
            .map_err(|e| Error::input(format!("{}: {e}", self.name)))
    }
}

/// A JSON value as `--global` takes it: a string is text for a variable of text, else the hex
/// digits of its bytes in memory order.
fn text_of(value: &Value, is_text: bool) -> String {
    match value {
        Value::String(text) if is_text => text.clone(),
        Value::String(digits) => format!("hex:{}", digits.trim_start_matches("0x")),
        Value::Array(list) => list
            .iter()
            .map(|v| text_of(v, is_text))
            .collect::<Vec<_>>()
            .join(","),
        other => other.to_string(),
    }
}

/// The contents of all maps of a program set; `program` gives the name of a program by its
/// number.
pub fn dump(
    set: &ProgramSet,
    maps: &MapSet,
    program: impl FnMut(u32) -> Option<String>,
) -> MapsJson {
    let globals = set.programs.first().map_or(&[][..], |p| &p.globals);
    json::dump(maps, globals, program)
}
