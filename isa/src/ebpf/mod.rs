//! eBPF as defined by RFC 9669 and by Linux for CPU versions v1 to v4.
//!
//! [`Insn`] is the decoded instruction. `pc` everywhere is the index of an 8-byte *slot*: a
//! decoded program is slot-indexed, so the second slot of a 64-bit immediate load is present as
//! [`Insn::WideTail`] and `insns[pc]` is always the instruction at `pc`.

mod asm;
mod decode;
mod effect;
mod encode;
mod form;
mod insn;
mod table;
mod text;

pub use asm::{AsmError, AsmErrorKind, Assembly, MapDecl, Section, parse_asm, parse_suite_asm};
pub use decode::{DecodeError, DecodeErrorKind, FieldName, SLOT_BYTES, decode, decode_one};
pub use effect::RegSet;
pub use encode::{EncodeError, EncodeErrorKind, encode};
pub use insn::{
    AluOp, AtomicOp, CallTarget, Cond, Insn, MemSize, Operand, PacketBase, Reg, SwapKind, Wide,
    Width,
};
pub use table::{CpuVersion, Field, Group, Row, table};
pub use text::{InsnText, NoSymbols, Symbols};
