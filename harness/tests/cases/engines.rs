//! The engines that a case runs on.

use std::fmt;
use std::sync::Arc;

use bpf::map::{Map, MapSet, MapType, Placement};
use bpf::run::{
    Arrival, Batch, Emitted, Environment, Event, EventKind, RedirectTarget, XDP_HEADROOM,
    XDP_MAX_LINEAR,
};
use bpf::skb::Skb;
use bpf::{Hook, Program};
use cpu_reference::{Interp, Kernel, Rbpf, Reference, Setup, Unsupported};
use nic_model::{Nic, ProgramId};
use serde::Deserialize;
use verifier::{Options, Verified};

use crate::case::Case;
use crate::fact::{Fact, to_hex};

/// What can run a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Engine {
    /// The verifier alone: does it accept the program?
    #[serde(rename = "verify")]
    Verify,
    #[serde(rename = "interp")]
    Interp,
    #[serde(rename = "rbpf")]
    Rbpf,
    #[serde(rename = "kernel")]
    Kernel,
    #[serde(rename = "x86_64")]
    X86,
    #[serde(rename = "ebpf")]
    Ebpf,
}

impl Engine {
    pub(crate) const ALL: [Engine; 6] = [
        Engine::Verify,
        Engine::Interp,
        Engine::Rbpf,
        Engine::Kernel,
        Engine::X86,
        Engine::Ebpf,
    ];

    /// Whether it counts executed instructions.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Engine::Interp | Engine::Ebpf)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Verify => "verify",
            Engine::Interp => "interp",
            Engine::Rbpf => "rbpf",
            Engine::Kernel => "kernel",
            Engine::X86 => "x86_64",
            Engine::Ebpf => "ebpf",
        })
    }
}

/// What a run left.
pub(crate) struct Seen {
    pub(crate) frames: Vec<SeenFrame>,
    pub(crate) events: Vec<Event>,
    pub(crate) maps: MapSet,
}

/// What a run left of a packet.
pub(crate) struct SeenFrame {
    /// 32 bits of a packet hook, 64 without hook.
    pub(crate) r0: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) meta: Vec<u8>,
    pub(crate) redirect: Option<RedirectTarget>,
    /// What a tc packet has beside its bytes.
    pub(crate) context: Option<Skb>,
    pub(crate) emitted: Vec<Emitted>,
    pub(crate) instructions: u64,
}

impl Seen {
    fn new(batch: &Batch, hook: &Hook, maps: &MapSet) -> Result<Seen, String> {
        if let Some((_, trap)) = batch.traps.first() {
            return Err(format!("trapped at {:?}: {}", trap.pc, trap.cause));
        }
        let frame = |index: usize| {
            let outcome = batch.outcome(index, hook);
            let r0 = outcome.r0.unwrap_or_else(|| outcome.verdict.code());
            SeenFrame {
                r0: match hook {
                    Hook::Raw { .. } => r0,
                    Hook::Xdp { .. } | Hook::Tc { .. } => u64::from(r0 as u32),
                },
                bytes: outcome.frame.to_vec(),
                meta: outcome.meta.to_vec(),
                redirect: outcome.redirect,
                context: outcome.context.cloned(),
                emitted: outcome.emitted.to_vec(),
                instructions: outcome.cost.instructions,
            }
        };
        Ok(Seen {
            frames: (0..batch.frames.len()).map(frame).collect(),
            events: batch.events.clone(),
            maps: maps.clone(),
        })
    }

    /// The map of this name.
    pub(crate) fn map(&self, name: &str) -> Option<&Map> {
        let id = self.maps.by_name(name)?;
        self.maps.get(id).map(|map| &**map)
    }

    /// All that must be equal on every engine, as text.
    fn comparable(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, frame) in self.frames.iter().enumerate() {
            lines.push(format!("packet {index}: r0 = {:#x}", frame.r0));
            lines.push(format!("packet {index}: meta {}", to_hex(&frame.meta)));
            lines.push(format!("packet {index}: {}", to_hex(&frame.bytes)));
        }
        for map in self.maps.iter() {
            let name = &map.def().name;
            match map.kind() {
                MapType::ProgArray
                | MapType::PerfEventArray
                | MapType::ArrayOfMaps
                | MapType::HashOfMaps
                | MapType::Xskmap
                | MapType::BloomFilter
                | MapType::Ringbuf => {}
                MapType::Queue | MapType::Stack => {
                    for value in map.host_values() {
                        lines.push(format!("map {name}: {}", to_hex(&value)));
                    }
                }
                _ => {
                    for key in map.host_keys() {
                        let value = map.host_lookup(&key).unwrap_or_default();
                        lines.push(format!("map {name}[{}] = {}", to_hex(&key), to_hex(&value)));
                    }
                }
            }
        }
        for event in &self.events {
            match event.kind {
                // The kernel pads the one and tells nobody the other.
                EventKind::Perf { .. } | EventKind::Trace => {}
                EventKind::Ringbuf { map } => {
                    lines.push(format!("ring {map}: {}", to_hex(&event.bytes)));
                }
            }
        }
        lines
    }
}

/// How an engine took a case.
enum Ran {
    Seen(Box<Seen>),
    Accepted,
    /// By this rule, at this line of the file.
    Rejected {
        rule: Option<String>,
        line: Option<u32>,
        message: String,
    },
    /// The machine lacks what the engine needs.
    Skipped,
}

/// Runs a case on its engines; all that is wrong, in words.
pub(crate) fn run(case: &Case) -> Vec<String> {
    let mut problems = left_out(case);
    let mut first: Option<(Engine, Vec<String>)> = None;
    for &engine in &case.engines {
        let ran = match run_on(engine, case) {
            Ok(ran) => ran,
            Err(error) => {
                problems.push(format!("{engine}: {error}"));
                continue;
            }
        };
        let mut say = |problem: String| problems.push(format!("{engine}: {problem}"));
        match (ran, case.rejections.first()) {
            (Ran::Skipped, _) | (Ran::Accepted, None) => {}
            (Ran::Accepted | Ran::Seen(_), Some((line, rule))) => {
                say(format!(
                    "accepts the program, expected {rule} on line {line}"
                ));
            }
            (Ran::Rejected { message, .. }, None) => say(format!("rejects: {message}")),
            (
                Ran::Rejected {
                    rule,
                    line,
                    message,
                },
                Some((expected_line, expected)),
            ) => {
                // The kernel has no rules, and its log no lines.
                if rule.as_ref().is_some_and(|rule| rule != expected)
                    || line.is_some_and(|line| line as usize != *expected_line)
                {
                    let rule = rule.unwrap_or_default();
                    say(format!(
                        "rejects by {rule} on line {line:?} ({message}), expected {expected} on \
                         line {expected_line}"
                    ));
                }
            }
            (Ran::Seen(seen), None) => {
                facts(engine, case, &seen).into_iter().for_each(&mut say);
                let lines = seen.comparable();
                match &first {
                    None => first = Some((engine, lines)),
                    Some((other, others)) if *others != lines => {
                        let differs = |(a, b): &(&String, &String)| a != b;
                        let at = others.iter().zip(&lines).find(differs);
                        say(format!("differs from {other}: {at:?}"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    problems
}

/// The facts that do not hold.
fn facts(engine: Engine, case: &Case, seen: &Seen) -> Vec<String> {
    let mut problems = Vec::new();
    let mut events = 0;
    for (line, fact) in &case.facts {
        if let Some(problem) = fact.check(engine, seen, &mut events) {
            problems.push(format!("line {line}: {problem}"));
        }
    }
    let expected = case
        .facts
        .iter()
        .any(|(_, f)| matches!(f, Fact::Event { .. }));
    if !expected && !seen.events.is_empty() {
        problems.push(format!("events that no fact expects: {:?}", seen.events));
    }
    problems
}

/// What is wrong on one engine with a case that states facts; `None` where the machine lacks the
/// engine.
pub(crate) fn on(engine: Engine, case: &Case) -> Option<Vec<String>> {
    match run_on(engine, case) {
        Ok(Ran::Seen(seen)) => Some(facts(engine, case, &seen)),
        Ok(Ran::Skipped) => None,
        Ok(Ran::Accepted) => Some(Vec::new()),
        Ok(Ran::Rejected { message, .. }) => Some(vec![format!("rejects: {message}")]),
        Err(error) => Some(vec![error]),
    }
}

/// An engine is left out only with a reason; rbpf's is held against what it says itself.
fn left_out(case: &Case) -> Vec<String> {
    let mut problems = Vec::new();
    if case.rejections.is_empty() {
        for engine in Engine::ALL {
            if !case.engines.contains(&engine) && !case.without.contains_key(&engine) {
                problems.push(format!("{engine} is left out without a reason"));
            }
        }
        let all = |p: &&Program| Rbpf::supports(p).is_ok();
        let programs = &case.programs.programs;
        if !case.engines.contains(&Engine::Rbpf) && programs.iter().all(|p| all(&p)) {
            problems.push("rbpf is left out, but supports all programs".into());
        }
    }
    problems
}

fn run_on(engine: Engine, case: &Case) -> Result<Ran, String> {
    match engine {
        Engine::Verify => Ok(match verified(case) {
            Ok(_) => Ran::Accepted,
            Err(rejected) => rejected,
        }),
        Engine::Interp => on_reference(case, |setup| {
            Ok(Box::new(Interp::new(setup)?) as Box<dyn Reference>)
        }),
        Engine::Rbpf => on_reference(case, |setup| Ok(Box::new(Rbpf::new(setup)?))),
        Engine::Kernel => on_reference(case, |setup| Ok(Box::new(Kernel::new(setup)?))),
        Engine::X86 => on_nic(case, "x86-dpu", "x86_64"),
        Engine::Ebpf => on_nic(case, "netdevsim", "ebpf"),
    }
}

/// All programs, proved safe.
fn verified(case: &Case) -> Result<Vec<Verified>, Ran> {
    let verify = |program: &Program| {
        verifier::verify(Arc::new(program.clone()), Options::default()).map_err(|rejection| {
            Ran::Rejected {
                rule: Some(rejection.finding.rule.clone()),
                line: rejection.finding.line,
                message: rejection.finding.message.clone(),
            }
        })
    };
    case.programs.programs.iter().map(verify).collect()
}

fn environment(case: &Case) -> Arc<Environment> {
    Arc::new(Environment {
        seed: 1,
        ports: vec![1],
        linear: case.linear,
        ..Environment::default()
    })
}

/// The case's packets, with the room that a test run of the kernel gives.
fn batch(case: &Case) -> Batch {
    let mut batch = Batch::new();
    for (number, bytes) in case.packets.iter().enumerate() {
        let arrival = Arrival {
            number: number as u64,
            arrival_ns: 1_000_000_000 + number as u64,
            port: 1,
            queue: 0,
        };
        let tailroom = XDP_MAX_LINEAR.saturating_sub(bytes.len());
        batch.push(arrival, bytes, XDP_HEADROOM, tailroom);
    }
    batch
}

fn on_reference(
    case: &Case,
    make: impl FnOnce(Setup) -> Result<Box<dyn Reference>, Unsupported>,
) -> Result<Ran, String> {
    let maps = MapSet::for_program_set(&case.programs.maps, 1, Placement::Private);
    let maps = maps.map_err(|e| e.to_string())?;
    case.seed(&maps)?;
    let setup = Setup {
        programs: case
            .programs
            .programs
            .iter()
            .cloned()
            .map(Arc::new)
            .collect(),
        maps,
        environment: environment(case),
    };
    let reference = match make(setup) {
        Ok(reference) => reference,
        Err(Unsupported::Environment { needs, reason }) => {
            if is_required(needs) {
                return Err(format!("NICBED_REQUIRE names {needs}: {reason}"));
            }
            println!("{}: skipped: needs {needs} ({reason})", case.name);
            return Ok(Ran::Skipped);
        }
        Err(Unsupported::Program { finding }) => {
            if finding.rule != "reference/kernel-rejects" {
                return Err(finding.message);
            }
            let last = finding
                .why
                .lines()
                .rev()
                .find(|l| !l.starts_with("processed"));
            return Ok(Ran::Rejected {
                rule: None,
                line: None,
                message: last.unwrap_or_default().to_owned(),
            });
        }
    };
    let mut batch = batch(case);
    reference.runner().process(&mut batch);
    let hook = &case.programs.programs[0].hook;
    Seen::new(&batch, hook, reference.maps()).map(|seen| Ran::Seen(Box::new(seen)))
}

fn on_nic(case: &Case, profile: &str, backend: &str) -> Result<Ran, String> {
    let caps = Arc::new(caps::builtin(profile).map_err(|e| e.to_string())?);
    let backend = jit_backends::by_name(backend).ok_or("there is no such backend")?;
    if nic_model::engine_for(backend.isa()).is_none() {
        println!("{}: skipped: needs an {} machine", case.name, backend.isa());
        return Ok(Ran::Skipped);
    }
    let programs = match verified(case) {
        Ok(programs) => programs,
        Err(rejected) => return Ok(rejected),
    };
    let mut nic = Nic::new(Arc::clone(&caps), environment(case), 1);
    let maps = nic
        .create_maps(&case.programs.maps)
        .map_err(|e| e.to_string())?;
    case.seed(nic.maps())?;
    for program in &programs {
        let hook = program.program().hook.clone();
        let image = backend
            .translate(program, &caps)
            .map_err(|refusal| format!("refuses: {refusal}"))?;
        #[expect(unsafe_code, reason = "vouches for a built-in backend's image")]
        // SAFETY: a built-in backend made it from a verified program, and it is unchanged.
        let image = unsafe { image.trust() };
        nic.load_trusted(&image, &hook, &maps)
            .map_err(|e| e.to_string())?;
    }
    let mut batch = batch(case);
    let mut queues = nic.queues(ProgramId(0));
    queues[0].process(&mut batch);
    let hook = &case.programs.programs[0].hook;
    Seen::new(&batch, hook, nic.maps()).map(|seen| Ran::Seen(Box::new(seen)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment says which tools a run may not go without"
)]
fn is_required(what: &str) -> bool {
    std::env::var("NICBED_REQUIRE")
        .is_ok_and(|list| list.split(',').any(|item| item.trim() == what))
}
