//! The seven error-correcting bits above an instruction word.

/// Which bits of the word each error-correcting bit is the parity of.
///
/// Facts: `nfp-drv-kmods` 7728618f3622, `src/nfp_asm.c`.
const PARITY: [u64; 7] = [
    0x0ff8_0000_7fff,
    0x11f8_01ff_801f,
    0x1e38_7e07_81e1,
    0x17cb_8e38_8e22,
    0x1af5_b2c9_3244,
    0x1f56_d552_5488,
    0x0daf_69a4_6910,
];

/// Bits of the instruction under the error-correcting bits.
const INSTRUCTION: u64 = (1 << super::form::WORD_BITS) - 1;

/// The word as the code store holds it: error-correcting bits in 51:45.
pub fn seal(word: u64) -> u64 {
    let word = word & INSTRUCTION;
    PARITY.iter().enumerate().fold(word, |sealed, (i, mask)| {
        let parity = u64::from((word & mask).count_ones() & 1);
        sealed | parity << (super::form::WORD_BITS as usize + i)
    })
}

/// The instruction under the error-correcting bits, if these are right.
pub fn unseal(sealed: u64) -> Option<u64> {
    let word = sealed & INSTRUCTION;
    (seal(word) == sealed).then_some(word)
}
