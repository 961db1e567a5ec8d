//! Spin locks in map values and in objects.
//!
//! Where queues run one after the other a lock is always free. Side by side they run over a map
//! with locks only while no element is used by two of them, or if the user says so
//! (`--order per-queue`); then the lock keeps other queues out of the section as in Linux. It does not
//! wait for ever: a packet that was stopped inside a section leaves its lock taken.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Machine;

/// Looks at a lock that is taken before it is taken over.
const PATIENCE: u32 = 1 << 16;

/// The word of a lock in a map; one elsewhere is in an object that this packet alone has.
fn word<M: Machine>(machine: &M, lock: u64) -> Option<&AtomicU32> {
    let (map, at) = machine.value_at(lock).ok()?;
    machine.maps().get(map)?.memory().atomic32(at.0)
}

/// `bpf_spin_lock(lock)`.
pub(super) fn lock<M: Machine>(machine: &M, args: [u64; 5]) -> u64 {
    if let Some(word) = word(machine, args[0]) {
        let mut looks = 0;
        while word.swap(1, Ordering::Acquire) != 0 && looks < PATIENCE {
            looks += 1;
            std::thread::yield_now();
        }
    }
    0
}

/// `bpf_spin_unlock(lock)`.
pub(super) fn unlock<M: Machine>(machine: &M, args: [u64; 5]) -> u64 {
    if let Some(word) = word(machine, args[0]) {
        word.store(0, Ordering::Release);
    }
    0
}
