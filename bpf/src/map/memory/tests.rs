//! What [`Memory`] promises.

use super::*;

#[test]
fn access_at_every_offset_and_size_agrees_with_bytes() {
    for memory in [Memory::private(40).unwrap(), Memory::shared(40).unwrap()] {
        let bytes: Vec<u8> = (0..40u8).map(|i| i.wrapping_mul(7)).collect();
        memory.write(0, &bytes).unwrap();
        for size in [1, 2, 4, 8] {
            for offset in 0..=40 - size {
                let mut word = [0; 8];
                word[..size].copy_from_slice(&bytes[offset..offset + size]);
                assert_eq!(memory.load(offset, size), Some(u64::from_le_bytes(word)));
            }
        }
        assert!(memory.equals(3, &bytes[3..33]));
        assert!(!memory.equals(3, &bytes[4..33]));
        memory.store(13, 8, u64::MAX).unwrap();
        let mut out = [0; 10];
        memory.read(12, &mut out).unwrap();
        assert_eq!(out[0], bytes[12]);
        assert_eq!(out[1..9], [0xff; 8]);
        assert_eq!(out[9], bytes[21]);
    }
}

#[test]
fn nothing_outside_is_reached() {
    let memory = Memory::private(12).unwrap();
    for (offset, size) in [(12, 1), (11, 2), (9, 4), (5, 8), (usize::MAX, 8)] {
        assert_eq!(memory.load(offset, size), None);
        assert_eq!(memory.store(offset, size, 1), None);
    }
    assert_eq!(memory.load(0, 3), None);
    assert_eq!(memory.write(8, &[1; 5]), None);
    assert!(memory.atomic64(8).is_none());
    assert!(memory.atomic32(6).is_none());
    assert!(Memory::private(usize::MAX).is_none());
}

#[test]
fn a_snapshot_keeps_and_restores() {
    let memory = Memory::shared(100).unwrap();
    memory.write(90, b"0123456789").unwrap();
    let copy = memory.snapshot().unwrap();
    memory.zero(0, 100).unwrap();
    assert!(copy.equals(90, b"0123456789"));
    memory.copy_from(&copy).unwrap();
    assert!(memory.equals(90, b"0123456789"));
}

#[test]
fn shared_memory_is_seen_by_a_forked_process() {
    let memory = Memory::shared(64).unwrap();
    // SAFETY: the child only stores to the mapping and leaves without unwinding.
    let child = unsafe { libc::fork() };
    if child == 0 {
        memory.store(8, 8, 42);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(memory.load(8, 8), Some(42));
}
