//! eBPF as bytes and as text.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code; the exception of clippy.toml ends at the test functions"
)]

mod asm;
mod clang;
mod codec;
mod golden;
mod registry;
mod rows;
mod suite;
