//! Words in the making: instructions whose addresses are not known yet, and what each came from.

use isa::nfp::abi::link::{FIRST_MAP_ID, MAP_ID, NEXT_PACKET};
use isa::nfp::{
    AluOp, Condition, Insn, Operand, OperandError, PLACEHOLDER, Relocation, ShfOp, Shift, Width,
    encode,
};
use isa::{CodeRange, RelocationKind, Symbol};

/// Where a branch goes, or an address points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The first word of an eBPF instruction.
    Pc(usize),
    /// The start of a function of the program, by its first pc.
    Function(usize),
    /// A word of the image.
    Word(usize),
    /// The way out of the program, with r0.
    Out,
    /// The way out without.
    Abort,
    /// The routine that saves r6 to r9.
    Push,
    /// The routine that restores them.
    Pop,
    /// Out of the program's code.
    NextPacket,
    /// A helper of the firmware.
    Helper(u32),
}

/// What is still missing in a word.
#[derive(Clone, Copy, Debug)]
enum Hole {
    Branch(Target),
    Address(Target),
    Map(usize),
}

/// Places that only the end of translation knows, as word indices.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// First word of each pc's code; for a pc without code, that of the code that follows.
    pub(super) pcs: Vec<usize>,
    /// First word of each function, by its first pc.
    pub(super) functions: Vec<(usize, usize)>,
    /// Way out.
    pub(super) out: usize,
    /// Way out without r0.
    pub(super) abort: usize,
    /// Saving routine, if there is one.
    pub(super) push: Option<usize>,
    /// Restoring routine, if there is one.
    pub(super) pop: Option<usize>,
}

impl Places {
    fn of(&self, target: Target) -> Option<usize> {
        match target {
            Target::Pc(pc) => self.pcs.get(pc).copied(),
            Target::Function(pc) => self.functions.iter().find(|f| f.0 == pc).map(|f| f.1),
            Target::Word(word) => Some(word),
            Target::Out => Some(self.out),
            Target::Abort => Some(self.abort),
            Target::Push => self.push,
            Target::Pop => self.pop,
            Target::NextPacket | Target::Helper(_) => None,
        }
    }
}

/// Why words cannot be finished: a fault of this backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EmitError {
    /// Operands that no word can hold.
    #[error("{0}")]
    Operand(#[from] OperandError),
    /// A branch to what has no code.
    #[error("a branch leads to what has no code")]
    Nowhere,
}

/// What the emitter yields.
#[derive(Debug)]
pub(super) struct Emitted {
    /// The words, little-endian, with relocation kinds.
    pub(super) code: Vec<u8>,
    /// What loading fills.
    pub(super) relocations: Vec<isa::Relocation>,
    /// What each range came from.
    pub(super) ranges: Vec<CodeRange>,
}

/// Collects words.
#[derive(Debug, Default)]
pub(super) struct Emitter {
    words: Vec<(Insn, Option<Hole>)>,
    /// First word of each range, and the pcs it came from.
    ranges: Vec<(usize, Vec<usize>)>,
    notes: Vec<(usize, &'static str)>,
    failed: Option<(usize, EmitError)>,
}

impl Emitter {
    /// The code that follows came from these pcs; none for glue.
    pub(super) fn begin(&mut self, pcs: Vec<usize>) {
        let here = self.here();
        match self.ranges.last_mut() {
            Some(last) if last.0 == here => last.1 = pcs,
            Some(last) if last.1 == pcs => {}
            _ => self.ranges.push((here, pcs)),
        }
    }

    /// Index of the next word.
    pub(super) fn here(&self) -> usize {
        self.words.len()
    }

    /// A remark on the next word.
    pub(super) fn note(&mut self, note: &'static str) {
        self.notes.push((self.here() * 8, note));
    }

    fn push(&mut self, insn: Insn, hole: Option<Hole>) {
        self.words.push((insn, hole));
    }

    fn built(&mut self, insn: Result<Insn, OperandError>) {
        match insn {
            Ok(insn) => self.push(insn, None),
            Err(error) => {
                let here = self.here();
                self.failed.get_or_insert((here, error.into()));
                self.push(Insn::NOP, None);
            }
        }
    }

    /// An instruction as it is.
    pub(super) fn insn(&mut self, insn: Insn) {
        self.push(insn, None);
    }

    /// `dst = left op right`.
    pub(super) fn alu(&mut self, dst: Operand, left: Operand, op: AluOp, right: Operand) {
        self.built(Insn::alu(dst, left, op, right));
    }

    /// `left op right` for the condition codes alone.
    pub(super) fn test(&mut self, left: Operand, op: AluOp, right: Operand) {
        self.alu(Operand::None, left, op, right);
    }

    /// `dst = src`.
    pub(super) fn mov(&mut self, dst: Operand, src: Operand) {
        self.alu(dst, Operand::None, AluOp::Right, src);
    }

    /// `dst = left op shifted right`.
    pub(super) fn shf(
        &mut self,
        dst: Operand,
        left: Operand,
        op: ShfOp,
        right: Operand,
        shift: Shift,
    ) {
        self.built(Insn::shf(dst, left, op, right, shift));
    }

    /// `dst = shifted right`.
    pub(super) fn shift(&mut self, dst: Operand, right: Operand, shift: Shift) {
        self.shf(dst, Operand::None, ShfOp::Right, right, shift);
    }

    /// Bytes of `dst` replaced by bytes of the shifted `src`.
    pub(super) fn field(&mut self, dst: Operand, mask: u8, src: Operand, shift: Shift) {
        self.built(Insn::ld_field(dst, mask, src, shift, false));
    }

    /// The same, and all other bytes of `dst` become 0.
    pub(super) fn field_clear(&mut self, dst: Operand, mask: u8, src: Operand, shift: Shift) {
        self.built(Insn::ld_field(dst, mask, src, shift, true));
    }

    /// `dst = value`, in one or two words.
    pub(super) fn load(&mut self, dst: Operand, value: u32) {
        let immed = |value, width, invert, shift| Insn::Immed {
            dst,
            value,
            width,
            invert,
            shift,
        };
        if let Some((value, shift)) = shifted16(value) {
            self.insn(immed(value, Width::All, false, shift));
        } else if let Some((value, shift)) = shifted16(!value) {
            self.insn(immed(value, Width::All, true, shift));
        } else {
            self.insn(immed(value as u16, Width::All, false, 0));
            self.insn(immed((value >> 16) as u16, Width::Word, false, 2));
        }
    }

    /// The number as an operand that can be read beside anything but `temporary`'s bank: in the
    /// instruction itself up to 255, else loaded into `temporary`.
    pub(super) fn constant(&mut self, value: u32, temporary: Operand) -> Operand {
        self.constant_up_to(255, value, temporary)
    }

    /// The same for restricted operands, which hold up to 127.
    pub(super) fn small_constant(&mut self, value: u32, temporary: Operand) -> Operand {
        self.constant_up_to(127, value, temporary)
    }

    fn constant_up_to(&mut self, max: u32, value: u32, temporary: Operand) -> Operand {
        if value <= max {
            return Operand::Imm(value as u8);
        }
        self.load(temporary, value);
        temporary
    }

    /// A branch.
    pub(super) fn br(&mut self, condition: Condition, defer: u8, target: Target) {
        let insn = Insn::Br {
            condition,
            defer,
            target: 0,
        };
        self.push(insn, Some(Hole::Branch(target)));
    }

    /// A branch if a bit of a bank A register is set.
    pub(super) fn br_bit_set(&mut self, src: Operand, bit: u8, target: Target) {
        let insn = Insn::BrBit {
            src,
            bit,
            set: true,
            defer: 0,
            target: 0,
        };
        self.push(insn, Some(Hole::Branch(target)));
    }

    /// An address in the image, as number.
    pub(super) fn address(&mut self, dst: Operand, target: Target) {
        self.push(immed16(dst, 0), Some(Hole::Address(target)));
    }

    /// The device's id of a map.
    pub(super) fn map_id(&mut self, dst: Operand, map: usize) {
        let id = usize::from(FIRST_MAP_ID) + map;
        self.push(immed16(dst, id as u16), Some(Hole::Map(map)));
    }

    /// Does nothing, so often.
    pub(super) fn nops(&mut self, count: usize) {
        for _ in 0..count {
            self.insn(Insn::NOP);
        }
    }

    /// Notes so far, by byte offset.
    pub(super) fn take_notes(&mut self) -> Vec<(usize, &'static str)> {
        std::mem::take(&mut self.notes)
    }

    /// Whether the last word is a branch, as that of every jump's code must be.
    pub(super) fn ends_in_branch(&self) -> bool {
        matches!(self.words.last(), Some((_, Some(Hole::Branch(_)))))
    }

    /// Fills in all addresses.
    ///
    /// # Errors
    /// The word that cannot be made, and why.
    pub(super) fn finish(self, places: &Places) -> Result<Emitted, (usize, EmitError)> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let mut emitted = Emitted {
            code: Vec::with_capacity(self.words.len() * 8),
            relocations: Vec::new(),
            ranges: Vec::new(),
        };
        for (index, (insn, hole)) in self.words.iter().enumerate() {
            let (insn, kind, relocation) = match hole {
                None => (*insn, Relocation::None, None),
                Some(hole) => fill(*insn, *hole, places).ok_or((index, EmitError::Nowhere))?,
            };
            if let Some((number, symbol)) = relocation {
                emitted.relocations.push(isa::Relocation {
                    at: index * 8,
                    kind: RelocationKind::Target(number),
                    symbol,
                });
            }
            let word = encode(&insn).map_err(|error| (index, error.into()))?;
            emitted.code.extend(kind.mark(word).to_le_bytes());
        }
        let ends = self.ranges.iter().skip(1).map(|r| r.0);
        let ends = ends.chain([self.words.len()]);
        emitted.ranges = self
            .ranges
            .iter()
            .zip(ends)
            .filter(|((start, _), end)| start < end)
            .map(|((start, pcs), end)| CodeRange {
                start: start * 8,
                end: end * 8,
                lane: 0,
                pcs: pcs.clone(),
            })
            .collect();
        Ok(emitted)
    }
}

/// A filled word: the instruction, its kind, and the number and symbol of its relocation.
type Filled = (Insn, Relocation, Option<(u8, Symbol)>);

fn fill(insn: Insn, hole: Hole, places: &Places) -> Option<Filled> {
    let symbol = |target| match target {
        Target::NextPacket => Some(Symbol::Runtime(NEXT_PACKET)),
        Target::Helper(id) => Some(Symbol::Helper(id)),
        target => places.of(target).map(|word| Symbol::Code(word * 8)),
    };
    Some(match hole {
        Hole::Map(map) => (insn, Relocation::None, Some((MAP_ID, Symbol::Map(map)))),
        Hole::Address(target) => {
            let Insn::Immed { dst, .. } = insn else {
                return None;
            };
            let word = u16::try_from(places.of(target)?).ok()?;
            let kind = Relocation::Immed;
            (
                immed16(dst, word),
                kind,
                Some((kind as u8, symbol(target)?)),
            )
        }
        Hole::Branch(target) => {
            let (kind, address) = match target {
                Target::Pc(_) | Target::Function(_) | Target::Word(_) => {
                    (Relocation::Branch, u16::try_from(places.of(target)?).ok()?)
                }
                Target::Out => (Relocation::GoOut, PLACEHOLDER),
                Target::Abort => (Relocation::GoAbort, PLACEHOLDER),
                Target::Push => (Relocation::GoPush, PLACEHOLDER),
                Target::Pop => (Relocation::GoPop, PLACEHOLDER),
                Target::NextPacket => (Relocation::NextPacket, PLACEHOLDER),
                Target::Helper(id) => (
                    Relocation::Helper,
                    PLACEHOLDER.checked_add(u16::try_from(id).ok()?)?,
                ),
            };
            let symbol = symbol(target)?;
            (insn.with_target(address), kind, Some((kind as u8, symbol)))
        }
    })
}

fn immed16(dst: Operand, value: u16) -> Insn {
    Insn::Immed {
        dst,
        value,
        width: Width::All,
        invert: false,
        shift: 0,
    }
}

/// The number as 16 bits shifted left by 0, 1 or 2 bytes, if it is of that shape.
fn shifted16(value: u32) -> Option<(u16, u8)> {
    (0..=2u8).find_map(|bytes| {
        let rotated = value.rotate_right(8 * u32::from(bytes));
        u16::try_from(rotated).ok().map(|v| (v, bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_take_one_word_where_their_shape_allows() {
        let words = |value| {
            let mut e = Emitter::default();
            e.load(Operand::Both(0), value);
            e.here()
        };
        for one in [
            0,
            0xffff,
            0x00ff_ff00,
            0xffff_0000,
            !0,
            !0xffff,
            0xff00_00ff,
        ] {
            assert_eq!(words(one), 1, "{one:#x}");
        }
        for two in [0x0001_0001, 0x8000_0001, 0x1234_5678, 0xff00_ff00] {
            assert_eq!(words(two), 2, "{two:#x}");
        }
    }
}
