//! From eBPF instructions to machine code, one instruction at a time.
//!
//! [`Lowering`] walks the functions of the plan; `alu`, `mem`, `jump` and `call` hold what each
//! instruction becomes. Between two eBPF instructions every eBPF register is in its machine
//! register and nothing else is alive.

mod alu;
pub(super) mod call;
mod jump;
mod mem;

use bpf::{Finding, Program, Stage};
use dynasmrt::{DynamicLabel, DynasmApi};
use isa::ebpf::{Insn, Reg};
use isa::{Image, Isa, Resources, Symbol};
use verifier::Verified;

use super::abi::{self, Hard};
use super::emit::{Emitter, x64};
use super::known::Known;
use super::plan::{Function, Plan};
use crate::Refusal;

/// A program on its way to machine code.
pub(super) struct Lowering<'a> {
    program: &'a Program,
    known: &'a Known<'a>,
    plan: &'a Plan,
    e: Emitter,
    /// One label for each pc, bound where its code starts.
    labels: Vec<DynamicLabel>,
    /// One label for each function of the plan, bound at its prologue.
    entries: Vec<DynamicLabel>,
    /// Where the function that is being lowered goes on a trap.
    trap: DynamicLabel,
    trap_used: bool,
    removed: Vec<(usize, &'static str)>,
    findings: Vec<Finding>,
    maps: Vec<usize>,
    helpers: Vec<u32>,
}

/// Translates a program.
pub(super) fn lower(verified: &Verified) -> Result<Image, Refusal> {
    let program = verified.program();
    let known = Known::new(verified);
    let plan = Plan::new(program, &known);
    let mut e = Emitter::new(program.insns.len());
    let labels = program.insns.iter().map(|_| e.new_label()).collect();
    let entries = plan.functions.iter().map(|_| e.new_label()).collect();
    let trap = e.new_label();
    let mut lowering = Lowering {
        program,
        known: &known,
        plan: &plan,
        e,
        labels,
        entries,
        trap,
        trap_used: false,
        removed: Vec::new(),
        findings: Vec::new(),
        maps: Vec::new(),
        helpers: Vec::new(),
    };
    for (index, function) in plan.functions.iter().enumerate() {
        lowering.function(index, function);
    }
    lowering.finish(verified)
}

impl Lowering<'_> {
    /// The machine register of an eBPF register.
    fn hard(&self, reg: Reg) -> Hard {
        self.plan.registers.get(reg)
    }

    fn refuse(&mut self, pc: usize, rule: &str, subject: impl Into<String>, message: &str) {
        self.findings.push(
            Finding::error(rule, Stage::Translate, subject, message).at(pc, &self.program.source),
        );
    }

    /// Notes that the reachable instruction at `pc` needs no code.
    fn remove(&mut self, pc: usize, reason: &'static str) {
        self.removed.push((pc, reason));
    }

    fn function(&mut self, index: usize, function: &Function) {
        self.trap = self.e.new_label();
        self.trap_used = false;
        self.e.begin(None);
        self.e.bind(self.entries[index]);
        self.prologue(function);
        for pc in function.start..function.end.min(self.program.insns.len()) {
            let insn = self.program.insns[pc];
            if matches!(insn, Insn::WideTail) {
                continue;
            }
            if !self.known.reachable(pc) {
                self.remove(pc, "no path reaches it");
                continue;
            }
            self.e.begin(Some(pc));
            self.e.bind(self.labels[pc]);
            self.insn(pc, &insn, function);
        }
        if self.trap_used {
            self.e.begin(None);
            self.e.bind(self.trap);
            x64!(&mut self.e; xor eax, eax);
            self.epilogue(function);
            x64!(&mut self.e; ret);
        }
    }

    fn prologue(&mut self, function: &Function) {
        for hard in function.saved.iter().copied() {
            x64!(&mut self.e; push Rq(hard));
        }
        if function.framed {
            x64!(&mut self.e; push rbp);
            x64!(&mut self.e; mov rbp, rsp);
        }
        if let Ok(small) = i8::try_from(function.bytes) {
            if small != 0 {
                x64!(&mut self.e; sub rsp, BYTE small);
            }
        } else {
            x64!(&mut self.e; sub rsp, function.bytes);
        }
        if function.framed {
            self.clear_frame(function.cleared);
        }
        if function.counts_turns {
            x64!(&mut self.e; mov QWORD [rbp - jump::TURNS], abi::TURN_LIMIT);
        }
        if function.entry {
            if self.plan.state {
                x64!(&mut self.e; mov r12, rdi);
            }
            if matches!(self.program.hook, bpf::Hook::Raw { .. }) {
                mem::raw_arguments(&mut self.e);
            }
        }
    }

    /// Sets the used part of the frame to 0: the verifier lets a program read what it has not
    /// written (as Linux does for privileged users), and two runs must see the same.
    fn clear_frame(&mut self, bytes: i32) {
        let e = &mut self.e;
        let mut at = -bytes;
        if bytes % 16 != 0 {
            mem::clear_slot(e, at);
            at += 8;
        }
        if at == 0 {
            return;
        }
        x64!(e; xorps xmm0, xmm0);
        while at < 0 {
            if let Ok(short) = i8::try_from(at) {
                x64!(e; movups [BYTE rbp + short], xmm0);
            } else {
                x64!(e; movups [rbp + at], xmm0);
            }
            at += 16;
        }
    }

    /// Takes the frame down; rax, rdi and the flags' owner stay as they are.
    fn epilogue(&mut self, function: &Function) {
        if function.framed {
            x64!(&mut self.e; leave);
        } else if function.bytes != 0 {
            x64!(&mut self.e; add rsp, function.bytes);
        }
        for hard in function.saved.iter().rev().copied() {
            x64!(&mut self.e; pop Rq(hard));
        }
    }

    fn insn(&mut self, pc: usize, insn: &Insn, function: &Function) {
        match *insn {
            Insn::Alu {
                op,
                width,
                dst,
                src,
            } => self.alu(pc, op, width, dst, src),
            Insn::Neg { width, dst } => self.neg(width, dst),
            Insn::MovSx {
                width,
                dst,
                src,
                bits,
            } => self.mov_sx(width, dst, src, bits),
            Insn::Swap { kind, bits, dst } => self.swap(pc, kind, bits, dst),
            Insn::LoadWide { dst, value } => self.load_wide(pc, dst, value),
            Insn::WideTail => {}
            Insn::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => self.load(pc, size, signed, dst, base, offset),
            Insn::Store {
                size,
                base,
                offset,
                src,
            } => self.store(pc, size, base, offset, src),
            Insn::Atomic {
                op,
                size,
                base,
                offset,
                src,
            } => self.atomic(op, size, base, offset, src),
            // On x86-64 every load acquires and every store releases.
            Insn::LoadAcquire {
                size,
                dst,
                base,
                offset,
            } => self.load(pc, size, false, dst, base, offset),
            Insn::StoreRelease {
                size,
                base,
                offset,
                src,
            } => self.store(pc, size, base, offset, isa::ebpf::Operand::Reg(src)),
            Insn::LoadPacket { size, base, offset } => self.load_packet(pc, size, base, offset),
            Insn::Jump { .. } => self.jump(pc, insn),
            Insn::Branch {
                cond,
                width,
                dst,
                src,
                ..
            } => self.branch(pc, insn, (cond, width, dst, src)),
            Insn::MayGoto { .. } => self.may_goto(pc, insn),
            Insn::Call(target) => self.call(pc, insn, target, function),
            Insn::Exit => {
                self.epilogue(function);
                x64!(&mut self.e; ret);
            }
        }
    }

    fn finish(mut self, verified: &Verified) -> Result<Image, Refusal> {
        if !self.findings.is_empty() {
            self.findings.sort_by_key(|f| f.pc);
            return Err(Refusal {
                findings: self.findings,
            });
        }
        let frozen = crate::frozen(self.program);
        let Some(emitted) = self.e.finish() else {
            return Err(Refusal {
                findings: vec![Finding::error(
                    "translate/internal",
                    Stage::Translate,
                    self.program.name.clone(),
                    "a jump leads to an instruction that was taken for unreachable",
                )],
            });
        };
        self.maps.sort_unstable();
        self.maps.dedup();
        self.helpers.sort_unstable();
        self.helpers.dedup();
        self.removed.sort_unstable();
        Ok(Image {
            isa: Isa::X86_64,
            code: emitted.code,
            instructions: emitted.instructions,
            relocations: emitted.relocations,
            entry: 0,
            resources: Resources {
                stack_bytes: verified.stats().stack_bytes as usize,
                map_names: self
                    .maps
                    .iter()
                    .map(|m| {
                        self.program
                            .maps
                            .get(*m)
                            .map_or_else(String::new, |d| d.name.clone())
                    })
                    .collect(),
                maps: self.maps,
                helpers: self.helpers,
                device: verified.device.clone(),
                frozen,
            },
            source_map: emitted.ranges,
            removed: self.removed,
            notes: Vec::new(),
        })
    }

    /// `mov dst, symbol`, with the map noted.
    fn load_symbol(&mut self, dst: Hard, symbol: Symbol) {
        if let Symbol::Map(map) | Symbol::MapValues { map, .. } = symbol {
            self.maps.push(map);
        }
        self.e.load_symbol(dst, symbol);
    }
}
