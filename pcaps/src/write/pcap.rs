//! Classic pcap with nanoseconds (draft-ietf-opsawg-pcap).

use std::io::Write;

use super::{MAX_PACKET, WriteError};
use crate::LinkType;

/// Writes a classic pcap, little-endian, times in nanoseconds.
#[derive(Debug)]
pub struct PcapWriter<W> {
    to: W,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header. `snaplen` is the length in bytes that packets were cut to;
    /// readers use it as a hint of the longest packet, so give 262,144 if they were not cut.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn new(mut to: W, link: LinkType, snaplen: u32) -> Result<Self, WriteError> {
        let mut header = [0; 24];
        let words = [
            0xa1b2_3c4d,
            // Major version 2, minor 4.
            0x0004_0002,
            0,
            0,
            snaplen,
            u32::from(link.0),
        ];
        for (to, word) in header.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        to.write_all(&header)?;
        Ok(Self { to })
    }

    /// Writes a packet: its time in nanoseconds since 1970, its length on the wire in bytes, and
    /// what of it was captured.
    ///
    /// # Errors
    ///
    /// [`WriteError::Time`], [`WriteError::PacketLength`], [`WriteError::Io`].
    pub fn write(
        &mut self,
        time_ns: u64,
        original_len: u32,
        data: &[u8],
    ) -> Result<(), WriteError> {
        let Ok(seconds) = u32::try_from(time_ns / 1_000_000_000) else {
            return Err(WriteError::Time { time_ns });
        };
        if data.len() > MAX_PACKET {
            return Err(WriteError::PacketLength {
                len: data.len(),
                limit: MAX_PACKET,
            });
        }
        let mut header = [0; 16];
        let words = [
            seconds,
            (time_ns % 1_000_000_000) as u32,
            data.len() as u32,
            original_len,
        ];
        for (to, word) in header.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        self.to.write_all(&header)?;
        self.to.write_all(data)?;
        Ok(())
    }

    /// Flushes, and gives back what was written to.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.to.flush()?;
        Ok(self.to)
    }
}
