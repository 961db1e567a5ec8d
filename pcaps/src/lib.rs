//! Captures: reading, writing, generating, and spreading over queues.
//!
//! Start with [`CaptureReader`], which reads pcap and pcapng from a path, standard input or any
//! [`std::io::Read`], and lends packets out of its buffer.
//!
//! [`mod@write`] writes both formats, [`generate`] makes traffic from a seed, [`info`] says what a
//! capture holds, and [`rss`] which queue a frame goes to. Small captures are in `data/`.
//!
//! ```
//! use pcaps::generate::{Generator, Mix, Spec};
//! use pcaps::rss::{DEFAULT_KEY, Rss};
//!
//! // A hundred packets of TCP connections, as a pcap file in memory.
//! let mut file = Vec::new();
//! Generator::new(Spec::new(Mix::Tcp, 100))?.write_pcap(&mut file)?;
//!
//! // How many of them go to each of four queues?
//! let rss = Rss::new(&DEFAULT_KEY, 4);
//! let mut per_queue = [0; 4];
//! let mut reader = pcaps::CaptureReader::new(&file[..])?;
//! while let Some(chunk) = reader.chunk()? {
//!     for record in chunk {
//!         per_queue[rss.queue(record.data) as usize] += 1;
//!     }
//! }
//! assert_eq!(per_queue.iter().sum::<u32>(), 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What belongs here: the capture formats, and frames as bytes. What does not: what a program
//! does with a frame (that is `bpf::run` and the engines). This crate depends on no other of the
//! workspace, reads no clock, and opens a file only in [`CaptureReader::open`].
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod generate;
pub mod info;
mod linktype;
pub mod read;
pub mod rss;
pub mod write;

pub use linktype::LinkType;
pub use read::{CaptureReader, ReadError, ReadOptions, Record};
pub use write::{PcapWriter, PcapngWriter, WriteError};
