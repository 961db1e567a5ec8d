//! [`Builder`]: a program being made, and what its registers and stack slots hold.

use isa::ebpf::{AluOp, CallTarget, Insn, MemSize, Operand, Reg, Wide, Width};

use super::{RAW_BYTES, Random, Spec};
use crate::Hook;

/// What a register or a stack slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Nothing that may be read.
    Nothing,
    /// A number.
    Number,
    /// A number that pieces may read but not change.
    Counter,
    /// What the piece being made works with.
    Busy,
    /// The context.
    Ctx,
    /// The start of the packet, or of raw memory, of which so many bytes may be touched.
    Packet(u16),
    /// The start of a map's value, of which so many bytes may be touched.
    Value(u16),
}

/// 8-byte slots of the entry function's stack that pieces use. With those of functions in the
/// deepest chain of calls they stay below 512 bytes.
const ENTRY_SLOTS: usize = 22;
/// The same of a function.
const FUNCTION_SLOTS: usize = 16;
/// Slots that only [`Builder::scratch`] hands out, from the frame's end.
const SCRATCH_SLOTS: usize = 6;

/// What is held where.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) regs: [Holds; 10],
    pub(super) slots: [Holds; ENTRY_SLOTS],
}

impl State {
    /// What holds whichever of two ways was taken.
    pub(super) fn join(&mut self, other: &State) {
        let pairs = self.regs.iter_mut().zip(&other.regs);
        for (one, two) in pairs.chain(self.slots.iter_mut().zip(&other.slots)) {
            if one != two {
                *one = match (*one, *two) {
                    (Holds::Packet(a), Holds::Packet(b)) => Holds::Packet(a.min(b)),
                    _ => Holds::Nothing,
                };
            }
        }
    }
}

/// A program being made.
pub(super) struct Builder<'s> {
    pub(super) spec: &'s Spec,
    pub(super) random: Random,
    pub(super) insns: Vec<Insn>,
    pub(super) state: State,
    /// Blocks around the current place.
    pub(super) depth: u32,
    /// Whether the current place is in a loop.
    pub(super) in_loop: bool,
    /// Index of the current function; 0 is the entry.
    pub(super) function: usize,
    /// Calls of functions: pc and index of the function.
    pub(super) calls: Vec<(usize, usize)>,
    /// Branches of the current function to its way out.
    pub(super) exits: Vec<usize>,
}

/// Functions beside the entry, at most.
pub(super) const FUNCTIONS: usize = 2;

impl<'s> Builder<'s> {
    pub(super) fn new(spec: &'s Spec, seed: u64) -> Builder<'s> {
        Builder {
            spec,
            random: Random::new(seed),
            insns: Vec::with_capacity(160),
            state: State {
                regs: [Holds::Nothing; 10],
                slots: [Holds::Nothing; ENTRY_SLOTS],
            },
            depth: 0,
            in_loop: false,
            function: 0,
            calls: Vec::new(),
            exits: Vec::new(),
        }
    }

    /// The entry function, and those that it calls.
    pub(super) fn whole(&mut self) {
        self.prologue();
        let pieces = 3 + self.random.below(u64::from(self.spec.pieces.max(4)) - 2);
        self.pieces(pieces);
        self.epilogue();
        for index in 1..=FUNCTIONS {
            if self.calls.iter().any(|(_, called)| *called == index) {
                self.callee(index);
            }
        }
    }

    /// Slots of the current function's frame.
    pub(super) fn slots(&self) -> usize {
        if self.function == 0 {
            ENTRY_SLOTS
        } else {
            FUNCTION_SLOTS
        }
    }

    /// Slots that hold numbers or pointers between pieces.
    pub(super) fn lasting_slots(&self) -> usize {
        self.slots() - SCRATCH_SLOTS
    }

    /// Byte offset from r10 of `slots` slots that one piece may use as it likes, at most
    /// `SCRATCH_SLOTS`.
    pub(super) fn scratch(&mut self, slots: usize) -> i16 {
        debug_assert!(slots <= SCRATCH_SLOTS);
        let end = self.slots();
        for slot in &mut self.state.slots[end - slots..end] {
            *slot = Holds::Nothing;
        }
        -8 * end as i16
    }

    pub(super) fn push(&mut self, insn: Insn) -> usize {
        let at = self.insns.len();
        self.insns.push(insn);
        if matches!(insn, Insn::LoadWide { .. }) {
            self.insns.push(Insn::WideTail);
        }
        at
    }

    /// Lands the branch or jump at `from` on the next instruction.
    pub(super) fn land(&mut self, from: usize) {
        let distance = (self.insns.len() - from - 1) as i32;
        match &mut self.insns[from] {
            Insn::Branch { offset, .. } | Insn::MayGoto { offset } => *offset = distance as i16,
            Insn::Jump { offset, .. } => *offset = distance,
            _ => {}
        }
    }

    pub(super) fn alu(&mut self, op: AluOp, dst: Reg, src: Operand) {
        self.push(Insn::Alu {
            op,
            width: Width::W64,
            dst,
            src,
        });
    }

    /// `dst = src`, of what `src` holds.
    pub(super) fn copy(&mut self, dst: Reg, src: Reg) {
        self.alu(AluOp::Mov, dst, Operand::Reg(src));
        if let Some(holds) = self.state.regs.get(src.index()).copied() {
            self.set(dst, holds);
        }
    }

    pub(super) fn set(&mut self, reg: Reg, holds: Holds) {
        if let Some(place) = self.state.regs.get_mut(reg.index()) {
            *place = holds;
        }
    }

    /// What a register holds.
    pub(super) fn holds(&self, reg: Reg) -> Holds {
        let held = self.state.regs.get(reg.index());
        held.copied().unwrap_or(Holds::Nothing)
    }

    /// `dst = address of the workspace map's value`.
    pub(super) fn workspace(&mut self, dst: Reg) {
        self.push(Insn::LoadWide {
            dst,
            value: Wide::MapValue { map: 0, offset: 0 },
        });
        self.set(dst, Holds::Value(super::maps::WORKSPACE_BYTES));
    }

    /// A constant number in a register, one way or another.
    pub(super) fn constant(&mut self, dst: Reg) {
        if self.random.percent(50) {
            let value = Wide::Value(self.random.operand());
            self.push(Insn::LoadWide { dst, value });
        } else {
            let imm = self.random.immediate();
            let width = self.random.choose(&[Width::W32, Width::W64]);
            self.push(Insn::Alu {
                op: AluOp::Mov,
                width,
                dst,
                src: Operand::Imm(imm),
            });
        }
        self.set(dst, Holds::Number);
    }

    /// A number in a register that the verifier does not know, if there is memory to load from.
    pub(super) fn unknown(&mut self, dst: Reg) {
        let Some((base, bytes)) = self.memory() else {
            return self.constant(dst);
        };
        let size = self.random.choose(&[MemSize::DW, MemSize::DW, MemSize::W]);
        let offset = self.random.below(u64::from(bytes - 8)) as i16;
        self.push(Insn::Load {
            size,
            signed: false,
            dst,
            base,
            offset,
        });
        self.set(dst, Holds::Number);
    }

    fn find(&mut self, fits: impl Fn(Holds) -> bool) -> Option<Reg> {
        let held = &self.state.regs;
        let found: Vec<Reg> = Reg::all()
            .take(10)
            .filter(|r| fits(held[r.index()]))
            .collect();
        self.random.choose_from(&found)
    }

    /// A register that holds a number; one is made if there is none.
    pub(super) fn number(&mut self) -> Reg {
        let found = self.find(|h| matches!(h, Holds::Number | Holds::Counter));
        found.unwrap_or_else(|| {
            let dst = self.target();
            self.constant(dst);
            dst
        })
    }

    /// A register that holds a number which a piece may change.
    pub(super) fn variable(&mut self) -> Reg {
        self.find(|h| h == Holds::Number).unwrap_or_else(|| {
            let dst = self.target();
            self.constant(dst);
            dst
        })
    }

    /// A register to put a number into.
    pub(super) fn target(&mut self) -> Reg {
        self.find(|h| matches!(h, Holds::Number | Holds::Nothing))
            .unwrap_or(Reg::R0)
    }

    /// A register to put a number into, and not that one.
    pub(super) fn target_but(&mut self, not: &[Reg]) -> Option<Reg> {
        let held = &self.state.regs;
        let found: Vec<Reg> = Reg::all()
            .take(10)
            .filter(|r| matches!(held[r.index()], Holds::Number | Holds::Nothing))
            .filter(|r| !not.contains(r))
            .collect();
        self.random.choose_from(&found)
    }

    /// The context's register.
    pub(super) fn ctx(&mut self) -> Option<Reg> {
        self.find(|h| h == Holds::Ctx)
    }

    /// A register that points to a map's value, and how many bytes may be touched.
    pub(super) fn value(&mut self) -> Option<(Reg, u16)> {
        let reg = self.find(|h| matches!(h, Holds::Value(_)))?;
        match self.holds(reg) {
            Holds::Value(bytes) => Some((reg, bytes)),
            _ => None,
        }
    }

    /// A register that points to packet or raw memory, and how many bytes may be touched.
    pub(super) fn packet(&mut self) -> Option<(Reg, u16)> {
        let reg = self.find(|h| matches!(h, Holds::Packet(_)))?;
        match self.holds(reg) {
            Holds::Packet(bytes) => Some((reg, bytes)),
            _ => None,
        }
    }

    /// A register that points to memory with at least 9 bytes, and how many.
    pub(super) fn memory(&mut self) -> Option<(Reg, u16)> {
        let first = if self.random.percent(50) {
            self.packet()
        } else {
            self.value()
        };
        let found = first.or_else(|| self.packet()).or_else(|| self.value());
        found.filter(|(_, bytes)| *bytes > 8)
    }

    /// After a call r1 to r5 hold nothing, and r0 what is given.
    pub(super) fn called(&mut self, target: CallTarget, result: Holds) -> usize {
        let at = self.push(Insn::Call(target));
        for held in &mut self.state.regs[1..=5] {
            *held = Holds::Nothing;
        }
        self.state.regs[0] = result;
        at
    }

    /// Puts numbers into some of the registers that hold nothing.
    pub(super) fn refill(&mut self) {
        for reg in Reg::all().take(10) {
            if self.holds(reg) != Holds::Nothing || self.random.percent(35) {
                continue;
            }
            let from = self.number();
            if from != reg && self.random.percent(40) {
                self.alu(AluOp::Mov, reg, Operand::Reg(from));
                self.set(reg, Holds::Number);
            } else if self.random.percent(50) {
                self.unknown(reg);
            } else {
                self.constant(reg);
            }
        }
    }

    /// Roles of the registers that calls preserve, and numbers in the others.
    fn prologue(&mut self) {
        let mut kept = [Reg::R6, Reg::R7, Reg::R8, Reg::R9];
        for at in (1..kept.len()).rev() {
            kept.swap(at, self.random.below(at as u64 + 1) as usize);
        }
        let [first, second, third, _] = kept;
        match self.spec.hook {
            Hook::Raw { memory_bytes } => {
                let bytes = memory_bytes.min(RAW_BYTES) as u16;
                self.set(Reg::R1, Holds::Packet(bytes));
                self.set(Reg::R2, Holds::Number);
                self.copy(first, Reg::R1);
                self.set(Reg::R1, Holds::Nothing);
            }
            Hook::Xdp { .. } | Hook::Tc { .. } => {
                self.set(Reg::R1, Holds::Ctx);
                self.copy(first, Reg::R1);
                self.set(Reg::R1, Holds::Nothing);
                if self.random.percent(90) {
                    self.examine_packet(second);
                }
            }
        }
        if self.random.percent(80) {
            self.workspace(third);
        }
        for reg in Reg::all().take(10) {
            if self.holds(reg) == Holds::Nothing {
                if self.random.percent(60) {
                    self.unknown(reg);
                } else {
                    self.constant(reg);
                }
            }
        }
    }

    /// Mixes all numbers into r0, and leaves.
    fn epilogue(&mut self) {
        if !matches!(self.holds(Reg::R0), Holds::Number | Holds::Counter) {
            self.alu(AluOp::Mov, Reg::R0, Operand::Imm(1));
            self.set(Reg::R0, Holds::Number);
        }
        for reg in Reg::all().skip(1).take(9) {
            if matches!(self.holds(reg), Holds::Number | Holds::Counter) {
                self.alu(AluOp::Mul, Reg::R0, Operand::Imm(0x0100_0193));
                self.alu(AluOp::Xor, Reg::R0, Operand::Reg(reg));
            }
        }
        if self.function == 0 && !matches!(self.spec.hook, Hook::Raw { .. }) {
            self.verdict();
        }
        self.push(Insn::Exit);
        let exits = std::mem::take(&mut self.exits);
        if exits.is_empty() {
            return;
        }
        exits.into_iter().for_each(|from| self.land(from));
        let imm = 1 + self.random.below(3) as i32;
        self.alu(AluOp::Mov, Reg::R0, Operand::Imm(imm));
        self.push(Insn::Exit);
    }

    /// r0 keeps all bits of the mixture, or becomes a verdict with the mixture in the packet.
    fn verdict(&mut self) {
        if self.random.percent(50) {
            // The upper half too must show in the 32 bits of a return code.
            self.alu(AluOp::Mov, Reg::R1, Operand::Reg(Reg::R0));
            self.alu(AluOp::Rsh, Reg::R1, Operand::Imm(32));
            self.alu(AluOp::Xor, Reg::R0, Operand::Reg(Reg::R1));
            return;
        }
        if let Some((base, bytes)) = self.memory() {
            let offset = self.random.below(u64::from(bytes - 8)) as i16;
            self.push(Insn::Store {
                size: MemSize::DW,
                base,
                offset,
                src: Operand::Reg(Reg::R0),
            });
        }
        self.alu(AluOp::And, Reg::R0, Operand::Imm(3));
    }

    /// A function that `r1` gives the workspace and `r2` a number.
    fn callee(&mut self, index: usize) {
        let start = self.insns.len();
        let calls = self.calls.iter().filter(|(_, called)| *called == index);
        let pcs: Vec<usize> = calls.map(|(pc, _)| *pc).collect();
        for pc in pcs {
            let offset = (start - pc - 1) as i32;
            self.insns[pc] = Insn::Call(CallTarget::Local { offset });
        }
        self.function = index;
        self.state = State {
            regs: [Holds::Nothing; 10],
            slots: [Holds::Nothing; ENTRY_SLOTS],
        };
        self.set(Reg::R1, Holds::Value(super::maps::WORKSPACE_BYTES));
        self.set(Reg::R2, Holds::Number);
        if self.random.percent(70) {
            self.copy(Reg::R6, Reg::R1);
            self.set(Reg::R1, Holds::Nothing);
        }
        self.refill();
        let pieces = 1 + self.random.below(5);
        self.pieces(pieces);
        self.epilogue();
    }
}
