//! Pieces about the packet: examined, parsed, moved.

use isa::ebpf::{AluOp, CallTarget, Cond, Insn, MemSize, Operand, Reg, Width};

use super::builder::{Builder, Holds};
use crate::{Hook, context};

/// Ids of helpers.
const ADJUST_HEAD: u32 = 44;
const ADJUST_META: u32 = 54;
const ADJUST_TAIL: u32 = 65;
const GET_BUFF_LEN: u32 = 188;
const LOAD_BYTES: u32 = 189;
const STORE_BYTES: u32 = 190;

impl Builder<'_> {
    /// Offsets of the packet's start and end in the context.
    fn ends(&self) -> (i16, i16) {
        let offset = |name: &str| {
            let fields = context::fields(&self.spec.hook);
            let field = fields.iter().find(|field| field.name == name);
            field.map_or(0, |field| field.offset as i16)
        };
        (offset("data"), offset("data_end"))
    }

    pub(super) fn context_word(&mut self, dst: Reg, ctx: Reg, offset: i16) {
        self.push(Insn::Load {
            size: MemSize::W,
            signed: false,
            dst,
            base: ctx,
            offset,
        });
    }

    /// `dst = data`, and the program leaves if the packet is too short.
    pub(super) fn examine_packet(&mut self, dst: Reg) {
        let Some(ctx) = self.ctx() else { return };
        let (Some(end), bytes) = (
            self.target_but(&[dst]),
            self.random.choose(&[14u16, 20, 34, 42, 54, 60]),
        ) else {
            return;
        };
        self.set(end, Holds::Nothing);
        let Some(reach) = self.target_but(&[dst, end]) else {
            return;
        };
        self.set(reach, Holds::Nothing);
        let (data, data_end) = self.ends();
        if self.random.percent(50) {
            self.context_word(dst, ctx, data);
            self.context_word(end, ctx, data_end);
        } else {
            self.context_word(end, ctx, data_end);
            self.context_word(dst, ctx, data);
        }
        self.alu(AluOp::Mov, reach, Operand::Reg(dst));
        self.alu(AluOp::Add, reach, Operand::Imm(i32::from(bytes)));
        let (cond, left, right) = self
            .random
            .choose(&[(Cond::Gt, reach, end), (Cond::Lt, end, reach)]);
        let exit = self.push(Insn::Branch {
            cond,
            width: Width::W64,
            dst: left,
            src: Operand::Reg(right),
            offset: 0,
        });
        self.exits.push(exit);
        self.set(dst, Holds::Packet(bytes));
        self.constant(end);
        self.constant(reach);
    }

    pub(super) fn packet_piece(&mut self) {
        if self.function != 0 || matches!(self.spec.hook, Hook::Raw { .. }) {
            return self.access();
        }
        let is_tc = matches!(self.spec.hook, Hook::Tc { .. });
        match self.random.below(10) {
            0..=3 => self.parse(),
            4..=6 if is_tc => self.buffer(),
            8 | 9 if is_tc && !self.in_loop => self.reshape(),
            4 => self.context_field(),
            5 | 6 => self.bytes(),
            7 if !self.in_loop => {
                if let Some(dst) = self.target_but(&[]) {
                    self.examine_packet(dst);
                }
            }
            8 | 9 if !self.in_loop => self.adjust(),
            _ => self.access(),
        }
    }

    /// A field of the context that is a number.
    fn context_field(&mut self) {
        let Some(ctx) = self.ctx() else { return };
        let dst = self.target();
        let offset = self.random.choose(&[12, 16]);
        self.context_word(dst, ctx, offset);
        self.set(dst, Holds::Number);
    }

    /// The header behind an IPv4 header, whose length the packet says.
    fn parse(&mut self) {
        let (Some(ctx), Some((packet, bytes))) = (self.ctx(), self.packet()) else {
            return;
        };
        if bytes < 20 {
            return;
        }
        let Some(length) = self.target_but(&[]) else {
            return;
        };
        self.set(length, Holds::Nothing);
        let Some(end) = self.target_but(&[length]) else {
            return;
        };
        self.set(end, Holds::Nothing);
        let Some(reach) = self.target_but(&[length, end]) else {
            self.constant(length);
            self.constant(end);
            return;
        };
        self.set(reach, Holds::Nothing);
        let load = |size, dst, base, offset| Insn::Load {
            size,
            signed: false,
            dst,
            base,
            offset,
        };
        let ethertype = self.random.percent(60).then(|| {
            self.push(load(MemSize::H, length, packet, 12));
            let width = self.width();
            self.push(Insn::Branch {
                cond: Cond::Ne,
                width,
                dst: length,
                src: Operand::Imm(0x0008),
                offset: 0,
            })
        });
        self.push(load(MemSize::B, length, packet, 14));
        self.alu(AluOp::And, length, Operand::Imm(15));
        self.alu(AluOp::Lsh, length, Operand::Imm(2));
        self.alu(AluOp::Add, length, Operand::Reg(packet));
        let (_, data_end) = self.ends();
        self.context_word(end, ctx, data_end);
        self.alu(AluOp::Mov, reach, Operand::Reg(length));
        self.alu(AluOp::Add, reach, Operand::Imm(14 + 8));
        let short = self.push(Insn::Branch {
            cond: Cond::Gt,
            width: Width::W64,
            dst: reach,
            src: Operand::Reg(end),
            offset: 0,
        });
        let size = self.size();
        let offset = 14 + self.random.below(9 - u64::from(size.bytes())) as i16;
        if self.random.percent(60) {
            self.push(load(size, reach, length, offset));
        } else {
            let imm = self.random.immediate();
            self.push(Insn::Store {
                size,
                base: length,
                offset,
                src: Operand::Imm(imm),
            });
            self.alu(AluOp::Mov, reach, Operand::Imm(imm));
        }
        let skip = self.push(Insn::Jump {
            offset: 0,
            long: false,
        });
        ethertype
            .into_iter()
            .chain([short])
            .for_each(|from| self.land(from));
        self.alu(AluOp::Mov, reach, Operand::Imm(-1));
        self.land(skip);
        self.set(reach, Holds::Number);
        self.constant(length);
        self.constant(end);
    }

    /// After the packet moved, pointers into it hold nothing.
    pub(super) fn moved(&mut self) {
        let state = &mut self.state;
        for held in state.regs.iter_mut().chain(&mut state.slots) {
            if matches!(held, Holds::Packet(_)) {
                *held = Holds::Nothing;
            }
        }
    }

    /// Moves an end of the packet, and examines it anew.
    fn adjust(&mut self) {
        let Some(ctx) = self.ctx() else { return };
        let helper = self.random.choose(&[ADJUST_HEAD, ADJUST_TAIL, ADJUST_META]);
        self.alu(AluOp::Mov, Reg::R1, Operand::Reg(ctx));
        let near = self.random.below(41) as i32 - 20;
        let delta = match helper {
            ADJUST_META => self.random.choose(&[-4, -8, -16, -32, 0, near]),
            _ => self.random.choose(&[near, near, -14, 14, 216, -217, 3520]),
        };
        self.alu(AluOp::Mov, Reg::R2, Operand::Imm(delta));
        self.called(CallTarget::Helper(helper), Holds::Number);
        self.moved();
        self.refill();
        if self.random.percent(85)
            && let Some(dst) = self.target_but(&[Reg::R0])
        {
            self.examine_packet(dst);
        }
    }

    /// The packet's length, or bytes of it copied to or from the stack.
    fn bytes(&mut self) {
        let Some(ctx) = self.ctx() else { return };
        let helper = self.random.choose(&[GET_BUFF_LEN, LOAD_BYTES, STORE_BYTES]);
        if helper == GET_BUFF_LEN {
            self.alu(AluOp::Mov, Reg::R1, Operand::Reg(ctx));
            self.called(CallTarget::Helper(helper), Holds::Number);
            return self.refill();
        }
        if self.in_loop {
            return self.context_field();
        }
        let at = self.scratch(2);
        for slot in 0..2 {
            let imm = self.random.immediate();
            self.push(Insn::Store {
                size: MemSize::DW,
                base: Reg::R10,
                offset: at + 8 * slot,
                src: Operand::Imm(imm),
            });
        }
        self.alu(AluOp::Mov, Reg::R1, Operand::Reg(ctx));
        let offset = self.random.choose(&[0, 1, 12, 14, 40, 60, 100, -1]);
        self.alu(AluOp::Mov, Reg::R2, Operand::Imm(offset));
        self.alu(AluOp::Mov, Reg::R3, Operand::Reg(Reg::R10));
        self.alu(AluOp::Add, Reg::R3, Operand::Imm(i32::from(at)));
        let length = 1 + self.random.below(16) as i32;
        self.alu(AluOp::Mov, Reg::R4, Operand::Imm(length));
        self.bytes_moved(helper, helper == STORE_BYTES, at);
    }

    /// Calls a helper that moves bytes between packet and stack, `stores` if it is into the packet,
    /// and reads what then lies at `at` of the stack.
    pub(super) fn bytes_moved(&mut self, helper: u32, stores: bool, at: i16) {
        self.called(CallTarget::Helper(helper), Holds::Number);
        if stores {
            self.moved();
        }
        self.push(Insn::Load {
            size: MemSize::DW,
            signed: false,
            dst: Reg::R1,
            base: Reg::R10,
            offset: at,
        });
        self.set(Reg::R1, Holds::Number);
        self.refill();
    }
}
