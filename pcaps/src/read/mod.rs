//! Reading: [`CaptureReader`] over anything that implements [`Read`].
//!
//! The format is found from the first bytes. The input is read in pieces of 256 KiB into one
//! buffer that is used again and again, so memory stays flat however long the capture is, and
//! packets are borrowed from it: one at a time with [`CaptureReader::next`], or all that the
//! buffer holds with [`CaptureReader::chunk`] (the replay loop's way).
//!
//! Inside, `step` asks the parser of the format (`pcap`, `pcapng`) what lies at the front of
//! the buffer; only this file and `buffer` know where bytes come from.

mod buffer;
mod chunk;
mod error;
mod pcap;
mod pcapng;
mod record;
mod step;
#[cfg(test)]
mod tests;
mod time;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use chunk::{Chunk, ChunkMut};
pub use error::{Compression, Format, ReadError, Warning};
pub use record::{Interface, Meta, Placed, Record, RecordMut};

use buffer::Buffer;
use chunk::{Progress, Skip};
use pcap::Shape;
use step::{Count, Parser, Step};

/// How much is read at a time, in bytes: at most half of a level-2 cache.
const BUFFER: usize = 256 * 1024;

/// What a reader is told beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The number of the first packet. 0 unless several captures are read as one.
    pub first_number: u64,
    /// No [`Meta::arrival_ns`] is below this. 0 unless several captures are read as one.
    pub not_before_ns: u64,
    /// The greatest captured length accepted, in bytes. A greater one is taken for damage.
    /// 262,144 by default, which is also tcpdump's default snapshot length.
    pub max_packet: u32,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            first_number: 0,
            not_before_ns: 0,
            max_packet: 262_144,
        }
    }
}

/// A capture being read.
///
/// # Examples
///
/// ```no_run
/// let mut reader = pcaps::CaptureReader::open("capture.pcap")?;
/// let mut bytes = 0;
/// while let Some(chunk) = reader.chunk()? {
///     for record in chunk {
///         bytes += record.data.len();
///     }
/// }
/// for warning in reader.warnings() {
///     eprintln!("capture.pcap: {warning}");
/// }
/// # Ok::<(), pcaps::ReadError>(())
/// ```
pub struct CaptureReader<R = Box<dyn Read + Send>> {
    source: R,
    buffer: Buffer,
    format: Format,
    first_number: u64,
    progress: Progress,
    warnings: Vec<Warning>,
    ended: bool,
}

impl<R> fmt::Debug for CaptureReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureReader")
            .field("format", &self.format)
            .field("offset", &self.buffer.offset())
            .field("next_number", &self.progress.count.next_number)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl CaptureReader {
    /// Opens the capture at `path`; `-` is standard input.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`], and those of [`CaptureReader::new`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        Self::open_with(path, ReadOptions::default())
    }

    /// As [`CaptureReader::open`], with options.
    ///
    /// # Errors
    ///
    /// As [`CaptureReader::open`].
    pub fn open_with(path: impl AsRef<Path>, options: ReadOptions) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let source: Box<dyn Read + Send> = if path.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(File::open(path).map_err(|source| ReadError::Open { source })?)
        };
        Self::with_options(source, options)
    }
}

impl<R: Read> CaptureReader<R> {
    /// Reads the file header of `source`, and with it the format. `source` needs no buffering of
    /// its own.
    ///
    /// # Errors
    ///
    /// Whatever says that this is no capture: [`ReadError::Empty`], [`ReadError::Compressed`],
    /// [`ReadError::Magic`], [`ReadError::Variant`], [`ReadError::ShortHeader`],
    /// [`ReadError::Version`]; and [`ReadError::Read`].
    pub fn new(source: R) -> Result<Self, ReadError> {
        Self::with_options(source, ReadOptions::default())
    }

    /// As [`CaptureReader::new`], with options.
    ///
    /// # Errors
    ///
    /// As [`CaptureReader::new`].
    pub fn with_options(mut source: R, options: ReadOptions) -> Result<Self, ReadError> {
        let mut buffer = Buffer::new(BUFFER);
        let got = buffer
            .fill(&mut source, 4)
            .map_err(|source| ReadError::Read {
                offset: buffer.end_offset(),
                source,
            })?;
        if got == 0 {
            return Err(ReadError::Empty);
        }
        let mut magic = [0; 4];
        for (to, from) in magic.iter_mut().zip(buffer.unread()) {
            *to = *from;
        }
        let (parser, format) = if let Some(shape) = Shape::of(magic)? {
            let expected = pcap::FILE_HEADER;
            fill_header(&mut buffer, &mut source, Format::Pcap, expected)?;
            let header = *buffer
                .unread()
                .first_chunk()
                .unwrap_or(&[0; pcap::FILE_HEADER]);
            buffer.consume(expected);
            (
                Parser::Pcap(pcap::Pcap::new(shape, &header, options.max_packet)?),
                Format::Pcap,
            )
        } else if u32::from_be_bytes(magic) == pcapng::SECTION {
            fill_header(
                &mut buffer,
                &mut source,
                Format::Pcapng,
                pcapng::SECTION_HEADER,
            )?;
            (
                Parser::Pcapng(pcapng::Pcapng::new(options.max_packet)),
                Format::Pcapng,
            )
        } else if let Some(compression) = Compression::of(magic) {
            return Err(ReadError::Compressed { compression });
        } else {
            return Err(ReadError::Magic { found: magic });
        };
        let count = Count {
            next_number: options.first_number,
            last_arrival_ns: options.not_before_ns,
        };
        let left = buffer.unread().len();
        let mut reader = Self {
            source,
            buffer,
            format,
            first_number: options.first_number,
            progress: Progress {
                parser,
                count,
                skip: None,
                left,
                pending: None,
            },
            warnings: Vec::new(),
            ended: false,
        };
        if format == Format::Pcapng {
            // A bad first section is a bad header: said here, as for classic pcap.
            reader.section_header()?;
        }
        Ok(reader)
    }

    /// The next packet, or `None` at the end. After an error there are no more packets.
    ///
    /// This is not [`Iterator::next`]: the record borrows the buffer and must be done with
    /// before the next call. [`CaptureReader::chunk`] gives many at once, and faster.
    ///
    /// # Errors
    ///
    /// [`ReadError`], with the offset and the value that are wrong. A last record that is cut
    /// off is no error: it ends the reading with a [`Warning::Truncated`].
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator cannot lend its buffer"
    )]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        Ok(match self.chunk()? {
            Some(mut chunk) => chunk.next(),
            None => None,
        })
    }

    /// All packets that lie whole in the buffer, at least one, read from the input if there are
    /// none; `None` at the end. An error found behind some packets is given by the next call,
    /// after which there are no more packets.
    ///
    /// How many packets a chunk has depends on how the input's reads come out; their order and
    /// contents do not.
    ///
    /// # Errors
    ///
    /// As [`CaptureReader::next`].
    #[inline]
    pub fn chunk(&mut self) -> Result<Option<Chunk<'_>>, ReadError> {
        if !self.packet_ready()? {
            return Ok(None);
        }
        let end = self.buffer.end_offset();
        Ok(Some(Chunk::new(
            self.buffer.unread(),
            end,
            &mut self.progress,
        )))
    }

    /// As [`CaptureReader::chunk`], with packets that may be changed in the buffer.
    ///
    /// # Errors
    ///
    /// As [`CaptureReader::next`].
    #[inline]
    pub fn chunk_mut(&mut self) -> Result<Option<ChunkMut<'_>>, ReadError> {
        if !self.packet_ready()? {
            return Ok(None);
        }
        let end = self.buffer.end_offset();
        Ok(Some(ChunkMut::new(
            self.buffer.unread_mut(),
            end,
            &mut self.progress,
        )))
    }

    /// As [`CaptureReader::chunk`], for a thread that reads ahead: the packets come in memory
    /// that the caller holds from then on.
    ///
    /// The reader's buffer is exchanged for `memory`, whose contents are lost, and `packets` is
    /// replaced by where its packets lie, at most `most` of them (0 counts as 1). Only what is
    /// behind the last packet is copied: a part of a packet, or what `most` leaves over. Give the
    /// same two vectors again and nothing is allocated. `false` at the end.
    ///
    /// # Errors
    ///
    /// As [`CaptureReader::next`].
    pub fn take_chunk(
        &mut self,
        memory: &mut Vec<u8>,
        packets: &mut Vec<Placed>,
        most: usize,
    ) -> Result<bool, ReadError> {
        packets.clear();
        if !self.packet_ready()? {
            return Ok(false);
        }
        let (end, start) = (self.buffer.end_offset(), self.buffer.start());
        let base = self.buffer.offset();
        let chunk = Chunk::new(self.buffer.unread(), end, &mut self.progress);
        packets.extend(chunk.placed(start, base).take(most.max(1)));
        self.buffer.keep_last(self.progress.left);
        self.buffer.exchange(memory);
        Ok(true)
    }

    /// The format found.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The interfaces described so far, over all sections: pcapng may describe more between
    /// packets. Classic pcap has exactly one.
    pub fn interfaces(&self) -> &[Interface] {
        self.progress.parser.interfaces()
    }

    /// What was noticed so far that is no error. Complete once the reader has given `None`.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How many packets of this input were given.
    pub fn packets(&self) -> u64 {
        self.progress.count.next_number - self.first_number
    }

    /// The options with which a reader of another capture goes on counting where this one is.
    pub fn continued(&self, options: ReadOptions) -> ReadOptions {
        ReadOptions {
            first_number: self.progress.count.next_number,
            not_before_ns: self.progress.count.last_arrival_ns,
            ..options
        }
    }

    /// Brings a whole packet to the front of the buffer; `false` at the end of the input.
    #[inline]
    fn packet_ready(&mut self) -> Result<bool, ReadError> {
        self.buffer.keep_last(self.progress.left);
        if self.progress.pending.is_none() && self.progress.skip.is_none() && !self.ended {
            let offset = self.buffer.offset();
            match self.progress.parser.step(self.buffer.unread(), offset) {
                Step::Packet(_) => return Ok(true),
                // Already acted on by the parser: it must not be asked again.
                Step::Skip(length) => self.progress.skip = Some(Skip::new(offset, length)),
                Step::Bad(error) => self.progress.pending = Some(error),
                Step::Need(_) => {}
            }
        }
        let ready = self.find_packet();
        self.progress.left = self.buffer.unread().len();
        ready
    }

    /// The slow part of [`CaptureReader::packet_ready`]: skips, reads, and ends.
    #[cold]
    fn find_packet(&mut self) -> Result<bool, ReadError> {
        if let Some(error) = self.progress.pending.take() {
            self.ended = true;
            return Err(*error);
        }
        loop {
            self.skip()?;
            if self.ended {
                return Ok(false);
            }
            let offset = self.buffer.offset();
            match self.progress.parser.step(self.buffer.unread(), offset) {
                Step::Packet(_) => return Ok(true),
                Step::Skip(length) => self.progress.skip = Some(Skip::new(offset, length)),
                Step::Bad(error) => {
                    self.ended = true;
                    return Err(*error);
                }
                Step::Need(need) => {
                    let got = self.fill(need)?;
                    if got < need {
                        self.end(offset, need as u64, got as u64);
                    }
                }
            }
        }
    }

    /// Throws away what is to be skipped.
    fn skip(&mut self) -> Result<(), ReadError> {
        while let Some(skip) = &mut self.progress.skip {
            let consumed = skip.advance(self.buffer.unread().len());
            self.buffer.consume(consumed);
            let Skip {
                offset,
                length,
                left,
            } = *skip;
            if left == 0 {
                self.progress.skip = None;
            } else if self.fill(1)? == 0 {
                self.progress.skip = None;
                self.end(offset, length, length - left);
            }
        }
        Ok(())
    }

    /// Reads until `need` bytes are there.
    fn fill(&mut self, need: usize) -> Result<usize, ReadError> {
        self.buffer.fill(&mut self.source, need).map_err(|source| {
            self.ended = true;
            ReadError::Read {
                offset: self.buffer.end_offset(),
                source,
            }
        })
    }

    /// The input has ended, `got` bytes into a record of `expected`.
    fn end(&mut self, offset: u64, expected: u64, got: u64) {
        self.ended = true;
        if got > 0 {
            let packets = self.packets();
            self.warnings.push(Warning::Truncated {
                offset,
                expected,
                got,
                packets,
            });
        }
    }

    /// Reads the header of the first section.
    fn section_header(&mut self) -> Result<(), ReadError> {
        match self.progress.parser.step(self.buffer.unread(), 0) {
            Step::Skip(length) => self.progress.skip = Some(Skip::new(0, length)),
            Step::Bad(error) => return Err(*error),
            Step::Packet(_) | Step::Need(_) => {}
        }
        Ok(())
    }
}

/// Reads a file header of `expected` bytes.
fn fill_header(
    buffer: &mut Buffer,
    source: &mut impl Read,
    format: Format,
    expected: usize,
) -> Result<(), ReadError> {
    let got = buffer
        .fill(source, expected)
        .map_err(|source| ReadError::Read {
            offset: buffer.end_offset(),
            source,
        })?;
    if got < expected {
        let (expected, got) = (expected as u64, got as u64);
        return Err(ReadError::ShortHeader {
            format,
            expected,
            got,
        });
    }
    Ok(())
}
