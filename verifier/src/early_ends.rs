//! Functions that a tail call or a packet load may end: what they give back then is a number, so
//! that is what they must be declared to give back.

use isa::ebpf::{CallTarget, Insn};

use crate::cfg::{Cfg, Located};
use crate::platform::{Platform, TAIL_CALL};
use crate::report::{Problem, Rule};

/// Whether an instruction may end the function that it is in.
pub(crate) const fn may_end(insn: &Insn) -> bool {
    matches!(
        insn,
        Insn::LoadPacket { .. } | Insn::Call(CallTarget::Helper(TAIL_CALL))
    )
}

/// Holds every called function of a program against that.
///
/// # Errors
/// The first function that the kernel would refuse, at the instruction that may end it.
pub(crate) fn check(platform: &Platform<'_>, cfg: &Cfg) -> Result<(), Located> {
    let insns = &platform.program.insns;
    for function in cfg.functions.iter().skip(1) {
        let what = match (function.legacy_loads, function.tail_calls) {
            (true, _) => "LD_ABS",
            (false, true) => "tail_call",
            (false, false) => continue,
        };
        let problem = match platform.declared.returns_number(function.start) {
            Some(true) => continue,
            Some(false) => Problem::new(
                Rule::Instruction,
                format!("{what} is only allowed in functions that return 'int'"),
            )
            .help("let the function return int"),
            // Text and raw instructions cannot declare it.
            None if platform.program.source.sections.is_empty() => continue,
            None => Problem::new(
                Rule::Instruction,
                format!("{what} is not allowed in subprogs without BTF"),
            )
            .why("without types nothing says that the function returns a number")
            .help("compile with -g, or let the compiler inline the function"),
        };
        let pc = (function.start..function.end).find(|pc| may_end(&insns[*pc]));
        return Err((pc.unwrap_or(function.start), problem));
    }
    Ok(())
}
