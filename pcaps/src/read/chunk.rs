//! [`Chunk`] and [`ChunkMut`]: all packets that lie whole in the reader's buffer.

use super::step::Packet;
use super::step::{Count, Parser, Step};
use super::{Meta, Placed, ReadError, Record, RecordMut};

/// Where a chunk leaves off, kept by the reader.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) parser: Parser,
    pub(super) count: Count,
    /// A block to be thrown away, that begins in the buffer and may end behind it.
    pub(super) skip: Option<Skip>,
    /// How much of the buffer the last chunk left unread.
    pub(super) left: usize,
    /// An error met inside a chunk, given by the next call on the reader.
    pub(super) pending: Option<Box<ReadError>>,
}

/// A block being thrown away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skip {
    /// Where it begins.
    pub(super) offset: u64,
    /// Its whole length.
    pub(super) length: u64,
    /// What of it is still to come.
    pub(super) left: u64,
}

impl Skip {
    pub(super) fn new(offset: u64, length: u64) -> Self {
        Self {
            offset,
            length,
            left: length,
        }
    }

    /// How many of the next `available` bytes belong to it; these are taken off.
    pub(super) fn advance(&mut self, available: usize) -> usize {
        let here = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(available);
        self.left -= here as u64;
        here
    }
}

/// The packets that lie whole in the reader's buffer, in file order, each borrowed from it: all
/// of them can be held at once. From [`CaptureReader::chunk`](super::CaptureReader::chunk).
///
/// Dropping it early loses nothing: the reader goes on behind the last packet taken.
#[derive(Debug)]
pub struct Chunk<'a> {
    rest: &'a [u8],
    end_offset: u64,
    count: Count,
    progress: &'a mut Progress,
}

impl<'a> Chunk<'a> {
    pub(super) fn new(rest: &'a [u8], end_offset: u64, progress: &'a mut Progress) -> Self {
        Self {
            rest,
            end_offset,
            count: progress.count,
            progress,
        }
    }
}

impl<'a> Chunk<'a> {
    /// The next packet as the parser sees it, with its whole record.
    #[inline]
    fn advance(&mut self) -> Option<(Meta, Packet, &'a [u8])> {
        loop {
            let offset = self.end_offset - self.rest.len() as u64;
            match self.progress.parser.step(self.rest, offset) {
                Step::Packet(packet) => {
                    let (record, rest) = self.rest.split_at_checked(packet.total)?;
                    self.rest = rest;
                    return Some((self.count.meta(&packet, offset), packet, record));
                }
                other => {
                    let consumed = self.progress.between(other, offset, self.rest.len())?;
                    self.rest = self.rest.get(consumed..)?;
                }
            }
        }
    }

    /// Its packets as places in memory, of which the chunk's first byte is at `start`, and at
    /// `base` of the file.
    pub(super) fn placed(mut self, start: usize, base: u64) -> impl Iterator<Item = Placed> {
        std::iter::from_fn(move || {
            let (meta, packet, _) = self.advance()?;
            let at = start + (meta.offset - base) as usize + packet.start;
            Some(Placed {
                meta,
                range: at..at + packet.len,
            })
        })
    }
}

impl<'a> Iterator for Chunk<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let (meta, packet, record) = self.advance()?;
        let data = record.get(packet.start..packet.start + packet.len)?;
        Some(Record { meta, data })
    }
}

impl Drop for Chunk<'_> {
    fn drop(&mut self) {
        self.progress.count = self.count;
        self.progress.left = self.rest.len();
    }
}

/// As [`Chunk`], for programs that change packets where they lie. What is written stays in the
/// buffer until the next call on the reader and never reaches the file.
#[derive(Debug)]
pub struct ChunkMut<'a> {
    rest: &'a mut [u8],
    end_offset: u64,
    count: Count,
    progress: &'a mut Progress,
}

impl<'a> ChunkMut<'a> {
    pub(super) fn new(rest: &'a mut [u8], end_offset: u64, progress: &'a mut Progress) -> Self {
        Self {
            rest,
            end_offset,
            count: progress.count,
            progress,
        }
    }
}

impl<'a> Iterator for ChunkMut<'a> {
    type Item = RecordMut<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordMut<'a>> {
        loop {
            let offset = self.end_offset - self.rest.len() as u64;
            match self.progress.parser.step(self.rest, offset) {
                Step::Packet(packet) => {
                    let (record, rest) =
                        std::mem::take(&mut self.rest).split_at_mut_checked(packet.total)?;
                    let data = record.get_mut(packet.start..packet.start + packet.len)?;
                    self.rest = rest;
                    return Some(RecordMut {
                        meta: self.count.meta(&packet, offset),
                        data,
                    });
                }
                other => {
                    let consumed = self.progress.between(other, offset, self.rest.len())?;
                    self.rest = std::mem::take(&mut self.rest).get_mut(consumed..)?;
                }
            }
        }
    }
}

impl Drop for ChunkMut<'_> {
    fn drop(&mut self) {
        self.progress.count = self.count;
        self.progress.left = self.rest.len();
    }
}

impl Progress {
    /// What is to be done about a step that is no packet, with `available` bytes in the buffer
    /// from `offset` of the file on:
    /// the number of bytes to consume, or `None` if the buffer has no more packets.
    #[cold]
    fn between(&mut self, step: Step, offset: u64, available: usize) -> Option<usize> {
        match step {
            Step::Skip(length) => {
                let mut skip = Skip::new(offset, length);
                let here = skip.advance(available);
                if skip.left > 0 {
                    self.skip = Some(skip);
                }
                Some(here)
            }
            Step::Bad(error) => {
                self.pending = Some(error);
                None
            }
            Step::Need(_) | Step::Packet(_) => None,
        }
    }
}
