//! Watched maps: what is a conflict, and that without one the order between queues did not
//! matter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bpf::map::{Errno, Map, MapDef, MapType};

fn watched(kind: MapType, max_entries: u32, lookups_write: bool) -> Map {
    let (key_size, value_size) = match kind {
        MapType::Queue | MapType::Stack | MapType::BloomFilter => (0, 8),
        MapType::LpmTrie => (8, 8),
        _ => (4, 8),
    };
    let def = MapDef {
        key_size,
        value_size,
        max_entries,
        flags: u32::from(kind == MapType::LpmTrie),
        ..MapDef::new("m", kind)
    };
    let map = Map::new(&def, 3).unwrap();
    map.watch(lookups_write).unwrap();
    map
}

fn key(k: u32) -> [u8; 4] {
    k.to_le_bytes()
}

const V: [u8; 8] = [7; 8];

#[test]
fn queues_that_touch_different_keys_do_not_conflict() {
    for kind in [MapType::Hash, MapType::LruHash, MapType::Array] {
        let map = watched(kind, 100, true);
        map.begin_chunk();
        for queue in 0..3 {
            for k in 0..10 {
                let k = key(queue * 30 + k);
                map.update(&k, &V, 0, queue).unwrap();
                assert!(map.lookup(&k, queue).is_some());
                let _ = map.delete(&k, queue);
            }
        }
        assert!(!map.conflicts(), "{kind}");
    }
}

#[test]
fn a_key_that_several_read_is_shared_until_one_may_write() {
    for kind in [MapType::Hash, MapType::LruHash, MapType::Array] {
        for lookups_write in [false, true] {
            let map = watched(kind, 10, lookups_write);
            map.host_update(&key(1), &V, 0).unwrap();
            map.begin_chunk();
            map.lookup(&key(1), 0);
            map.lookup(&key(1), 1);
            assert_eq!(map.conflicts(), lookups_write, "{kind}");
            map.begin_chunk();
            assert!(!map.conflicts());
            map.lookup(&key(1), 0);
            map.update(&key(1), &V, 0, 1).unwrap();
            assert!(map.conflicts(), "{kind}");
        }
    }
}

#[test]
fn presence_is_watched_too() {
    for kind in [MapType::Hash, MapType::LruHash, MapType::PercpuHash] {
        // A miss of one queue, an insertion of the other, in both orders.
        let map = watched(kind, 10, false);
        map.begin_chunk();
        assert!(map.lookup(&key(1), 0).is_none());
        map.update(&key(1), &V, 0, 1).unwrap();
        assert!(map.conflicts(), "{kind}");
        map.host_delete(&key(1)).unwrap();
        map.begin_chunk();
        map.update(&key(1), &V, 0, 1).unwrap();
        assert!(map.lookup(&key(1), 0).is_some());
        assert!(map.conflicts(), "{kind}");
        // A deletion and a miss, though the entry serves another key by then.
        map.begin_chunk();
        map.delete(&key(1), 1).unwrap();
        map.update(&key(2), &V, 0, 1).unwrap();
        assert!(!map.conflicts(), "{kind}");
        assert!(map.lookup(&key(1), 0).is_none());
        assert!(map.conflicts(), "{kind}");
        // Two that insert only if it is not there.
        map.begin_chunk();
        map.update(&key(5), &V, 1, 0).unwrap();
        assert_eq!(map.update(&key(5), &V, 1, 1), Err(Errno::Eexist));
        assert!(map.conflicts(), "{kind}");
    }
}

#[test]
fn values_of_each_cpu_are_its_own() {
    let map = watched(MapType::PercpuHash, 10, true);
    map.host_update(&key(1), &[0; 24], 0).unwrap();
    map.begin_chunk();
    for queue in 0..3 {
        map.update(&key(1), &V, 0, queue).unwrap();
        map.lookup(&key(1), queue);
    }
    assert!(!map.conflicts());
    let array = watched(MapType::PercpuArray, 10, true);
    array.begin_chunk();
    for queue in 0..3 {
        array.update(&key(1), &V, 0, queue).unwrap();
        array.lookup(&key(1), queue);
    }
    assert!(!array.conflicts());
    array.note_conflict();
    assert!(array.conflicts());
}

#[test]
fn prefixes_queues_and_stacks_are_one_cell() {
    let prefix = [8, 0, 0, 0, 10, 0, 0, 0];
    let map = watched(MapType::LpmTrie, 10, false);
    map.begin_chunk();
    map.lookup(&prefix, 0);
    map.lookup(&prefix, 1);
    assert!(!map.conflicts());
    map.update(&prefix, &V, 0, 0).unwrap();
    assert!(map.conflicts());
    for kind in [MapType::Queue, MapType::Stack] {
        let map = watched(kind, 10, false);
        map.begin_chunk();
        map.push(&V, 0, 2).unwrap();
        map.pop(&mut [0; 8], 2).unwrap();
        assert!(!map.conflicts());
        map.push(&V, 0, 1).unwrap();
        assert!(map.conflicts());
    }
}

#[test]
fn bloom_filters_are_watched_as_a_whole() {
    let map = watched(MapType::BloomFilter, 10, false);
    map.begin_chunk();
    for cpu in 0..2 {
        assert_eq!(map.peek(&mut V.clone(), cpu), Err(Errno::Enoent));
    }
    assert!(!map.conflicts());
    map.push(&V, 0, 1).unwrap();
    assert!(map.conflicts());
}

#[test]
fn eviction_is_a_conflict() {
    let map = watched(MapType::LruHash, 2, false);
    map.begin_chunk();
    for k in 0..3 {
        assert!(!map.conflicts());
        map.update(&key(k), &V, 0, 0).unwrap();
    }
    assert!(map.conflicts());
}

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

/// One queue's operation on one key.
#[derive(Clone, Copy, Debug)]
enum Op {
    Read(u32),
    Add(u32),
    Update(u32, u64),
    Delete(u32),
}

/// Runs one operation and says what the program saw of it.
fn run(map: &Map, op: Op, queue: u32) -> u64 {
    match op {
        Op::Read(k) => map
            .lookup(&key(k), queue)
            .map_or(u64::MAX, |at| map.memory().load(at.0, 8).unwrap()),
        Op::Add(k) => map.lookup(&key(k), queue).map_or(u64::MAX, |at| {
            let value = map.memory().load(at.0, 8).unwrap() + 1;
            map.memory().store(at.0, 8, value).unwrap();
            value
        }),
        Op::Update(k, flags) => match map.update(&key(k), &[3; 8], flags, queue) {
            Ok(()) => 0,
            Err(errno) => errno.to_r0(),
        },
        Op::Delete(k) => match map.delete(&key(k), queue) {
            Ok(()) => 0,
            Err(errno) => errno.to_r0(),
        },
    }
}

/// What each queue saw, the contents at the end, and whether there was a conflict.
type Course = (Vec<Vec<u64>>, Vec<(Vec<u8>, Vec<u8>)>, bool);

/// Runs what each queue does in a random order between queues.
fn run_all(kind: MapType, writes: bool, ops: &[Vec<Op>; 3], rng: &mut Rng) -> Course {
    let map = watched(kind, 6, writes);
    for k in [0, 3, 6] {
        if (k as usize) < 6 {
            let value = vec![1; map.host_value_size()];
            map.host_update(&key(k), &value, 0).unwrap();
        }
    }
    map.begin_chunk();
    let mut seen = vec![Vec::new(); 3];
    let mut at = [0; 3];
    while at.iter().zip(ops).any(|(at, ops)| *at < ops.len()) {
        let queue = rng.below(3) as usize;
        if let Some(op) = ops[queue].get(at[queue]) {
            seen[queue].push(run(&map, *op, queue as u32));
            at[queue] += 1;
        }
    }
    let contents = map
        .host_keys()
        .into_iter()
        .map(|key| {
            let value = map.host_lookup(&key).unwrap();
            (key, value)
        })
        .collect();
    (seen, contents, map.conflicts())
}

#[test]
fn without_a_conflict_every_order_gives_the_same() {
    let mut rng = Rng(1);
    let mut quiet = 0;
    let mut loud = 0;
    for round in 0..30_000 {
        let kind = [
            MapType::Hash,
            MapType::LruHash,
            MapType::Array,
            MapType::PercpuHash,
        ][round % 4];
        let writes = rng.below(2) == 0;
        let deletes = rng.below(2) == 0;
        let ops: [Vec<Op>; 3] = std::array::from_fn(|queue| {
            (0..=rng.below(5))
                .map(|_| {
                    // Mostly keys of the queue's own, so that many runs are free of conflicts.
                    let k = if rng.below(12) == 0 {
                        rng.below(9) as u32
                    } else {
                        queue as u32 * 3 + rng.below(3) as u32
                    };
                    match rng.below(4) {
                        0 if writes => Op::Add(k),
                        1 => Op::Update(k, rng.below(3)),
                        2 if deletes => Op::Delete(k),
                        _ => Op::Read(k),
                    }
                })
                .collect()
        });
        let (seen, contents, conflict) = run_all(kind, writes, &ops, &mut rng);
        if conflict {
            loud += 1;
            continue;
        }
        quiet += 1;
        for _ in 0..3 {
            let (seen2, contents2, conflict2) = run_all(kind, writes, &ops, &mut rng);
            assert_eq!(seen, seen2, "{kind} {ops:?}");
            assert_eq!(contents, contents2, "{kind} {ops:?}");
            assert!(!conflict2, "{kind} {ops:?}");
        }
    }
    assert!(quiet > 3000 && loud > 3000, "{quiet} quiet, {loud} loud");
}

#[test]
fn a_paused_watch_marks_nothing_until_the_next_chunk() {
    let map = watched(MapType::Hash, 10, true);
    map.begin_chunk();
    map.update(&key(1), &V, 0, 0).unwrap();
    map.pause_watch();
    map.update(&key(1), &V, 0, 1).unwrap();
    map.delete(&key(1), 2).unwrap();
    assert!(!map.conflicts());
    map.begin_chunk();
    map.update(&key(1), &V, 0, 0).unwrap();
    map.update(&key(1), &V, 0, 1).unwrap();
    assert!(map.conflicts());
}
