//! `bpf_csum_diff`.

use super::Machine;
use super::map::Copied;
use crate::run::TrapCause;

/// Ones' complement sum of `seed` and the bytes as 64-bit words (the last one filled up with
/// zero), brought to 32 bits. Zero has two forms in ones' complement; this order of additions
/// gives the form that Linux gives on x86-64.
fn sum(bytes: &[u8], seed: u32) -> u32 {
    let mut sum = u64::from(seed);
    for word in bytes.chunks(8) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        let (low, carry) = sum.overflowing_add(u64::from_le_bytes(padded));
        sum = low + u64::from(carry);
    }
    add(sum as u32, (sum >> 32) as u32)
}

/// Ones' complement addition.
pub(super) fn add(a: u32, b: u32) -> u32 {
    let (low, carry) = a.overflowing_add(b);
    low + u32::from(carry)
}

/// Brings a ones' complement number to 16 bits.
pub(super) fn fold(sum: u32) -> u64 {
    let sum = (sum & 0xffff) + (sum >> 16);
    u64::from((sum & 0xffff) + (sum >> 16))
}

/// `bpf_csum_diff(from, from_size, to, to_size, seed)`: the ones' complement sum of `seed` and
/// the words of `to`, less the words of `from`, in 16 bits; the seed alone if there are neither.
pub(super) fn csum_diff<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [from, from_size, to, to_size, seed] = args;
    let seed = seed as u32;
    let from = Copied::new(machine, from, from_size as u32 as usize)?;
    let to = Copied::new(machine, to, to_size as u32 as usize)?;
    let (from, to) = (from.bytes(), to.bytes());
    Ok(match (from.is_empty(), to.is_empty()) {
        (false, false) => fold(add(sum(to, seed), !sum(from, 0))),
        (true, false) => fold(sum(to, seed)),
        (false, true) => fold(!sum(from, !seed)),
        (true, true) => fold(seed),
    })
}
