//! Instructions as text, in the form of GNU objdump for `elf64-nfp` with `-M ctx4` (which is
//! what bpftool prints too).

use std::fmt;

use super::abi;
use super::insn::{
    ALU_OPS, AddressMode, AluOp, COMMANDS, CONDITIONS, Command, ContextSwap, Insn, MulSize,
    MulStep, SHF_OPS, ShfOp, Shift, Width,
};
use super::operand::{Operand, Sources};

/// Bit of an add's count: 64 bits wide.
const ADD_64: u8 = 4;

fn name_of<T: Copy + PartialEq, const N: usize>(
    table: &[(T, u64, &'static str); N],
    of: T,
) -> &'static str {
    table
        .iter()
        .find(|row| row.0 == of)
        .map_or("?", |row| row.2)
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shift::None => Ok(()),
            Shift::Rotate(n) => write!(f, ", >>rot{n}"),
            Shift::Right(n) | Shift::Double(n) => write!(f, ", >>{n}"),
            Shift::Left(n) => write!(f, ", <<{n}"),
            Shift::RightIndirect | Shift::DoubleIndirect => f.write_str(", >>indirect"),
            Shift::LeftIndirect => f.write_str(", <<indirect"),
        }
    }
}

fn both(dst: Operand) -> &'static str {
    if matches!(dst, Operand::Both(_)) {
        ", gpr_wrboth"
    } else {
        ""
    }
}

fn defer(n: u8) -> String {
    if n == 0 {
        String::new()
    } else {
        format!(", defer[{n}]")
    }
}

fn csr_name(address: u16) -> String {
    abi::csr::NAMES
        .iter()
        .find(|(known, _)| *known == address)
        .map_or_else(|| format!("{address:#x}"), |(_, name)| (*name).to_owned())
}

impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Insn::NOP => f.write_str("nop"),
            Insn::Alu { op, dst, src } => {
                let left = match op {
                    AluOp::Right | AluOp::Not => Operand::None,
                    _ => src.left(),
                };
                write!(
                    f,
                    "alu[{dst}, {left}, {}, {}]{}",
                    name_of(&ALU_OPS, op),
                    src.right(),
                    both(dst)
                )
            }
            Insn::Shf {
                op,
                shift,
                dst,
                src,
            } => shf(f, op, shift, dst, src),
            Insn::LdField {
                clear,
                mask,
                shift,
                both,
                src,
            } => write!(
                f,
                "ld_field{}[{}, {mask:04b}, {}{shift}]{}",
                if clear { "_w_clr" } else { "" },
                src.left(),
                src.right(),
                if both { ", gpr_wrboth" } else { "" }
            ),
            Insn::Immed {
                dst,
                value,
                width,
                invert,
                shift,
            } => {
                let name = match (width, shift) {
                    (Width::All, _) => "immed",
                    (Width::Byte, 0) => "immed_b0",
                    (Width::Byte, 1) => "immed_b1",
                    (Width::Byte, _) => "immed_b2",
                    (Width::Word, 0) => "immed_w0",
                    (Width::Word, _) => "immed_w1",
                };
                let value = u32::from(value);
                write!(
                    f,
                    "{name}[{dst}, {:#x}",
                    if invert { !value } else { value }
                )?;
                if width == Width::All && shift != 0 {
                    write!(f, ", <<{}", 8 * shift)?;
                }
                write!(f, "]{}", both(dst))
            }
            Insn::Mul { size, step, src } => {
                let step = match (size, step) {
                    (MulSize::Start, _) => "start".to_owned(),
                    (_, MulStep::Step(n)) => format!("{}_step{n}", size_name(size)),
                    (_, MulStep::Last) => format!("{}_last", size_name(size)),
                    (_, MulStep::LastHigh) => format!("{}_last2", size_name(size)),
                };
                write!(f, "mul_step[{}, {}], {step}", src.left(), src.right())
            }
            Insn::MulLast { size, high, dst } => write!(
                f,
                "mul_step[{}, --], {}_last{}{}",
                // The code of no destination is that of the immediate 0.
                if dst == Operand::None {
                    Operand::Imm(0)
                } else {
                    dst
                },
                size_name(size),
                if high { "2" } else { "" },
                both(dst)
            ),
            Insn::Br {
                condition,
                defer: n,
                target,
            } => write!(
                f,
                "{}[.{target}]{}",
                name_of(&CONDITIONS, condition),
                defer(n)
            ),
            Insn::BrBit {
                src,
                bit,
                set,
                defer: n,
                target,
            } => write!(
                f,
                "br_b{}[{src}, {bit}, .{target}]{}",
                if set { "set" } else { "clr" },
                defer(n)
            ),
            Insn::Rtn { src, defer: n } => write!(f, "rtn[{src}]{}", defer(n)),
            Insn::CsrRead { address } => write!(f, "local_csr_rd[{}]", csr_name(address)),
            Insn::CsrWrite { address, src } => {
                write!(f, "local_csr_wr[{}, {src}]", csr_name(address))
            }
            Insn::Cmd {
                command,
                xfer,
                count,
                src,
                mode,
                swap,
                indirect,
            } => {
                let name = COMMANDS
                    .iter()
                    .find(|row| row.0 == command)
                    .map_or("?", |row| row.3);
                let wide = command == Command::Add && count & ADD_64 != 0;
                let width = if wide { "64" } else { "" };
                write!(f, "mem[{name}{width}, $xfer_{xfer}, ")?;
                match mode {
                    AddressMode::Bits32 => write!(f, "{}, {}", src.a, src.b)?,
                    AddressMode::Bits40AB => write!(f, "{}, <<8, {}", src.a, src.b)?,
                    AddressMode::Bits40BA => write!(f, "{}, <<8, {}", src.b, src.a)?,
                }
                write!(f, ", {}]", count + 1)?;
                if indirect {
                    f.write_str(", indirect_ref")?;
                }
                match swap {
                    ContextSwap::Swap => f.write_str(", ctx_swap[sig1]"),
                    ContextSwap::SwapDefer1 => f.write_str(", ctx_swap[sig1], defer[1]"),
                    ContextSwap::SwapDefer2 => f.write_str(", ctx_swap[sig1], defer[2]"),
                    ContextSwap::None => Ok(()),
                }
            }
        }
    }
}

fn size_name(size: MulSize) -> &'static str {
    match size {
        MulSize::Start => "start",
        MulSize::M24x8 => "24x8",
        MulSize::M16x16 => "16x16",
        MulSize::M32x32 => "32x32",
    }
}

fn shf(
    f: &mut fmt::Formatter<'_>,
    op: ShfOp,
    shift: Shift,
    dst: Operand,
    src: Sources,
) -> fmt::Result {
    let both = both(dst);
    if let Shift::Double(_) | Shift::DoubleIndirect = shift {
        return write!(
            f,
            "dbl_shf[{dst}, {}, {}{shift}]{both}",
            src.left(),
            src.right()
        );
    }
    if op == ShfOp::Arithmetic {
        return write!(f, "asr[{dst}, {}{shift}]{both}", src.right());
    }
    let left = match op {
        ShfOp::Right => Operand::None,
        _ => src.left(),
    };
    let unshifted = if shift == Shift::None { ", >>rot0" } else { "" };
    write!(
        f,
        "alu_shf[{dst}, {left}, {}, {}{shift}{unshifted}]{both}",
        name_of(&SHF_OPS, op),
        src.right()
    )
}
