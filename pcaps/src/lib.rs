//! Captures: reading, writing, generating.
//!
//! Start with [`CaptureReader`], which reads pcap and pcapng from a path, standard input or any
//! [`std::io::Read`], and lends packets out of its buffer.
//!
//! What belongs here: the capture formats and frames as bytes. What does not: what a program
//! does with a frame (that is `bpf::run` and the engines), and which queue of a NIC it meets.
//! This crate depends on no other of the workspace.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod generate;
pub mod info;
mod linktype;
pub mod read;
pub mod write;

pub use linktype::LinkType;
pub use read::{CaptureReader, ReadError, ReadOptions, Record};
pub use write::{PcapWriter, PcapngWriter, WriteError};
