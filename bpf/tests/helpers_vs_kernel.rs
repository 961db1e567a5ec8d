//! Every helper body against Linux: the same calls, once in an XDP program that the kernel runs
//! by BPF_PROG_TEST_RUN, once over a plain test machine, must give the same r0, the same memory
//! and the same packet.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod calls;
mod kernel;
mod machine;

use bpf::helper::Machine;
use bpf::map::{Map, MapType};
use calls::{A, Call, SCRATCH, SIZE, compare, here, pair, program};
use kernel::{KernelProgram, Rng, insn, wide};
use machine::{HANDLES, MEMORY, TestMachine};

fn frame(rng: &mut Rng) -> Vec<u8> {
    let len = rng.pick(&[14, 15, 60, 64, 300, 1500, 3519, 3520]);
    rng.bytes(len)
}

#[test]
fn the_packets_borders() {
    if !kernel::available() {
        return;
    }
    let mut rng = Rng(1);
    let offsets: &[i64] = &[
        0,
        1,
        -1,
        4,
        -4,
        8,
        -8,
        14,
        -14,
        20,
        -40,
        50,
        100,
        -100,
        -128,
        -212,
        212,
        -215,
        -216,
        -217,
        -252,
        -255,
        -256,
        300,
        1000,
        -1000,
        1500,
        3000,
        -3000,
        3460,
        3461,
        0x7fff_ffff,
        -0x8000_0000,
        0x1_0000_0004,
    ];
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let frame = frame(&mut rng);
        let content = rng.bytes(1024);
        let calls: Vec<Call> = (0..=rng.below(6))
            .map(|_| {
                let id = rng.pick(&[44, 54, 65, 188, 189, 190]);
                let args = match id {
                    44 | 54 | 65 => vec![A::Ctx, A::N(rng.pick(offsets) as u64)],
                    188 => vec![A::Ctx],
                    _ => {
                        let at =
                            rng.pick(&[0, 1, 13, 14, 50, 60, 300, 1499, 3500, 0xffff, 0x1_0000]);
                        let len = rng.pick(&[1, 2, 4, 14, 64, 100, 600]);
                        vec![A::Ctx, A::N(at), A::M(SCRATCH + 8), A::N(len)]
                    }
                };
                (id, args)
            })
            .collect();
        let (_, results) = compare(&frame, &content, &calls, &[]);
        seen.extend(calls.iter().map(|c| c.0).zip(results));
    }
    // Success and every error were met.
    for (id, result) in [
        (44, -22),
        (54, -22),
        (54, -13),
        (65, -22),
        (189, -22),
        (189, -14),
    ] {
        assert!(seen.contains(&(id, result)), "{id} {result}");
        assert!(seen.contains(&(id, 0)), "{id}");
    }
}

#[test]
fn checksums() {
    if !kernel::available() {
        return;
    }
    let mut rng = Rng(2);
    for round in 0..200 {
        let mut content = rng.bytes(256);
        if round % 4 == 0 {
            content.fill(rng.pick(&[0, 0xff]));
        }
        let calls: Vec<Call> = (0..20)
            .map(|_| {
                let sizes = [0, 4, 8, 20, 40, 64, 3, 6, 124];
                let (from, to) = (rng.pick(&sizes), rng.pick(&sizes));
                let seed = rng.pick(&[0, 1, 0xffff, 0x1_0000, 0xffff_ffff, 0x1234_5678_9abc_def0]);
                let at = |size, offset| {
                    if size == 0 {
                        A::N(0)
                    } else {
                        A::M(SCRATCH + offset)
                    }
                };
                let args = vec![at(from, 0), A::N(from), at(to, 124), A::N(to), A::N(seed)];
                (28, args)
            })
            .collect();
        compare(&[0; 60], &content, &calls, &[]);
    }
}

#[test]
fn maps() {
    if !kernel::available() {
        return;
    }
    let mut rng = Rng(3);
    for kind in [
        MapType::Array,
        MapType::PercpuArray,
        MapType::Hash,
        MapType::PercpuHash,
        MapType::LruHash,
        MapType::LruPercpuHash,
        MapType::LpmTrie,
    ] {
        // Few enough that hashes fill up, except where Linux evicts by its own order.
        let lru = matches!(kind, MapType::LruHash | MapType::LruPercpuHash);
        let pairs = [match kind {
            MapType::Array | MapType::PercpuArray => pair(kind, 4, 12, 6),
            MapType::LpmTrie => pair(kind, 8, 12, 6),
            _ => pair(kind, 8, 12, if lru { 3000 } else { 6 }),
        }];
        for _ in 0..60 {
            let mut content = vec![0; 1000];
            for k in 0..9usize {
                content[8 * k] = k as u8;
            }
            rng.bytes(900)[..]
                .iter()
                .enumerate()
                .for_each(|(i, b)| content[100 + i] = *b);
            let calls: Vec<Call> = (0..30)
                .map(|_| {
                    let key = A::M(SCRATCH + 8 * rng.below(9));
                    let value = A::M(SCRATCH + 100 + 4 * rng.below(200));
                    if rng.below(3) == 0 {
                        (3, vec![A::Map(0), key])
                    } else {
                        let flags = rng.pick(&[0, 0, 0, 1, 2, 3, 4, 1 << 33]);
                        (2, vec![A::Map(0), key, value, A::N(flags)])
                    }
                })
                .collect();
            compare(&[0; 60], &content, &calls, &pairs);
        }
    }
}

#[test]
fn queues_and_stacks() {
    if !kernel::available() {
        return;
    }
    let mut rng = Rng(4);
    for kind in [MapType::Queue, MapType::Stack] {
        for _ in 0..100 {
            let pairs = [pair(kind, 0, 12, 4)];
            let content = rng.bytes(1000);
            let calls: Vec<Call> = (0..40)
                .map(|_| {
                    let value = A::M(SCRATCH + 4 * rng.below(200));
                    match rng.below(5) {
                        0 => (88, vec![A::Map(0), value]),
                        1 => (89, vec![A::Map(0), value]),
                        _ => {
                            let flags = rng.pick(&[0, 0, 0, 2, 1, 3, 4]);
                            (87, vec![A::Map(0), value, A::N(flags)])
                        }
                    }
                })
                .collect();
            compare(&[0; 60], &content, &calls, &pairs);
        }
    }
}

#[test]
fn redirects() {
    if !kernel::available() {
        return;
    }
    let mut rng = Rng(5);
    let pairs = [
        pair(MapType::Devmap, 4, 4, 4),
        pair(MapType::DevmapHash, 4, 8, 4),
        pair(MapType::Cpumap, 4, 4, kernel::possible_cpus()),
    ];
    pairs[0]
        .theirs
        .update(&[1, 0, 0, 0], &[1, 0, 0, 0], 0)
        .unwrap();
    pairs[1]
        .theirs
        .update(&[9, 9, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0], 0)
        .unwrap();
    pairs[2].theirs.update(&[0; 4], &[64, 0, 0, 0], 0).unwrap();
    for _ in 0..100 {
        let calls: Vec<Call> = (0..20)
            .map(|_| {
                let flags = rng.pick(&[0, 1, 2, 3, 4, 8, 9, 16, 24, 26, 32, 1 << 32, u64::MAX]);
                if rng.below(5) == 0 {
                    (23, vec![A::N(rng.below(3)), A::N(rng.pick(&[0, 0, 1, 4]))])
                } else {
                    let key = rng.pick(&[0, 1, 2, 0x909, 4, 1 << 20, 0x1_0000_0001]);
                    let map = rng.below(3) as usize;
                    (51, vec![A::Map(map), A::N(key), A::N(flags)])
                }
            })
            .collect();
        compare(&[0; 60], &[], &calls, &pairs);
    }
}

#[test]
fn rings() {
    if !kernel::available() {
        return;
    }
    let mut rng = Rng(6);
    let flags = &[0, 0, 0, 0, 1, 2, 3, 4];
    for _ in 0..300 {
        let pairs = [pair(MapType::Ringbuf, 0, 0, 4096)];
        let content = rng.bytes(1000);
        let mut calls: Vec<Call> = Vec::new();
        for _ in 0..12 {
            match rng.below(4) {
                0 => {
                    let size = rng.pick(&[8, 9, 500, 2000, 4072, 4080, 4088, 4096, 0x3fff_ffff]);
                    let no_flags = rng.pick(&[0, 0, 0, 0, 0, 1]);
                    calls.push((131, vec![A::Map(0), A::N(size), A::N(no_flags)]));
                    let finish = rng.pick(&[132, 133]);
                    calls.push((finish, vec![A::Record, A::N(rng.pick(&[0, 1, 2]))]));
                }
                1 => calls.push((134, vec![A::Map(0), A::N(rng.below(6))])),
                _ => {
                    let size = rng.pick(&[0, 1, 7, 8, 100, 1000]);
                    let flags = rng.pick(flags);
                    let args = vec![A::Map(0), A::M(SCRATCH), A::N(size), A::N(flags)];
                    calls.push((130, args));
                }
            }
        }
        compare(&[0; 60], &content, &calls, &pairs);
    }
}

#[test]
fn prints() {
    if !kernel::available() {
        return;
    }
    let formats: &[&str] = &[
        "plain",
        "%d",
        "%d %u %x",
        "%d %d %d %d",
        "%lld %llx %llu",
        "%ld|%li|%lX",
        "%5d|%-5d|%05d",
        "%+d",
        "% d",
        "%08x",
        "%c%c",
        "%s",
        "%10s|",
        "100%% sure",
        "%",
        "%q",
        "%5",
        "%l",
        "%lll",
        "%hd",
        "%ls",
        "%f",
        "%p",
        "%pZ",
        "%pks",
        "tab\tnewline\n",
        "bell\u{7}",
        "caf\u{e9}",
        "%-08d|",
        "%lls",
        "%i %i",
        "%3c|",
        "%.5d",
        "%#x",
    ];
    let mut printed = 0;
    for format in formats {
        let mut content = format.as_bytes().to_vec();
        content.resize(256, 0);
        content[200..206].copy_from_slice(b"hello\0");
        let text = A::M(SCRATCH + 200);
        // The address of a string is no number: only formats whose first argument is one get it.
        let first = if format.contains('s') && !format.contains("sure") {
            text
        } else {
            A::N((-5_i64) as u64)
        };
        let args = |n: usize| {
            let mut args = vec![A::M(SCRATCH), A::N(n as u64), first];
            args.extend([A::N(0x41), A::N(0xffff_ffff_8000_0001)]);
            args
        };
        let len = format.len();
        // With its NUL, without it, and with bytes after it.
        let calls = vec![(6, args(len + 1)), (6, args(len)), (6, args(len + 20))];
        if format.contains("%p") && !format.contains("%pks") {
            // What %p prints is not comparable; whether it is taken is.
            continue;
        }
        let (machine, _) = compare(&[0; 60], &content, &calls, &[]);
        printed += machine.events.len();
    }
    assert!(printed > 20, "{printed}");
}

#[test]
fn print_texts_are_as_the_kernel_prints_them() {
    if !kernel::available() {
        return;
    }
    // The texts of printf(3) for these formats, by hand.
    for (format, expected) in [
        ("%d %u %x", "-5 65 80000001"),
        ("%5d|%-5d|%05d", "   -5|65   |-2147483647"),
        ("%+d", "-5"),
        ("%lld %llx %llu", "-5 41 18446744071562067969"),
    ] {
        let mut content = format.as_bytes().to_vec();
        content.push(0);
        let args = vec![
            A::M(SCRATCH),
            A::N(content.len() as u64),
            A::N((-5_i64) as u64),
            A::N(0x41),
            A::N(0xffff_ffff_8000_0001),
        ];
        let (machine, _) = compare(&[0; 60], &content, &[(6, args)], &[]);
        assert_eq!(String::from_utf8_lossy(&machine.events[0].1), expected);
    }
}

#[test]
fn lists_of_arguments() {
    if !kernel::available() {
        return;
    }
    let mut content = b"%d %s %llx %u %u\0".to_vec();
    content.resize(64, 0);
    for word in [7u64, 0, 0xabc, 1, 2] {
        content.extend(word.to_le_bytes());
    }
    content.resize(400, 0);
    for (data, len) in [
        (true, 40),
        (true, 32),
        (true, 48),
        (true, 39),
        (true, 104),
        (true, 96),
        (false, 0),
    ] {
        let at = if data { A::M(SCRATCH + 64) } else { A::N(0) };
        let args = vec![A::M(SCRATCH), A::N(17), at, A::N(len)];
        compare(&[0; 60], &content, &[(177, args)], &[]);
    }
}

/// A program that holds a value's address while the key is updated, deleted, inserted again.
#[test]
fn values_under_an_address_that_is_held() {
    if !kernel::available() {
        return;
    }
    let mut rng = Rng(8);
    for kind in [
        MapType::Hash,
        MapType::PercpuHash,
        MapType::Array,
        MapType::PercpuArray,
    ] {
        for _ in 0..60 {
            let key_size = if matches!(kind, MapType::Hash | MapType::PercpuHash) {
                8
            } else {
                4
            };
            let pairs = [pair(kind, key_size, 8, 8)];
            // Keys 0..4 at SCRATCH, values at SCRATCH + 100; key 1 is there from the beginning.
            let mut content = vec![0; 1000];
            for k in 0..4usize {
                content[8 * k] = k as u8;
            }
            let values = rng.bytes(800);
            content[100..900].copy_from_slice(&values);
            let first = [1, 0, 0, 0, 0, 0, 0, 0];
            let fill = vec![0x11; pairs[0].theirs.value_bytes];
            pairs[0]
                .theirs
                .update(&first[..key_size as usize], &fill, 0)
                .unwrap();
            // Steps: a call, then the held value is read to the results, and written.
            let steps: Vec<Call> = (0..8)
                .map(|_| {
                    let key = A::M(SCRATCH + 8 * rng.below(4));
                    let value = A::M(SCRATCH + 100 + 4 * rng.below(190));
                    match rng.below(3) {
                        0 => (3, vec![A::Map(0), key]),
                        _ => (2, vec![A::Map(0), key, value, A::N(0)]),
                    }
                })
                .collect();
            let memory = pair(MapType::Array, 4, SIZE as u32, 1);
            let mut machine = TestMachine::new(&[0; 60], SIZE);
            machine.memory[SCRATCH as usize..SCRATCH as usize + 1000].copy_from_slice(&content);
            memory.theirs.update(&[0; 4], &machine.memory, 0).unwrap();
            let map = Map::new(&pairs[0].def, kernel::possible_cpus()).unwrap();
            map.host_update(&first[..key_size as usize], &fill, 0)
                .unwrap();
            machine.maps.push(map);

            let mut slots = program(&memory.theirs, &[], &pairs);
            slots.truncate(slots.len() - 2);
            wide(&mut slots, 1, 1, pairs[0].theirs.raw() as u64);
            slots.push(insn(0xbf, 2, 9, 0, 0));
            slots.push(insn(0x07, 2, 0, 0, SCRATCH as i32 + 8));
            slots.push(insn(0x85, 0, 0, 0, 1));
            slots.push(insn(0x55, 0, 0, 1, 0));
            slots.push(insn(0x95, 0, 0, 0, 0));
            slots.push(insn(0xbf, 8, 0, 0, 0));
            let held = bpf::helper::call(1, &mut machine, [HANDLES, MEMORY + SCRATCH + 8, 0, 0, 0]);
            let held = held.unwrap();
            for (i, step) in steps.iter().enumerate() {
                let mut one = program(&memory.theirs, std::slice::from_ref(step), &pairs);
                // Without the prologue (10 slots) and the end (2).
                one.drain(..10);
                one.truncate(one.len() - 2);
                slots.extend(one);
                // Results: what the held value is now; then one is added to it.
                slots.push(insn(0x79, 1, 8, 0, 0));
                slots.push(insn(0x7b, 9, 1, 8 + 8 * i as i16, 0));
                slots.push(insn(0x07, 1, 0, 0, 1));
                slots.push(insn(0x7b, 8, 1, 0, 0));
                here(&mut machine, std::slice::from_ref(step));
                let mut value = [0; 8];
                machine.read(held, &mut value).unwrap();
                machine.memory[8 + 8 * i..16 + 8 * i].copy_from_slice(&value);
                let next = u64::from_le_bytes(value).wrapping_add(1);
                machine.write(held, &next.to_le_bytes()).unwrap();
            }
            slots.push(insn(0xb7, 0, 0, 0, 2));
            slots.push(insn(0x95, 0, 0, 0, 0));
            let loaded = KernelProgram::load(&slots).unwrap_or_else(|(errno, log)| {
                panic!("errno {errno}\n{log}");
            });
            assert_eq!(loaded.run(&[0; 60]).unwrap().retval, 2);
            let kernels = memory.theirs.lookup(&[0; 4]).unwrap();
            let results = |bytes: &[u8]| -> Vec<u64> {
                bytes[..72]
                    .chunks_exact(8)
                    .map(|b| u64::from_le_bytes(b.try_into().unwrap()))
                    .collect()
            };
            assert_eq!(
                results(&machine.memory),
                results(&kernels),
                "{kind} {steps:x?}"
            );
        }
    }
}

#[test]
fn events_of_the_current_cpu() {
    if !kernel::available() {
        return;
    }
    let mut rng = Rng(9);
    let cpus = kernel::possible_cpus();
    let pairs = [pair(MapType::PerfEventArray, 4, 4, cpus)];
    let events = kernel::listen(&pairs[0].theirs, cpus);
    for _ in 0..200 {
        let content = rng.bytes(1000);
        let len = rng.pick(&[14u64, 60, 300]);
        let frame = rng.bytes(len as usize);
        let calls: Vec<Call> = (0..8)
            .map(|_| {
                let index = rng.pick(&[0xffff_ffff, 0xffff_ffff, 0, 1, 2, 77]);
                let packet = rng.pick(&[0, 0, 1, 14, len, len + 1, 0xf_ffff]);
                let other = rng.pick(&[0, 0, 0, 0, 1 << 52, 1 << 63]);
                let size = rng.pick(&[0, 1, 8, 100]);
                let flags = A::N(index | packet << 32 | other);
                (
                    25,
                    vec![A::Ctx, A::Map(0), flags, A::M(SCRATCH), A::N(size)],
                )
            })
            .collect();
        compare(&frame, &content, &calls, &pairs);
    }
    drop(events);
}
