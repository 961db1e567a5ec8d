//! A repro's folder, written and read.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::map::MapDef;
use bpf::object::{LoadOptions, load};
use bpf::{Hook, Program};
use pcaps::{CaptureReader, LinkType, PcapWriter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Replayed, Repro};
use crate::disassembly;
use crate::error::Error;
use crate::mapdiff::hex;
use crate::report::Style;
use crate::report::run::Report;
use crate::trace::Trace;
use crate::trial::Trial;

/// Form of `repro.json`.
const SCHEMA: &str = "nicbed/repro/1";
/// Link type of memory that is no frame (`LINKTYPE_USER0`).
const MEMORY: LinkType = LinkType(147);
/// Most packets that a repro can have.
const MOST_PACKETS: usize = 1 << 16;

/// What `repro.json` says to whoever replays.
#[derive(Serialize, Deserialize)]
struct Description {
    schema: String,
    found: String,
    backend: String,
    nic: Option<String>,
    reference: String,
    hook: String,
    /// Bytes of memory of a program without hook.
    memory_bytes: u32,
    program: String,
    /// (name, declaration) as `--map` takes them.
    maps: Vec<(String, String)>,
    packets: String,
    seed: u64,
    /// r0 as hexadecimal text.
    expected: Option<String>,
    /// What was seen when the folder was written.
    seen: Value,
}

/// What the `repro.json` of a run says.
#[derive(Serialize, Deserialize)]
struct RunDescription {
    schema: String,
    found: String,
    /// The arguments of `nicbed run`; one that begins with `@` names a file of the folder.
    run: Vec<String>,
    seen: Value,
}

/// Files beside `repro.json`: name and contents.
pub type Files = Vec<(String, Vec<u8>)>;

/// What a folder holds.
#[derive(Debug)]
pub enum Read {
    /// One program and its packets.
    Trial(Box<Repro>),
    /// The arguments of a run, with paths into the folder.
    Run(Vec<String>),
}

/// A folder being written.
struct Folder(PathBuf);

impl Folder {
    fn create(parent: &Path, name: &str) -> Result<Folder, Error> {
        // A name is made of what a user calls files.
        let name: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let folder = Folder(parent.join(name.trim_start_matches('.')));
        fs::create_dir_all(&folder.0).map_err(|e| folder.fail(&e))?;
        Ok(folder)
    }

    fn fail(&self, e: &dyn std::fmt::Display) -> Error {
        Error::input(format!("{}: cannot write: {e}", self.0.display()))
            .help("--repro-out DIR names another folder for repros")
    }

    fn put(&self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        fs::write(self.0.join(file), bytes).map_err(|e| self.fail(&e))
    }

    /// The description, what is for people, and the script.
    fn finish(self, description: &impl Serialize, told: &str) -> Result<PathBuf, Error> {
        let mut json = serde_json::to_string_pretty(description).map_err(|e| self.fail(&e))?;
        json.push('\n');
        self.put("repro.json", json.as_bytes())?;
        self.put("difference.txt", told.as_bytes())?;
        self.put("repro.sh", SCRIPT.as_bytes())?;
        executable(&self.0.join("repro.sh"));
        Ok(self.0)
    }
}

const SCRIPT: &str = "#!/bin/sh
# Replays this folder: status 5 if the sides still differ, 0 if not.
exec \"${NICBED:-nicbed}\" run --repro \"$(dirname \"$0\")\" \"$@\"
";

/// Writes a repro into a folder of this name in `parent`, which is created or written over, with
/// what its replay saw; gives the folder.
///
/// # Errors
/// If it cannot be written.
pub fn write(parent: &Path, name: &str, repro: &Repro, seen: &Replayed) -> Result<PathBuf, Error> {
    let folder = Folder::create(parent, name)?;
    let trial = &repro.trial;
    let code = isa::ebpf::encode(&trial.program.insns).map_err(|e| folder.fail(&e))?;
    folder.put("program.hex", hex_lines(&code).as_bytes())?;
    let packets = packets(trial).map_err(|e| folder.fail(&e))?;
    folder.put("packets.pcap", &packets)?;
    let description = Description {
        schema: SCHEMA.to_owned(),
        found: repro.found.clone(),
        backend: repro.backend.clone(),
        nic: repro.nic.clone(),
        reference: repro.reference.clone(),
        hook: trial.program.hook.name().to_owned(),
        memory_bytes: match trial.program.hook {
            Hook::Raw { memory_bytes } => memory_bytes,
            Hook::Xdp { .. } | Hook::Tc { .. } => 0,
        },
        program: "program.hex".to_owned(),
        maps: trial.program.maps.iter().map(declared).collect(),
        packets: "packets.pcap".to_owned(),
        seed: trial.seed,
        expected: repro.expected.map(|r0| format!("{r0:#x}")),
        seen: seen.to_json(),
    };
    let told = told(repro, seen, Style::PLAIN);
    folder.finish(&description, &told)
}

/// Writes the repro of a run: `files` are what `arguments` name with `@`, `report` and `trace`
/// what a replay saw.
///
/// # Errors
/// If it cannot be written.
pub fn write_run(
    parent: &Path,
    name: &str,
    (arguments, files): (Vec<String>, &Files),
    report: &Report,
    trace: Option<&Trace>,
) -> Result<PathBuf, Error> {
    let folder = Folder::create(parent, name)?;
    for (name, bytes) in files {
        folder.put(name, bytes)?;
    }
    let mut seen = report.to_json();
    seen["first_difference"] = trace.map_or(Value::Null, Trace::first_json);
    let description = RunDescription {
        schema: SCHEMA.to_owned(),
        found: format!("run of {} on {}", report.program, report.nic.name),
        run: arguments,
        seen,
    };
    let mut told = report.to_text(Style::PLAIN);
    if let Some(trace) = trace {
        let _ = write!(told, "\n{}", trace.to_text(Style::PLAIN));
    }
    folder.finish(&description, &told)
}

/// Reads a repro.
///
/// # Errors
/// If a file is missing or malformed.
pub fn read(folder: &Path) -> Result<Read, Error> {
    let path = folder.join("repro.json");
    let text = fs::read_to_string(&path).map_err(|e| malformed(&path, &e))?;
    let json: Value = serde_json::from_str(&text).map_err(|e| malformed(&path, &e))?;
    if json["schema"] != SCHEMA {
        let found = &json["schema"];
        return Err(malformed(
            &path,
            &format!("schema {found}, expected {SCHEMA}"),
        ));
    }
    if json.get("run").is_some() {
        let run: RunDescription = serde_json::from_value(json).map_err(|e| malformed(&path, &e))?;
        let arguments = run
            .run
            .into_iter()
            .map(|argument| match argument.strip_prefix('@') {
                Some(file) => inside(folder, file).display().to_string(),
                None => argument,
            });
        return Ok(Read::Run(arguments.collect()));
    }
    let description: Description =
        serde_json::from_value(json).map_err(|e| malformed(&path, &e))?;
    Ok(Read::Trial(Box::new(read_trial(
        folder,
        &path,
        description,
    )?)))
}

fn malformed(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::input(format!("{}: {e}", path.display()))
}

/// A file of the folder, and none outside.
fn inside(folder: &Path, name: &str) -> PathBuf {
    match Path::new(name).file_name() {
        Some(file) => folder.join(file),
        None => folder.to_owned(),
    }
}

fn read_trial(folder: &Path, path: &Path, description: Description) -> Result<Repro, Error> {
    let hook = match description.hook.as_str() {
        "xdp" => Hook::XDP,
        "tc" => Hook::TC,
        "raw" => Hook::Raw {
            memory_bytes: description.memory_bytes,
        },
        other => return Err(malformed(path, &format!("unknown hook `{other}`"))),
    };
    let expected = match &description.expected {
        None => None,
        Some(text) => {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            Some(u64::from_str_radix(digits, 16).map_err(|_e| {
                malformed(path, &format!("expected `{text}` is no hexadecimal number"))
            })?)
        }
    };
    let file = inside(folder, &description.program);
    let bytes = fs::read(&file).map_err(|e| malformed(&file, &e))?;
    let options = LoadOptions {
        hook: Some(hook),
        raw_maps: description.maps,
        ..LoadOptions::default()
    };
    let name = file.display().to_string();
    let set = load(&name, &bytes, &options).map_err(|e| Error::input(e.to_string()))?;
    let program = set.programs.into_iter().next();
    let program = program.ok_or_else(|| malformed(&file, &"there is no program"))?;
    Ok(Repro {
        found: description.found,
        backend: description.backend,
        nic: description.nic,
        reference: description.reference,
        trial: Trial {
            program: Arc::new(program),
            frames: read_packets(&inside(folder, &description.packets))?,
            seed: description.seed,
        },
        expected,
    })
}

fn read_packets(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let mut reader = CaptureReader::open(path).map_err(|e| malformed(path, &e))?;
    let mut frames = Vec::new();
    while let Some(record) = reader.next().map_err(|e| malformed(path, &e))? {
        if frames.len() >= MOST_PACKETS {
            return Err(malformed(
                path,
                &format!("more than {MOST_PACKETS} packets"),
            ));
        }
        frames.push(record.data.to_vec());
    }
    Ok(frames)
}

fn declared(map: &MapDef) -> (String, String) {
    let declaration = format!(
        "{},{},{},{},{}",
        map.kind.name(),
        map.key_size,
        map.value_size,
        map.max_entries,
        map.flags
    );
    (map.name.clone(), declaration)
}

fn packets(trial: &Trial) -> Result<Vec<u8>, pcaps::WriteError> {
    let link = match trial.program.hook {
        Hook::Raw { .. } => MEMORY,
        Hook::Xdp { .. } | Hook::Tc { .. } => LinkType::ETHERNET,
    };
    let longest = trial.frames.iter().map(Vec::len).max().unwrap_or(0);
    let mut writer = PcapWriter::new(Vec::new(), link, longest.max(262_144) as u32)?;
    let batch = trial.batch();
    for (frame, bytes) in batch.frames.iter().zip(&trial.frames) {
        writer.write(frame.arrival_ns, bytes.len() as u32, bytes)?;
    }
    writer.finish()
}

/// 8 bytes a line: one instruction slot.
fn hex_lines(code: &[u8]) -> String {
    code.chunks(8).fold(String::new(), |mut text, slot| {
        let _ = writeln!(text, "{}", hex(slot));
        text
    })
}

/// What was seen, for people.
pub fn told(repro: &Repro, seen: &Replayed, style: Style) -> String {
    let mut t = String::new();
    let on = repro
        .nic
        .as_deref()
        .map_or(String::new(), |nic| format!(" on {nic}"));
    let _ = writeln!(t, "{}", repro.found);
    let _ = writeln!(t, "{}{on} and {} differ", repro.backend, repro.reference);
    match seen {
        Replayed::Equal => {
            let _ = writeln!(t, "no more: the replay was equal");
        }
        Replayed::Result { came_to } => {
            let _ = writeln!(t, "  {came_to}");
        }
        Replayed::Differs { mismatch, trace } => {
            mismatch.write_text(&mut t, style);
            if let Some(trace) = trace {
                let _ = write!(t, "\n{}", trace.to_text(style));
            }
        }
    }
    let _ = writeln!(t, "\nprogram, {} slots", repro.trial.program.insns.len());
    t.push_str(&listing(&repro.trial.program));
    for (index, frame) in repro.trial.frames.iter().enumerate() {
        let _ = writeln!(
            t,
            "\npacket {index}, {} bytes\n  {}",
            frame.len(),
            hex(frame)
        );
    }
    t
}

/// The program as text.
fn listing(program: &Program) -> String {
    let mut t = String::new();
    for (pc, insn) in program.insns.iter().enumerate() {
        if *insn != isa::ebpf::Insn::WideTail {
            let _ = writeln!(t, "{pc:>5}: {}", disassembly::insn(program, pc));
        }
    }
    t
}

#[cfg(unix)]
fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    // Without it `sh repro.sh` still works.
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o755));
}

#[cfg(not(unix))]
fn executable(_path: &Path) {}
