//! Every map type against Linux: the same random operations here and through bpf(2) must give
//! the same values and the same errors.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod kernel;

use std::os::fd::AsRawFd;

use bpf::map::{Errno, Map, MapDef, MapType};
use kernel::{KernelMap, KernelProgram, Rng};

const OPERATIONS: usize = 3000;
/// For maps of things, where the kernel waits for all CPUs after each change.
const SLOW_OPERATIONS: usize = 400;

fn def(kind: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        key_size,
        value_size,
        max_entries,
        ..MapDef::new("m", kind)
    }
}

fn number<T>(result: Result<T, Errno>) -> Result<T, i64> {
    result.map_err(Errno::number)
}

/// Makes keys that hit, miss and lie outside.
type KeyMaker = fn(&mut Rng) -> Vec<u8>;

fn index(rng: &mut Rng) -> Vec<u8> {
    (rng.below(20) as u32).to_le_bytes().to_vec()
}

fn free_key(rng: &mut Rng) -> Vec<u8> {
    let mut key = vec![0; 11];
    key[10] = rng.below(24) as u8;
    key[0] = key[10] / 2;
    key
}

fn prefix(rng: &mut Rng) -> Vec<u8> {
    // Few bytes, so that prefixes nest; 33 and more bits are refused.
    let mut key = (rng.pick(&[0, 1, 7, 8, 9, 15, 16, 20, 24, 31, 32, 33, 40]) as u32)
        .to_le_bytes()
        .to_vec();
    for _ in 0..4 {
        key.push(rng.pick(&[0, 1, 0x80, 0xff]));
    }
    key
}

/// Runs random operations on both and compares after each.
fn compare(
    def: &MapDef,
    seed: u64,
    keys: KeyMaker,
    value: impl Fn(&mut Rng, usize) -> (Vec<u8>, Vec<u8>),
) {
    let theirs = KernelMap::new(def, None).unwrap();
    compare_with(def, seed, keys, value, &theirs);
}

fn compare_with(
    def: &MapDef,
    seed: u64,
    keys: KeyMaker,
    value: impl Fn(&mut Rng, usize) -> (Vec<u8>, Vec<u8>),
    theirs: &KernelMap,
) {
    let ours = Map::new(def, kernel::possible_cpus()).unwrap();
    assert_eq!(ours.host_value_size(), theirs.value_bytes);
    let mut rng = Rng(seed);
    let keyless = def.key_size == 0;
    let operations = if matches!(
        def.kind,
        MapType::ProgArray
            | MapType::ArrayOfMaps
            | MapType::HashOfMaps
            | MapType::Devmap
            | MapType::DevmapHash
            | MapType::Cpumap
            | MapType::Xskmap
    ) {
        SLOW_OPERATIONS
    } else {
        OPERATIONS
    };
    for i in 0..operations {
        let key = if keyless { Vec::new() } else { keys(&mut rng) };
        let what = rng.below(10);
        let context = || format!("{} operation {i} ({what}) key {key:x?}", def.kind);
        match what {
            0..=4 => {
                let (mine, kernels) = value(&mut rng, theirs.value_bytes);
                let flags = rng.pick(&[0, 0, 0, 0, 0, 1, 2, 2, 3, 4, 5, 8, 1 << 40]);
                let a = number(ours.host_update(&key, &mine, flags));
                let b = theirs.update(&key, &kernels, flags);
                assert_eq!(a, b, "update, flags {flags}: {}", context());
            }
            5 | 6 => {
                let a = number(ours.host_delete(&key));
                let b = theirs.delete(&key);
                assert_eq!(a, b, "delete: {}", context());
            }
            7 => {
                let a = number(ours.host_take(&key));
                let b = theirs.take(&key);
                assert_eq!(a, b, "take: {}", context());
            }
            _ => {
                let a = number(ours.host_lookup(&key));
                let b = theirs.lookup(&key);
                assert_eq!(a, b, "lookup: {}", context());
            }
        }
    }
    if !keyless {
        let mut mine = ours.host_keys();
        mine.sort_unstable();
        // Linux lists every index of an array of things, present or not.
        let all = theirs.keys(def.key_size as usize);
        let present: Vec<_> = all
            .into_iter()
            .filter(|key| !matches!(theirs.lookup(key), Err(2)))
            .collect();
        if !matches!(def.kind, MapType::Xskmap | MapType::PerfEventArray) {
            assert_eq!(mine, present, "{}", def.kind);
        }
        for key in &mine {
            assert_eq!(number(ours.host_lookup(key)), theirs.lookup(key));
        }
    }
}

/// The same random bytes for both, with the padding of per-CPU values zero.
fn plain(rng: &mut Rng, size: usize) -> (Vec<u8>, Vec<u8>) {
    let bytes = rng.bytes(size);
    (bytes.clone(), bytes)
}

/// Per-CPU values of 5 bytes: the kernel gives the padding back as zero.
fn padded5(rng: &mut Rng, size: usize) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = rng.bytes(size);
    for value in bytes.chunks_mut(8) {
        value[5..].fill(0);
    }
    (bytes.clone(), bytes)
}

#[test]
fn arrays() {
    if !kernel::available() {
        return;
    }
    compare(&def(MapType::Array, 4, 13, 16), 1, index, plain);
    compare(&def(MapType::PercpuArray, 4, 5, 16), 2, index, padded5);
}

#[test]
fn hashes() {
    if !kernel::available() {
        return;
    }
    compare(&def(MapType::Hash, 11, 13, 16), 3, free_key, plain);
    compare(&def(MapType::PercpuHash, 11, 5, 16), 4, free_key, padded5);
    let lazy = MapDef {
        flags: 1,
        ..def(MapType::Hash, 11, 13, 16)
    };
    compare(&lazy, 5, free_key, plain);
}

/// Linux evicts in batches and by CPU, so only maps far from full can agree.
#[test]
fn lru_hashes_that_are_not_full() {
    if !kernel::available() {
        return;
    }
    compare(&def(MapType::LruHash, 11, 13, 5000), 6, free_key, plain);
    compare(
        &def(MapType::LruPercpuHash, 11, 5, 5000),
        7,
        free_key,
        padded5,
    );
}

#[test]
fn prefixes() {
    if !kernel::available() {
        return;
    }
    for max_entries in [8, 1000] {
        let def = MapDef {
            flags: 1,
            ..def(MapType::LpmTrie, 8, 6, max_entries)
        };
        compare(&def, 8, prefix, plain);
    }
}

#[test]
fn queues_and_stacks() {
    if !kernel::available() {
        return;
    }
    compare(&def(MapType::Queue, 0, 12, 5), 9, index, plain);
    compare(&def(MapType::Stack, 0, 12, 5), 10, index, plain);
}

/// With the same seed Linux says "maybe" of the same values that nobody pushed.
#[test]
fn bloom_filters() {
    if !kernel::available() {
        return;
    }
    // Bytes of a value, elements, hashes.
    for (value_size, entries, extra) in [
        (4, 20, 0),
        (1, 60, 1),
        (12, 300, 15),
        (13, 40, 3),
        (24, 1, 2),
        (25, 700, 0),
        (8, 13, 4),
    ] {
        let def = MapDef {
            flags: 1 << 6,
            extra,
            ..def(MapType::BloomFilter, 0, value_size, entries)
        };
        let theirs = KernelMap::new(&def, None).unwrap();
        let ours = Map::new(&def, 1).unwrap();
        let mut rng = Rng(21 + u64::from(value_size));
        let (mut yes, mut no) = (0, 0);
        for _ in 0..OPERATIONS {
            let mut value = vec![0; value_size as usize];
            let random = rng.below(u64::from(4 * entries)).to_le_bytes();
            let shown = value.len().min(8);
            value[..shown].copy_from_slice(&random[..shown]);
            value[shown - 1] ^= random[0];
            if rng.below(8) == 0 {
                let flags = rng.pick(&[0, 0, 0, 0, 1, 2, 3, 4, 8, 1 << 40]);
                let a = number(ours.host_update(&[], &value, flags));
                assert_eq!(a, theirs.update(&[], &value, flags), "{def:?} {flags}");
            } else {
                let a = number(ours.host_lookup(&value)).map(|_| ());
                assert_eq!(a, theirs.ask(&value), "{def:?} {value:x?}");
                if a.is_ok() {
                    yes += 1;
                } else {
                    no += 1;
                }
            }
        }
        assert!(yes > 50, "{def:?}: {yes} of {}", yes + no);
        assert_eq!(number(ours.host_delete(&[])), theirs.delete(&[]));
        assert_eq!(number(ours.host_take(&[])), theirs.take(&[]));
        assert_eq!(ours.host_keys(), theirs.keys(0));
        for value in ours.host_values() {
            assert_eq!(theirs.ask(&value), Ok(()));
        }
    }
}

#[test]
fn targets() {
    if !kernel::available() {
        return;
    }
    let ports = |rng: &mut Rng, size: usize| {
        let mut bytes = vec![0; size];
        bytes[0] = rng.below(2) as u8;
        (bytes.clone(), bytes)
    };
    compare(&def(MapType::Devmap, 4, 4, 16), 11, index, ports);
    compare(&def(MapType::Devmap, 4, 8, 16), 12, index, ports);
    compare(&def(MapType::DevmapHash, 4, 4, 8), 13, index, ports);
    compare(&def(MapType::DevmapHash, 4, 8, 8), 14, index, ports);
    let sizes = |rng: &mut Rng, size: usize| {
        let mut bytes = vec![0; size];
        let entries = rng.pick(&[0u32, 1, 64, 192, 16384, 16385, 1 << 30]);
        bytes[..4].copy_from_slice(&entries.to_le_bytes());
        (bytes.clone(), bytes)
    };
    let cpu = |rng: &mut Rng| {
        let cpus = u64::from(kernel::possible_cpus());
        // Index 15 is past the map, not only past the CPUs.
        let index = if rng.below(8) == 0 {
            15
        } else {
            rng.below(cpus)
        };
        (index as u32).to_le_bytes().to_vec()
    };
    let cpus = kernel::possible_cpus().min(8);
    compare(&def(MapType::Cpumap, 4, 4, cpus), 15, cpu, sizes);
    compare(&def(MapType::Cpumap, 4, 8, cpus), 16, cpu, sizes);
    let sockets = [kernel::xdp_socket(), kernel::xdp_socket()];
    let socket = |rng: &mut Rng, _: usize| {
        let which = rng.below(2) as usize;
        (
            vec![7 + which as u8, 0, 0, 0],
            sockets[which].as_raw_fd().to_le_bytes().to_vec(),
        )
    };
    compare(&def(MapType::Xskmap, 4, 4, 16), 17, index, socket);
}

#[test]
fn programs_and_inner_maps() {
    if !kernel::available() {
        return;
    }
    // r0 = 2; exit
    let program = KernelProgram::load(&[0x0000_0002_0000_00b7, 0x95]).unwrap();
    let id = kernel::id_of(program.raw(), 4);
    let programs = |_: &mut Rng, _: usize| {
        (
            id.to_le_bytes().to_vec(),
            program.raw().to_le_bytes().to_vec(),
        )
    };
    compare(&def(MapType::ProgArray, 4, 4, 16), 18, index, programs);

    let inner = KernelMap::new(&def(MapType::Array, 4, 8, 3), None).unwrap();
    let id = inner.id();
    let maps = |_: &mut Rng, _: usize| {
        (
            id.to_le_bytes().to_vec(),
            inner.raw().to_le_bytes().to_vec(),
        )
    };
    for def in [
        def(MapType::ArrayOfMaps, 4, 4, 16),
        def(MapType::HashOfMaps, 11, 4, 16),
    ] {
        let theirs = KernelMap::new(&def, Some(&inner)).unwrap();
        let keys = if def.key_size == 4 { index } else { free_key };
        compare_with(&def, 19, keys, maps, &theirs);
    }
}

#[test]
fn rings_take_nothing_from_the_host() {
    if !kernel::available() {
        return;
    }
    let def = def(MapType::Ringbuf, 0, 0, 4096);
    let theirs = KernelMap::new(&def, None).unwrap();
    let ours = Map::new(&def, 1).unwrap();
    // The kernel answers before it looks at the key, which is there but has no size.
    assert_eq!(number(ours.host_lookup(&[])), theirs.lookup(&[]));
    assert_eq!(
        number(ours.host_update(&[], &[], 0)),
        theirs.update(&[], &[0], 0)
    );
    assert_eq!(number(ours.host_delete(&[])), theirs.delete(&[]));
}

/// Which definitions can be created at all.
#[test]
fn sizes_and_flags() {
    if !kernel::available() {
        return;
    }
    let program_like = [MapType::ArrayOfMaps, MapType::HashOfMaps];
    let inner = KernelMap::new(&def(MapType::Array, 4, 8, 3), None).unwrap();
    let mut compared = 0;
    for kind in MapType::ALL.iter().copied() {
        if matches!(
            Map::new(&def(kind, 4, 4, 4), 1),
            Err(bpf::map::MapError::Type { .. })
        ) {
            continue;
        }
        let mut check = |key_size, value_size, max_entries, flags| {
            let def = MapDef {
                flags,
                ..def(kind, key_size, value_size, max_entries)
            };
            let inner = program_like.contains(&kind).then_some(&inner);
            let ours = Map::new(&def, 1).map(|_| ()).map_err(|e| e.to_string());
            let theirs = KernelMap::new(&def, inner).map(|_| ());
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{def:?}: {ours:?} {theirs:?}");
            compared += 1;
        };
        for key_size in [0, 1, 4, 5, 8, 260, 261, 600] {
            for value_size in [0, 1, 4, 8, 12, 32768, 32769] {
                for max_entries in [0, 1, 3] {
                    for flags in [0, 1] {
                        check(key_size, value_size, max_entries, flags);
                    }
                }
            }
        }
        for max_entries in [2048, 4096, 4097, 8192] {
            if kind != MapType::Cpumap {
                check(0, 0, max_entries, 0);
                check(0, 4, max_entries, 0);
                check(4, 4, max_entries, 0);
            }
        }
        for (key_size, value_size) in [(0, 0), (0, 4), (4, 4), (8, 4)] {
            for bit in (0..14).chain([20, 31]) {
                for with in [0, 1, 8, 16, 128, 256] {
                    check(key_size, value_size, 4, 1 << bit | with);
                    if kind != MapType::Cpumap {
                        check(key_size, value_size, 4096, 1 << bit | with);
                    }
                }
            }
        }
    }
    assert!(compared > 5000, "{compared}");
    for kind in [MapType::BloomFilter, MapType::Queue, MapType::Stack] {
        for extra in [0, 1, 5, 15, 16, 17, 1 << 32] {
            let def = MapDef {
                extra,
                ..def(kind, 0, 4, 4)
            };
            let (ours, theirs) = (Map::new(&def, 1), KernelMap::new(&def, None));
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{def:?}");
        }
    }
}
