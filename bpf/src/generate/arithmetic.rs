//! Pieces that compute.

use isa::ebpf::{AluOp, Insn, Operand, SwapKind, Width};

use super::builder::{Builder, Holds};

/// Two-operand operations.
pub const OPERATIONS: [AluOp; 14] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Sdiv,
    AluOp::Mod,
    AluOp::Smod,
    AluOp::Or,
    AluOp::And,
    AluOp::Xor,
    AluOp::Mov,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Arsh,
];

impl Builder<'_> {
    /// One to four operations on numbers.
    pub(super) fn compute(&mut self) {
        for _ in 0..=self.random.below(4) {
            if self.random.percent(70) {
                self.binary();
            } else {
                self.unary();
            }
        }
    }

    pub(super) fn width(&mut self) -> Width {
        self.random.choose(&[Width::W32, Width::W64])
    }

    pub(super) fn binary(&mut self) {
        let op = self.random.choose(&OPERATIONS);
        let width = self.width();
        let dst = self.variable();
        let src = if self.random.percent(50) {
            Operand::Reg(self.number())
        } else {
            let bits = if width == Width::W64 { 64 } else { 32 };
            Operand::Imm(match op {
                // Linux refuses shifts by the width or more, and constant divisors of 0.
                AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                    let any = self.random.below(bits) as i32;
                    self.random.choose(&[0, 1, bits as i32 - 1, any, any])
                }
                AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => {
                    match self.random.immediate() {
                        0 => -1,
                        imm => imm,
                    }
                }
                _ => self.random.immediate(),
            })
        };
        self.push(Insn::Alu {
            op,
            width,
            dst,
            src,
        });
    }

    fn unary(&mut self) {
        let width = self.width();
        let insn = match self.random.below(3) {
            0 => Insn::Neg {
                width,
                dst: self.variable(),
            },
            1 => {
                let bits = if width == Width::W64 {
                    self.random.choose(&[8, 16, 32])
                } else {
                    self.random.choose(&[8, 16])
                };
                let src = self.number();
                let dst = self.target();
                self.set(dst, Holds::Number);
                Insn::MovSx {
                    width,
                    dst,
                    src,
                    bits,
                }
            }
            _ => Insn::Swap {
                kind: self
                    .random
                    .choose(&[SwapKind::ToLe, SwapKind::ToBe, SwapKind::Bswap]),
                bits: self.random.choose(&[16, 32, 64]),
                dst: self.variable(),
            },
        };
        self.push(insn);
    }

    /// Numbers at the edges in registers, so that what follows meets them.
    pub(super) fn edges(&mut self) {
        for _ in 0..=self.random.below(3) {
            let dst = self.target();
            if self.random.percent(50) {
                self.constant(dst);
            } else {
                self.unknown(dst);
            }
        }
    }
}
