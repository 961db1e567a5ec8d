//! Random programs about pointers: into the packet, compared with its end in every way, moved by
//! numbers, spilled and filled; map values that may be null; helpers that move the packet.

use bpf::map::MapType;
use bpf::{Hook, Program};
use isa::ebpf::{AluOp, CallTarget, Cond, Insn, MemSize, Operand, Reg, Wide, Width};

use super::generate::Random;

/// What the generator takes a register to hold; the truth is the verifier's to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Number,
    Packet,
    End,
    Meta,
    Value,
}

struct Builder {
    random: Random,
    insns: Vec<Insn>,
    open: Vec<(usize, usize)>,
    regs: [Held; 10],
    slots: [Held; 4],
}

fn reg(n: usize) -> Reg {
    Reg::new(n as u8).unwrap()
}

const CTX: usize = 6;

impl Builder {
    fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
        if matches!(insn, Insn::LoadWide { .. }) {
            self.insns.push(Insn::WideTail);
        }
        let at = self.insns.len();
        for (from, left) in &mut self.open {
            *left -= 1;
            if *left == 0
                && let Insn::Branch { offset, .. } = &mut self.insns[*from]
            {
                *offset = (at - *from - 1) as i16;
            }
        }
        self.open.retain(|(_, left)| *left > 0);
    }

    fn close(&mut self) {
        let at = self.insns.len();
        for (from, _) in std::mem::take(&mut self.open) {
            if let Insn::Branch { offset, .. } = &mut self.insns[from] {
                *offset = (at - from - 1) as i16;
            }
        }
    }

    /// A register that holds this; now and then any but the context.
    fn with(&mut self, held: Held) -> Option<usize> {
        let fits: Vec<usize> = (0..10)
            .filter(|n| *n != CTX && self.regs[*n] == held)
            .collect();
        if fits.is_empty() || self.random.below(40) == 0 {
            let n = self.random.below(10) as usize;
            return (n != CTX && self.regs[n] != Held::Nothing).then_some(n);
        }
        Some(fits[self.random.below(fits.len() as u64) as usize])
    }

    /// A register to write.
    fn free(&mut self) -> usize {
        loop {
            let n = self.random.below(10) as usize;
            if n != CTX {
                return n;
            }
        }
    }

    fn alu(&mut self, op: AluOp, dst: usize, src: Operand) {
        self.push(Insn::Alu {
            op,
            width: Width::W64,
            dst: reg(dst),
            src,
        });
    }

    fn load(&mut self, size: MemSize, dst: usize, base: usize, offset: i16, held: Held) {
        self.push(Insn::Load {
            size,
            signed: false,
            dst: reg(dst),
            base: reg(base),
            offset,
        });
        self.regs[dst] = held;
    }

    fn size(&mut self) -> MemSize {
        [MemSize::B, MemSize::H, MemSize::W, MemSize::DW][self.random.below(4) as usize]
    }

    fn context(&mut self) {
        let dst = self.free();
        let (offset, held) = match self.random.below(6) {
            0 | 1 => (0, Held::Packet),
            2 | 3 => (4, Held::End),
            4 => (8, Held::Meta),
            _ => (16, Held::Number),
        };
        self.load(MemSize::W, dst, CTX, offset, held);
    }

    fn move_pointer(&mut self) {
        let held = if self.random.below(5) == 0 {
            Held::Value
        } else {
            Held::Packet
        };
        let Some(pointer) = self.with(held) else {
            return;
        };
        match self.random.below(4) {
            0 | 1 => {
                let imm = self.random.below(24) as i32 - 4;
                self.alu(AluOp::Add, pointer, Operand::Imm(imm));
            }
            _ => {
                if let Some(number) = self.with(Held::Number) {
                    if self.random.below(2) == 0 {
                        let mask = (1 << self.random.below(18)) - 1;
                        self.alu(AluOp::And, number, Operand::Imm(mask));
                    }
                    let op = if self.random.below(5) == 0 {
                        AluOp::Sub
                    } else {
                        AluOp::Add
                    };
                    if op == AluOp::Add && self.random.below(3) == 0 {
                        self.alu(op, number, Operand::Reg(reg(pointer)));
                        self.regs[number] = held;
                    } else {
                        self.alu(op, pointer, Operand::Reg(reg(number)));
                    }
                }
            }
        }
    }

    fn compare(&mut self) {
        let (a, b) = if self.random.below(6) == 0 {
            (self.with(Held::Meta), self.with(Held::Packet))
        } else {
            (self.with(Held::Packet), self.with(Held::End))
        };
        let (Some(a), Some(b)) = (a, b) else { return };
        let (a, b) = if self.random.below(2) == 0 {
            (a, b)
        } else {
            (b, a)
        };
        let conds = [Cond::Gt, Cond::Ge, Cond::Lt, Cond::Le, Cond::Gt, Cond::Eq];
        let cond = conds[self.random.below(6) as usize];
        self.branch(cond, a, Operand::Reg(reg(b)));
    }

    fn branch(&mut self, cond: Cond, dst: usize, src: Operand) {
        let width = if self.random.below(20) == 0 {
            Width::W32
        } else {
            Width::W64
        };
        self.push(Insn::Branch {
            cond,
            width,
            dst: reg(dst),
            src,
            offset: 0,
        });
        let length = 1 + self.random.below(7) as usize;
        self.open.push((self.insns.len() - 1, length));
    }

    fn access(&mut self) {
        let held =
            [Held::Packet, Held::Packet, Held::Value, Held::Meta][self.random.below(4) as usize];
        let Some(base) = self.with(held) else { return };
        let size = self.size();
        let offset = self.random.below(20) as i16 - 2;
        if self.random.below(3) == 0 {
            let src = Operand::Imm(self.random.below(9) as i32);
            self.push(Insn::Store {
                size,
                base: reg(base),
                offset,
                src,
            });
        } else {
            let dst = self.free();
            self.load(size, dst, base, offset, Held::Number);
        }
    }

    fn spill(&mut self) {
        let slot = self.random.below(4) as usize;
        let offset = -8 * (slot as i16 + 1);
        if self.random.below(2) == 0 {
            let n = self.free();
            if self.regs[n] != Held::Nothing {
                self.push(Insn::Store {
                    size: MemSize::DW,
                    base: Reg::R10,
                    offset,
                    src: Operand::Reg(reg(n)),
                });
                self.slots[slot] = self.regs[n];
            }
        } else if self.slots[slot] != Held::Nothing {
            let dst = self.free();
            let held = self.slots[slot];
            let size = if self.random.below(8) == 0 {
                self.size()
            } else {
                MemSize::DW
            };
            self.push(Insn::Load {
                size,
                signed: false,
                dst: reg(dst),
                base: Reg::R10,
                offset,
            });
            self.regs[dst] = held;
        }
    }

    fn clobbered(&mut self, result: Held) {
        self.regs[1..=5].fill(Held::Nothing);
        self.regs[0] = result;
    }

    fn call(&mut self) {
        match self.random.below(8) {
            0 => {
                self.alu(AluOp::Mov, 1, Operand::Reg(reg(CTX)));
                let by = self.random.below(16) as i32 - 8;
                self.alu(AluOp::Mov, 2, Operand::Imm(by));
                let helper = [44, 54, 65][self.random.below(3) as usize];
                self.push(Insn::Call(CallTarget::Helper(helper)));
                self.clobbered(Held::Number);
            }
            1 => {
                self.push(Insn::Call(CallTarget::Helper(7)));
                self.clobbered(Held::Number);
            }
            _ => {
                let key = self.random.below(3) as i32;
                self.push(Insn::Store {
                    size: MemSize::W,
                    base: Reg::R10,
                    offset: -40,
                    src: Operand::Imm(key),
                });
                let map = self.random.below(2) as u32;
                self.push(Insn::LoadWide {
                    dst: Reg::R1,
                    value: Wide::Map(map),
                });
                self.alu(AluOp::Mov, 2, Operand::Reg(Reg::R10));
                self.alu(AluOp::Add, 2, Operand::Imm(-40));
                self.push(Insn::Call(CallTarget::Helper(1)));
                self.clobbered(Held::Value);
            }
        }
    }

    fn null_check(&mut self) {
        let Some(n) = self.with(Held::Value) else {
            return;
        };
        let cond = if self.random.below(2) == 0 {
            Cond::Eq
        } else {
            Cond::Ne
        };
        let other = if self.random.below(6) == 0 {
            self.with(Held::Value)
        } else {
            None
        };
        let src = other.map_or(Operand::Imm(0), |other| Operand::Reg(reg(other)));
        self.branch(cond, n, src);
    }
}

/// A random program about pointers, over an array and a hash of 16-byte values.
pub fn program(seed: u64) -> Program {
    let mut b = Builder {
        random: Random::new(seed ^ 0x5bd1_e995),
        insns: Vec::new(),
        open: Vec::new(),
        regs: [Held::Nothing; 10],
        slots: [Held::Nothing; 4],
    };
    b.alu(AluOp::Mov, CTX, Operand::Reg(Reg::R1));
    b.load(MemSize::W, 7, CTX, 0, Held::Packet);
    b.load(MemSize::W, 8, CTX, 4, Held::End);
    b.alu(AluOp::Mov, 0, Operand::Imm(0));
    b.regs[0] = Held::Number;
    // A first check, which most programs have.
    b.alu(AluOp::Mov, 9, Operand::Reg(reg(7)));
    b.regs[9] = Held::Packet;
    b.alu(AluOp::Add, 9, Operand::Imm(16));
    let length = 8 + b.random.below(30);
    b.push(Insn::Branch {
        cond: Cond::Gt,
        width: Width::W64,
        dst: reg(9),
        src: Operand::Reg(reg(8)),
        offset: 0,
    });
    b.open.push((b.insns.len() - 1, 1000));
    for _ in 0..length {
        match b.random.below(16) {
            0 => b.context(),
            1 | 2 => {
                let (from, to) = (b.free(), b.free());
                if b.regs[from] != Held::Nothing {
                    b.alu(AluOp::Mov, to, Operand::Reg(reg(from)));
                    b.regs[to] = b.regs[from];
                }
            }
            3..=5 => b.move_pointer(),
            6 | 7 => b.compare(),
            8..=10 => b.access(),
            11 | 12 => b.spill(),
            13 => b.call(),
            _ => b.null_check(),
        }
    }
    b.close();
    b.alu(AluOp::Mov, 0, Operand::Imm(2));
    b.push(Insn::Exit);
    let maps = vec![
        super::map("array", MapType::Array, 4, 16, 2),
        super::map("hash", MapType::Hash, 4, 16, 2),
    ];
    super::program(b.insns, maps, Hook::XDP)
}
