//! Writing: [`PcapWriter`] and [`PcapngWriter`], over anything that implements
//! [`Write`](std::io::Write).
//!
//! Both write little-endian files with times in nanoseconds, one or two calls of `write` a
//! packet: give them a [`BufWriter`](std::io::BufWriter) over a file. Take pcapng where there is
//! something to say about a packet (verdicts, queue, comments) or several interfaces; classic
//! pcap where every tool must read it.

mod pcap;
mod pcapng;

use std::io;

pub use pcap::PcapWriter;
pub use pcapng::{
    FLAG_INBOUND, FLAG_OUTBOUND, InterfaceId, InterfaceInfo, PacketOptions, PcapngWriter, Section,
    VerdictOption,
};

/// Why a capture was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The operating system failed a write.
    #[error("write failed: {source}")]
    Io {
        /// What the system said.
        #[from]
        source: io::Error,
    },
    /// A packet longer than the format's 32-bit lengths allow.
    #[error("packet of {len} bytes, expected at most {limit}")]
    PacketLength {
        /// Its captured length in bytes.
        len: usize,
        /// The greatest length that can be written.
        limit: usize,
    },
    /// A text longer than the 65,535 bytes of an option.
    #[error("option {code} of {len} bytes, expected at most 65535")]
    OptionLength {
        /// The option's number in draft-ietf-opsawg-pcapng.
        code: u16,
        /// The length of its value in bytes.
        len: usize,
    },
    /// A time after 7 February 2106, which the 32-bit seconds of classic pcap do not reach.
    #[error("time {time_ns} ns since 1970 lies beyond the 32-bit seconds of a pcap")]
    Time {
        /// The time, in nanoseconds since 1970.
        time_ns: u64,
    },
}

/// The greatest packet that either format takes here: its block with options stays below 2^32.
const MAX_PACKET: usize = 0x7fff_ffff;
