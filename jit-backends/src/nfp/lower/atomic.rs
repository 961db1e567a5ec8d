//! Atomic additions to map values: with 16 bits of data in the command, or with a transfer
//! register.

use isa::ebpf::{MemSize, Reg};
use isa::nfp::Operand::{A, B, Imm, Xfer};
use isa::nfp::abi::{ATOMIC_TEMPORARY, previous_alu};
use isa::nfp::{AddressMode, AluOp, Command, Condition, ContextSwap, Operand, Shift};

use super::{IMM_A, IMM_B, Lowering, high, low};
use crate::nfp::emit::Target;

/// Bit of the count: 64 bits wide.
const WIDE: usize = 4;
/// What the length override of an addition holds beside its width.
const IMMEDIATE_LENGTH: u32 = 8;
/// The largest number that goes into the command.
const SMALL: u64 = 0xffff;

/// Where the addition goes.
struct Sum {
    base: Reg,
    offset: i32,
    src: Reg,
    wide: usize,
    /// The offset's distance, where it is not 0.
    distance: Option<Operand>,
}

impl Lowering<'_> {
    pub(super) fn atomic_add(
        &mut self,
        pc: usize,
        size: MemSize,
        base: Reg,
        offset: i16,
        src: Reg,
    ) {
        let (may_be_small, may_be_large) = self.plan.addend(pc, src);
        let offset = i32::from(offset);
        let distance = (offset != 0).then(|| self.e.constant(offset.unsigned_abs(), IMM_B));
        let sum = Sum {
            base,
            offset,
            src,
            wide: if size == MemSize::DW { WIDE } else { 0 },
            distance,
        };
        match (may_be_small, may_be_large) {
            (true, false) => {
                let place = self.sum_place(&sum);
                self.add_small(&sum, place);
            }
            (false, _) => {
                let place = self.sum_place(&sum);
                self.add_large(&sum, place);
            }
            (true, true) => self.add_either(&sum),
        }
    }

    fn sum_place(&mut self, sum: &Sum) -> (Operand, Operand) {
        match sum.distance {
            None => (A(low(sum.base)), B(high(sum.base))),
            Some(distance) => {
                let temporaries = (A(ATOMIC_TEMPORARY), B(ATOMIC_TEMPORARY));
                self.map_place_at(sum.base, sum.offset, distance, temporaries)
            }
        }
    }

    fn add_small(&mut self, sum: &Sum, place: (Operand, Operand)) {
        let length = (IMMEDIATE_LENGTH | sum.wide as u32) << previous_alu::LENGTH_SHIFT;
        self.e
            .load(IMM_A, previous_alu::DATA | previous_alu::LENGTH | length);
        self.e.field(
            IMM_A,
            0b1100,
            B(low(sum.src)),
            Shift::Left(previous_alu::DATA_SHIFT as u8),
        );
        let (mode, swap) = (AddressMode::Bits40BA, ContextSwap::None);
        self.any_command(Command::AddImm, place, mode, 0, 0, swap, true);
    }

    fn add_large(&mut self, sum: &Sum, place: (Operand, Operand)) {
        let swap = if sum.wide == 0 {
            ContextSwap::SwapDefer1
        } else {
            ContextSwap::SwapDefer2
        };
        let mode = AddressMode::Bits40BA;
        self.command(Command::Add, place, mode, 0, sum.wide, swap);
        self.e.mov(Xfer(0), A(low(sum.src)));
        if sum.wide != 0 {
            self.e.mov(Xfer(1), A(high(sum.src)));
        }
    }

    /// Decides when it runs.
    fn add_either(&mut self, sum: &Sum) {
        self.e.load(IMM_A, SMALL as u32);
        self.e.test(IMM_A, AluOp::Sub, B(low(sum.src)));
        self.e.test(Imm(0), AluOp::SubCarry, B(high(sum.src)));
        let address = if sum.distance.is_some() { 2 } else { 0 };
        let large = self.e.here() + 1 + usize::from(address) + 3 + 1;
        self.e
            .br(Condition::CarryClear, address, Target::Word(large));
        let place = self.sum_place(sum);
        self.add_small(sum, place);
        let end = large + if sum.wide == 0 { 2 } else { 3 };
        self.e.br(Condition::Always, 0, Target::Word(end));
        self.add_large(sum, place);
    }
}
