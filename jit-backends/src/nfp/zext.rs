//! Whose upper half somebody may read: after which 32-bit results the upper half must be cleared.
//!
//! The kernel tells the driver the same, but only as far as it followed paths (it prunes); this
//! follows registers backwards over all of them. What counts as reading all 64 bits is decided
//! as the kernel does: helper arguments, the program's result and addresses always do.

use bpf::Program;
use isa::ebpf::{CallTarget, Insn, MemSize, Operand, PacketBase, Reg, Width};
use verifier::Verified;

/// A set of registers, bit n for rn.
type Set = u16;

const CALLER_SAVED: Set = 0b11_1111;
const CALLEE_SAVED: Set = 0b11_1100_0000;
const ARGUMENTS: Set = 0b11_1110;
const R0: Set = 1;

/// For each pc, whether the upper half of the result there may be read.
pub(super) fn flags(program: &Program, verified: &Verified) -> Vec<bool> {
    let insns = &program.insns;
    let live = live(program, verified);
    insns
        .iter()
        .enumerate()
        .map(|(pc, insn)| {
            defines_half(insn)
                .is_some_and(|reg| after(program, verified, &live, pc) & bit(reg) != 0)
        })
        .collect()
}

fn bit(reg: Reg) -> Set {
    1 << reg.number()
}

/// Registers whose upper half may be read, before each pc.
fn live(program: &Program, verified: &Verified) -> Vec<Set> {
    let mut live = vec![0; program.insns.len()];
    loop {
        let mut changed = false;
        for pc in (0..program.insns.len()).rev() {
            if !verified.facts(pc).reachable {
                continue;
            }
            let insn = &program.insns[pc];
            let mut before = after(program, verified, &live, pc);
            if let Some(reg) = defines(insn) {
                before &= !bit(reg);
            }
            match insn {
                Insn::Call(CallTarget::Local { .. }) => {
                    let callee = target(insn.function_target(pc));
                    let enters = callee.and_then(|pc| live.get(pc)).copied().unwrap_or(0);
                    before = before & CALLEE_SAVED | enters & ARGUMENTS;
                }
                Insn::Call(_) => before &= !CALLER_SAVED,
                _ => {}
            }
            before |= reads(insn);
            changed |= live[pc] != before;
            live[pc] = before;
        }
        if !changed {
            return live;
        }
    }
}

fn target(pc: Option<i64>) -> Option<usize> {
    pc.and_then(|pc| usize::try_from(pc).ok())
}

/// The same after `pc`, over all ways that lead on.
fn after(program: &Program, verified: &Verified, live: &[Set], pc: usize) -> Set {
    let at = |pc: usize| live.get(pc).copied().unwrap_or(0);
    let insn = &program.insns[pc];
    match insn {
        Insn::Exit => returned(program, live, pc),
        Insn::Jump { .. } => target(insn.jump_target(pc)).map_or(0, at),
        Insn::Branch { .. } => {
            let ways = verified.facts(pc).branch.unwrap_or_default();
            let taken = target(insn.jump_target(pc)).filter(|_| ways.taken);
            let next = if ways.fall_through { at(pc + 1) } else { 0 };
            taken.map_or(0, at) | next
        }
        Insn::MayGoto { .. } => target(insn.jump_target(pc)).map_or(0, at) | at(pc + 1),
        insn => at(pc + insn.slots()),
    }
}

/// After an exit: r0 if it is the program's, or that of any call of the function is read.
fn returned(program: &Program, live: &[Set], pc: usize) -> Set {
    let start = program
        .subprogram_at(pc)
        .map_or(0, |index| program.subprograms[index].start);
    if start == 0 {
        return R0;
    }
    let calls = program.insns.iter().enumerate();
    calls
        .filter(|(pc, insn)| target(insn.function_target(*pc)) == Some(start))
        .map(|(pc, _)| live.get(pc + 1).copied().unwrap_or(0) & R0)
        .fold(0, |all, one| all | one)
}

/// The register an instruction writes as a whole or in its lower half.
fn defines(insn: &Insn) -> Option<Reg> {
    match *insn {
        Insn::Alu { dst, .. }
        | Insn::Neg { dst, .. }
        | Insn::MovSx { dst, .. }
        | Insn::Swap { dst, .. }
        | Insn::LoadWide { dst, .. }
        | Insn::Load { dst, .. }
        | Insn::LoadAcquire { dst, .. } => Some(dst),
        Insn::LoadPacket { .. } => Some(Reg::R0),
        Insn::Atomic { .. }
        | Insn::WideTail
        | Insn::Store { .. }
        | Insn::StoreRelease { .. }
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::MayGoto { .. }
        | Insn::Call(_)
        | Insn::Exit => None,
    }
}

/// The register of which an instruction makes a 32-bit result.
fn defines_half(insn: &Insn) -> Option<Reg> {
    match *insn {
        Insn::Alu {
            width: Width::W32, ..
        }
        | Insn::Neg {
            width: Width::W32, ..
        }
        | Insn::Load {
            size: MemSize::B | MemSize::H | MemSize::W,
            ..
        }
        | Insn::LoadPacket { .. } => defines(insn),
        _ => None,
    }
}

/// Registers of which all 64 bits are read.
fn reads(insn: &Insn) -> Set {
    let operand = |src: Operand| match src {
        Operand::Reg(reg) => bit(reg),
        Operand::Imm(_) => 0,
    };
    match *insn {
        Insn::Alu {
            width: Width::W64,
            op,
            dst,
            src,
        } => {
            operand(src)
                | if op == isa::ebpf::AluOp::Mov {
                    0
                } else {
                    bit(dst)
                }
        }
        Insn::MovSx {
            width: Width::W64,
            src,
            ..
        } => bit(src),
        Insn::Neg {
            width: Width::W64,
            dst,
        }
        | Insn::Swap { bits: 64, dst, .. } => bit(dst),
        Insn::Load { base, .. } | Insn::LoadAcquire { base, .. } => bit(base),
        Insn::Store {
            size, base, src, ..
        } => bit(base) | if size == MemSize::DW { operand(src) } else { 0 },
        Insn::StoreRelease {
            size, base, src, ..
        }
        | Insn::Atomic {
            size, base, src, ..
        } => bit(base) | if size == MemSize::DW { bit(src) } else { 0 },
        Insn::LoadPacket { base, .. } => match base {
            PacketBase::Abs => bit(Reg::R6),
            PacketBase::Ind(reg) => bit(Reg::R6) | bit(reg),
        },
        Insn::Branch {
            width: Width::W64,
            dst,
            src,
            ..
        } => bit(dst) | operand(src),
        Insn::Call(CallTarget::Helper(id)) => {
            let arity = bpf::helper::prototype(id).map_or(5, bpf::helper::Prototype::arity);
            ((1 << (arity + 1)) - 1) & ARGUMENTS
        }
        Insn::Call(CallTarget::Kfunc { .. } | CallTarget::Reg(_)) => ARGUMENTS,
        Insn::Alu { .. }
        | Insn::Neg { .. }
        | Insn::MovSx { .. }
        | Insn::Swap { .. }
        | Insn::LoadWide { .. }
        | Insn::WideTail
        | Insn::Jump { .. }
        | Insn::Branch { .. }
        | Insn::MayGoto { .. }
        | Insn::Call(CallTarget::Local { .. })
        | Insn::Exit => 0,
    }
}
