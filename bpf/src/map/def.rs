//! What an object declares of a map.

use std::fmt;
use std::sync::Arc;

use super::Layout;
use crate::btf::TypeId;
use crate::btf::fields::{SpecialField, SpecialKind};

/// A map as an object declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDef {
    /// Name of the map's variable, or of its section for global data.
    pub name: String,
    /// Type.
    pub kind: MapType,
    /// Key in bytes; 0 for types without keys.
    pub key_size: u32,
    /// Value in bytes; 0 where the type has none.
    pub value_size: u32,
    /// What a key's bytes mean, where BTF tells.
    pub key_layout: Option<Arc<Layout>>,
    /// What a value's bytes mean, where BTF tells.
    pub value_layout: Option<Arc<Layout>>,
    /// Type of a key in [`crate::Program::btf`]; 0 where none is known.
    pub key_type: TypeId,
    /// Type of a value there; 0 where none is known.
    pub value_type: TypeId,
    /// Fields of a value that copies of whole values leave alone, by ascending offset.
    pub special: Vec<SpecialField>,
    /// Number of elements; bytes of data for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` creation flags.
    pub flags: u32,
    /// What else the type takes (`map_extra`): of a Bloom filter the number of hashes, 1 to 15, or
    /// 0 for the five that Linux takes then.
    pub extra: u64,
    /// Which global data section this map holds, if any.
    pub data: Option<DataSection>,
    /// Contents of the only value at load (global data).
    pub initial: Option<Vec<u8>>,
    /// Definition of the maps inside, for `array_of_maps` and `hash_of_maps`.
    pub inner: Option<Box<MapDef>>,
    /// Slots that the object fills (BTF `.values`, or section names such as `2/7`).
    pub slots: Vec<InitialSlot>,
}

impl MapDef {
    /// A definition with this name and type, and every size 0.
    pub fn new(name: &str, kind: MapType) -> MapDef {
        MapDef {
            name: name.to_owned(),
            kind,
            key_size: 0,
            value_size: 0,
            key_layout: None,
            value_layout: None,
            key_type: 0,
            value_type: 0,
            special: Vec::new(),
            max_entries: 0,
            flags: 0,
            extra: 0,
            data: None,
            initial: None,
            inner: None,
            slots: Vec::new(),
        }
    }
}

impl MapDef {
    /// Whether a value holds a spin lock, so that `BPF_F_LOCK` means something: of the types that
    /// are modelled Linux takes locks in these.
    pub fn has_lock(&self) -> bool {
        matches!(self.kind, MapType::Hash | MapType::Array)
            && self.special.iter().any(|f| f.kind == SpecialKind::SpinLock)
    }
}

/// A slot of a `prog_array` or map-in-map that the object itself fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialSlot {
    /// Index of the slot.
    pub index: u32,
    /// What is put there.
    pub value: SlotValue,
}

/// What a slot names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotValue {
    /// A program by its function name.
    Program(String),
    /// A map by its name.
    Map(String),
}

/// Which global data section a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataSection {
    /// `.rodata`: read-only for the program and frozen before it is verified.
    Rodata,
    /// `.data`.
    Data,
    /// `.bss`.
    Bss,
}

macro_rules! map_types {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// Map types, numbered as in linux/bpf.h (`enum bpf_map_type`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum MapType {
            $($(#[$doc])* $variant,)*
        }

        impl MapType {
            /// All types, by ascending number.
            pub const ALL: &'static [MapType] = &[$(MapType::$variant,)*];

            /// Number in linux/bpf.h.
            pub const fn number(self) -> u32 {
                match self { $(MapType::$variant => $number,)* }
            }

            /// The kernel's name in lower case, without prefix: `percpu_hash`.
            pub const fn name(self) -> &'static str {
                match self { $(MapType::$variant => $name,)* }
            }
        }
    };
}

map_types! {
    /// Hash table.
    Hash = 1, "hash";
    /// Array of `max_entries` values, zero at first; elements cannot be deleted.
    Array = 2, "array";
    /// Programs, targets of tail calls.
    ProgArray = 3, "prog_array";
    /// Channels to the host, one slot a CPU.
    PerfEventArray = 4, "perf_event_array";
    /// Hash table with a value for each CPU.
    PercpuHash = 5, "percpu_hash";
    /// Array with a value for each CPU.
    PercpuArray = 6, "percpu_array";
    /// Stack traces.
    StackTrace = 7, "stack_trace";
    /// cgroups.
    CgroupArray = 8, "cgroup_array";
    /// Hash table that evicts the least recently used element when full.
    LruHash = 9, "lru_hash";
    /// The same with a value for each CPU.
    LruPercpuHash = 10, "lru_percpu_hash";
    /// Longest-prefix match.
    LpmTrie = 11, "lpm_trie";
    /// Array whose values are maps.
    ArrayOfMaps = 12, "array_of_maps";
    /// Hash table whose values are maps.
    HashOfMaps = 13, "hash_of_maps";
    /// Redirect targets: ports, by index.
    Devmap = 14, "devmap";
    /// Sockets.
    Sockmap = 15, "sockmap";
    /// Redirect targets: CPUs.
    Cpumap = 16, "cpumap";
    /// Redirect targets: `AF_XDP` sockets, by queue.
    Xskmap = 17, "xskmap";
    /// Sockets by key.
    Sockhash = 18, "sockhash";
    /// cgroup storage.
    CgroupStorage = 19, "cgroup_storage";
    /// Sockets of a reuseport group.
    ReuseportSockarray = 20, "reuseport_sockarray";
    /// cgroup storage with a value for each CPU.
    PercpuCgroupStorage = 21, "percpu_cgroup_storage";
    /// First in, first out.
    Queue = 22, "queue";
    /// Last in, first out.
    Stack = 23, "stack";
    /// Storage bound to a socket.
    SkStorage = 24, "sk_storage";
    /// Redirect targets: ports, by any 32-bit key.
    DevmapHash = 25, "devmap_hash";
    /// Kernel structures.
    StructOps = 26, "struct_ops";
    /// Ring buffer to the host.
    Ringbuf = 27, "ringbuf";
    /// Storage bound to an inode.
    InodeStorage = 28, "inode_storage";
    /// Storage bound to a task.
    TaskStorage = 29, "task_storage";
    /// Bloom filter.
    BloomFilter = 30, "bloom_filter";
    /// Ring buffer from the host.
    UserRingbuf = 31, "user_ringbuf";
    /// Storage bound to a cgroup.
    CgrpStorage = 32, "cgrp_storage";
    /// Memory shared with the host.
    Arena = 33, "arena";
}

impl MapType {
    /// The type with this number in linux/bpf.h.
    pub fn from_number(number: u32) -> Option<MapType> {
        MapType::ALL.iter().copied().find(|t| t.number() == number)
    }

    /// The type with this name (as [`MapType::name`] gives it).
    pub fn from_name(name: &str) -> Option<MapType> {
        MapType::ALL.iter().copied().find(|t| t.name() == name)
    }

    /// Whether every CPU (queue) has a value of its own.
    pub const fn is_percpu(self) -> bool {
        matches!(
            self,
            MapType::PercpuArray | MapType::PercpuHash | MapType::LruPercpuHash
        )
    }
}

impl fmt::Display for MapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
