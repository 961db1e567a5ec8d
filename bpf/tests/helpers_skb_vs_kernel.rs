//! The helpers of tc programs against Linux: generated calls, in a program that the kernel runs
//! by BPF_PROG_TEST_RUN and over a plain test machine, must give the same r0, memory, packet and
//! context. `NICBED_SKB_ROUNDS` sets how many sequences each test makes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod calls;
mod kernel;
mod machine;

use std::collections::BTreeSet;

use calls::{A, Call, HASH, SCRATCH, WIRE_LEN, compare_on, pair};
use kernel::Rng;

fn rounds() -> u64 {
    let set = std::env::var("NICBED_SKB_ROUNDS").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(250)
}

/// A frame of some protocol, with or without tags.
fn frame(rng: &mut Rng) -> Vec<u8> {
    let mut frame = match rng.below(4) {
        0 => vec![0; 6],
        1 => vec![0xff; 6],
        2 => vec![1, 0, 0x5e, 0, 0, 1],
        _ => vec![2, 0, 0, 0, 0, 9],
    };
    frame.extend([2, 0, 0, 0, 0, 1]);
    for _ in 0..rng.below(8).saturating_sub(5) {
        frame.extend(rng.pick(&[[0x81, 0], [0x88, 0xa8]]));
        frame.extend(rng.bytes(2));
    }
    let ip = rng.below(5);
    match ip {
        0 | 1 => frame.extend([8, 0, 0x45]),
        2 | 3 => frame.extend([0x86, 0xdd, 0x60]),
        _ => frame.extend(rng.pick(&[[8, 6], [0x5, 0xff], [0x81, 0], [0, 0]])),
    }
    let least = [34, 34, 54, 54, 14][ip as usize];
    let len = least.max(frame.len()) + rng.pick(&[0, 0, 1, 2, 4, 8, 20, 26, 60, 300]);
    let rest = rng.bytes(len - frame.len());
    frame.extend(rest);
    frame
}

const OFFSETS: [u64; 17] = [
    0,
    1,
    2,
    10,
    12,
    14,
    16,
    24,
    34,
    40,
    50,
    60,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// One call, of any helper of this kind.
fn call(rng: &mut Rng, of: &[u32]) -> Call {
    let n = |n: u64| A::N(n);
    let memory = A::M(SCRATCH + 8 * rng.below(64));
    let id = rng.pick(of);
    let offset = rng.pick(&OFFSETS);
    let args = match id {
        9 => {
            let flags = rng.pick(&[0, 0, 0, 1, 2, 3, 4, 1 << 33]);
            let len = rng.pick(&[1, 2, 4, 6, 14, 20, 64, 100]);
            vec![A::Ctx, n(offset), memory, n(len), n(flags)]
        }
        10 => {
            let flags = rng.pick(&[0, 2, 2, 2, 4, 4, 4, 1, 8, 16, 1 << 32]);
            let from = rng.pick(&[0, 0, 1, 0xffff, 0x1234, 0xffff_ffff, 0x8765_4321]);
            let to = rng.pick(&[0, 1, 0xfffe, 0xffff, 0x1234, 0xffff_ffff, 0x1_8765_4321]);
            vec![A::Ctx, n(offset), n(from), n(to), n(flags)]
        }
        11 => {
            let size = rng.pick(&[0, 2, 2, 4, 4, 3]);
            let flags = size | rng.pick(&[0, 0x10, 0x20, 0x30, 0x40, 0x60, 0x80, 0x100, 0x70]);
            let from = rng.pick(&[0, 0, 1, 0xffff, 0x1234, 0xffff_ffff, 0x8765_4321]);
            let to = rng.pick(&[0, 1, 0xfffe, 0xffff, 0x1234, 0xffff_ffff, 0x1_8765_4321]);
            vec![A::Ctx, n(offset), n(from), n(to), n(flags)]
        }
        18 => {
            let protocol = rng.pick(&[0, 0x81, 0xa888, 8, 0x1_0081]);
            vec![A::Ctx, n(protocol), n(rng.below(0x1_2000))]
        }
        20 => {
            let size = rng.pick(&[44, 44, 44, 28, 24, 22, 8, 40, 4, 45]);
            let flags = rng.pick(&[0, 0, 1, 1, 16, 17, 2, 4]);
            vec![A::Ctx, memory, n(size), n(flags)]
        }
        21 => {
            let size = rng.pick(&[44, 44, 44, 28, 24, 22, 8, 40, 4]);
            let flags = rng.pick(&[0, 0, 1, 1, 2, 4, 8, 16, 31, 32]);
            vec![A::Ctx, memory, n(size), n(flags)]
        }
        26 => {
            let len = rng.pick(&[1, 2, 4, 14, 20, 40, 100]);
            vec![A::Ctx, n(offset), memory, n(len)]
        }
        29 | 30 => {
            let size = rng.pick(&[4, 8, 12, 64, 255, 256, 3]);
            vec![A::Ctx, memory, n(size)]
        }
        31 => {
            let to = rng.pick(&[0xdd86, 8, 0xdd86, 8, 0x81, 0x1_0008]);
            vec![A::Ctx, n(to), n(rng.pick(&[0, 0, 0, 0, 1]))]
        }
        32 => vec![A::Ctx, n(rng.below(6))],
        38 => {
            let len = rng.pick(&[13, 14, 20, 33, 34, 54, 60, 64, 100, 128, 1500, 16064, 16065]);
            vec![A::Ctx, n(len), n(rng.pick(&[0, 0, 0, 0, 0, 1]))]
        }
        39 => vec![A::Ctx, n(offset)],
        43 => {
            let by = rng.pick(&[0, 1, 4, 14, 20, 64, 100, 16000, 0xffff_ffff]);
            vec![A::Ctx, n(by), n(rng.pick(&[0, 0, 0, 0, 0, 1]))]
        }
        40 | 48 => vec![A::Ctx, n(rng.next())],
        50 => {
            let by = rng.pick(&[
                0,
                4,
                8,
                20,
                28,
                36,
                40,
                50,
                100,
                -4,
                -8,
                -20,
                -40,
                -60,
                0xfff,
                0x1000,
                -0x1000_i64,
            ]);
            // Room after a network header that a short tail cut off has undefined bytes.
            let cut = of.contains(&38);
            let mode = rng.pick(&[u64::from(cut), 1, 1, 1, 2]);
            let flags = rng.pick(&[
                0,
                0,
                0,
                1,
                2,
                2,
                4,
                4,
                6,
                0xa,
                0x12,
                0x14,
                0x1a,
                8,
                16,
                0x20,
                0x42,
                0x80,
                0x80,
                0x100,
                0x100,
                0x180,
                0x200,
                1 << 33,
            ]);
            let link = rng.pick(&[0, 0, 0, 14, 13, 14, 60]) << 56;
            vec![A::Ctx, n(by as u64), n(mode), n(flags | link)]
        }
        66 => {
            let flags = rng.pick(&[0, 1]);
            vec![A::Ctx, n(rng.below(2)), memory, n(16), n(flags)]
        }
        68 => {
            let len = rng.pick(&[1, 2, 4, 14, 20, 40, 100]);
            vec![
                A::Ctx,
                n(offset),
                memory,
                n(len),
                n(rng.pick(&[0, 1, 1, 2])),
            ]
        }
        23 => vec![n(rng.below(3)), n(rng.pick(&[0, 1, 2, 3, 1 << 32]))],
        83 => vec![A::Ctx, n(rng.pick(&[0, 1, 2, 0xffff_ffff]))],
        135 => vec![A::Ctx, n(rng.pick(&[0, 1, 1, 2, 3, 4, 1 << 32]))],
        152 => {
            let (at, size) = rng.pick(&[(0, 0), (1, 20), (1, 19), (1, 24), (1, 8)]);
            let params = if at == 0 { n(0) } else { memory };
            vec![n(1), params, n(size), n(rng.pick(&[0, 0, 1, 1 << 32]))]
        }
        155 => vec![n(1), n(rng.pick(&[0, 0, 1, 1 << 32]))],
        192 => {
            let tstamp = rng.pick(&[0, 1, 0x1234_5678_9abc]);
            vec![A::Ctx, n(tstamp), n(rng.below(5))]
        }
        _ => vec![A::Ctx],
    };
    (id, args)
}

/// Sequences of calls of these helpers; gives which ones returned what.
fn generated(seed: u64, of: &[u32]) -> BTreeSet<(u32, i64)> {
    let mut rng = Rng(seed);
    let mut seen = BTreeSet::new();
    for _ in 0..rounds() {
        let frame = frame(&mut rng);
        let mut content = rng.bytes(900);
        if rng.below(2) == 0 {
            // A tunnel key without what the kernel refuses.
            for at in (0..512).step_by(8) {
                content[at..at + 8].fill(rng.below(3) as u8);
            }
        }
        let calls: Vec<Call> = (0..=rng.below(6)).map(|_| call(&mut rng, of)).collect();
        let (_, results) = compare_on(Some(&[WIRE_LEN]), &frame, &content, &calls, &[]);
        seen.extend(calls.iter().map(|c| c.0).zip(results));
    }
    seen
}

/// All of these were met.
fn met(seen: &BTreeSet<(u32, i64)>, expected: &[(u32, i64)]) {
    for pair in expected {
        assert!(seen.contains(pair), "{pair:?} was never met");
    }
}

#[test]
fn bytes_and_checksums() {
    if !kernel::available() {
        return;
    }
    let seen = generated(1, &[9, 10, 11, 26, 39, 40, 41, 48, 68, 97, 135]);
    met(
        &seen,
        &[
            (9, 0),
            (9, -14),
            (9, -22),
            (10, 0),
            (10, -14),
            (10, -22),
            (11, 0),
            (11, -14),
            (11, -22),
            (26, 0),
            (26, -14),
            (39, 0),
            (39, -12),
            (68, 0),
            (68, -14),
            (97, 0),
            (97, 1),
            (135, 0),
            (135, -13),
            (135, -22),
        ],
    );
}

#[test]
fn sizes() {
    if !kernel::available() {
        return;
    }
    let seen = generated(2, &[31, 38, 43, 26, 68, 50, 97, 192]);
    met(
        &seen,
        &[
            (31, 0),
            (31, -524),
            (31, -22),
            (38, 0),
            (38, -22),
            (43, 0),
            (43, -22),
            (192, -95),
        ],
    );
}

#[test]
fn room() {
    if !kernel::available() {
        return;
    }
    let seen = generated(3, &[50, 50, 50, 50, 68, 135]);
    met(
        &seen,
        &[(50, 0), (50, -22), (50, -14), (50, -524), (50, -114)],
    );
}

#[test]
fn tags() {
    if !kernel::available() {
        return;
    }
    let seen = generated(4, &[18, 18, 19, 19, 43, 68, 38, 97, 26]);
    met(&seen, &[(18, 0), (19, 0), (19, -12)]);
}

#[test]
fn tunnels() {
    if !kernel::available() {
        return;
    }
    let seen = generated(5, &[20, 20, 21, 21, 29, 30]);
    met(
        &seen,
        &[
            (20, 0),
            (20, -22),
            (21, 0),
            (21, -22),
            (29, -2),
            (30, 0),
            (30, -22),
        ],
    );
}

#[test]
fn fields_and_redirects() {
    if !kernel::available() {
        return;
    }
    let of = [17, 23, 24, 32, 41, 47, 48, 66, 79, 83, 151, 152, 155, 192];
    let seen = generated(6, &of);
    met(
        &seen,
        &[
            (23, 7),
            (23, 2),
            (32, -22),
            (66, -22),
            (83, 1),
            (83, 0),
            (152, 7),
            (152, 2),
            (155, 7),
            (192, 0),
            (192, -22),
        ],
    );
}

/// The kernel's hash is its secret, but it is there until it is forgotten.
#[test]
fn hashes_stay_until_they_are_forgotten() {
    if !kernel::available() {
        return;
    }
    let mut frame = vec![0; 60];
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    let set = |hash| (48, vec![A::Ctx, A::N(hash)]);
    let forget = (41, vec![A::Ctx]);
    let calls = [
        set(77),
        (34, vec![A::Ctx]),
        set(0),
        (34, vec![A::Ctx]),
        forget,
    ];
    compare_on(Some(&[WIRE_LEN]), &frame, &[], &calls, &[]);
    // Computed: not 0 on either side.
    let (machine, results) = {
        let pairs = [pair(bpf::map::MapType::Array, 4, 8, 1)];
        let calls = [(41, vec![A::Ctx])];
        compare_on(Some(&[HASH, WIRE_LEN]), &frame, &[], &calls, &pairs)
    };
    assert_eq!(results, [0]);
    let mut machine = machine;
    assert_ne!(
        bpf::helper::call(34, &mut machine, [0x77, 0, 0, 0, 0]),
        Ok(0)
    );
}
