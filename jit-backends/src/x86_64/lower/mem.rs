//! Loads, stores, atomics, 64-bit immediates.
//!
//! A context access becomes an access to the run state's member of that name.

use std::mem::offset_of;

use bpf::Hook;
use bpf::context::{self, FieldKind};
use dynasmrt::{DynasmApi, DynasmLabelApi};
use isa::Symbol;
use isa::ebpf::{AtomicOp, MemSize, Operand, Reg, Wide};
use isa::x86_64::abi::{Member, RunState, context_member, skb_member};

use super::super::abi::{Hard, RAX, RBP, RCX, RDI, RDX, RSI};
use super::super::access;
use super::super::emit::{Emitter, x64};
use super::super::known::Touches;
use super::Lowering;

/// A `queue_mapping` from here on is not stored (`NO_QUEUE_MAPPING`).
const NO_QUEUE: i32 = 0xffff;

/// r1 and r2 of a `Raw` program, from the run state in rdi.
pub(super) fn raw_arguments(e: &mut Emitter) {
    e.access(
        access::LOAD64,
        RSI,
        RDI,
        offset_of!(RunState, raw_len) as i32,
    );
    e.access(access::LOAD64, RDI, RDI, offset_of!(RunState, data) as i32);
}

/// Sets the 8 bytes at rbp + `at` to 0.
pub(super) fn clear_slot(e: &mut Emitter, at: i32) {
    e.access_imm(access::STORE64_IMM, RBP, at, &[0; 4]);
}

/// The part of the run state, as size and offset, that stands for an access to the context.
fn member(hook: &Hook, at: i64, size: MemSize) -> Option<(MemSize, i32)> {
    let member = if matches!(hook, Hook::Tc { .. }) {
        let width = size.bytes();
        context::load(hook, at, width).or_else(|| context::store(hook, at, width, false))?;
        skb_member(at)?
    } else {
        let member = context_member(at & !3)?;
        let within = (at & 3) as i32;
        Member {
            offset: member.offset + within,
            size: member.size.checked_sub(within as u8)?,
            name: member.name,
        }
    };
    let pointer = matches!(
        context::field_at(hook, at)?.kind,
        FieldKind::Data | FieldKind::DataEnd | FieldKind::DataMeta | FieldKind::Socket
    );
    if pointer {
        // A load of 32 bits gives the whole pointer.
        let whole = member.size == 8 && matches!(size, MemSize::W | MemSize::DW);
        whole.then_some((MemSize::DW, member.offset))
    } else {
        (size.bytes() <= member.size).then_some((size, member.offset))
    }
}

impl Lowering<'_> {
    /// Size and displacement of the access at `pc`; a finding if it is to the context and names
    /// no field of it.
    fn place(
        &mut self,
        pc: usize,
        base: Reg,
        offset: i16,
        size: MemSize,
    ) -> Option<(MemSize, i32)> {
        let place = match self.known.touches(pc, base, offset) {
            Touches::Memory => Some((size, i32::from(offset))),
            Touches::Context(at) => member(&self.program.hook, at, size),
            Touches::ContextSomewhere => None,
        };
        if place.is_none() {
            self.refuse(
                pc,
                "translate/context",
                self.program.insns[pc].row().mnemonic(),
                "the access names no one field of the context",
            );
        }
        place
    }

    pub(super) fn load(
        &mut self,
        pc: usize,
        size: MemSize,
        signed: bool,
        dst: Reg,
        base: Reg,
        offset: i16,
    ) {
        let (d, b) = (self.hard(dst), self.hard(base));
        let Some((size, disp)) = self.place(pc, base, offset, size) else {
            return;
        };
        let access = match (size, signed) {
            (MemSize::B, false) => access::LOAD8,
            (MemSize::H, false) => access::LOAD16,
            (MemSize::W, false) => access::LOAD32,
            (MemSize::B, true) => access::LOAD8_SIGNED,
            (MemSize::H, true) => access::LOAD16_SIGNED,
            (MemSize::W, true) => access::LOAD32_SIGNED,
            (MemSize::DW, _) => access::LOAD64,
        };
        self.e.access(access, d, b, disp);
    }

    pub(super) fn store(&mut self, pc: usize, size: MemSize, base: Reg, offset: i16, src: Operand) {
        let b = self.hard(base);
        let Some((mut size, disp)) = self.place(pc, base, offset, size) else {
            return;
        };
        let field = match self.known.touches(pc, base, offset) {
            Touches::Context(at) => context::field_at(&self.program.hook, at),
            Touches::Memory | Touches::ContextSomewhere => None,
        };
        let ignored = self.e.new_label();
        match field.map(|f| f.name) {
            // These keep 16 bits; the upper half of the member stays 0.
            Some("tc_index" | "tc_classid") => size = MemSize::H,
            Some("queue_mapping") => {
                size = MemSize::H;
                match src {
                    Operand::Reg(reg) => {
                        let s = self.hard(reg);
                        x64!(&mut self.e; cmp Rq(s), NO_QUEUE);
                        x64!(&mut self.e; jae =>ignored);
                    }
                    Operand::Imm(imm) if imm >= NO_QUEUE => return,
                    Operand::Imm(_) => {}
                }
            }
            _ => {}
        }
        match src {
            Operand::Reg(reg) => {
                let access = match size {
                    MemSize::B => access::STORE8,
                    MemSize::H => access::STORE16,
                    MemSize::W => access::STORE32,
                    MemSize::DW => access::STORE64,
                };
                let s = self.hard(reg);
                self.e.access(access, s, b, disp);
            }
            Operand::Imm(imm) => {
                let (access, bytes) = match size {
                    MemSize::B => (access::STORE8_IMM, 1),
                    MemSize::H => (access::STORE16_IMM, 2),
                    MemSize::W => (access::STORE32_IMM, 4),
                    MemSize::DW => (access::STORE64_IMM, 4),
                };
                self.e
                    .access_imm(access, b, disp, &imm.to_le_bytes()[..bytes]);
            }
        }
        self.e.bind(ignored);
    }

    pub(super) fn load_wide(&mut self, pc: usize, dst: Reg, value: Wide) {
        let d = self.hard(dst);
        match value {
            Wide::Value(0) => x64!(&mut self.e; xor Rd(d), Rd(d)),
            Wide::Value(value) => self.e.load_constant(d, value),
            Wide::Map(map) => self.load_symbol(d, Symbol::Map(map as usize)),
            Wide::MapValue { map, offset } => self.load_symbol(
                d,
                Symbol::MapValues {
                    map: map as usize,
                    offset: u64::from(offset),
                },
            ),
            Wide::Function { .. } => match self.function_entry(pc) {
                Some(label) => x64!(&mut self.e; lea Rq(d), [=>label]),
                None => self.refuse(
                    pc,
                    "translate/function",
                    "lddw",
                    "the address is of no function of the program",
                ),
            },
            Wide::MapFd(_) | Wide::MapFdValue { .. } | Wide::BtfId { .. } => self.refuse(
                pc,
                "translate/unlinked",
                self.program.insns[pc].row().mnemonic(),
                "a file descriptor or BTF id means nothing outside the kernel that gave it",
            ),
        }
    }

    /// The label of the function that the instruction at `pc` names.
    pub(super) fn function_entry(&self, pc: usize) -> Option<dynasmrt::DynamicLabel> {
        let target = self.program.insns[pc].function_target(pc)?;
        let start = usize::try_from(target).ok()?;
        let index = self
            .plan
            .functions
            .iter()
            .position(|f| f.start == start && !f.entry)?;
        self.entries.get(index).copied()
    }

    pub(super) fn atomic(&mut self, op: AtomicOp, size: MemSize, base: Reg, offset: i16, src: Reg) {
        let (b, s, disp) = (self.hard(base), self.hard(src), i32::from(offset));
        let wide = usize::from(size == MemSize::DW);
        let access = match op {
            AtomicOp::Add => access::LOCK_ADD,
            AtomicOp::Or => access::LOCK_OR,
            AtomicOp::And => access::LOCK_AND,
            AtomicOp::Xor => access::LOCK_XOR,
            AtomicOp::FetchAdd => access::LOCK_XADD,
            AtomicOp::Xchg => access::XCHG,
            AtomicOp::Cmpxchg => access::LOCK_CMPXCHG,
            AtomicOp::FetchOr | AtomicOp::FetchAnd | AtomicOp::FetchXor => {
                return self.fetch_loop(op, wide, b, disp, s);
            }
        };
        self.e.access(access[wide], s, b, disp);
        if op == AtomicOp::Cmpxchg && size == MemSize::W {
            // Where it was equal, rax keeps its upper half.
            x64!(&mut self.e; mov eax, eax);
        }
    }

    /// Fetching or, and, xor: a loop around `cmpxchg`, whose old value is in rax. The address
    /// and the operand are kept out of rax in registers that are put back afterwards.
    fn fetch_loop(&mut self, op: AtomicOp, wide: usize, b: Hard, disp: i32, s: Hard) {
        let e = &mut self.e;
        let mut pushed = Vec::with_capacity(3);
        let mut spare = [RDX, RSI, RDI].into_iter().filter(|r| *r != b && *r != s);
        let mut address = b;
        let mut operand = s;
        if s != RAX {
            pushed.push(RAX);
        }
        if b == RAX
            && let Some(register) = spare.next()
        {
            pushed.push(register);
            address = register;
        }
        if s == RAX
            && let Some(register) = spare.next()
        {
            pushed.push(register);
            operand = register;
        }
        for register in pushed.iter().copied() {
            x64!(e; push Rq(register));
        }
        if address != b {
            x64!(e; mov Rq(address), Rq(b));
        }
        if operand != s {
            x64!(e; mov Rq(operand), Rq(s));
        }
        let again = e.new_label();
        let load = [access::LOAD32, access::LOAD64][wide];
        e.access(load, RAX, address, disp);
        e.bind(again);
        x64!(e; mov rcx, rax);
        match op {
            AtomicOp::FetchOr => x64!(e; or rcx, Rq(operand)),
            AtomicOp::FetchAnd => x64!(e; and rcx, Rq(operand)),
            _ => x64!(e; xor rcx, Rq(operand)),
        }
        e.access(access::LOCK_CMPXCHG[wide], RCX, address, disp);
        x64!(e; jne =>again);
        if s != RAX {
            x64!(e; mov Rq(s), rax);
        }
        for register in pushed.iter().rev().copied() {
            x64!(e; pop Rq(register));
        }
    }
}
