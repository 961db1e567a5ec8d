//! The packet loads of classic BPF (`BPF_LD_ABS`, `BPF_LD_IND`): r6 is the context, and a load
//! outside the packet ends the program with 0.

use bpf::Hook;
use isa::ebpf::Reg;

use super::{object, unreleased};
use crate::domain::{Kind, State};
use crate::platform::Platform;
use crate::report::{Problem, Rule};

/// Only tc programs of the hooks here have them.
pub(super) fn hook(platform: &Platform<'_>) -> Result<(), Problem> {
    match platform.program.hook {
        Hook::Tc { .. } => Ok(()),
        Hook::Xdp { .. } | Hook::Raw { .. } => Err(Problem::new(
            Rule::Instruction,
            "BPF_LD_[ABS|IND] instructions not allowed for this program type",
        )
        .help("compare with data_end and load through a packet pointer")),
    }
}

/// The program may end here.
pub(super) fn nothing_held(state: &State) -> Result<(), Problem> {
    match state.held.references.first() {
        Some(reference) => Err(unreleased(reference)
            .why("BPF_LD_[ABS|IND] ends the program where the packet is too short")),
        None => object::closed(state, "BPF_LD_[ABS|IND]"),
    }
}

pub(super) fn context_in(state: &State, reg: Reg) -> Result<(), Problem> {
    let value = &state.top.regs[reg.index()];
    if value.kind == Kind::Ctx {
        return Ok(());
    }
    Err(Problem::new(
        Rule::Instruction,
        format!(
            "at the time of BPF_LD_ABS|IND R6 != pointer to skb: it is {}",
            value.kind.name()
        ),
    )
    .about(reg.to_string())
    .help("keep the context in r6"))
}

pub(super) fn context_unmoved(state: &State, reg: Reg) -> Result<(), Problem> {
    let value = &state.top.regs[reg.index()];
    if value.off == 0 && value.range.as_constant() == Some(0) {
        return Ok(());
    }
    Err(Problem::new(
        Rule::CtxAccess,
        format!(
            "dereference of modified ctx ptr R{} off={}",
            reg.number(),
            value.off
        ),
    )
    .about(reg.to_string()))
}
