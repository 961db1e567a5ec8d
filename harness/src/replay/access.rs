//! Which instructions touch maps whose contents depend on the order between queues, and what.

use std::collections::BTreeSet;

use bpf::map::{MapDef, MapId};
use bpf::trace::{Moment, Place, Region};
use isa::ebpf::{AtomicOp, CallTarget, Insn, Reg};
use verifier::Verified;
use verifier::facts;

use super::order;

/// `bpf_spin_lock` and `bpf_spin_unlock`.
const SPIN_LOCK: u32 = 93;
const SPIN_UNLOCK: u32 = 94;

/// A part of a map that two accesses have in common or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// A key, present or not.
    Key(Vec<u8>),
    /// Bytes of a value, by their place in the map's memory.
    Bytes {
        /// The first byte.
        at: i64,
        /// How many.
        size: u8,
    },
    /// The whole map.
    Whole,
}

/// One access to a map that queues share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// Number of the program.
    pub program: u32,
    /// Slot in it.
    pub pc: usize,
    /// The map.
    pub map: MapId,
    /// What of it.
    pub cell: Cell,
    /// What it does there.
    pub does: Does,
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Does {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It does both in one step: an atomic operation whose old value is used, a pop.
    Both,
    /// It adds without a look at the sum: the order of such additions is no matter.
    Add,
}

impl Does {
    /// As text: `reads`, `writes`, `reads and writes`, `adds to`.
    pub const fn verb(self) -> &'static str {
        match self {
            Does::Read => "reads",
            Does::Write => "writes",
            Does::Both => "reads and writes",
            Does::Add => "adds to",
        }
    }

    /// Whether what is there decides what the program does next.
    pub fn reads(self) -> bool {
        matches!(self, Does::Read | Does::Both)
    }

    /// Whether it changes what is there.
    pub fn writes(self) -> bool {
        !matches!(self, Does::Read)
    }
}

impl Access {
    /// Whether the order of two accesses can matter.
    pub fn conflicts(&self, other: &Access) -> bool {
        let meet = match (&self.cell, &other.cell) {
            (Cell::Whole, _) | (_, Cell::Whole) => true,
            (Cell::Key(a), Cell::Key(b)) => a == b,
            (Cell::Bytes { at: a, size: m }, Cell::Bytes { at: b, size: n }) => {
                *a < b + i64::from(*n) && *b < a + i64::from(*m)
            }
            _ => false,
        };
        let matters = match (self.does, other.does) {
            (Does::Read, Does::Read) | (Does::Add, Does::Add) => false,
            (Does::Read | Does::Write | Does::Both | Does::Add, _) => true,
        };
        meet && self.map == other.map && matters
    }
}

/// What an instruction does to a map.
#[derive(Clone, Copy, Debug)]
enum Touch {
    /// Loads or stores bytes of a value.
    Value {
        base: Reg,
        offset: i16,
        size: u8,
        does: Does,
    },
    /// A helper that is given a map in r1 and a key in r2.
    Keyed { does: Does },
    /// A helper that is given a map in r1.
    Whole { does: Does },
}

/// The instructions that touch maps whose contents depend on the order between queues.
#[derive(Debug)]
pub(crate) struct Points {
    /// By number of the program and slot.
    touches: Vec<Vec<Option<Touch>>>,
    /// The same: whether a spin lock is taken (or given back) there.
    locks: Vec<Vec<Option<bool>>>,
    maps: Vec<MapDef>,
    /// The maps concerned.
    pub(crate) shared: BTreeSet<MapId>,
}

impl Points {
    pub(crate) fn new(programs: &[&Verified]) -> Points {
        let shared = order::reasons(programs).iter().map(|r| r.id).collect();
        let touches = programs.iter().map(|program| {
            let insns = program.program().insns.iter().enumerate();
            insns.map(|(pc, insn)| touch(program, pc, insn)).collect()
        });
        let locks = programs.iter().map(|program| {
            let insns = program.program().insns.iter();
            insns.map(lock).collect()
        });
        Points {
            touches: touches.collect(),
            locks: locks.collect(),
            maps: programs
                .first()
                .map(|p| p.program().maps.to_vec())
                .unwrap_or_default(),
            shared,
        }
    }

    /// Whether a spin lock is about to be taken (or given back).
    pub(crate) fn lock_at(&self, moment: &dyn Moment) -> Option<bool> {
        let (program, pc) = (moment.program(), moment.pc());
        *self.locks.get(program as usize)?.get(pc)?
    }

    /// The access that is about to happen, if it is one to a shared map.
    pub(crate) fn at(&self, moment: &dyn Moment) -> Option<Access> {
        let (program, pc) = (moment.program(), moment.pc());
        let touch = (*self.touches.get(program as usize)?.get(pc)?)?;
        let registers = moment.registers();
        let (map, cell, does) = match touch {
            Touch::Value {
                base,
                offset,
                size,
                does,
            } => {
                let address = registers[base.index()].wrapping_add(i64::from(offset) as u64);
                let Some(Place::Value { map, at }) = moment.resolve(Region::Value, address) else {
                    return None;
                };
                (map, Cell::Bytes { at, size }, does)
            }
            Touch::Keyed { does } | Touch::Whole { does } => {
                let Some(Place::Map { map }) = moment.resolve(Region::Map, registers[1]) else {
                    return None;
                };
                let mut key = vec![0; self.maps.get(map)?.key_size as usize];
                let keyed = matches!(touch, Touch::Keyed { .. })
                    && self.maps[map].kind != bpf::map::MapType::LpmTrie
                    && moment.read(registers[2], &mut key);
                let cell = if keyed { Cell::Key(key) } else { Cell::Whole };
                (map, cell, does)
            }
        };
        self.shared.contains(&map).then_some(Access {
            program,
            pc,
            map,
            cell,
            does,
        })
    }
}

/// Whether the instruction takes a spin lock, or gives it back.
fn lock(insn: &Insn) -> Option<bool> {
    match insn {
        Insn::Call(CallTarget::Helper(SPIN_LOCK)) => Some(true),
        Insn::Call(CallTarget::Helper(SPIN_UNLOCK)) => Some(false),
        _ => None,
    }
}

fn touch(program: &Verified, pc: usize, insn: &Insn) -> Option<Touch> {
    let facts = program.facts(pc);
    let in_value = facts.access.is_some_and(|a| {
        matches!(
            a.region,
            facts::Region::MapValue { .. } | facts::Region::Mixed
        )
    });
    let value = |base, offset, size: isa::ebpf::MemSize, does| {
        in_value.then_some(Touch::Value {
            base,
            offset,
            size: size.bytes(),
            does,
        })
    };
    match *insn {
        Insn::Load {
            size, base, offset, ..
        }
        | Insn::LoadAcquire {
            size, base, offset, ..
        } => value(base, offset, size, Does::Read),
        Insn::Store {
            size, base, offset, ..
        }
        | Insn::StoreRelease {
            size, base, offset, ..
        } => value(base, offset, size, Does::Write),
        Insn::Atomic {
            op,
            size,
            base,
            offset,
            ..
        } => {
            let does = match op {
                AtomicOp::Add => Does::Add,
                AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => Does::Write,
                _ => Does::Both,
            };
            value(base, offset, size, does)
        }
        Insn::Call(CallTarget::Helper(id)) => match bpf::helper::name(id)? {
            "bpf_map_lookup_elem" | "bpf_map_lookup_percpu_elem" => {
                Some(Touch::Keyed { does: Does::Read })
            }
            "bpf_map_update_elem" | "bpf_map_delete_elem" => {
                Some(Touch::Keyed { does: Does::Write })
            }
            "bpf_map_push_elem" => Some(Touch::Whole { does: Does::Write }),
            "bpf_map_pop_elem" => Some(Touch::Whole { does: Does::Both }),
            "bpf_map_peek_elem" | "bpf_for_each_map_elem" => {
                Some(Touch::Whole { does: Does::Read })
            }
            _ => None,
        },
        _ => None,
    }
}
