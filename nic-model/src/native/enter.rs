//! The few instructions around native code that no compiler writes: entering it on a stack of its
//! own, and getting out of it after a fault.

use std::arch::naked_asm;

use isa::x86_64::abi::RunState;

/// What the callee-saved registers hold when [`enter_on`] calls the code, which must give them
/// back: rbx, rbp, r12 to r15.
pub(super) const PRESERVED: [u64; 6] = [
    0x6e69_6362_0000_0001,
    0x6e69_6362_0000_0002,
    0x6e69_6362_0000_0003,
    0x6e69_6362_0000_0004,
    0x6e69_6362_0000_0005,
    0x6e69_6362_0000_0006,
];

/// Where [`enter_on`] keeps the caller's stack pointer and leaves the callee-saved registers.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Entered {
    /// The caller's stack pointer.
    stack: u64,
    /// What the code left in the registers of [`PRESERVED`].
    pub(super) preserved: [u64; 6],
}

/// Calls `entry(state)` on the stack that ends at `top`, a multiple of 16, and leaves what became
/// of the callee-saved registers in [`ENTERED`]. That is a static, whose address is in the code
/// here, since the code that is called may have changed every register and the stack.
///
/// # Safety
/// `entry` must be code that keeps to `isa::x86_64::abi`, or this process one that may die of it.
/// Only one thread of a process may do this.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn enter_on(state: *mut RunState, entry: u64, top: u64) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "lea rax, [rip + {entered}]",
        "mov [rax], rsp",
        "mov rsp, rdx",
        "movabs rbx, 0x6e69636200000001",
        "movabs rbp, 0x6e69636200000002",
        "movabs r12, 0x6e69636200000003",
        "movabs r13, 0x6e69636200000004",
        "movabs r14, 0x6e69636200000005",
        "movabs r15, 0x6e69636200000006",
        "call rsi",
        "lea rcx, [rip + {entered}]",
        "mov rsp, [rcx]",
        "mov [rcx + 8], rbx",
        "mov [rcx + 16], rbp",
        "mov [rcx + 24], r12",
        "mov [rcx + 32], r13",
        "mov [rcx + 40], r14",
        "mov [rcx + 48], r15",
        "cld",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        entered = sym ENTERED,
    )
}

/// See [`enter_on`].
pub(super) static mut ENTERED: Entered = Entered {
    stack: 0,
    preserved: [0; 6],
};

/// Calls a function of the program from a helper, with r1 to r5 and the run state in the machine
/// registers that `isa::x86_64::abi::WITH_CALLS` gives; gives r0.
///
/// # Safety
/// `function` must be the address of a function of the code that `state` runs.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn call(
    args: *const [u64; 5],
    function: u64,
    state: *mut RunState,
) -> u64 {
    naked_asm!(
        "push r12",
        "mov r12, rdx",
        "mov rax, rsi",
        "mov r10, rdi",
        "mov rdi, [r10]",
        "mov rsi, [r10 + 8]",
        "mov rdx, [r10 + 16]",
        "mov r9, [r10 + 24]",
        "mov r8, [r10 + 32]",
        "call rax",
        "pop r12",
        "ret",
    )
}

/// A way out for a fault: where the stack was, and where to go on.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct WayOut {
    /// Stack pointer.
    pub(super) rsp: u64,
    /// Instruction pointer.
    pub(super) rip: u64,
}

/// Calls `body(data)` and gives 0; or, if a fault's handler set stack and instruction pointer to
/// those of `way_out` meanwhile, what it set rax to.
///
/// # Safety
/// `body(data)` must be sound to call, and to leave at any place where the handler does that:
/// nothing there may need dropping.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn catch(
    data: *mut (),
    body: unsafe extern "sysv64" fn(*mut ()),
    way_out: *mut WayOut,
) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdx], rsp",
        "lea rax, [rip + 2f]",
        "mov [rdx + 8], rax",
        "call rsi",
        "xor eax, eax",
        "2:",
        "cld",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}
