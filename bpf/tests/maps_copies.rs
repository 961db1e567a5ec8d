//! Copies of maps: what a chunk is redone from. And maps in memory shared with another process,
//! maps too large, and lookups beside changes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};

use bpf::map::{Map, MapDef, MapError, MapType, Placement};

fn def(kind: MapType) -> MapDef {
    let (key_size, value_size, max_entries) = match kind {
        MapType::Queue | MapType::Stack | MapType::BloomFilter => (0, 8, 12),
        MapType::Ringbuf => (0, 0, 4096),
        MapType::LpmTrie => (8, 8, 12),
        MapType::ProgArray | MapType::ArrayOfMaps | MapType::HashOfMaps | MapType::Xskmap => {
            (4, 4, 12)
        }
        _ => (4, 8, 12),
    };
    MapDef {
        key_size,
        value_size,
        max_entries,
        flags: u32::from(kind == MapType::LpmTrie),
        ..MapDef::new("m", kind)
    }
}

const KINDS: [MapType; 18] = [
    MapType::Array,
    MapType::PercpuArray,
    MapType::Hash,
    MapType::PercpuHash,
    MapType::LruHash,
    MapType::LruPercpuHash,
    MapType::LpmTrie,
    MapType::Queue,
    MapType::Stack,
    MapType::BloomFilter,
    MapType::Ringbuf,
    MapType::ProgArray,
    MapType::ArrayOfMaps,
    MapType::HashOfMaps,
    MapType::Devmap,
    MapType::DevmapHash,
    MapType::Cpumap,
    MapType::Xskmap,
];

/// The tests' own numbers (SplitMix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Random operations; everything that they gave, as text.
fn operate(map: &Map, seed: u64, count: usize) -> Vec<String> {
    let mut rng = Rng(seed);
    let def = map.def();
    let mut seen = Vec::new();
    for _ in 0..count {
        let mut key = vec![0; def.key_size as usize];
        if let Some(first) = key.first_mut() {
            // Of a prefix this is the length: 0 to 15 bits of what follows.
            *first = rng.below(16) as u8;
        }
        if let Some(fifth) = key.get_mut(4) {
            *fifth = rng.below(4) as u8 * 64;
        }
        let mut value = vec![0; def.value_size as usize];
        if let Some(first) = value.first_mut() {
            *first = 1 + rng.below(200) as u8;
        }
        let cpu = rng.below(3) as u32;
        seen.push(match rng.below(8) {
            0..3 => format!("{:?}", map.update(&key, &value, 0, cpu)),
            3 => format!("{:?}", map.delete(&key, cpu)),
            4 => {
                let mut out = vec![0; value.len()];
                format!("{:?} {out:?}", map.pop(&mut out, cpu))
            }
            5 => {
                let record = map.reserve(16 + rng.below(900), cpu);
                record.map_or("no room".to_owned(), |at| {
                    map.memory().store(at.0, 8, rng.below(1 << 40));
                    format!("{at:?} {:?}", map.finish(at, rng.below(4) == 0))
                })
            }
            6 if rng.below(3) == 0 => {
                let mut records = Vec::new();
                map.drain(cpu, |bytes| records.push(bytes.to_vec()));
                format!("{records:x?} {}", map.ring_query(3, cpu))
            }
            _ => match map.lookup(&key, cpu) {
                Some(at) => {
                    let value = map.memory().load(at.0, 1);
                    map.memory().store(at.0, 1, rng.below(256));
                    format!("{value:?}")
                }
                None => "none".to_owned(),
            },
        });
    }
    let keys = map.host_keys();
    let values: Vec<_> = keys.iter().map(|key| map.host_lookup(key)).collect();
    seen.push(format!("{keys:?} {values:?} {:?}", map.host_values()));
    seen
}

#[test]
fn what_follows_a_restored_copy_is_what_followed_the_first_time() {
    for kind in KINDS {
        for round in 0..40 {
            for placement in [Placement::Private, Placement::Shared] {
                let map = Map::placed(&def(kind), 3, placement).unwrap();
                operate(&map, round, 60);
                let copy = map.snapshot().unwrap();
                let first = operate(&map, 1000 + round, 80);
                assert!(map.copy_from(&copy));
                assert_eq!(operate(&map, 1000 + round, 80), first, "{kind}");
                // The copy is a map of its own, and was not touched.
                assert_eq!(operate(&copy, 1000 + round, 80), first, "{kind}");
            }
        }
    }
}

#[test]
fn a_map_of_two_to_the_forty_bytes_is_an_error_not_an_allocation() {
    for kind in [
        MapType::Array,
        MapType::Hash,
        MapType::Queue,
        MapType::PercpuArray,
    ] {
        let huge = MapDef {
            value_size: 1 << 12,
            max_entries: 1 << 28,
            ..def(kind)
        };
        let error = Map::new(&huge, 8).err().unwrap();
        assert!(matches!(error, MapError::Memory { .. }), "{error}");
    }
}

#[test]
fn a_large_map_costs_only_what_is_touched() {
    let resident = || -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let before = resident();
    let large = MapDef {
        value_size: 1 << 10,
        max_entries: 1 << 20,
        ..def(MapType::Array)
    };
    let map = Map::new(&large, 1).unwrap();
    map.update(&77u32.to_le_bytes(), &[1; 1 << 10], 0, 0)
        .unwrap();
    // Of 1 GiB less than 16 MiB, whatever other tests do meanwhile.
    assert!(resident().saturating_sub(before) < 4096);
}

#[test]
fn keys_that_stay_are_found_while_others_come_and_go() {
    for kind in [
        MapType::Hash,
        MapType::LruHash,
        MapType::PercpuHash,
        MapType::LpmTrie,
    ] {
        let map = Map::new(
            &MapDef {
                key_size: 8,
                max_entries: 300,
                ..def(kind)
            },
            2,
        )
        .unwrap();
        // As a prefix: 64 - 32 = 32 bits of data, all of them.
        let key = |k: u32| {
            let mut key = 32u32.to_le_bytes().to_vec();
            key.extend(k.to_le_bytes());
            key
        };
        for k in 0..50 {
            let value: Vec<u8> = u64::from(k).to_le_bytes().repeat(map.host_value_size() / 8);
            map.host_update(&key(k), &value, 0).unwrap();
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (map, done, key) = (&map, &done, &key);
            scope.spawn(move || {
                for round in 0..20_000u32 {
                    let k = 100 + round % 200;
                    map.update(&key(k), &[0xff; 8], 0, 0).unwrap();
                    map.delete(&key(100 + (round * 7) % 200), 0).ok();
                }
                done.store(true, Ordering::Relaxed);
            });
            scope.spawn(move || {
                let mut looked = 0u32;
                while !done.load(Ordering::Relaxed) || looked < 1000 {
                    let k = looked % 50;
                    let at = map.lookup(&key(k), 1).unwrap();
                    assert_eq!(map.memory().load(at.0, 8), Some(u64::from(k)), "{kind}");
                    looked += 1;
                }
            });
        });
    }
}
