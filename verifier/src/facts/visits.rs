//! What exploration saw, as facts.

use isa::ebpf::Insn;

use super::values::{access_of, call_of};
use super::{Access, CallFact, Facts, Region, Ways};
use crate::domain::State;
use crate::transfer::Context;

/// What exploration saw at each instruction, joined.
///
/// Only what pruning compares exactly is kept here: where pointers that are used point, and
/// which ways branches went (a branch that is decided makes its operands matter). So it holds
/// for pruned paths too.
#[derive(Clone, Debug)]
pub(crate) struct Visits {
    seen: Vec<Seen>,
}

/// What was seen at one instruction.
#[derive(Clone, Debug, Default)]
struct Seen {
    visits: u64,
    access: Option<Access>,
    call: Option<CallFact>,
    branch: Option<Ways>,
}

impl Visits {
    pub(crate) fn new(len: usize) -> Visits {
        Visits {
            seen: vec![Seen::default(); len],
        }
    }

    /// An instruction is about to be executed.
    pub(crate) fn note(&mut self, cx: &Context<'_>, state: &State, pc: usize, insn: &Insn) {
        let fact = &mut self.seen[pc];
        let first = fact.visits == 0;
        fact.visits += 1;
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
        let ways = self.seen[pc].branch.get_or_insert_default();
        ways.taken |= taken;
        ways.fall_through |= !taken;
    }

    /// Branches that were met, and the ways they went.
    pub(crate) fn branches(&self) -> impl Iterator<Item = (usize, Ways)> + '_ {
        let ways = |(pc, fact): (usize, &Seen)| fact.branch.map(|w| (pc, w));
        self.seen.iter().enumerate().filter_map(ways)
    }

    /// Whether any path came to `pc`.
    pub(crate) fn reached(&self, pc: usize) -> bool {
        self.seen[pc].visits > 0
    }

    /// Which ways the branch at `pc` went.
    pub(crate) fn ways(&self, pc: usize) -> Ways {
        self.seen[pc].branch.unwrap_or_default()
    }

    /// First byte behind all that is touched of the packet.
    pub(crate) fn packet_end(&self) -> Option<u64> {
        let accesses = self.seen.iter().filter_map(|seen| seen.access);
        let packet = accesses.filter(|a| matches!(a.region, Region::Packet | Region::Mixed));
        let ends = packet.map(|a| a.max.saturating_add(i64::from(a.size)));
        ends.max().map(|end| u64::try_from(end).unwrap_or(0))
    }

    /// Runs of instructions that no path reaches.
    pub(crate) fn unreached(&self) -> Vec<std::ops::Range<usize>> {
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for (pc, _) in self.seen.iter().enumerate().filter(|(_, f)| f.visits == 0) {
            match runs.last_mut() {
                Some(run) if run.end == pc => run.end = pc + 1,
                _ => runs.push(pc..pc + 1),
            }
        }
        runs
    }

    /// The facts as far as exploration tells them.
    pub(crate) fn facts(&self) -> Vec<Facts> {
        let facts = self.seen.iter().map(|seen| Facts {
            reachable: seen.visits > 0,
            visits: seen.visits,
            access: seen.access,
            call: seen.call.clone(),
            branch: seen.branch,
            leaks_pointer: seen.visits > 0,
            ..Facts::default()
        });
        facts.collect()
    }
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

fn join_call(a: &CallFact, b: &CallFact) -> CallFact {
    CallFact {
        map: a.map.filter(|m| Some(*m) == b.map),
        key: a.key.filter(|k| Some(*k) == b.key),
        value: a.value.filter(|v| Some(*v) == b.value),
        constant_key: a.constant_key.filter(|k| Some(*k) == b.constant_key),
    }
}
