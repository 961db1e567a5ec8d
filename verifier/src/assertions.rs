//! What must hold at each instruction, decided once per program from the instruction alone.
//!
//! `check` holds these against a state, in this order, which is the kernel's: the first that
//! fails is what is reported.

use isa::ebpf::{
    AluOp, AtomicOp, CallTarget, Insn, MemSize, Operand, PacketBase, Reg, Wide, Width,
};

/// How memory is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// A load into a register.
    Load {
        /// With sign extension.
        signed: bool,
    },
    /// A store of this operand.
    Store(Operand),
    /// A read-modify-write.
    Atomic,
    /// A load-acquire.
    Acquire,
    /// A store-release of this register.
    Release(Reg),
}

/// One thing that must hold before an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assertion {
    /// Something was written to the register.
    Readable(Reg),
    /// The register may be written: it is not r10.
    Writable(Reg),
    /// A constant shift is within the width.
    ShiftAmount {
        /// The constant.
        amount: i32,
        /// Width in bits.
        bits: i32,
    },
    /// The constant divisor is not 0.
    Divisor(i32),
    /// Pointers among the operands allow the operation.
    Arithmetic {
        /// Operation.
        op: AluOp,
        /// Width.
        width: Width,
        /// First operand and destination.
        dst: Reg,
        /// Second operand.
        src: Operand,
    },
    /// Memory may be accessed so.
    Access {
        /// Address register.
        base: Reg,
        /// Byte offset.
        offset: i16,
        /// Width of the access.
        size: MemSize,
        /// How.
        touch: Touch,
    },
    /// The loaded address exists.
    Address(Wide),
    /// The hook has legacy packet loads.
    LegacyHook,
    /// No reference is held, since the instruction may end the program.
    NothingHeld,
    /// The register holds the context.
    ContextIn(Reg),
    /// The context in the register is as it was given at entry.
    ContextUnmoved(Reg),
    /// A helper or kernel function may be called with what its argument registers hold.
    Outside(CallTarget),
    /// The function of the program that starts at this pc may be called.
    Function(usize),
    /// The function may return, or the program end.
    Return,
    /// The instruction is never accepted, or not modelled.
    Refused(Refusal),
}

/// Why an instruction is refused whatever the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The second slot of a wide load.
    WideTail,
    /// A call through a register.
    CallRegister(Reg),
    /// A width that the instruction does not have.
    Width,
}

/// What must hold at `insn`, which is at `pc`.
pub(crate) fn of(insn: &Insn, pc: usize) -> Vec<Assertion> {
    use Assertion as A;
    let readable = |operand: Operand| match operand {
        Operand::Reg(reg) => Some(A::Readable(reg)),
        Operand::Imm(_) => None,
    };
    match *insn {
        Insn::Alu {
            op: AluOp::Mov,
            dst,
            src,
            ..
        } => readable(src)
            .into_iter()
            .chain([A::Writable(dst)])
            .collect(),
        Insn::Alu {
            op,
            width,
            dst,
            src,
        } => {
            let mut all: Vec<A> = readable(src).into_iter().collect();
            all.push(A::Readable(dst));
            if let Operand::Imm(imm) = src {
                match op {
                    AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => {
                        all.push(A::Divisor(imm));
                    }
                    AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => all.push(A::ShiftAmount {
                        amount: imm,
                        bits: if width == Width::W64 { 64 } else { 32 },
                    }),
                    AluOp::Add
                    | AluOp::Sub
                    | AluOp::Mul
                    | AluOp::Or
                    | AluOp::And
                    | AluOp::Xor
                    | AluOp::Mov => {}
                }
            }
            all.push(A::Writable(dst));
            all.push(A::Arithmetic {
                op,
                width,
                dst,
                src,
            });
            all
        }
        Insn::Neg { dst, .. } | Insn::Swap { dst, .. } => vec![A::Readable(dst), A::Writable(dst)],
        Insn::MovSx { dst, src, .. } => vec![A::Readable(src), A::Writable(dst)],
        Insn::LoadWide { dst, value } => vec![A::Writable(dst), A::Address(value)],
        Insn::WideTail => vec![A::Refused(Refusal::WideTail)],
        Insn::Load {
            size,
            signed,
            dst,
            base,
            offset,
        } => vec![
            A::Readable(base),
            A::Writable(dst),
            A::Access {
                base,
                offset,
                size,
                touch: Touch::Load { signed },
            },
        ],
        Insn::Store {
            size,
            base,
            offset,
            src,
        } => readable(src)
            .into_iter()
            .chain([
                A::Readable(base),
                A::Access {
                    base,
                    offset,
                    size,
                    touch: Touch::Store(src),
                },
            ])
            .collect(),
        Insn::Atomic {
            op,
            size,
            base,
            offset,
            src,
        } => {
            if !matches!(size, MemSize::W | MemSize::DW) {
                return vec![A::Refused(Refusal::Width)];
            }
            let mut all = vec![A::Readable(src), A::Readable(base)];
            if op == AtomicOp::Cmpxchg {
                all.push(A::Readable(Reg::R0));
            } else if op.fetches() {
                all.push(A::Writable(src));
            }
            all.push(A::Access {
                base,
                offset,
                size,
                touch: Touch::Atomic,
            });
            all
        }
        Insn::LoadAcquire {
            size,
            dst,
            base,
            offset,
        } => vec![
            A::Readable(base),
            A::Writable(dst),
            A::Access {
                base,
                offset,
                size,
                touch: Touch::Acquire,
            },
        ],
        Insn::StoreRelease {
            size,
            base,
            offset,
            src,
        } => vec![
            A::Readable(src),
            A::Readable(base),
            A::Access {
                base,
                offset,
                size,
                touch: Touch::Release(src),
            },
        ],
        Insn::LoadPacket { base, .. } => {
            let mut all = vec![
                A::LegacyHook,
                A::Readable(Reg::R6),
                A::NothingHeld,
                A::ContextIn(Reg::R6),
            ];
            if let PacketBase::Ind(reg) = base {
                all.push(A::Readable(reg));
            }
            all.push(A::ContextUnmoved(Reg::R6));
            all
        }
        Insn::Jump { .. } | Insn::MayGoto { .. } => Vec::new(),
        Insn::Branch { dst, src, .. } => readable(src)
            .into_iter()
            .chain([A::Readable(dst)])
            .collect(),
        Insn::Call(target @ (CallTarget::Helper(_) | CallTarget::Kfunc { .. })) => {
            vec![A::Outside(target)]
        }
        Insn::Call(CallTarget::Local { .. }) => {
            vec![A::Function(insn.function_target(pc).unwrap_or(0) as usize)]
        }
        Insn::Call(CallTarget::Reg(reg)) => vec![A::Refused(Refusal::CallRegister(reg))],
        Insn::Exit => vec![A::Return],
    }
}
