//! The log: what is known before each instruction, roughly in the kernel's form.

use std::fmt::Write;

use isa::ebpf::NoSymbols;

use crate::check::describe;
use crate::domain::{Kind, State};
use crate::transfer::Context;

/// Longest log kept, in bytes.
const MAX_LOG: usize = 64 << 20;

/// Writes one instruction and the registers it is met with.
pub(crate) fn line(log: &mut String, cx: &Context<'_>, state: &State, pc: usize) {
    if log.len() > MAX_LOG {
        return;
    }
    let insn = &cx.platform.program.insns[pc];
    let _ = write!(log, "{pc}: {}\t;", insn.display(pc, &NoSymbols));
    for (n, reg) in state.top.regs.iter().enumerate().take(10) {
        if reg.kind != Kind::Unknown {
            let _ = write!(log, " R{n}={}", describe(&cx.platform, reg));
        }
    }
    log.push('\n');
}
