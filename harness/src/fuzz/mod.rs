//! Fuzzing a backend: programs of a seed, each run over packets on the backend's engine and on
//! the references, until two sides differ.
//!
//! [`bpf::generate`] makes the programs, [`Packets`] what they are run on, `coverage` counts what
//! they had. A case follows from (seed, number) alone, and cases are looked at in their order, so
//! that the answer is the same for any number of threads.

mod coverage;

use std::sync::Arc;

use bpf::Hook;
use bpf::generate::{self, Random, Spec};
use rayon::prelude::*;

pub use coverage::Coverage;

use crate::error::Error;
use crate::packets::Packets;
use crate::progress::{Done, silent};
use crate::side::{NotTaken, Side};
use crate::trial::{Mismatch, Trial};

/// Cases that are run before the next are begun; a difference among them ends the run.
const CHUNK: u64 = 256;

/// Bytes of the shortest Ethernet frame, without its checksum. The driver of a card that takes only
/// part of eBPF relies on it.
const SHORTEST_ON_WIRE: usize = 60;

/// How to fuzz.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything follows from it.
    pub seed: u64,
    /// Number of the first case.
    pub first: u64,
    /// How many cases.
    pub cases: u64,
    /// Packets that each program is run on.
    pub packets: usize,
    /// Whether the kernel is asked too. It takes no programs without hook.
    pub kernel: bool,
    /// What the programs may use, where the side takes only part of eBPF: see [`card`].
    pub card: Option<generate::Card>,
    /// Threads; 0 takes all cores. No answer depends on it.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seed: 0,
            first: 0,
            cases: 10_000,
            packets: 8,
            kernel: false,
            card: None,
            threads: 0,
        }
    }
}

/// What fuzzing came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases looked at.
    pub cases: u64,
    /// Those that the verifier, or the NIC's driver, refused.
    pub refused: u64,
    /// Those that the backend or its NIC did not take though they are safe, and the first reason.
    pub not_taken: (u64, Option<String>),
    /// Runs of a program on one packet.
    pub packets: u64,
    /// Programs that each reference ran: its name and how many.
    pub references: Vec<(&'static str, u64)>,
    /// What the programs had.
    pub coverage: Coverage,
    /// The first case in which two sides differ.
    pub found: Option<Found>,
}

/// A case in which two sides differ.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its number.
    pub case: u64,
    /// The reference that differs from the NIC; or, if `between` names one, from that.
    pub reference: &'static str,
    /// The first reference, where it is two references that differ.
    pub between: Option<&'static str>,
    /// The program and its packets.
    pub trial: Trial,
    /// In what they differ.
    pub mismatch: Mismatch,
}

/// What programs for a side may use; `None` if that is all of eBPF.
pub fn card(side: &Side<'_>) -> Option<generate::Card> {
    let Side::Nic(device) = side else { return None };
    let has = |name: &str| device.caps().has("helpers", name);
    side.needs_packets().then(|| generate::Card {
        lookup: has("bpf_map_lookup_elem"),
        update: has("bpf_map_update_elem"),
        delete: has("bpf_map_delete_elem"),
        random: has("bpf_get_prandom_u32"),
        adjust_head: has("bpf_xdp_adjust_head"),
        adjust_tail: has("bpf_xdp_adjust_tail"),
    })
}

/// The trial of a case.
pub fn trial(settings: &Settings, case: u64) -> Trial {
    let mut random = Random::new(settings.seed);
    // Numbers of one seed differ from those of the next from the first on.
    let mut random = Random::new(random.any() ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let hook = match random.below(10) {
        _ if settings.card.is_some() => Hook::XDP,
        0 | 1 if !settings.kernel => Hook::Raw {
            memory_bytes: generate::RAW_BYTES,
        },
        2 | 3 => Hook::TC,
        _ => Hook::XDP,
    };
    let spec = Spec {
        name: format!("case_{case}"),
        tail_calls: !matches!(hook, Hook::Raw { .. }) && random.percent(20),
        hook,
        card: settings.card,
        ..Spec::default()
    };
    let program = generate::program(&spec, random.any());
    let mut packets = Packets::new(&program, random.any());
    let mut frames: Vec<Vec<u8>> = (0..settings.packets).map(|_| packets.packet()).collect();
    if settings.card.is_some() {
        for frame in &mut frames {
            frame.resize(frame.len().max(SHORTEST_ON_WIRE), 0);
        }
    }
    Trial {
        frames,
        program: Arc::new(program),
        seed: settings.seed,
    }
}

/// What one case came to.
enum Answer {
    Refused,
    NotTaken(String),
    Ran {
        coverage: Box<Coverage>,
        packets: u64,
        /// By reference: whether it ran.
        references: Vec<bool>,
        found: Option<Box<Found>>,
    },
}

/// Runs the cases on a side and its references, up to the first difference.
///
/// # Errors
/// If the machine lacks what a side needs, or threads cannot be started.
pub fn run(side: &Side<'_>, settings: &Settings) -> Result<Report, Error> {
    run_telling(side, settings, &silent)
}

/// The same; `done` is told of each case.
///
/// # Errors
/// As [`run`].
pub fn run_telling(side: &Side<'_>, settings: &Settings, done: &Done<'_>) -> Result<Report, Error> {
    let mut references = vec![Side::Interp, Side::Rbpf];
    references.retain(|reference| reference.name() != side.name());
    if settings.kernel {
        references.push(Side::Kernel);
    }
    let mut report = Report {
        references: references.iter().map(|r| (r.name(), 0)).collect(),
        ..Report::default()
    };
    let threads = crate::testbed::threads(settings.threads);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::environment(format!("{threads} threads cannot be started: {e}")))?;
    let end = settings.first.saturating_add(settings.cases);
    let mut next = settings.first;
    while next < end && report.found.is_none() {
        let chunk = next..end.min(next + CHUNK);
        next = chunk.end;
        let answers: Result<Vec<Answer>, Error> = pool.install(|| {
            chunk
                .into_par_iter()
                .map(|case| {
                    let answer = one(side, &references, settings, case);
                    done(1);
                    answer
                })
                .collect()
        });
        for answer in answers? {
            report.add(answer);
            if report.found.is_some() {
                break;
            }
        }
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, answer: Answer) {
        self.cases += 1;
        match answer {
            Answer::Refused => self.refused += 1,
            Answer::NotTaken(why) => {
                self.not_taken.0 += 1;
                self.not_taken.1.get_or_insert(why);
            }
            Answer::Ran {
                coverage,
                packets,
                references,
                found,
            } => {
                self.coverage.add(&coverage);
                self.packets += packets;
                for ((_, count), ran) in self.references.iter_mut().zip(references) {
                    *count += u64::from(ran);
                }
                self.found = found.map(|found| *found);
            }
        }
    }
}

/// Runs one case.
fn one(
    side: &Side<'_>,
    references: &[Side<'_>],
    settings: &Settings,
    case: u64,
) -> Result<Answer, Error> {
    let trial = trial(settings, case);
    let Ok(verified) = side.verify(&trial.program) else {
        return Ok(Answer::Refused);
    };
    let nic = match trial.run(&verified, side) {
        Ok(ran) => ran,
        Err(lack @ NotTaken::Environment { .. }) => {
            return Err(Error::environment(lack.to_string()));
        }
        Err(why) => return Ok(Answer::NotTaken(why.to_string())),
    };
    let mut coverage = Box::<Coverage>::default();
    coverage.program(&verified);
    let mut ran = Vec::with_capacity(references.len());
    let mut found = None;
    let mut first = None;
    for reference in references {
        let referred = match trial.run(&verified, reference) {
            Ok(referred) => referred,
            Err(lack @ NotTaken::Environment { .. }) => {
                return Err(Error::environment(lack.to_string()));
            }
            Err(_) => {
                ran.push(false);
                continue;
            }
        };
        ran.push(true);
        let against_nic = trial.compare(&nic, &referred);
        // Where NIC and the first reference agree, another that differs does so from both.
        if let (Some(mismatch), None) = (against_nic, &found) {
            found = Some(Box::new(Found {
                case,
                reference: reference.name(),
                between: first,
                trial: trial.clone(),
                mismatch,
            }));
        }
        first.get_or_insert(reference.name());
    }
    Ok(Answer::Ran {
        coverage,
        packets: trial.frames.len() as u64,
        references: ran,
        found,
    })
}
