//! A fault in code that somebody vouched for, which runs in this process.

use std::sync::Arc;

use bpf::Hook;
use bpf::run::{Environment, TrapCause};
use nic_model::Nic;

use crate::rig::{PASS, frames, image, maps};

/// `mov rax, [rdi]; cmp byte [rax], 2; je bad; mov eax, 2; ret; bad: …`
fn code(bad: &[u8]) -> Vec<u8> {
    let head = [0x48, 0x8b, 0x07, 0x80, 0x38, 2, 0x74, PASS.len() as u8];
    [&head, PASS, bad].concat()
}

#[test]
fn a_fault_is_a_trap_of_one_packet_and_the_next_runs() {
    // ud2; xor ecx, ecx, div ecx; mov rax, [0].
    let null = [0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0xc3];
    for (bad, at, signal) in [
        (&[0x0f, 0x0b][..], 14, libc::SIGILL),
        (&[0x31, 0xc9, 0xf7, 0xf1, 0xc3], 16, libc::SIGFPE),
        (&null, 14, libc::SIGSEGV),
    ] {
        let image = image(&code(bad), &[]);
        #[expect(unsafe_code, reason = "vouches for an image whose fault is harmless")]
        // SAFETY: it reads the packet's first byte, then returns or faults at a known
        // instruction, and writes nothing.
        let trusted = unsafe { image.trust() };
        let caps = Arc::new(caps::builtin("x86-dpu").expect("a profile"));
        let mut nic = Nic::new(caps, Arc::new(Environment::default()), 1);
        let ids = nic.create_maps(&maps()).expect("maps");
        let id = nic
            .load_trusted(&trusted, &Hook::XDP, &ids)
            .expect("an image that loads");
        let mut queues = nic.queues(id);
        for _ in 0..2 {
            let mut batch = frames(5);
            queues[0].process(&mut batch);
            assert_eq!(batch.traps.len(), 1, "{:?}", batch.traps);
            let (index, trap) = &batch.traps[0];
            assert_eq!(*index, 2);
            assert_eq!(trap.cause, TrapCause::Crash { signal });
            assert_eq!((trap.code_offset, trap.pc), (Some(at), Some(at)));
            for (index, frame) in batch.frames.iter().enumerate() {
                assert_eq!(frame.r0, if index == 2 { 0 } else { 2 });
            }
        }
    }
}
