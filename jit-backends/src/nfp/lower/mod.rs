//! From eBPF instructions to words, one instruction at a time.
//!
//! [`Lowering`] walks the functions; each file holds what one kind of instruction becomes.
//! Between two eBPF instructions r0 to r9 are in their GPRs, in both banks; the temporaries 20 and
//! 21 and the transfer registers hold nothing, but for a window of the packet that a pass put
//! into transfer registers.

mod alu;
mod atomic;
mod constant_divide;
mod context;
mod copy;
mod frame;
mod helper;
mod jump;
mod multiply;
mod packet;
mod packet_load;
mod shift;
mod stack;

use std::collections::{BTreeMap, BTreeSet};

use bpf::{Finding, Hook, Stage};
use caps::Caps;
use isa::ebpf::{AtomicOp, CallTarget, Insn, Operand as Source, Reg, Wide, Width};
use isa::nfp::Operand::{self, A, B, Both};
use isa::nfp::abi::{self, DeviceWord};
use isa::nfp::learned::{Learned, WordUse};
use isa::{Image, Isa, Resources};
use verifier::Verified;
use verifier::facts::Region;

use super::emit::{EmitError, Emitter, Places, Target};
use super::pass;
use super::plan::{Function, Plan};
use crate::Refusal;

/// Bank B temporary: large immediates.
const IMM_B: Operand = B(abi::IMMEDIATE_TEMPORARY);
/// Bank A temporary.
const IMM_A: Operand = A(abi::IMMEDIATE_TEMPORARY);
/// The temporary in both banks.
const IMM: Operand = Both(abi::IMMEDIATE_TEMPORARY);
/// The packet's length.
const LENGTH: Operand = B(abi::FRAME_AND_LENGTH);
/// The frame's base.
const FRAME: Operand = A(abi::FRAME_AND_LENGTH);
/// No-ops behind the code, which the card may fetch ahead.
const TRAILING: usize = 8;

/// A word of the packet vector.
const fn vector(word: u8) -> Operand {
    Operand::Lm {
        index: abi::LM_VECTOR,
        offset: word,
    }
}

/// GPR of the lower half.
const fn low(reg: Reg) -> u8 {
    abi::gpr(reg.number())
}

/// GPR of the upper half.
const fn high(reg: Reg) -> u8 {
    abi::gpr(reg.number()) + 1
}

/// Why an instruction is not translated.
struct Refused {
    rule: &'static str,
    message: String,
    why: &'static str,
    help: &'static str,
}

type Outcome = Result<(), Refused>;

/// A program on its way to words.
struct Lowering<'a> {
    plan: &'a Plan<'a>,
    e: Emitter,
    maps: Vec<usize>,
    helpers: Vec<u32>,
}

/// Translates a program.
pub(super) fn lower(verified: &Verified, caps: &Caps) -> Result<Image, Refusal> {
    if matches!(verified.program().hook, Hook::Raw { .. }) {
        let finding = Finding::error(
            "hook/raw",
            Stage::Translate,
            verified.program().name.clone(),
            "the card has no entry for a program without a hook",
        );
        return Err(Refusal {
            findings: vec![finding.help("name a hook with --hook xdp")],
        });
    }
    let mut plan = Plan::new(verified, caps);
    pass::run(&mut plan);
    let mut lowering = Lowering {
        plan: &plan,
        e: Emitter::default(),
        maps: Vec::new(),
        helpers: Vec::new(),
    };
    let mut places = Places {
        pcs: vec![0; plan.steps.len()],
        ..Places::default()
    };
    let mut findings = Vec::new();
    lowering.prologue();
    for (index, function) in plan.functions.iter().enumerate() {
        places.functions.push((function.start, lowering.e.here()));
        if index > 0 {
            lowering.e.begin(Vec::new());
            lowering.enter();
        }
        for pc in function.start..function.end {
            places.pcs[pc] = lowering.e.here();
            let step = &plan.steps[pc];
            if step.removed.is_some() || matches!(step.insn, Insn::WideTail) {
                continue;
            }
            lowering.e.begin(pass::sources(&plan, pc));
            if let Err(refused) = lowering.step(pc, function) {
                let finding = Finding::error(
                    refused.rule,
                    Stage::Translate,
                    plan.program.name.clone(),
                    refused.message,
                );
                findings.push(
                    finding
                        .at(pc, &plan.program.source)
                        .why(refused.why)
                        .help(refused.help),
                );
            }
        }
    }
    lowering.e.begin(Vec::new());
    (places.abort, places.out) = lowering.epilogue();
    if plan.functions.iter().any(|f| f.saves) {
        places.push = Some(lowering.e.here());
        lowering.push();
        places.pop = Some(lowering.e.here());
        lowering.pop();
    }
    lowering.e.nops(TRAILING);
    if !findings.is_empty() {
        return Err(Refusal { findings });
    }
    lowering.finish(&places)
}

impl Lowering<'_> {
    fn step(&mut self, pc: usize, function: &Function) -> Outcome {
        let step = &self.plan.steps[pc];
        refuse_frame_pointer(&step.insn)?;
        if let Some(note) = step.note {
            self.e.note(note);
        }
        match step.insn {
            Insn::Alu {
                op,
                width,
                dst,
                src,
            } => self.alu(pc, op, width, dst, src, function)?,
            Insn::Neg { width, dst } => self.negate(pc, width, dst),
            Insn::MovSx { .. } => {
                return Err(accepted_but_wrong(
                    "a sign-extending move is translated as a plain one",
                    "the driver does not look at the field that tells the two apart",
                    "compile with -mcpu=v3",
                ));
            }
            Insn::Swap { bits, dst, .. } => self.swap(bits, dst),
            Insn::LoadWide { dst, value } => self.load_wide(dst, value)?,
            Insn::WideTail => {}
            Insn::Load { .. } if step.copy.is_some() => self.copy(pc),
            Insn::Load {
                size,
                dst,
                base,
                offset,
                ..
            } => match self.region(pc)? {
                Region::Packet => self.load_packet_bytes(pc, size, dst, base, offset),
                Region::MapValue { .. } => self.load_map_value(pc, size, dst, base, offset),
                Region::Stack { .. } => self.load_stack(pc, size, dst, base, offset, function)?,
                Region::Ctx => self.load_context(pc, size, dst)?,
                Region::PacketMeta
                | Region::Memory
                | Region::Socket
                | Region::Kernel
                | Region::Mixed => {
                    return Err(untranslated("a load from this kind of memory"));
                }
            },
            Insn::Store {
                size,
                base,
                offset,
                src: Source::Reg(src),
            } => match self.region(pc)? {
                Region::Packet => self.store_packet(size, base, offset, src),
                Region::Stack { .. } => self.store_stack(pc, size, base, offset, src, function)?,
                Region::Ctx => self.select_queue(src),
                Region::MapValue { .. }
                | Region::PacketMeta
                | Region::Memory
                | Region::Socket
                | Region::Kernel
                | Region::Mixed => return Err(untranslated("a store to this kind of memory")),
            },
            Insn::Store { .. } => {
                return Err(accepted_but_wrong(
                    "a store of an immediate passes the driver's check and fails in translation",
                    "the driver's check keeps no pointer type for it: `Translation failed with error -95`",
                    "compile with -mcpu=v3 or less, or store a variable",
                ));
            }
            Insn::Atomic {
                op: AtomicOp::Add,
                size,
                base,
                offset,
                src,
            } => self.atomic_add(pc, size, base, offset, src),
            Insn::LoadPacket { size, base, offset } => self.load_packet(pc, size, base, offset)?,
            Insn::Jump { .. } | Insn::Branch { .. } => self.jump(pc),
            Insn::Call(CallTarget::Local { .. }) => self.call(pc, function),
            Insn::Call(CallTarget::Helper(id)) => self.helper(pc, id, function)?,
            Insn::Exit => self.exit(function),
            Insn::Atomic { .. }
            | Insn::LoadAcquire { .. }
            | Insn::StoreRelease { .. }
            | Insn::MayGoto { .. }
            | Insn::Call(CallTarget::Kfunc { .. } | CallTarget::Reg(_)) => {
                return Err(untranslated("this instruction"));
            }
        }
        Ok(())
    }

    fn region(&self, pc: usize) -> Result<Region, Refused> {
        let access = self.plan.facts(pc).access;
        access
            .map(|a| a.region)
            .ok_or_else(|| untranslated("an access to unknown memory"))
    }

    /// Clears the upper half after a 32-bit result, if somebody may read it.
    fn zext(&mut self, pc: usize, dst: Reg) {
        if self.plan.steps[pc].zext {
            self.e.load(Both(high(dst)), 0);
        }
    }

    fn load_wide(&mut self, dst: Reg, value: Wide) -> Outcome {
        match value {
            Wide::Value(value) => {
                self.e.load(Both(low(dst)), value as u32);
                if value as u32 == (value >> 32) as u32 {
                    self.e.mov(Both(high(dst)), A(low(dst)));
                } else {
                    self.e.load(Both(high(dst)), (value >> 32) as u32);
                }
                Ok(())
            }
            Wide::Map(map) => {
                self.maps.push(map as usize);
                self.e.map_id(Both(low(dst)), map as usize);
                self.e.load(Both(high(dst)), 0);
                Ok(())
            }
            Wide::MapFd(_)
            | Wide::MapFdValue { .. }
            | Wide::BtfId { .. }
            | Wide::Function { .. }
            | Wide::MapValue { .. } => Err(accepted_but_wrong(
                "the address of a map's value, of a kernel variable or of a function is loaded as a number of the host",
                "the driver rewrites no such load",
                "look the value up with bpf_map_lookup_elem",
            )),
        }
    }

    fn finish(mut self, places: &Places) -> Result<Image, Refusal> {
        let notes = self.e.take_notes();
        let emitted = self.e.finish(places).map_err(|(word, error)| Refusal {
            findings: vec![internal(&self.plan.program.name, word, error)],
        })?;
        self.maps.sort_unstable();
        self.maps.dedup();
        self.helpers.sort_unstable();
        self.helpers.dedup();
        let name = |map: &usize| {
            let def = self.plan.program.maps.get(*map);
            def.map_or_else(String::new, |def| def.name.clone())
        };
        let steps = self.plan.steps.iter().enumerate();
        Ok(Image {
            isa: Isa::Nfp,
            instructions: emitted.code.len() / 8,
            code: emitted.code,
            relocations: emitted.relocations,
            entry: 0,
            resources: Resources {
                stack_bytes: self.plan.stack_bytes(),
                map_names: self.maps.iter().map(name).collect(),
                maps: self.maps,
                helpers: self.helpers,
                device: device_words(self.plan, places),
                frozen: Vec::new(),
            },
            source_map: emitted.ranges,
            removed: steps
                .filter(|(_, step)| !matches!(step.insn, Insn::WideTail))
                .filter_map(|(pc, step)| step.removed.map(|why| (pc, why)))
                .collect(),
            notes,
        })
    }
}

/// What the engine is told beside the code: frames, and the words that are added to.
fn device_words(plan: &Plan<'_>, places: &Places) -> Vec<u64> {
    let mut words: BTreeSet<DeviceWord> = BTreeSet::new();
    for (function, (_, at)) in plan.functions.iter().zip(&places.functions) {
        words.insert(DeviceWord::Frame {
            at: *at as u32,
            depth: function.pointer() as u16,
        });
    }
    let mut counters: BTreeMap<(u16, u8), u32> = BTreeMap::new();
    for (pc, step) in plan.steps.iter().enumerate() {
        let (Insn::Atomic { .. }, None) = (step.insn, step.removed) else {
            continue;
        };
        let Some(access) = plan.facts(pc).access else {
            continue;
        };
        let Region::MapValue { map: Some(map) } = access.region else {
            continue;
        };
        for word in access.min / 4..(access.max + i64::from(access.size) + 3) / 4 {
            *counters.entry((map as u16, (word / 32) as u8)).or_default() |= 1 << (word % 32);
        }
    }
    // An atomic that several maps share has no one map in its facts; the checks saw each.
    let learned = Learned::decode(&plan.verified.device).unwrap_or_default();
    for map in &learned.maps {
        let words = map.words.iter().enumerate();
        for (word, _) in words.filter(|(_, word)| word.used == WordUse::Atomic) {
            *counters
                .entry((map.map as u16, (word / 32) as u8))
                .or_default() |= 1 << (word % 32);
        }
    }
    words.extend(
        counters
            .into_iter()
            .map(|((map, group), words)| DeviceWord::Atomic { map, group, words }),
    );
    words.into_iter().map(DeviceWord::encode).collect()
}

/// Only a 64-bit copy knows the frame pointer: the driver reads the temporaries in its place.
fn refuse_frame_pointer(insn: &Insn) -> Outcome {
    let named = |src: Source| src == Source::Reg(Reg::R10);
    let wrong = match *insn {
        Insn::Alu {
            op: isa::ebpf::AluOp::Mov,
            width: Width::W64,
            ..
        } => false,
        Insn::Alu { src, .. } | Insn::Store { src, .. } => named(src),
        Insn::Branch { dst, src, .. } => dst == Reg::R10 || named(src),
        Insn::Atomic { src, .. } => src == Reg::R10,
        _ => false,
    };
    if wrong {
        return Err(accepted_but_wrong(
            "r10 as a number reads what happens to be in temporary registers",
            "the driver keeps the frame pointer in no register; only `rN = r10` knows it",
            "copy r10 to another register first",
        ));
    }
    Ok(())
}

fn accepted_but_wrong(message: &str, why: &'static str, help: &'static str) -> Refused {
    Refused {
        rule: "nfp/accepted-but-wrong",
        message: format!("the driver accepts this and breaks it: {message}"),
        why,
        help,
    }
}

fn untranslated(what: &str) -> Refused {
    Refused {
        rule: "translate/opcode",
        message: format!("{what} has no translation for this card"),
        why: "the driver knows no sequence for it: `Translation failed with error -95`",
        help: "",
    }
}

fn internal(program: &str, word: usize, error: EmitError) -> Finding {
    Finding::error(
        "translate/internal",
        Stage::Translate,
        program,
        format!("word {word} cannot be made: {error}"),
    )
}

/// Where the code of a local call starts.
fn callee(insn: &Insn, pc: usize) -> Target {
    let target = insn.function_target(pc).unwrap_or(0);
    Target::Function(usize::try_from(target).unwrap_or(0))
}
