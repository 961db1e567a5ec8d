//! Whether the result can depend on the order between queues, judged from facts alone
//! (`docs/architecture.md`, "Order").
//!
//! Free of order are: maps that no program writes, per-CPU arrays, and maps that programs only
//! change by atomic adds whose result nobody reads. Everything else needs arrival order, unless
//! it can be [`watched`](super::watched): maps that programs reach through lookups and other helpers
//! alone.

use std::collections::{BTreeMap, BTreeSet};

use bpf::helper::Arg;
use bpf::map::{MapId, MapType};
use bpf::{Program, kfunc};
use isa::ebpf::{AtomicOp, Insn, Wide};
use verifier::Verified;
use verifier::facts::{Facts, RegKind, Region};

use super::stale;
use super::watched::Watch;

/// In which order the queues of a NIC are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each queue on its own; threads may run several at once.
    PerQueue,
    /// All packets one after the other, as they arrived.
    Arrival,
}

impl Order {
    /// Name, as in JSON and `--order`.
    pub const fn name(self) -> &'static str {
        match self {
            Order::PerQueue => "per-queue",
            Order::Arrival => "arrival",
        }
    }
}

/// Why a program needs arrival order: one place for each map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderReason {
    /// Map name.
    pub map: String,
    /// Its index in the program's map list.
    pub id: MapId,
    /// Slot of the first access that needs it.
    pub pc: usize,
    /// What that access does.
    pub what: &'static str,
    /// How the map can be watched instead; `None` if it cannot.
    pub watch: Option<Watch>,
}

/// What programs do to one map.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    /// First plain store to a value, or atomic whose old value is used.
    store: Option<usize>,
    /// First atomic add (or other commuting operation) without fetch.
    add: Option<usize>,
    /// First read of a value.
    load: Option<usize>,
    /// First update, delete, push or pop.
    change: Option<(usize, &'static str)>,
    /// First lookup.
    lookup: Option<usize>,
    /// First helper that goes through all elements.
    iterated: Option<usize>,
    /// First lookup of a value by CPU, which may be another queue's.
    by_cpu: Option<usize>,
    /// First place where a program has the address of values without a lookup.
    direct: Option<usize>,
}

/// Reasons why these programs, which run together, need arrival order; empty if they do not.
pub fn reasons(programs: &[&Verified]) -> Vec<OrderReason> {
    let Some(first) = programs.first() else {
        return Vec::new();
    };
    let maps = &first.program().maps;
    let after = stale::after_delete(programs);
    let stale = uses(programs, |program, pc| after[program].contains(&pc));
    let unmarked = unmarked(programs);
    uses(programs, |_, _| true)
        .iter()
        .filter_map(|(&map, uses)| {
            let def = maps.get(map)?;
            let (pc, what) = needs_order(def.kind, uses)?;
            Some(OrderReason {
                map: def.name.clone(),
                id: map,
                pc,
                what,
                watch: watchable(def.kind, uses, stale.get(&map))
                    .filter(|_| def.kind != MapType::Array || !unmarked.contains(&map)),
            })
        })
        .collect()
}

/// The maps that some program looks up without storing into them: where they are arrays, native
/// code of such a program reaches their elements without a mark.
fn unmarked(programs: &[&Verified]) -> BTreeSet<MapId> {
    let each = programs.iter().flat_map(|program| {
        let marked = program.stores_into();
        let uses = uses(std::slice::from_ref(program), |_, _| true);
        uses.into_iter()
            .filter(move |(map, uses)| uses.lookup.is_some() && !marked.contains(map))
            .map(|(map, _)| map)
    });
    each.collect()
}

/// How a map that needs order can be watched. Sections of global data cannot: programs have
/// their address without a call that would mark them.
fn watchable(kind: MapType, uses: &Uses, stale: Option<&Uses>) -> Option<Watch> {
    let reused = stale.is_some_and(|s| s.load.or(s.store).or(s.add).is_some());
    let possible = match kind {
        MapType::Hash | MapType::PercpuHash | MapType::LruHash | MapType::LruPercpuHash => !reused,
        MapType::LpmTrie | MapType::Queue | MapType::Stack | MapType::BloomFilter => true,
        MapType::Array => uses.direct.is_none(),
        _ => false,
    };
    // Which elements there are is no matter of one cell.
    let cells = uses.by_cpu.is_none() && uses.iterated.is_none();
    (possible && cells).then_some(Watch {
        lookups_write: uses.store.is_some() || (uses.add.is_some() && uses.load.is_some()),
    })
}

/// What these programs do to each map that they touch, where `counts` (program, pc) says so.
fn uses(programs: &[&Verified], counts: impl Fn(usize, usize) -> bool) -> BTreeMap<usize, Uses> {
    let mut uses = BTreeMap::new();
    for (number, verified) in programs.iter().enumerate() {
        let program = verified.program();
        for (pc, insn) in program.insns.iter().enumerate() {
            if verified.facts(pc).reachable && counts(number, pc) {
                note(&mut uses, verified, program, pc, insn);
            }
        }
    }
    uses
}

/// The maps that these programs change: by a store, an atomic, an update, or a lookup that counts
/// as a use; and all ring buffers.
pub fn written(programs: &[&Verified]) -> BTreeSet<MapId> {
    let Some(first) = programs.first() else {
        return BTreeSet::new();
    };
    let maps = &first.program().maps;
    let changes = |map: usize, uses: &Uses| {
        let evicts = maps
            .get(map)
            .is_some_and(|def| matches!(def.kind, MapType::LruHash | MapType::LruPercpuHash));
        uses.store.is_some()
            || uses.add.is_some()
            || uses.change.is_some()
            || (evicts && uses.lookup.is_some())
    };
    // The positions of ring buffers move, without a use that is noted.
    let rings = (0..maps.len()).filter(|id| maps[*id].kind == MapType::Ringbuf);
    uses(programs, |_, _| true)
        .iter()
        .filter(|&(&map, uses)| changes(map, uses))
        .map(|(&map, _)| map)
        .chain(rings)
        .collect()
}

fn note(
    uses: &mut BTreeMap<usize, Uses>,
    verified: &Verified,
    program: &Program,
    pc: usize,
    insn: &Insn,
) {
    let facts = verified.facts(pc);
    let count = program.maps.len();
    let mut each = |map: Option<usize>, apply: &mut dyn FnMut(&mut Uses)| {
        // An access whose map differs between paths may be to any of them.
        let range = map.map_or(0..count, |m| m..m + 1);
        for map in range {
            apply(uses.entry(map).or_default());
        }
    };
    let value_map = || match facts.access.map(|a| a.region) {
        Some(Region::MapValue { map }) => Some(map),
        Some(Region::Mixed) | None => Some(None),
        Some(_) => None,
    };
    match insn {
        Insn::Load { .. } | Insn::LoadAcquire { .. } => {
            if let Some(map) = value_map() {
                each(map, &mut |u| {
                    u.load.get_or_insert(pc);
                });
            }
        }
        Insn::Store { .. } | Insn::StoreRelease { .. } => {
            if let Some(map) = value_map() {
                each(map, &mut |u| {
                    u.store.get_or_insert(pc);
                });
            }
        }
        Insn::Atomic { op, .. } => {
            if let Some(map) = value_map() {
                let commutes = *op == AtomicOp::Add;
                each(map, &mut |u| {
                    if commutes { &mut u.add } else { &mut u.store }.get_or_insert(pc);
                });
            }
        }
        Insn::LoadWide {
            value: Wide::MapValue { map, .. },
            ..
        } => each(Some(*map as usize), &mut |u| {
            u.direct.get_or_insert(pc);
        }),
        Insn::Call(target) => {
            if let Some(id) = kfunc::callee(*target) {
                note_helper(&mut each, id, facts, pc);
            }
        }
        _ => {}
    }
}

fn note_helper(
    each: &mut impl FnMut(Option<usize>, &mut dyn FnMut(&mut Uses)),
    id: u32,
    facts: &Facts,
    pc: usize,
) {
    let map = facts.call.as_ref().and_then(|c| c.map);
    let change = match id {
        id::MAP_UPDATE => Some("update"),
        id::MAP_DELETE => Some("delete"),
        id::MAP_PUSH => Some("push"),
        id::MAP_POP => Some("pop"),
        _ => None,
    };
    if let Some(what) = change {
        each(map, &mut |u| {
            u.change.get_or_insert((pc, what));
        });
    }
    if id == id::MAP_FOR_EACH {
        each(map, &mut |u| {
            u.iterated.get_or_insert(pc);
        });
    }
    if matches!(id, id::MAP_LOOKUP | id::MAP_PEEK | id::MAP_LOOKUP_PERCPU) {
        each(map, &mut |u| {
            u.lookup.get_or_insert(pc);
        });
    }
    if id == id::MAP_LOOKUP_PERCPU {
        each(map, &mut |u| {
            u.by_cpu.get_or_insert(pc);
        });
    }
    // A pointer argument may lead into a value of some map.
    let prototype = bpf::helper::prototype(id).or_else(|| kfunc::of_callee(id));
    let args = prototype.map_or([Arg::UninitMem; 5], |p| p.args);
    for (arg, register) in args.iter().zip(&facts.registers[1..]) {
        let (reads, writes) = match arg {
            Arg::Mem
            | Arg::MemOrNull
            | Arg::FixedMem(_)
            | Arg::MapKey
            | Arg::MapValue
            | Arg::MapValueOrNull
            | Arg::StackOrNull => (true, false),
            Arg::UninitMem | Arg::UninitMapValue => (false, true),
            Arg::MemRw
            | Arg::MemRwOrNull
            | Arg::FixedMemRw(_)
            | Arg::PointerField
            | Arg::PointerGiven
            | Arg::AlignedOut(_)
            | Arg::SpinLock
            | Arg::Timer
            | Arg::DynptrMem
            | Arg::Scratch => (true, true),
            Arg::None
            | Arg::Ctx
            | Arg::CtxOrNull
            | Arg::ConstMap
            | Arg::Size
            | Arg::SizeOrZero
            | Arg::Anything
            | Arg::ConstAllocSize
            | Arg::RingbufRecord
            | Arg::Socket
            | Arg::AcquiredSocket
            | Arg::Kernel(..)
            | Arg::Address
            | Arg::KernelType
            | Arg::DynptrOrNull
            | Arg::Function
            | Arg::ConstStr
            | Arg::Scalar
            | Arg::NewIterator
            | Arg::Iterator
            | Arg::EndIterator
            | Arg::NewDynptr
            | Arg::Dynptr
            | Arg::RecordDynptr
            | Arg::ScratchSize
            | Arg::NewInterruptState
            | Arg::InterruptState
            | Arg::Local(_) => continue,
        };
        let into = match register.kind {
            RegKind::MapValue { map, .. } => map,
            RegKind::Unknown => None,
            _ => continue,
        };
        each(into, &mut |u| {
            if reads {
                u.load.get_or_insert(pc);
            }
            if writes {
                u.store.get_or_insert(pc);
            }
        });
    }
}

/// Ids of the helpers that use maps, as in linux/bpf.h.
mod id {
    pub(super) const MAP_LOOKUP: u32 = 1;
    pub(super) const MAP_FOR_EACH: u32 = 164;
    pub(super) const MAP_UPDATE: u32 = 2;
    pub(super) const MAP_DELETE: u32 = 3;
    pub(super) const MAP_PUSH: u32 = 87;
    pub(super) const MAP_POP: u32 = 88;
    pub(super) const MAP_PEEK: u32 = 89;
    pub(super) const MAP_LOOKUP_PERCPU: u32 = 195;
}

/// The first access for which the order between queues matters, if any.
fn needs_order(kind: MapType, uses: &Uses) -> Option<(usize, &'static str)> {
    let written = uses.store.is_some() || uses.add.is_some() || uses.change.is_some();
    if let (Some(pc), true) = (uses.by_cpu, written) {
        return Some((pc, "lookup of another CPU's value"));
    }
    match kind {
        // Each queue has slots of its own.
        MapType::PercpuArray | MapType::PerfEventArray | MapType::Ringbuf => return None,
        // A lookup moves the element to the front of what is evicted last.
        MapType::LruHash | MapType::LruPercpuHash => {
            if let Some(pc) = uses.lookup.or(uses.change.map(|c| c.0)) {
                return Some((pc, "lookup in a map that evicts"));
            }
        }
        _ => {}
    }
    if let Some((pc, what)) = uses.change {
        return Some((pc, what));
    }
    if kind == MapType::PercpuHash {
        return None;
    }
    if let Some(pc) = uses.store {
        return Some((pc, "store to a value"));
    }
    if let (Some(pc), Some(_)) = (uses.add, uses.load) {
        return Some((pc, "atomic add to a value that is read"));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bpf::object::{LoadOptions, load};

    use super::*;

    /// Counts in a per-CPU array; `lookup` sets r0 to the address of the value.
    fn reasons_of(lookup: &str) -> Vec<OrderReason> {
        let text = format!(
            ".map c type=percpu_array key=4 value=8 entries=1
             *(u32 *)(r10 - 4) = 0
             r1 = map[c] ll
             r2 = r10
             r2 += -4
             {lookup}
             if r0 == 0 goto out
             r1 = *(u64 *)(r0 + 0)
             r1 += 1
             *(u64 *)(r0 + 0) = r1
             out:
             r0 = 2
             exit
"
        );
        let set = load("case.bpf", text.as_bytes(), &LoadOptions::default()).unwrap();
        let program = Arc::new(set.programs[0].clone());
        let verified = crate::pipeline::verify(&program).unwrap();
        reasons(&[&verified])
    }

    #[test]
    fn a_per_cpu_value_needs_order_only_if_it_is_looked_up_by_cpu() {
        assert_eq!(reasons_of("call bpf_map_lookup_elem"), []);
        let by_cpu = reasons_of("r3 = 0\ncall bpf_map_lookup_percpu_elem");
        assert_eq!(by_cpu.len(), 1);
        assert_eq!(
            (by_cpu[0].pc, by_cpu[0].what),
            (6, "lookup of another CPU's value")
        );
    }

    #[test]
    fn a_map_that_is_gone_through_needs_order_if_it_is_written() {
        let reasons_of = |body: &str| {
            let text = format!(
                ".map flows type=hash key=8 value=8 entries=16
                 r1 = map[flows] ll
                 r2 = each ll
                 r3 = 0
                 r4 = 0
                 call bpf_for_each_map_elem
                 r0 = 2
                 exit
                 each:
                 {body}
                 r0 = 0
                 exit
"
            );
            let set = load("case.bpf", text.as_bytes(), &LoadOptions::default()).unwrap();
            let program = Arc::new(set.programs[0].clone());
            let verified = crate::pipeline::verify(&program).unwrap();
            let found = reasons(&[&verified]);
            found
                .into_iter()
                .map(|r| (r.pc, r.what, r.watch))
                .collect::<Vec<_>>()
        };
        assert_eq!(reasons_of("r1 = *(u64 *)(r3 + 0)"), []);
        let deletes = reasons_of("call bpf_map_delete_elem");
        assert_eq!(deletes, [(9, "delete", None)]);
        let stores = reasons_of("*(u64 *)(r3 + 0) = 1");
        assert_eq!(stores, [(9, "store to a value", None)]);
    }

    #[test]
    fn a_helper_that_writes_into_a_value_is_a_store() {
        let text = "
            .map params type=array key=4 value=64 entries=1
            r6 = r1
            *(u32 *)(r10 - 4) = 0
            r1 = map[params] ll
            r2 = r10
            r2 += -4
            call bpf_map_lookup_elem
            if r0 == 0 goto out
            r1 = r6
            r2 = r0
            r3 = 64
            r4 = 0
            call bpf_fib_lookup
            out:
            r0 = 2
            exit
        ";
        let set = load("case.bpf", text.as_bytes(), &LoadOptions::default()).unwrap();
        let program = Arc::new(set.programs[0].clone());
        let verified = crate::pipeline::verify(&program).unwrap();
        let reasons = reasons(&[&verified]);
        let found: Vec<_> = reasons
            .iter()
            .map(|r| (r.map.as_str(), r.pc, r.what))
            .collect();
        assert_eq!(found, [("params", 12, "store to a value")]);
    }
}
