//! eBPF as defined by RFC 9669 and by Linux for CPU versions v1 to v4.
//!
//! [`Insn`] is the decoded instruction. `pc` everywhere is the index of an 8-byte *slot*: a
//! decoded program is slot-indexed, so the second slot of a 64-bit immediate load is present as
//! [`Insn::WideTail`] and `insns[pc]` is always the instruction at `pc`.

mod insn;

pub use insn::{
    AluOp, AtomicOp, CallTarget, Cond, Insn, MemSize, Operand, PacketBase, Reg, SwapKind, Wide,
    Width,
};
