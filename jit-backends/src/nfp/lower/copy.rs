//! A run of loads and stores that copies bytes into the packet, as one bulk copy.

use isa::ebpf::{Insn, MemSize};
use isa::nfp::Operand::{Both, Xfer};
use isa::nfp::{AddressMode, Command, ContextSwap, Shift};

use super::{IMM_A, IMM_B, Lowering, high, low};
use crate::nfp::pass::Copy;

impl Lowering<'_> {
    pub(super) fn copy(&mut self, pc: usize) {
        let step = &self.plan.steps[pc];
        let (Some(copy), Insn::Load { size, dst, .. }) = (step.copy, step.insn) else {
            return;
        };
        let words = copy.bytes.div_ceil(4);
        if copy.from_map {
            let place = self.map_place(copy.from.0, copy.from.1, (IMM_A, IMM_B));
            self.read_words(place, AddressMode::Bits40BA, words);
        } else {
            let place = self.packet_place(copy.from.0, copy.from.1);
            self.read_words(place, AddressMode::Bits32, words);
        }
        for word in 0..words {
            self.e.mov(Xfer(word as u8), Xfer(word as u8));
        }
        self.write(&copy);
        self.leave_last_value(&copy, size, dst);
    }

    fn write(&mut self, copy: &Copy) {
        let (base, offset) = copy.to;
        let place = self.packet_place(base, offset);
        let mode = AddressMode::Bits32;
        let bytes = copy.bytes;
        let swap = ContextSwap::Swap;
        let words = bytes / 4;
        let whole = bytes.is_multiple_of(4);
        if bytes <= 8 {
            self.command(Command::Write8Swap, place, mode, 0, bytes - 1, swap);
        } else if bytes <= 32 && whole {
            self.command(Command::Write32Swap, place, mode, 0, words - 1, swap);
        } else if bytes <= 32 {
            self.long_command(Command::Write8Swap, place, mode, 0, bytes - 1);
        } else if whole {
            self.long_command(Command::Write32Swap, place, mode, 0, words - 1);
        } else if bytes <= 40 {
            self.command(Command::Write32Swap, place, mode, 0, 7, swap);
            let place = self.packet_place(base, offset + 32);
            self.command(Command::Write8Swap, place, mode, 8, bytes - 33, swap);
        } else {
            self.long_command(Command::Write32Swap, place, mode, 0, words - 1);
            let place = self.packet_place(base, offset + 4 * words as i32);
            self.command(Command::Write8Swap, place, mode, words, bytes % 4 - 1, swap);
        }
    }

    /// The register through which the bytes went holds the last ones that were loaded.
    fn leave_last_value(&mut self, copy: &Copy, size: MemSize, dst: isa::ebpf::Reg) {
        let bytes = usize::from(size.bytes());
        let at = if self.plan.exact {
            drivers_choice(copy, bytes)
        } else if copy.descending {
            0
        } else {
            copy.bytes - bytes
        };
        let word = |n: usize| Xfer((at / 4 + n) as u8);
        let (lo, hi) = (Both(low(dst)), Both(high(dst)));
        let broken = match size {
            MemSize::B | MemSize::H => copy.descending,
            MemSize::W => !copy.descending,
            MemSize::DW => false,
        };
        if broken && !self.plan.exact {
            self.e
                .note("the register holds the last bytes; the driver can leave others there");
        }
        if bytes < 4 {
            let shift = match at % 4 {
                0 => Shift::None,
                n => Shift::Right(8 * n as u8),
            };
            self.e.field_clear(lo, (1u8 << bytes) - 1, word(0), shift);
        } else {
            self.e.mov(lo, word(0));
        }
        if bytes == 8 {
            self.e.mov(hi, word(1));
        } else {
            self.e.load(hi, 0);
        }
    }
}

/// Where the driver takes the last value from: right for 8-byte loads, and for most others.
fn drivers_choice(copy: &Copy, bytes: usize) -> usize {
    let word = match (copy.descending, bytes) {
        (true, _) | (false, 4) => 0,
        (false, 8) => copy.bytes.div_ceil(4) - 2,
        (false, _) => copy.bytes.div_ceil(4) - 1,
    };
    let byte = match bytes {
        1 if copy.bytes.is_multiple_of(4) => 3,
        1 => copy.bytes % 4 - 1,
        2 => (copy.bytes % 4) ^ 2,
        _ => 0,
    };
    4 * word + byte
}
