//! Which registers an instruction reads and writes, and whether control goes on after it.

use super::insn::{AluOp, AtomicOp, CallTarget, Insn, Operand, PacketBase, Reg};

/// A set of registers: bit n stands for rn, bits 11 to 15 are zero.
pub type RegSet = u16;

/// r1 to r5: what a call may take as arguments.
const ARGUMENTS: RegSet = 0b11_1110;

/// r0 to r5: what a call overwrites.
const CLOBBERED: RegSet = 0b11_1111;

const fn bit(reg: Reg) -> RegSet {
    1 << reg.number()
}

const fn operand(operand: Operand) -> RegSet {
    match operand {
        Operand::Reg(reg) => bit(reg),
        Operand::Imm(_) => 0,
    }
}

impl Insn {
    /// The registers whose value the instruction uses.
    ///
    /// A call is taken to use all of r1 to r5, whatever its callee takes; `exit` uses r0. A
    /// legacy packet load uses r6.
    pub const fn reads(&self) -> RegSet {
        match *self {
            Insn::Alu {
                op: AluOp::Mov,
                src,
                ..
            } => operand(src),
            Insn::Alu { dst, src, .. } | Insn::Branch { dst, src, .. } => bit(dst) | operand(src),
            Insn::Neg { dst, .. } | Insn::Swap { dst, .. } => bit(dst),
            Insn::MovSx { src, .. } => bit(src),
            Insn::Load { base, .. } | Insn::LoadAcquire { base, .. } => bit(base),
            Insn::Store { base, src, .. } => bit(base) | operand(src),
            Insn::Atomic {
                op: AtomicOp::Cmpxchg,
                base,
                src,
                ..
            } => bit(base) | bit(src) | bit(Reg::R0),
            Insn::Atomic { base, src, .. } | Insn::StoreRelease { base, src, .. } => {
                bit(base) | bit(src)
            }
            Insn::LoadPacket {
                base: PacketBase::Abs,
                ..
            } => bit(Reg::R6),
            Insn::LoadPacket {
                base: PacketBase::Ind(reg),
                ..
            } => bit(Reg::R6) | bit(reg),
            Insn::Call(CallTarget::Reg(reg)) => ARGUMENTS | bit(reg),
            Insn::Call(_) => ARGUMENTS,
            Insn::Exit => bit(Reg::R0),
            Insn::LoadWide { .. } | Insn::WideTail | Insn::Jump { .. } | Insn::MayGoto { .. } => 0,
        }
    }

    /// The registers that hold another value afterwards: for calls and legacy packet loads r0 to
    /// r5, of which r1 to r5 hold nothing usable.
    pub const fn writes(&self) -> RegSet {
        match *self {
            Insn::Alu { dst, .. }
            | Insn::Neg { dst, .. }
            | Insn::MovSx { dst, .. }
            | Insn::Swap { dst, .. }
            | Insn::LoadWide { dst, .. }
            | Insn::Load { dst, .. }
            | Insn::LoadAcquire { dst, .. } => bit(dst),
            Insn::Atomic {
                op: AtomicOp::Cmpxchg,
                ..
            } => bit(Reg::R0),
            Insn::Atomic { op, src, .. } => {
                if op.fetches() {
                    bit(src)
                } else {
                    0
                }
            }
            Insn::LoadPacket { .. } | Insn::Call(_) => CLOBBERED,
            Insn::WideTail
            | Insn::Store { .. }
            | Insn::StoreRelease { .. }
            | Insn::Jump { .. }
            | Insn::Branch { .. }
            | Insn::MayGoto { .. }
            | Insn::Exit => 0,
        }
    }

    /// Whether control never goes on to the next slot: an unconditional jump, or `exit`.
    pub const fn is_terminator(&self) -> bool {
        matches!(self, Insn::Jump { .. } | Insn::Exit)
    }
}
