//! Loads and stores of the packet, and loads from map values: through transfer registers.

use isa::ebpf::{MemSize, Reg};
use isa::nfp::Operand::{A, B, Both, Xfer};
use isa::nfp::abi::previous_alu;
use isa::nfp::{AddressMode, AluOp, Command, ContextSwap, Insn, Operand, Shift, Sources};

use super::{IMM_A, IMM_B, Lowering, high, low};

/// Words that a memory command can name itself; more come with the previous ALU result.
const DIRECT_WORDS: usize = 8;

impl Lowering<'_> {
    /// A memory command; `count` is the length minus one in the command's unit, of which the word
    /// holds three bits.
    pub(super) fn command(
        &mut self,
        command: Command,
        (a, b): (Operand, Operand),
        mode: AddressMode,
        xfer: usize,
        count: usize,
        swap: ContextSwap,
    ) {
        self.any_command(command, (a, b), mode, xfer, count, swap, false);
    }

    /// The same, and length or data come from the word before.
    #[expect(clippy::too_many_arguments, reason = "the fields of a command")]
    pub(super) fn any_command(
        &mut self,
        command: Command,
        (a, b): (Operand, Operand),
        mode: AddressMode,
        xfer: usize,
        count: usize,
        swap: ContextSwap,
        indirect: bool,
    ) {
        self.e.insn(Insn::Cmd {
            command,
            xfer: xfer as u8,
            count: (count & 7) as u8,
            src: Sources { a, b, swap: false },
            mode,
            swap,
            indirect,
        });
    }

    /// A command whose length the word before gives: `count` as above.
    pub(super) fn long_command(
        &mut self,
        command: Command,
        place: (Operand, Operand),
        mode: AddressMode,
        xfer: usize,
        count: usize,
    ) {
        let length = previous_alu::LENGTH | (count as u32) << previous_alu::LENGTH_SHIFT;
        self.e.load(Operand::None, length);
        let swap = ContextSwap::Swap;
        self.any_command(command, place, mode, xfer, count, swap, true);
    }

    /// Reads so many words into transfer registers from 0 on.
    pub(super) fn read_words(
        &mut self,
        place: (Operand, Operand),
        mode: AddressMode,
        words: usize,
    ) {
        let command = Command::Read32Swap;
        if words > DIRECT_WORDS {
            self.long_command(command, place, mode, 0, words - 1);
        } else {
            self.command(command, place, mode, 0, words - 1, ContextSwap::Swap);
        }
    }

    /// Base and offset of a place in the packet.
    pub(super) fn packet_place(&mut self, base: Reg, offset: i32) -> (Operand, Operand) {
        let offset = self.e.small_constant(offset as u32, IMM_B);
        (A(low(base)), offset)
    }

    /// Halves of a place in map memory, in `a` and `b` (where the offset is not 0).
    pub(super) fn map_place(
        &mut self,
        base: Reg,
        offset: i32,
        (a, b): (Operand, Operand),
    ) -> (Operand, Operand) {
        if offset == 0 {
            return (A(low(base)), B(high(base)));
        }
        let distance = self.e.constant(offset.unsigned_abs(), IMM_B);
        self.map_place_at(base, offset, distance, (a, b))
    }

    /// The same with the distance of the offset already an operand.
    pub(super) fn map_place_at(
        &mut self,
        base: Reg,
        offset: i32,
        distance: Operand,
        (a, b): (Operand, Operand),
    ) -> (Operand, Operand) {
        let (lower, upper) = if offset < 0 {
            (AluOp::Sub, AluOp::SubCarry)
        } else {
            (AluOp::Add, AluOp::AddCarry)
        };
        self.e.alu(a, A(low(base)), lower, distance);
        self.e.alu(b, B(high(base)), upper, Operand::Imm(0));
        (a, b)
    }

    pub(super) fn load_packet_bytes(
        &mut self,
        pc: usize,
        size: MemSize,
        dst: Reg,
        base: Reg,
        offset: i16,
    ) {
        let bytes = usize::from(size.bytes());
        let Some(window) = self.plan.steps[pc].window else {
            let place = self.packet_place(base, i32::from(offset));
            self.read_words(place, AddressMode::Bits32, bytes.div_ceil(4));
            self.extract(pc, bytes, dst, 0);
            return;
        };
        if window.first {
            let place = self.packet_place(base, i32::from(window.start));
            let words = usize::from((window.end - window.start) as u16).div_ceil(4);
            self.read_words(place, AddressMode::Bits32, words);
        }
        self.extract(pc, bytes, dst, usize::from((offset - window.start) as u16));
    }

    pub(super) fn load_map_value(
        &mut self,
        pc: usize,
        size: MemSize,
        dst: Reg,
        base: Reg,
        offset: i16,
    ) {
        let bytes = usize::from(size.bytes());
        let place = self.map_place(base, i32::from(offset), (IMM_A, IMM_B));
        self.read_words(place, AddressMode::Bits40BA, bytes.div_ceil(4));
        self.extract(pc, bytes, dst, 0);
    }

    /// Puts bytes of the transfer registers into a register: `bytes` (1, 2, 4 or 8) from byte
    /// `from` on.
    fn extract(&mut self, pc: usize, bytes: usize, dst: Reg, from: usize) {
        let word = |n: usize| Xfer((from / 4 + n) as u8);
        let (lo, hi) = (Both(low(dst)), Both(high(dst)));
        let skipped = from % 4;
        if skipped == 0 {
            if bytes < 4 {
                self.e.field_clear(lo, mask(bytes, 0), word(0), Shift::None);
            } else {
                self.e.mov(lo, word(0));
            }
            if bytes == 8 {
                self.e.mov(hi, word(1));
            }
        } else {
            let first = bytes.min(4 - skipped);
            let down = Shift::Right(8 * skipped as u8);
            let up = Shift::Left(8 * first as u8);
            self.e.field_clear(lo, mask(first, 0), word(0), down);
            let rest = bytes.min(4) - first;
            if rest > 0 {
                self.e.field(lo, mask(rest, first), word(1), up);
            }
            if bytes == 8 {
                self.e.field_clear(hi, mask(first, 0), word(1), down);
                self.e.field(hi, mask(skipped, first), word(2), up);
            }
        }
        if bytes <= 4 {
            self.zext(pc, dst);
        }
    }

    pub(super) fn store_packet(&mut self, size: MemSize, base: Reg, offset: i16, src: Reg) {
        let place = self.packet_place(base, i32::from(offset));
        let bytes = usize::from(size.bytes());
        self.e.mov(Xfer(0), A(low(src)));
        if bytes == 8 {
            self.e.mov(Xfer(1), A(high(src)));
        }
        self.command(
            Command::Write8Swap,
            place,
            AddressMode::Bits32,
            0,
            bytes - 1,
            ContextSwap::Swap,
        );
    }
}

/// Byte mask of so many bytes from `first` on.
fn mask(bytes: usize, first: usize) -> u8 {
    ((1u8 << bytes) - 1) << first
}
