//! Helpers over text, sizes, sockets and SYN cookies against Linux, as `helpers_vs_kernel.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod calls;
mod kernel;
mod machine;

use calls::{A, Call, SCRATCH, SIZE, compare, constants, here, pair, program};
use kernel::{KernelProgram, Rng};
use machine::TestMachine;

#[test]
fn texts_are_compared() {
    if !kernel::available() {
        return;
    }
    let texts: &[&[u8]] = &[
        b"abc\0", b"abd\0", b"ab\0", b"abcd\0", b"\0", b"\xff\0", b"a\0z\0",
    ];
    for first in texts {
        for second in texts {
            let mut content = first.to_vec();
            content.resize(16, b'#');
            let mut constant = second.to_vec();
            constant.resize(16, 0);
            let maps = [constants(&constant)];
            let calls: Vec<Call> = [1, 2, 3, 4, 8, 16]
                .into_iter()
                .map(|size| (182, vec![A::M(SCRATCH), A::N(size), A::In(0, 0)]))
                .collect();
            compare(&[0; 60], &content, &calls, &maps);
        }
    }
}

#[test]
fn numbers_are_read() {
    if !kernel::available() {
        return;
    }
    let texts: &[&str] = &[
        "0",
        "7",
        "42 ",
        "-42",
        " \t\n-1x",
        "+5",
        "",
        "-",
        " ",
        "0x1f",
        "0X1F",
        "0x",
        "0xg",
        "017",
        "08",
        "x1",
        "ff",
        "-0x10",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "00000000000000000000000000000000000000000000000000000000000000001",
        "000000000000000000000000000000000000000000000000000000000000000001",
        "                                                                    12",
        "1\u{a0}2",
        "\u{b}3",
        "5_000",
        "1e3",
        "--1",
        "- 1",
        "0x8000000000000000",
        "-0",
        "777777777777777777777",
    ];
    for text in texts {
        let mut content = vec![0; 256];
        content[..text.len()].copy_from_slice(text.as_bytes());
        for base in [0, 8, 10, 16, 2, 32, 36, 64, 1 << 40] {
            let len = text.len().max(1) as u64;
            let mut calls: Vec<Call> = Vec::new();
            for id in [105, 106] {
                for len in [len, len + 1, 100, 1] {
                    let args = vec![A::M(SCRATCH), A::N(len), A::N(base), A::M(SCRATCH + 128)];
                    calls.push((id, args));
                }
            }
            compare(&[0; 60], &content, &calls, &[]);
        }
    }
}

#[test]
fn texts_are_printed() {
    if !kernel::available() {
        return;
    }
    let formats: &[&str] = &[
        "plain",
        "%d %u %x",
        "%5d|%-5d|%05d|",
        "%lld %llx",
        "%s!",
        "%10s|",
        "%-10s|",
        "%c",
        "100%%",
        "%q",
        "%",
        "",
        "%d %d %d %d",
        "%p",
        "%px",
        "%pK",
        "%pB",
        "%ps",
        "%pS",
        "%pks",
        "%pus",
        "%pi4",
        "%pI4",
        "%pi6",
        "%pI6",
        "%pI6c",
        "%pI4h",
        "%pi4 %d",
        "%pX",
        "%20pI4|",
        "%i %X %lu",
        "%03d|%+d|% d|",
        "%hd",
        "%hhx",
        "%#x",
        "%.3s",
        "%*d",
        "%ld",
        "%lli",
        "%-8x|",
        "%08llx|",
    ];
    for format in formats {
        let mut content = vec![0x5a; 512];
        content[200..206].copy_from_slice(b"hello\0");
        content[216..232].copy_from_slice(&[
            10, 0, 200, 1, 0, 0, 0, 0, 0, 0, 0xab, 0xcd, 0, 1, 0xfe, 0x80,
        ]);
        let mut constant = format.as_bytes().to_vec();
        constant.resize(64, 0);
        let maps = [constants(&constant)];
        for len in [0, 8, 24, 32, 7] {
            let call = |size| {
                let data = A::M(SCRATCH + 400);
                (
                    165,
                    vec![A::M(SCRATCH), A::N(size), A::In(0, 0), data, A::N(len)],
                )
            };
            // Without room for the IP address Linux takes its text for the next argument.
            let least = u64::from(*format == "%pi4 %d");
            let calls: Vec<Call> = [least, 1, 4, 64].into_iter().map(call).collect();
            let address = ["%s", "s!", "s|", "ks", "us", "i4", "I4", "i6", "I6"];
            let first_is_address = address.iter().any(|a| format.contains(a)) && *format != "%.3s";
            let hides = ["%p", "%px", "%pK", "%pB", "%ps", "%pS"].contains(format);
            let memory = pair(bpf::map::MapType::Array, 4, SIZE as u32, 1);
            let mut machine = TestMachine::new(&[0; 60], SIZE);
            let at = SCRATCH as usize;
            machine.memory[at..at + 512].copy_from_slice(&content);
            let numbers: [u64; 4] = [0xffff_ffff_ffff_fffb, 0x41, 0xffff_ffff_8000_0001, 9];
            for (i, number) in numbers.iter().enumerate() {
                let at = at + 400 + 8 * i;
                machine.memory[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            memory.theirs.update(&[0; 4], &machine.memory, 0).unwrap();
            let mut slots = program(&memory.theirs, &[], &maps);
            if first_is_address {
                // The first argument is the address of a text, or of an IP address.
                let of =
                    if format.contains("%pi") || format.contains("%pI") || format.contains("pI4") {
                        216
                    } else {
                        200
                    };
                let store = [
                    kernel::insn(0xbf, 1, 9, 0, 0),
                    kernel::insn(0x07, 1, 0, 0, SCRATCH as i32 + of),
                    kernel::insn(0x7b, 9, 1, SCRATCH as i16 + 400, 0),
                ];
                slots.truncate(slots.len() - 2);
                slots.extend(store);
                let mut rest = program(&memory.theirs, &calls, &maps);
                rest.drain(..10);
                slots.extend(rest);
                let value = machine::MEMORY + SCRATCH + of as u64;
                machine.memory[at + 400..at + 408].copy_from_slice(&value.to_le_bytes());
            } else {
                slots = program(&memory.theirs, &calls, &maps);
            }
            let ro = bpf::map::Map::new(&maps[0].def, 1).unwrap();
            ro.host_update(&[0; 4], &constant, 0).unwrap();
            machine.maps.push(ro);
            let loaded = match KernelProgram::load(&slots) {
                Ok(loaded) => loaded,
                // The verifier looks at the format and the number of arguments too.
                Err((errno, log)) => {
                    here(&mut machine, &calls);
                    let r0 = i64::from_le_bytes(machine.memory[16..24].try_into().unwrap());
                    let last = log.lines().rev().nth(1);
                    assert_eq!(
                        (r0, errno),
                        (-22, 22),
                        "{format:?} with {len} bytes: {last:?}"
                    );
                    continue;
                }
            };
            loaded.run(&[0; 60]).unwrap();
            let kernels = memory.theirs.lookup(&[0; 4]).unwrap();
            here(&mut machine, &calls);
            let results = |bytes: &[u8]| -> Vec<i64> {
                bytes[..8 * calls.len()]
                    .chunks_exact(8)
                    .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
                    .collect()
            };
            if hides {
                // What is printed of an address is the kernel's secret; that it is printed, is not.
                let taken = |r: Vec<i64>| r.iter().map(|r| *r > 0).collect::<Vec<_>>();
                assert_eq!(
                    taken(results(&machine.memory)),
                    taken(results(&kernels)),
                    "{format}"
                );
                continue;
            }
            assert_eq!(results(&machine.memory), results(&kernels), "{format}");
            let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[at..at + 100]).into_owned();
            assert_eq!(text(&machine.memory), text(&kernels), "{format}");
        }
    }
}

#[test]
fn sizes_are_checked() {
    if !kernel::available() {
        return;
    }
    kernel::in_new_namespace(|| {
        let mut rng = Rng(20);
        for frame in [14, 60, 1500, 3520] {
            let calls: Vec<Call> = (0..40)
                .map(|_| {
                    let at = SCRATCH + 4 * rng.below(8);
                    let by = rng.pick(&[
                        0_i64,
                        1,
                        -1,
                        100,
                        62_000,
                        65_476,
                        65_536,
                        65_537,
                        -60,
                        0x7fff_ffff,
                        -0x8000_0000,
                        0x1_0000_0000,
                    ]) as u64;
                    let ifindex = rng.pick(&[0, 0, 1, 1, 7, 0x1_0000_0001]);
                    let flags = rng.pick(&[0, 0, 0, 0, 1, 2, 1 << 32]);
                    let args = vec![A::Ctx, A::N(ifindex), A::M(at), A::N(by), A::N(flags)];
                    (163, args)
                })
                .collect();
            let sizes = [
                0u32,
                1,
                1500,
                65_535,
                65_536,
                65_537,
                0x7fff_ffff,
                0xffff_ffff,
            ];
            let content: Vec<u8> = sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
            compare(&vec![0; frame], &content, &calls, &[]);
        }
    });
}

/// Which packets are taken and which segment size a cookie stands for; the cookie itself is the
/// kernel's secret.
#[test]
fn cookies_are_made_of_syns() {
    if !kernel::available() {
        return;
    }
    let mut rng = Rng(21);
    for round in 0..60 {
        let mut content = rng.bytes(256);
        // Options from byte 84 on, behind a header of 20 bytes at 64.
        let words = rng.pick(&[0u8, 1, 2, 3, 5, 10]);
        content[76] = (5 + words) << 4;
        let size = rng.pick(&[
            0u16, 1, 535, 536, 1299, 1300, 1439, 1440, 1459, 1460, 8939, 8940, 9001,
        ]);
        let options: [&[u8]; 6] = [
            &[2, 4],
            &[1, 2, 4],
            &[0, 2, 4],
            &[3, 3, 7, 2, 4],
            &[8, 0],
            &[2, 3],
        ];
        let option = options[rng.below(6) as usize];
        content[84..84 + option.len()].copy_from_slice(option);
        content[84 + option.len()..86 + option.len()].copy_from_slice(&size.to_be_bytes());
        let len = u64::from(20 + 4 * words);
        let other = rng.pick(&[len, len, len, 20, 60, 19, 0]);
        let id = if round % 2 == 0 { 204 } else { 205 };
        let calls = vec![
            (id, vec![A::M(SCRATCH), A::M(SCRATCH + 64), A::N(len)]),
            (id, vec![A::M(SCRATCH), A::M(SCRATCH + 64), A::N(other)]),
            (id + 2, vec![A::M(SCRATCH), A::M(SCRATCH + 64)]),
        ];
        let memory = pair(bpf::map::MapType::Array, 4, SIZE as u32, 1);
        let mut machine = TestMachine::new(&[0; 60], SIZE);
        machine.memory[SCRATCH as usize..SCRATCH as usize + 256].copy_from_slice(&content);
        memory.theirs.update(&[0; 4], &machine.memory, 0).unwrap();
        let loaded = KernelProgram::load(&program(&memory.theirs, &calls, &[])).unwrap();
        loaded.run(&[0; 60]).unwrap();
        let kernels = memory.theirs.lookup(&[0; 4]).unwrap();
        here(&mut machine, &calls);
        let upper = |bytes: &[u8]| -> Vec<i64> {
            bytes[..24]
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
                .map(|r0| if r0 < 0 { r0 } else { r0 >> 32 })
                .collect()
        };
        assert_eq!(
            upper(&machine.memory),
            upper(&kernels),
            "{len} {other} {option:?} {size}"
        );
    }
}

/// An ACK of our own cookie is taken, of another connection's is not.
#[test]
fn cookies_are_good_for_their_connection() {
    let mut machine = TestMachine::new(&[0; 60], SIZE);
    machine.now_ns = 1_700_000_000_000_000_000;
    let at = SCRATCH as usize;
    machine.memory[at..at + 64].copy_from_slice(&Rng(3).bytes(64));
    machine.memory[at + 64 + 12] = 5 << 4;
    let (ip, tcp) = (machine::MEMORY + SCRATCH, machine::MEMORY + SCRATCH + 64);
    let cookie = bpf::helper::call(204, &mut machine, [ip, tcp, 20, 0, 0]).unwrap() as u32;
    // The ACK: the client's next sequence number, and the cookie plus one.
    let sequence: [u8; 4] = machine.memory[at + 68..at + 72].try_into().unwrap();
    let next = u32::from_be_bytes(sequence).wrapping_add(1);
    machine.memory[at + 68..at + 72].copy_from_slice(&next.to_be_bytes());
    machine.memory[at + 72..at + 76].copy_from_slice(&cookie.wrapping_add(1).to_be_bytes());
    let check = |machine: &mut TestMachine| bpf::helper::call(206, machine, [ip, tcp, 0, 0, 0]);
    assert_eq!(check(&mut machine), Ok(0));
    machine.now_ns += 60_000_000_000;
    assert_eq!(check(&mut machine), Ok(0));
    machine.now_ns += 60_000_000_000;
    assert_eq!(check(&mut machine), Ok(-13_i64 as u64));
    machine.now_ns -= 60_000_000_000;
    machine.memory[at + 15] ^= 1;
    assert_eq!(check(&mut machine), Ok(-13_i64 as u64));
}
