//! What reading can end with: [`ReadError`] stops it, a [`Warning`] says that it ended early.
//!
//! No value here names the file: the caller knows it and prints it in front.

use std::{fmt, io};

/// Which of the two capture formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Classic pcap (draft-ietf-opsawg-pcap).
    Pcap,
    /// pcapng (draft-ietf-opsawg-pcapng).
    Pcapng,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcap => "pcap",
            Self::Pcapng => "pcapng",
        })
    }
}

/// A compression recognised by its first bytes. Captures are read uncompressed only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `1f 8b` (RFC 1952).
    Gzip,
    /// `28 b5 2f fd` (RFC 8878).
    Zstd,
    /// `fd 37 7a 58`.
    Xz,
    /// `42 5a 68` (`BZh`).
    Bzip2,
    /// `04 22 4d 18` (the LZ4 frame format).
    Lz4,
}

impl Compression {
    /// The name people know the format by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
        }
    }

    /// A command that writes the decompressed bytes to its standard output.
    pub fn command(self) -> &'static str {
        match self {
            Self::Gzip => "gzip -dc",
            Self::Zstd => "zstd -dc",
            Self::Xz => "xz -dc",
            Self::Bzip2 => "bzip2 -dc",
            Self::Lz4 => "lz4 -dc",
        }
    }

    pub(super) fn of(magic: [u8; 4]) -> Option<Self> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X'] => Some(Self::Xz),
            [b'B', b'Z', b'h', _] => Some(Self::Bzip2),
            [0x04, 0x22, 0x4d, 0x18] => Some(Self::Lz4),
            _ => None,
        }
    }
}

/// Why a capture cannot be read, or not further. Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system did not open the file.
    #[error("cannot open: {source}")]
    Open {
        /// What the system said.
        source: io::Error,
    },
    /// The operating system failed a read.
    #[error("at offset {offset}: read failed: {source}")]
    Read {
        /// Where the bytes that did not come would have been.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// There is not one byte.
    #[error("at offset 0: the input is empty, expected a pcap or pcapng header")]
    Empty,
    /// The input is compressed.
    #[error(
        "at offset 0: this is {} data, expected a pcap or pcapng header; decompress it first, \
         for example `{} FILE` piped into a capture name of `-`",
        compression.name(), compression.command()
    )]
    Compressed {
        /// The format recognised.
        compression: Compression,
    },
    /// The first four bytes are those of no capture.
    #[error(
        "at offset 0: found bytes {:02x} {:02x} {:02x} {:02x}, expected a pcap magic (a1b2c3d4 or \
         a1b23c4d, in either byte order) or a pcapng section header (0a0d0d0a); `editcap -F pcapng` rewrites \
         other formats",
        found[0], found[1], found[2], found[3]
    )]
    Magic {
        /// The bytes at offset 0; zero where the file is shorter.
        found: [u8; 4],
    },
    /// A relative of classic pcap with other record headers, which is not read.
    #[error(
        "at offset 0: found pcap magic {magic:08x}, a variant with other record headers; \
         rewrite it with `editcap -F pcapng`"
    )]
    Variant {
        /// The magic, read in the byte order that makes it known.
        magic: u32,
    },
    /// The file ends inside its own header.
    #[error("at offset 0: the {format} header is {got} bytes, expected {expected}")]
    ShortHeader {
        /// The format that the magic announces.
        format: Format,
        /// Bytes that the header has.
        expected: u64,
        /// Bytes that are there.
        got: u64,
    },
    /// A version that is not defined.
    #[error("at offset {offset}: found {format} version {major}.{minor}, expected {}", match format {
        Format::Pcap => "2.4",
        Format::Pcapng => "1.0",
    })]
    Version {
        /// Where the version stands.
        offset: u64,
        /// The format that has no such version.
        format: Format,
        /// Major number found.
        major: u16,
        /// Minor number found.
        minor: u16,
    },
    /// A pcapng section that names neither byte order.
    #[error(
        "at offset {offset}: found byte-order magic {found:08x}, expected 1a2b3c4d or 4d3c2b1a"
    )]
    ByteOrder {
        /// Where the magic stands.
        offset: u64,
        /// Its value, read as big-endian.
        found: u32,
    },
    /// A packet longer than [`ReadOptions::max_packet`](super::ReadOptions::max_packet): almost
    /// always a damaged length field.
    #[error(
        "at offset {offset}: found a captured length of {found} (0x{found:x}), expected at most \
         {limit}; the capture is damaged here, or a variant with other record headers"
    )]
    PacketLength {
        /// Where the record (pcap) or block (pcapng) begins.
        offset: u64,
        /// The length found.
        found: u32,
        /// The greatest length accepted.
        limit: u32,
    },
    /// A pcapng block whose total length cannot be.
    #[error(
        "at offset {offset}: block of type 0x{kind:08x} has a total length of {found} \
         (0x{found:x}), expected a multiple of 4 from {least} to {limit}"
    )]
    BlockLength {
        /// Where the block begins.
        offset: u64,
        /// The block's type.
        kind: u32,
        /// The length found.
        found: u32,
        /// The least length of a block of this type.
        least: u32,
        /// The greatest length accepted of a block of this type.
        limit: u32,
    },
    /// A pcapng block whose two length fields differ.
    #[error(
        "at offset {offset}: block of type 0x{kind:08x} begins with total length {leading} and \
         ends with {trailing}, expected the same"
    )]
    BlockTrailer {
        /// Where the block begins.
        offset: u64,
        /// The block's type.
        kind: u32,
        /// The length at its start.
        leading: u32,
        /// The length at its end.
        trailing: u32,
    },
    /// A packet that does not fit into its pcapng block.
    #[error(
        "at offset {offset}: found a captured length of {found} in a block with room for {room}"
    )]
    PacketOverrun {
        /// Where the block begins.
        offset: u64,
        /// The length found.
        found: u32,
        /// The bytes between the block's header and its end.
        room: u32,
    },
    /// A packet on an interface that its section has not described.
    #[error(
        "at offset {offset}: packet names interface {interface}, but this section has described \
         {declared}"
    )]
    Interface {
        /// Where the block begins.
        offset: u64,
        /// The number in the block.
        interface: u32,
        /// How many interfaces the section has described so far.
        declared: u32,
    },
    /// More interfaces than any real capture has.
    #[error("at offset {offset}: more than {limit} interfaces are described")]
    TooManyInterfaces {
        /// Where the block begins that is one too many.
        offset: u64,
        /// The greatest number accepted.
        limit: u32,
    },
}

/// Something the reader noticed that did not stop it from giving packets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The input ends inside its last record: every packet before it was given, that one not.
    /// What an interrupted `tcpdump` leaves.
    Truncated {
        /// Where the record or block begins, in bytes from the start of the file.
        offset: u64,
        /// How many bytes the record needs, as far as it tells (a header that is cut itself
        /// counts as its header's length).
        expected: u64,
        /// How many bytes are there.
        got: u64,
        /// How many packets of this input were given before it.
        packets: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated {
                offset,
                expected,
                got,
                packets,
            } => write!(
                f,
                "at offset {offset}: the capture ends inside a record ({got} of {expected} bytes); \
                 {packets} packets before it were read"
            ),
        }
    }
}
