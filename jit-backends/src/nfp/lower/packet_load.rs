//! Legacy packet loads: bytes of the packet, the first on top, with a check of the length.

use isa::ebpf::{MemSize, PacketBase, Reg};
use isa::nfp::Operand::{A, Both, Xfer};
use isa::nfp::{AddressMode, AluOp, Command, Condition, ContextSwap, Shift, abi};

use super::{IMM, IMM_A, IMM_B, LENGTH, Lowering, Outcome, accepted_but_wrong, low, vector};
use crate::nfp::emit::Target;

impl Lowering<'_> {
    pub(super) fn load_packet(
        &mut self,
        pc: usize,
        size: MemSize,
        base: PacketBase,
        offset: i32,
    ) -> Outcome {
        let bytes = size.bytes();
        let place = match base {
            PacketBase::Abs => {
                if offset < 0 {
                    return Err(accepted_but_wrong(
                        "a negative offset means the network header in Linux",
                        "the driver takes it for an offset beyond every packet",
                        "add the header's offset yourself",
                    ));
                }
                let offset = offset as u32;
                let end = offset.wrapping_add(u32::from(bytes));
                let end = self.e.constant(end, IMM_A);
                self.e.test(LENGTH, AluOp::Sub, end);
                self.e.br(Condition::CarryClear, 0, Target::Abort);
                self.e.small_constant(offset, IMM_B)
            }
            PacketBase::Ind(reg) => {
                let offset = self.e.constant(offset as u32, IMM_B);
                self.e.alu(IMM, A(low(reg)), AluOp::Add, offset);
                self.e
                    .alu(IMM_A, IMM_A, AluOp::Add, isa::nfp::Operand::Imm(bytes));
                self.e.test(LENGTH, AluOp::Sub, IMM_A);
                self.e.br(Condition::CarryClear, 0, Target::Abort);
                IMM_B
            }
        };
        self.command(
            Command::Read8,
            (vector(abi::vector::PACKET), place),
            AddressMode::Bits32,
            0,
            usize::from(bytes.max(4)) - 1,
            ContextSwap::Swap,
        );
        let result = Both(low(Reg::R0));
        if bytes < 4 {
            self.e.shift(result, Xfer(0), Shift::Right(8 * (4 - bytes)));
        } else {
            self.e.mov(result, Xfer(0));
        }
        self.zext(pc, Reg::R0);
        Ok(())
    }
}
