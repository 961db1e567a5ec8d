//! What of a run with the kernel as reference cannot be compared, found from what the verifier
//! learned: addresses that programs show, stack bytes that they never wrote.
//!
//! An address is another on every engine. Where a program may show one, words in which the kernel
//! has an address are left out. The kernel does not clear a program's stack; bytes of values that
//! come from a part of it that nothing writes are left out.

use std::collections::{BTreeMap, BTreeSet};

use bpf::map::{Map, MapDef, MapId, MapSet, MapType};
use cpu_reference::{Reference, Untold};
use isa::ebpf::{CallTarget, Insn};
use verifier::Verified;
use verifier::facts::{Access, RegKind, Region};

use super::cpus;
use super::start::Running;
use crate::compare::{Told, alike};
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
    /// Bytes of the values of maps (of each CPU's value) that come from a stack as it was.
    stale: BTreeMap<MapId, BTreeSet<usize>>,
    /// Where there may be addresses.
    maps: BTreeSet<MapId>,
    frames: bool,
    events: bool,
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
                    let map = facts.call.as_ref().and_then(|call| call.map);
                    masks.leak(insn, facts.access.as_ref(), map, maps.len());
                }
                if let (Insn::Call(CallTarget::Helper(UPDATE | PUSH)), Some(call)) =
                    (insn, &facts.call)
                    && let (Some(map), Some((Region::Stack { up: 0 }, start))) =
                        (call.map, call.value)
                    && let Some(def) = maps.get(map)
                {
                    let function = verified.program().subprogram_at(pc);
                    let never = |i: &usize| !written.contains(&(function, start + *i as i64));
                    let stale: BTreeSet<usize> =
                        (0..def.value_size as usize).filter(never).collect();
                    if !stale.is_empty() {
                        masks.stale.entry(map).or_default().extend(stale);
                    }
                }
            }
        }
        masks
    }

    /// Notes where an instruction may put an address; `all` is the number of maps.
    fn leak(&mut self, insn: &Insn, access: Option<&Access>, map: Option<MapId>, all: usize) {
        let helper = match *insn {
            Insn::Call(CallTarget::Helper(id)) => Some(id),
            _ => None,
        };
        match (helper, map, access.map(|access| access.region)) {
            (Some(id), ..) if EVENTS.contains(&id) => self.events = true,
            (Some(id), ..) if STORES.contains(&id) => self.frames = true,
            (Some(UPDATE | PUSH), Some(map), _)
            | (None, _, Some(Region::MapValue { map: Some(map) })) => {
                self.maps.insert(map);
            }
            (None, _, Some(Region::Packet | Region::PacketMeta)) => self.frames = true,
            (None, _, Some(Region::Memory)) => self.events = true,
            _ => {
                self.frames = true;
                self.events = true;
                self.maps.extend(0..all);
            }
        }
    }

    /// What the reference is compared in.
    pub(super) fn told(&self, told: Told) -> Told {
        Told {
            frame_addresses: self.frames,
            event_addresses: self.events,
            ..told
        }
    }

    /// Whether two values (all CPUs' values, each rounded up to 8 bytes) are equal but for what is
    /// left out.
    pub(super) fn alike(&self, map: MapId, def: &MapDef, nic: &[u8], kernel: &[u8]) -> bool {
        let addresses = self.maps.contains(&map);
        let Some(stale) = self.stale.get(&map) else {
            return alike(nic, kernel, addresses);
        };
        let size = def.value_size as usize;
        let stride = if def.kind.is_percpu() {
            size.next_multiple_of(8)
        } else {
            size
        };
        let cleared = |value: &[u8]| -> Vec<u8> {
            let bytes = value.iter().enumerate();
            let clear = |at: usize| stale.contains(&(at % stride.max(1)));
            bytes
                .map(|(at, byte)| if clear(at) { 0 } else { *byte })
                .collect()
        };
        alike(&cleared(nic), &cleared(kernel), addresses)
    }

    /// What reports say of it.
    pub(super) fn untold(&self, maps: &[MapDef]) -> Vec<Untold> {
        let name = |map: &MapId| Some(format!("map {}", maps.get(*map)?.name));
        let mut untold = Vec::new();
        let mut places: Vec<String> = self.maps.iter().filter_map(name).collect();
        places.extend(self.frames.then(|| "frames".to_owned()));
        places.extend(self.events.then(|| "events".to_owned()));
        if !places.is_empty() {
            untold.push(Untold {
                what: "addresses",
                why: format!(
                    "the program may show addresses, which differ on every engine: words in which the kernel has one are left out in {}",
                    places.join(", ")
                ),
            });
        }
        let places: Vec<String> = self.stale.keys().filter_map(name).collect();
        if !places.is_empty() {
            untold.push(Untold {
                what: "stack",
                why: format!(
                    "the program stores bytes of its stack that nothing writes: they are left out in {}",
                    places.join(", ")
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
        let alike = |map: MapId, nic: &[u8], kernel: &[u8]| {
            let def = self.maps.get(map);
            def.is_some_and(|def| masks.alike(map, def, nic, kernel))
        };
        // Of the kernel's Bloom filters one cannot see the contents.
        let blind = |map: MapId| {
            self.maps
                .get(map)
                .is_some_and(|m| m.kind == MapType::BloomFilter)
        };
        let skip = |map| (unsure && lru(map)) || blind(map);
        (!self.evicted).then(|| mapdiff::compare_but(&self.maps, nic, reference, skip, alike))
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
