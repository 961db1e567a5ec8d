//! Globals and map contents as JSON: `--maps`, `--maps-at`, `--maps-out`.

use bpf::ProgramSet;
use bpf::map::{MapDef, MapSet};

use crate::error::Error;

/// What a seeds file says.
#[derive(Clone, Debug)]
pub struct Seeds {
    name: String,
}

impl Seeds {
    /// Parses a seeds file; `name` is what errors call it.
    ///
    /// # Errors
    /// If it is not JSON of the form that `docs/cli.md` gives.
    pub fn parse(name: &str, _text: &str) -> Result<Seeds, Error> {
        Ok(Seeds {
            name: name.to_owned(),
        })
    }

    /// Values of global variables, as `--global` takes them.
    pub fn globals(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Names of the programs put into prog_array slots.
    pub fn programs(&self) -> Vec<String> {
        Vec::new()
    }

    /// Applies the map contents.
    ///
    /// # Errors
    /// If they do not fit the maps; the error names file, map and entry.
    pub fn apply(
        &self,
        _maps: &MapSet,
        _defs: &[MapDef],
        _program: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<(), Error> {
        let _ = &self.name;
        Ok(())
    }
}

/// The contents of all maps of a program set.
pub fn dump(_set: &ProgramSet, _maps: &MapSet) -> serde_json::Value {
    serde_json::Value::Null
}
