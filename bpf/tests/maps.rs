//! What maps promise beyond what the kernel can be asked: stable values, eviction order, many
//! threads.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use bpf::map::{Errno, Map, MapDef, MapType};

fn map(kind: MapType, key_size: u32, value_size: u32, max_entries: u32, cpus: u32) -> Map {
    let def = MapDef {
        key_size,
        value_size,
        max_entries,
        ..MapDef::new("m", kind)
    };
    Map::new(&def, cpus).unwrap()
}

#[test]
fn an_lru_map_evicts_the_least_recently_used() {
    let m = map(MapType::LruHash, 4, 8, 3, 1);
    for key in 1..=3u32 {
        m.update(&key.to_le_bytes(), &[key as u8; 8], 0, 0).unwrap();
    }
    assert!(m.lookup(&1u32.to_le_bytes(), 0).is_some());
    m.update(&4u32.to_le_bytes(), &[4; 8], 0, 0).unwrap();
    assert!(m.lookup(&2u32.to_le_bytes(), 0).is_none());
    for key in [1u32, 3, 4] {
        let at = m.lookup(&key.to_le_bytes(), 0).unwrap();
        assert_eq!(m.memory().load(at.0, 1), Some(u64::from(key)));
    }
}

#[test]
fn uses_of_queues_that_ran_side_by_side_settle_in_packet_order() {
    let m = map(MapType::LruHash, 4, 8, 2, 2);
    let (a, b, c) = (1u32.to_le_bytes(), 2u32.to_le_bytes(), 3u32.to_le_bytes());
    m.set_packet(1, 11);
    m.update(&b, &[0; 8], 0, 1).unwrap();
    m.set_packet(0, 10);
    m.update(&a, &[0; 8], 0, 0).unwrap();
    m.settle(10);
    m.set_packet(0, 12);
    m.update(&c, &[0; 8], 0, 0).unwrap();
    // Packet 10's key is the oldest, though its queue ran last.
    assert!(m.lookup(&a, 0).is_none());
    assert!(m.lookup(&b, 0).is_some());
}

#[test]
fn a_queue_that_is_behind_does_not_move_what_a_later_packet_used() {
    let m = map(MapType::LruHash, 4, 8, 2, 2);
    let (a, b, c) = (1u32.to_le_bytes(), 2u32.to_le_bytes(), 3u32.to_le_bytes());
    for key in [a, b] {
        m.update(&key, &[0; 8], 0, 0).unwrap();
    }
    // Packet 10 uses a, then b; only then packet 5 uses a.
    m.set_packet(1, 10);
    assert!(m.lookup(&a, 1).is_some());
    assert!(m.lookup(&b, 1).is_some());
    m.set_packet(0, 5);
    assert!(m.lookup(&a, 0).is_some());
    m.settle(5);
    m.set_packet(0, 12);
    m.update(&c, &[0; 8], 0, 0).unwrap();
    assert!(m.lookup(&a, 0).is_none());
    assert!(m.lookup(&b, 0).is_some());
}

#[test]
fn every_cpu_has_its_own_value() {
    for kind in [
        MapType::PercpuArray,
        MapType::PercpuHash,
        MapType::LruPercpuHash,
    ] {
        let m = map(kind, 4, 4, 2, 3);
        let key = 1u32.to_le_bytes();
        m.update(&key, &[7; 4], 0, 1).unwrap();
        let values: Vec<_> = (0..3)
            .map(|cpu| m.memory().load(m.lookup(&key, cpu).unwrap().0, 4).unwrap())
            .collect();
        assert_eq!(values, [0, 0x0707_0707, 0]);
        assert!(m.lookup(&key, 3).is_none());
    }
}

#[test]
fn threads_on_one_hash_map_lose_nothing() {
    let m = map(MapType::Hash, 8, 8, 1000, 4);
    std::thread::scope(|scope| {
        for t in 0..4u64 {
            let m = &m;
            scope.spawn(move || {
                for round in 0..20u64 {
                    for i in 0..200u64 {
                        let key = (t << 32 | i).to_le_bytes();
                        m.update(&key, &(round + i).to_le_bytes(), 0, t as u32)
                            .unwrap();
                        let at = m.lookup(&key, t as u32).unwrap();
                        assert_eq!(m.memory().load(at.0, 8), Some(round + i));
                        if round % 2 == 1 {
                            m.delete(&key, t as u32).unwrap();
                            assert_eq!(m.delete(&key, t as u32), Err(Errno::Enoent));
                        }
                    }
                }
            });
        }
    });
}
