//! [`Facts`]: what holds at an instruction over all paths.

use isa::ebpf::{CallTarget, Insn};

use bpf::helper::Arg;

use crate::domain::{Kind, Range, State, Tnum, Value};
use crate::transfer::{Context, map_argument};

/// What holds before an instruction, joined over all paths that reach it, and what its access,
/// call or branch does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether any path reaches it.
    pub reachable: bool,
    /// The registers before the instruction.
    pub registers: [RegFact; 11],
    /// What a load, store or atomic touches.
    pub access: Option<Access>,
    /// What a call is given.
    pub call: Option<CallFact>,
    /// Which ways a branch can go.
    pub branch: Option<Ways>,
}

/// What a register holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegFact {
    /// Type.
    pub kind: RegKind,
    /// Range: of the number; for a pointer, of its offset from the start of what it points into
    /// (for the stack: from the frame pointer).
    pub range: Range,
}

/// Type of a register's value, joined over paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegKind {
    /// Not written yet, or of different types on different paths: must not be relied on.
    #[default]
    Unknown,
    /// A number.
    Scalar,
    /// The context.
    Ctx,
    /// Into the packet.
    Packet,
    /// Into the metadata before the packet.
    PacketMeta,
    /// Just past the packet.
    PacketEnd,
    /// Into the stack frame of a function.
    Stack {
        /// Frames up from the running function: 0 is its own.
        up: u32,
    },
    /// A map itself.
    Map {
        /// Index in the program's map list, if it is the same on all paths.
        map: Option<usize>,
    },
    /// Into a value of a map.
    MapValue {
        /// Index in the program's map list, if it is the same on all paths.
        map: Option<usize>,
        /// Whether it may be null.
        or_null: bool,
    },
    /// Into a block of memory (a ring buffer record, `Raw` memory, a global function's
    /// argument).
    Memory {
        /// Size in bytes.
        size: u32,
        /// Whether it may be null.
        or_null: bool,
    },
}

/// Region of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The context.
    Ctx,
    /// The packet.
    Packet,
    /// The metadata before the packet.
    PacketMeta,
    /// A stack frame; `up` frames above the running function's.
    Stack {
        /// Frames up: 0 is its own.
        up: u32,
    },
    /// A map value.
    MapValue {
        /// Index in the program's map list, if it is the same on all paths.
        map: Option<usize>,
    },
    /// A block of memory.
    Memory,
    /// Different regions on different paths.
    Mixed,
}

/// What a load, store or atomic touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Region.
    pub region: Region,
    /// Smallest byte offset from the region's start (from the frame pointer for the stack: from
    /// -512), inclusive.
    pub min: i64,
    /// Largest byte offset of the first byte touched, inclusive.
    pub max: i64,
    /// Bytes touched.
    pub size: u8,
    /// Largest power of two that divides every possible offset (1 to 8).
    pub align: u8,
}

/// What a call is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFact {
    /// The map argument, if it is the same on all paths.
    pub map: Option<usize>,
    /// Where the key lies: region and constant offset, if the same on all paths.
    pub key: Option<(Region, i64)>,
    /// Where the value lies.
    pub value: Option<(Region, i64)>,
    /// The key as a number, if it is a known constant of at most 8 bytes.
    pub constant_key: Option<u64>,
}

/// Which ways a branch can go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Can be taken.
    pub taken: bool,
    /// Can fall through.
    pub fall_through: bool,
}

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
                Some(known) if !first => join_call(known, &call),
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

fn join_call(a: CallFact, b: &CallFact) -> CallFact {
    CallFact {
        map: a.map.filter(|m| Some(*m) == b.map),
        key: a.key.filter(|k| Some(*k) == b.key),
        value: a.value.filter(|v| Some(*v) == b.value),
        constant_key: a.constant_key.filter(|k| Some(*k) == b.constant_key),
    }
}
