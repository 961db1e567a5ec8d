//! Which sizes and flags a map may have: what Linux 6.18 takes, asked of it in
//! `tests/maps_vs_kernel.rs`.

use super::{MapDef, MapError, MapType};

/// Flags of linux/bpf.h that a definition may carry, by bit.
mod flag {
    pub(super) const NO_PREALLOC: u32 = 1;
    pub(super) const NO_COMMON_LRU: u32 = 1 << 1;
    pub(super) const NUMA_NODE: u32 = 1 << 2;
    pub(super) const RDONLY: u32 = 1 << 3;
    pub(super) const WRONLY: u32 = 1 << 4;
    pub(super) const ZERO_SEED: u32 = 1 << 6;
    pub(super) const RDONLY_PROG: u32 = 1 << 7;
    pub(super) const WRONLY_PROG: u32 = 1 << 8;
    pub(super) const MMAPABLE: u32 = 1 << 10;
    pub(super) const PRESERVE_ELEMS: u32 = 1 << 11;
    pub(super) const INNER_MAP: u32 = 1 << 12;
    /// Which of system call and program may read and write.
    pub(super) const USER: u32 = RDONLY | WRONLY;
    pub(super) const PROG: u32 = RDONLY_PROG | WRONLY_PROG;
}

/// Largest block the kernel allocates at once, in bytes.
const ALLOCATION: u64 = 1 << 22;
/// What a hash element takes beside key and value, in bytes.
const HASH_ELEMENT: u64 = 48;
/// What a prefix takes beside its value, in bytes.
const PREFIX_NODE: u64 = 256 + 40;

/// Flags that maps of this type take.
fn flags(kind: MapType) -> (u32, &'static str) {
    use MapType as T;
    use flag::{
        INNER_MAP, MMAPABLE, NO_COMMON_LRU, NO_PREALLOC, NUMA_NODE, PRESERVE_ELEMS, PROG, USER,
        ZERO_SEED,
    };
    match kind {
        T::Hash | T::HashOfMaps => (
            NO_PREALLOC | NUMA_NODE | USER | ZERO_SEED | PROG,
            "NO_PREALLOC, NUMA_NODE, RDONLY or WRONLY, ZERO_SEED, RDONLY_PROG or WRONLY_PROG",
        ),
        T::PercpuHash => (
            NO_PREALLOC | USER | ZERO_SEED | PROG,
            "NO_PREALLOC, RDONLY or WRONLY, ZERO_SEED, RDONLY_PROG or WRONLY_PROG",
        ),
        T::LruHash => (
            NO_COMMON_LRU | NUMA_NODE | USER | ZERO_SEED | PROG,
            "NO_COMMON_LRU, NUMA_NODE, RDONLY or WRONLY, ZERO_SEED, RDONLY_PROG or WRONLY_PROG",
        ),
        T::LruPercpuHash => (
            NO_COMMON_LRU | USER | ZERO_SEED | PROG,
            "NO_COMMON_LRU, RDONLY or WRONLY, ZERO_SEED, RDONLY_PROG or WRONLY_PROG",
        ),
        T::Array => (
            NUMA_NODE | USER | PROG | MMAPABLE | INNER_MAP,
            "NUMA_NODE, RDONLY or WRONLY, RDONLY_PROG or WRONLY_PROG, MMAPABLE, INNER_MAP",
        ),
        T::PercpuArray => (USER | PROG, "RDONLY or WRONLY, RDONLY_PROG or WRONLY_PROG"),
        T::LpmTrie => (
            NO_PREALLOC | NUMA_NODE | USER | PROG,
            "NO_PREALLOC (always), NUMA_NODE, RDONLY or WRONLY, RDONLY_PROG or WRONLY_PROG",
        ),
        T::Queue | T::Stack => (
            NUMA_NODE | USER | PROG,
            "NUMA_NODE, RDONLY or WRONLY, RDONLY_PROG or WRONLY_PROG",
        ),
        T::BloomFilter => (
            NUMA_NODE | USER | ZERO_SEED | PROG,
            "NUMA_NODE, RDONLY or WRONLY, ZERO_SEED, RDONLY_PROG or WRONLY_PROG",
        ),
        T::PerfEventArray => (
            NUMA_NODE | USER | PRESERVE_ELEMS,
            "NUMA_NODE, RDONLY or WRONLY, PRESERVE_ELEMS",
        ),
        T::Cpumap | T::Ringbuf => (NUMA_NODE, "NUMA_NODE"),
        _ => (NUMA_NODE | USER, "NUMA_NODE, RDONLY or WRONLY"),
    }
}

/// Refuses what the kernel would refuse to create.
pub(super) fn check(def: &MapDef) -> Result<(), MapError> {
    use MapType as T;
    let refuse = |what, value: u32, allowed| {
        Err(MapError::Size {
            name: def.name.clone(),
            what,
            value: u64::from(value),
            allowed,
        })
    };
    let (key, value) = (def.key_size, def.value_size);
    let sum = u64::from(key) + u64::from(value);
    let percpu_room = !def.kind.is_percpu() || value <= 32768;

    let (key_fits, keys) = match def.kind {
        T::Queue | T::Stack | T::Ringbuf | T::BloomFilter => (key == 0, "0"),
        T::LpmTrie => ((5..=260).contains(&key), "5 to 260"),
        T::Hash | T::PercpuHash | T::LruHash | T::LruPercpuHash | T::HashOfMaps => (
            key > 0 && sum < ALLOCATION - HASH_ELEMENT,
            "1 and more, with the value less than 4 MiB",
        ),
        _ => (key == 4, "4"),
    };
    if !key_fits {
        return refuse("key_size", key, keys);
    }

    let (value_fits, values) = match def.kind {
        T::ProgArray | T::PerfEventArray | T::ArrayOfMaps | T::HashOfMaps | T::Xskmap => {
            (value == 4, "4")
        }
        T::Devmap | T::DevmapHash | T::Cpumap => (matches!(value, 4 | 8), "4 or 8"),
        T::Ringbuf => (value == 0, "0"),
        T::LpmTrie => (
            value > 0 && u64::from(value) <= ALLOCATION - PREFIX_NODE,
            "1 to 4194008",
        ),
        T::Queue | T::Stack | T::BloomFilter => {
            (value > 0 && u64::from(value) <= ALLOCATION, "1 to 4194304")
        }
        T::PercpuArray | T::PercpuHash | T::LruPercpuHash => {
            (value > 0 && percpu_room, "1 to 32768")
        }
        _ => (value > 0 && i32::try_from(value).is_ok(), "1 to 2147483647"),
    };
    if !value_fits {
        return refuse("value_size", value, values);
    }

    let entries = def.max_entries;
    if entries == 0 {
        return refuse("max_entries", 0, "1 and more");
    }
    if def.kind == T::Ringbuf && !(entries.is_power_of_two() && entries >= 4096) {
        return refuse(
            "max_entries",
            entries,
            "a power of two, 4096 and more (libbpf rounds up to one)",
        );
    }

    let hashes = if def.kind == T::BloomFilter { 15 } else { 0 };
    if def.extra > hashes {
        return Err(MapError::Size {
            name: def.name.clone(),
            what: "map_extra",
            value: def.extra,
            allowed: "0 to 15 hashes for a bloom_filter, 0 for others",
        });
    }
    let (known, names) = flags(def.kind);
    let both = |mask| def.flags & mask == mask;
    if def.flags & !known != 0
        || both(flag::USER)
        || both(flag::PROG)
        || (def.kind == T::LpmTrie && def.flags & flag::NO_PREALLOC == 0)
    {
        return refuse("map_flags", def.flags, names);
    }
    Ok(())
}
