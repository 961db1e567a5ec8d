//! The simulated NIC: a device that holds maps and images and processes frames in queues.
//!
//! [`Nic`] is the device, [`Queue`] one receive queue of it. What runs an image is an
//! [`Engine`], one folder each, one line in the list of engines.
//!
//! Start with [`Nic`]: create maps, load an image, take its queues, give them batches. What does
//! not belong here: translation, and any look at the program an image came from. An image is
//! data: engines that interpret check every access, and native code is run only where somebody
//! vouches for it ([`isa::Image::trust`]).
#![deny(unsafe_code)]

pub mod ebpf;
mod engine;
mod legacy;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod native;
pub mod nfp;
mod nic;
mod workers;

pub use engine::{Engine, Linked, QueueState, Resolver, engine_for, engines};
pub use workers::Workers;

pub use nic::{ArrivalOrder, LoadError, MAX_PROGRAMS, Nic, ProgramId, ProgramTable, Queue};
