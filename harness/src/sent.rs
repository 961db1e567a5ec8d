//! The capture of a run (`--out`): the frames that left the NIC, with what NIC and reference
//! decided about each.
//!
//! A packet on which they differ is there whatever became of it, with a comment that begins with
//! [`DIFFERS`]. The two verdicts lie in options whose types a display filter cannot compare, so
//! this comment is what to filter by.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use bpf::run::{Outcome, TcAction, Verdict, XdpAction};
use pcaps::WriteError;
use pcaps::write::{
    FLAG_INBOUND, FLAG_OUTBOUND, InterfaceId, InterfaceInfo, PacketOptions, PcapngWriter, Section,
    VerdictOption,
};

use crate::compare::Difference;
use crate::error::Error;
use crate::replay::device::RanOn;
use crate::replay::lanes::{Processed, refused};

/// How the comment of a packet begins on which NIC and reference differ.
pub const DIFFERS: &str = "nicbed: differs";

/// The capture being written.
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
    /// Creates the file; `nic` is the name of the NIC whose frames it gets.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path, nic: &str) -> Result<Sent, Error> {
        let file = File::create(path).map_err(|e| cannot_write(path, &e))?;
        let section = Section {
            hardware: Some(nic),
            application: Some(concat!("nicbed ", env!("CARGO_PKG_VERSION"))),
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

    /// Writes the frame of one packet, as the program left it, if it left the NIC or if NIC and
    /// reference differ.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, packet: &Processed<'_>) -> Result<(), Error> {
        if !leaves(packet.nic.verdict) && packet.differences.is_empty() {
            return Ok(());
        }
        self.packet(packet)
            .map_err(|e| cannot_write(&self.path, &e))
    }

    fn packet(&mut self, packet: &Processed<'_>) -> Result<(), WriteError> {
        let interface = self.interface(packet.port, packet.nic.verdict.name())?;
        let mut verdicts = Vec::with_capacity(2);
        if packet.ran_on == RanOn::Nic {
            verdicts.push(VerdictOption::Hardware(code(&packet.nic)));
        }
        verdicts.extend(packet.reference.as_ref().and_then(by_cpu));
        let comments = [told(packet.differences), host(packet.ran_on)];
        let comments: Vec<&str> = comments.iter().flatten().map(String::as_str).collect();
        let options = PacketOptions {
            flags: direction(packet.nic.verdict),
            packet_id: Some(packet.nic.packet),
            queue: Some(packet.queue),
            verdicts: &verdicts,
            comments: &comments,
        };
        let frame = packet.nic.frame;
        self.out.write(
            interface,
            packet.arrival_ns,
            frame.len() as u32,
            frame,
            &options,
        )
    }

    /// The interface of a port and a verdict, described at its first packet.
    fn interface(&mut self, port: u32, verdict: &'static str) -> Result<InterfaceId, WriteError> {
        let mut known = self.interfaces.iter();
        if let Some((_, _, id)) = known.find(|(p, v, _)| (*p, *v) == (port, verdict)) {
            return Ok(*id);
        }
        let name = format!("port{port} {verdict}");
        let info = InterfaceInfo {
            name: Some(&name),
            ..InterfaceInfo::ETHERNET
        };
        let id = self.out.add_interface(&info)?;
        self.interfaces.push((port, verdict, id));
        Ok(id)
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

fn cannot_write(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::input(format!("{}: cannot write: {error}", path.display()))
}

/// Whether a frame with this verdict goes on: to a port, or to the host.
const fn leaves(verdict: Verdict) -> bool {
    !matches!(
        verdict,
        Verdict::Raw
            | Verdict::Xdp(XdpAction::Aborted | XdpAction::Drop)
            | Verdict::Tc(TcAction::Shot | TcAction::Stolen | TcAction::Queued)
    )
}

/// `epb_flags`: XDP sees what comes in, and what it sends goes out. Whether a tc program sees what
/// comes in or what goes out is not known here.
const fn direction(verdict: Verdict) -> Option<u32> {
    match verdict {
        Verdict::Xdp(XdpAction::Pass) => Some(FLAG_INBOUND),
        Verdict::Xdp(XdpAction::Tx | XdpAction::Redirect) => Some(FLAG_OUTBOUND),
        _ => None,
    }
}

/// The return code: of XDP 32 bits unsigned, of tc signed as the kernel has them. A program that was
/// stopped has the code that its end means.
fn code(outcome: &Outcome<'_>) -> u64 {
    let r0 = outcome.r0.unwrap_or_else(|| outcome.verdict.code());
    match outcome.verdict {
        Verdict::Raw => r0,
        Verdict::Xdp(_) => u64::from(r0 as u32),
        Verdict::Tc(_) if outcome.trap.is_some() => 2,
        Verdict::Tc(_) => i64::from(r0 as i32) as u64,
    }
}

/// What the CPU decided, if it ran the program.
fn by_cpu(reference: &Outcome<'_>) -> Option<VerdictOption> {
    if refused(reference).is_some() {
        return None;
    }
    match reference.verdict {
        Verdict::Xdp(_) => Some(VerdictOption::Xdp(code(reference))),
        Verdict::Tc(_) => Some(VerdictOption::Tc(code(reference))),
        Verdict::Raw => None,
    }
}

/// The comment on what differs.
fn told(differences: &[Difference]) -> Option<String> {
    if differences.is_empty() {
        return None;
    }
    let fields: Vec<String> = differences.iter().map(Difference::brief).collect();
    Some(format!("{DIFFERS} in {}", fields.join("; ")))
}

/// The comment on a packet that the host ran.
fn host(ran_on: RanOn) -> Option<String> {
    let why = match ran_on {
        RanOn::Nic => return None,
        RanOn::Punted => "the NIC handed it up",
        RanOn::Fallback => "after a fallback",
    };
    Some(format!("nicbed: ran on the host, {why}"))
}
