//! Random programs: native code and the interpreter, which share no semantics, agree on every
//! register and byte.

use std::fmt::Write as _;
use std::sync::Arc;

use bpf::Program;
use bpf::hook::Hook;
use bpf::map::MapSet;
use bpf::run::{Arrival, Batch, Environment};
use cpu_reference::{Interp, Reference, Setup};
use isa::ebpf::{
    AluOp, AtomicOp, CallTarget, Cond, Insn, MemSize, NoSymbols, Operand, Reg, SwapKind, Wide,
    Width,
};

use crate::rig::{linked, nic, run_on, verified};

const PROGRAMS: u64 = 400;
const MEMORY: usize = 64;
const ALU: [AluOp; 14] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Sdiv,
    AluOp::Mod,
    AluOp::Smod,
    AluOp::Or,
    AluOp::And,
    AluOp::Xor,
    AluOp::Mov,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Arsh,
];
const CONDITIONS: [Cond; 11] = [
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
];
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
const SIZES: [MemSize; 4] = [MemSize::B, MemSize::H, MemSize::W, MemSize::DW];
/// Numbers near which things go wrong.
const CORNERS: [u64; 12] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 63,
    u64::MAX,
];

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 20) % limit
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    fn number(&mut self) -> u64 {
        if self.below(2) == 0 {
            self.of(&CORNERS)
        } else {
            self.next()
        }
    }

    /// r0 to r8; r9 holds the memory's address.
    fn reg(&mut self) -> Reg {
        Reg::new(self.below(9) as u8).unwrap()
    }

    fn width(&mut self) -> Width {
        self.of(&[Width::W32, Width::W64])
    }

    fn operand(&mut self) -> Operand {
        if self.below(2) == 0 {
            Operand::Reg(self.reg())
        } else {
            Operand::Imm(self.number() as i32)
        }
    }

    /// An offset in the memory (r9) or in the stack's first 64 bytes (r10), for this width.
    fn place(&mut self, size: MemSize, aligned: bool) -> (Reg, i16) {
        let bytes = i16::from(size.bytes());
        let mut at = self.below(MEMORY as u64 + 1 - bytes as u64) as i16;
        if self.below(2) == 0 {
            if aligned {
                at -= at % bytes;
            }
            (Reg::new(9).unwrap(), at)
        } else {
            // The verifier wants stack accesses aligned.
            (Reg::R10, at - at % bytes - MEMORY as i16)
        }
    }
}

fn load_constant(insns: &mut Vec<Insn>, dst: Reg, value: u64) {
    insns.push(Insn::LoadWide {
        dst,
        value: Wide::Value(value),
    });
    insns.push(Insn::WideTail);
}

fn instruction(r: &mut Random, insns: &mut Vec<Insn>, calls: bool) {
    let insn = match r.below(20) {
        0..=8 => {
            let op = r.of(&ALU);
            let divides = matches!(op, AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod);
            let src = match r.operand() {
                Operand::Imm(0) if divides => Operand::Imm(-1),
                src => src,
            };
            Insn::Alu {
                op,
                width: r.width(),
                dst: r.reg(),
                src,
            }
        }
        9 => Insn::Neg {
            width: r.width(),
            dst: r.reg(),
        },
        10 => {
            let width = r.width();
            let bits = if width == Width::W64 {
                r.of(&[8, 16, 32])
            } else {
                r.of(&[8, 16])
            };
            Insn::MovSx {
                width,
                dst: r.reg(),
                src: r.reg(),
                bits,
            }
        }
        11 => Insn::Swap {
            kind: r.of(&[SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap]),
            bits: r.of(&[16, 32, 64]),
            dst: r.reg(),
        },
        12 | 13 => {
            let size = r.of(&SIZES);
            let (base, offset) = r.place(size, false);
            Insn::Load {
                size,
                signed: size != MemSize::DW && r.below(2) == 0,
                dst: r.reg(),
                base,
                offset,
            }
        }
        14 | 15 => {
            let size = r.of(&SIZES);
            let (base, offset) = r.place(size, false);
            Insn::Store {
                size,
                base,
                offset,
                src: r.operand(),
            }
        }
        16 => {
            let size = r.of(&[MemSize::W, MemSize::DW]);
            let (base, offset) = r.place(size, true);
            Insn::Atomic {
                op: r.of(&ATOMICS),
                size,
                base,
                offset,
                src: r.reg(),
            }
        }
        17 if calls => {
            insns.push(Insn::Call(CallTarget::Helper(5)));
            for reg in 1..=5 {
                let value = r.number();
                load_constant(insns, Reg::new(reg).unwrap(), value);
            }
            return;
        }
        17 => Insn::LoadAcquire {
            size: MemSize::DW,
            dst: r.reg(),
            base: Reg::R10,
            offset: -8,
        },
        _ => Insn::Branch {
            cond: r.of(&CONDITIONS),
            width: r.width(),
            dst: r.reg(),
            src: r.operand(),
            // Filled in later.
            offset: 0,
        },
    };
    insns.push(insn);
}

/// A program that ends with all registers mixed into r0.
fn random_program(seed: u64) -> Arc<Program> {
    let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let calls = seed.is_multiple_of(2);
    let mut insns = vec![Insn::Alu {
        op: AluOp::Mov,
        width: Width::W64,
        dst: Reg::new(9).unwrap(),
        src: Operand::Reg(Reg::R1),
    }];
    for at in 1..=(MEMORY as i16 / 8) {
        insns.push(Insn::Store {
            size: MemSize::DW,
            base: Reg::R10,
            offset: -8 * at,
            src: Operand::Imm(r.number() as i32),
        });
    }
    for reg in 0..9 {
        // Some from memory, of which the verifier knows nothing.
        if r.below(2) == 0 {
            insns.push(Insn::Load {
                size: MemSize::DW,
                signed: false,
                dst: Reg::new(reg).unwrap(),
                base: Reg::new(9).unwrap(),
                offset: r.below(8) as i16 * 8,
            });
        } else {
            let value = r.number();
            load_constant(&mut insns, Reg::new(reg).unwrap(), value);
        }
    }
    let start = insns.len();
    for _ in 0..40 {
        instruction(&mut r, &mut insns, calls);
    }
    let end = insns.len();
    for pc in start..end {
        if !matches!(insns[pc], Insn::Branch { .. }) {
            continue;
        }
        let mut target = pc + 1 + r.below((end - pc).min(8) as u64) as usize;
        if matches!(insns.get(target), Some(Insn::WideTail)) {
            target += 1;
        }
        let distance = (target - pc - 1) as i16;
        if let Insn::Branch { offset, .. } = &mut insns[pc] {
            *offset = distance;
        }
    }
    for reg in 1..9 {
        insns.push(Insn::Alu {
            op: AluOp::Mul,
            width: Width::W64,
            dst: Reg::R0,
            src: Operand::Imm(0x0100_0193),
        });
        insns.push(Insn::Alu {
            op: AluOp::Xor,
            width: Width::W64,
            dst: Reg::R0,
            src: Operand::Reg(Reg::new(reg).unwrap()),
        });
    }
    insns.push(Insn::Exit);
    linked(
        &format!("random {seed}"),
        insns,
        &[],
        Vec::new(),
        Hook::Raw {
            memory_bytes: MEMORY as u32,
        },
    )
}

fn text(program: &Program) -> String {
    let mut text = String::new();
    for (pc, insn) in program.insns.iter().enumerate() {
        let _ = writeln!(text, "{pc:>3}: {}", insn.display(pc, &NoSymbols));
    }
    text
}

#[test]
fn native_code_and_interpreter_agree_on_random_programs() {
    let mut ran = 0;
    for seed in 0..PROGRAMS {
        let program = random_program(seed);
        // Jumps past a helper call can leave r1 to r5 unreadable: then the program is refused.
        if verifier::verify(Arc::clone(&program), verifier::Options::default()).is_err() {
            continue;
        }
        ran += 1;
        verified(&program);
        let mut r = Random(seed + 1);
        let memory: Vec<u8> = (0..MEMORY / 8)
            .flat_map(|_| r.number().to_le_bytes())
            .collect();
        let native = run_on(&nic(&[Arc::clone(&program)], 1), &memory);
        let reference = Interp::new(Setup {
            programs: vec![Arc::clone(&program)],
            maps: MapSet::new(),
            environment: Arc::new(Environment::default()),
        })
        .unwrap();
        let mut expected = Batch::new();
        let arrival = Arrival {
            number: 0,
            arrival_ns: 1_000_000_000,
            port: 1,
            queue: 0,
        };
        expected.push(arrival, &memory, 256, 320);
        reference.runner().process(&mut expected);
        assert_eq!(expected.traps, []);
        assert_eq!(native.traps, []);
        let same =
            native.frames[0].r0 == expected.frames[0].r0 && native.bytes(0) == expected.bytes(0);
        assert!(
            same,
            "seed {seed}: r0 {:#x}, expected {:#x}\nmemory {:x?}\nexpected {:x?}\nfrom {memory:x?}\n{}",
            native.frames[0].r0,
            expected.frames[0].r0,
            native.bytes(0),
            expected.bytes(0),
            text(&program)
        );
    }
    assert!(ran > PROGRAMS / 2, "only {ran} of {PROGRAMS} were accepted");
}
