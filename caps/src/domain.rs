//! The lists that names in a profile are taken from.

use bpf::map::MapType;
use isa::ebpf::Group;

/// A list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// Hooks: `xdp`, `tc`, `raw`.
    Hooks,
    /// Return codes of XDP programs, by the kernel's names.
    XdpActions,
    /// Return codes of tc programs, by the kernel's names.
    TcActions,
    /// Conformance groups of RFC 9669.
    Groups,
    /// Mnemonics of the instruction table.
    Opcodes,
    /// Map types, by the kernel's names in lower case.
    MapTypes,
    /// Creation flags of maps.
    MapFlags,
    /// Helpers.
    Helpers,
    /// Fields of `struct xdp_md`.
    XdpFields,
    /// Fields of `struct __sk_buff`.
    TcFields,
    /// Regions of memory.
    Regions,
}

const HOOKS: &[&str] = &["xdp", "tc", "raw"];
const XDP_ACTIONS: &[&str] = &[
    "XDP_ABORTED",
    "XDP_DROP",
    "XDP_PASS",
    "XDP_TX",
    "XDP_REDIRECT",
];
const TC_ACTIONS: &[&str] = &[
    "TC_ACT_UNSPEC",
    "TC_ACT_OK",
    "TC_ACT_RECLASSIFY",
    "TC_ACT_SHOT",
    "TC_ACT_PIPE",
    "TC_ACT_STOLEN",
    "TC_ACT_QUEUED",
    "TC_ACT_REPEAT",
    "TC_ACT_REDIRECT",
    "TC_ACT_TRAP",
];

/// `BPF_F_*` creation flags of maps, with their bits (linux/bpf.h).
pub const MAP_FLAGS: &[(&str, u32)] = &[
    ("BPF_F_NO_PREALLOC", 1),
    ("BPF_F_NO_COMMON_LRU", 1 << 1),
    ("BPF_F_NUMA_NODE", 1 << 2),
    ("BPF_F_RDONLY", 1 << 3),
    ("BPF_F_WRONLY", 1 << 4),
    ("BPF_F_STACK_BUILD_ID", 1 << 5),
    ("BPF_F_ZERO_SEED", 1 << 6),
    ("BPF_F_RDONLY_PROG", 1 << 7),
    ("BPF_F_WRONLY_PROG", 1 << 8),
    ("BPF_F_CLONE", 1 << 9),
    ("BPF_F_MMAPABLE", 1 << 10),
    ("BPF_F_PRESERVE_ELEMS", 1 << 11),
    ("BPF_F_INNER_MAP", 1 << 12),
];

/// Regions an argument or an atomic can lie in.
const REGIONS: &[&str] = &["stack", "packet", "packet_meta", "map_value", "memory"];

impl Domain {
    /// All names, in order.
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Domain::Hooks => HOOKS.to_vec(),
            Domain::XdpActions => XDP_ACTIONS.to_vec(),
            Domain::TcActions => TC_ACTIONS.to_vec(),
            Domain::Groups => Group::ALL.iter().map(|g| g.name()).collect(),
            Domain::Opcodes => isa::ebpf::table()
                .iter()
                .map(isa::ebpf::Row::mnemonic)
                .collect(),
            Domain::MapTypes => MapType::ALL.iter().map(|t| t.name()).collect(),
            Domain::MapFlags => MAP_FLAGS.iter().map(|f| f.0).collect(),
            Domain::Helpers => (1..).map_while(bpf::helper::name).collect(),
            Domain::XdpFields => bpf::context::XDP_MD.iter().map(|f| f.name).collect(),
            Domain::TcFields => bpf::context::SK_BUFF.iter().map(|f| f.name).collect(),
            Domain::Regions => REGIONS.to_vec(),
        }
    }

    /// What one of its names is, for messages.
    pub const fn what(self) -> &'static str {
        match self {
            Domain::Hooks => "hook",
            Domain::XdpActions | Domain::TcActions => "return code",
            Domain::Groups => "conformance group",
            Domain::Opcodes => "opcode mnemonic",
            Domain::MapTypes => "map type",
            Domain::MapFlags => "map flag",
            Domain::Helpers => "helper",
            Domain::XdpFields | Domain::TcFields => "context field",
            Domain::Regions => "region",
        }
    }
}

/// The names among `known` that are close to `name`, best first, at most three.
pub fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(bool, usize, &str)> = known
        .into_iter()
        .filter_map(|k| {
            let distance = distance(name, k);
            let last = |s: &str| s.rsplit('.').next().map(str::to_owned);
            let close = distance <= 2.max(name.len() / 4);
            let same_end = last(name) == last(k);
            let part = name.len() >= 4 && k.contains(name);
            (close || same_end || part).then_some((!k.starts_with(name), distance, k))
        })
        .collect();
    scored.sort_unstable();
    scored.dedup();
    scored
        .into_iter()
        .take(3)
        .map(|(_, _, k)| k.to_owned())
        .collect()
}

/// Edits (insert, delete, replace) between two names; long names are not compared.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 128 || b.len() > 128 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
