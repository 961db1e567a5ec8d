//! Snapshots of what NICs make of a user's programs: pinned beside the user's sources, compared
//! with what is made now, and reviewed as a difference.
//!
//! [`of_file`] is the text of one program on one NIC, for a test of the user's own (with `insta`,
//! say); [`manifest`] is the file that names objects and NICs for `nicbed snapshot`, [`pinned`]
//! compares with the files beside it, and [`expect`] has the expectations that somebody wrote by
//! hand into a C source.

pub mod expect;
pub mod manifest;
mod pattern;
pub mod pinned;
pub mod report;
mod text;

use std::path::Path;
use std::sync::Arc;

use bpf::object::{self, LoadOptions};
use jit_backends::Loaded;

use crate::error::Error;
use crate::pipeline;

pub use text::{code, of};

/// The text of one program of an object on one NIC: decision, findings, and the code. The same on
/// every machine and in every run: no paths, no addresses, no times. `program` is the function's
/// symbol or a section; `nic` the name of a built-in profile.
///
/// # Errors
/// If the object cannot be read or has no such program, or there is no such NIC.
///
/// # Examples
///
/// ```
/// let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/pass.o");
/// let text = harness::snapshot::of_file(object, "pass", "hbpf")?;
/// assert!(text.starts_with("pass on hbpf: offload\n"));
/// # Ok::<(), harness::Error>(())
/// ```
pub fn of_file(path: impl AsRef<Path>, program: &str, nic: &str) -> Result<String, Error> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let nic = caps::builtin(nic).map_err(|e| Error::usage(e.to_string()))?;
    let bytes =
        std::fs::read(path).map_err(|e| Error::input(format!("{name}: cannot read: {e}")))?;
    let options = LoadOptions {
        queues: nic.model().queues_default,
        program: Some(program.to_owned()),
        ..LoadOptions::default()
    };
    let set = object::load(&name, &bytes, &options).map_err(|e| Error::input(e.to_string()))?;
    let found = set
        .find(program)
        .ok_or_else(|| Error::usage(format!("{name} has no program {program}")))?;
    let program = Arc::new(found.clone());
    Ok(of(&pipeline::assess(
        &program,
        &Arc::new(nic),
        &Loaded::default(),
    )))
}
