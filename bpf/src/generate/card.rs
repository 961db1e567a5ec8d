//! Programs for cards whose driver takes only part of eBPF (Agilio): its instructions, products and
//! quotients of 32 bits, map values that are read or added to, keys on the stack.
//!
//! Registers have fixed roles, so that every place is right for every piece: r6 is the context, r7
//! the packet, of which so many bytes may be touched, all others numbers. A card tells no return
//! code, so a program ends by writing its numbers into the packet.

use isa::ebpf::{AluOp, AtomicOp, CallTarget, Cond, Insn, MemSize, Operand, Reg, SwapKind, Width};

use super::memory::SIZES;
use super::{CONDITIONS, Random, Spec};
use crate::map::{MapDef, MapType};

/// What such a card has beside the instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "helpers that are there or not"
)]
pub struct Card {
    /// `bpf_map_lookup_elem`.
    pub lookup: bool,
    /// `bpf_map_update_elem`.
    pub update: bool,
    /// `bpf_map_delete_elem`.
    pub delete: bool,
    /// `bpf_get_prandom_u32`.
    pub random: bool,
    /// `bpf_xdp_adjust_head`.
    pub adjust_head: bool,
    /// `bpf_xdp_adjust_tail`.
    pub adjust_tail: bool,
}

const LOOKUP: u32 = 1;
const UPDATE: u32 = 2;
const DELETE: u32 = 3;
const RANDOM: u32 = 7;
const ADJUST_HEAD: u32 = 44;
const ADJUST_TAIL: u32 = 65;

const CTX: Reg = Reg::R6;
const PACKET: Reg = Reg::R7;
/// The registers that hold numbers.
const NUMBERS: [Reg; 8] = [
    Reg::R0,
    Reg::R1,
    Reg::R2,
    Reg::R3,
    Reg::R4,
    Reg::R5,
    Reg::R8,
    Reg::R9,
];
/// The register that counts a loop's turns.
const COUNTER: Reg = Reg::R9;
/// Bytes of a value: words 0 to 3 are read, 4 to 7 added to.
const VALUE_BYTES: u32 = 32;
/// First byte that is added to.
const COUNTED: i16 = 16;
/// Bytes by which a packet can grow at its head, on the card as well as on a CPU.
const HEADROOM: i32 = 84;
/// Bytes that programs cut from a packet's end: its head can then still be cut by as many as one
/// call cuts, which the driver takes for granted of a frame of 60 bytes.
const TAIL: i32 = 30;
/// Blocks within blocks, at most.
const DEEPEST: u32 = 2;
/// Divisors, among them those whose reciprocal needs no shift at the end.
const DIVISORS: [i32; 16] = [
    1,
    2,
    3,
    5,
    7,
    10,
    28,
    56,
    112,
    641,
    1000,
    4096,
    65_535,
    65_537,
    1 << 30,
    i32::MAX,
];

/// The maps, by index: an array and a hash.
pub(super) fn definitions() -> Vec<MapDef> {
    [(MapType::Array, 4), (MapType::Hash, 8)]
        .map(|(kind, key_size)| MapDef {
            key_size,
            value_size: VALUE_BYTES,
            max_entries: 4,
            ..MapDef::new(kind.name(), kind)
        })
        .into()
}

/// The instructions of this seed.
pub(super) fn instructions(spec: &Spec, card: Card, seed: u64) -> Vec<Insn> {
    let mut maker = Maker {
        card,
        random: Random::new(seed),
        insns: Vec::with_capacity(200),
        exits: Vec::new(),
        calls: Vec::new(),
        bytes: 0,
        slots: 0,
        headroom: HEADROOM,
        tail: TAIL,
        depth: 0,
        in_loop: false,
    };
    maker.whole(u64::from(spec.pieces));
    maker.insns
}

struct Maker {
    card: Card,
    random: Random,
    insns: Vec<Insn>,
    /// Branches to where the program leaves.
    exits: Vec<usize>,
    /// Calls of the function.
    calls: Vec<usize>,
    /// Bytes of the packet that may be touched.
    bytes: u16,
    /// Slots of 8 bytes of the stack that hold numbers, from the frame's end.
    slots: i16,
    /// Bytes of the headroom that are left.
    headroom: i32,
    /// Bytes that may still be cut from the packet's end.
    tail: i32,
    depth: u32,
    in_loop: bool,
}

impl Maker {
    fn push(&mut self, insn: Insn) -> usize {
        self.insns.push(insn);
        if matches!(insn, Insn::LoadWide { .. }) {
            self.insns.push(Insn::WideTail);
            return self.insns.len() - 2;
        }
        self.insns.len() - 1
    }

    fn land(&mut self, from: usize) {
        let distance = (self.insns.len() - from - 1) as i32;
        match &mut self.insns[from] {
            Insn::Branch { offset, .. } => *offset = distance as i16,
            Insn::Jump { offset, .. } => *offset = distance,
            _ => {}
        }
    }

    fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) {
        self.push(Insn::Alu {
            op,
            width,
            dst,
            src,
        });
    }

    fn mov(&mut self, dst: Reg, src: Operand) {
        self.alu(AluOp::Mov, Width::W64, dst, src);
    }

    fn load(&mut self, size: MemSize, dst: Reg, base: Reg, offset: i16) {
        self.push(Insn::Load {
            size,
            signed: false,
            dst,
            base,
            offset,
        });
    }

    fn store(&mut self, size: MemSize, base: Reg, offset: i16, src: Reg) {
        self.push(Insn::Store {
            size,
            base,
            offset,
            src: Operand::Reg(src),
        });
    }

    fn branch(&mut self, cond: Cond, width: Width, dst: Reg, src: Operand) -> usize {
        self.push(Insn::Branch {
            cond,
            width,
            dst,
            src,
            offset: 0,
        })
    }

    fn width(&mut self) -> Width {
        self.random.choose(&[Width::W32, Width::W64])
    }

    /// A register with a number, to read.
    fn number(&mut self) -> Reg {
        self.random.choose(&NUMBERS)
    }

    /// A register with a number, to change.
    fn variable(&mut self) -> Reg {
        loop {
            let reg = self.number();
            if !(self.in_loop && reg == COUNTER) {
                return reg;
            }
        }
    }

    fn constant(&mut self, dst: Reg) {
        if self.random.percent(50) {
            let value = isa::ebpf::Wide::Value(self.random.operand());
            self.push(Insn::LoadWide { dst, value });
        } else {
            let (imm, width) = (self.random.immediate(), self.width());
            self.alu(AluOp::Mov, width, dst, Operand::Imm(imm));
        }
    }

    /// A number that the verifier does not know.
    fn unknown(&mut self, dst: Reg) {
        let size = self.random.choose(&SIZES);
        let room = u64::from(self.bytes) - u64::from(size.bytes());
        let offset = self.random.below(room + 1) as i16;
        self.load(size, dst, PACKET, offset);
    }

    fn whole(&mut self, pieces: u64) {
        self.mov(CTX, Operand::Reg(Reg::R1));
        self.examine();
        for reg in NUMBERS {
            if self.random.percent(60) {
                self.unknown(reg);
            } else {
                self.constant(reg);
            }
        }
        self.slots = self.random.choose(&[4, 8, 12, 20, 40]);
        for slot in 1..=self.slots {
            let src = self.number();
            self.store(MemSize::DW, Reg::R10, -8 * slot, src);
        }
        let count = 3 + self.random.below(pieces);
        self.pieces(count);
        self.show();
        self.push(Insn::Exit);
        for exit in std::mem::take(&mut self.exits) {
            self.land(exit);
        }
        let code = self.random.below(4) as i32;
        self.mov(Reg::R0, Operand::Imm(code));
        self.push(Insn::Exit);
        if !self.calls.is_empty() {
            self.function();
        }
    }

    /// `r7 = data`, and the program leaves if the packet is too short. Changes r2, r3 and r4.
    fn examine(&mut self) {
        self.bytes = self.random.choose(&[14, 20, 34, 42, 60, 74]);
        self.load(MemSize::W, PACKET, CTX, 0);
        self.load(MemSize::W, Reg::R3, CTX, 4);
        self.mov(Reg::R4, Operand::Reg(PACKET));
        let bytes = i32::from(self.bytes);
        self.alu(AluOp::Add, Width::W64, Reg::R4, Operand::Imm(bytes));
        let short = self.branch(Cond::Gt, Width::W64, Reg::R4, Operand::Reg(Reg::R3));
        self.exits.push(short);
    }

    /// Writes all numbers into the packet, and leaves a verdict in r0.
    fn show(&mut self) {
        let room = usize::from(self.bytes) / 8;
        for (index, reg) in NUMBERS.into_iter().enumerate().skip(1) {
            if index < room {
                self.store(MemSize::DW, PACKET, 8 * index as i16, reg);
            } else {
                self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Reg(reg));
                self.alu(AluOp::Lsh, Width::W64, reg, Operand::Imm(7));
                self.alu(AluOp::Add, Width::W64, Reg::R0, Operand::Reg(reg));
            }
        }
        self.store(MemSize::DW, PACKET, 0, Reg::R0);
        self.alu(AluOp::And, Width::W64, Reg::R0, Operand::Imm(3));
    }

    fn pieces(&mut self, count: u64) {
        for _ in 0..count {
            self.piece();
        }
    }

    fn piece(&mut self) {
        let outermost = self.depth == 0;
        match self.random.below(100) {
            0..=27 => self.compute(),
            28..=34 => self.multiply(),
            35..=41 => self.divide(),
            42..=49 => self.shift(),
            50..=57 => self.packet(),
            58..=62 => self.gather(),
            63..=72 => self.stack(),
            73..=82 if self.depth < DEEPEST => self.either(),
            83..=84 if self.depth < DEEPEST && !self.in_loop => self.turns(),
            85..=89 if self.card.lookup => self.map(),
            90..=92 if !self.in_loop => self.call(),
            93..=94 if self.card.random => self.helper(RANDOM),
            95..=96 if self.card.adjust_tail && outermost && self.tail > 0 => {
                self.adjust(ADJUST_TAIL);
            }
            97..=98 if self.card.adjust_head && outermost => self.adjust(ADJUST_HEAD),
            _ => {
                let dst = self.variable();
                self.constant(dst);
            }
        }
    }

    fn compute(&mut self) {
        let dst = self.variable();
        let width = self.width();
        match self.random.below(10) {
            0 => {
                self.push(Insn::Neg { width, dst });
            }
            1 => {
                let bits = self.random.choose(&[16, 32, 64]);
                let kind = SwapKind::ToBe;
                self.push(Insn::Swap { kind, bits, dst });
            }
            _ => {
                let op = self.random.choose(&[
                    AluOp::Add,
                    AluOp::Sub,
                    AluOp::And,
                    AluOp::Or,
                    AluOp::Xor,
                    AluOp::Mov,
                ]);
                let src = if self.random.percent(50) {
                    Operand::Reg(self.number())
                } else {
                    Operand::Imm(self.random.immediate())
                };
                self.alu(op, width, dst, src);
            }
        }
    }

    /// Makes a number one of 32 bits or less.
    fn narrow(&mut self, reg: Reg) {
        if self.random.percent(30) {
            self.alu(AluOp::And, Width::W64, reg, Operand::Imm(0xffff));
        } else {
            self.alu(AluOp::Mov, Width::W32, reg, Operand::Reg(reg));
        }
    }

    fn multiply(&mut self) {
        let (dst, src, width) = (self.variable(), self.variable(), self.width());
        self.narrow(dst);
        if self.random.percent(50) && src != dst {
            self.narrow(src);
            self.alu(AluOp::Mul, width, dst, Operand::Reg(src));
        } else {
            let imm = self.random.immediate() & i32::MAX;
            self.alu(AluOp::Mul, width, dst, Operand::Imm(imm));
        }
    }

    fn divide(&mut self) {
        let (dst, src, width) = (self.variable(), self.variable(), self.width());
        self.narrow(dst);
        let divisor = if self.random.percent(70) {
            self.random.choose(&DIVISORS)
        } else {
            (self.random.immediate() & i32::MAX).max(1)
        };
        if self.random.percent(30) && src != dst {
            self.mov(src, Operand::Imm(divisor));
            self.alu(AluOp::Div, width, dst, Operand::Reg(src));
        } else {
            self.alu(AluOp::Div, width, dst, Operand::Imm(divisor));
        }
    }

    fn shift(&mut self) {
        let op = self.random.choose(&[AluOp::Lsh, AluOp::Rsh, AluOp::Arsh]);
        let (dst, src, width) = (self.variable(), self.variable(), self.width());
        let bits = if width == Width::W64 { 64 } else { 32 };
        if self.random.percent(50) || src == dst {
            let any = self.random.below(bits) as i32;
            let amount = self.random.choose(&[0, 1, bits as i32 - 1, any, any, 32]);
            let amount = amount.min(bits as i32 - 1);
            self.alu(op, width, dst, Operand::Imm(amount));
            return;
        }
        let mask = self.random.choose(&[bits as i32 - 1, 31, 7]);
        self.alu(AluOp::And, Width::W64, src, Operand::Imm(mask));
        if width == Width::W64 && mask < 32 && self.random.percent(30) {
            self.alu(AluOp::Add, Width::W64, src, Operand::Imm(32));
        }
        self.alu(op, width, dst, Operand::Reg(src));
    }

    /// One to four accesses to the packet, side by side as a parser makes them.
    fn packet(&mut self) {
        for _ in 0..=self.random.below(4) {
            let dst = self.variable();
            if self.random.percent(75) {
                self.unknown(dst);
            } else {
                let size = self.random.choose(&SIZES);
                let room = u64::from(self.bytes) - u64::from(size.bytes());
                let offset = self.random.below(room + 1) as i16;
                let src = self.number();
                self.store(size, PACKET, offset, src);
            }
        }
    }

    /// Copies bytes of the packet from one place to another, up or down.
    fn gather(&mut self) {
        let size = self.random.choose(&SIZES);
        let step = i16::from(size.bytes());
        let pairs = 2 + self.random.below(5) as i16;
        let span = pairs * step;
        let room = self.bytes as i16 - span;
        if room < 0 {
            return self.packet();
        }
        let dst = self.variable();
        let from = self.random.below(room as u64 + 1) as i16;
        let mut to = self.random.below(room as u64 + 1) as i16;
        // The driver looks at where accesses begin, so that it misses those that overlap in part.
        if (to - from).abs() < span {
            to -= (to - from) % step;
        }
        let down = self.random.percent(40);
        for pair in 0..pairs {
            let at = step * if down { pairs - 1 - pair } else { pair };
            self.load(size, dst, PACKET, from + at);
            self.store(size, PACKET, to + at, dst);
        }
    }

    fn stack(&mut self) {
        for _ in 0..=self.random.below(3) {
            let size = self.random.choose(&SIZES);
            let parts = 8 / u64::from(size.bytes());
            let slot = 1 + self.random.below(self.slots as u64) as i16;
            let part = self.random.below(parts) as i16 * i16::from(size.bytes());
            let offset = -8 * slot + part;
            if self.random.percent(50) {
                let dst = self.variable();
                self.load(size, dst, Reg::R10, offset);
            } else {
                let src = self.number();
                self.store(size, Reg::R10, offset, src);
            }
        }
    }

    fn condition(&mut self) -> usize {
        let cond = self.random.choose(&CONDITIONS);
        let (width, dst) = (self.width(), self.number());
        let src = if self.random.percent(50) {
            Operand::Reg(self.number())
        } else {
            Operand::Imm(self.random.immediate())
        };
        self.branch(cond, width, dst, src)
    }

    /// Pieces on one way, and perhaps others on the other.
    fn either(&mut self) {
        let skip = self.condition();
        self.depth += 1;
        self.pieces_below(3);
        if self.random.percent(50) {
            let end = self.push(Insn::Jump {
                offset: 0,
                long: false,
            });
            self.land(skip);
            self.pieces_below(3);
            self.land(end);
        } else {
            self.land(skip);
        }
        self.depth -= 1;
    }

    fn pieces_below(&mut self, most: u64) {
        let count = 1 + self.random.below(most);
        self.pieces(count);
    }

    fn turns(&mut self) {
        let turns = 1 + self.random.below(4) as i32;
        self.mov(COUNTER, Operand::Imm(turns));
        let top = self.insns.len();
        self.depth += 1;
        self.in_loop = true;
        self.pieces_below(3);
        self.in_loop = false;
        self.depth -= 1;
        self.alu(AluOp::Sub, Width::W64, COUNTER, Operand::Imm(1));
        let again = self.branch(Cond::Ne, Width::W64, COUNTER, Operand::Imm(0));
        if let Insn::Branch { offset, .. } = &mut self.insns[again] {
            *offset = (top as i64 - again as i64 - 1) as i16;
        }
    }

    /// Numbers in the registers that a call leaves without any.
    fn refill(&mut self) {
        for reg in [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5] {
            if self.random.percent(50) {
                self.constant(reg);
            } else {
                self.unknown(reg);
            }
        }
    }

    fn helper(&mut self, id: u32) {
        self.push(Insn::Call(CallTarget::Helper(id)));
        self.refill();
    }

    fn stack_address(&mut self, dst: Reg, offset: i16) {
        self.mov(dst, Operand::Reg(Reg::R10));
        let offset = i32::from(offset);
        self.alu(AluOp::Add, Width::W64, dst, Operand::Imm(offset));
    }

    /// The arguments of a map helper: a small key on the stack.
    fn key(&mut self, map: u32) {
        let slot = 1 + self.random.below(self.slots as u64 - 3) as i16;
        let at = -8 * slot;
        self.alu(AluOp::And, Width::W64, Reg::R0, Operand::Imm(3));
        self.store(MemSize::DW, Reg::R10, at, Reg::R0);
        self.push(Insn::LoadWide {
            dst: Reg::R1,
            value: isa::ebpf::Wide::Map(map),
        });
        self.stack_address(Reg::R2, at);
    }

    /// A lookup, with reads of some words and additions to others, or a change of elements.
    fn map(&mut self) {
        let map = self.random.below(2) as u32;
        if map == 1 && self.card.update && self.random.percent(40) {
            // Words that are added to must be set to zero.
            let value = -8 * self.slots;
            self.mov(Reg::R3, Operand::Imm(0));
            for word in 0..VALUE_BYTES as i16 / 8 {
                let src = if 8 * word < COUNTED {
                    self.number()
                } else {
                    Reg::R3
                };
                self.store(MemSize::W, Reg::R10, value + 8 * word, src);
                self.store(MemSize::W, Reg::R10, value + 8 * word + 4, src);
            }
            self.key(map);
            self.stack_address(Reg::R3, value);
            self.mov(Reg::R4, Operand::Imm(0));
            return self.helper(UPDATE);
        }
        self.key(map);
        if map == 1 && self.card.delete && self.random.percent(15) {
            return self.helper(DELETE);
        }
        self.helper(LOOKUP);
        let miss = self.branch(Cond::Eq, Width::W64, Reg::R0, Operand::Imm(0));
        for _ in 0..=self.random.below(3) {
            if self.random.percent(50) {
                let size = self.random.choose(&SIZES);
                let room = COUNTED as u64 - u64::from(size.bytes());
                let offset = self.random.below(room + 1) as i16;
                let dst = self.random.choose(&[Reg::R1, Reg::R2, Reg::R8]);
                self.load(size, dst, Reg::R0, offset);
                continue;
            }
            let size = self.random.choose(&[MemSize::W, MemSize::DW]);
            let word = self.random.below(2) as i16;
            let src = self.random.choose(&[Reg::R1, Reg::R3, Reg::R8]);
            if self.random.percent(50) {
                self.alu(AluOp::And, Width::W64, src, Operand::Imm(0xffff));
            }
            self.push(Insn::Atomic {
                op: AtomicOp::Add,
                size,
                base: Reg::R0,
                offset: COUNTED + 8 * word,
                src,
            });
        }
        self.land(miss);
        self.unknown(Reg::R0);
    }

    /// Moves an end of the packet by a little, and examines it anew.
    fn adjust(&mut self, id: u32) {
        let delta = match id {
            ADJUST_TAIL => -1 - self.random.below(self.tail as u64) as i32,
            _ => self
                .random
                .choose(&[-HEADROOM, -32, -20, -14, -4, -1, 1, 4, 14])
                .max(-self.headroom),
        };
        if id == ADJUST_HEAD {
            self.headroom -= (-delta).max(0);
        } else {
            self.tail += delta;
        }
        self.mov(Reg::R1, Operand::Reg(CTX));
        self.mov(Reg::R2, Operand::Imm(delta));
        self.push(Insn::Call(CallTarget::Helper(id)));
        self.examine();
        self.refill();
    }

    /// Calls the function with numbers and a place on the stack.
    fn call(&mut self) {
        let slot = 1 + self.random.below(self.slots as u64) as i16;
        self.stack_address(Reg::R5, -8 * slot);
        let at = self.push(Insn::Call(CallTarget::Local { offset: 0 }));
        self.calls.push(at);
        self.refill();
    }

    /// The function: numbers in r1 to r4, the caller's stack in r5.
    fn function(&mut self) {
        let start = self.insns.len();
        for at in std::mem::take(&mut self.calls) {
            let offset = (start - at - 1) as i32;
            self.insns[at] = Insn::Call(CallTarget::Local { offset });
        }
        let keeps = self.random.percent(60);
        let own = self.random.percent(60);
        if keeps {
            self.mov(Reg::R6, Operand::Reg(Reg::R1));
            self.mov(Reg::R9, Operand::Reg(Reg::R2));
        }
        if own {
            self.store(MemSize::DW, Reg::R10, -8, Reg::R3);
            self.store(MemSize::W, Reg::R10, -16, Reg::R4);
        }
        self.load(MemSize::DW, Reg::R0, Reg::R5, 0);
        for _ in 0..=self.random.below(4) {
            let dst = self.random.choose(&[Reg::R0, Reg::R1, Reg::R2]);
            let src = self.random.choose(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4]);
            let op = self.random.choose(&[AluOp::Add, AluOp::Xor, AluOp::Sub]);
            let width = self.width();
            self.alu(op, width, dst, Operand::Reg(src));
        }
        if own {
            self.load(MemSize::DW, Reg::R3, Reg::R10, -8);
            self.load(MemSize::W, Reg::R4, Reg::R10, -16);
            self.alu(AluOp::Add, Width::W64, Reg::R0, Operand::Reg(Reg::R3));
            self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Reg(Reg::R4));
        }
        if keeps {
            self.alu(AluOp::Sub, Width::W64, Reg::R0, Operand::Reg(Reg::R6));
            self.alu(AluOp::Add, Width::W64, Reg::R0, Operand::Reg(Reg::R9));
        }
        let part = self.random.below(2) as i16 * 4;
        self.store(MemSize::W, Reg::R5, part, Reg::R0);
        self.push(Insn::Exit);
    }
}
