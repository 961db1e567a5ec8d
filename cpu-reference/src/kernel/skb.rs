//! A tc packet's context through `BPF_PROG_TEST_RUN`: what of [`Skb`] a run takes as
//! `struct __sk_buff`, and what it gives back. [`worker`](super::worker) calls both around each
//! run.

use bpf::skb::{SK_BUFF_BYTES, Skb, Word};

/// The numbers that a test run gives back: all that it takes, too. Of the others, which a program
/// may write as well, the kernel tells nobody what became.
pub const TOLD_BY_TEST_RUN: [usize; 17] = [
    Word::Mark as usize,
    Word::Priority as usize,
    Word::IngressIfindex as usize,
    Word::Ifindex as usize,
    Word::Cb as usize,
    Word::Cb as usize + 1,
    Word::Cb as usize + 2,
    Word::Cb as usize + 3,
    Word::Cb as usize + 4,
    Word::Tstamp as usize,
    Word::Tstamp as usize + 1,
    Word::WireLen as usize,
    Word::GsoSegs as usize,
    Word::GsoSize as usize,
    Word::Hwtstamp as usize,
    Word::Hwtstamp as usize + 1,
    Word::Len as usize,
];

/// The context of a run: everything else must be 0.
pub(super) fn context(skb: &Skb) -> [u8; SK_BUFF_BYTES] {
    let mut bytes = [0; SK_BUFF_BYTES];
    for word in TOLD_BY_TEST_RUN {
        // The length is that of the frame.
        if word != Word::Len as usize {
            bytes[4 * word..4 * word + 4].copy_from_slice(&skb.words[word].to_le_bytes());
        }
    }
    bytes
}

/// Takes over what a run gave back, for a packet that now has `len` bytes.
pub(super) fn take_over(skb: &mut Skb, bytes: &[u8; SK_BUFF_BYTES], len: u32) {
    for word in TOLD_BY_TEST_RUN {
        let mut number = [0; 4];
        number.copy_from_slice(&bytes[4 * word..4 * word + 4]);
        skb.words[word] = u32::from_le_bytes(number);
    }
    skb[Word::Len] = len;
    skb.linear = len;
}
