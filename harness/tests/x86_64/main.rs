//! The x86-64 backend and the native engine together: what each instruction does, calls, maps,
//! tail calls, listings.
#![cfg(all(target_arch = "x86_64", unix))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_push_string,
    reason = "a test that fails says so by panicking, and builds its programs as text"
)]

mod calls;
mod listings;
mod programs;
mod random;
mod rig;
mod rows;
