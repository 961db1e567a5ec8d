//! What a run writes for every packet: `--outcomes` (JSON lines) and `--out` (a capture).

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use bpf::ProgramSet;
use bpf::run::{RedirectTarget, Verdict, XdpAction};
use pcaps::write::{InterfaceId, InterfaceInfo, PacketOptions, PcapngWriter, Section};
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
        Verdict::Raw => json!(format!("{:#x}", nic.r0)),
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

/// The frames that left the NIC: sent back, redirected, or passed to the host.
pub struct Sent {
    path: PathBuf,
    out: PcapngWriter<BufWriter<File>>,
    interfaces: Vec<(u32, &'static str, InterfaceId)>,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sent({})", self.path.display())
    }
}

impl Sent {
    /// Creates the file.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path) -> Result<Sent, Error> {
        let file = File::create(path).map_err(|e| cannot_write(path, &e))?;
        let section = Section {
            application: Some("nicbed"),
            ..Section::default()
        };
        let out = PcapngWriter::new(BufWriter::with_capacity(1 << 16, file), &section)
            .map_err(|e| cannot_write(path, &e))?;
        Ok(Sent {
            path: path.to_owned(),
            out,
            interfaces: Vec::new(),
        })
    }

    /// Writes the frame of one packet if it left the NIC.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, packet: &Processed<'_>) -> Result<(), Error> {
        let verdict = match packet.nic.verdict {
            Verdict::Xdp(XdpAction::Pass | XdpAction::Tx | XdpAction::Redirect) => {
                packet.nic.verdict.name()
            }
            Verdict::Xdp(XdpAction::Aborted | XdpAction::Drop) | Verdict::Raw => return Ok(()),
            Verdict::Tc(_) => packet.nic.verdict.name(),
        };
        let known = self
            .interfaces
            .iter()
            .find(|(p, v, _)| *p == packet.port && *v == verdict);
        let interface = if let Some((_, _, id)) = known {
            *id
        } else {
            let name = format!("port{} {verdict}", packet.port);
            let info = InterfaceInfo {
                name: Some(&name),
                ..InterfaceInfo::ETHERNET
            };
            let id = self
                .out
                .add_interface(&info)
                .map_err(|e| cannot_write(&self.path, &e))?;
            self.interfaces.push((packet.port, verdict, id));
            id
        };
        let options = PacketOptions {
            packet_id: Some(packet.nic.packet),
            queue: Some(packet.queue),
            ..PacketOptions::default()
        };
        let frame = packet.nic.frame;
        self.out
            .write(
                interface,
                packet.arrival_ns,
                frame.len() as u32,
                frame,
                &options,
            )
            .map_err(|e| cannot_write(&self.path, &e))
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        let path = self.path;
        let mut out = self.out.finish().map_err(|e| cannot_write(&path, &e))?;
        out.flush().map_err(|e| cannot_write(&path, &e))
    }
}
