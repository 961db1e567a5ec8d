//! Which pointers into the packet are the same: for each access, where its base register comes
//! from.
//!
//! The driver compares what the kernel's verifier says on the last path it follows: the number
//! that it gives to every sum of a pointer and an unknown number, and the known part. Here the
//! same is proved for all paths: registers and spilled slots are followed forwards, and where
//! paths meet, places that were equal on each of them stay equal.

use std::collections::BTreeMap;

use isa::ebpf::{AluOp, Insn, MemSize, Operand, Reg, Width};
use verifier::facts::{RegKind, Region};

use super::plan::Plan;

/// A value, as some place once held it, plus a known distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    value: Value,
    distance: i64,
}

/// A value that is not further known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// The packet's first byte.
    Packet,
    /// What an instruction put into a register.
    Result(usize, u8),
    /// What a place held where paths met.
    Met(usize, Where),
}

/// A register, or a slot of the stack by its offset from the frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Where {
    Register(u8),
    Slot(i64),
}

type State = BTreeMap<Where, Origin>;

/// Origins of the base registers of all accesses.
#[derive(Debug)]
pub(super) struct Pointers {
    bases: Vec<Option<Origin>>,
}

impl Origin {
    /// How far `to` is behind `from`, if both come from the same value.
    pub(super) fn distance(from: Origin, to: Origin) -> Option<i64> {
        (from.value == to.value).then_some(to.distance - from.distance)
    }
}

impl Pointers {
    pub(super) fn new(plan: &Plan<'_>) -> Pointers {
        let insns = &plan.program.insns;
        let mut entries: Vec<Option<State>> = vec![None; insns.len()];
        let mut bases = vec![None; insns.len()];
        for function in &plan.functions {
            if let Some(entry) = entries.get_mut(function.start) {
                *entry = Some(initial(function.start));
            }
        }
        // States only lose equalities, so this ends.
        loop {
            let mut changed = false;
            for pc in 0..insns.len() {
                if !plan.facts(pc).reachable {
                    continue;
                }
                let Some(mut state) = entries[pc].clone() else {
                    continue;
                };
                bases[pc] = base(&insns[pc]).and_then(|reg| origin(plan, &state, pc, reg));
                step(plan, &mut state, pc);
                for next in successors(plan, pc) {
                    changed |= arrive(&mut entries, next, &state);
                }
            }
            if !changed {
                return Pointers { bases };
            }
        }
    }

    /// Where the base register of the access at `pc` comes from.
    pub(super) fn base(&self, pc: usize) -> Option<Origin> {
        self.bases.get(pc).copied().flatten()
    }
}

fn base(insn: &Insn) -> Option<Reg> {
    match *insn {
        Insn::Load { base, .. } | Insn::Store { base, .. } => Some(base),
        _ => None,
    }
}

/// What registers hold when a function starts.
fn initial(start: usize) -> State {
    let registers = Reg::all().map(|reg| Where::Register(reg.number()));
    let held = |place| Origin {
        value: Value::Met(start, place),
        distance: 0,
    };
    registers.map(|place| (place, held(place))).collect()
}

/// What a register holds before `pc`, if that is known to be any value.
fn origin(plan: &Plan<'_>, state: &State, pc: usize, reg: Reg) -> Option<Origin> {
    let fact = &plan.facts(pc).registers[reg.index()];
    if fact.kind == RegKind::Packet
        && let Some(distance) = fact.range.as_constant()
    {
        return Some(Origin {
            value: Value::Packet,
            distance: distance as i64,
        });
    }
    state.get(&Where::Register(reg.number())).copied()
}

fn successors(plan: &Plan<'_>, pc: usize) -> Vec<usize> {
    let insn = &plan.program.insns[pc];
    let target = || insn.jump_target(pc).and_then(|t| usize::try_from(t).ok());
    match insn {
        Insn::Exit => Vec::new(),
        Insn::Jump { .. } => target().into_iter().collect(),
        Insn::Branch { .. } => {
            let ways = plan.facts(pc).branch.unwrap_or_default();
            let next = ways.fall_through.then_some(pc + 1);
            next.into_iter()
                .chain(target().filter(|_| ways.taken))
                .collect()
        }
        insn => vec![pc + insn.slots()],
    }
}

/// A state comes to a place: what is equal on both paths stays.
fn arrive(entries: &mut [Option<State>], pc: usize, state: &State) -> bool {
    let Some(entry) = entries.get_mut(pc) else {
        return false;
    };
    let Some(known) = entry else {
        *entry = Some(state.clone());
        return true;
    };
    // Places that held the same pair of values get the same new one. A value that was named here
    // is that of an earlier time around: it must not be taken for the one that is named now.
    let mut named: BTreeMap<(Value, Value, i64), Origin> = BTreeMap::new();
    let mut joined = State::new();
    for (place, one) in known.iter() {
        let Some(other) = state.get(place) else {
            continue;
        };
        let is_of_here = matches!(one.value, Value::Met(at, _) if at == pc);
        let origin = if one == other && !is_of_here {
            *one
        } else {
            let apart = other.distance.wrapping_sub(one.distance);
            let met = named
                .entry((one.value, other.value, apart))
                .or_insert(Origin {
                    value: Value::Met(pc, *place),
                    distance: one.distance,
                });
            Origin {
                value: met.value,
                distance: one.distance.wrapping_sub(met.distance),
            }
        };
        joined.insert(*place, origin);
    }
    if joined == *known {
        return false;
    }
    *known = joined;
    true
}

fn step(plan: &Plan<'_>, state: &mut State, pc: usize) {
    let region = || plan.facts(pc).access.map(|access| access.region);
    let insn = plan.program.insns[pc];
    match insn {
        Insn::Alu {
            op: AluOp::Mov,
            width: Width::W64,
            dst,
            src: Operand::Reg(src),
        } => {
            let value = origin(plan, state, pc, src);
            set(state, Where::Register(dst.number()), value);
        }
        Insn::Alu {
            op: op @ (AluOp::Add | AluOp::Sub),
            width: Width::W64,
            dst,
            src,
        } => match amount(plan, pc, src) {
            Some(amount) => {
                let signed = if op == AluOp::Sub {
                    amount.wrapping_neg()
                } else {
                    amount
                };
                let moved = origin(plan, state, pc, dst).map(|value| Origin {
                    distance: value.distance.wrapping_add(signed),
                    ..value
                });
                set(state, Where::Register(dst.number()), moved);
            }
            None => make(state, pc, dst),
        },
        Insn::Store {
            size: MemSize::DW,
            src: Operand::Reg(src),
            ..
        } if slot(plan, pc).is_some() => {
            if let Some(slot) = slot(plan, pc) {
                let value = origin(plan, state, pc, src);
                set(state, slot, value);
            }
        }
        Insn::Store { .. } | Insn::Atomic { .. } | Insn::StoreRelease { .. } => {
            if !matches!(
                region(),
                Some(Region::Packet | Region::MapValue { .. } | Region::Ctx)
            ) {
                forget_slots(state);
            }
        }
        Insn::Load {
            size: MemSize::DW,
            dst,
            ..
        } if slot(plan, pc).is_some() => {
            let held = slot(plan, pc).and_then(|slot| state.get(&slot).copied());
            set(state, Where::Register(dst.number()), held);
        }
        Insn::Alu { dst, .. }
        | Insn::Neg { dst, .. }
        | Insn::MovSx { dst, .. }
        | Insn::Swap { dst, .. }
        | Insn::LoadWide { dst, .. }
        | Insn::Load { dst, .. }
        | Insn::LoadAcquire { dst, .. } => make(state, pc, dst),
        Insn::LoadPacket { .. } => clobber(state, pc),
        Insn::Call(_) => {
            // A helper or a function can write through pointers to the stack.
            clobber(state, pc);
            forget_slots(state);
        }
        Insn::WideTail
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::MayGoto { .. }
        | Insn::Exit => {}
    }
}

/// The number that is added, if it is one.
fn amount(plan: &Plan<'_>, pc: usize, src: Operand) -> Option<i64> {
    match src {
        Operand::Imm(imm) => Some(i64::from(imm)),
        Operand::Reg(src) => {
            let fact = &plan.facts(pc).registers[src.index()];
            let number = fact.kind == RegKind::Scalar;
            let constant = fact.range.as_constant().filter(|_| number);
            constant.map(|n| n as i64)
        }
    }
}

fn set(state: &mut State, place: Where, value: Option<Origin>) {
    match value {
        Some(value) => state.insert(place, value),
        None => state.remove(&place),
    };
}

/// `pc` makes a new value; what it made the last time around is not that any more.
fn make(state: &mut State, pc: usize, reg: Reg) {
    let value = Value::Result(pc, reg.number());
    state.retain(|_, held| held.value != value);
    let origin = Origin { value, distance: 0 };
    state.insert(Where::Register(reg.number()), origin);
}

fn clobber(state: &mut State, pc: usize) {
    for reg in Reg::all().take(6) {
        make(state, pc, reg);
    }
}

fn forget_slots(state: &mut State) {
    state.retain(|place, _| matches!(place, Where::Register(_)));
}

/// The slot of its own frame that the access at `pc` goes to as a whole.
fn slot(plan: &Plan<'_>, pc: usize) -> Option<Where> {
    let access = plan.facts(pc).access?;
    let whole =
        access.region == Region::Stack { up: 0 } && access.min == access.max && access.min % 8 == 0;
    whole.then_some(Where::Slot(access.min))
}
