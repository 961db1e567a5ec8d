//! What exploration saw, as facts.

use bpf::helper::Arg;
use isa::ebpf::{CallTarget, Insn};

use crate::domain::{Kind, Range, State, Tnum, Value};
use crate::transfer::{Context, map_argument};

use super::{Access, CallFact, Facts, RegFact, RegKind, Region, Ways};

/// What exploration saw at each instruction, joined.
///
/// Only what pruning compares exactly is kept here: where pointers that are used point, and
/// which ways branches went (a branch that is decided makes its operands matter). So it holds
/// for pruned paths too.
#[derive(Debug)]
pub(crate) struct Visits {
    facts: Vec<Facts>,
}

impl Visits {
    pub(crate) fn new(len: usize) -> Visits {
        Visits {
            facts: vec![Facts::default(); len],
        }
    }

    /// An instruction is about to be executed.
    pub(crate) fn note(&mut self, cx: &Context<'_>, state: &State, pc: usize, insn: &Insn) {
        let fact = &mut self.facts[pc];
        let first = !fact.reachable;
        fact.reachable = true;
        if let Some(access) = access_of(state, insn) {
            fact.access = Some(match fact.access {
                Some(known) => join_access(known, access),
                None => access,
            });
        }
        if let Some(call) = call_of(cx, state, insn) {
            fact.call = Some(match fact.call.take() {
                Some(known) if !first => join_call(&known, &call),
                _ => call,
            });
        }
    }

    /// A branch went one way.
    pub(crate) fn went(&mut self, pc: usize, taken: bool) {
        let ways = self.facts[pc].branch.get_or_insert_default();
        ways.taken |= taken;
        ways.fall_through |= !taken;
    }

    /// Branches that were met, and the ways they went.
    pub(crate) fn branches(&self) -> impl Iterator<Item = (usize, Ways)> + '_ {
        let ways = |(pc, fact): (usize, &Facts)| fact.branch.map(|w| (pc, w));
        self.facts.iter().enumerate().filter_map(ways)
    }

    /// Whether any path came to `pc`.
    pub(crate) fn reached(&self, pc: usize) -> bool {
        self.facts[pc].reachable
    }

    /// Which ways the branch at `pc` went.
    pub(crate) fn ways(&self, pc: usize) -> Ways {
        self.facts[pc].branch.unwrap_or_default()
    }

    /// Runs of instructions that no path reaches.
    pub(crate) fn unreached(&self) -> Vec<std::ops::Range<usize>> {
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for (pc, _) in self.facts.iter().enumerate().filter(|(_, f)| !f.reachable) {
            match runs.last_mut() {
                Some(run) if run.end == pc => run.end = pc + 1,
                _ => runs.push(pc..pc + 1),
            }
        }
        runs
    }

    /// The facts as far as exploration tells them.
    pub(crate) fn into_facts(self) -> Vec<Facts> {
        self.facts
    }
}

/// What holds on one path.
pub(crate) fn of_state(cx: &Context<'_>, state: &State, insn: &Insn) -> Facts {
    let mut registers = [RegFact::default(); 11];
    for (fact, value) in registers.iter_mut().zip(&state.top.regs) {
        *fact = register(state, value);
    }
    Facts {
        reachable: true,
        registers,
        access: access_of(state, insn),
        call: call_of(cx, state, insn),
        branch: None,
    }
}

fn up(state: &State, frame: u8) -> u32 {
    state.depth().saturating_sub(usize::from(frame)) as u32
}

/// A register's value as a fact.
pub(crate) fn register(state: &State, value: &Value) -> RegFact {
    let outer = |map: crate::domain::MapRef| (!map.inner).then_some(usize::from(map.index));
    let kind = match value.kind {
        Kind::Unknown => return RegFact::default(),
        Kind::Scalar => RegKind::Scalar,
        Kind::Ctx => RegKind::Ctx,
        Kind::Packet => RegKind::Packet,
        Kind::PacketMeta => RegKind::PacketMeta,
        Kind::PacketEnd => RegKind::PacketEnd,
        Kind::Stack { frame } => RegKind::Stack {
            up: up(state, frame),
        },
        Kind::Map { or_null: true, .. } => RegKind::Unknown,
        Kind::Map { map, .. } => RegKind::Map { map: outer(map) },
        Kind::MapValue { map, or_null } => RegKind::MapValue {
            map: outer(map),
            or_null,
        },
        Kind::Memory { size, or_null, .. } => RegKind::Memory { size, or_null },
        Kind::Socket { or_null, .. } => RegKind::Socket { or_null },
    };
    let range = if value.kind.is_pointer() {
        value
            .range
            .add(&Range::constant(i64::from(value.off) as u64))
    } else {
        value.range
    };
    RegFact { kind, range }
}

fn region(state: &State, kind: Kind) -> Region {
    match kind {
        Kind::Ctx => Region::Ctx,
        Kind::Packet => Region::Packet,
        Kind::PacketMeta => Region::PacketMeta,
        Kind::Stack { frame } => Region::Stack {
            up: up(state, frame),
        },
        Kind::MapValue { map, .. } => Region::MapValue {
            map: (!map.inner).then_some(usize::from(map.index)),
        },
        Kind::Memory { .. } => Region::Memory,
        Kind::Socket { .. } => Region::Socket,
        Kind::Unknown | Kind::Scalar | Kind::PacketEnd | Kind::Map { .. } => Region::Mixed,
    }
}

fn access_of(state: &State, insn: &Insn) -> Option<Access> {
    let (base, offset, size) = match *insn {
        Insn::Load {
            base, offset, size, ..
        }
        | Insn::Store {
            base, offset, size, ..
        }
        | Insn::Atomic {
            base, offset, size, ..
        }
        | Insn::LoadAcquire {
            base, offset, size, ..
        }
        | Insn::StoreRelease {
            base, offset, size, ..
        } => (base, offset, size.bytes()),
        _ => return None,
    };
    let pointer = &state.top.regs[base.index()];
    let fixed = i64::from(pointer.off) + i64::from(offset);
    let bits = pointer.range.bits.add(Tnum::constant(fixed as u64));
    Some(Access {
        region: region(state, pointer.kind),
        min: pointer.range.smin.saturating_add(fixed),
        max: pointer.range.smax.saturating_add(fixed),
        size,
        align: bits.alignment(),
    })
}

fn join_access(a: Access, b: Access) -> Access {
    let region = match (a.region, b.region) {
        (x, y) if x == y => x,
        (Region::MapValue { .. }, Region::MapValue { .. }) => Region::MapValue { map: None },
        _ => Region::Mixed,
    };
    Access {
        region,
        min: a.min.min(b.min),
        max: a.max.max(b.max),
        size: a.size,
        align: a.align.min(b.align),
    }
}

fn place(state: &State, reg: usize) -> Option<(Region, i64)> {
    let pointer = &state.top.regs[reg];
    pointer.range.as_constant()?;
    match region(state, pointer.kind) {
        Region::Mixed => None,
        region => Some((region, pointer.min_offset())),
    }
}

fn call_of(cx: &Context<'_>, state: &State, insn: &Insn) -> Option<CallFact> {
    let Insn::Call(CallTarget::Helper(id)) = *insn else {
        return None;
    };
    let prototype = cx.platform.helper(id)?;
    let at = |wanted: Arg| {
        let position = prototype.args.iter().position(|a| *a == wanted)?;
        place(state, position + 1)
    };
    let map = map_argument(state, prototype)
        .filter(|m| !m.inner)
        .map(|m| usize::from(m.index));
    Some(CallFact {
        map,
        key: at(Arg::MapKey),
        value: at(Arg::MapValue),
        constant_key: None,
    })
}

fn join_call(a: &CallFact, b: &CallFact) -> CallFact {
    CallFact {
        map: a.map.filter(|m| Some(*m) == b.map),
        key: a.key.filter(|k| Some(*k) == b.key),
        value: a.value.filter(|v| Some(*v) == b.value),
        constant_key: a.constant_key.filter(|k| Some(*k) == b.constant_key),
    }
}
