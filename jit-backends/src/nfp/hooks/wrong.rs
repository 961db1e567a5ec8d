//! What the driver lets pass its checks and cannot translate, or translates to something else.

use std::collections::BTreeSet;

use bpf::Hook;
use isa::ebpf::{AluOp, Insn, MemSize, Operand, Reg, Wide, Width};

use super::report::Refusal;
use super::{ACCEPTED_BUT_WRONG, Hooks, TRANSLATION};

/// The translator's word for an operation that it does not have.
const NO_OPERATION: &str = "Translation failed with error -95";

impl Hooks {
    /// Over all instructions that a path reaches.
    pub(super) fn wrong(&self) -> Vec<Refusal> {
        let Some(program) = &self.program else {
            return Vec::new();
        };
        let mut refusals = Vec::new();
        let mut addressed = BTreeSet::new();
        for (pc, insn) in program.insns.iter().enumerate() {
            if !self.reached.contains(&pc) {
                continue;
            }
            // Of a map one place is enough: each is also a finding of the check.
            if let Insn::LoadWide {
                value: Wide::MapValue { map, .. },
                ..
            } = insn
                && !addressed.insert(*map)
            {
                continue;
            }
            let more = [self.untold(pc, insn), broken(insn)];
            refusals.extend(more.into_iter().flatten().map(|refusal| refusal.at(pc)));
        }
        refusals
    }

    /// A load of a context field that the translator does not know; the check lets all pass.
    fn untold(&self, pc: usize, insn: &Insn) -> Option<Refusal> {
        let offset = self.context_loads.get(&pc)?;
        let Insn::Load { size, .. } = insn else {
            return None;
        };
        let hook = self.hook()?;
        let fields: &[i64] = match hook {
            Hook::Xdp { .. } => &[0, 4],
            Hook::Tc { .. } => &[0, 76, 80],
            Hook::Raw { .. } => return None,
        };
        if *size == MemSize::W && fields.contains(offset) {
            return None;
        }
        let field = bpf::context::field_at(hook, *offset).map_or("", |field| field.name);
        Some(
            Refusal::new(TRANSLATION, "EINVAL", NO_OPERATION)
                .subject(field)
                .why(format!(
                    "the translator knows {} of the context, each whole; {field} is none of them, and only the kernel's log says that something failed",
                    if fields.len() == 2 { "data and data_end" } else { "len, data and data_end" }
                ))
                .help("leave the field alone, or decide by what the packet says")
                .means(&["ctx/field"]),
        )
    }
}

/// An instruction that becomes something else, or nothing.
fn broken(insn: &Insn) -> Option<Refusal> {
    let wrong = |what: &'static str, why: &str, help: &str| {
        let refusal = Refusal::silent(ACCEPTED_BUT_WRONG, "", what);
        Some(refusal.subject(insn.row().mnemonic()).why(why).help(help))
    };
    let newer = "compile with -mcpu=v3";
    match *insn {
        Insn::Store {
            src: Operand::Imm(_),
            ..
        } => Some(
            Refusal::new(ACCEPTED_BUT_WRONG, "EINVAL", NO_OPERATION)
                .subject(insn.row().mnemonic())
                .why(
                    "the check lets stores of immediates pass without noting where they go, and so the translator refuses them",
                )
                .help("compile with -mcpu=v3, or put the constant into a register first"),
        ),
        Insn::MovSx { .. } => wrong(
            "the driver takes a sign-extending move for a plain move",
            "it looks at the opcode byte alone, and the offset field says how many bits are extended",
            newer,
        ),
        Insn::Alu {
            op: AluOp::Sdiv, ..
        } => wrong(
            "the driver takes a signed division for an unsigned one",
            "it looks at the opcode byte alone, and the offset field says that the division is signed",
            newer,
        ),
        Insn::LoadWide {
            value: Wide::MapValue { .. } | Wide::MapFdValue { .. },
            ..
        } => wrong(
            "the driver takes the address of a map value for a number",
            "it puts device addresses only in the place of maps; what stands here is an address of the host",
            "pass global variables in an array map and look them up",
        ),
        Insn::LoadWide {
            value: Wide::BtfId { .. } | Wide::Function { .. },
            ..
        } => wrong(
            "the driver takes the address of a function or variable for a number",
            "what stands here is an address of the host",
            "leave it out",
        ),
        _ if uses_frame_pointer(insn) => wrong(
            "the driver takes two temporary registers for the frame pointer",
            "only a 64-bit move and the base of an access know r10; elsewhere its number means registers that hold something else",
            "copy r10 to another register first, and work with that",
        ),
        _ => None,
    }
}

/// Whether r10 is an operand and not only an address.
fn uses_frame_pointer(insn: &Insn) -> bool {
    let is_frame = |src: Operand| src == Operand::Reg(Reg::R10);
    match *insn {
        Insn::Alu { op, width, src, .. } => {
            is_frame(src) && !(op == AluOp::Mov && width == Width::W64)
        }
        Insn::Store { src, .. } => is_frame(src),
        Insn::Branch { dst, src, .. } => dst == Reg::R10 || is_frame(src),
        Insn::Atomic { src, .. } => src == Reg::R10,
        _ => false,
    }
}
