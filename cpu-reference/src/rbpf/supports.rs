//! What rbpf 0.4.1 does not have, or has wrong.
//!
//! Measured on its interpreter: atomics, unconditional swaps, sign-extending loads, long jumps
//! and tail calls are unknown to it; sign-extending moves and signed divisions run silently as
//! their unsigned forms; a 32-bit remainder by 0
//! keeps the upper half; a 64-bit jump compares with the immediate's zero extension where RFC
//! 9669 wants the sign extension; all functions share 512 bytes of stack, 256 to each caller.

use bpf::helper::callback::calls_back;
use bpf::helper::prototype;
use bpf::{Finding, Hook, Program, Stage, helper};
use isa::ebpf::{AluOp, CallTarget, Cond, Insn, Operand, Reg, SwapKind, Wide, Width};

use crate::Unsupported;

/// Most slots: rbpf computes jump targets in 16 bits.
const MOST_SLOTS: usize = i16::MAX as usize - super::PROLOGUE_SLOTS;
/// Bytes of stack that a function has which calls others.
const CALLER_STACK: i32 = 256;
/// `bpf_tail_call`.
const TAIL_CALL: u32 = 12;

fn refuse(finding: Finding) -> Unsupported {
    Unsupported::Program {
        finding: Box::new(finding),
    }
}

/// Whether rbpf runs the program as RFC 9669 and Linux mean it; the first reason why not.
pub(super) fn supports(program: &Program) -> Result<(), Unsupported> {
    if matches!(program.hook, Hook::Tc { .. }) {
        let message = "rbpf is given no context for tc programs";
        return Err(refuse(Finding::error(
            "reference/hook",
            Stage::Behaviour,
            "tc",
            message,
        )));
    }
    if program.insns.len() > MOST_SLOTS {
        let message = format!("rbpf jumps in 16 bits: {MOST_SLOTS} slots at most");
        return Err(refuse(Finding::error(
            "reference/rbpf-length",
            Stage::Behaviour,
            &program.name,
            message,
        )));
    }
    for (pc, insn) in program.insns.iter().enumerate() {
        if let Some(why) = instruction(insn) {
            let row = insn.row().mnemonic();
            let subject = match insn {
                Insn::Call(CallTarget::Helper(id)) => helper::name(*id).unwrap_or(row),
                _ => row,
            };
            let message = format!("rbpf cannot run {subject}: {why}");
            return Err(refuse(
                Finding::error(
                    "reference/rbpf-instruction",
                    Stage::Behaviour,
                    subject,
                    message,
                )
                .at(pc, &program.source),
            ));
        }
    }
    let ends = matches!(
        program.insns.last(),
        Some(
            Insn::Exit
                | Insn::Jump { .. }
                | Insn::Call(_)
                | Insn::Branch {
                    width: Width::W64,
                    ..
                }
        )
    );
    if !ends {
        let message = "rbpf takes no program that ends with such an instruction";
        let last = program.insns.len().saturating_sub(1);
        return Err(refuse(
            Finding::error("reference/rbpf-instruction", Stage::Behaviour, "", message)
                .at(last, &program.source),
        ));
    }
    stack(program)
}

/// Why rbpf cannot run an instruction, if so.
fn instruction(insn: &Insn) -> Option<&'static str> {
    match *insn {
        Insn::Alu {
            op: AluOp::Sdiv | AluOp::Smod,
            ..
        } => Some("it divides unsigned"),
        Insn::Alu {
            op: AluOp::Mod,
            width: Width::W32,
            src: Operand::Reg(_) | Operand::Imm(0),
            ..
        } => Some("a divisor of 0 leaves the upper half of the dividend"),
        Insn::MovSx { .. } => Some("it moves without sign extension"),
        Insn::Swap {
            kind: SwapKind::Bswap,
            ..
        }
        | Insn::Load { signed: true, .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::MayGoto { .. }
        | Insn::Jump { long: true, .. } => Some("it does not know the instruction"),
        Insn::LoadPacket { .. } => Some("it loads host byte order, and 8 bytes must be there"),
        Insn::Branch { offset: -1, .. } | Insn::Jump { offset: -1, .. } => {
            Some("it takes a jump to itself for an endless loop")
        }
        Insn::Branch {
            cond: Cond::Eq | Cond::Ne | Cond::Gt | Cond::Ge | Cond::Lt | Cond::Le,
            width: Width::W64,
            src: Operand::Imm(..0),
            ..
        } => Some("it compares with the zero-extended immediate"),
        Insn::LoadWide {
            value: Wide::Value(_) | Wide::Map(_) | Wide::MapValue { .. },
            ..
        } => None,
        Insn::LoadWide {
            value: Wide::Function { .. },
            ..
        } => Some("its helpers cannot call functions of the program"),
        Insn::LoadWide { .. } => Some("it loads numbers only"),
        Insn::Call(CallTarget::Helper(TAIL_CALL)) => Some("it has no tail calls"),
        Insn::Call(CallTarget::Helper(id)) if calls_back(id) => {
            Some("its helpers cannot call functions of the program")
        }
        Insn::Call(CallTarget::Helper(id)) => {
            let known = prototype(id).is_some_and(|p| p.modelled) && super::machine::has(id);
            (!known).then_some("the helper has no body")
        }
        Insn::Call(CallTarget::Local { offset: ..0 }) => Some("it calls forward only"),
        Insn::Call(CallTarget::Kfunc { .. } | CallTarget::Reg(_)) => {
            Some("it calls helpers and functions only")
        }
        Insn::Alu { .. }
        | Insn::Neg { .. }
        | Insn::Swap { .. }
        | Insn::WideTail
        | Insn::Load { signed: false, .. }
        | Insn::Store { .. }
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::Call(CallTarget::Local { .. })
        | Insn::Exit => None,
    }
}

/// Whether the stack suffices. A caller's frame has 256 bytes, so a function called from the
/// entry has the other 256 and calls nothing that needs any.
fn stack(program: &Program) -> Result<(), Unsupported> {
    let depths = depths(program)?;
    if depths.iter().all(|depth| *depth == 0) {
        return Ok(());
    }
    for (pc, insn) in program.insns.iter().enumerate() {
        let depth = program
            .subprogram_at(pc)
            .and_then(|index| depths.get(index))
            .copied()
            .unwrap_or(0);
        let beyond = match depth {
            0 | 1 => reach(insn) < -CALLER_STACK,
            _ => insn.reads() & (1 << Reg::R10.number()) != 0,
        };
        if beyond {
            let message = "rbpf gives the function too little stack";
            return Err(refuse(
                Finding::error("reference/rbpf-stack", Stage::Behaviour, "stack", message)
                    .at(pc, &program.source)
                    .why("all functions share 512 bytes, of which each caller takes 256"),
            ));
        }
    }
    Ok(())
}

/// How far below a stack address the instruction may reach.
fn reach(insn: &Insn) -> i32 {
    match *insn {
        Insn::Load { offset, .. } | Insn::Store { offset, .. } => i32::from(offset),
        Insn::Alu {
            op: AluOp::Add,
            width: Width::W64,
            src: Operand::Imm(imm),
            ..
        } => imm,
        Insn::Alu {
            op: AluOp::Sub,
            width: Width::W64,
            src: Operand::Imm(imm),
            ..
        } => imm.saturating_neg(),
        _ => 0,
    }
}

/// For each function the most calls that lead to it. Calls go forward only, so one pass over the
/// program in order is enough.
fn depths(program: &Program) -> Result<Vec<u32>, Unsupported> {
    let mut depths = vec![0; program.subprograms.len()];
    for (pc, insn) in program.insns.iter().enumerate() {
        if !matches!(insn, Insn::Call(CallTarget::Local { .. })) {
            continue;
        }
        let target = insn
            .function_target(pc)
            .and_then(|t| usize::try_from(t).ok());
        let caller = program.subprogram_at(pc);
        let callee = target.and_then(|target| program.subprogram_at(target));
        match (caller, callee) {
            (Some(caller), Some(callee)) if caller < callee => {
                depths[callee] = depths[callee].max(depths[caller] + 1);
            }
            _ => {
                let message = "rbpf is given no calls into the middle of a function";
                return Err(refuse(
                    Finding::error("reference/rbpf-stack", Stage::Behaviour, "call", message)
                        .at(pc, &program.source),
                ));
            }
        }
    }
    Ok(depths)
}
