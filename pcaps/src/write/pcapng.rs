//! pcapng with nanoseconds and the options that explain a packet (draft-ietf-opsawg-pcapng,
//! sections 4.1 to 4.3).

use std::io::Write;

use super::{MAX_PACKET, WriteError};
use crate::LinkType;

/// `epb_flags`: the packet came in.
pub const FLAG_INBOUND: u32 = 1;
/// `epb_flags`: the packet went out.
pub const FLAG_OUTBOUND: u32 = 2;

const OPT_COMMENT: u16 = 1;
const SHB_HARDWARE: u16 = 2;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_PACKETID: u16 = 5;
const EPB_QUEUE: u16 = 6;
const EPB_VERDICT: u16 = 7;

/// What a file says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section<'a> {
    /// `shb_hardware`: the machine that captured.
    pub hardware: Option<&'a str>,
    /// `shb_os`: its operating system.
    pub os: Option<&'a str>,
    /// `shb_userappl`: the application that wrote the file.
    pub application: Option<&'a str>,
    /// `opt_comment`.
    pub comment: Option<&'a str>,
}

/// What a file says about an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceInfo<'a> {
    /// What its packets begin with.
    pub link: LinkType,
    /// The length in bytes that packets were cut to, 0 if they were not.
    pub snaplen: u32,
    /// `if_name`.
    pub name: Option<&'a str>,
    /// `if_description`.
    pub description: Option<&'a str>,
    /// `opt_comment`.
    pub comment: Option<&'a str>,
}

impl InterfaceInfo<'_> {
    /// An Ethernet interface of which nothing else is known.
    pub const ETHERNET: Self = Self {
        link: LinkType::ETHERNET,
        snaplen: 0,
        name: None,
        description: None,
        comment: None,
    };
}

/// An interface of the file being written; only [`PcapngWriter::add_interface`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(u32);

/// What somebody decided about a packet: `epb_verdict`, a type byte and the code as 8
/// little-endian bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictOption {
    /// Type 0: the hardware's code, whatever it means there.
    Hardware(u64),
    /// Type 1: the return code of a Linux tc program (`TC_ACT_*`).
    Tc(u64),
    /// Type 2: the return code of a Linux XDP program (`XDP_*`).
    Xdp(u64),
}

/// What a file says about a packet beside its time and lengths. The default says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketOptions<'a> {
    /// `epb_flags`: direction in bits 0–1 ([`FLAG_INBOUND`], [`FLAG_OUTBOUND`]), the rest as the
    /// specification draws it.
    pub flags: Option<u32>,
    /// `epb_packetid`: the same number wherever the same packet is captured again.
    pub packet_id: Option<u64>,
    /// `epb_queue`: the receive queue.
    pub queue: Option<u32>,
    /// `epb_verdict`, any number of them.
    pub verdicts: &'a [VerdictOption],
    /// `opt_comment`, any number of them.
    pub comments: &'a [&'a str],
}

/// Writes a pcapng of one section, little-endian, times in nanoseconds.
///
/// # Examples
///
/// ```
/// use pcaps::write::{InterfaceInfo, PacketOptions, PcapngWriter, Section, VerdictOption};
///
/// let mut writer = PcapngWriter::new(Vec::new(), &Section::default())?;
/// let port = writer.add_interface(&InterfaceInfo {
///     name: Some("port1"),
///     ..InterfaceInfo::ETHERNET
/// })?;
/// let options = PacketOptions {
///     queue: Some(3),
///     verdicts: &[VerdictOption::Xdp(2)],
///     comments: &["nicbed: differs"],
///     ..PacketOptions::default()
/// };
/// writer.write(port, 1_700_000_000_000_000_001, 60, &[0; 60], &options)?;
/// let bytes = writer.finish()?;
/// assert_eq!(bytes.len() % 4, 0);
/// # Ok::<(), pcaps::WriteError>(())
/// ```
#[derive(Debug)]
pub struct PcapngWriter<W> {
    to: W,
    /// The block being put together, used again for each.
    block: Vec<u8>,
    interfaces: u32,
}

impl<W: Write> PcapngWriter<W> {
    /// Writes the section header.
    ///
    /// # Errors
    ///
    /// [`WriteError::OptionLength`], [`WriteError::Io`].
    pub fn new(to: W, section: &Section<'_>) -> Result<Self, WriteError> {
        let mut writer = Self {
            to,
            block: Vec::new(),
            interfaces: 0,
        };
        writer.begin(0x0a0d_0d0a);
        writer.word(0x1a2b_3c4d);
        // Major version 1, minor 0, section length unknown.
        writer.word(1);
        writer.word(u32::MAX);
        writer.word(u32::MAX);
        writer.text(OPT_COMMENT, section.comment)?;
        writer.text(SHB_HARDWARE, section.hardware)?;
        writer.text(SHB_OS, section.os)?;
        writer.text(SHB_USERAPPL, section.application)?;
        writer.end(28)?;
        Ok(writer)
    }

    /// Describes one more interface; allowed at any time.
    ///
    /// # Errors
    ///
    /// [`WriteError::OptionLength`], [`WriteError::Io`].
    pub fn add_interface(&mut self, info: &InterfaceInfo<'_>) -> Result<InterfaceId, WriteError> {
        self.begin(1);
        self.word(u32::from(info.link.0));
        self.word(info.snaplen);
        self.text(OPT_COMMENT, info.comment)?;
        self.text(IF_NAME, info.name)?;
        self.text(IF_DESCRIPTION, info.description)?;
        self.option(IF_TSRESOL, &[9])?;
        self.end(20)?;
        let id = InterfaceId(self.interfaces);
        self.interfaces += 1;
        Ok(id)
    }

    /// Writes a packet: its interface, its time in nanoseconds since 1970, its length on the
    /// wire in bytes, what of it was captured, and what else there is to say.
    ///
    /// # Errors
    ///
    /// [`WriteError::PacketLength`], [`WriteError::OptionLength`], [`WriteError::Io`].
    pub fn write(
        &mut self,
        interface: InterfaceId,
        time_ns: u64,
        original_len: u32,
        data: &[u8],
        options: &PacketOptions<'_>,
    ) -> Result<(), WriteError> {
        if data.len() > MAX_PACKET {
            return Err(WriteError::PacketLength {
                len: data.len(),
                limit: MAX_PACKET,
            });
        }
        self.begin(6);
        self.word(interface.0);
        self.word((time_ns >> 32) as u32);
        self.word(time_ns as u32);
        self.word(data.len() as u32);
        self.word(original_len);
        self.padded(data);
        let before_options = self.block.len() + 4;
        for comment in options.comments {
            self.text(OPT_COMMENT, Some(comment))?;
        }
        if let Some(flags) = options.flags {
            self.option(EPB_FLAGS, &flags.to_le_bytes())?;
        }
        if let Some(id) = options.packet_id {
            self.option(EPB_PACKETID, &id.to_le_bytes())?;
        }
        if let Some(queue) = options.queue {
            self.option(EPB_QUEUE, &queue.to_le_bytes())?;
        }
        for verdict in options.verdicts {
            let (kind, code) = match *verdict {
                VerdictOption::Hardware(code) => (0, code),
                VerdictOption::Tc(code) => (1, code),
                VerdictOption::Xdp(code) => (2, code),
            };
            let mut value = [kind; 9];
            for (to, from) in value.iter_mut().skip(1).zip(code.to_le_bytes()) {
                *to = from;
            }
            self.option(EPB_VERDICT, &value)?;
        }
        self.end(before_options)
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

    /// Begins a block; its length is filled in by [`PcapngWriter::end`].
    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.word(kind);
        self.word(0);
    }

    fn word(&mut self, value: u32) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, code: u16, text: Option<&str>) -> Result<(), WriteError> {
        text.map_or(Ok(()), |text| self.option(code, text.as_bytes()))
    }

    fn option(&mut self, code: u16, value: &[u8]) -> Result<(), WriteError> {
        let Ok(len) = u16::try_from(value.len()) else {
            return Err(WriteError::OptionLength {
                code,
                len: value.len(),
            });
        };
        self.word(u32::from(code) | u32::from(len) << 16);
        self.padded(value);
        Ok(())
    }

    /// Ends the options if there are any, fills in the lengths, and writes the block, which
    /// would be `bare` bytes long without options.
    fn end(&mut self, bare: usize) -> Result<(), WriteError> {
        if self.block.len() + 4 > bare {
            self.word(0);
        }
        // A packet of MAX_PACKET and options that were held in memory stay below 2^32, else the
        // length is said to be wrong rather than written wrong.
        let Ok(total) = u32::try_from(self.block.len() + 4) else {
            return Err(WriteError::PacketLength {
                len: self.block.len(),
                limit: MAX_PACKET,
            });
        };
        self.word(total);
        if let Some(length) = self.block.get_mut(4..8) {
            length.copy_from_slice(&total.to_le_bytes());
        }
        self.to.write_all(&self.block)?;
        Ok(())
    }
}
