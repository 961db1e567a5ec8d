//! The maps that generated programs have, and pieces that work on them.

use isa::ebpf::{AluOp, CallTarget, Cond, Insn, MemSize, Operand, Reg, Wide, Width};

use super::Spec;
use super::builder::{Builder, Holds};
use crate::map::{InitialSlot, MapDef, MapType, SlotValue};

/// Bytes of the value of the first map, an array of one element.
pub(super) const WORKSPACE_BYTES: u16 = 128;
/// Bytes of a value of the other maps.
const VALUE_BYTES: u16 = 24;

const LOOKUP: u32 = 1;
const UPDATE: u32 = 2;
const DELETE: u32 = 3;
const PUSH: u32 = 87;
const POP: u32 = 88;
const PEEK: u32 = 89;
const LOOKUP_PERCPU: u32 = 195;

/// Index, type, bytes of a key, elements.
const KEYED: [(u32, MapType, u32, u32); 6] = [
    (1, MapType::Array, 4, 4),
    (2, MapType::Hash, 8, 4),
    (3, MapType::PercpuArray, 4, 4),
    (4, MapType::PercpuHash, 8, 4),
    (5, MapType::LruHash, 8, 16),
    (6, MapType::LpmTrie, 8, 4),
];
const QUEUE: u32 = 7;
const STACK: u32 = 8;
/// The ring buffer.
pub(super) const RING: u32 = 9;
/// The perf event array.
pub(super) const EVENTS: u32 = 10;
/// The devmap.
pub(super) const PORTS: u32 = 11;
/// The programs that tail calls reach, where there are any.
pub(super) const PROGRAMS: u32 = 12;

/// `BPF_F_NO_PREALLOC`, which LPM tries need.
const NO_PREALLOC: u32 = 1;

/// The maps, by index.
pub(super) fn definitions(spec: &Spec) -> Vec<MapDef> {
    let map = |name: &str, kind, key_size, value_size, max_entries| MapDef {
        key_size,
        value_size,
        max_entries,
        ..MapDef::new(name, kind)
    };
    let mut maps = vec![map(
        "workspace",
        MapType::Array,
        4,
        u32::from(WORKSPACE_BYTES),
        1,
    )];
    for (_, kind, key, entries) in KEYED {
        let mut def = map(kind.name(), kind, key, u32::from(VALUE_BYTES), entries);
        if kind == MapType::LpmTrie {
            def.flags = NO_PREALLOC;
        }
        maps.push(def);
    }
    maps.push(map("queue", MapType::Queue, 0, u32::from(VALUE_BYTES), 3));
    maps.push(map("stack", MapType::Stack, 0, u32::from(VALUE_BYTES), 3));
    maps.push(map("ring", MapType::Ringbuf, 0, 0, 4096));
    maps.push(map("events", MapType::PerfEventArray, 4, 4, 64));
    maps.push(map("ports", MapType::Devmap, 4, 4, 4));
    if spec.tail_calls {
        let mut programs = map("programs", MapType::ProgArray, 4, 4, 4);
        programs.slots.push(InitialSlot {
            index: 0,
            value: SlotValue::Program(spec.name.clone()),
        });
        maps.push(programs);
    }
    maps
}

impl Builder<'_> {
    /// `dst = the map`.
    pub(super) fn map(&mut self, dst: Reg, map: u32) {
        self.push(Insn::LoadWide {
            dst,
            value: Wide::Map(map),
        });
    }

    /// `dst = r10 + offset`.
    pub(super) fn stack_address(&mut self, dst: Reg, offset: i16) {
        self.alu(AluOp::Mov, dst, Operand::Reg(Reg::R10));
        self.alu(AluOp::Add, dst, Operand::Imm(i32::from(offset)));
    }

    pub(super) fn store_scratch(&mut self, offset: i16) {
        let src = if self.random.percent(50) {
            Operand::Reg(self.number())
        } else {
            Operand::Imm(self.random.immediate())
        };
        self.push(Insn::Store {
            size: MemSize::DW,
            base: Reg::R10,
            offset,
            src,
        });
    }

    /// A key that is not too often alone, at this offset of the stack.
    fn key(&mut self, kind: MapType, bytes: u32, offset: i16) {
        let dst = self.variable();
        let mask = if bytes == 4 { 7 } else { 3 };
        let masked = self.random.percent(60);
        if masked {
            self.alu(AluOp::And, dst, Operand::Imm(mask));
        }
        let size = if bytes == 4 { MemSize::W } else { MemSize::DW };
        let src = if masked {
            Operand::Reg(dst)
        } else {
            Operand::Imm(self.random.below(5) as i32)
        };
        self.push(Insn::Store {
            size,
            base: Reg::R10,
            offset,
            src,
        });
        if kind == MapType::LpmTrie {
            let length = self.random.choose(&[0, 8, 16, 24, 31, 32, 33]);
            self.push(Insn::Store {
                size: MemSize::W,
                base: Reg::R10,
                offset,
                src: Operand::Imm(length),
            });
            let address = self.random.immediate() & 0x0303;
            self.push(Insn::Store {
                size: MemSize::W,
                base: Reg::R10,
                offset: offset + 4,
                src: Operand::Imm(address),
            });
        }
    }

    /// A lookup with work on what it finds, an update, a deletion, or a queue's.
    pub(super) fn map_piece(&mut self) {
        if self.random.percent(20) {
            return self.queue();
        }
        let (map, kind, key, _) = self.random.choose(&KEYED);
        let at = self.scratch(4);
        self.key(kind, key, at);
        let array = matches!(kind, MapType::Array | MapType::PercpuArray);
        match self.random.below(10) {
            0..=5 => self.lookup(map, kind, at),
            6..=8 => {
                for word in 0..3 {
                    self.store_scratch(at + 8 + 8 * word);
                }
                self.map(Reg::R1, map);
                self.stack_address(Reg::R2, at);
                self.stack_address(Reg::R3, at + 8);
                let flags = self.random.choose(&[0, 0, 0, 1, 2, 3]);
                self.alu(AluOp::Mov, Reg::R4, Operand::Imm(flags));
                self.called(CallTarget::Helper(UPDATE), Holds::Number);
            }
            _ if !array => {
                self.map(Reg::R1, map);
                self.stack_address(Reg::R2, at);
                self.called(CallTarget::Helper(DELETE), Holds::Number);
            }
            _ => self.lookup(map, kind, at),
        }
        self.refill();
    }

    fn lookup(&mut self, map: u32, kind: MapType, key: i16) {
        self.map(Reg::R1, map);
        self.stack_address(Reg::R2, key);
        let helper = if kind.is_percpu() && self.random.percent(30) {
            self.alu(AluOp::Mov, Reg::R3, Operand::Imm(0));
            LOOKUP_PERCPU
        } else {
            LOOKUP
        };
        self.called(CallTarget::Helper(helper), Holds::Nothing);
        let miss = self.push(Insn::Branch {
            cond: Cond::Eq,
            width: Width::W64,
            dst: Reg::R0,
            src: Operand::Imm(0),
            offset: 0,
        });
        let before = self.state.clone();
        self.set(Reg::R0, Holds::Value(VALUE_BYTES));
        for _ in 0..=self.random.below(3) {
            match self.random.below(3) {
                0 => self.index(),
                1 => self.atomic(),
                _ => self.access(),
            }
        }
        self.land(miss);
        self.state.join(&before);
        self.constant(Reg::R0);
    }

    fn queue(&mut self) {
        let map = self.random.choose(&[QUEUE, STACK]);
        let at = self.scratch(3);
        for word in 0..3 {
            self.store_scratch(at + 8 * word);
        }
        let helper = self.random.choose(&[PUSH, PUSH, POP, PEEK]);
        self.map(Reg::R1, map);
        self.stack_address(Reg::R2, at);
        if helper == PUSH {
            let flags = self.random.choose(&[0, 0, 2]);
            self.alu(AluOp::Mov, Reg::R3, Operand::Imm(flags));
        }
        self.called(CallTarget::Helper(helper), Holds::Number);
        self.push(Insn::Load {
            size: MemSize::DW,
            signed: false,
            dst: Reg::R1,
            base: Reg::R10,
            offset: at,
        });
        self.set(Reg::R1, Holds::Number);
        self.refill();
    }
}
