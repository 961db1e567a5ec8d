//! What a run writes for every packet: `--outcomes` (JSON lines).

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use bpf::ProgramSet;
use bpf::run::{RedirectTarget, Verdict};
use serde_json::{Value, json};

use crate::compare::return_code;
use crate::error::Error;
use crate::mapdiff::hex;
use crate::replay::device::RanOn;
use crate::replay::lanes::Processed;

fn cannot_write(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::input(format!("{}: cannot write: {error}", path.display()))
}

/// One JSON line a packet, in arrival order.
#[derive(Debug)]
pub struct OutcomeLines {
    path: PathBuf,
    out: BufWriter<File>,
    maps: Vec<String>,
}

impl OutcomeLines {
    /// Creates the file. `set` gives the names of maps that redirects point to.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path, set: &ProgramSet) -> Result<OutcomeLines, Error> {
        let file = File::create(path).map_err(|e| cannot_write(path, &e))?;
        Ok(OutcomeLines {
            path: path.to_owned(),
            out: BufWriter::with_capacity(1 << 16, file),
            maps: set.maps.iter().map(|m| m.name.clone()).collect(),
        })
    }

    /// Writes the line of one packet.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, packet: &Processed<'_>) -> Result<(), Error> {
        let line = outcome_json(packet, &self.maps);
        serde_json::to_writer(&mut self.out, &line).map_err(|e| cannot_write(&self.path, &e))?;
        self.out
            .write_all(b"\n")
            .map_err(|e| cannot_write(&self.path, &e))
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.out.flush().map_err(|e| cannot_write(&self.path, &e))
    }
}

/// The document of one packet; `maps` are the names by index.
pub fn outcome_json(packet: &Processed<'_>, maps: &[String]) -> Value {
    let nic = &packet.nic;
    let r0 = match nic.verdict {
        Verdict::Raw => json!(nic.r0.map(|r0| format!("{r0:#x}"))),
        _ => json!(return_code(nic)),
    };
    let redirect = match nic.redirect {
        None => Value::Null,
        Some(RedirectTarget::Ifindex { ifindex }) => json!({ "ifindex": ifindex }),
        Some(RedirectTarget::Via { ifindex, via }) => {
            json!({ "ifindex": ifindex, "via": via.name() })
        }
        Some(RedirectTarget::Map { map, key }) => {
            json!({ "map": maps.get(map).map_or("", String::as_str), "key": key })
        }
        Some(RedirectTarget::All { map, .. }) => {
            json!({ "map": maps.get(map).map_or("", String::as_str), "key": Value::Null })
        }
    };
    let mut line = json!({
        "packet": nic.packet,
        "queue": packet.queue,
        "verdict": nic.verdict.name(),
        "r0": r0,
        "redirect": redirect,
        "meta": if nic.meta.is_empty() { Value::Null } else { json!(hex(nic.meta)) },
        "frame": if nic.frame == packet.original { Value::Null } else { json!(hex(nic.frame)) },
        "punted": packet.ran_on == RanOn::Punted,
    });
    if packet.ran_on == RanOn::Fallback {
        line["fallback"] = json!(true);
    }
    line
}
