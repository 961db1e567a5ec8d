//! Every row of the instruction set, with results worked out by hand from RFC 9669 and, where it
//! is silent (load-acquire, may_goto), from Linux's documentation.

use crate::rig::run_raw;

/// r0 of a program without memory.
fn r0(text: &str) -> u64 {
    run_raw(text, &[]).0
}

/// r0 after `op`, with r0 = `dst` and r1 = `src` before.
fn alu(op: &str, dst: u64, src: u64) -> u64 {
    r0(&format!("r0 = {dst:#x} ll\nr1 = {src:#x} ll\n{op}\nexit"))
}

/// Whether `if r1 cond r2` (or with the words w1, w2) jumps.
fn jumps(cond: &str, a: u64, b: u64) -> bool {
    r0(&format!(
        "r1 = {a:#x} ll\nr2 = {b:#x} ll\nr0 = 1\nif {cond} goto +1\nr0 = 0\nexit"
    )) == 1
}

const MIN64: u64 = 1 << 63;
const MIN32: u64 = 1 << 31;
const A: u64 = 0x1122_3344_5566_7788;
const MINUS_1: u64 = u64::MAX;
const LOW: u64 = 0xffff_ffff;

#[test]
fn constants_and_moves() {
    assert_eq!(r0("r0 = 0\nexit"), 0);
    assert_eq!(r0("r0 = -1\nexit"), MINUS_1);
    assert_eq!(r0("w0 = -1\nexit"), LOW);
    assert_eq!(r0("r0 = 0x7fffffff\nexit"), 0x7fff_ffff);
    assert_eq!(r0("r0 = 0x1122334455667788 ll\nexit"), A);
    assert_eq!(
        r0("r0 = 0xffffffff80000000 ll\nexit"),
        0xffff_ffff_8000_0000
    );
    assert_eq!(alu("r0 = r1", 0, A), A);
    assert_eq!(alu("w0 = w1", MINUS_1, A), 0x5566_7788);
    assert_eq!(alu("w0 = w0", A, 0), 0x5566_7788);
    assert_eq!(alu("r0 = r0", A, 0), A);
}

#[test]
fn moves_with_sign_extension() {
    assert_eq!(alu("r0 = (s8)r1", 0, 0x1280), 0xffff_ffff_ffff_ff80);
    assert_eq!(alu("r0 = (s16)r1", 0, 0x1_8001), 0xffff_ffff_ffff_8001);
    assert_eq!(alu("r0 = (s32)r1", 0, 0x1_8000_0001), 0xffff_ffff_8000_0001);
    assert_eq!(alu("r0 = (s32)r1", 0, 0x9_7000_0001), 0x7000_0001);
    assert_eq!(alu("w0 = (s8)w1", MINUS_1, 0x80), 0xffff_ff80);
    assert_eq!(alu("w0 = (s16)w1", MINUS_1, 0x8001), 0xffff_8001);
}

#[test]
fn addition_to_xor_in_both_widths() {
    assert_eq!(alu("r0 += r1", MINUS_1, 2), 1);
    assert_eq!(alu("w0 += w1", MINUS_1, 2), 1);
    assert_eq!(alu("w0 += -1", 0, 0), LOW);
    assert_eq!(alu("r0 += 0x12345678", 1, 0), 0x1234_5679);
    assert_eq!(alu("r0 -= r1", 0, 1), MINUS_1);
    assert_eq!(alu("w0 -= w1", 0, 1), LOW);
    assert_eq!(alu("r0 -= -128", 0, 0), 128);
    assert_eq!(alu("r0 *= r1", MIN64 | 3, 5), MIN64 | 15);
    assert_eq!(alu("w0 *= w1", 0x1_0001_0000, 0x1_0000), 0);
    assert_eq!(alu("r0 *= -3", 5, 0), -15i64 as u64);
    assert_eq!(alu("r0 *= 1000", 5, 0), 5000);
    assert_eq!(alu("w0 *= 0x10001", 0x1_0001, 0), 0x0002_0001);
    assert_eq!(alu("r0 |= r1", 0xf0, 0x0f), 0xff);
    assert_eq!(alu("r0 |= -16", 1, 0), -15i64 as u64);
    assert_eq!(alu("w0 |= w1", MIN64, 1), 1);
    assert_eq!(alu("r0 &= r1", A, 0xffff), 0x7788);
    assert_eq!(alu("r0 &= -256", A, 0), A & !0xff);
    assert_eq!(alu("w0 &= -256", A, 0), 0x5566_7700);
    assert_eq!(alu("r0 ^= r1", A, A), 0);
    assert_eq!(alu("w0 ^= -1", A, 0), !0x5566_7788 & LOW);
    assert_eq!(alu("r0 = -r0", 1, 0), MINUS_1);
    assert_eq!(alu("r0 = -r0", MIN64, 0), MIN64);
    assert_eq!(alu("w0 = -w0", 1, 0), LOW);
}

#[test]
fn shifts_take_the_amount_modulo_the_width() {
    assert_eq!(alu("r0 <<= r1", 1, 63), MIN64);
    assert_eq!(alu("r0 <<= r1", 1, 64), 1);
    assert_eq!(alu("r0 <<= r1", 1, 65), 2);
    assert_eq!(alu("w0 <<= w1", A, 32), 0x5566_7788);
    assert_eq!(alu("w0 <<= w1", 1, 33), 2);
    assert_eq!(alu("w0 <<= 0", A, 0), 0x5566_7788);
    assert_eq!(alu("r0 <<= 0", A, 0), A);
    assert_eq!(alu("r0 >>= r1", MIN64, 63), 1);
    assert_eq!(alu("r0 >>= r1", MIN64, 127), 1);
    assert_eq!(alu("w0 >>= w1", A, 4), 0x0556_6778);
    assert_eq!(alu("w0 >>= 31", MINUS_1, 0), 1);
    assert_eq!(alu("r0 s>>= r1", MIN64, 63), MINUS_1);
    assert_eq!(alu("r0 s>>= 60", A, 0), 1);
    assert_eq!(alu("w0 s>>= w1", MIN32, 31), LOW);
    assert_eq!(alu("w0 s>>= 4", 0x9000_0000, 0), 0xf900_0000);
    // The amount in every register that could also be the destination's or the scratch's.
    assert_eq!(r0("r4 = 3\nr0 = 1\nr0 <<= r4\nexit"), 8);
    assert_eq!(r0("r4 = 1\nr4 <<= r4\nr0 = r4\nexit"), 2);
}

#[test]
fn division_is_unsigned_and_by_zero_gives_zero() {
    assert_eq!(alu("r0 /= r1", MINUS_1, 2), MINUS_1 / 2);
    assert_eq!(alu("r0 /= r1", A, 0), 0);
    assert_eq!(alu("w0 /= w1", A, 0), 0);
    assert_eq!(alu("w0 /= w1", A, 1 << 32), 0);
    assert_eq!(alu("w0 /= w1", MINUS_1, 0xf_0000_0003), 0x5555_5555);
    assert_eq!(alu("r0 /= 7", 100, 0), 14);
    assert_eq!(alu("r0 /= -1", MINUS_1, 0), 1);
    assert_eq!(alu("w0 /= -1", LOW, 0), 1);
    assert_eq!(alu("r0 /= 16", A, 0), A >> 4);
    assert_eq!(alu("w0 /= 1", A, 0), 0x5566_7788);
    assert_eq!(alu("r0 /= 1", A, 0), A);
    assert_eq!(alu("w0 /= 4", A, 0), 0x5566_7788 >> 2);
    assert_eq!(alu("r0 /= -2147483648", MINUS_1, 0), 1);
    assert_eq!(alu("w0 /= -2147483648", MINUS_1, 0), 1);
}

#[test]
fn remainder_by_zero_is_the_dividend() {
    assert_eq!(alu("r0 %= r1", 17, 5), 2);
    assert_eq!(alu("r0 %= r1", A, 0), A);
    assert_eq!(alu("w0 %= w1", A, 0), 0x5566_7788);
    assert_eq!(alu("w0 %= w1", A, 1 << 32), 0x5566_7788);
    assert_eq!(alu("r0 %= 8", A, 0), 0);
    assert_eq!(alu("r0 %= 1024", A, 0), A & 1023);
    assert_eq!(alu("w0 %= 1", A, 0), 0);
    assert_eq!(alu("r0 %= 1000", 12_345, 0), 345);
    assert_eq!(alu("r0 %= -1", 5, 0), 5);
    assert_eq!(alu("r0 %= -1", MINUS_1, 0), 0);
}

#[test]
fn signed_division_truncates_and_never_faults() {
    let n = |v: i64| v as u64;
    assert_eq!(alu("r0 s/= r1", n(-7), 2), n(-3));
    assert_eq!(alu("r0 s/= r1", n(-7), n(-2)), 3);
    assert_eq!(alu("r0 s/= r1", MIN64, MINUS_1), MIN64);
    assert_eq!(alu("r0 s/= r1", A, 0), 0);
    assert_eq!(alu("r0 s/= -1", MIN64, 0), MIN64);
    assert_eq!(alu("r0 s/= -1", 5, 0), n(-5));
    assert_eq!(alu("r0 s/= 2", n(-7), 0), n(-3));
    assert_eq!(alu("w0 s/= w1", n(-7), 2), n(-3) & LOW);
    assert_eq!(alu("w0 s/= w1", MIN32, LOW), MIN32);
    assert_eq!(alu("w0 s/= w1", A, 0), 0);
    assert_eq!(alu("w0 s/= -1", MIN32, 0), MIN32);
    assert_eq!(alu("w0 s/= -3", 9, 0), n(-3) & LOW);
    assert_eq!(alu("r0 s%= r1", n(-7), 2), n(-1));
    assert_eq!(alu("r0 s%= r1", 7, n(-2)), 1);
    assert_eq!(alu("r0 s%= r1", MIN64, MINUS_1), 0);
    assert_eq!(alu("r0 s%= r1", MIN64, 0), MIN64);
    assert_eq!(alu("r0 s%= -1", MIN64, 0), 0);
    assert_eq!(alu("w0 s%= w1", n(-7), 2), LOW);
    assert_eq!(alu("w0 s%= w1", MIN32, LOW), 0);
    assert_eq!(alu("w0 s%= w1", A | MIN32, 0), (A & LOW) | MIN32);
    assert_eq!(alu("w0 s%= 4", n(-7), 0), n(-3) & LOW);
}

#[test]
fn division_leaves_all_other_registers_alone() {
    // rax and rdx hold r0 and r3; the divisor can be either of them, or the dividend itself.
    for dst in 0..=9 {
        for src in 0..=9 {
            for (op, result) in [("/=", 30u64), ("%=", 10)] {
                let mut text = String::new();
                for r in 0..=9 {
                    text.push_str(&format!("r{r} = {}\n", 1000 + r));
                }
                text.push_str(&format!("r{dst} = 1000\nr{src} = 33\nr{dst} {op} r{src}\n"));
                let result = match (dst == src, op) {
                    (true, "/=") => 1,
                    (true, _) => 0,
                    _ => result,
                };
                // r0 = 0 if every register is what it should be, else a register's number + 1.
                for r in 0..=9 {
                    let expected = if r == dst {
                        result
                    } else if r == src {
                        33
                    } else {
                        1000 + r
                    };
                    text.push_str(&format!(
                        "if r{r} == {expected} goto ok{r}\nr0 = {}\nexit\nok{r}:\n",
                        r + 1
                    ));
                }
                text.push_str("r0 = 0\nexit");
                assert_eq!(r0(&text), 0, "r{dst} {op} r{src}");
            }
        }
    }
}

#[test]
fn byte_order() {
    assert_eq!(alu("r0 = be16 r0", A, 0), 0x8877);
    assert_eq!(alu("r0 = be32 r0", A, 0), 0x8877_6655);
    assert_eq!(alu("r0 = be64 r0", A, 0), 0x8877_6655_4433_2211);
    assert_eq!(alu("r0 = le16 r0", A, 0), 0x7788);
    assert_eq!(alu("r0 = le32 r0", A, 0), 0x5566_7788);
    assert_eq!(alu("r0 = le64 r0", A, 0), A);
    assert_eq!(alu("r0 = bswap16 r0", A, 0), 0x8877);
    assert_eq!(alu("r0 = bswap32 r0", A, 0), 0x8877_6655);
    assert_eq!(alu("r0 = bswap64 r0", A, 0), 0x8877_6655_4433_2211);
}

#[test]
fn loads_extend_and_reach_far() {
    let memory: Vec<u8> = (0x80..=0x8f).collect();
    let load = |text: &str| run_raw(&format!("{text}\nexit"), &memory).0;
    assert_eq!(load("r0 = *(u8 *)(r1 + 1)"), 0x81);
    assert_eq!(load("r0 = *(u16 *)(r1 + 1)"), 0x8281);
    assert_eq!(load("r0 = *(u32 *)(r1 + 1)"), 0x8483_8281);
    assert_eq!(load("r0 = *(u64 *)(r1 + 1)"), 0x8887_8685_8483_8281);
    assert_eq!(load("r0 = *(s8 *)(r1 + 1)"), 0xffff_ffff_ffff_ff81);
    assert_eq!(load("r0 = *(s16 *)(r1 + 1)"), 0xffff_ffff_ffff_8281);
    assert_eq!(load("r0 = *(s32 *)(r1 + 1)"), 0xffff_ffff_8483_8281);
    // The offset is a signed 16-bit number: near, far, and both ends.
    assert_eq!(load("r1 += 1000\nr0 = *(u8 *)(r1 - 999)"), 0x81);
    assert_eq!(load("r1 -= 32767\nr0 = *(u8 *)(r1 + 32767)"), 0x80);
    assert_eq!(load("r1 += 32768\nr0 = *(u8 *)(r1 - 32768)"), 0x80);
    assert_eq!(load("r1 -= 127\nr0 = *(u8 *)(r1 + 127)"), 0x80);
    assert_eq!(load("r1 += 129\nr0 = *(u8 *)(r1 - 129)"), 0x80);
}

#[test]
fn loads_and_stores_through_every_register() {
    for base in 0..=9 {
        for other in 0..=9 {
            if base == other {
                continue;
            }
            let text = format!(
                "r{base} = r1\nr{other} = 0x1122334455667788 ll\n\
                 *(u64 *)(r{base} + 0) = r{other}\n*(u8 *)(r{base} + 8) = r{other}\n\
                 *(u16 *)(r{base} + 10) = r{other}\n*(u32 *)(r{base} + 12) = r{other}\n\
                 r{other} = *(u32 *)(r{base} + 4)\nr0 = r{other}\nexit"
            );
            let (r0, memory) = run_raw(&text, &[0; 16]);
            assert_eq!(r0, 0x1122_3344, "r{base} r{other}");
            assert_eq!(memory[..8], A.to_le_bytes());
            assert_eq!(memory[8..], [0x88, 0, 0x88, 0x77, 0x88, 0x77, 0x66, 0x55]);
        }
    }
}

#[test]
fn immediate_stores_sign_extend_and_truncate() {
    let text = "*(u64 *)(r1 + 0) = -2\n*(u32 *)(r1 + 8) = -2\n*(u16 *)(r1 + 12) = 0x12345678\n\
                *(u8 *)(r1 + 14) = 0x1ff\nr0 = 0\nexit";
    let (_, memory) = run_raw(text, &[0; 16]);
    let mut expected = vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    expected.extend([0xfe, 0xff, 0xff, 0xff, 0x78, 0x56, 0xff, 0]);
    assert_eq!(memory, expected);
}

#[test]
fn stack_is_512_bytes_below_r10() {
    let text = "r1 = 0x1122334455667788 ll\n*(u64 *)(r10 - 8) = r1\n*(u64 *)(r10 - 512) = r1\n\
                r0 = *(u64 *)(r10 - 8)\nr2 = *(u64 *)(r10 - 512)\nr0 -= r2\nexit";
    assert_eq!(r0(text), 0);
}

#[test]
fn stack_that_was_not_written_is_zero() {
    // The first call leaves numbers where the second one's frame lies.
    let text = "call dirty\ncall look\nexit\n\
                dirty: r1 = -1\n*(u64 *)(r10 - 8) = r1\n*(u64 *)(r10 - 24) = r1\n\
                *(u64 *)(r10 - 136) = r1\nr0 = 0\nexit\n\
                look: r0 = *(u64 *)(r10 - 8)\nr1 = *(u64 *)(r10 - 24)\nr0 |= r1\n\
                r1 = *(u64 *)(r10 - 136)\nr0 |= r1\nexit";
    assert_eq!(r0(text), 0);
}

#[test]
fn conditions_of_64_bits() {
    assert!(jumps("r1 == r2", A, A) && !jumps("r1 == r2", A, A & LOW));
    assert!(jumps("r1 != r2", A, A & LOW) && !jumps("r1 != r2", A, A));
    assert!(jumps("r1 > r2", MINUS_1, 1) && !jumps("r1 > r2", 1, 1));
    assert!(jumps("r1 >= r2", 1, 1) && !jumps("r1 >= r2", 0, 1));
    assert!(jumps("r1 < r2", 1, MINUS_1) && !jumps("r1 < r2", 1, 1));
    assert!(jumps("r1 <= r2", 1, 1) && !jumps("r1 <= r2", 2, 1));
    assert!(jumps("r1 s> r2", 1, MINUS_1) && !jumps("r1 s> r2", MINUS_1, 1));
    assert!(jumps("r1 s>= r2", 1, 1) && !jumps("r1 s>= r2", MIN64, 0));
    assert!(jumps("r1 s< r2", MINUS_1, 0) && !jumps("r1 s< r2", 0, MINUS_1));
    assert!(jumps("r1 s<= r2", MIN64, MIN64) && !jumps("r1 s<= r2", 0, MIN64));
    assert!(jumps("r1 & r2", MIN64 | 1, MIN64) && !jumps("r1 & r2", 1, 2));
}

#[test]
fn conditions_of_32_bits_see_only_the_lower_half() {
    assert!(jumps("w1 == w2", A, A & LOW));
    assert!(!jumps("w1 != w2", A, A & LOW));
    assert!(jumps("w1 > w2", LOW, 1) && !jumps("w1 > w2", 1 << 32, 0));
    assert!(jumps("w1 >= w2", 1 << 32, 0));
    assert!(jumps("w1 < w2", 1 << 32, 1));
    assert!(jumps("w1 <= w2", 1 << 32, 0));
    assert!(jumps("w1 s> w2", 0, LOW) && !jumps("w1 s> w2", LOW, 0));
    assert!(jumps("w1 s>= w2", 0, MIN32));
    assert!(jumps("w1 s< w2", MIN32, 0));
    assert!(jumps("w1 s<= w2", LOW, LOW | 1 << 32));
    assert!(jumps("w1 & w2", 1 << 32 | 1, 1) && !jumps("w1 & w2", MINUS_1 << 32, MINUS_1 << 32));
}

#[test]
fn conditions_with_immediates() {
    // Immediates sign-extend, at 64 bits also for unsigned comparisons.
    assert!(jumps("r1 == -1", MINUS_1, 0) && !jumps("r1 == -1", LOW, 0));
    assert!(jumps("w1 == -1", LOW, 0));
    assert!(jumps("r1 < -1", LOW, 0) && jumps("r1 > 0", MINUS_1, 0));
    assert!(jumps("r1 s< 0", MIN64, 0) && !jumps("r1 s< 0", LOW, 0));
    assert!(jumps("w1 s< 0", LOW, 0));
    assert!(jumps("r1 >= 0", 0, 0) && !jumps("r1 < 0", MINUS_1, 0));
    assert!(jumps("r1 <= 0", 0, 0) && jumps("r1 s<= 0", MINUS_1, 0));
    assert!(jumps("r1 s>= 0", 1, 0) && jumps("r1 s> 0", 1, 0) && !jumps("r1 s> 0", 0, 0));
    assert!(jumps("r1 == 0x12345678", 0x1234_5678, 0) && jumps("w1 != 127", 128, 0));
    assert!(jumps("r1 == 127", 127, 0) && jumps("r1 == -128", -128i64 as u64, 0));
    assert!(jumps("r1 & -2147483648", MIN64, 0) && !jumps("r1 & 0x7fffffff", MIN64, 0));
    assert!(!jumps("w1 & -2147483648", MIN64, 0) && jumps("w1 & -2147483648", MIN32, 0));
    for reg in 0..=9 {
        let text = format!(
            "r{reg} = 5\nif r{reg} == 5 goto +2\nr0 = 1\nexit\nw{reg} = 7\nif w{reg} == 7 goto +2\nr0 = 2\nexit\nr0 = 0\nexit"
        );
        assert_eq!(r0(&text), 0, "r{reg}");
    }
}

#[test]
fn jumps_go_both_ways() {
    assert_eq!(
        r0("r0 = 1\ngoto a\nb: r0 += 2\nexit\na: r0 += 4\ngoto b"),
        7
    );
    assert_eq!(
        r0("r0 = 1\ngotol a\nb: r0 += 2\nexit\na: r0 += 4\ngotol b"),
        7
    );
    assert_eq!(r0("r0 = 3\ngoto +0\nexit"), 3);
    let mut far = String::from("r0 = 1\nif r0 == 1 goto end\n");
    far.push_str(&"r0 += 1\n".repeat(20_000));
    far.push_str("end: exit");
    assert_eq!(r0(&far), 1);
}

/// The loop ends after `BPF_MAX_LOOPS` (8 Mi) turns, and the budget stays used up.
#[test]
fn may_goto_ends_a_loop_when_its_budget_is_used_up() {
    assert_eq!(
        r0(
            "r0 = 0\nagain: may_goto out\nr0 += 1\ngoto again\nout: may_goto done\nr0 = 0\n\
            done: exit"
        ),
        8 << 20
    );
}

/// Runs an atomic on r`base` and r`src` over 8 bytes; gives (r0 or the source register, memory).
fn atomic(insn: &str, result: &str, before: u64, operand: u64, r0_before: u64) -> (u64, u64) {
    let text = format!(
        "r6 = r1\nr0 = {r0_before:#x} ll\nr2 = {operand:#x} ll\n{insn}\nr0 = {result}\nexit"
    );
    let (r0, memory) = run_raw(&text, &before.to_le_bytes());
    (r0, u64::from_le_bytes(memory.try_into().unwrap()))
}

#[test]
fn atomics_without_fetch() {
    let high = A & !LOW;
    let run = |insn: &str| atomic(insn, "r2", A, 0xf_0000_000f, 0);
    let operand = 0xf_0000_000f;
    let p64 = "*(u64 *)(r6 + 0)";
    let p32 = "*(u32 *)(r6 + 0)";
    assert_eq!(run(&format!("lock {p64} += r2")), (operand, A + operand));
    assert_eq!(run(&format!("lock {p64} |= r2")), (operand, A | operand));
    assert_eq!(run(&format!("lock {p64} &= r2")), (operand, A & operand));
    assert_eq!(run(&format!("lock {p64} ^= r2")), (operand, A ^ operand));
    let low = A & LOW;
    assert_eq!(
        run(&format!("lock {p32} += r2")),
        (operand, high | (low + 15))
    );
    assert_eq!(
        run(&format!("lock {p32} |= r2")),
        (operand, high | low | 15)
    );
    assert_eq!(
        run(&format!("lock {p32} &= r2")),
        (operand, high | (low & 15))
    );
    assert_eq!(
        run(&format!("lock {p32} ^= r2")),
        (operand, high | (low ^ 15))
    );
}

#[test]
fn atomics_with_fetch_give_the_old_value() {
    let high = A & !LOW;
    let low = A & LOW;
    let operand = 0xf_0000_000f;
    for (name, wide, narrow) in [
        ("add", A + operand, low + 15),
        ("or", A | operand, low | 15),
        ("and", A & operand, low & 15),
        ("xor", A ^ operand, low ^ 15),
    ] {
        let insn = format!("r2 = atomic_fetch_{name}((u64 *)(r6 + 0), r2)");
        assert_eq!(atomic(&insn, "r2", A, operand, 0), (A, wide), "{name}");
        let insn = format!("w2 = atomic_fetch_{name}((u32 *)(r6 + 0), w2)");
        assert_eq!(
            atomic(&insn, "r2", A, operand, 0),
            (low, high | narrow),
            "{name}"
        );
    }
    let exchange = "r2 = xchg_64(r6 + 0, r2)";
    assert_eq!(atomic(exchange, "r2", A, 5, 0), (A, 5));
    let exchange = "w2 = xchg32_32(r6 + 0, w2)";
    assert_eq!(atomic(exchange, "r2", A, 5, 0), (low, high | 5));
}

#[test]
fn fetching_loops_work_in_every_register() {
    for base in 0..=9u64 {
        for src in 0..=9u64 {
            if base == src {
                continue;
            }
            for wide in [true, false] {
                let insn = if wide {
                    format!("r{src} = atomic_fetch_xor((u64 *)(r{base} + 0), r{src})")
                } else {
                    format!("w{src} = atomic_fetch_xor((u32 *)(r{base} + 0), w{src})")
                };
                let mut text = String::new();
                for r in (0..=9).filter(|r| *r != 1) {
                    text.push_str(&format!("r{r} = {}\n", 1000 + r));
                }
                text.push_str(&format!(
                    "r{base} = r1\nr{src} = 0xff\n*(u64 *)(r10 - 8) = r{base}\n"
                ));
                if base != 1 && src != 1 {
                    text.push_str("r1 = 1001\n");
                }
                text.push_str(&insn);
                text.push('\n');
                for r in (0..=9).filter(|r| *r != base) {
                    let expected = if r == src { 0x1234 } else { 1000 + r };
                    text.push_str(&format!(
                        "if r{r} == {expected} goto ok{r}\nr0 = {}\nexit\nok{r}:\n",
                        r + 1
                    ));
                }
                let check = if base == 9 { 8 } else { 9 };
                text.push_str(&format!("r{check} = *(u64 *)(r10 - 8)\n"));
                text.push_str(&format!(
                    "if r{base} == r{check} goto done\nr0 = 11\nexit\n"
                ));
                text.push_str("done: r0 = 0\nexit");
                let (r0, memory) = run_raw(&text, &0x1234u64.to_le_bytes());
                assert_eq!(r0, 0, "{insn}");
                assert_eq!(memory[..2], [0xcb, 0x12], "{insn}");
            }
        }
    }
}

#[test]
fn compare_and_exchange() {
    let high = A & !LOW;
    let low = A & LOW;
    let wide = "r0 = cmpxchg_64(r6 + 0, r0, r2)";
    assert_eq!(atomic(wide, "r0", A, 5, A), (A, 5));
    assert_eq!(atomic(wide, "r0", A, 5, low), (A, A));
    let narrow = "w0 = cmpxchg32_32(r6 + 0, w0, w2)";
    // Only the lower half of r0 is compared, and the result is zero-extended either way.
    assert_eq!(atomic(narrow, "r0", A, 5, MIN64 | low), (low, high | 5));
    assert_eq!(atomic(narrow, "r0", A, 5, MIN64), (low, A));
}

#[test]
fn acquire_and_release() {
    let text = "w0 = load_acquire((u32 *)(r1 + 4))\nstore_release((u64 *)(r1 + 0), r0)\n\
                r2 = load_acquire((u8 *)(r1 + 0))\nr0 += r2\nexit";
    let (r0, memory) = run_raw(text, &A.to_le_bytes());
    assert_eq!(r0, 0x1122_3344 + 0x44);
    assert_eq!(memory, 0x1122_3344u64.to_le_bytes());
}

#[test]
fn arguments_of_a_raw_program() {
    let (r0, _) = run_raw("r0 = r2\nexit", &[0; 20]);
    assert_eq!(r0, 20);
}
