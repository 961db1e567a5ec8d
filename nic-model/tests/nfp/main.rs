//! The NFP engine on images that the card's driver made, and on hand-written ones.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code; the exception of clippy.toml ends at the test functions"
)]

mod driver;
mod instructions;
mod setup;
mod wrong;
