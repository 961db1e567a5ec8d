//! The schema: one row for each fact that a profile can hold.
//!
//! Reading, writing, `--set`, the device record and the checks all go by this table. A fact
//! stands in one of three layers, told by what its key begins with: what the device declares
//! (nothing), what the driver knows of itself (`driver.`), what is modelled (`model.`). It may
//! stand in two (the device has a helper *and* the driver can emit calls to it): then both hold.

use crate::domain::Domain;
use crate::value::{By, Scope, Unit};

/// One fact that a profile can hold.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Key without its layer. A `*` stands for a helper's name.
    pub key: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
    /// Type number in the `nicbed` record; 0 for what no device declares.
    pub tag: u16,
    /// What it says.
    pub doc: &'static str,
}

/// What the value of a fact looks like.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A number of at least and at most so much, or one of these words.
    Number(u64, u64, &'static [&'static str]),
    /// A limit in one of these units, over this scope.
    Limit(&'static [Unit], Scope),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of names.
    Names(Domain),
    /// Two numbers.
    Interval,
    /// Only the word `unknown`, standing for all keys below.
    Absent,
}

/// Whether a fact must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// In every profile, in any layer.
    Always,
    /// Only under `model.`, in every profile.
    Model,
    /// Only under `model.`, unless the key above is unknown as a whole.
    Cost,
    /// Only under `model.`, where known.
    ModelOptional,
    /// In profiles of record format `nfp`, and in no other.
    Nfp,
    /// In profiles of record format `nfp`, where the device has it.
    NfpOptional,
    /// Where there is such a constraint.
    Optional,
}

/// Key of a row in a layer: `driver.isa.groups`.
pub fn full_key(by: By, key: &str) -> String {
    format!("{}{key}", by.prefix())
}

const UNKNOWN: &[&str] = &["unknown"];
const OPEN: &[&str] = &["unlimited", "unknown"];
const OR_HOST: &[&str] = &["host", "unknown"];
const FRAME: u64 = 1 << 24;
const BIG: u64 = 1 << 48;

const fn row(key: &'static str, kind: Kind, need: Need, tag: u16, doc: &'static str) -> Row {
    Row {
        key,
        kind,
        need,
        tag,
        doc,
    }
}

use Kind::{Absent, Choice, Flag, Interval, Limit, Names, Number};
use Need::{Always, Cost, Model, ModelOptional, Nfp, NfpOptional, Optional};

/// All facts, in the order in which they are shown.
pub static ROWS: &[Row] = &[
    row(
        "hooks",
        Names(Domain::Hooks),
        Always,
        0x01,
        "hooks a program can be attached to",
    ),
    row(
        "loops",
        Choice(&["none", "bounded", "unknown"]),
        Always,
        0x02,
        "none: every jump goes forward; bounded: any loop the verifier accepts",
    ),
    row(
        "helpers",
        Names(Domain::Helpers),
        Always,
        0x03,
        "helpers a program can call",
    ),
    row(
        "isa.cpu_version",
        Choice(&["v1", "v2", "v3", "v4", "later", "unknown"]),
        Always,
        0x10,
        "newest CPU version whose instructions are taken",
    ),
    row(
        "isa.groups",
        Names(Domain::Groups),
        Always,
        0x11,
        "conformance groups of RFC 9669 section 2.4",
    ),
    row(
        "isa.extra_opcodes",
        Names(Domain::Opcodes),
        Always,
        0x12,
        "instructions taken whatever their group and version",
    ),
    row(
        "isa.excluded_opcodes",
        Names(Domain::Opcodes),
        Always,
        0x13,
        "instructions refused whatever their group and version",
    ),
    row(
        "isa.division_by_zero",
        Choice(&["zero", "halt", "unknown"]),
        Optional,
        0x15,
        "what a division by zero does: give 0 and a modulo its dividend (RFC 9669 section 4.1, the default), or stop the core",
    ),
    row(
        "isa.atomic_regions",
        Names(Domain::Regions),
        Always,
        0x14,
        "where an atomic operation may point",
    ),
    row(
        "image.length",
        Limit(
            &[Unit::Insns, Unit::Rows, Unit::Slots, Unit::Bytes],
            Scope::Program,
        ),
        Always,
        0x20,
        "longest image; only one counted in slots is known before translation",
    ),
    row(
        "stack.bytes",
        Limit(&[Unit::Bytes], Scope::Program),
        Always,
        0x21,
        "stack over the deepest chain of calls",
    ),
    row(
        "calls.frames",
        Number(1, 64, OPEN),
        Always,
        0x22,
        "functions in the deepest chain of calls, the entry included; 1: no calls",
    ),
    row(
        "calls.handler",
        Choice(&["hbpf-tests"]),
        Optional,
        0x23,
        "what `call N` reaches in programs without a hook; hbpf-tests: the handler of hBPF's own tests, 0 gathers the low bytes of r1 to r4 above r5, 7 gives a random number of 31 bits",
    ),
    row(
        "map.types",
        Names(Domain::MapTypes),
        Always,
        0x30,
        "types of maps",
    ),
    row(
        "map.flags",
        Names(Domain::MapFlags),
        Always,
        0x31,
        "creation flags of maps",
    ),
    row(
        "map.count",
        Number(0, 1 << 32, OPEN),
        Always,
        0x32,
        "maps that exist at once",
    ),
    row(
        "map.key_bytes",
        Number(0, 1 << 32, OPEN),
        Always,
        0x33,
        "longest key",
    ),
    row(
        "map.value_bytes",
        Number(0, 1 << 32, OPEN),
        Always,
        0x34,
        "longest value",
    ),
    row(
        "map.pair_bytes",
        Limit(&[Unit::Bytes], Scope::Map),
        Always,
        0x35,
        "key and value together, each rounded up to the granule",
    ),
    row(
        "map.entries",
        Limit(&[Unit::Entries], Scope::Map),
        Always,
        0x36,
        "entries of one map",
    ),
    row(
        "map.total_entries",
        Limit(&[Unit::Entries], Scope::AllMaps),
        Always,
        0x37,
        "entries of all maps",
    ),
    row(
        "map.total_bytes",
        Limit(&[Unit::Bytes], Scope::AllMaps),
        Always,
        0x38,
        "keys and values of all maps, each element rounded up to the granule",
    ),
    row(
        "map.value_access",
        Choice(&["read", "read-write", "unknown"]),
        Always,
        0x39,
        "what loads and stores may do to a map value (atomics: isa.atomic_regions)",
    ),
    row(
        "map.direct_values",
        Flag,
        Always,
        0x3a,
        "whether code can hold the address of a map's value, as global variables need",
    ),
    row(
        "exact",
        Flag,
        Optional,
        0,
        "translate as the vendor's driver does, its mistakes and guesses included (backend nfp)",
    ),
    row(
        "helper.*.key_regions",
        Names(Domain::Regions),
        Optional,
        0x40,
        "where the key argument may lie",
    ),
    row(
        "helper.*.value_regions",
        Names(Domain::Regions),
        Optional,
        0x41,
        "where the value argument may lie",
    ),
    row(
        "helper.*.key_align_bytes",
        Number(1, 8, UNKNOWN),
        Optional,
        0x42,
        "alignment of the key argument's offset",
    ),
    row(
        "helper.*.flags",
        Number(0, u32::MAX as u64, UNKNOWN),
        Optional,
        0x43,
        "the only value of the flags argument's lower half, a constant",
    ),
    row(
        "helper.*.delta_bytes",
        Interval,
        Optional,
        0x44,
        "least and largest adjustment of head, tail or metadata",
    ),
    row(
        "helper.*.code_address",
        Number(1, 0xffff_ffff, &[]),
        NfpOptional,
        0,
        "address of the helper's routine in the code store",
    ),
    row(
        "actions.xdp",
        Names(Domain::XdpActions),
        Always,
        0x50,
        "return codes of XDP programs",
    ),
    row(
        "actions.tc",
        Names(Domain::TcActions),
        Always,
        0x51,
        "return codes of tc programs",
    ),
    row(
        "packet.window_bytes",
        Number(0, FRAME, OPEN),
        Always,
        0x60,
        "bytes of a frame from its start that a program can reach",
    ),
    row(
        "packet.beyond_window",
        Choice(&["refuse", "punt", "unknown"]),
        Always,
        0x61,
        "what becomes of a program that reaches further: refused, or longer frames go to the host",
    ),
    row(
        "packet.headroom_bytes",
        Number(0, FRAME, UNKNOWN),
        Always,
        0x62,
        "bytes before a frame's first",
    ),
    row(
        "packet.headroom_usable_bytes",
        Number(0, FRAME, UNKNOWN),
        Always,
        0x63,
        "bytes of the headroom that head and metadata can take",
    ),
    row(
        "packet.tailroom_bytes",
        Number(0, FRAME, OPEN),
        Always,
        0x64,
        "bytes a program can add behind a frame; unlimited: up to frame_max_bytes",
    ),
    row(
        "packet.frame_min_bytes",
        Number(0, FRAME, UNKNOWN),
        Always,
        0x65,
        "shortest frame a program sees or leaves",
    ),
    row(
        "packet.frame_max_bytes",
        Number(1, FRAME, OPEN),
        Always,
        0x66,
        "longest frame a program sees or leaves",
    ),
    row(
        "packet.meta_bytes",
        Number(0, 255, UNKNOWN),
        Always,
        0x67,
        "largest metadata area before a frame",
    ),
    row(
        "ctx.xdp_read",
        Names(Domain::XdpFields),
        Always,
        0x70,
        "fields of struct xdp_md that can be read",
    ),
    row(
        "ctx.xdp_write",
        Names(Domain::XdpFields),
        Always,
        0x71,
        "fields of struct xdp_md that can be written",
    ),
    row(
        "ctx.tc_read",
        Names(Domain::TcFields),
        Always,
        0x72,
        "fields of struct __sk_buff that can be read",
    ),
    row(
        "ctx.tc_write",
        Names(Domain::TcFields),
        Always,
        0x73,
        "fields of struct __sk_buff that can be written",
    ),
    row(
        "nfp.abi_version",
        Number(0, 255, &[]),
        Nfp,
        0,
        "BPF_ABI register, and the ABI_VERSION entry of the blob if it is not 2",
    ),
    row(
        "nfp.code_start_insns",
        Number(0, 0xffff, &[]),
        Nfp,
        0,
        "BPF_START register: where the image is loaded",
    ),
    row(
        "nfp.code_done_insns",
        Number(0, 0xffff, &[]),
        Nfp,
        0,
        "BPF_DONE register: where a finished program jumps to",
    ),
    row(
        "nfp.live_reload",
        Flag,
        Nfp,
        0,
        "BPF_CAP bit 0: a running program can be replaced",
    ),
    row(
        "nfp.multi_entry_messages",
        Flag,
        Nfp,
        0,
        "map control messages carry several entries",
    ),
    row(
        "nfp.adjust_head_no_meta",
        Flag,
        NfpOptional,
        0,
        "adjust_head works without moving metadata",
    ),
    row(
        "nfp.adjust_head_min_offset_bytes",
        Number(0, 0xffff_ffff, &[]),
        NfpOptional,
        0,
        "least offset of the packet in its buffer after adjust_head",
    ),
    row(
        "nfp.adjust_head_max_offset_bytes",
        Number(0, 0xffff_ffff, &[]),
        NfpOptional,
        0,
        "largest offset of the packet in its buffer after adjust_head",
    ),
    row(
        "nfp.adjust_head_guaranteed_sub_bytes",
        Number(0, 0xffff_ffff, &[]),
        NfpOptional,
        0,
        "bytes of headroom that one constant call can take without a check",
    ),
    row(
        "nfp.adjust_head_guaranteed_add_bytes",
        Number(0, 0xffff_ffff, &[]),
        NfpOptional,
        0,
        "bytes that one constant call can cut without a check",
    ),
    row(
        "executes",
        Flag,
        Model,
        0,
        "whether the device runs programs in reality",
    ),
    row(
        "cores",
        Number(1, 1 << 16, OR_HOST),
        Model,
        0,
        "cores that run programs",
    ),
    row(
        "threads_per_core",
        Number(1, 1 << 10, OR_HOST),
        Model,
        0,
        "hardware threads of a core that run programs",
    ),
    row(
        "clock_hz",
        Number(1_000, 1_000_000_000_000, OR_HOST),
        Model,
        0,
        "clock of a core",
    ),
    row("ports", Number(1, 1 << 10, &[]), Model, 0, "ports"),
    row(
        "port_bits_per_second",
        Number(1_000_000, BIG, OPEN),
        Model,
        0,
        "rate of a port",
    ),
    row(
        "queues_default",
        Number(1, 1 << 12, &[]),
        Model,
        0,
        "receive queues unless told otherwise",
    ),
    row(
        "queues_max",
        Number(1, 1 << 12, &[]),
        Model,
        0,
        "most receive queues",
    ),
    row(
        "cycles",
        Absent,
        ModelOptional,
        0,
        "that no costs are published at all",
    ),
    row(
        "cycles.start",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "from a packet's arrival to the first instruction",
    ),
    row(
        "cycles.alu",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "add, sub, or, and, xor, neg, mov, byte swaps",
    ),
    row(
        "cycles.mul",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "multiplication",
    ),
    row(
        "cycles.shift",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "lsh, rsh, arsh",
    ),
    row(
        "cycles.divide",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "div, mod, signed or not",
    ),
    row(
        "cycles.divide_by_zero",
        Number(0, BIG, UNKNOWN),
        ModelOptional,
        0,
        "div, mod by zero, where that stops the core",
    ),
    row("cycles.wide", Number(0, BIG, UNKNOWN), Cost, 0, "lddw"),
    row(
        "cycles.jump",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "unconditional jump",
    ),
    row(
        "cycles.branch_taken",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "conditional jump, taken",
    ),
    row(
        "cycles.branch_not_taken",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "conditional jump, not taken",
    ),
    row(
        "cycles.load_b",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "load of 1 byte",
    ),
    row(
        "cycles.load_h",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "load of 2 bytes",
    ),
    row(
        "cycles.load_w",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "load of 4 bytes",
    ),
    row(
        "cycles.load_dw",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "load of 8 bytes",
    ),
    row(
        "cycles.store_b",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "store of 1 byte",
    ),
    row(
        "cycles.store_h",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "store of 2 bytes",
    ),
    row(
        "cycles.store_w",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "store of 4 bytes",
    ),
    row(
        "cycles.store_dw",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "store of 8 bytes",
    ),
    row(
        "cycles.atomic",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "atomic operation",
    ),
    row(
        "cycles.load_packet",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "legacy packet load",
    ),
    row(
        "cycles.call_helper",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "helper call, the helper's own work included",
    ),
    row(
        "cycles.call_local",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "call of a function of the program",
    ),
    row(
        "cycles.exit",
        Number(0, BIG, UNKNOWN),
        Cost,
        0,
        "return or end of the program",
    ),
    row(
        "latency_cycles.local_memory",
        Interval,
        ModelOptional,
        0,
        "access to a core's own memory",
    ),
    row(
        "latency_cycles.cluster_memory",
        Interval,
        ModelOptional,
        0,
        "access to memory of a cluster of cores",
    ),
    row(
        "latency_cycles.packet_memory",
        Interval,
        ModelOptional,
        0,
        "access to the packet",
    ),
    row(
        "latency_cycles.internal_memory",
        Interval,
        ModelOptional,
        0,
        "access to memory on the chip that all cores share",
    ),
    row(
        "latency_cycles.external_memory",
        Interval,
        ModelOptional,
        0,
        "access to memory off the chip",
    ),
];

/// A key taken apart: its layer, its row, and the helper it is about.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Layer.
    pub by: By,
    /// Row.
    pub row: &'static Row,
    /// Name of the helper where the row's key has a `*`.
    pub helper: Option<&'a str>,
}

/// The row that a full key names.
pub fn find(key: &str) -> Option<Found<'_>> {
    let (by, rest) = By::split(key);
    let helper = rest.strip_prefix("helper.").and_then(|r| r.split_once('.'));
    let row = ROWS
        .iter()
        .find(|row| match (row.key.strip_prefix("helper.*."), helper) {
            (Some(field), Some((_, named))) => field == named,
            (None, None) => row.key == rest,
            _ => false,
        })?;
    row.admits(by).then_some(Found {
        by,
        row,
        helper: helper.map(|(name, _)| name),
    })
}

/// Whether a longer key begins with `key` and a dot.
pub fn is_table(key: &str) -> bool {
    if key == "driver" || key == "model" {
        return true;
    }
    let (by, rest) = By::split(key);
    if rest == "helper" {
        return true;
    }
    if let Some(name) = rest.strip_prefix("helper.") {
        return !name.contains('.');
    }
    ROWS.iter().any(|row| {
        row.admits(by)
            && row
                .key
                .strip_prefix(rest)
                .is_some_and(|below| below.starts_with('.'))
    })
}

/// All full keys that can be written, with `*` for a helper's name.
pub fn all_keys() -> Vec<String> {
    By::ALL
        .iter()
        .flat_map(|&by| {
            ROWS.iter()
                .filter(move |row| row.admits(by))
                .map(move |row| full_key(by, row.key))
        })
        .collect()
}

impl Row {
    /// Whether the fact can stand in this layer.
    pub fn admits(&self, by: By) -> bool {
        match self.need {
            Always | Optional => true,
            Model | Cost | ModelOptional => by == By::Model,
            Nfp | NfpOptional => by == By::Device,
        }
    }
}
