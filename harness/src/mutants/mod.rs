//! Mutants: whether the testbed would find a broken backend, by breaking one on purpose.
//!
//! A mutant is a backend with one mistake ([`Mutated`]) in the image of one generated program.
//! The *suite* runs it over a few packets beside the interpreter and finds it if any outcome,
//! event or map differs. What the suite misses goes to a *judge*, who runs a hundred times as
//! many packets of another seed, aimed at the edges of every instruction's operands. A
//! mutant that even the judge sees no difference in does not change behaviour (its instruction is
//! never reached, or two forms of it do the same) and does not count; the others that the suite
//! missed are the *survivors*.
//!
//! `kind` says how instructions can be wrong, `x86_64` and `ebpf` do it for their sets, `backend`
//! puts a mistake into an image, `course` runs it over packets, [`run`] joins all.
//!
//! Before it is broken, the right image goes the same way: a difference there is a mistake of the
//! testbed or of the backend, a *false alarm*, and mutants of that program prove nothing.

mod backend;
mod course;
mod ebpf;
mod kind;
mod x86_64;

use std::collections::BTreeMap;
use std::sync::Arc;

use bpf::generate::{self, Random, Spec};
use bpf::run::Environment;
use caps::Caps;
use jit_backends::Backend;
use nic_model::Workers;
use rayon::prelude::*;
use serde::Serialize;
use verifier::Verified;

pub use backend::{Mutated, Mutation, mutations};
pub use kind::{Kind, Mutator, Surroundings, mutator};

use crate::error::Error;
use crate::mapdiff::hex;
use crate::packets::Aimed;
use crate::progress::{Done, silent};
use crate::side::{Device, Side};
use course::Course;

/// The judge's packets for each of the suite's.
const JUDGE: u64 = 100;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Where programs, mistakes and packets come from.
    pub seed: u64,
    /// Programs to generate.
    pub programs: u64,
    /// Mutants of each.
    pub mutants: usize,
    /// The suite's packets for each mutant.
    pub packets: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The backend.
    pub backend: String,
    /// The NIC that its code ran on.
    pub nic: String,
    /// The seed.
    pub seed: u64,
    /// Programs that verified and were translated.
    pub programs: u64,
    /// The suite's packets for each mutant.
    pub packets: u64,
    /// All kinds together.
    pub all: Counts,
    /// The same by kind.
    pub kinds: BTreeMap<Kind, Counts>,
    /// Programs whose unbroken image already differs; their mutants are not counted.
    pub false_alarms: Vec<FalseAlarm>,
    /// Those that change behaviour and that the suite missed.
    pub survivors: Vec<Survivor>,
}

/// A program in whose unbroken image a difference is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FalseAlarm {
    /// The program's seed.
    pub program: u64,
    /// Number of the packet that shows it, of the suite or else of the judge; that behind the last
    /// if only a map does.
    pub shown_by: u64,
}

/// How many mutants there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Mutants made.
    pub mutants: u64,
    /// Those that change behaviour.
    pub changed: u64,
    /// Those of them that the suite caught.
    pub caught: u64,
}

/// A mutant that the suite missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survivor {
    /// What is wrong.
    pub kind: Kind,
    /// The program's seed.
    pub program: u64,
    /// Byte offset in its image.
    pub offset: usize,
    /// pc of the instruction it came from; `None` for glue.
    pub pc: Option<usize>,
    /// The right instruction.
    pub text: String,
    /// Its bytes, in hexadecimal.
    pub right: String,
    /// The wrong ones.
    pub wrong: String,
    /// Number of the judge's packet that shows it.
    pub shown_by: u64,
}

impl Summary {
    /// The share of mutants that change behaviour which the suite caught; `None` if there are
    /// none.
    pub fn share(&self) -> Option<f64> {
        (self.all.changed > 0).then(|| self.all.caught as f64 / self.all.changed as f64)
    }
}

/// What became of one mutant.
enum Fate {
    Caught { packet: u64 },
    Missed { packet: u64 },
    Same,
}

/// What became of one program.
enum Answer {
    /// The verifier, the NIC or the backend refuses it.
    NotTaken,
    FalseAlarm(FalseAlarm),
    Mutants(Vec<(Mutation, Fate)>),
}

/// Runs mutants of a backend, whose native code runs in `workers`.
///
/// # Errors
/// If instructions of its set cannot be broken yet, or there are no workers.
pub fn run(
    backend: &dyn Backend,
    caps: &Arc<Caps>,
    workers: &Arc<Workers>,
    budget: Budget,
) -> Result<Summary, Error> {
    run_telling(backend, caps, workers, budget, &silent)
}

/// The same; `done` is told of each program.
///
/// # Errors
/// As [`run`].
pub fn run_telling(
    backend: &dyn Backend,
    caps: &Arc<Caps>,
    workers: &Arc<Workers>,
    budget: Budget,
    done: &Done<'_>,
) -> Result<Summary, Error> {
    let mutator = mutator(backend.isa()).ok_or_else(|| {
        Error::usage(format!(
            "nobody has written down how instructions of {} go wrong",
            backend.isa()
        ))
        .help("backends that can be broken: x86_64, ebpf")
    })?;
    let bench = Bench {
        backend,
        caps,
        workers,
        mutator,
        budget,
        environment: Arc::new(Environment {
            seed: budget.seed,
            ports: vec![1],
            ..Environment::default()
        }),
    };
    let results: Vec<Answer> = (0..budget.programs)
        .into_par_iter()
        .map(|index| {
            let answer = bench.program(bench.seed(index));
            done(1);
            answer
        })
        .collect::<Result<_, Error>>()?;
    let mut summary = Summary {
        backend: backend.name().to_owned(),
        nic: caps.name.clone(),
        seed: budget.seed,
        programs: 0,
        packets: budget.packets,
        all: Counts::default(),
        kinds: BTreeMap::new(),
        false_alarms: Vec::new(),
        survivors: Vec::new(),
    };
    for (index, result) in (0..).zip(results) {
        match result {
            Answer::NotTaken => {}
            Answer::FalseAlarm(alarm) => summary.false_alarms.push(alarm),
            Answer::Mutants(fates) => {
                summary.programs += 1;
                for (mutation, fate) in fates {
                    summary.add(bench.seed(index), mutation, &fate);
                }
            }
        }
    }
    Ok(summary)
}

impl Summary {
    fn add(&mut self, program: u64, mutation: Mutation, fate: &Fate) {
        let kind = self.kinds.entry(mutation.kind).or_default();
        for counts in [&mut self.all, kind] {
            counts.mutants += 1;
            counts.changed += u64::from(!matches!(fate, Fate::Same));
            counts.caught += u64::from(matches!(fate, Fate::Caught { .. }));
        }
        if let Fate::Missed { packet } = fate {
            self.survivors.push(Survivor {
                kind: mutation.kind,
                program,
                offset: mutation.offset,
                pc: mutation.pc,
                text: mutation.text,
                right: hex(&mutation.right),
                wrong: hex(&mutation.wrong),
                shown_by: *packet,
            });
        }
    }
}

/// What all mutants share.
struct Bench<'a> {
    backend: &'a dyn Backend,
    caps: &'a Arc<Caps>,
    workers: &'a Arc<Workers>,
    mutator: &'static dyn Mutator,
    budget: Budget,
    environment: Arc<Environment>,
}

impl Bench<'_> {
    /// The seed of a program.
    fn seed(&self, index: u64) -> u64 {
        self.budget.seed.wrapping_mul(1_000_003).wrapping_add(index)
    }

    fn device<'a>(&self, backend: &'a dyn Backend) -> Side<'a> {
        Side::Nic(Device::new(
            backend,
            Arc::clone(self.caps),
            Some(Arc::clone(self.workers)),
        ))
    }

    /// What the suite sees of a backend, and what the judge does if the suite sees nothing.
    fn fate(&self, courses: &mut [Course; 2], verified: &Verified, backend: &dyn Backend) -> Fate {
        let side = self.device(backend);
        let seen = |course: &mut Course| match side.load(verified, &self.environment) {
            Ok(mut nic) => course.differs(&mut nic, verified),
            // What refuses to load is seen at once.
            Err(_) => Some(0),
        };
        let [suite, judge] = courses;
        if let Some(packet) = seen(suite) {
            return Fate::Caught { packet };
        }
        seen(judge).map_or(Fate::Same, |packet| Fate::Missed { packet })
    }

    /// The mutants of one program.
    fn program(&self, seed: u64) -> Result<Answer, Error> {
        let program = Arc::new(generate::program(&Spec::default(), seed));
        let Ok(verified) = self.device(self.backend).verify(&program) else {
            return Ok(Answer::NotTaken);
        };
        let Ok(image) = self.backend.translate(&verified, self.caps) else {
            return Ok(Answer::NotTaken);
        };
        let aimed = |seed| {
            Aimed::new(&verified, &self.environment, seed)
                .map_err(|e| Error::environment(e.to_string()))
        };
        let mut candidates = mutations(self.backend, &image, self.mutator);
        let mut random = Random::new(seed);
        let mut courses = [
            Course::new(self, &verified, aimed(seed)?, self.budget.packets)?,
            Course::new(
                self,
                &verified,
                aimed(!seed)?.unchosen(),
                JUDGE * self.budget.packets,
            )?,
        ];
        if let Fate::Caught { packet } | Fate::Missed { packet } =
            self.fate(&mut courses, &verified, self.backend)
        {
            return Ok(Answer::FalseAlarm(FalseAlarm {
                program: seed,
                shown_by: packet,
            }));
        }
        let mut fates = Vec::new();
        while fates.len() < self.budget.mutants && !candidates.is_empty() {
            let mutation = draw(&mut random, &mut candidates);
            let mutant = Mutated::new(self.backend, &mutation);
            let fate = self.fate(&mut courses, &verified, &mutant);
            fates.push((mutation, fate));
        }
        Ok(Answer::Mutants(fates))
    }
}

/// Takes one of the candidates: a kind first, so that rare ones come up as often.
fn draw(random: &mut Random, candidates: &mut Vec<Mutation>) -> Mutation {
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| candidates.iter().any(|c| c.kind == *kind))
        .collect();
    let kind = random.choose_from(&kinds);
    let of_kind: Vec<usize> = candidates
        .iter()
        .enumerate()
        .filter(|(_, c)| Some(c.kind) == kind)
        .map(|(at, _)| at)
        .collect();
    let at = random.choose_from(&of_kind).unwrap_or(0);
    candidates.swap_remove(at)
}
