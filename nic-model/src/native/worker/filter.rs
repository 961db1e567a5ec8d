//! Which system calls a worker may make once it runs code from outside.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Waiting and waking, giving the processor away, returning from a signal, ending.
const ALLOWED: [libc::c_long; 5] = [
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

/// The filter; what it does not allow is a signal to the process.
pub(super) fn program() -> Option<BpfProgram> {
    let rules: BTreeMap<i64, _> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Trap,
        SeccompAction::Allow,
        TargetArch::x86_64,
    );
    filter.ok()?.try_into().ok()
}

/// Applies it to this process, for good.
pub(super) fn apply(program: &BpfProgram) -> bool {
    seccompiler::apply_filter(program).is_ok()
}
