//! The joining pass: what holds at each instruction over all paths.
//!
//! Exploration sees a path only until a kept state covers it, and covers loosely where no proof
//! rests on a number; its numbers do not hold for the paths it cut. So this pass runs after
//! acceptance over the same transfer functions, joins wherever paths meet, once for each chain
//! of calls, and widens where they come round. It checks nothing.

use std::collections::{BTreeMap, BTreeSet};

use isa::ebpf::{CallTarget, Insn};

use super::values::{leaks_pointer, register, stack};
use super::visits::Visits;
use super::{Facts, Held, RegFact, RegKind, SlotFact};
use crate::cfg::successors;
use crate::domain::join::Growth;
use crate::domain::{Ids, State};
use crate::transfer::branch::Branch;
use crate::transfer::{self, Context, Effects, ForkKind, Next, constant_key, map_argument};

/// Joins at one place before bounds that still grow are given up.
const PATIENCE: u32 = 3;
/// Rounds that take widening back.
const NARROWINGS: usize = 2;
/// Most chains of calls that are told apart.
const MAX_CHAINS: usize = 4096;
/// Most instructions executed, by instructions of the program.
const MAX_ROUNDS: usize = 400;

/// A chain of calls, by the call that made its last frame.
#[derive(Clone, Copy, Debug)]
struct Chain {
    parent: usize,
}

/// The chain of a function that nobody calls: the entry, or a global function on its own.
const ROOT: usize = 0;

/// Where paths meet: a chain of calls and a pc.
type Place = (usize, usize);

struct Joiner<'a> {
    cx: &'a Context<'a>,
    visits: &'a Visits,
    chains: Vec<Chain>,
    /// Chains by parent and call.
    made: BTreeMap<(usize, usize), usize>,
    heads: Vec<bool>,
    states: BTreeMap<Place, (State, u32)>,
    pending: BTreeSet<Place>,
    ids: Ids,
    effects: Effects,
    steps: usize,
    budget: usize,
    /// Whether places are made anew, from states that already hold.
    narrowing: bool,
}

/// The pass gave up: nothing is known of registers.
struct GaveUp;

/// Completes what exploration saw with what holds over all paths.
pub(super) fn complete(cx: &Context<'_>, visits: &Visits) -> Vec<Facts> {
    let len = cx.platform.program.insns.len();
    let mut joiner = Joiner {
        cx,
        visits,
        chains: vec![Chain { parent: 0 }],
        made: BTreeMap::new(),
        heads: heads(cx),
        states: BTreeMap::new(),
        pending: BTreeSet::new(),
        ids: Ids::default(),
        effects: Effects::default(),
        steps: 0,
        budget: len.saturating_mul(MAX_ROUNDS).max(100_000),
        narrowing: false,
    };
    let mut learned = vec![None; len];
    let done = joiner
        .fixpoint()
        .and_then(|()| joiner.narrow())
        .and_then(|()| joiner.collect(&mut learned));
    let mut facts = visits.facts();
    if done.is_ok() {
        for (fact, learned) in facts.iter_mut().zip(learned) {
            let Some(Learned {
                registers,
                stack,
                key,
                leaks_pointer,
            }) = learned
            else {
                continue;
            };
            if fact.reachable {
                fact.registers = registers;
                fact.stack = stack;
                fact.leaks_pointer = leaks_pointer;
                if let (Some(call), Key::Is(key)) = (&mut fact.call, key) {
                    call.constant_key = Some(key);
                }
            }
        }
    }
    facts
}

/// Where states are kept: jump targets, function entries, and where calls return to.
fn heads(cx: &Context<'_>) -> Vec<bool> {
    let insns = &cx.platform.program.insns;
    let mut heads = vec![false; insns.len()];
    for function in &cx.cfg.functions {
        heads[function.start] = true;
    }
    for (pc, insn) in insns.iter().enumerate() {
        if let Some(target) = insn.jump_target(pc) {
            heads[target as usize] = true;
        }
        if cx.cfg.turns[pc] {
            heads[pc] = true;
        }
        if cx.cfg.turns[pc] || matches!(insn, Insn::Call(CallTarget::Local { .. })) {
            for next in successors(insns, pc) {
                heads[next] = true;
            }
        }
    }
    heads
}

/// What the pass adds at one instruction.
#[derive(Clone, Debug)]
struct Learned {
    registers: [RegFact; 11],
    stack: Vec<SlotFact>,
    key: Key,
    leaks_pointer: bool,
}

/// The key of a lookup over all paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Is(u64),
    Unknown,
}

impl Joiner<'_> {
    fn enter_program(&mut self) {
        let starts = self.cx.cfg.functions.iter().map(|f| f.start);
        for start in starts.collect::<Vec<_>>() {
            let alone = self.cx.platform.declared.signature(start).is_some();
            if start == 0 || alone && self.visits.reached(start) {
                let state = transfer::root(self.cx, &mut self.ids, start);
                self.arrive(ROOT, start, &state);
            }
        }
    }

    fn fixpoint(&mut self) -> Result<(), GaveUp> {
        self.enter_program();
        while let Some(place) = self.pending.pop_first() {
            let Some((state, _)) = self.states.get(&place) else {
                continue;
            };
            let state = state.clone();
            self.block(place, state, &mut None)?;
        }
        Ok(())
    }

    /// Takes back what widening gave up too much: each place is made anew from what arrives
    /// there, given what holds everywhere. That holds too, and is no wider.
    fn narrow(&mut self) -> Result<(), GaveUp> {
        self.narrowing = true;
        for _ in 0..NARROWINGS {
            self.steps = 0;
            let known = std::mem::take(&mut self.states);
            self.enter_program();
            for (place, (state, _)) in known {
                self.block(place, state, &mut None)?;
            }
            self.pending.clear();
        }
        Ok(())
    }

    /// Runs over all blocks once more and keeps what holds before each instruction.
    fn collect(&mut self, learned: &mut [Option<Learned>]) -> Result<(), GaveUp> {
        self.steps = 0;
        let places: Vec<Place> = self.states.keys().copied().collect();
        for place in places {
            let Some((state, _)) = self.states.get(&place) else {
                continue;
            };
            let state = state.clone();
            self.block(place, state, &mut Some(&mut *learned))?;
        }
        Ok(())
    }

    /// A state arrives at a place; if it brings something new, the place is pending.
    fn arrive(&mut self, chain: usize, pc: usize, state: &State) {
        let place = (chain, pc);
        match self.states.get_mut(&place) {
            None => {
                self.states.insert(place, (state.clone(), 0));
                self.pending.insert(place);
            }
            Some((known, joins)) => {
                let growth = if self.narrowing || *joins < PATIENCE {
                    Growth::Join
                } else {
                    Growth::Widen
                };
                let mut joined = known.clone();
                joined.absorb(state, growth);
                if joined != *known {
                    *joins += 1;
                    *known = joined;
                    self.pending.insert(place);
                }
            }
        }
    }

    /// Executes from a place to the next ones. With `learned`, notes what holds and changes no
    /// place.
    fn block(
        &mut self,
        (mut chain, mut pc): Place,
        mut state: State,
        learned: &mut Option<&mut [Option<Learned>]>,
    ) -> Result<(), GaveUp> {
        let insns = &self.cx.platform.program.insns;
        loop {
            self.steps += 1;
            if self.steps > self.budget {
                return Err(GaveUp);
            }
            if let Some(learned) = learned {
                self.note(learned, &state, pc);
            }
            let quiet = learned.is_some();
            let insn = &insns[pc];
            if let Insn::Branch {
                cond,
                width,
                dst,
                src,
                ..
            } = *insn
            {
                if quiet {
                    let next = pc + 1;
                    if self.heads[next] || !self.visits.ways(pc).fall_through {
                        return Ok(());
                    }
                }
                let ways = self.visits.ways(pc);
                let branch = Branch {
                    cond,
                    width,
                    dst,
                    src,
                };
                if ways.taken && !quiet {
                    let mut other = state.clone();
                    branch.assume(&mut other, true);
                    let target = insn.jump_target(pc).unwrap_or(0) as usize;
                    self.arrive(chain, target, &other);
                }
                if !ways.fall_through {
                    return Ok(());
                }
                branch.assume(&mut state, false);
                pc += 1;
            } else {
                if !quiet
                    && let Some(fork) = transfer::fork(self.cx, &state, &mut self.ids, pc, false)
                {
                    let chain = match fork.kind {
                        ForkKind::EarlyReturn => self.chains[chain].parent,
                        ForkKind::Callback => self.enter(chain, pc)?,
                        ForkKind::Later => ROOT,
                        ForkKind::Iteration | ForkKind::MayGoto => chain,
                    };
                    self.arrive(chain, fork.pc, &fork.state);
                }
                self.effects.clear();
                let depth = state.depth();
                let next =
                    transfer::step(self.cx, &mut state, &mut self.ids, &mut self.effects, pc);
                let Next::At(next) = next else {
                    return Ok(());
                };
                if state.depth() > depth {
                    chain = self.enter(chain, pc)?;
                } else if state.depth() < depth {
                    chain = self.chains[chain].parent;
                }
                pc = next;
            }
            if self.heads[pc] {
                if !quiet {
                    self.arrive(chain, pc, &state);
                }
                return Ok(());
            }
        }
    }

    fn enter(&mut self, parent: usize, call: usize) -> Result<usize, GaveUp> {
        if let Some(&chain) = self.made.get(&(parent, call)) {
            return Ok(chain);
        }
        if self.chains.len() >= MAX_CHAINS {
            return Err(GaveUp);
        }
        self.chains.push(Chain { parent });
        let chain = self.chains.len() - 1;
        self.made.insert((parent, call), chain);
        Ok(chain)
    }

    fn note(&self, learned: &mut [Option<Learned>], state: &State, pc: usize) {
        let mut registers = [RegFact::default(); 11];
        for (fact, value) in registers.iter_mut().zip(&state.top.regs) {
            *fact = register(state, value);
        }
        let insn = &self.cx.platform.program.insns[pc];
        let key = self.key(state, pc);
        let stack = stack(state);
        let leaks_pointer = leaks_pointer(self.cx, state, insn);
        match &mut learned[pc] {
            None => {
                learned[pc] = Some(Learned {
                    registers,
                    stack,
                    key,
                    leaks_pointer,
                });
            }
            Some(known) => {
                join_stack(&mut known.stack, &stack);
                known.leaks_pointer |= leaks_pointer;
                for (a, b) in known.registers.iter_mut().zip(&registers) {
                    *a = join_register(*a, b);
                }
                if known.key != key {
                    known.key = Key::Unknown;
                }
            }
        }
    }

    /// The key that a call is given, if it is one number.
    fn key(&self, state: &State, pc: usize) -> Key {
        let Insn::Call(CallTarget::Helper(id)) = self.cx.platform.program.insns[pc] else {
            return Key::Unknown;
        };
        let known = || {
            let prototype = self.cx.platform.helper(id)?;
            let at = prototype
                .args
                .iter()
                .position(|a| *a == bpf::helper::Arg::MapKey)?;
            let map = self.cx.platform.map(map_argument(state, prototype)?)?;
            let key = &state.top.regs[at + 1];
            constant_key(state, key, map.key_size)
        };
        known().map_or(Key::Unknown, |(key, _)| Key::Is(key))
    }
}

/// Keeps what holds in both: of a slot that only one names nothing is known.
fn join_stack(known: &mut Vec<SlotFact>, other: &[SlotFact]) {
    known.retain_mut(|slot| {
        let same = other.binary_search_by_key(&-slot.offset, |s| -s.offset);
        let Ok(at) = same else {
            return false;
        };
        slot.zero &= other[at].zero;
        slot.holds = match (slot.holds, other[at].holds) {
            (a, b) if a == b => a,
            (
                Held::Register { value, bytes },
                Held::Register {
                    value: also,
                    bytes: same,
                },
            ) if bytes == same => Held::Register {
                value: join_register(value, &also),
                bytes,
            },
            _ => Held::Bytes,
        };
        true
    });
}

fn join_register(a: RegFact, b: &RegFact) -> RegFact {
    let kind = match (a.kind, b.kind) {
        (x, y) if x == y => x,
        (
            RegKind::MapValue { map, or_null },
            RegKind::MapValue {
                map: other,
                or_null: also,
            },
        ) => RegKind::MapValue {
            map: map.filter(|m| Some(*m) == other),
            or_null: or_null || also,
        },
        (RegKind::Map { .. }, RegKind::Map { .. }) => RegKind::Map { map: None },
        _ => return RegFact::default(),
    };
    RegFact {
        kind,
        range: a.range.join(&b.range),
    }
}
