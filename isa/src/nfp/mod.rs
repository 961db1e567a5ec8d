//! The Netronome NFP's microengine, as far as eBPF images use it.
//!
//! | from, to | by |
//! |---|---|
//! | instruction to word | [`encode()`] |
//! | word to instruction | [`decode()`]: accepts exactly what encoding produces |
//! | word to code store and back | [`seal`], [`unseal`]: the error-correcting bits |
//! | word before loading | [`Relocation`]: what its top byte says |
//! | image to the code store's contents | [`link()`] |
//! | instruction to text | `Display`, in GNU objdump's form (`-M ctx4`) |
//!
//! All bit positions stand in one table, [`form::FORMS`]; operands and the rule that places them in the A
//! and B fields in [`Sources`]; what image and firmware agree on in [`abi`]. An image's code is
//! the words before relocation, 8 bytes each, little-endian. What does not belong here: what
//! instructions do (the engine), and which sequence an eBPF instruction becomes (the backend).
//!
//! ```
//! use isa::nfp::{AluOp, Insn, Operand, decode, encode, seal};
//! let length = Operand::Lm { index: 1, offset: 0 };
//! let insn = Insn::alu(Operand::B(22), Operand::B(22), AluOp::And, length)?;
//! let word = encode(&insn)?;
//! assert_eq!(seal(word), 0x0007_00b4_4160_5a20);
//! assert_eq!(decode(word)?, insn);
//! assert_eq!(insn.to_string(), "alu[gprB_22, gprB_22, AND, *l$index1]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod abi;
mod codec;
mod ecc;
pub mod form;
mod insn;
pub mod learned;
mod link;
mod operand;
mod reloc;
mod text;

pub use codec::{DecodeError, decode, encode};
pub use ecc::{seal, unseal};
pub use insn::{
    ALU_OPS, AddressMode, AluOp, COMMANDS, CONDITIONS, Command, Condition, ContextSwap, Insn,
    MulSize, MulStep, SHF_OPS, ShfOp, Shift, Width,
};
pub use link::{LinkError, Place, link};
pub use operand::{Operand, OperandError, Sources};
pub use reloc::{PLACEHOLDER, Relocation};
