//! The pipeline from object and capture to decision, and the command line `nicbed`.
//!
//! # As a library
//!
//! [`pipeline::assess`] walks a program through verify → check → translate for one NIC;
//! [`testbed::Testbed`] loads it, feeds frames to NIC and CPU reference and compares every
//! outcome. The command line ([`cli`]) only parses and prints.

pub mod cli;
pub mod clock;
pub mod compare;
pub mod decide;
pub mod disassembly;
mod error;
pub mod mapdiff;
pub mod outcomes;
pub mod pipeline;
pub mod replay;
pub mod report;
pub mod rules;
pub mod seeds;
pub mod testbed;

pub use error::{Error, Status};
