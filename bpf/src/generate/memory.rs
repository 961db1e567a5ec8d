//! Pieces that load and store: stack, map values, packet.

use isa::ebpf::{AluOp, AtomicOp, Cond, Insn, MemSize, Operand, Reg, Width};

use super::builder::{Builder, Holds};

pub(super) const SIZES: [MemSize; 4] = [MemSize::B, MemSize::H, MemSize::W, MemSize::DW];
const ATOMICS: [AtomicOp; 10] = [
    AtomicOp::Add,
    AtomicOp::Or,
    AtomicOp::And,
    AtomicOp::Xor,
    AtomicOp::FetchAdd,
    AtomicOp::FetchOr,
    AtomicOp::FetchAnd,
    AtomicOp::FetchXor,
    AtomicOp::Xchg,
    AtomicOp::Cmpxchg,
];

impl Builder<'_> {
    pub(super) fn size(&mut self) -> MemSize {
        self.random.choose(&SIZES)
    }

    /// A number or an immediate, to be stored.
    fn stored(&mut self) -> Operand {
        if self.random.percent(60) {
            Operand::Reg(self.number())
        } else {
            Operand::Imm(self.random.immediate())
        }
    }

    /// A load or a store in a packet or a map's value, at a constant offset.
    pub(super) fn access(&mut self) {
        let Some((base, bytes)) = self.memory() else {
            return;
        };
        let size = self.size();
        let room = u64::from(bytes) - u64::from(size.bytes());
        let offset = self.random.below(room + 1) as i16;
        self.load_or_store(size, base, offset);
    }

    fn load_or_store(&mut self, size: MemSize, base: Reg, offset: i16) {
        if self.random.percent(55) {
            let dst = self.target();
            let signed = size != MemSize::DW && self.random.percent(35);
            self.push(Insn::Load {
                size,
                signed,
                dst,
                base,
                offset,
            });
            self.set(dst, Holds::Number);
        } else {
            let src = self.stored();
            self.push(Insn::Store {
                size,
                base,
                offset,
                src,
            });
        }
    }

    /// A load or store in a map's value at an offset that is a number in a range.
    pub(super) fn index(&mut self) {
        let Some((base, bytes)) = self.value() else {
            return;
        };
        let from = self.number();
        let Some(scratch) = self.target_but(&[]) else {
            return;
        };
        let size = self.size();
        let room = bytes - u16::from(size.bytes());
        // The largest mask that stays within.
        let mask = (1i32 << (i32::from(room) + 1).ilog2()) - 1;
        if scratch != from {
            self.alu(AluOp::Mov, scratch, Operand::Reg(from));
        }
        self.set(scratch, Holds::Busy);
        match self.random.below(3) {
            0 => self.alu(AluOp::And, scratch, Operand::Imm(mask)),
            1 => {
                self.push(Insn::Alu {
                    op: AluOp::And,
                    width: Width::W32,
                    dst: scratch,
                    src: Operand::Imm(mask),
                });
            }
            _ => return self.compared_index(base, scratch, size, room),
        }
        self.alu(AluOp::Add, scratch, Operand::Reg(base));
        self.load_or_store(size, scratch, 0);
        // It may have become the target of the load.
        if self.holds(scratch) == Holds::Busy {
            self.constant(scratch);
        }
    }

    /// The rest of an index: used if it is at most `room`.
    fn compared_index(&mut self, base: Reg, scratch: Reg, size: MemSize, room: u16) {
        let beyond = self.push(Insn::Branch {
            cond: Cond::Gt,
            width: Width::W64,
            dst: scratch,
            src: Operand::Imm(i32::from(room)),
            offset: 0,
        });
        let before = self.state.clone();
        self.alu(AluOp::Add, scratch, Operand::Reg(base));
        self.load_or_store(size, scratch, 0);
        self.land(beyond);
        self.state.join(&before);
        self.constant(scratch);
    }

    /// Spills, fills, and accesses of parts of what the stack holds.
    pub(super) fn stack(&mut self) {
        for _ in 0..=self.random.below(3) {
            let slot = self.random.below(self.lasting_slots() as u64) as usize;
            let offset = -8 * (slot as i16 + 1);
            match self.state.slots[slot] {
                Holds::Number if self.random.percent(60) => self.part(offset),
                Holds::Value(_) | Holds::Packet(_) | Holds::Ctx if self.random.percent(70) => {
                    self.fill_pointer(slot, offset);
                }
                // The next turn of a loop takes it for what it was.
                Holds::Value(_) | Holds::Packet(_) | Holds::Ctx if self.in_loop => self.binary(),
                _ => self.spill(slot, offset),
            }
        }
    }

    fn part(&mut self, slot: i16) {
        let size = self.size();
        let parts = 8 / u64::from(size.bytes());
        let offset = slot + self.random.below(parts) as i16 * i16::from(size.bytes());
        self.load_or_store(size, Reg::R10, offset);
    }

    fn spill(&mut self, slot: usize, offset: i16) {
        let pointer = if self.random.percent(25) && !self.in_loop {
            let packet = self.packet().map(|(reg, _)| reg);
            packet.or_else(|| self.value().map(|(reg, _)| reg))
        } else {
            None
        };
        let src = match pointer {
            Some(reg) => Operand::Reg(reg),
            None => self.stored(),
        };
        self.push(Insn::Store {
            size: MemSize::DW,
            base: Reg::R10,
            offset,
            src,
        });
        self.state.slots[slot] = match pointer {
            Some(reg) => self.holds(reg),
            None => Holds::Number,
        };
    }

    fn fill_pointer(&mut self, slot: usize, offset: i16) {
        let Some(dst) = self.target_but(&[Reg::R0]) else {
            return;
        };
        let holds = self.state.slots[slot];
        self.push(Insn::Load {
            size: MemSize::DW,
            signed: false,
            dst,
            base: Reg::R10,
            offset,
        });
        self.set(dst, holds);
        // It has done its work after an access, so that registers stay for numbers.
        self.access();
        if self.random.percent(70) {
            self.constant(dst);
        }
    }

    /// An aligned place that atomic operations may touch: in a map's value, or a number on the
    /// stack.
    fn atomic_place(&mut self, size: MemSize) -> Option<(Reg, i16)> {
        let slots = self.lasting_slots();
        let number = |slot: &usize| self.state.slots[*slot] == Holds::Number;
        let numbers: Vec<usize> = (0..slots).filter(number).collect();
        let part = |random: &mut super::Random| {
            let step = u64::from(size.bytes());
            random.below(8 / step) as i16 * step as i16
        };
        if self.random.percent(40)
            && let Some(slot) = self.random.choose_from(&numbers)
        {
            return Some((Reg::R10, -8 * (slot as i16 + 1) + part(&mut self.random)));
        }
        let (base, bytes) = self.value()?;
        let word = self.random.below(u64::from(bytes / 8)) as i16 * 8;
        Some((base, word + part(&mut self.random)))
    }

    /// Atomic operations, load-acquire and store-release.
    pub(super) fn atomic(&mut self) {
        if self.random.percent(75) {
            let size = self.random.choose(&[MemSize::W, MemSize::DW]);
            let op = self.random.choose(&ATOMICS);
            let src = self.variable();
            if op == AtomicOp::Cmpxchg {
                match self.holds(Reg::R0) {
                    Holds::Number => {}
                    Holds::Nothing => self.constant(Reg::R0),
                    _ => return,
                }
            }
            let Some((base, offset)) = self.atomic_place(size) else {
                return;
            };
            self.push(Insn::Atomic {
                op,
                size,
                base,
                offset,
                src,
            });
            return;
        }
        let size = self.size();
        let Some((base, offset)) = self.atomic_place(size) else {
            return;
        };
        if self.random.percent(50) {
            let dst = self.target();
            self.push(Insn::LoadAcquire {
                size,
                dst,
                base,
                offset,
            });
            self.set(dst, Holds::Number);
        } else {
            let src = self.number();
            self.push(Insn::StoreRelease {
                size,
                base,
                offset,
                src,
            });
        }
    }
}
