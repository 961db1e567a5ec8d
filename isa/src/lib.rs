//! Instruction sets, one table each, and [`Image`], the value that carries code from a backend
//! to a NIC.
//!
//! What belongs here: how instructions are encoded, decoded and written as text, and what the
//! two sides of a NIC must agree on (entry, register roles, run-state layout). What does not:
//! what an instruction *does*. Execution lives in `cpu-reference` and in `nic-model`, which
//! share nothing on purpose.
//!
//! Start with [`ebpf`]: [`ebpf::Insn`] is the one decoded form that every stage works on.
#![deny(unsafe_code)]

pub mod ebpf;
mod image;
pub mod nfp;
pub mod x86_64;

pub use image::{
    CodeRange, Image, Isa, Relocation, RelocationKind, Resources, Symbol, TrustedImage,
};
