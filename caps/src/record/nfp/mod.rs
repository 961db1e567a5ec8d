//! The NFP's record: control registers of a port and the firmware's TLV blob
//! (nfp-drv-kmods 7728618, `src/nfp_net_ctrl.h` and `src/bpf/main.c`).
//!
//! As bytes a record is the first [`BAR_BYTES`] bytes of the port's control BAR, then the memory
//! behind the firmware's symbol `_abi_bpf_capabilities`; nothing follows where the firmware has
//! no such symbol. All numbers are little-endian.
//!
//! `wire` is the bytes, with all that the driver refuses; `facts` makes a record of a profile's
//! facts, and facts of a record.

mod facts;
mod wire;

use std::collections::BTreeMap;

pub(crate) use facts::{declares, expressible};

/// Bytes of the control BAR in a record: up to the image's DMA address.
pub const BAR_BYTES: usize = 0x98;
/// CAP bit of a port that can offload eBPF.
pub const CAP_BPF: u32 = 1 << 27;
/// `BPF_CAP` bit: a running program can be replaced.
pub const BPF_CAP_RELOAD: u8 = 1;
/// Flag of the `adjust_head` entry: metadata need not be moved.
pub const ADJUST_HEAD_NO_META: u32 = 1;
/// ABI version of firmware that declares none.
pub const DEFAULT_ABI: u32 = 2;

/// Helpers whose firmware address the driver keeps.
const FUNCTIONS: [u32; 4] = [1, 2, 3, 25];
/// What the device declares, as the driver keeps it after reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Registers of the port.
    pub registers: Registers,
    /// What the blob says; `None` where the firmware has no such symbol.
    pub firmware: Option<Firmware>,
    /// What the driver would write to its log while reading.
    pub warnings: Vec<Warning>,
}

/// Registers of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// CAP.
    pub cap: u32,
    /// `BPF_ABI`.
    pub abi: u8,
    /// `BPF_CAP`.
    pub bpf_cap: u8,
    /// `BPF_MAX_LEN`, in instructions.
    pub max_len_insns: u16,
    /// `BPF_START`: where the image is loaded.
    pub start_insns: u16,
    /// `BPF_DONE`: where a finished program jumps to.
    pub done_insns: u16,
    /// `BPF_STACK_SZ`, in units of 64 bytes.
    pub stack_units: u8,
    /// `BPF_INL_MTU`, in units of 64 bytes.
    pub split_units: u8,
}

/// What the firmware's blob says.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four entries of the blob that are there or not"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// Code-store address of each helper routine the driver knows, by helper number.
    pub functions: BTreeMap<u32, u32>,
    /// `adjust_head`; all zero where it is not there.
    pub adjust_head: AdjustHead,
    /// Maps; all zero where they are not there.
    pub maps: Maps,
    /// Random numbers.
    pub random: bool,
    /// Programs may choose the receive queue.
    pub queue_select: bool,
    /// `adjust_tail`.
    pub adjust_tail: bool,
    /// ABI version the blob declares, as the driver takes it: 0 for one it does not know.
    pub abi_version: Option<u32>,
    /// Map messages may carry several entries.
    pub multi_entry_messages: bool,
}

/// Value of the `ADJUST_HEAD` entry. Offsets are of the packet in its buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdjustHead {
    /// [`ADJUST_HEAD_NO_META`].
    pub flags: u32,
    /// Least offset.
    pub off_min: u32,
    /// Largest offset; 0: no `adjust_head`.
    pub off_max: u32,
    /// Headroom that one constant call can take without a check.
    pub guaranteed_sub: u32,
    /// Bytes that one constant call can cut without a check.
    pub guaranteed_add: u32,
}

/// Value of the MAPS entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    /// Bit `1 << number` for each map type.
    pub types: u32,
    /// Maps at once.
    pub max_maps: u32,
    /// Elements over all maps.
    pub max_elems: u32,
    /// Longest key.
    pub max_key_bytes: u32,
    /// Longest value.
    pub max_value_bytes: u32,
    /// Longest pair, each part rounded up to 8.
    pub max_elem_bytes: u32,
}

/// What the driver writes to its log and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// An entry of unknown type is skipped.
    #[error("unknown BPF capability: {kind}")]
    UnknownType {
        /// Its type.
        kind: u32,
    },
    /// `adjust_head` is switched off.
    #[error("disabling adjust_head - driver expects min/max to fit in as immediates")]
    AdjustHeadOffsets,
    /// No port is capable.
    #[error("unsupported BPF ABI version: {version}")]
    AbiVersion {
        /// The version.
        version: u32,
    },
}

/// Why the driver refuses the device: its BPF part does not start. The messages are the
/// driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The registers are not all there (a file that is too short, not the driver's case).
    #[error("{len} bytes, but the control BAR alone takes {BAR_BYTES}")]
    Registers {
        /// Length of the record.
        len: usize,
    },
    /// The symbol is smaller than the driver maps.
    #[error("BPF capabilities of {len} bytes, at least 8 are mapped")]
    Symbol {
        /// Length of the blob.
        len: usize,
    },
    /// An entry is longer than the rest of the blob.
    #[error("invalid BPF capabilities at offset:{offset}")]
    Entry {
        /// Offset in the blob behind the entry, as the driver prints it.
        offset: usize,
    },
    /// Fewer than 8 bytes are left.
    #[error("BPF capabilities left after parsing, parsed:{parsed} total length:{total}")]
    Left {
        /// Bytes read.
        parsed: usize,
        /// Bytes there are.
        total: usize,
    },
    /// A FUNC entry is too short.
    #[error("truncated function TLV: {length}")]
    Function {
        /// Its length.
        length: u32,
    },
    /// An `ADJUST_HEAD` entry is too short.
    #[error("truncated adjust_head TLV: {length}")]
    AdjustHead {
        /// Its length.
        length: u32,
    },
    /// Least offset above the largest.
    #[error("invalid adjust_head TLV: min > max")]
    AdjustHeadRange,
    /// A MAPS entry is too short.
    #[error("truncated maps TLV: {length}")]
    Maps {
        /// Its length.
        length: u32,
    },
    /// An `ABI_VERSION` entry is too short.
    #[error("truncated ABI version TLV: {length}")]
    AbiVersion {
        /// Its length.
        length: u32,
    },
}

impl Record {
    /// The ABI version that the driver works with; 0 where it knows none.
    pub fn abi_version(&self) -> u32 {
        self.firmware
            .as_ref()
            .and_then(|f| f.abi_version)
            .unwrap_or(DEFAULT_ABI)
    }

    /// Whether the port counts as capable of eBPF (on a little-endian host).
    pub fn is_capable(&self) -> bool {
        let version = self.abi_version();
        self.registers.cap & CAP_BPF != 0
            && version != 0
            && u32::from(self.registers.abi) == version
    }

    /// Bytes of a frame that a program can reach.
    pub fn window_bytes(&self) -> u64 {
        (u64::from(self.registers.split_units) * 64).saturating_sub(32)
    }
}
