//! The simulated NIC: a device that holds maps and images and processes frames in queues.
//!
//! [`Nic`] is the device, [`Queue`] one receive queue of it. What runs an image is an
//! [`Engine`], one folder each, one line in the list of engines.
#![deny(unsafe_code)]

pub mod ebpf;
mod engine;
#[cfg(all(target_arch = "x86_64", unix))]
pub mod native;
mod nic;

pub use engine::{Engine, Linked, QueueState, Resolver, engine_for, engines};
pub use nic::{ArrivalOrder, LoadError, MAX_PROGRAMS, Nic, ProgramId, ProgramTable, Queue};
