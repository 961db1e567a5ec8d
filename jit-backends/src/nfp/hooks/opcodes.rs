//! What the driver has a translation for.

use isa::ebpf::{AluOp, CallTarget, Insn, SwapKind};
use verifier::Visit;

use super::OPCODE;
use super::report::Refusal;

/// The first check of each visit.
pub(super) fn check(visit: &Visit<'_>) -> Vec<Refusal> {
    if is_translated(visit.insn) {
        return Vec::new();
    }
    let row = visit.insn.row();
    let refusal = Refusal::new(
        OPCODE,
        "EINVAL",
        format!("instruction {:#x} not supported", row.opcode()),
    )
    .at(visit.pc)
    .subject(row.mnemonic())
    .why(format!(
        "`{}` has no row in the driver's table of translations",
        row.mnemonic()
    ))
    .help(help(visit.insn))
    .means(&["isa/not-on-nic", "isa/too-new", "atomic/not-on-nic"]);
    vec![refusal]
}

/// Whether the opcode byte has a translation. What an instruction says beside its opcode byte
/// the driver does not look at here: signed division passes as division, a sign-extending move
/// as a move, an atomic of any kind as an atomic.
fn is_translated(insn: &Insn) -> bool {
    match insn {
        Insn::Alu { op, .. } => !matches!(op, AluOp::Mod | AluOp::Smod),
        Insn::Swap { kind, .. } => *kind == SwapKind::ToBe,
        Insn::Load { signed: true, .. } | Insn::MayGoto { .. } => false,
        Insn::Jump { long, .. } => !long,
        Insn::Call(target) => !matches!(target, CallTarget::Reg(_)),
        // On bytes and half words they have opcodes of their own.
        Insn::LoadAcquire { size, .. } | Insn::StoreRelease { size, .. } => size.bytes() >= 4,
        _ => true,
    }
}

fn help(insn: &Insn) -> &'static str {
    match insn {
        Insn::Alu { .. } => {
            "take a remainder by a power of two with a mask, any other as x - x / n * n with a constant n"
        }
        Insn::Load { .. } | Insn::Jump { .. } => "compile with -mcpu=v3",
        Insn::Swap { .. } => "swap to big-endian (bpf_htons), or shift and mask",
        _ => "leave it out",
    }
}
