//! The lock of a map: one word in its memory, which is version and spin lock at once.
//!
//! The version is even while nobody changes the structure and odd while somebody does. Readers
//! take no lock: they read the version, walk, and walk again if the version moved meanwhile.

use std::sync::atomic::{Ordering, fence};

use super::Memory;

/// Where the version lies in every map's memory.
const VERSION: usize = 0;
/// Rounds of spinning before the thread gives its CPU away.
const SPINS: u32 = 100;

/// The right to change the structure of the map in `memory`, until it is dropped.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    memory: &'a Memory,
    version: u32,
}

/// Waits a little, more politely the longer it takes.
fn wait(round: &mut u32) {
    *round += 1;
    if *round > SPINS {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

impl<'a> Locked<'a> {
    /// Takes the lock.
    pub(super) fn new(memory: &'a Memory) -> Locked<'a> {
        let word = memory.word(VERSION);
        let mut round = 0;
        loop {
            let version = word.load(Ordering::Relaxed);
            if version & 1 == 0
                && word
                    .compare_exchange_weak(
                        version,
                        version.wrapping_add(1),
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_ok()
            {
                // Readers that see any store made under the lock also see the odd version.
                fence(Ordering::Release);
                return Locked { memory, version };
            }
            wait(&mut round);
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.memory
            .word(VERSION)
            .store(self.version.wrapping_add(2), Ordering::Release);
    }
}

/// Runs `walk` until no change of structure happened during it, and gives its result.
#[inline]
pub(super) fn read<T>(memory: &Memory, mut walk: impl FnMut() -> T) -> T {
    let word = memory.word(VERSION);
    let mut round = 0;
    loop {
        let version = word.load(Ordering::Acquire);
        if version & 1 == 0 {
            let result = walk();
            fence(Ordering::Acquire);
            if word.load(Ordering::Relaxed) == version {
                return result;
            }
        }
        wait(&mut round);
    }
}

/// The version, if somebody holds the lock.
pub(super) fn held(memory: &Memory) -> Option<u32> {
    let version = memory.word(VERSION).load(Ordering::Relaxed);
    (version & 1 == 1).then_some(version)
}

/// Opens the lock whoever holds it: for memory whose other user is gone for good.
pub(super) fn force_open(memory: &Memory) {
    let word = memory.word(VERSION);
    let version = word.load(Ordering::Relaxed);
    if version & 1 == 1 {
        word.store(version.wrapping_add(1), Ordering::Release);
    }
}
