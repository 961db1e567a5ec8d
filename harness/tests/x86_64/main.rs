//! The x86-64 backend and the native engine together: what each instruction does, calls, maps,
//! tail calls, listings.
#![cfg(all(target_arch = "x86_64", unix))]

mod calls;
mod programs;
mod rig;
mod rows;
