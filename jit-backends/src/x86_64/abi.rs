//! Which machine register holds which eBPF register, and what each function saves.
//!
//! | eBPF | with calls | without | |
//! |---|---|---|---|
//! | r0 | rax | rax | result |
//! | r1 to r3 | rdi, rsi, rdx | same | as System V passes them |
//! | r4 | r9 | r9 | moved to rcx for a helper call |
//! | r5 | r8 | r8 | |
//! | r6 to r9 | rbx, r13, r14, r15 | r10, r11, rbx, r13 | preserved by calls |
//! | r10 | rbp | rbp | frame pointer, only where it is used |
//! | run state | r12 | r12 | only where it is needed |
//! | scratch | rcx | rcx | shift count, divisor, constants |

use isa::ebpf::Reg;

/// Number of a machine register, as instructions encode it.
pub(super) type Hard = u8;

pub(super) const RAX: Hard = 0;
pub(super) const RCX: Hard = 1;
pub(super) const RDX: Hard = 2;
pub(super) const RBX: Hard = 3;
pub(super) const RBP: Hard = 5;
pub(super) const RSI: Hard = 6;
pub(super) const RDI: Hard = 7;
pub(super) const R9: Hard = 9;
pub(super) const R12: Hard = 12;
pub(super) const R13: Hard = 13;
pub(super) const R14: Hard = 14;
pub(super) const R15: Hard = 15;

/// The run state, in programs that need it.
pub(super) const STATE: Hard = R12;

pub(super) use isa::x86_64::abi::MAY_GOTO_LIMIT as TURN_LIMIT;

/// Bytes of an eBPF stack frame.
pub(super) const FRAME_BYTES: i32 = 512;

/// Which machine register holds which eBPF register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegisterMap([Hard; Reg::COUNT]);

/// Where the program calls Rust code, which preserves only the callee-saved registers.
pub(super) const WITH_CALLS: RegisterMap = RegisterMap(isa::x86_64::abi::WITH_CALLS);

/// Where it does not.
pub(super) const WITHOUT_CALLS: RegisterMap = RegisterMap(isa::x86_64::abi::WITHOUT_CALLS);

impl RegisterMap {
    /// The machine register of an eBPF register.
    pub(super) const fn get(&self, reg: Reg) -> Hard {
        self.0[reg.index()]
    }
}

/// Whether System V obliges a function to preserve this register.
pub(super) const fn callee_saved(hard: Hard) -> bool {
    matches!(hard, RBX | RBP | R12 | R13 | R14 | R15)
}
