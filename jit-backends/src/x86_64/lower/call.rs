//! Calls: helpers, tail calls, functions of the program.

use std::mem::offset_of;

use bpf::map::MapType;
use bpf::{Program, kfunc};
use dynasmrt::{DynasmApi, DynasmLabelApi};
use isa::Symbol;
use isa::ebpf::{CallTarget, Insn, MemSize, PacketBase, Reg};
use isa::x86_64::abi::{RUNTIME_LOAD_PACKET, RUNTIME_TAIL_CALL, RunState};

use super::super::abi::{R9, RAX, RCX, STATE};
use super::super::access;
use super::super::emit::x64;
use super::super::known::Known;
use super::Lowering;
use crate::x86_64::plan::Function;

/// `bpf_map_lookup_elem`.
const MAP_LOOKUP: u32 = 1;
/// `bpf_get_smp_processor_id`.
const SMP_PROCESSOR_ID: u32 = 8;
/// `bpf_tail_call`.
const TAIL_CALL: u32 = 12;

/// What a helper call becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// A call of the engine's helper.
    Call,
    /// A jump to another program, where the slot holds one.
    TailCall,
    /// A load of the run state's CPU id.
    Cpu,
    /// The address of an array element whose index is known and in range.
    ArrayElement {
        /// Index in the program's map list.
        map: usize,
        /// Byte offset of the element.
        offset: u64,
        /// Whether each CPU has its own.
        percpu: bool,
        /// Whether the helper is called instead while maps are watched.
        marks: bool,
    },
    /// A bounds check of the index and the address computed.
    ArrayLookup {
        /// Index in the program's map list.
        map: usize,
        /// Number of elements.
        entries: u32,
        /// Bytes from one element to the next.
        stride: u32,
        /// Whether each CPU has its own elements.
        percpu: bool,
        /// Whether the helper is called instead while maps are watched.
        marks: bool,
    },
}

impl Form {
    /// Whether code outside the image runs.
    pub(in super::super) fn leaves_code(self) -> bool {
        match self {
            Form::Call | Form::TailCall => true,
            Form::Cpu => false,
            Form::ArrayElement { marks, .. } | Form::ArrayLookup { marks, .. } => marks,
        }
    }

    /// Whether the run state is read.
    pub(in super::super) fn needs_state(self) -> bool {
        match self {
            Form::Call | Form::TailCall | Form::Cpu => true,
            Form::ArrayElement { percpu, marks, .. } | Form::ArrayLookup { percpu, marks, .. } => {
                percpu || marks
            }
        }
    }
}

/// What the call of helper `id` at `pc` becomes.
pub(in super::super) fn form(program: &Program, known: &Known<'_>, pc: usize, id: u32) -> Form {
    match id {
        TAIL_CALL => Form::TailCall,
        SMP_PROCESSOR_ID => Form::Cpu,
        MAP_LOOKUP => {
            let Some(map) = known.call_map(pc) else {
                return Form::Call;
            };
            let Some(def) = program.maps.get(map) else {
                return Form::Call;
            };
            let percpu = match def.kind {
                MapType::Array => false,
                MapType::PercpuArray => true,
                _ => return Form::Call,
            };
            if def.key_size != 4 {
                return Form::Call;
            }
            let Some(stride) = def.value_size.checked_next_multiple_of(8) else {
                return Form::Call;
            };
            let entries = def.max_entries;
            let marks = !percpu && known.marks(map);
            if i32::try_from(stride).is_err() || i32::try_from(entries).is_err() {
                return Form::Call;
            }
            match known.constant_key(pc) {
                Some(key) if key < u64::from(entries) => Form::ArrayElement {
                    map,
                    offset: key * u64::from(stride),
                    percpu,
                    marks,
                },
                _ => Form::ArrayLookup {
                    map,
                    entries,
                    stride,
                    percpu,
                    marks,
                },
            }
        }
        _ => Form::Call,
    }
}

impl Lowering<'_> {
    pub(super) fn call(&mut self, pc: usize, insn: &Insn, target: CallTarget, function: &Function) {
        match target {
            CallTarget::Helper(id) => match form(self.program, self.known, pc, id) {
                Form::Call => self.helper(pc, id),
                Form::TailCall => self.tail_call(pc, function),
                Form::Cpu => {
                    let cpu = offset_of!(RunState, cpu) as i32;
                    self.e.access(access::LOAD32, RAX, STATE, cpu);
                }
                Form::ArrayElement {
                    map,
                    offset,
                    percpu,
                    marks,
                } => self.inlined((pc, id), marks, |this| {
                    this.load_symbol(RAX, Symbol::MapValues { map, offset });
                    if percpu {
                        this.add_cpu(map);
                    }
                }),
                Form::ArrayLookup {
                    map,
                    entries,
                    stride,
                    percpu,
                    marks,
                } => self.inlined((pc, id), marks, |this| {
                    this.array_lookup(map, (entries, stride), percpu);
                }),
            },
            CallTarget::Local { .. } => match self.function_entry(pc) {
                Some(label) => {
                    x64!(&mut self.e; call =>label);
                    if self.plan.traps {
                        self.leave_on_trap();
                    }
                }
                None => self.refuse(
                    pc,
                    "translate/function",
                    "call",
                    "the call leads to no function of the program",
                ),
            },
            CallTarget::Kfunc { .. } => match kfunc::callee(target) {
                Some(id) => self.helper(pc, id),
                None => self.refuse(
                    pc,
                    "translate/kfunc",
                    insn.row().mnemonic(),
                    "the kernel function is not known here",
                ),
            },
            CallTarget::Reg(_) => self.refuse(
                pc,
                "translate/opcode",
                insn.row().mnemonic(),
                "callx is accepted by no version of Linux",
            ),
        }
    }

    /// A helper's call that becomes other code; where it has to mark what it finds, only while
    /// maps are not watched.
    fn inlined(&mut self, (pc, id): (usize, u32), marks: bool, emit: impl FnOnce(&mut Self)) {
        if !marks {
            return emit(self);
        }
        let watched = offset_of!(RunState, watched) as i32;
        let call = self.e.new_label();
        let done = self.e.new_label();
        self.e
            .access(access::COMPARE32_IMM8, access::CMP, STATE, watched);
        self.e.ops.push(0);
        x64!(&mut self.e; jne =>call);
        emit(self);
        x64!(&mut self.e; jmp =>done);
        self.e.bind(call);
        self.helper(pc, id);
        self.e.bind(done);
    }

    fn leave_on_trap(&mut self) {
        let trap = offset_of!(RunState, trap) as i32;
        self.e
            .access(access::COMPARE32_IMM8, access::CMP, STATE, trap);
        self.e.ops.push(0);
        let label = self.trap;
        self.trap_used = true;
        x64!(&mut self.e; jne =>label);
    }

    fn helper(&mut self, pc: usize, id: u32) {
        self.helpers.push(id);
        let r4 = self.hard(Reg::R4);
        x64!(&mut self.e; mov Rq(RCX), Rq(r4));
        x64!(&mut self.e; mov Rq(R9), Rq(STATE));
        self.note_pc(pc);
        self.load_symbol(RAX, Symbol::Helper(id));
        x64!(&mut self.e; call rax);
        self.leave_on_trap();
    }

    fn note_pc(&mut self, pc: usize) {
        let at = offset_of!(RunState, pc) as i32;
        self.e
            .access_imm(access::STORE32_IMM, STATE, at, &(pc as u32).to_le_bytes());
    }

    fn tail_call(&mut self, pc: usize, function: &Function) {
        self.helpers.push(TAIL_CALL);
        x64!(&mut self.e; mov Rq(R9), Rq(STATE));
        self.note_pc(pc);
        self.load_symbol(RAX, Symbol::Runtime(RUNTIME_TAIL_CALL));
        x64!(&mut self.e; call rax);
        let missing = self.e.new_label();
        x64!(&mut self.e; test rax, rax);
        x64!(&mut self.e; je =>missing);
        x64!(&mut self.e; mov rdi, Rq(STATE));
        self.epilogue(function);
        x64!(&mut self.e; jmp rax);
        self.e.bind(missing);
    }

    /// A legacy load: the engine does it, and outside the packet the function returns 0.
    pub(super) fn load_packet(&mut self, pc: usize, size: MemSize, base: PacketBase, offset: i32) {
        match base {
            PacketBase::Abs => x64!(&mut self.e; mov edi, offset),
            PacketBase::Ind(register) => {
                let index = self.hard(register);
                x64!(&mut self.e; mov edi, Rd(index));
                x64!(&mut self.e; add edi, offset);
            }
        }
        x64!(&mut self.e; mov esi, i32::from(size.bytes()));
        x64!(&mut self.e; mov Rq(R9), Rq(STATE));
        self.note_pc(pc);
        self.load_symbol(RAX, Symbol::Runtime(RUNTIME_LOAD_PACKET));
        x64!(&mut self.e; call rax);
        let trap = offset_of!(RunState, trap) as i32;
        let inside = self.e.new_label();
        self.e
            .access(access::COMPARE32_IMM8, access::CMP, STATE, trap);
        self.e.ops.push(0);
        x64!(&mut self.e; je =>inside);
        self.e
            .access_imm(access::STORE32_IMM, STATE, trap, &0_u32.to_le_bytes());
        let label = self.trap;
        self.trap_used = true;
        x64!(&mut self.e; jmp =>label);
        self.e.bind(inside);
    }

    /// r0 = address of the element whose index r2 points to, or null.
    fn array_lookup(&mut self, map: usize, (entries, stride): (u32, u32), percpu: bool) {
        let key = self.hard(Reg::R2);
        let outside = self.e.new_label();
        let done = self.e.new_label();
        self.e.access(access::LOAD32, RAX, key, 0);
        x64!(&mut self.e; cmp eax, entries as i32);
        x64!(&mut self.e; jae =>outside);
        if stride.is_power_of_two() {
            let shift = stride.trailing_zeros() as i8;
            x64!(&mut self.e; shl rax, BYTE shift);
        } else {
            x64!(&mut self.e; imul rax, rax, stride as i32);
        }
        self.load_symbol(RCX, Symbol::MapValues { map, offset: 0 });
        x64!(&mut self.e; add rax, rcx);
        if percpu {
            self.add_cpu(map);
        }
        x64!(&mut self.e; jmp =>done);
        self.e.bind(outside);
        x64!(&mut self.e; xor eax, eax);
        self.e.bind(done);
    }

    /// r0 += distance of this CPU's values in a per-CPU array.
    fn add_cpu(&mut self, map: usize) {
        let cpu = offset_of!(RunState, cpu) as i32;
        self.e.access(access::LOAD32, RCX, STATE, cpu);
        self.e.multiply_by_cpu_stride(RCX, map);
        x64!(&mut self.e; add rax, rcx);
    }
}
