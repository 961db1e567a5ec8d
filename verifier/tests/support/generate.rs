//! Random programs that are mostly valid: numbers from a map's value and from helpers, computed
//! with, compared, spilled and filled, used as an index into the map's value or the stack, with
//! branches, bounded loops and calls of functions.

use bpf::map::MapType;
use bpf::{Hook, Program};
use isa::ebpf::{
    AluOp, AtomicOp, CallTarget, Cond, Insn, MemSize, Operand, Reg, SwapKind, Wide, Width,
};

/// A small generator of numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A number that matters: small, near a power of two, or any.
    fn imm(&mut self) -> i32 {
        match self.below(6) {
            0 => self.below(8) as i32,
            1 => self.below(80) as i32,
            2 => -(self.below(70) as i32),
            3 => (1i64 << self.below(32)) as i32,
            4 => ((1i64 << self.below(32)) - 1) as i32,
            _ => self.next() as i32,
        }
    }
}

/// Bytes of the map's value.
pub const VALUE_BYTES: u32 = 64;

fn reg(n: u8) -> Reg {
    Reg::new(n).unwrap()
}

const R6: u8 = 6;
const R7: u8 = 7;

struct Builder {
    random: Random,
    insns: Vec<Insn>,
    /// Branches to fill in: index, and after how many more instructions they land.
    open: Vec<(usize, usize)>,
    in_function: bool,
}

/// The registers that hold numbers: r0 to r5, r8, r9.
const NUMBERS: [u8; 8] = [0, 1, 2, 3, 4, 5, 8, 9];

impl Builder {
    fn number(&mut self) -> Reg {
        reg(self.random.pick(&NUMBERS))
    }

    fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
        if matches!(insn, Insn::LoadWide { .. }) {
            self.insns.push(Insn::WideTail);
        }
        let at = self.insns.len();
        for (from, left) in &mut self.open {
            *left = left.saturating_sub(1);
            if *left == 0
                && let Insn::Branch { offset, .. } = &mut self.insns[*from]
            {
                *offset = (at - *from - 1) as i16;
            }
        }
        self.open.retain(|(_, left)| *left > 0);
    }

    fn mov(&mut self, dst: Reg, src: Operand) {
        self.push(Insn::Alu {
            op: AluOp::Mov,
            width: Width::W64,
            dst,
            src,
        });
    }

    fn alu(&mut self) {
        let op = self.random.pick(&[
            AluOp::Add,
            AluOp::Add,
            AluOp::Sub,
            AluOp::Mul,
            AluOp::Or,
            AluOp::And,
            AluOp::And,
            AluOp::Xor,
            AluOp::Mov,
            AluOp::Mov,
            AluOp::Lsh,
            AluOp::Rsh,
            AluOp::Arsh,
            AluOp::Div,
            AluOp::Mod,
        ]);
        let width = self.random.pick(&[Width::W64, Width::W64, Width::W32]);
        let dst = self.number();
        let src = if self.random.chance(45) {
            Operand::Reg(self.number())
        } else {
            let bits = if width == Width::W64 { 64 } else { 32 };
            Operand::Imm(match op {
                AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => self.random.below(bits) as i32,
                AluOp::Div | AluOp::Mod => self.random.imm() | 1,
                _ => self.random.imm(),
            })
        };
        self.push(Insn::Alu {
            op,
            width,
            dst,
            src,
        });
    }

    fn unary(&mut self) {
        let dst = self.number();
        let src = self.number();
        let insn = match self.random.below(4) {
            0 => Insn::Neg {
                width: self.random.pick(&[Width::W64, Width::W32]),
                dst,
            },
            1 => Insn::MovSx {
                width: Width::W64,
                dst,
                src,
                bits: self.random.pick(&[8, 16, 32]),
            },
            2 => Insn::MovSx {
                width: Width::W32,
                dst,
                src,
                bits: self.random.pick(&[8, 16]),
            },
            _ => Insn::Swap {
                kind: self
                    .random
                    .pick(&[SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap]),
                bits: self.random.pick(&[16, 32, 64]),
                dst,
            },
        };
        self.push(insn);
    }

    fn branch(&mut self) {
        let cond = self.random.pick(&[
            Cond::Eq,
            Cond::Ne,
            Cond::Gt,
            Cond::Ge,
            Cond::Lt,
            Cond::Le,
            Cond::Sgt,
            Cond::Sge,
            Cond::Slt,
            Cond::Sle,
            Cond::Set,
        ]);
        let dst = self.number();
        let src = if self.random.chance(35) {
            Operand::Reg(self.number())
        } else {
            Operand::Imm(self.random.imm())
        };
        let width = self.random.pick(&[Width::W64, Width::W64, Width::W32]);
        self.push(Insn::Branch {
            cond,
            width,
            dst,
            src,
            offset: 0,
        });
        let length = 1 + self.random.below(6) as usize;
        self.open.push((self.insns.len() - 1, length));
    }

    fn stack(&mut self) {
        let size =
            self.random
                .pick(&[MemSize::DW, MemSize::DW, MemSize::W, MemSize::H, MemSize::B]);
        let bytes = i16::from(size.bytes());
        let offset = -bytes * (1 + self.random.below(32 / bytes as u64) as i16);
        let number = self.number();
        let insn = match self.random.below(5) {
            0 | 1 => Insn::Store {
                size,
                base: Reg::R10,
                offset,
                src: Operand::Reg(number),
            },
            2 => Insn::Store {
                size,
                base: Reg::R10,
                offset,
                src: Operand::Imm(if self.random.chance(50) {
                    0
                } else {
                    self.random.imm()
                }),
            },
            _ => Insn::Load {
                size,
                signed: size != MemSize::DW && self.random.chance(25),
                dst: number,
                base: Reg::R10,
                offset,
            },
        };
        self.push(insn);
    }

    /// Bounds a number, most often enough, and uses it as an offset.
    fn index(&mut self) {
        let dst = self.number();
        let limit = self.random.pick(&[7, 15, 31, 48, 63, 64, 100]);
        match self.random.below(5) {
            0 | 1 => self.push(Insn::Alu {
                op: AluOp::And,
                width: self.random.clone().pick(&[Width::W64, Width::W32]),
                dst,
                src: Operand::Imm(limit),
            }),
            2 | 3 => {
                let signed = self.random.chance(30);
                self.push(Insn::Branch {
                    cond: if signed { Cond::Sgt } else { Cond::Gt },
                    width: self
                        .random
                        .clone()
                        .pick(&[Width::W64, Width::W64, Width::W32]),
                    dst,
                    src: Operand::Imm(limit),
                    offset: 0,
                });
                self.open.push((self.insns.len() - 1, 4));
            }
            _ => {}
        }
        let stack = self.random.chance(25);
        let scratch = reg(R6);
        self.mov(
            scratch,
            Operand::Reg(if stack { Reg::R10 } else { reg(R7) }),
        );
        self.push(Insn::Alu {
            op: AluOp::Add,
            width: Width::W64,
            dst: scratch,
            src: Operand::Reg(dst),
        });
        let size = self
            .random
            .pick(&[MemSize::B, MemSize::B, MemSize::H, MemSize::DW]);
        let offset = if stack {
            -64 - self.random.below(10) as i16
        } else {
            self.random.below(8) as i16 - 1
        };
        let (base, value) = (scratch, self.number());
        let store = self.random.chance(40);
        self.push(if store {
            Insn::Store {
                size,
                base,
                offset,
                src: Operand::Reg(value),
            }
        } else {
            Insn::Load {
                size,
                signed: false,
                dst: value,
                base,
                offset,
            }
        });
        self.mov(scratch, Operand::Imm(0));
    }

    fn load_number(&mut self) {
        let size = self
            .random
            .pick(&[MemSize::B, MemSize::H, MemSize::W, MemSize::DW]);
        let dst = self.number();
        let offset = 8 * self.random.below(7) as i16;
        self.push(Insn::Load {
            size,
            signed: false,
            dst,
            base: reg(R7),
            offset,
        });
    }

    fn atomic(&mut self) {
        let op = self.random.pick(&[
            AtomicOp::Add,
            AtomicOp::FetchAdd,
            AtomicOp::Xchg,
            AtomicOp::Cmpxchg,
            AtomicOp::FetchAnd,
        ]);
        let stack = self.random.chance(50);
        let src = self.number();
        self.push(Insn::Atomic {
            op,
            size: self.random.clone().pick(&[MemSize::W, MemSize::DW]),
            base: if stack { Reg::R10 } else { reg(R7) },
            offset: if stack { -16 } else { 8 },
            src,
        });
    }

    /// A call clobbers r0 to r5, which get numbers again.
    fn call(&mut self, local: bool) {
        if local {
            self.mov(Reg::R1, Operand::Reg(reg(R7)));
            self.push(Insn::Call(CallTarget::Local { offset: i32::MAX }));
        } else {
            // Not get_smp_processor_id: its range depends on the machine's CPUs.
            let helper = self.random.pick(&[5, 7]);
            self.push(Insn::Call(CallTarget::Helper(helper)));
        }
        for n in 1..=5 {
            let from = self.random.pick(&[0, 8, 9]);
            let src = if self.random.chance(60) {
                Operand::Reg(reg(from))
            } else {
                Operand::Imm(self.random.imm())
            };
            self.mov(reg(n), src);
        }
    }

    fn bounded_loop(&mut self, size: usize) {
        let counter = self.random.pick(&[8, 9]);
        self.close();
        self.mov(reg(counter), Operand::Imm(0));
        let start = self.insns.len();
        for _ in 0..size {
            match self.random.below(4) {
                0 => self.stack(),
                1 => self.index(),
                _ => self.alu(),
            }
        }
        self.close();
        self.push(Insn::Alu {
            op: AluOp::Add,
            width: Width::W64,
            dst: reg(counter),
            src: Operand::Imm(1),
        });
        let offset = start as i64 - self.insns.len() as i64 - 1;
        let bound = 1 + self.random.below(12) as i32;
        self.push(Insn::Branch {
            cond: self
                .random
                .clone()
                .pick(&[Cond::Lt, Cond::Slt, Cond::Le, Cond::Ne]),
            width: Width::W64,
            dst: reg(counter),
            src: Operand::Imm(bound),
            offset: offset as i16,
        });
    }

    /// Lands all open branches here.
    fn close(&mut self) {
        let at = self.insns.len();
        for (from, _) in std::mem::take(&mut self.open) {
            if let Insn::Branch { offset, .. } = &mut self.insns[from] {
                *offset = (at - from - 1) as i16;
            }
        }
    }

    fn body(&mut self, length: usize) {
        for _ in 0..length {
            match self.random.below(20) {
                6 => self.unary(),
                7..=9 => self.branch(),
                10..=12 => self.stack(),
                13 | 14 => self.index(),
                15 | 16 => self.load_number(),
                17 => self.atomic(),
                18 if self.random.chance(50) => self.call(false),
                18 if !self.in_function => self.call(true),
                19 if self.random.chance(40) => {
                    let size = 1 + self.random.below(3) as usize;
                    self.bounded_loop(size);
                }
                _ => self.alu(),
            }
        }
        self.close();
    }

    /// Numbers in all registers that hold them, from the value r7 points to.
    fn numbers(&mut self) {
        for n in NUMBERS {
            if self.random.chance(60) {
                let size = self.random.pick(&[MemSize::DW, MemSize::W, MemSize::B]);
                self.push(Insn::Load {
                    size,
                    signed: false,
                    dst: reg(n),
                    base: reg(R7),
                    offset: 8 * self.random.clone().below(7) as i16,
                });
            } else {
                let imm = self.random.imm();
                self.mov(reg(n), Operand::Imm(imm));
            }
        }
        self.mov(reg(R6), Operand::Imm(0));
    }
}

/// A random program over one array map of one value.
pub fn program(seed: u64) -> Program {
    let mut b = Builder {
        random: Random::new(seed),
        insns: Vec::new(),
        open: Vec::new(),
        in_function: false,
    };
    // r7 = the map's value.
    b.push(Insn::LoadWide {
        dst: reg(R7),
        value: Wide::MapValue { map: 0, offset: 0 },
    });
    b.numbers();
    let length = 5 + b.random.below(25) as usize;
    b.body(length);
    b.mov(Reg::R0, Operand::Imm(2));
    b.push(Insn::Exit);
    let calls: Vec<usize> = (0..b.insns.len())
        .filter(|pc| matches!(b.insns[*pc], Insn::Call(CallTarget::Local { .. })))
        .collect();
    if !calls.is_empty() {
        let start = b.insns.len();
        b.in_function = true;
        b.mov(reg(R7), Operand::Reg(Reg::R1));
        b.numbers();
        let length = 3 + b.random.below(8) as usize;
        b.body(length);
        b.push(Insn::Exit);
        for pc in calls {
            b.insns[pc] = Insn::Call(CallTarget::Local {
                offset: (start - pc - 1) as i32,
            });
        }
    }
    let map = super::map("values", MapType::Array, 4, VALUE_BYTES, 1);
    super::program(b.insns, vec![map], Hook::XDP)
}

/// An instruction that does nothing.
pub const NOTHING: Insn = Insn::Jump {
    offset: 0,
    long: false,
};

/// The program as text, without instructions that do nothing.
pub fn listing(program: &Program) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (pc, insn) in program.insns.iter().enumerate() {
        let line = insn.display(pc, &isa::ebpf::NoSymbols).to_string();
        if *insn != Insn::WideTail && *insn != NOTHING {
            let _ = writeln!(text, "{pc}: {line}");
        }
    }
    text
}
