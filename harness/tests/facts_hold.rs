//! What the facts say holds at every instruction of a run: programs, generated and real, in the
//! checked interpreter, each register and stack slot against its fact.
//!
//! For longer runs: `NICBED_PROGRAMS=20000 NICBED_SEED=7 cargo test -p harness --test facts_hold`.
//! What is wrong shrinks to the smallest program, written as a case to `target/tmp/found/`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod cli;

use std::path::Path;
use std::sync::Arc;

use bpf::generate::{self, Spec, case_text, shrink};
use bpf::map::{MapSet, Placement};
use bpf::object::{LoadOptions, load};
use bpf::run::{Arrival, Batch, Environment};
use bpf::trace::{Moment, Observer, Place, Region};
use bpf::{Program, helper};
use cpu_reference::{Interp, Reference, Setup};
use harness::packets::Packets;
use isa::ebpf::{CallTarget, Insn};
use verifier::Verified;
use verifier::facts::{Held, RegFact, RegKind};

/// Room before a packet, in bytes.
const HEADROOM: usize = 256;

/// Holds a run against facts.
struct Holding<'v> {
    verified: &'v Verified,
    /// Whether the packet's start can move.
    moves: bool,
    /// Frame pointers of the functions that run, the entry's first.
    frames: Vec<u64>,
    steps: u64,
    wrong: Option<String>,
}

impl Holding<'_> {
    fn allows(&self, moment: &dyn Moment, fact: &RegFact, value: u64) -> bool {
        match fact.kind {
            RegKind::Scalar => fact.range.contains(value),
            RegKind::Stack { up } => {
                let frame = self.frames.iter().rev().nth(up as usize);
                frame.is_some_and(|frame| fact.range.contains(value.wrapping_sub(*frame)))
            }
            RegKind::Packet if !self.moves => match moment.resolve(Region::Packet, value) {
                Some(Place::Packet { offset }) => {
                    fact.range.contains((offset - HEADROOM as i64) as u64)
                }
                _ => false,
            },
            RegKind::MapValue { map, or_null } => match moment.resolve(Region::Value, value) {
                Some(Place::Value { map: found, .. }) => map.is_none_or(|map| map == found),
                _ => or_null && value == 0,
            },
            RegKind::Ctx => matches!(
                moment.resolve(Region::Context, value),
                Some(Place::Context { .. })
            ),
            _ => true,
        }
    }

    fn look(&mut self, moment: &dyn Moment) -> Option<String> {
        let (pc, registers) = (moment.pc(), moment.registers());
        // A frame pointer that is known returns to that function, another enters one.
        match self.frames.iter().position(|frame| *frame == registers[10]) {
            Some(at) => self.frames.truncate(at + 1),
            None => self.frames.push(registers[10]),
        }
        let facts = self.verified.facts(pc);
        if !facts.reachable {
            return Some(format!("pc {pc} is said to be unreachable"));
        }
        for (n, (fact, value)) in facts.registers.iter().zip(registers).enumerate() {
            if !self.allows(moment, fact, value) {
                return Some(format!("pc {pc}: r{n} is {value:#x}, but {fact:?}"));
            }
        }
        for slot in &facts.stack {
            let mut bytes = [0; 8];
            let at = registers[10].wrapping_add(i64::from(slot.offset) as u64);
            let (len, fact) = match &slot.holds {
                Held::Register { value, bytes } => (usize::from(*bytes), Some(value)),
                Held::Zero => (8, None),
                Held::Bytes => continue,
            };
            if !moment.read(at, &mut bytes[..len]) {
                return Some(format!("pc {pc}: {slot:?} cannot be read"));
            }
            let number = u64::from_le_bytes(bytes);
            let holds = match fact {
                None => number == 0,
                // Of a narrow spill only the lower bytes are there.
                Some(fact) if len == 8 => self.allows(moment, fact, number),
                Some(fact) if len == 4 => {
                    let range = &fact.range;
                    (range.u32_min..=range.u32_max).contains(&(number as u32))
                }
                Some(_) => true,
            };
            if !holds {
                return Some(format!(
                    "pc {pc}: the stack holds {number:#x}, but {slot:?}"
                ));
            }
        }
        None
    }
}

impl Observer for Holding<'_> {
    fn before(&mut self, moment: &dyn Moment) {
        self.steps += 1;
        if moment.program() == 0 && self.wrong.is_none() {
            self.wrong = self.look(moment);
        }
    }
}

/// Helpers that move the packet's start.
fn moves(program: &Program) -> bool {
    let moving = ["bpf_xdp_adjust_head", "bpf_tail_call"];
    let ids = moving.map(helper::id_by_name);
    program
        .insns
        .iter()
        .any(|insn| matches!(insn, Insn::Call(CallTarget::Helper(id)) if ids.contains(&Some(*id))))
}

/// So many packets for a program.
fn frames(program: &Program, seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut packets = Packets::new(program, seed);
    (0..count).map(|_| packets.packet()).collect()
}

/// Runs a verified program on packets; how many instructions were looked at, or what is wrong.
fn hold(program: &Arc<Program>, frames: &[Vec<u8>]) -> Result<u64, String> {
    let Ok(verified) = verifier::verify(Arc::clone(program), verifier::Options::default()) else {
        return Ok(0);
    };
    let setup = Setup {
        programs: vec![Arc::clone(program)],
        maps: MapSet::for_program_set(&program.maps, 1, Placement::Private).unwrap(),
        environment: Arc::new(Environment::default()),
    };
    let Ok(interp) = Interp::new(setup) else {
        return Ok(0);
    };
    let mut runner = interp.runner();
    let mut steps = 0;
    for (number, frame) in frames.iter().enumerate() {
        let mut batch = Batch::new();
        let arrival = Arrival {
            number: number as u64,
            arrival_ns: 1_000 * number as u64,
            port: 1,
            queue: 0,
        };
        batch.push(arrival, frame, HEADROOM, 128);
        let mut holding = Holding {
            verified: &verified,
            moves: moves(program),
            frames: Vec::new(),
            steps: 0,
            wrong: None,
        };
        assert!(runner.trace(&mut batch, &mut holding));
        steps += holding.steps;
        if let Some(wrong) = holding.wrong {
            return Err(wrong);
        }
        if let Some((_, trap)) = batch.traps.first() {
            return Err(format!("a trap: {trap:?}"));
        }
    }
    Ok(steps)
}

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn facts_hold_in_generated_programs() {
    let from = number("NICBED_SEED", 0);
    let (mut steps, mut ran) = (0, 0);
    for seed in from..from + number("NICBED_PROGRAMS", 300) {
        let program = Arc::new(generate::program(&Spec::default(), seed));
        let frames = frames(&program, seed, 6);
        match hold(&program, &frames) {
            Ok(more) => {
                steps += more;
                ran += u64::from(more > 0);
            }
            Err(wrong) => {
                let shows = |p: &Program| hold(&Arc::new(p.clone()), &frames).is_err();
                let small = shrink(&program, shows);
                let text = case_text(&small, &["accept", &format!("facts: {wrong}")]);
                let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("found");
                let path = folder.join(format!("facts-{seed}.bpf"));
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &text).unwrap();
                panic!("seed {seed}: {wrong}\n{text}written to {}", path.display());
            }
        }
    }
    println!("{ran} programs, {steps} instructions");
    assert!(
        ran > 100 && steps > 10_000,
        "{ran} programs, {steps} instructions"
    );
}

#[test]
fn facts_hold_in_real_programs() {
    let mut steps = 0;
    for name in cli::objects() {
        let path = cli::program(&format!("{name}.o"));
        let bytes = std::fs::read(&path).unwrap();
        let options = LoadOptions {
            queues: 1,
            ..LoadOptions::default()
        };
        let set = load(&path, &bytes, &options).unwrap();
        for program in set.programs {
            let frames = frames(&program, 1, 40);
            match hold(&Arc::new(program), &frames) {
                Ok(more) => steps += more,
                Err(wrong) => panic!("{name}: {wrong}"),
            }
        }
    }
    println!("{steps} instructions");
    assert!(steps > 10_000, "{steps}");
}
