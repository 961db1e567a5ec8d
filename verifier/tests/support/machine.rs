//! A concrete machine for generated programs: numbers, one stack frame per function, one map
//! value. Shares nothing with the verifier; every access is checked.

use bpf::Program;
use isa::ebpf::{AluOp, AtomicOp, CallTarget, Cond, Insn, Operand, SwapKind, Wide, Width};

use super::generate::{Random, VALUE_BYTES};

/// Where the stack of the function at depth `n` ends: `STACK + n * STACK_STEP`.
pub const STACK: u64 = 0x1_0000_0000;
/// Distance between the frames of a chain.
pub const STACK_STEP: u64 = 0x1000;
/// Where the map's value starts.
pub const VALUE: u64 = 0x2_0000_0000;

/// What went wrong.
#[derive(Debug)]
pub enum Fault {
    OutOfBounds { pc: usize, address: u64 },
    Pc { pc: usize },
    Unsupported { pc: usize },
}

struct Frame {
    regs: [u64; 11],
    stack: [u8; 512],
    returns: usize,
}

/// Runs `program`; `visit` sees (pc, depth, registers) before each instruction. Ends quietly
/// after a million instructions.
pub fn run(
    program: &Program,
    seed: u64,
    mut visit: impl FnMut(usize, usize, &[u64; 11]),
) -> Result<(), Fault> {
    let mut random = Random::new(seed);
    let mut value = [0u8; VALUE_BYTES as usize];
    for chunk in value.chunks_mut(8) {
        // Small, all ones, or any: what bounds are made of.
        let number = match random.below(5) {
            0 => random.below(80),
            1 => u64::MAX,
            2 => 1 << random.below(64),
            3 => random.next() & 0xffff_ffff,
            _ => random.next(),
        };
        chunk.copy_from_slice(&number.to_le_bytes());
    }
    let fresh = |depth: usize, returns, random: &mut Random| {
        let mut regs = [0; 11];
        for reg in &mut regs {
            *reg = random.next();
        }
        regs[10] = STACK + depth as u64 * STACK_STEP;
        let mut stack = [0; 512];
        for byte in &mut stack {
            *byte = random.next() as u8;
        }
        Frame {
            regs,
            stack,
            returns,
        }
    };
    let mut frames = vec![fresh(0, 0, &mut random)];
    let mut pc = 0;
    for _ in 0..1_000_000 {
        let depth = frames.len() - 1;
        let insn = *program.insns.get(pc).ok_or(Fault::Pc { pc })?;
        visit(pc, depth, &frames[depth].regs);
        let mut next = pc + insn.slots();
        let regs = &mut frames[depth].regs;
        let operand = |regs: &[u64; 11], src: Operand| match src {
            Operand::Reg(reg) => regs[reg.index()],
            Operand::Imm(imm) => i64::from(imm) as u64,
        };
        match insn {
            Insn::Alu {
                op,
                width,
                dst,
                src,
            } => {
                let (a, b) = (regs[dst.index()], operand(regs, src));
                regs[dst.index()] = match width {
                    Width::W64 => alu64(op, a, b),
                    Width::W32 => u64::from(alu32(op, a as u32, b as u32)),
                };
            }
            Insn::Neg { width, dst } => {
                let a = regs[dst.index()];
                regs[dst.index()] = match width {
                    Width::W64 => a.wrapping_neg(),
                    Width::W32 => u64::from((a as u32).wrapping_neg()),
                };
            }
            Insn::MovSx {
                width,
                dst,
                src,
                bits,
            } => {
                let a = regs[src.index()];
                let wide = match bits {
                    8 => i64::from(a as i8),
                    16 => i64::from(a as i16),
                    _ => i64::from(a as i32),
                } as u64;
                regs[dst.index()] = match width {
                    Width::W64 => wide,
                    Width::W32 => wide & 0xffff_ffff,
                };
            }
            Insn::Swap { kind, bits, dst } => {
                let a = regs[dst.index()];
                regs[dst.index()] = match (kind, bits) {
                    (SwapKind::ToLe, 16) => u64::from(a as u16),
                    (SwapKind::ToLe, 32) => u64::from(a as u32),
                    (SwapKind::ToLe, _) => a,
                    (_, 16) => u64::from((a as u16).swap_bytes()),
                    (_, 32) => u64::from((a as u32).swap_bytes()),
                    (_, _) => a.swap_bytes(),
                };
            }
            Insn::LoadWide {
                dst,
                value: Wide::MapValue { offset, .. },
            } => regs[dst.index()] = VALUE + u64::from(offset),
            Insn::LoadWide {
                dst,
                value: Wide::Value(number),
            } => regs[dst.index()] = number,
            Insn::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => {
                let address = regs[base.index()].wrapping_add(i64::from(offset) as u64);
                let bytes = memory(&mut frames, &mut value, address, size.bytes())
                    .ok_or(Fault::OutOfBounds { pc, address })?;
                let mut wide = [0; 8];
                wide[..bytes.len()].copy_from_slice(bytes);
                let mut number = u64::from_le_bytes(wide);
                if signed {
                    let shift = 64 - 8 * u32::from(size.bytes());
                    number = ((number << shift) as i64 >> shift) as u64;
                }
                frames[depth].regs[dst.index()] = number;
            }
            Insn::Store {
                size,
                base,
                offset,
                src,
            } => {
                let address = regs[base.index()].wrapping_add(i64::from(offset) as u64);
                let number = operand(regs, src).to_le_bytes();
                let bytes = memory(&mut frames, &mut value, address, size.bytes())
                    .ok_or(Fault::OutOfBounds { pc, address })?;
                let len = bytes.len();
                bytes.copy_from_slice(&number[..len]);
            }
            Insn::Atomic {
                op,
                size,
                base,
                offset,
                src,
            } => {
                let address = regs[base.index()].wrapping_add(i64::from(offset) as u64);
                let (given, compare) = (regs[src.index()], regs[0]);
                let bytes = memory(&mut frames, &mut value, address, size.bytes())
                    .ok_or(Fault::OutOfBounds { pc, address })?;
                let mut wide = [0; 8];
                wide[..bytes.len()].copy_from_slice(bytes);
                let old = u64::from_le_bytes(wide);
                let mask = if bytes.len() == 8 {
                    u64::MAX
                } else {
                    0xffff_ffff
                };
                let new = match op {
                    AtomicOp::Add | AtomicOp::FetchAdd => old.wrapping_add(given),
                    AtomicOp::Or | AtomicOp::FetchOr => old | given,
                    AtomicOp::And | AtomicOp::FetchAnd => old & given,
                    AtomicOp::Xor | AtomicOp::FetchXor => old ^ given,
                    AtomicOp::Xchg => given,
                    AtomicOp::Cmpxchg if old == compare & mask => given,
                    AtomicOp::Cmpxchg => old,
                };
                let len = bytes.len();
                bytes.copy_from_slice(&new.to_le_bytes()[..len]);
                if op == AtomicOp::Cmpxchg {
                    frames[depth].regs[0] = old;
                } else if op.fetches() {
                    frames[depth].regs[src.index()] = old;
                }
            }
            Insn::Jump { .. } => next = insn.jump_target(pc).unwrap() as usize,
            Insn::Branch {
                cond,
                width,
                dst,
                src,
                ..
            } => {
                let (a, b) = (regs[dst.index()], operand(regs, src));
                let taken = match width {
                    Width::W64 => holds(cond, a, b, a as i64, b as i64),
                    Width::W32 => holds(
                        cond,
                        u64::from(a as u32),
                        u64::from(b as u32),
                        i64::from(a as i32),
                        i64::from(b as i32),
                    ),
                };
                if taken {
                    next = insn.jump_target(pc).unwrap() as usize;
                }
            }
            Insn::Call(CallTarget::Helper(id)) => {
                for reg in &mut regs[0..6] {
                    *reg = random.next();
                }
                if id == 8 || random.below(2) == 0 {
                    // A CPU number, or a small number.
                    regs[0] = random.below(100);
                }
            }
            Insn::Call(CallTarget::Local { .. }) => {
                let target = insn.function_target(pc).unwrap() as usize;
                let mut frame = fresh(depth + 1, next, &mut random);
                frame.regs[1..6].copy_from_slice(&frames[depth].regs[1..6]);
                frames.push(frame);
                next = target;
            }
            Insn::Exit => {
                let done = frames.pop().unwrap();
                let Some(caller) = frames.last_mut() else {
                    return Ok(());
                };
                caller.regs[0] = done.regs[0];
                for reg in &mut caller.regs[1..6] {
                    *reg = random.next();
                }
                next = done.returns;
            }
            _ => return Err(Fault::Unsupported { pc }),
        }
        pc = next;
    }
    Ok(())
}

fn memory<'m>(
    frames: &'m mut [Frame],
    value: &'m mut [u8],
    address: u64,
    size: u8,
) -> Option<&'m mut [u8]> {
    let size = usize::from(size);
    if let Some(offset) = address.checked_sub(VALUE) {
        let start = usize::try_from(offset).ok()?;
        return value.get_mut(start..start.checked_add(size)?);
    }
    let from_bottom = address.checked_sub(STACK - 512)?;
    let depth = (from_bottom / STACK_STEP) as usize;
    let start = (from_bottom % STACK_STEP) as usize;
    frames.get_mut(depth)?.stack.get_mut(start..start + size)
}

fn alu64(op: AluOp, a: u64, b: u64) -> u64 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => (a as i64).wrapping_div(b as i64) as u64,
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => (a as i64).wrapping_rem(b as i64) as u64,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
        AluOp::Lsh => a << (b & 63),
        AluOp::Rsh => a >> (b & 63),
        AluOp::Arsh => ((a as i64) >> (b & 63)) as u64,
    }
}

fn alu32(op: AluOp, a: u32, b: u32) -> u32 {
    match op {
        AluOp::Lsh => a << (b & 31),
        AluOp::Rsh => a >> (b & 31),
        AluOp::Arsh => ((a as i32) >> (b & 31)) as u32,
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => (a as i32).wrapping_div(b as i32) as u32,
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => (a as i32).wrapping_rem(b as i32) as u32,
        _ => alu64(op, u64::from(a), u64::from(b)) as u32,
    }
}

fn holds(cond: Cond, a: u64, b: u64, sa: i64, sb: i64) -> bool {
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
        Cond::Set => a & b != 0,
    }
}
