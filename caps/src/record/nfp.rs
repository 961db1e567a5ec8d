//! The NFP's record: control registers of a port and the firmware's TLV blob
//! (nfp-drv-kmods 7728618, `src/nfp_net_ctrl.h` and `src/bpf/main.c`).
//!
//! As bytes a record is the first [`BAR_BYTES`] bytes of the port's control BAR, then the memory
//! behind the firmware's symbol `_abi_bpf_capabilities`; nothing follows where the firmware has
//! no such symbol. All numbers are little-endian.

use std::collections::BTreeMap;

use bpf::map::MapType;

use crate::profile::Caps;
use crate::value::{Bound, Limit, Names, Scope, Unit, Value};

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

const AT_CAP: usize = 0x38;
const AT_BPF_ABI: usize = 0x80;
const AT_BPF_CAP: usize = 0x81;
const AT_BPF_MAX_LEN: usize = 0x82;
const AT_BPF_START: usize = 0x84;
const AT_BPF_DONE: usize = 0x86;
const AT_BPF_STACK_SZ: usize = 0x88;
const AT_BPF_INL_MTU: usize = 0x89;

const TYPE_FUNC: u32 = 1;
const TYPE_ADJUST_HEAD: u32 = 2;
const TYPE_MAPS: u32 = 3;
const TYPE_RANDOM: u32 = 4;
const TYPE_QUEUE_SELECT: u32 = 5;
const TYPE_ADJUST_TAIL: u32 = 6;
const TYPE_ABI_VERSION: u32 = 7;
const TYPE_CMSG_MULTI_ENT: u32 = 8;

/// Helpers whose firmware address the driver keeps.
const FUNCTIONS: [u32; 4] = [1, 2, 3, 25];
const LOOKUP_TO_EVENT: [&str; 4] = [
    "bpf_map_lookup_elem",
    "bpf_map_update_elem",
    "bpf_map_delete_elem",
    "bpf_perf_event_output",
];
const RANDOM: &str = "bpf_get_prandom_u32";
const ADJUST_HEAD: &str = "bpf_xdp_adjust_head";
const ADJUST_TAIL: &str = "bpf_xdp_adjust_tail";
const QUEUE_FIELD: &str = "rx_queue_index";

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
    /// Reads a record as the driver does.
    ///
    /// # Errors
    /// [`DecodeError`] where the driver's BPF part would not start.
    pub fn decode(record: &[u8]) -> Result<Record, DecodeError> {
        let bar = record
            .get(..BAR_BYTES)
            .ok_or(DecodeError::Registers { len: record.len() })?;
        let half = |at: usize| u16::from_le_bytes([bar[at], bar[at + 1]]);
        let registers = Registers {
            cap: word(bar, AT_CAP),
            abi: bar[AT_BPF_ABI],
            bpf_cap: bar[AT_BPF_CAP],
            max_len_insns: half(AT_BPF_MAX_LEN),
            start_insns: half(AT_BPF_START),
            done_insns: half(AT_BPF_DONE),
            stack_units: bar[AT_BPF_STACK_SZ],
            split_units: bar[AT_BPF_INL_MTU],
        };
        let mut warnings = Vec::new();
        let blob = &record[BAR_BYTES..];
        let firmware = if blob.is_empty() {
            None
        } else {
            Some(Firmware::decode(blob, &mut warnings)?)
        };
        Ok(Record {
            registers,
            firmware,
            warnings,
        })
    }

    /// The record as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; BAR_BYTES];
        let r = &self.registers;
        out[AT_CAP..AT_CAP + 4].copy_from_slice(&r.cap.to_le_bytes());
        out[AT_BPF_ABI] = r.abi;
        out[AT_BPF_CAP] = r.bpf_cap;
        out[AT_BPF_MAX_LEN..AT_BPF_MAX_LEN + 2].copy_from_slice(&r.max_len_insns.to_le_bytes());
        out[AT_BPF_START..AT_BPF_START + 2].copy_from_slice(&r.start_insns.to_le_bytes());
        out[AT_BPF_DONE..AT_BPF_DONE + 2].copy_from_slice(&r.done_insns.to_le_bytes());
        out[AT_BPF_STACK_SZ] = r.stack_units;
        out[AT_BPF_INL_MTU] = r.split_units;
        if let Some(firmware) = &self.firmware {
            firmware.encode(&mut out);
        }
        out
    }

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

    /// What a device with these capabilities declares. Numbers that the profile does not know
    /// are 0; what registers cannot hold has been refused when the profile was read.
    pub(crate) fn of(caps: &Caps) -> Record {
        let number = |key: &str| caps.bound(key).known().unwrap_or(0);
        let flag = |key: &str| {
            caps.fact(key)
                .is_some_and(|fact| fact.value == Value::Flag(true))
        };
        let listed = |key: &str, name: &str| match caps.fact(key).map(|fact| &fact.value) {
            Some(Value::Names(names)) => names.contains(name),
            _ => false,
        };
        let registers = Registers {
            cap: if listed("hooks", "xdp") { CAP_BPF } else { 0 },
            abi: number("nfp.abi_version") as u8,
            bpf_cap: u8::from(flag("nfp.live_reload")),
            max_len_insns: device_number(caps, "image.length") as u16,
            start_insns: number("nfp.code_start_insns") as u16,
            done_insns: number("nfp.code_done_insns") as u16,
            stack_units: (device_number(caps, "stack.bytes") / 64) as u8,
            split_units: ((device_number(caps, "packet.window_bytes") + 32) / 64) as u8,
        };
        let functions = FUNCTIONS
            .into_iter()
            .zip(LOOKUP_TO_EVENT)
            .filter(|(_, name)| listed("helpers", name))
            .map(|(id, name)| (id, number(&format!("helper.{name}.code_address")) as u32))
            .collect();
        let adjust_head = if listed("helpers", ADJUST_HEAD) {
            AdjustHead {
                flags: u32::from(flag("nfp.adjust_head_no_meta")),
                off_min: number("nfp.adjust_head_min_offset_bytes") as u32,
                off_max: number("nfp.adjust_head_max_offset_bytes") as u32,
                guaranteed_sub: number("nfp.adjust_head_guaranteed_sub_bytes") as u32,
                guaranteed_add: number("nfp.adjust_head_guaranteed_add_bytes") as u32,
            }
        } else {
            AdjustHead::default()
        };
        let mut types = 0;
        for kind in MapType::ALL.iter().filter(|kind| kind.number() < 32) {
            if listed("map.types", kind.name()) {
                types |= 1 << kind.number();
            }
        }
        let abi = number("nfp.abi_version") as u32;
        Record {
            registers,
            firmware: Some(Firmware {
                functions,
                adjust_head,
                maps: Maps {
                    types,
                    max_maps: device_number(caps, "map.count") as u32,
                    max_elems: device_number(caps, "map.total_entries") as u32,
                    max_key_bytes: device_number(caps, "map.key_bytes") as u32,
                    max_value_bytes: device_number(caps, "map.value_bytes") as u32,
                    max_elem_bytes: device_number(caps, "map.pair_bytes") as u32,
                },
                random: listed("helpers", RANDOM),
                queue_select: listed("ctx.xdp_write", QUEUE_FIELD),
                adjust_tail: listed("helpers", ADJUST_TAIL),
                abi_version: (abi != DEFAULT_ABI).then_some(abi),
                multi_entry_messages: flag("nfp.multi_entry_messages"),
            }),
            warnings: Vec::new(),
        }
    }

    /// The record as facts of a profile, by full key.
    pub fn facts(&self) -> Vec<(String, Value)> {
        let absent = Firmware::default();
        let firmware = self.firmware.as_ref().unwrap_or(&absent);
        let mut helpers = Vec::new();
        let mut facts = Vec::new();
        for (id, name) in FUNCTIONS.into_iter().zip(LOOKUP_TO_EVENT) {
            if let Some(&address) = firmware.functions.get(&id)
                && address != 0
            {
                helpers.push(name);
                facts.push((
                    format!("helper.{name}.code_address"),
                    Value::Number(Bound::Known(u64::from(address))),
                ));
            }
        }
        if firmware.random {
            helpers.push(RANDOM);
        }
        let head = firmware.adjust_head;
        if head.off_max != 0 {
            helpers.push(ADJUST_HEAD);
        }
        if firmware.adjust_tail {
            helpers.push(ADJUST_TAIL);
        }
        let names = |list: &[&str]| {
            Value::Names(Names::List(list.iter().map(|n| (*n).to_owned()).collect()))
        };
        let hooks: &[&str] = if self.is_capable() {
            &["xdp", "tc"]
        } else {
            &[]
        };
        let types: Vec<&str> = MapType::ALL
            .iter()
            .filter(|kind| kind.number() < 32 && firmware.maps.types >> kind.number() & 1 == 1)
            .map(|kind| kind.name())
            .collect();
        let number = |n: u64| Value::Number(Bound::Known(n));
        let limit = |n: u64, unit, scope, granule| {
            Value::Limit(Limit {
                value: Bound::Known(n),
                unit,
                scope,
                granule,
            })
        };
        let r = &self.registers;
        let maps = &firmware.maps;
        let queue: &[&str] = if firmware.queue_select {
            &[QUEUE_FIELD]
        } else {
            &[]
        };
        let mut add = |key: &str, value| facts.push((key.to_owned(), value));
        add("hooks", names(hooks));
        add("helpers", names(&helpers));
        add(
            "image.length",
            limit(u64::from(r.max_len_insns), Unit::Insns, Scope::Program, 1),
        );
        add(
            "stack.bytes",
            limit(
                u64::from(r.stack_units) * 64,
                Unit::Bytes,
                Scope::Program,
                64,
            ),
        );
        add("packet.window_bytes", number(self.window_bytes()));
        add("ctx.xdp_write", names(queue));
        add("map.types", names(&types));
        add("map.count", number(u64::from(maps.max_maps)));
        add("map.key_bytes", number(u64::from(maps.max_key_bytes)));
        add("map.value_bytes", number(u64::from(maps.max_value_bytes)));
        add(
            "map.pair_bytes",
            limit(u64::from(maps.max_elem_bytes), Unit::Bytes, Scope::Map, 8),
        );
        add(
            "map.total_entries",
            limit(u64::from(maps.max_elems), Unit::Entries, Scope::AllMaps, 1),
        );
        add("nfp.abi_version", number(u64::from(r.abi)));
        add("nfp.code_start_insns", number(u64::from(r.start_insns)));
        add("nfp.code_done_insns", number(u64::from(r.done_insns)));
        add(
            "nfp.live_reload",
            Value::Flag(r.bpf_cap & BPF_CAP_RELOAD != 0),
        );
        add(
            "nfp.multi_entry_messages",
            Value::Flag(firmware.multi_entry_messages),
        );
        if head.off_max != 0 {
            add(
                "nfp.adjust_head_no_meta",
                Value::Flag(head.flags & ADJUST_HEAD_NO_META != 0),
            );
            for (key, n) in [
                ("nfp.adjust_head_min_offset_bytes", head.off_min),
                ("nfp.adjust_head_max_offset_bytes", head.off_max),
                ("nfp.adjust_head_guaranteed_sub_bytes", head.guaranteed_sub),
                ("nfp.adjust_head_guaranteed_add_bytes", head.guaranteed_add),
            ] {
                add(key, number(u64::from(n)));
            }
        }
        facts
    }
}

impl Firmware {
    fn decode(blob: &[u8], warnings: &mut Vec<Warning>) -> Result<Firmware, DecodeError> {
        if blob.len() < 8 {
            return Err(DecodeError::Symbol { len: blob.len() });
        }
        let mut firmware = Firmware::default();
        let mut at = 0;
        while at + 8 <= blob.len() {
            let (kind, length) = (word(blob, at), word(blob, at + 4));
            let next = at.saturating_add(8).saturating_add(length as usize);
            let value = blob
                .get(at + 8..next)
                .ok_or(DecodeError::Entry { offset: next })?;
            firmware.entry(kind, length, value, warnings)?;
            at = next;
        }
        if at == blob.len() {
            Ok(firmware)
        } else {
            Err(DecodeError::Left {
                parsed: at,
                total: blob.len(),
            })
        }
    }

    fn entry(
        &mut self,
        kind: u32,
        length: u32,
        value: &[u8],
        warnings: &mut Vec<Warning>,
    ) -> Result<(), DecodeError> {
        match kind {
            TYPE_FUNC => {
                let [id, address] = words(value).ok_or(DecodeError::Function { length })?;
                if FUNCTIONS.contains(&id) {
                    self.functions.insert(id, address);
                }
            }
            TYPE_ADJUST_HEAD => {
                let [flags, off_min, off_max, guaranteed_sub, guaranteed_add] =
                    words(value).ok_or(DecodeError::AdjustHead { length })?;
                if off_min > off_max {
                    return Err(DecodeError::AdjustHeadRange);
                }
                self.adjust_head = if off_max > 255 {
                    warnings.push(Warning::AdjustHeadOffsets);
                    AdjustHead::default()
                } else {
                    AdjustHead {
                        flags,
                        off_min,
                        off_max,
                        guaranteed_sub,
                        guaranteed_add,
                    }
                };
            }
            TYPE_MAPS => {
                let [
                    types,
                    max_maps,
                    max_elems,
                    max_key_bytes,
                    max_value_bytes,
                    max_elem_bytes,
                ] = words(value).ok_or(DecodeError::Maps { length })?;
                self.maps = Maps {
                    types,
                    max_maps,
                    max_elems,
                    max_key_bytes,
                    max_value_bytes,
                    max_elem_bytes,
                };
            }
            TYPE_RANDOM => self.random = true,
            TYPE_QUEUE_SELECT => self.queue_select = true,
            TYPE_ADJUST_TAIL => self.adjust_tail = true,
            TYPE_ABI_VERSION => {
                let [version] = words(value).ok_or(DecodeError::AbiVersion { length })?;
                if (2..=3).contains(&version) {
                    self.abi_version = Some(version);
                } else {
                    warnings.push(Warning::AbiVersion { version });
                    self.abi_version = Some(0);
                }
            }
            TYPE_CMSG_MULTI_ENT => self.multi_entry_messages = true,
            kind => warnings.push(Warning::UnknownType { kind }),
        }
        Ok(())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut entry = |kind: u32, words: &[u32]| {
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&(4 * words.len() as u32).to_le_bytes());
            for word in words {
                out.extend_from_slice(&word.to_le_bytes());
            }
        };
        for (&id, &address) in &self.functions {
            entry(TYPE_FUNC, &[id, address]);
        }
        let h = &self.adjust_head;
        if *h != AdjustHead::default() {
            entry(
                TYPE_ADJUST_HEAD,
                &[
                    h.flags,
                    h.off_min,
                    h.off_max,
                    h.guaranteed_sub,
                    h.guaranteed_add,
                ],
            );
        }
        let m = &self.maps;
        // Always there, so that no blob is empty: an empty one would read as none.
        entry(
            TYPE_MAPS,
            &[
                m.types,
                m.max_maps,
                m.max_elems,
                m.max_key_bytes,
                m.max_value_bytes,
                m.max_elem_bytes,
            ],
        );
        for (kind, there) in [
            (TYPE_RANDOM, self.random),
            (TYPE_QUEUE_SELECT, self.queue_select),
            (TYPE_ADJUST_TAIL, self.adjust_tail),
            (TYPE_CMSG_MULTI_ENT, self.multi_entry_messages),
        ] {
            if there {
                entry(kind, &[]);
            }
        }
        if let Some(version) = self.abi_version {
            entry(TYPE_ABI_VERSION, &[version]);
        }
    }
}

/// The u32 at byte `at`, which the caller has checked.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The first `N` u32 of a value; a longer value is fine.
fn words<const N: usize>(value: &[u8]) -> Option<[u32; N]> {
    let value = value.get(..4 * N)?;
    let mut out = [0; N];
    for (i, word_out) in out.iter_mut().enumerate() {
        *word_out = word(value, 4 * i);
    }
    Some(out)
}

/// The number that the device layer of a profile says, 0 if unknown.
fn device_number(caps: &Caps, key: &str) -> u64 {
    match caps.fact(key).map(|fact| &fact.value) {
        Some(Value::Number(Bound::Known(n))) => *n,
        Some(Value::Limit(limit)) => limit.value.known().unwrap_or(0),
        _ => 0,
    }
}

/// Whether a record of this format says the fact with this key (`*` for a helper's name).
pub(crate) fn declares(key: &str) -> bool {
    matches!(
        key,
        "hooks"
            | "helpers"
            | "helper.*.code_address"
            | "image.length"
            | "stack.bytes"
            | "packet.window_bytes"
            | "ctx.xdp_write"
            | "map.types"
            | "map.count"
            | "map.total_entries"
            | "map.key_bytes"
            | "map.value_bytes"
            | "map.pair_bytes"
    ) || key.starts_with("nfp.")
}

/// Whether registers and blob can say what the profile's device layer says; else the key and
/// why not.
pub(crate) fn expressible(caps: &Caps) -> Result<(), (&'static str, &'static str)> {
    let names = |key: &str| match caps.fact(key).map(|fact| &fact.value) {
        Some(Value::Names(Names::List(list))) => Some(list.as_slice()),
        _ => None,
    };
    for (key, largest, why) in [
        (
            "image.length",
            0xffff,
            "the register BPF_MAX_LEN holds 0 to 65535",
        ),
        (
            "stack.bytes",
            255 * 64,
            "the register BPF_STACK_SZ holds 0 to 255 units of 64 bytes",
        ),
        (
            "packet.window_bytes",
            255 * 64 - 32,
            "the register BPF_INL_MTU counts units of 64 bytes, of which 32 are taken off: 32, 96, 160 … 16288",
        ),
        ("map.count", 0xffff_ffff, "the blob holds 32 bits"),
        ("map.key_bytes", 0xffff_ffff, "the blob holds 32 bits"),
        ("map.value_bytes", 0xffff_ffff, "the blob holds 32 bits"),
        ("map.pair_bytes", 0xffff_ffff, "the blob holds 32 bits"),
        ("map.total_entries", 0xffff_ffff, "the blob holds 32 bits"),
    ] {
        let Some(fact) = caps.fact(key) else { continue };
        let (known, unit) = match &fact.value {
            Value::Number(bound) => (bound.known(), None),
            Value::Limit(limit) => (limit.value.known(), Some(limit.unit)),
            _ => (None, None),
        };
        let Some(n) = known else {
            return Err((key, "the device's record holds a number"));
        };
        let fits = n <= largest
            && match key {
                "image.length" => unit == Some(Unit::Insns),
                "stack.bytes" => n % 64 == 0,
                "packet.window_bytes" => n % 64 == 32,
                _ => true,
            };
        if !fits {
            return Err((key, why));
        }
    }
    let hooks = names("hooks").unwrap_or_default();
    if !(hooks.is_empty() || hooks == ["xdp", "tc"]) {
        return Err(("hooks", "CAP bit 27 stands for xdp and tc together"));
    }
    if caps.fact("ctx.xdp_write").is_some() {
        let fields = names("ctx.xdp_write").ok_or(("ctx.xdp_write", "a record lists fields"))?;
        if fields.iter().any(|field| field != QUEUE_FIELD) {
            return Err(("ctx.xdp_write", "the blob can only say rx_queue_index"));
        }
    }
    let helpers = names("helpers").unwrap_or_default();
    for helper in helpers {
        let address = format!("helper.{helper}.code_address");
        match helper.as_str() {
            RANDOM | ADJUST_TAIL => {}
            ADJUST_HEAD => {
                if caps.fact("nfp.adjust_head_max_offset_bytes").is_none() {
                    return Err((
                        "helpers",
                        "bpf_xdp_adjust_head needs nfp.adjust_head_max_offset_bytes",
                    ));
                }
            }
            name if LOOKUP_TO_EVENT.contains(&name) => {
                if caps.fact(&address).is_none() {
                    return Err((
                        "helpers",
                        "a map or event helper needs its helper.NAME.code_address",
                    ));
                }
            }
            _ => return Err(("helpers", "the blob has no entry for one of them")),
        }
    }
    match names("map.types") {
        Some(list) if list.iter().all(|n| type_fits(n)) => Ok(()),
        _ => Err(("map.types", "the blob has a bit for types 0 to 31")),
    }
}

fn type_fits(name: &str) -> bool {
    MapType::from_name(name).is_some_and(|kind| kind.number() < 32)
}
