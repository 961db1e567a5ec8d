//! Instructions as the loop runs them: one 16-byte cell each, without the empty second slots of
//! two-slot loads, all programs of a setup one after the other.

use bpf::helper::callback::calls_back;
use bpf::{Program, kfunc};
use isa::ebpf::{
    AluOp, AtomicOp, CallTarget, Cond, Insn, MemSize, Operand, PacketBase, Reg, SwapKind, Wide,
    Width,
};

use super::space::{self, MapRegions};

/// One instruction. What `offset` and `imm` hold depends on the operation: jumps have the index
/// of their target in `offset`, branches their immediate in `imm`, loads and stores the byte
/// offset in `offset`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) op: Op,
    pub(super) dst: u8,
    pub(super) src: u8,
    /// Bytes of an atomic or packet access; bits of a byte swap.
    pub(super) size: u8,
    pub(super) offset: i32,
    pub(super) imm: i64,
}

/// Defines [`Op`] and the choice of an operation by its width and second operand.
macro_rules! operations {
    (
        alu { $($alu:ident: $a64i:ident $a64r:ident $a32i:ident $a32r:ident;)* }
        branch { $($cond:ident: $b64i:ident $b64r:ident $b32i:ident $b32r:ident;)* }
        rest { $($(#[$doc:meta])* $rest:ident,)* }
    ) => {
        /// What a cell does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Op {
            $($a64i, $a64r, $a32i, $a32r,)*
            $($b64i, $b64r, $b32i, $b32r,)*
            $($(#[$doc])* $rest,)*
        }

        fn alu(op: AluOp, width: Width, src: Operand) -> Op {
            match op {
                $(AluOp::$alu => pick(width, src, [Op::$a64i, Op::$a64r, Op::$a32i, Op::$a32r]),)*
            }
        }

        fn branch(cond: Cond, width: Width, src: Operand) -> Op {
            match cond {
                $(Cond::$cond => pick(width, src, [Op::$b64i, Op::$b64r, Op::$b32i, Op::$b32r]),)*
            }
        }
    };
}

operations! {
    alu {
        Add: Add64Imm Add64Reg Add32Imm Add32Reg;
        Sub: Sub64Imm Sub64Reg Sub32Imm Sub32Reg;
        Mul: Mul64Imm Mul64Reg Mul32Imm Mul32Reg;
        Div: Div64Imm Div64Reg Div32Imm Div32Reg;
        Sdiv: Sdiv64Imm Sdiv64Reg Sdiv32Imm Sdiv32Reg;
        Mod: Mod64Imm Mod64Reg Mod32Imm Mod32Reg;
        Smod: Smod64Imm Smod64Reg Smod32Imm Smod32Reg;
        Or: Or64Imm Or64Reg Or32Imm Or32Reg;
        And: And64Imm And64Reg And32Imm And32Reg;
        Xor: Xor64Imm Xor64Reg Xor32Imm Xor32Reg;
        Mov: Mov64Imm Mov64Reg Mov32Imm Mov32Reg;
        Lsh: Lsh64Imm Lsh64Reg Lsh32Imm Lsh32Reg;
        Rsh: Rsh64Imm Rsh64Reg Rsh32Imm Rsh32Reg;
        Arsh: Arsh64Imm Arsh64Reg Arsh32Imm Arsh32Reg;
    }
    branch {
        Eq: Eq64Imm Eq64Reg Eq32Imm Eq32Reg;
        Ne: Ne64Imm Ne64Reg Ne32Imm Ne32Reg;
        Gt: Gt64Imm Gt64Reg Gt32Imm Gt32Reg;
        Ge: Ge64Imm Ge64Reg Ge32Imm Ge32Reg;
        Lt: Lt64Imm Lt64Reg Lt32Imm Lt32Reg;
        Le: Le64Imm Le64Reg Le32Imm Le32Reg;
        Sgt: Sgt64Imm Sgt64Reg Sgt32Imm Sgt32Reg;
        Sge: Sge64Imm Sge64Reg Sge32Imm Sge32Reg;
        Slt: Slt64Imm Slt64Reg Slt32Imm Slt32Reg;
        Sle: Sle64Imm Sle64Reg Sle32Imm Sle32Reg;
        Set: Set64Imm Set64Reg Set32Imm Set32Reg;
    }
    rest {
        Neg64,
        Neg32,
        /// To 64 bits from 8.
        MovSx8,
        MovSx16,
        MovSx32,
        /// To 32 bits from 8, the upper half becomes zero.
        MovSx8To32,
        MovSx16To32,
        /// Truncation to `size` bits.
        ToLe,
        /// Swap of the lower `size` bits.
        Swap,
        Load8,
        Load16,
        Load32,
        Load64,
        LoadSx8,
        LoadSx16,
        LoadSx32,
        StoreReg8,
        StoreReg16,
        StoreReg32,
        StoreReg64,
        StoreImm8,
        StoreImm16,
        StoreImm32,
        StoreImm64,
        LoadAcquire,
        StoreRelease,
        AtomicAdd,
        AtomicOr,
        AtomicAnd,
        AtomicXor,
        FetchAdd,
        FetchOr,
        FetchAnd,
        FetchXor,
        Xchg,
        Cmpxchg,
        /// Load of the packet's bytes at `imm`.
        PacketAbs,
        /// Load of the packet's bytes at `src + imm`.
        PacketInd,
        Jump,
        /// Branch whose budget is that of its function's call.
        MayGoto,
        /// Helper or kernel function `imm`, a [`kfunc::callee`].
        Helper,
        /// Helper `imm`, which calls functions of the program.
        CallBack,
        TailCall,
        /// Function at `offset`.
        Call,
        Exit,
        /// An instruction that interp does not have.
        Bad,
        /// The end of a jump that leads to where no instruction is: slot `imm`.
        Nowhere,
    }
}

fn pick(width: Width, src: Operand, [imm64, reg64, imm32, reg32]: [Op; 4]) -> Op {
    match (width, src) {
        (Width::W64, Operand::Imm(_)) => imm64,
        (Width::W64, Operand::Reg(_)) => reg64,
        (Width::W32, Operand::Imm(_)) => imm32,
        (Width::W32, Operand::Reg(_)) => reg32,
    }
}

/// All programs of a setup, ready to run.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) cells: Vec<Cell>,
    /// Slot of each cell in its own program.
    pub(super) slots: Vec<u32>,
    /// First cell of each program.
    pub(super) entries: Vec<usize>,
}

impl Code {
    /// Appends a program.
    pub(super) fn add(&mut self, program: &Program, maps: &MapRegions) {
        let base = self.cells.len();
        let insns = &program.insns;
        // For each slot the cell that starts there.
        let mut starts = Vec::with_capacity(insns.len());
        let mut next = base;
        for insn in insns.iter() {
            let is_tail = matches!(insn, Insn::WideTail);
            starts.push((!is_tail).then_some(next));
            next += usize::from(!is_tail);
        }
        let mut builder = Builder {
            starts: &starts,
            next_extra: next + 1,
            extra: Vec::new(),
            maps,
        };
        self.entries.push(base);
        for (pc, insn) in insns.iter().enumerate() {
            if !matches!(insn, Insn::WideTail) {
                let cell = builder.cell(pc, insn);
                self.cells.push(cell);
                self.slots.push(pc as u32);
            }
        }
        // Behind the last instruction, then the targets of jumps that lead nowhere.
        self.cells.push(nowhere(insns.len() as i64));
        self.slots.push(insns.len().saturating_sub(1) as u32);
        for (pc, target) in builder.extra {
            self.cells.push(nowhere(target));
            self.slots.push(pc as u32);
        }
    }
}

fn nowhere(target: i64) -> Cell {
    Cell {
        imm: target,
        ..Cell::new(Op::Nowhere)
    }
}

impl Cell {
    const fn new(op: Op) -> Cell {
        Cell {
            op,
            dst: 0,
            src: 0,
            size: 0,
            offset: 0,
            imm: 0,
        }
    }

    /// Two registers and an offset.
    fn memory(op: Op, dst: Reg, src: Reg, offset: i16) -> Cell {
        Cell {
            dst: dst.number(),
            src: src.number(),
            offset: i32::from(offset),
            ..Cell::new(op)
        }
    }

    fn operand(self, src: Operand) -> Cell {
        match src {
            Operand::Reg(reg) => Cell {
                src: reg.number(),
                ..self
            },
            Operand::Imm(imm) => Cell {
                imm: i64::from(imm),
                ..self
            },
        }
    }
}

/// What is needed to make a program's cells.
struct Builder<'a> {
    starts: &'a [Option<usize>],
    next_extra: usize,
    extra: Vec<(usize, i64)>,
    maps: &'a MapRegions,
}

impl Builder<'_> {
    /// The cell that a jump from `pc` goes to.
    fn target(&mut self, pc: usize, target: i64) -> i32 {
        let cell = usize::try_from(target)
            .ok()
            .and_then(|slot| self.starts.get(slot).copied().flatten());
        let cell = cell.unwrap_or_else(|| {
            self.extra.push((pc, target));
            self.next_extra += 1;
            self.next_extra - 1
        });
        cell as i32
    }

    fn cell(&mut self, pc: usize, insn: &Insn) -> Cell {
        match *insn {
            Insn::Alu {
                op,
                width,
                dst,
                src,
            } => Cell {
                dst: dst.number(),
                ..Cell::new(alu(op, width, src)).operand(src)
            },
            Insn::Neg { width, dst } => Cell {
                dst: dst.number(),
                ..Cell::new(match width {
                    Width::W64 => Op::Neg64,
                    Width::W32 => Op::Neg32,
                })
            },
            Insn::MovSx {
                width,
                dst,
                src,
                bits,
            } => {
                let op = match (width, bits) {
                    (Width::W64, 8) => Op::MovSx8,
                    (Width::W64, 16) => Op::MovSx16,
                    (Width::W64, 32) => Op::MovSx32,
                    (Width::W32, 8) => Op::MovSx8To32,
                    (Width::W32, 16) => Op::MovSx16To32,
                    _ => Op::Bad,
                };
                Cell::memory(op, dst, src, 0)
            }
            Insn::Swap { kind, bits, dst } => Cell {
                dst: dst.number(),
                size: bits,
                ..Cell::new(match (kind, bits) {
                    (SwapKind::ToLe, 16 | 32 | 64) => Op::ToLe,
                    (SwapKind::ToBe | SwapKind::Bswap, 16 | 32 | 64) => Op::Swap,
                    _ => Op::Bad,
                })
            },
            Insn::LoadWide { dst, value } => self.wide(pc, dst, value),
            Insn::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => {
                let op = match (size, signed) {
                    (MemSize::B, false) => Op::Load8,
                    (MemSize::H, false) => Op::Load16,
                    (MemSize::W, false) => Op::Load32,
                    (MemSize::DW, false) => Op::Load64,
                    (MemSize::B, true) => Op::LoadSx8,
                    (MemSize::H, true) => Op::LoadSx16,
                    (MemSize::W, true) => Op::LoadSx32,
                    (MemSize::DW, true) => Op::Bad,
                };
                Cell::memory(op, dst, base, offset)
            }
            Insn::LoadAcquire {
                size,
                dst,
                base,
                offset,
            } => Cell {
                size: size.bytes(),
                ..Cell::memory(Op::LoadAcquire, dst, base, offset)
            },
            Insn::Store {
                size,
                base,
                offset,
                src,
            } => Cell {
                dst: base.number(),
                offset: i32::from(offset),
                ..Cell::new(store(size, src)).operand(src)
            },
            Insn::StoreRelease {
                size,
                base,
                offset,
                src,
            } => Cell {
                size: size.bytes(),
                ..Cell::memory(Op::StoreRelease, base, src, offset)
            },
            Insn::Atomic {
                op,
                size,
                base,
                offset,
                src,
            } => {
                let op = match op {
                    _ if !matches!(size, MemSize::W | MemSize::DW) => Op::Bad,
                    AtomicOp::Add => Op::AtomicAdd,
                    AtomicOp::Or => Op::AtomicOr,
                    AtomicOp::And => Op::AtomicAnd,
                    AtomicOp::Xor => Op::AtomicXor,
                    AtomicOp::FetchAdd => Op::FetchAdd,
                    AtomicOp::FetchOr => Op::FetchOr,
                    AtomicOp::FetchAnd => Op::FetchAnd,
                    AtomicOp::FetchXor => Op::FetchXor,
                    AtomicOp::Xchg => Op::Xchg,
                    AtomicOp::Cmpxchg => Op::Cmpxchg,
                };
                Cell {
                    size: size.bytes(),
                    ..Cell::memory(op, base, src, offset)
                }
            }
            Insn::LoadPacket { size, base, offset } => {
                let (op, src) = match base {
                    _ if size == MemSize::DW => (Op::Bad, 0),
                    PacketBase::Abs => (Op::PacketAbs, 0),
                    PacketBase::Ind(reg) => (Op::PacketInd, reg.number()),
                };
                Cell {
                    size: size.bytes(),
                    src,
                    imm: i64::from(offset),
                    ..Cell::new(op)
                }
            }
            Insn::Jump { offset, .. } => Cell {
                offset: self.target(pc, pc as i64 + 1 + i64::from(offset)),
                ..Cell::new(Op::Jump)
            },
            Insn::Branch {
                cond,
                width,
                dst,
                src,
                offset,
            } => Cell {
                dst: dst.number(),
                offset: self.target(pc, pc as i64 + 1 + i64::from(offset)),
                ..Cell::new(branch(cond, width, src)).operand(src)
            },
            Insn::MayGoto { offset } => Cell {
                offset: self.target(pc, pc as i64 + 1 + i64::from(offset)),
                ..Cell::new(Op::MayGoto)
            },
            Insn::Call(CallTarget::Helper(12)) => Cell::new(Op::TailCall),
            Insn::Call(target @ (CallTarget::Helper(_) | CallTarget::Kfunc { .. })) => {
                match kfunc::callee(target) {
                    Some(id) => Cell {
                        imm: i64::from(id),
                        ..Cell::new(if calls_back(id) {
                            Op::CallBack
                        } else {
                            Op::Helper
                        })
                    },
                    None => Cell::new(Op::Bad),
                }
            }
            Insn::Call(CallTarget::Local { offset }) => Cell {
                offset: self.target(pc, pc as i64 + 1 + i64::from(offset)),
                ..Cell::new(Op::Call)
            },
            Insn::Call(CallTarget::Reg(_)) | Insn::WideTail => Cell::new(Op::Bad),
            Insn::Exit => Cell::new(Op::Exit),
        }
    }

    fn wide(&mut self, pc: usize, dst: Reg, value: Wide) -> Cell {
        let value = match value {
            Wide::Value(value) => Some(value),
            Wide::Map(map) => self.maps.handle(map as usize),
            Wide::MapValue { map, offset } => self.maps.first_value(map as usize, offset),
            Wide::Function { offset } => {
                let target = self.target(pc, pc as i64 + 1 + i64::from(offset));
                Some(space::function(target as u32))
            }
            Wide::MapFd(_) | Wide::MapFdValue { .. } | Wide::BtfId { .. } => None,
        };
        match value {
            Some(value) => Cell {
                dst: dst.number(),
                imm: value as i64,
                ..Cell::new(Op::Mov64Imm)
            },
            None => Cell::new(Op::Bad),
        }
    }
}

fn store(size: MemSize, src: Operand) -> Op {
    let [reg, imm] = match size {
        MemSize::B => [Op::StoreReg8, Op::StoreImm8],
        MemSize::H => [Op::StoreReg16, Op::StoreImm16],
        MemSize::W => [Op::StoreReg32, Op::StoreImm32],
        MemSize::DW => [Op::StoreReg64, Op::StoreImm64],
    };
    match src {
        Operand::Reg(_) => reg,
        Operand::Imm(_) => imm,
    }
}
