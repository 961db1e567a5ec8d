//! Loads and stores of the stack, which lies in local memory.
//!
//! Accesses are aligned to their size or to 4 bytes, so that a narrow one lies within a word.

use isa::ebpf::{MemSize, Reg};
use isa::nfp::Operand::{A, B, Both};
use isa::nfp::{AluOp, Insn, Operand, Shift, abi};
use verifier::facts::Region;

use super::{FRAME, IMM_A, IMM_B, Lowering, Outcome, high, low, untranslated};
use crate::nfp::plan::Function;

/// Bytes that the frame's own index register reaches: 16 words.
const NEAR: i64 = 64;
/// Bytes that an index register reaches for narrow accesses: 8 words.
const WINDOW: i64 = 32;

/// Words of local memory that an access goes to.
struct Place {
    index: u8,
    /// First word.
    word: u8,
    /// Byte in the first word.
    byte: u8,
    /// The index register moves on after each word but the last.
    moves: bool,
}

impl Place {
    fn word(&self, n: u8, last: bool) -> Operand {
        if self.moves && !last {
            Operand::LmIncrement(self.index)
        } else {
            Operand::Lm {
                index: self.index,
                offset: self.word + if self.moves { 0 } else { n },
            }
        }
    }

    /// A word that narrow accesses cannot name, and the restricted ones can.
    fn is_far(&self) -> bool {
        self.word > 7
    }
}

impl Lowering<'_> {
    pub(super) fn load_stack(
        &mut self,
        pc: usize,
        size: MemSize,
        dst: Reg,
        base: Reg,
        offset: i16,
        function: &Function,
    ) -> Outcome {
        let narrow = size != MemSize::DW;
        let clears = narrow && self.plan.steps[pc].zext;
        let place = self.stack_place(pc, size, base, offset, function, clears)?;
        if narrow {
            self.zext(pc, dst);
        }
        match size {
            MemSize::DW => {
                self.e.mov(Both(low(dst)), place.word(0, false));
                self.e.mov(Both(high(dst)), place.word(1, true));
            }
            MemSize::W => self.e.mov(Both(low(dst)), place.word(0, true)),
            MemSize::B | MemSize::H => {
                let mut word = place.word(0, true);
                if place.is_far() {
                    self.e.mov(IMM_A, word);
                    word = IMM_A;
                }
                let shift = match place.byte {
                    0 => Shift::None,
                    n => Shift::Right(8 * n),
                };
                let mask = (1 << size.bytes()) - 1;
                self.e.field_clear(Both(low(dst)), mask, word, shift);
            }
        }
        Ok(())
    }

    pub(super) fn store_stack(
        &mut self,
        pc: usize,
        size: MemSize,
        base: Reg,
        offset: i16,
        src: Reg,
        function: &Function,
    ) -> Outcome {
        let place = self.stack_place(pc, size, base, offset, function, false)?;
        match size {
            MemSize::DW => {
                self.e.mov(place.word(0, false), B(low(src)));
                self.e.mov(place.word(1, true), B(high(src)));
            }
            MemSize::W => self.e.mov(place.word(0, true), B(low(src))),
            MemSize::B | MemSize::H => {
                let word = place.word(0, true);
                let shift = match place.byte {
                    0 => Shift::None,
                    n => Shift::Left(8 * n),
                };
                let mask = ((1 << size.bytes()) - 1) << place.byte;
                if place.is_far() {
                    self.e.mov(IMM_A, word);
                    self.e.field(IMM_A, mask, B(low(src)), shift);
                    self.e.mov(word, IMM_A);
                } else {
                    self.e.field(word, mask, B(low(src)), shift);
                }
            }
        }
        Ok(())
    }

    /// Sets an index register up for an access, if the frame's own does not reach it. With
    /// `clears` the caller fills one of the slots in which a written index is not there yet.
    fn stack_place(
        &mut self,
        pc: usize,
        size: MemSize,
        base: Reg,
        offset: i16,
        function: &Function,
        clears: bool,
    ) -> Result<Place, super::Refused> {
        let unknown = || untranslated("an access to the stack at an unknown place");
        let access = self.plan.facts(pc).access.ok_or_else(unknown)?;
        let bytes = i64::from(size.bytes());
        let at = i64::from(function.pointer()) + access.max;
        let own = access.region == Region::Stack { up: 0 };
        let constant = access.min == access.max && own;
        if !constant && access.align < size.bytes().min(4) {
            return Err(unknown());
        }
        let byte = at.rem_euclid(4) as u8;
        if constant && at + bytes <= NEAR {
            return Ok(Place {
                index: abi::LM_STACK,
                word: (at / 4) as u8,
                byte,
                moves: false,
            });
        }
        let window = at / WINDOW == (at + bytes - 1) / WINDOW;
        let (pointer, distance) = match (constant, window) {
            (false, _) => (A(low(base)), i64::from(offset)),
            (true, true) => (FRAME, at / WINDOW * WINDOW),
            (true, false) => (FRAME, at / 4 * 4),
        };
        let distance = self.e.constant(distance as u32, IMM_B);
        self.e.alu(IMM_B, pointer, AluOp::Add, distance);
        self.e.insn(Insn::CsrWrite {
            address: abi::csr::LM3,
            src: IMM_B,
        });
        self.e.nops(if clears { 2 } else { 3 });
        let in_window = constant && window;
        Ok(Place {
            index: abi::LM_POINTER,
            word: if in_window {
                (at % WINDOW / 4) as u8
            } else {
                0
            },
            byte,
            moves: !in_window,
        })
    }
}
