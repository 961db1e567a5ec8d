//! `snapshot.toml`: which programs are pinned on which NICs.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Error;

/// The name of the manifest in its folder.
pub const NAME: &str = "snapshot.toml";

/// A manifest. Unknown keys are errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// NICs of objects that name none: built-in names, or paths of profiles from the manifest's
    /// folder.
    #[serde(default)]
    pub nics: Vec<String>,
    /// The objects.
    #[serde(rename = "object")]
    pub objects: Vec<Object>,
}

/// An object whose programs are pinned.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Its path, from the manifest's folder.
    pub path: String,
    /// Programs by function; all if absent.
    pub programs: Option<Vec<String>>,
    /// NICs; the manifest's if absent.
    pub nics: Option<Vec<String>>,
    /// C source with expectations, from the manifest's folder. If absent, it is looked for by the
    /// name that the object's debug information has.
    pub source: Option<String>,
    /// Globals, as `--global` takes them.
    #[serde(default)]
    pub globals: Vec<String>,
    /// Sizes of maps, as `--map` takes them.
    #[serde(default)]
    pub maps: Vec<String>,
}

impl Manifest {
    /// Parses the manifest that `name` names in messages.
    ///
    /// # Errors
    /// If it is no such TOML, names no object, or an object has no NIC.
    pub fn parse(name: &str, text: &str) -> Result<Manifest, Error> {
        let manifest: Manifest =
            toml::from_str(text).map_err(|e| Error::input(format!("{name}: {e}")))?;
        if manifest.objects.is_empty() {
            return Err(Error::input(format!("{name}: it names no object"))
                .help("begin with [[object]] and path = \"…\""));
        }
        for object in &manifest.objects {
            if manifest.nics(object).is_empty() {
                return Err(Error::input(format!("{name}: {} has no NIC", object.path))
                    .help("nics = [\"x86-dpu\"] at the top is for every object"));
            }
        }
        Ok(manifest)
    }

    /// The NICs of an object.
    pub fn nics<'a>(&'a self, object: &'a Object) -> &'a [String] {
        object.nics.as_deref().unwrap_or(&self.nics)
    }
}

impl Object {
    /// The file of a program's snapshot on a NIC, in the manifest's folder.
    pub fn snapshot(&self, program: &str, nic: &str) -> String {
        let stem = Path::new(&self.path).file_stem().unwrap_or_default();
        format!(
            "{}.{program}.{nic}.{}",
            stem.to_string_lossy(),
            super::pinned::EXTENSION
        )
    }

    /// Where the C source may be, best first; `known` is its path in the debug information. What
    /// lies beside manifest or object comes before a path of the machine that compiled.
    pub fn sources(&self, folder: &Path, known: &str) -> Vec<PathBuf> {
        if let Some(source) = &self.source {
            return vec![folder.join(source)];
        }
        let object = folder.join(&self.path);
        let beside = object.parent().unwrap_or(folder);
        let name = Path::new(known).file_name().unwrap_or_default();
        vec![
            beside.join(name),
            beside.join(known),
            folder.join(name),
            PathBuf::from(known),
        ]
    }
}
