//! Products and quotients: the card multiplies 32-bit numbers, and divides by constants.
//!
//! The ranges are the verifier's, unsigned and of 64 bits also for 32-bit operations, and of
//! the paths that it walks.

use isa::ebpf::{AluOp, Insn, Operand, Width};
use verifier::Visit;

use super::report::Refusal;
use super::{DIVIDE, Hooks, MULTIPLY, Seen};

const U32_MAX: u64 = 0xffff_ffff;

impl Hooks {
    pub(super) fn arithmetic(&mut self, visit: &Visit<'_>) -> Vec<Refusal> {
        let Insn::Alu {
            op,
            width,
            dst,
            src,
        } = *visit.insn
        else {
            return Vec::new();
        };
        let range = |reg: isa::ebpf::Reg| {
            let range = visit.facts.registers[reg.index()].range;
            (range.umin, range.umax)
        };
        let seen = self.seen.entry(visit.pc).or_default();
        seen.dst = widened(seen.dst, range(dst));
        seen.src = widened(
            seen.src,
            match src {
                Operand::Reg(reg) => range(reg),
                Operand::Imm(imm) => (u64::from(imm as u32), u64::from(imm as u32)),
            },
        );
        let seen = *seen;
        let mut refusals = match op {
            AluOp::Mul => multiply(width, src, &seen),
            AluOp::Div | AluOp::Sdiv => divide(src, &seen),
            _ => Vec::new(),
        };
        for refusal in &mut refusals {
            refusal.pc = Some(visit.pc);
            refusal.subject = visit.insn.row().mnemonic().to_owned();
        }
        refusals
    }
}

fn widened(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0.min(b.0), a.1.max(b.1))
}

fn multiply(width: Width, src: Operand, seen: &Seen) -> Vec<Refusal> {
    let refuse = |text: &str, why: String, help: &str| {
        Refusal::new(MULTIPLY, "EINVAL", text).why(why).help(help)
    };
    let bound = "bound the number before: mask it, compare it, or load it as 32 bits or less";
    let mut refusals = Vec::new();
    if seen.dst.1 > U32_MAX {
        let why = too_large("the first factor", seen.dst.1);
        refusals.push(refuse(
            "multiplier is not within u32 value range",
            why,
            bound,
        ));
    }
    match src {
        Operand::Reg(_) if seen.src.1 > U32_MAX => {
            let why = too_large("the second factor", seen.src.1);
            refusals.push(refuse(
                "multiplicand is not within u32 value range",
                why,
                bound,
            ));
        }
        Operand::Imm(imm) if imm < 0 && width == Width::W64 => refusals.push(refuse(
            "sign extended multiplicand won't be within u32 value range",
            format!("{imm} is extended to 64 bits, the card multiplies 32-bit numbers"),
            "multiply by the positive number and subtract from 0, or multiply 32-bit numbers",
        )),
        _ => {}
    }
    refusals
}

fn divide(src: Operand, seen: &Seen) -> Vec<Refusal> {
    let refuse = |text: &str, why: String, help: &str| {
        Refusal::new(DIVIDE, "EINVAL", text).why(why).help(help)
    };
    let bound = "bound the number before: mask it, compare it, or load it as 32 bits or less";
    let mut refusals = Vec::new();
    if seen.dst.1 > U32_MAX {
        let why = too_large("the dividend", seen.dst.1);
        refusals.push(refuse("dividend is not within u32 value range", why, bound));
    }
    match src {
        Operand::Reg(_) => {
            if seen.src.0 != seen.src.1 {
                refusals.push(
                    refuse(
                        "divisor is not constant",
                        format!(
                            "the card cannot divide: the driver multiplies by the reciprocal of a \
                             number that it must know, and the verifier has seen {} to {}",
                            seen.src.0, seen.src.1
                        ),
                        "divide by a constant, by shifts, or take the quotient from a map that the host fills",
                    )
                    .means(&["isa/not-on-nic"]),
                );
            }
            if seen.src.1 > U32_MAX {
                let why = too_large("the divisor", seen.src.1);
                refusals.push(refuse("divisor is not within u32 value range", why, bound));
            }
        }
        Operand::Imm(imm) if imm < 0 => refusals.push(refuse(
            "divide by negative constant is not supported",
            format!("{imm} is, unsigned and extended to 64 bits, beyond 32 bits"),
            "divide by a constant below 2^31",
        )),
        Operand::Imm(_) => {}
    }
    refusals
}

fn too_large(what: &str, largest: u64) -> String {
    format!(
        "{what} may be {largest:#x}, as far as the verifier knows: the range is of all 64 bits of \
         the register, also where the operation takes 32"
    )
}
