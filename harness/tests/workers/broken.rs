//! Each way in which a backend's code can go wrong, with one packet of five that meets it.

use bpf::fault::{Area, Held};
use bpf::run::{Trap, TrapCause};
use isa::Symbol;

use crate::rig::{PASS, frames, image, run};

/// Code that passes every frame but number 2, with which it does `bad`.
///
/// `mov rax, [rdi]; cmp byte [rax], 2; je bad; mov eax, 2; ret; bad: …`
fn code(bad: &[u8]) -> Vec<u8> {
    let mut code = vec![0x48, 0x8b, 0x07, 0x80, 0x38, 2, 0x74, PASS.len() as u8];
    code.extend_from_slice(PASS);
    assert_eq!(code.len(), BAD);
    code.extend_from_slice(bad);
    code
}

/// Where `bad` begins.
const BAD: usize = 14;

/// The trap of frame 2; all other frames pass.
fn trap(bad: &[u8]) -> Trap {
    trap_with(bad, &[])
}

fn trap_with(bad: &[u8], relocations: &[(usize, Symbol)]) -> Trap {
    let mut batch = frames(5);
    let image = image(&code(bad), relocations);
    run(&image, &mut batch);
    let traps: Vec<usize> = batch.traps.iter().map(|(index, _)| *index).collect();
    assert_eq!(traps, [2], "{:?}", batch.traps);
    for (index, frame) in batch.frames.iter().enumerate() {
        assert_eq!(frame.trapped, index == 2);
        assert_eq!(frame.r0, if index == 2 { 0 } else { 2 });
        assert_eq!(batch.bytes(index)[0], index as u8);
    }
    batch.traps.remove(0).1
}

fn crash(signal: i32) -> TrapCause {
    TrapCause::Crash { signal }
}

fn register(trap: &Trap, name: &str) -> Held {
    let fault = trap.fault.as_ref().expect("registers are told");
    let found = fault.registers.iter().find(|(n, _)| n == name);
    found.expect("the register is told").1
}

#[test]
fn an_undefined_instruction() {
    // mov ecx, 7; ud2
    let trap = trap(&[0xb9, 7, 0, 0, 0, 0x0f, 0x0b]);
    assert_eq!(trap.cause, crash(libc::SIGILL));
    assert_eq!(trap.code_offset, Some(BAD + 5));
    assert_eq!(trap.pc, Some(BAD + 5));
    assert_eq!(register(&trap, "rcx"), Held::Number(7));
    let near = |area, offset| Held::Near { area, offset };
    assert_eq!(register(&trap, "rax"), near(Area::Packet, 0));
    assert_eq!(register(&trap, "rdi"), near(Area::Context, 0));
    assert_eq!(register(&trap, "rsp"), near(Area::Stack, -8));
    assert_eq!(register(&trap, "rip"), near(Area::Code, (BAD + 5) as i64));
}

#[test]
fn a_division_by_zero() {
    // xor ecx, ecx; div ecx
    let trap = trap(&[0x31, 0xc9, 0xf7, 0xf1]);
    assert_eq!(
        (trap.cause, trap.code_offset),
        (crash(libc::SIGFPE), Some(BAD + 2))
    );
}

#[test]
fn a_breakpoint() {
    let trap = trap(&[0xcc]);
    assert_eq!(
        (trap.cause, trap.code_offset),
        (crash(libc::SIGTRAP), Some(BAD))
    );
}

#[test]
fn a_null_pointer() {
    // xor ecx, ecx; mov eax, [rcx + 16]
    let trap = trap(&[0x31, 0xc9, 0x8b, 0x41, 16]);
    assert_eq!(
        (trap.cause, trap.code_offset),
        (crash(libc::SIGSEGV), Some(BAD + 2))
    );
    assert_eq!(trap.fault.unwrap().address, Some(Held::Number(16)));
}

#[test]
fn a_jump_outside() {
    // mov ecx, 0x1234; jmp rcx
    let trap = trap(&[0xb9, 0x34, 0x12, 0, 0, 0xff, 0xe1]);
    assert_eq!((trap.cause, trap.code_offset), (crash(libc::SIGSEGV), None));
    assert_eq!(register(&trap, "rip"), Held::Number(0x1234));
}

#[test]
fn an_endless_loop() {
    // jmp self
    let trap = trap(&[0xeb, 0xfe]);
    assert_eq!(trap.cause, TrapCause::NoReturn { seconds: 1 });
    // It can be stopped anywhere in the loop, so nothing of that is told.
    assert_eq!((trap.code_offset, trap.pc), (None, None));
    assert_eq!(trap.fault.expect("the program is told").registers, []);
}

#[test]
fn an_endless_recursion() {
    // call self
    let trap = trap(&[0xe8, 0xfb, 0xff, 0xff, 0xff]);
    assert_eq!(
        (trap.cause, trap.code_offset),
        (crash(libc::SIGSEGV), Some(BAD))
    );
}

#[test]
fn a_byte_behind_the_packet() {
    // mov rax, [rdi + 8]; mov byte [rax], 1; mov eax, 2; ret
    let mut bad = vec![0x48, 0x8b, 0x47, 8, 0xc6, 0x00, 1];
    bad.extend_from_slice(PASS);
    assert_eq!(trap(&bad).cause, TrapCause::Overrun { area: Area::Packet });
}

#[test]
fn a_byte_before_the_packet() {
    // mov byte [rax - 1], 1; mov eax, 2; ret
    let mut bad = vec![0xc6, 0x40, 0xff, 1];
    bad.extend_from_slice(PASS);
    assert_eq!(trap(&bad).cause, TrapCause::Overrun { area: Area::Packet });
}

#[test]
fn a_page_behind_the_packet() {
    // mov byte [rax + 4096], 1
    let trap = trap(&[0xc6, 0x80, 0, 0x10, 0, 0, 1]);
    assert_eq!(
        (trap.cause, trap.code_offset),
        (crash(libc::SIGSEGV), Some(BAD))
    );
    let address = Held::Near {
        area: Area::Packet,
        offset: 4096,
    };
    assert_eq!(trap.fault.unwrap().address, Some(address));
}

#[test]
fn a_byte_behind_the_stack() {
    // mov byte [rsp + 8], 1; mov eax, 2; ret
    let mut bad = vec![0xc6, 0x44, 0x24, 8, 1];
    bad.extend_from_slice(PASS);
    assert_eq!(trap(&bad).cause, TrapCause::Overrun { area: Area::Stack });
}

#[test]
fn a_register_that_is_not_preserved() {
    // xor ebx, ebx; mov eax, 2; ret
    let mut bad = vec![0x31, 0xdb];
    bad.extend_from_slice(PASS);
    assert_eq!(trap(&bad).cause, TrapCause::Overrun { area: Area::Stack });
}

#[test]
fn a_byte_behind_the_context() {
    // mov byte [rdi + size], 1; mov eax, 2; ret
    let size = size_of::<isa::x86_64::abi::RunState>() as u32;
    let mut bad = vec![0xc6, 0x87];
    bad.extend_from_slice(&size.to_le_bytes());
    bad.push(1);
    bad.extend_from_slice(PASS);
    assert_eq!(
        trap(&bad).cause,
        TrapCause::Overrun {
            area: Area::Context
        }
    );
}

#[test]
fn a_pointer_of_the_context() {
    // add dword [rdi], 4; mov eax, 2; ret
    let mut bad = vec![0x83, 0x07, 4];
    bad.extend_from_slice(PASS);
    assert_eq!(
        trap(&bad).cause,
        TrapCause::Overrun {
            area: Area::Context
        }
    );
}

#[test]
fn a_byte_from_one_map_towards_another() {
    // mov rax, first.values; mov byte [rax + 8], 1; mov eax, 2; ret
    let mut bad = vec![0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xc6, 0x40, 8, 1];
    bad.extend_from_slice(PASS);
    let first = Symbol::MapValues { map: 0, offset: 0 };
    let trap = trap_with(&bad, &[(BAD + 2, first)]);
    assert_eq!(trap.cause, TrapCause::Overrun { area: Area::Map(0) });
}

#[test]
fn a_system_call() {
    // mov eax, 39 (getpid); syscall
    let trap = trap(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05]);
    assert_eq!(trap.cause, TrapCause::SystemCall { number: 39 });
    assert_eq!(trap.code_offset, Some(BAD + 5));
}

#[test]
fn two_runs_tell_the_same() {
    let bad = [0xb9, 7, 0, 0, 0, 0x0f, 0x0b];
    assert_eq!(trap(&bad), trap(&bad));
}

/// A redirect, and all else that a frame has beside its bytes, comes back from a worker.
#[test]
fn a_redirect() {
    // sub rsp, 8; mov r9, rdi; mov edi, 5; xor esi, esi; mov rax, bpf_redirect; call rax;
    // add rsp, 8; ret
    let code = [
        0x48, 0x83, 0xec, 8, 0x49, 0x89, 0xf9, 0xbf, 5, 0, 0, 0, 0x31, 0xf6, 0x48, 0xb8, 0, 0, 0,
        0, 0, 0, 0, 0, 0xff, 0xd0, 0x48, 0x83, 0xc4, 8, 0xc3,
    ];
    let mut batch = frames(2);
    run(&image(&code, &[(16, Symbol::Helper(23))]), &mut batch);
    assert_eq!(batch.traps, []);
    for frame in &batch.frames {
        let target = bpf::run::RedirectTarget::Ifindex { ifindex: 5 };
        assert_eq!((frame.r0, frame.redirect), (4, Some(target)));
    }
}
