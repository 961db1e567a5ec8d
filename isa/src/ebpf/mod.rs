//! eBPF as defined by RFC 9669 and by Linux for CPU versions v1 to v4, and the few instructions
//! that Linux has added since (load-acquire, store-release, `may_goto`).
//!
//! [`Insn`] is the decoded instruction; every stage works on it and none looks at bytes again.
//! `pc` everywhere is the index of an 8-byte *slot*: a decoded program is slot-indexed, so the
//! second slot of a 64-bit immediate load is present as [`Insn::WideTail`] and `insns[pc]` is
//! always the instruction at `pc`.
//!
//! | from, to | by |
//! |---|---|
//! | bytes to instructions | [`decode()`], [`decode_one`]: total, typed errors |
//! | instructions to bytes | [`encode()`] |
//! | instruction to text | [`Insn`]'s `Display`, with names [`Insn::display`] |
//! | text to instructions | [`parse_asm`] (the kernel's and LLVM's form), [`parse_suite_asm`] (the conformance suite's) |
//! | instruction to its row | [`Insn::row`]: mnemonic, conformance group, CPU version |
//! | instruction to its effects | [`Insn::reads`], [`Insn::writes`], [`Insn::is_terminator`], [`Insn::jump_target`] |
//!
//! All of it derives from one table, [`table()`], whose source is the only place that holds opcode
//! numbers. What does not belong here: what instructions do when they run, and what may run.
//!
//! # Text
//!
//! The printed form is `llvm-objdump`'s with decimal numbers, so that the same instruction reads
//! the same in this project's reports, in the kernel's log and in LLVM's output:
//!
//! ```
//! use isa::ebpf::{NoSymbols, parse_asm};
//! let text = "\
//!     r2 = *(u32 *)(r1 + 4)
//!     w3 = 7
//!     w3 s%= w2
//!     r4 = 0x1122334455667788 ll
//!     lock *(u64 *)(r10 - 8) += r4
//!     r4 = atomic_fetch_add((u64 *)(r10 - 8), r4)
//!     if r2 s> 7 goto +1
//!     call 12
//!     exit
//! ";
//! let assembly = parse_asm(text, &NoSymbols)?;
//! assert_eq!(assembly.insns[4].to_string(), "(second slot)");
//! assert_eq!(assembly.insns[7].to_string(), "if r2 s> 7 goto +1");
//! # Ok::<(), isa::ebpf::AsmError>(())
//! ```
//!
//! Where LLVM shows too little to read the instruction back, the kernel's or an own form stands:
//! local calls (`call pc+3`), kernel functions (`call kfunc[id:5]`, or by name), and the pseudo sources of
//! 64-bit loads (`map[fd:3]`, `map[idx:0][0]+8`, `subprog[+4]`, `btf[id:7]`, all with ` ll`).

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
