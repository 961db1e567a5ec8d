//! Pieces of tc programs: the context's fields, and helpers on a socket buffer.

use isa::ebpf::{AluOp, CallTarget, Insn, MemSize, Operand, Reg};

use super::builder::{Builder, Holds};

const STORE_BYTES: u32 = 9;
const L3_CSUM_REPLACE: u32 = 10;
const L4_CSUM_REPLACE: u32 = 11;
const VLAN_PUSH: u32 = 18;
const VLAN_POP: u32 = 19;
const LOAD_BYTES: u32 = 26;
const CHANGE_TAIL: u32 = 38;
const PULL_DATA: u32 = 39;
const CHANGE_HEAD: u32 = 43;

/// Offsets in `struct __sk_buff` of numbers that can be read: len, pkt_type, mark, protocol,
/// vlan_present, vlan_tci, vlan_proto, priority, ifindex, tc_index, and words of cb.
const READ: [i16; 13] = [0, 4, 8, 16, 20, 24, 28, 32, 40, 44, 48, 56, 64];
/// Of those that can be written: mark, priority, tc_index, and words of cb.
const WRITTEN: [i16; 6] = [8, 32, 44, 48, 52, 64];
/// Places of bytes that helpers are asked for.
const PLACES: [i32; 8] = [0, 1, 12, 14, 24, 40, 100, -1];

impl Builder<'_> {
    /// A field of the context, or bytes of the packet.
    pub(super) fn buffer(&mut self) {
        let Some(ctx) = self.ctx() else { return };
        match self.random.below(4) {
            0 => {
                let dst = self.target();
                let offset = self.random.choose(&READ);
                self.context_word(dst, ctx, offset);
                self.set(dst, Holds::Number);
            }
            1 => {
                let src = Operand::Reg(self.number());
                let offset = self.random.choose(&WRITTEN);
                self.push(Insn::Store {
                    size: MemSize::W,
                    base: ctx,
                    offset,
                    src,
                });
            }
            2 => self.copied(ctx, LOAD_BYTES),
            _ if self.in_loop => self.copied(ctx, LOAD_BYTES),
            _ => self.copied(ctx, STORE_BYTES),
        }
    }

    /// Bytes of the packet copied to or from the stack.
    fn copied(&mut self, ctx: Reg, helper: u32) {
        let at = self.scratch(2);
        for slot in 0..2 {
            self.store_scratch(at + 8 * slot);
        }
        let place = self.random.choose(&PLACES);
        let length = 1 + self.random.below(16) as i32;
        self.alu(AluOp::Mov, Reg::R1, Operand::Reg(ctx));
        self.alu(AluOp::Mov, Reg::R2, Operand::Imm(place));
        self.stack_address(Reg::R3, at);
        self.alu(AluOp::Mov, Reg::R4, Operand::Imm(length));
        if helper == STORE_BYTES {
            self.alu(AluOp::Mov, Reg::R5, Operand::Imm(0));
        }
        self.bytes_moved(helper, helper == STORE_BYTES, at);
    }

    /// Changes the packet's ends, tags or checksums, and examines it anew.
    pub(super) fn reshape(&mut self) {
        let Some(ctx) = self.ctx() else { return };
        let from = Operand::Reg(self.number());
        let near = self.random.below(120) as i32;
        let (helper, arguments): (u32, Vec<Operand>) = match self.random.below(7) {
            0 => (CHANGE_TAIL, vec![Operand::Imm(near), Operand::Imm(0)]),
            1 => (CHANGE_HEAD, vec![Operand::Imm(near % 24), Operand::Imm(0)]),
            2 => (PULL_DATA, vec![Operand::Imm(near)]),
            3 => (VLAN_POP, vec![]),
            4 => {
                let protocol = self.random.choose(&[0x0081, 0xa888, 0x0008]);
                let tag = self.random.below(0x1_0000) as i32;
                (VLAN_PUSH, vec![Operand::Imm(protocol), Operand::Imm(tag)])
            }
            5 => {
                let size = self.random.choose(&[0, 2, 4]);
                let old = Operand::Imm(self.random.immediate());
                let at = Operand::Imm(24);
                (L3_CSUM_REPLACE, vec![at, old, from, Operand::Imm(size)])
            }
            _ => {
                let flags = self.random.choose(&[0, 2, 4, 0x12, 0x22, 0x14]);
                let old = Operand::Imm(self.random.immediate());
                let at = Operand::Imm(self.random.choose(&[36, 40, 50]));
                (L4_CSUM_REPLACE, vec![at, old, from, Operand::Imm(flags)])
            }
        };
        // A register among the arguments is read before the others take its place.
        let mut moves: Vec<(Reg, Operand)> = Reg::all().skip(2).zip(arguments).collect();
        moves.sort_by_key(|(_, argument)| matches!(argument, Operand::Imm(_)));
        for (place, argument) in moves {
            self.alu(AluOp::Mov, place, argument);
        }
        self.alu(AluOp::Mov, Reg::R1, Operand::Reg(ctx));
        self.called(CallTarget::Helper(helper), Holds::Number);
        self.moved();
        self.refill();
        if self.random.percent(85)
            && let Some(dst) = self.target_but(&[Reg::R0])
        {
            self.examine_packet(dst);
        }
    }
}
