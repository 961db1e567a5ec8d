//! The pipeline from object and capture to decision, and the command line `nicbed`.
//!
//! # As a library
//!
//! [`testbed::Testbed`] is a NIC and a CPU reference side by side: it takes a program through
//! every stage, is fed frames, compares every outcome, and lets maps be read and changed in
//! between. This is a test that a ping is answered on the card:
//!
//! ```
//! use std::sync::Arc;
//!
//! use bpf::object::{self, LoadOptions};
//! use bpf::run::{Verdict, XdpAction};
//! use harness::decide;
//! use harness::testbed::{FrameIn, Settings, Testbed};
//! use pcaps::generate::{Generator, Mix, Spec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/icmp_echo.o");
//! let set = object::load("icmp_echo.o", &std::fs::read(path)?, &LoadOptions::default())?;
//!
//! let nic = Arc::new(caps::builtin("netdevsim")?);
//! let mut testbed = Testbed::new(nic, Settings::default())?;
//! let decision = testbed.load(&set, "icmp_echo")?;
//! assert_eq!(decision.outcome, decide::Verdict::Offload, "{:?}", decision.findings);
//!
//! let mut generator = Generator::new(Spec::new(Mix::Icmp, 100))?;
//! let mut bytes = Vec::new();
//! let mut answered = 0;
//! while let Some(stamp) = generator.next_into(&mut bytes) {
//!     let frame = FrameIn { arrival_ns: stamp.time_ns, port: 1, bytes: &bytes };
//!     testbed.feed([frame], &mut |packet| {
//!         let asks = match packet.original[12..14] {
//!             [0x08, 0x00] => packet.original[34] == 8,   // IPv4, echo request
//!             [0x86, 0xdd] => packet.original[54] == 128, // IPv6, echo request
//!             _ => false,
//!         };
//!         let expected = if asks { XdpAction::Tx } else { XdpAction::Pass };
//!         assert_eq!(packet.nic.verdict, Verdict::Xdp(expected), "packet {}", packet.nic.packet);
//!         answered += u32::from(asks);
//!         Ok(())
//!     })?;
//! }
//! assert!(answered > 10);
//!
//! // NIC and reference did the same with every packet.
//! let report = testbed.finish()?;
//! assert_eq!((report.compared, report.mismatched), (100, 0));
//! # Ok(())
//! # }
//! ```
//!
//! [`pipeline::assess`] alone answers whether a NIC takes a program, without running it.
//!
//! What belongs here: joining the stages, replay ([`replay`]), comparing ([`compare`],
//! [`mapdiff`], [`verdicts`]), deciding ([`decide`]), telling ([`report`], [`outcomes`], [`sent`]), test files
//! of packet programs ([`testfile`]), pinning what NICs make of them ([`snapshot`]). The command line
//! ([`cli`]) only parses and prints. What does not: what any one stage knows.

pub mod cli;
pub mod clock;
pub mod compare;
pub mod conformance;
pub mod decide;
pub mod disassembly;
mod error;
pub mod exec;
pub mod fault;
pub mod fuzz;
pub mod mapdiff;
pub mod matrix;
pub mod mutants;
pub mod outcomes;
pub mod outside;
pub mod packets;
pub mod pipeline;
pub mod plugin;
pub mod progress;
pub mod races;
pub mod replay;
pub mod report;
pub mod repro;
pub mod rules;
pub mod seeds;
pub mod sent;
pub mod shrink;
pub mod side;
pub mod snapshot;
pub mod testbed;
pub mod testfile;
pub mod trace;
pub mod trial;
pub mod verdicts;
pub mod words;

pub use error::{Error, Status};
