//! `bpf_csum_diff`.

use super::Machine;
use super::map::Copied;
use crate::map::Errno;
use crate::run::TrapCause;

/// Sum of the 32-bit words with end-around carry, folded to 16 bits.
fn folded(bytes: &[u8], seed: u64) -> u64 {
    let mut sum = u128::from(seed as u32);
    for word in bytes.chunks(4) {
        let mut padded = [0; 4];
        padded[..word.len()].copy_from_slice(word);
        sum += u128::from(u32::from_le_bytes(padded));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u64
}

/// `bpf_csum_diff(from, from_size, to, to_size, seed)`: the ones' complement sum of `seed`, the
/// words of `to`, and the complements of the words of `from`, folded to 16 bits.
pub(super) fn csum_diff<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [from, from_size, to, to_size, seed] = args;
    let (from_size, to_size) = (from_size as u32, to_size as u32);
    if !(from_size | to_size).is_multiple_of(4) {
        return Ok(Errno::Einval.to_r0());
    }
    let from = Copied::new(machine, from, from_size as usize)?;
    let to = Copied::new(machine, to, to_size as usize)?;
    let added = folded(to.bytes(), seed);
    if from_size == 0 {
        return Ok(if to_size == 0 {
            u64::from(seed as u32)
        } else {
            added
        });
    }
    let removed = folded(from.bytes(), 0);
    Ok(folded(&[], added + (removed ^ 0xffff)))
}
