//! The NFP microengine's instructions against words and texts that others made.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code; the exception of clippy.toml ends at the test functions"
)]

mod forms;
mod link;
mod objdump;
mod variety;
mod words;
