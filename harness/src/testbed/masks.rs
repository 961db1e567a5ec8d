//! What of a run with the kernel as reference cannot be compared, found from what the verifier
//! learned: addresses that programs show, stack bytes that they never wrote.
//!
//! An address is another on every engine, and the kernel does not clear a program's stack. Where
//! such bytes lie in map values they are left out; where they reach packets or events, those are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bpf::map::{Map, MapDef, MapId, MapSet, MapType};
use cpu_reference::{Reference, Untold};
use isa::ebpf::{CallTarget, Insn};
use verifier::Verified;
use verifier::facts::{Access, RegKind, Region};

use super::cpus;
use super::start::Running;
use crate::compare::Told;
use crate::mapdiff::{self, MapDifference};

/// `bpf_map_update_elem` and `bpf_map_push_elem`.
const UPDATE: u32 = 2;
const PUSH: u32 = 87;
/// Helpers that hand bytes to the host.
const EVENTS: [u32; 4] = [6, 25, 130, 177];
/// `bpf_xdp_store_bytes` and `bpf_skb_store_bytes`.
const STORES: [u32; 2] = [190, 9];
/// `BPF_F_NO_COMMON_LRU`.
const F_NO_COMMON_LRU: u32 = 2;

/// What is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Masks {
    /// Bytes of the values of maps (of each CPU's value).
    values: BTreeMap<MapId, Vec<Range<usize>>>,
    frames: bool,
    events: bool,
    /// Addresses are shown; bytes of the stack are.
    addresses: bool,
    stack: bool,
}

impl Masks {
    /// What programs with these facts leave that the kernel cannot match.
    pub(super) fn of(programs: &[&Verified]) -> Masks {
        let mut masks = Masks::default();
        for verified in programs {
            let maps = &verified.program().maps;
            let written = written(verified);
            for (pc, insn) in verified.program().insns.iter().enumerate() {
                let facts = verified.facts(pc);
                if !facts.reachable {
                    continue;
                }
                if facts.leaks_pointer {
                    masks.addresses = true;
                    masks.leak(
                        insn,
                        facts.access.as_ref(),
                        facts.call.as_ref().and_then(|c| c.map),
                        maps,
                    );
                }
                if let (Insn::Call(CallTarget::Helper(UPDATE | PUSH)), Some(call)) =
                    (insn, &facts.call)
                    && let (Some(map), Some((Region::Stack { up: 0 }, start))) =
                        (call.map, call.value)
                    && let Some(def) = maps.get(map)
                {
                    let function = verified.program().subprogram_at(pc);
                    let never = |i: &usize| !written.contains(&(function, start + *i as i64));
                    for byte in (0..def.value_size as usize).filter(never) {
                        masks.stack = true;
                        masks.values.entry(map).or_default().push(byte..byte + 1);
                    }
                }
            }
        }
        masks
    }

    /// Leaves out where an instruction may put an address.
    fn leak(&mut self, insn: &Insn, access: Option<&Access>, map: Option<MapId>, maps: &[MapDef]) {
        let whole = |map: MapId| 0..maps.get(map).map_or(0, |def| def.value_size as usize);
        match (*insn, access) {
            (Insn::Call(CallTarget::Helper(id)), _) if EVENTS.contains(&id) => self.events = true,
            (Insn::Call(CallTarget::Helper(id)), _) if STORES.contains(&id) => self.frames = true,
            (Insn::Call(CallTarget::Helper(UPDATE | PUSH)), _) if map.is_some() => {
                let map = map.unwrap_or_default();
                self.values.entry(map).or_default().push(whole(map));
            }
            (_, Some(access)) => match access.region {
                Region::MapValue { map: Some(map) } => {
                    let from = usize::try_from(access.min).unwrap_or(0);
                    let to = usize::try_from(access.max).unwrap_or(0) + usize::from(access.size);
                    self.values.entry(map).or_default().push(from..to);
                }
                Region::Packet | Region::PacketMeta => self.frames = true,
                Region::Memory => self.events = true,
                _ => self.all(maps),
            },
            _ => self.all(maps),
        }
    }

    fn all(&mut self, maps: &[MapDef]) {
        self.frames = true;
        self.events = true;
        for (map, def) in maps.iter().enumerate() {
            self.values
                .entry(map)
                .or_default()
                .push(0..def.value_size as usize);
        }
    }

    /// What the reference is compared in.
    pub(super) fn told(&self, told: Told) -> Told {
        Told {
            no_frame: self.frames,
            no_events: self.events,
            ..told
        }
    }

    /// Clears the bytes of a value (all CPUs' values, each rounded up to 8 bytes) that are left
    /// out.
    pub(super) fn clear(&self, map: MapId, def: &MapDef, value: &mut [u8]) {
        let size = def.value_size as usize;
        let stride = if def.kind.is_percpu() {
            size.next_multiple_of(8)
        } else {
            value.len()
        };
        for part in value.chunks_mut(stride.max(1)) {
            for range in self.values.get(&map).into_iter().flatten() {
                let end = range.end.min(part.len());
                part[range.start.min(end)..end].fill(0);
            }
        }
    }

    /// What reports say of it.
    pub(super) fn untold(&self, maps: &[MapDef]) -> Vec<Untold> {
        let mut places: Vec<String> = self
            .values
            .keys()
            .filter_map(|map| Some(maps.get(*map)?.name.clone()))
            .collect();
        places.extend(self.frames.then(|| "frames".to_owned()));
        places.extend(self.events.then(|| "events".to_owned()));
        let places = places.join(", ");
        let mut untold = Vec::new();
        if self.addresses {
            untold.push(Untold {
                what: "addresses",
                why: format!("the program shows addresses, which differ on every engine: left out in {places}"),
            });
        }
        if self.stack {
            untold.push(Untold {
                what: "stack",
                why: format!(
                    "the program stores stack bytes that it never wrote: left out in {places}"
                ),
            });
        }
        untold
    }
}

/// The stack bytes, by function and offset from the frame pointer, that any instruction of the
/// function may write; those that are passed on by address count as written.
fn written(verified: &Verified) -> BTreeSet<(Option<usize>, i64)> {
    let program = verified.program();
    let mut written = BTreeSet::new();
    for (pc, insn) in program.insns.iter().enumerate() {
        let function = program.subprogram_at(pc);
        let facts = verified.facts(pc);
        let stores = matches!(
            insn,
            Insn::Store { .. } | Insn::Atomic { .. } | Insn::StoreRelease { .. }
        );
        match (insn, &facts.access) {
            (_, Some(access)) if stores && matches!(access.region, Region::Stack { .. }) => {
                let end = access.max + i64::from(access.size);
                written.extend((access.min..end).map(|at| (function, at)));
            }
            // A helper or function may write what it gets; which bytes is not told, so that
            // everything from the address up counts.
            (Insn::Call(target), _)
                if !matches!(target, CallTarget::Helper(1 | UPDATE | 3 | PUSH)) =>
            {
                for register in &facts.registers[1..6] {
                    if let RegKind::Stack { .. } = register.kind {
                        written.extend((-512..0).map(|at| (function, at)));
                    }
                }
            }
            _ => {}
        }
    }
    written
}

impl Running {
    /// In which elements the maps of both sides differ at the end; `None` if that cannot be
    /// compared.
    pub(super) fn map_differences(&self, reference: &dyn Reference) -> Option<Vec<MapDifference>> {
        let (nic, reference) = (self.live_maps(), reference.maps());
        let Some(masks) = &self.masks else {
            return Some(mapdiff::compare(&self.maps, nic, reference));
        };
        let lru = |map: MapId| self.maps.get(map).is_some_and(evicts);
        let unsure = may_have_evicted(nic, cpus());
        let clear = |map: MapId, value: &mut [u8]| {
            if let Some(def) = self.maps.get(map) {
                masks.clear(map, def, value);
            }
        };
        let skip = |map| unsure && lru(map);
        (!self.evicted).then(|| mapdiff::compare_but(&self.maps, nic, reference, &skip, &clear))
    }
}

fn evicts(def: &MapDef) -> bool {
    matches!(def.kind, MapType::LruHash | MapType::LruPercpuHash)
}

/// Whether the kernel may have evicted elements of an LRU map: it may keep up to 128 elements for
/// each CPU in hand, and where CPUs have lists of their own each only has its share.
pub(super) fn may_have_evicted(maps: &MapSet, cpus: u32) -> bool {
    let near = |map: &Map| {
        let def = map.def();
        let most = def.max_entries;
        let in_hand = (most / cpus / 2).clamp(1, 128).saturating_mul(cpus + 1);
        let least = if def.flags & F_NO_COMMON_LRU == 0 {
            most.saturating_sub(in_hand)
        } else {
            most / cpus
        };
        evicts(def) && map.host_len() >= least as usize
    };
    maps.iter().any(|map| near(map))
}
