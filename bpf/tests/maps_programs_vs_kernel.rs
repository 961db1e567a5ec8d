//! Maps that user space and a program change in turn, against Linux: after each step both sides
//! hold the same and have answered the same.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod calls;
mod kernel;
mod machine;

use bpf::map::{Errno, Map, MapDef, MapType};
use calls::{A, Call, Pair, SCRATCH, SIZE, here, program};
use kernel::{KernelMap, KernelProgram, Rng};
use machine::TestMachine;

/// Turns of a sequence: a few calls of user space, then a program of several calls.
const TURNS: usize = 25;
/// Where keys and values lie in the program's memory.
const VALUES: u64 = SCRATCH + 256;

fn number<T>(result: Result<T, Errno>) -> Result<T, i64> {
    result.map_err(Errno::number)
}

/// `BPF_F_*` of linux/bpf.h.
const NO_PREALLOC: u32 = 1;
const NO_COMMON_LRU: u32 = 2;
const ZERO_SEED: u32 = 1 << 6;
const RDONLY_PROG: u32 = 1 << 7;
const WRONLY_PROG: u32 = 1 << 8;

/// Keys of a map, so few that they hit, miss, fill it and lie outside.
fn key(def: &MapDef, which: u64) -> Vec<u8> {
    let mut key = vec![0; def.key_size as usize];
    match def.kind {
        MapType::Queue | MapType::Stack | MapType::BloomFilter => {}
        MapType::LpmTrie => {
            // Prefixes of 0 to 35 bits that nest; a trie of 4 bytes refuses more than 32.
            key[0] = [0, 8, 9, 16, 24, 31, 32, 33, 35][which as usize % 9];
            key[4] = [0, 0x80, 0xff][which as usize % 3];
        }
        _ => key[0] = which as u8,
    }
    key
}

fn call(def: &MapDef, rng: &mut Rng) -> Call {
    let key = A::M(SCRATCH + 16 * rng.below(12));
    let value = A::M(VALUES + 8 * rng.below(60));
    let flags = A::N(rng.pick(&[0, 0, 0, 0, 1, 2, 3, 4, 8, 1 << 32]));
    let map = A::Map(0);
    if def.key_size == 0 {
        return match rng.below(5) {
            0 if def.kind == MapType::BloomFilter => (89, vec![map, value]),
            0 => (88, vec![map, value]),
            1 => (89, vec![map, value]),
            _ => (87, vec![map, value, flags]),
        };
    }
    match rng.below(4) {
        0 if !matches!(def.kind, MapType::Array | MapType::PercpuArray) => (3, vec![map, key]),
        _ => (2, vec![map, key, value, flags]),
    }
}

fn sequence(def: &MapDef, seed: u64) {
    let mut rng = Rng(seed);
    let mut machine = TestMachine::new(&[0; 60], SIZE);
    machine
        .maps
        .push(Map::new(def, kernel::possible_cpus()).unwrap());
    let pairs = [Pair {
        def: def.clone(),
        theirs: KernelMap::new(def, None).unwrap(),
    }];
    let programs_write = def.flags & 0x80 == 0;
    for turn in 0..TURNS {
        let theirs = &pairs[0].theirs;
        let ours = machine.maps.get(0).unwrap().clone();
        for _ in 0..6 {
            let key = key(def, rng.below(12));
            let what = rng.below(8);
            let context = || {
                format!(
                    "{} flags {:#x} turn {turn} ({what}) {key:x?}",
                    def.kind, def.flags
                )
            };
            match what {
                0..=3 => {
                    let mut value = rng.bytes(theirs.value_bytes);
                    // Between the values of CPUs Linux keeps what it is given; here is nothing.
                    if def.kind.is_percpu() {
                        value.chunks_mut(16).for_each(|part| part[12..].fill(0));
                    }
                    let flags = rng.pick(&[0, 0, 0, 1, 2, 3, 4, 8, 1 << 40]);
                    let (a, b) = (
                        ours.host_update(&key, &value, flags),
                        theirs.update(&key, &value, flags),
                    );
                    assert_eq!(number(a), b, "update, {flags}: {}", context());
                }
                4 => assert_eq!(
                    number(ours.host_delete(&key)),
                    theirs.delete(&key),
                    "{}",
                    context()
                ),
                5 => assert_eq!(
                    number(ours.host_take(&key)),
                    theirs.take(&key),
                    "{}",
                    context()
                ),
                _ if def.kind == MapType::BloomFilter => {
                    // Some of what programs push: small numbers.
                    let value = [rng.below(4) as u8; 12];
                    let mine = number(ours.host_lookup(&value)).map(|_| ());
                    assert_eq!(mine, theirs.ask(&value), "{}", context());
                }
                _ => assert_eq!(
                    number(ours.host_lookup(&key)),
                    theirs.lookup(&key),
                    "{}",
                    context()
                ),
            }
        }
        if programs_write {
            let calls: Vec<Call> = (0..12).map(|_| call(def, &mut rng)).collect();
            let mut content = vec![0; 1024];
            for which in 0..12 {
                let key = key(def, which);
                content[16 * which as usize..16 * which as usize + key.len()].copy_from_slice(&key);
            }
            content[256..].copy_from_slice(&rng.bytes(768));
            machine.memory[..].fill(0);
            machine.memory[SCRATCH as usize..].copy_from_slice(&content);
            let memory = calls::pair(MapType::Array, 4, SIZE as u32, 1);
            memory.theirs.update(&[0; 4], &machine.memory, 0).unwrap();
            let loaded = KernelProgram::load(&program(&memory.theirs, &calls, &pairs));
            let loaded = loaded.unwrap_or_else(|(errno, log)| panic!("{def:?} {errno}\n{log}"));
            assert_eq!(loaded.run(&[0; 60]).unwrap().retval, 2);
            here(&mut machine, &calls);
            let kernels = memory.theirs.lookup(&[0; 4]).unwrap();
            let results = |bytes: &[u8]| -> Vec<i64> {
                let words = bytes[..8 * calls.len()].chunks_exact(8);
                words
                    .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
                    .collect()
            };
            assert_eq!(
                results(&machine.memory),
                results(&kernels),
                "{def:?} {calls:x?}"
            );
            assert!(machine.memory == kernels, "memory: {def:?} {calls:x?}");
        }
        if def.key_size > 0 {
            let mut mine = ours.host_keys();
            mine.sort_unstable();
            let present = theirs.keys(def.key_size as usize);
            assert_eq!(mine, present, "{def:?} turn {turn}");
            for key in &mine {
                assert_eq!(number(ours.host_lookup(key)), theirs.lookup(key), "{def:?}");
            }
        }
    }
}

fn def(kind: MapType, key_size: u32, max_entries: u32, flags: u32) -> MapDef {
    MapDef {
        key_size,
        value_size: 12,
        max_entries,
        flags,
        ..MapDef::new("m", kind)
    }
}

#[test]
fn user_space_and_programs_take_turns() {
    if !kernel::available() {
        return;
    }
    for seed in 0..12 {
        for (kind, key_size, entries, flags) in [
            (MapType::Array, 4, 6, 0),
            (MapType::PercpuArray, 4, 6, 0),
            (MapType::Hash, 8, 6, 0),
            (MapType::Hash, 8, 6, NO_PREALLOC),
            (MapType::Hash, 8, 6, ZERO_SEED),
            (MapType::PercpuHash, 8, 6, 0),
            (MapType::PercpuHash, 8, 6, NO_PREALLOC | ZERO_SEED),
            (MapType::LruHash, 8, 3000, 0),
            (MapType::LruHash, 8, 3000, NO_COMMON_LRU),
            (MapType::LruPercpuHash, 8, 3000, 0),
            (MapType::LruPercpuHash, 8, 3000, NO_COMMON_LRU | ZERO_SEED),
            (MapType::LpmTrie, 8, 6, NO_PREALLOC),
            (MapType::Queue, 0, 4, 0),
            (MapType::Stack, 0, 4, 0),
            // Of 64 bits, so that a good part of all values is found.
            (MapType::BloomFilter, 0, 4, ZERO_SEED),
        ] {
            sequence(&def(kind, key_size, entries, flags), seed);
        }
    }
}

/// Maps that programs may only read, or only write. (What user space may do, which
/// `BPF_F_RDONLY` and `BPF_F_WRONLY` say, is a right of its descriptor, not of the map.)
#[test]
fn rights_of_programs() {
    if !kernel::available() {
        return;
    }
    for seed in 0..6 {
        for flags in [RDONLY_PROG, WRONLY_PROG] {
            sequence(&def(MapType::Array, 4, 6, flags), seed);
            sequence(&def(MapType::Hash, 8, 6, flags), seed);
            sequence(&def(MapType::PercpuHash, 8, 6, flags), seed);
            sequence(&def(MapType::LruHash, 8, 3000, flags), seed);
            sequence(&def(MapType::LpmTrie, 8, 6, flags | 1), seed);
        }
    }
}
