//! Iterators over numbers (`struct bpf_iter_num`): 8 bytes on the program's stack, which only these
//! functions read. They hold the number that was given last, and the end, 4 bytes each.

use super::Machine;
use crate::map::Errno;
use crate::run::TrapCause;

/// Most numbers of an iterator (`BPF_MAX_LOOPS` of Linux).
const MOST: i64 = 8 * 1024 * 1024;

fn put<M: Machine>(machine: &mut M, iterator: u64, last: i32, end: i32) -> Result<(), TrapCause> {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&last.to_le_bytes());
    bytes[4..].copy_from_slice(&end.to_le_bytes());
    machine.write(iterator, &bytes)
}

/// `bpf_iter_num_new(iterator, start, end)`: an iterator that cannot be gives no number.
pub(super) fn new<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let (start, end) = (args[1] as i32, args[2] as i32);
    let count = i64::from(end) - i64::from(start);
    let (last, end, r0) = if count < 0 {
        (0, 0, Errno::Einval.to_r0())
    } else if count > MOST {
        (0, 0, Errno::E2big.to_r0())
    } else {
        (start.wrapping_sub(1), end, 0)
    };
    put(machine, args[0], last, end)?;
    // An `int`: the upper half is 0.
    Ok(u64::from(r0 as u32))
}

/// `bpf_iter_num_next(iterator)`: where the next number lies, null at the end.
pub(super) fn next<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let mut bytes = [0; 8];
    machine.read(args[0], &mut bytes)?;
    let [a, b, c, d, rest @ ..] = bytes;
    let (last, end) = (i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes(rest));
    // The number before the least one wraps around.
    let number = last.wrapping_add(1);
    if i64::from(number) >= i64::from(end) {
        put(machine, args[0], 0, 0)?;
        return Ok(0);
    }
    put(machine, args[0], number, end)?;
    Ok(args[0])
}

/// `bpf_iter_num_destroy(iterator)`.
pub(super) fn destroy<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    put(machine, args[0], 0, 0)?;
    Ok(0)
}
