//! The verdict of the kernel's own verifier, and what its log says.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use bpf::Program;
use isa::ebpf::{Insn, Wide};

use super::load::{self, Loadable, NotLoadable};
use super::{KernelError, maps};
use crate::Unsupported;

/// Bytes for statistics alone.
const STATS_BYTES: usize = 1 << 14;
/// Bytes for the log of a rejection; of a longer one the kernel keeps the end.
const LOG_BYTES: usize = 1 << 20;
/// Bytes for a log from its start.
const WHOLE_LOG_BYTES: usize = 16 << 20;

/// Levels and flags of the log (linux/bpf_verifier.h).
const BRANCHES: u32 = 1;
const EVERY_INSN: u32 = 2;
const STATS: u32 = 4;
const KEEP_START: u32 = 8;

/// What the kernel's verifier said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it takes the program.
    pub accepted: bool,
    /// The error number of the load, if not.
    pub errno: Option<i32>,
    /// The slot it was at when it refused, where its log tells.
    pub pc: Option<usize>,
    /// Why it refused: the lines of its log behind the last instruction.
    pub message: String,
    /// Its log, for a rejection; the end of it if it is long.
    pub log: String,
    /// Instructions it looked at over all paths.
    pub insns_processed: Option<u64>,
    /// Microseconds it took, by its own clock, without making machine code.
    pub micros: Option<u64>,
}

/// Asks the running kernel for its verdict on `program`, loaded as libbpf would with the maps
/// that it uses as they are declared. Nothing stays loaded.
///
/// # Errors
/// [`Unsupported::Environment`] if bpf(2) cannot be used here, or a map cannot be created;
/// [`Unsupported::Program`] if the kernel has no hook like this.
pub fn judge(program: &Program) -> Result<Judgement, Unsupported> {
    let prepared = Prepared::new(program)?;
    let mut log = vec![0; STATS_BYTES];
    let errno = match prepared.loadable.load(STATS, &mut log) {
        Ok(_fd) => None,
        Err(error) if may_not(&error) => return Err(environment(&error)),
        Err(error) => Some(error.raw_os_error().unwrap_or(0)),
    };
    let mut text = load::text(&log);
    let insns_processed = number_in(&text, "processed ");
    let micros = number_in(&text, "verification time ");
    if errno.is_some() {
        let mut log = vec![0; LOG_BYTES];
        let _ = prepared.loadable.load(BRANCHES, &mut log);
        text = load::text(&log);
    } else {
        text.clear();
    }
    let (pc, message) = reason(&text);
    Ok(Judgement {
        accepted: errno.is_none(),
        errno,
        pc,
        message,
        log: text,
        insns_processed,
        micros,
    })
}

/// The kernel's log of every instruction, from the start as far as 16 MiB reach.
///
/// # Errors
/// As [`judge`].
pub fn log_from_the_start(program: &Program) -> Result<String, Unsupported> {
    let prepared = Prepared::new(program)?;
    let mut log = vec![0; WHOLE_LOG_BYTES];
    match prepared.loadable.load(EVERY_INSN | KEEP_START, &mut log) {
        Err(error) if may_not(&error) => Err(environment(&error)),
        _ => Ok(load::text(&log)),
    }
}

/// A program with its maps and types in the kernel, to be loaded any number of times.
#[derive(Debug)]
pub struct Prepared {
    loadable: Loadable,
    /// Named by the instructions.
    _maps: BTreeMap<usize, OwnedFd>,
}

impl Prepared {
    /// Creates the maps that the program uses, as they are declared.
    ///
    /// # Errors
    /// As [`judge`].
    pub fn new(program: &Program) -> Result<Prepared, Unsupported> {
        let types = load::types(program).map_err(KernelError::Btf)?;
        let mut maps = BTreeMap::new();
        for insn in program.insns.iter() {
            let Insn::LoadWide {
                value: Wide::Map(map) | Wide::MapValue { map, .. },
                ..
            } = insn
            else {
                continue;
            };
            let map = *map as usize;
            let Some(def) = program.maps.get(map) else {
                continue;
            };
            if let std::collections::btree_map::Entry::Vacant(free) = maps.entry(map) {
                let fd =
                    maps::create_alone(def, types.as_ref()).map_err(|error| KernelError::Map {
                        name: def.name.clone(),
                        error,
                    })?;
                free.insert(fd);
            }
        }
        let loadable =
            Loadable::new(program, types, |map| maps.get(&map)).map_err(|error| match error {
                NotLoadable::Btf(error) => KernelError::Btf(error),
                other => KernelError::NotLoadable {
                    name: program.name.clone(),
                    reason: other.to_string(),
                },
            })?;
        Ok(Prepared {
            loadable,
            _maps: maps,
        })
    }

    /// Loads it without a log (the kernel verifies it and makes machine code) and lets it go.
    ///
    /// # Errors
    /// That of bpf(2).
    pub fn load(&self) -> std::io::Result<()> {
        self.loadable.load(0, &mut []).map(drop)
    }
}

fn may_not(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::ENOSYS | libc::ENOMEM)
    )
}

fn environment(reason: &std::io::Error) -> Unsupported {
    Unsupported::Environment {
        needs: "kernel",
        reason: format!("BPF_PROG_LOAD: {reason}"),
    }
}

/// The number that a line of statistics at the end of a log has behind `words`.
fn number_in(log: &str, words: &str) -> Option<u64> {
    let line = log.lines().rev().find_map(|l| l.strip_prefix(words))?;
    line.split(' ').next()?.parse().ok()
}

/// The last instruction in a log, and the lines behind it but for statistics.
fn reason(log: &str) -> (Option<usize>, String) {
    const STATISTICS: [&str; 6] = [
        "processed ",
        "verification time ",
        "stack depth ",
        "cur state:",
        "old state:",
        "mark_precise:",
    ];
    let number = |line: &str| -> Option<usize> { line.split_once(':')?.0.parse().ok() };
    let mut pc = None;
    let mut lines: Vec<&str> = Vec::new();
    for line in log.lines().rev().map(str::trim_end) {
        if let Some(at) = number(line) {
            pc = Some(at);
            break;
        }
        let state = line.starts_with("from ") || line.starts_with("; ");
        if !line.is_empty() && !state && !STATISTICS.iter().any(|s| line.starts_with(s)) {
            lines.push(line);
        }
    }
    lines.reverse();
    (pc, lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::{number_in, reason};

    #[test]
    fn the_reason_is_what_stands_behind_the_last_instruction() {
        let log = "\
func#0 @0
0: R1=ctx() R10=fp0
0: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx() R2_w=pkt(r=0)
1: (71) r0 = *(u8 *)(r2 +0)
invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)
R2 offset is outside of the packet
verification time 40 usec
stack depth 0
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";
        let (pc, message) = reason(log);
        assert_eq!(pc, Some(1));
        assert_eq!(
            message,
            "invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0); \
             R2 offset is outside of the packet"
        );
        assert_eq!(number_in(log, "processed "), Some(2));
        assert_eq!(number_in(log, "verification time "), Some(40));
    }
}
