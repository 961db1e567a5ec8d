//! The engine of NICs that execute eBPF itself (hBPF, netdevsim): it decodes the image's bytes
//! and runs them with the profile's cycles.
//!
//! It trusts nothing about the image: every access is checked against the region its address
//! names, and a program that runs too long is stopped. [`address`] says what addresses are,
//! `machine` holds the state of one run, `execute` does the instructions, `trace` shows them.

pub mod address;
mod execute;
mod machine;
mod trace;

use std::any::Any;
use std::sync::{Arc, Weak};

use bpf::map::{MapId, MapSet};
use bpf::run::{Batch, Environment};
use bpf::trace::Observer;
use bpf::{Hook, kfunc};
use caps::CostClass;
use isa::ebpf::{CallTarget, Insn, Wide};
use isa::{Image, Isa, Symbol};

use execute::Calls;

use crate::{Engine, Linked, LoadError, ProgramId, ProgramTable, QueueState, Resolver};

/// The engine.
#[derive(Clone, Copy, Debug)]
pub struct Ebpf;

/// Instructions after which a run is stopped: more than any verified program executes.
pub const FUEL: u64 = 1 << 26;

/// Most functions that are running at once, the entry included: 8 of each program, and a tail
/// call in a function takes the place of that function alone, its callers stay.
pub const MAX_FRAMES: usize = 8 * (bpf::helper::MAX_TAIL_CALLS as usize + 1);

/// An image made ready.
pub(crate) struct Loaded {
    insns: Vec<Insn>,
    /// Cycles of each instruction; of a branch, if it is not taken.
    cycles: Vec<u32>,
    /// Cycles of a taken branch.
    branch_taken: u32,
    /// Cycles before the first instruction.
    start: u32,
    /// Cycles of a division by zero, where that stops the core.
    halting_division: Option<u32>,
    /// Whether `call N` reaches the handler of hBPF's tests.
    has_handler: bool,
    hook: Hook,
    id: ProgramId,
    maps: MapSet,
    environment: Arc<Environment>,
    /// Weak, since the table holds this program.
    programs: Weak<ProgramTable>,
}

impl Engine for Ebpf {
    fn isa(&self) -> Isa {
        Isa::Ebpf
    }

    fn load(&self, image: &Image, resolver: &Resolver<'_>) -> Result<Arc<dyn Linked>, LoadError> {
        let mut insns = isa::ebpf::decode(&image.code).map_err(|e| LoadError::Malformed {
            offset: e.offset,
            what: "no eBPF instruction can be decoded here",
        })?;
        let slots = insns.len() as u64;
        if let Some(limit) = resolver.caps.image_length() {
            let used = if limit.unit == caps::Unit::Bytes {
                slots * 8
            } else {
                slots
            };
            if let (true, Some(has)) = (limit.exceeded_by(used), limit.value.known()) {
                return Err(LoadError::TooLarge {
                    what: "image length",
                    needs: used,
                    has,
                });
            }
        }
        relocate(image, resolver, &mut insns)?;
        check_jumps(&insns)?;
        let costs = resolver.caps.costs();
        let cost = |class: CostClass| costs.cycles(class).unwrap_or(0) as u32;
        let cycles = insns
            .iter()
            .map(|i| CostClass::of(i).map_or(0, cost))
            .collect();
        Ok(Arc::new(Loaded {
            insns,
            cycles,
            branch_taken: cost(CostClass::BranchTaken),
            start: cost(CostClass::Start),
            halting_division: (resolver.caps.halts_on_division_by_zero())
                .then(|| cost(CostClass::DivideByZero)),
            has_handler: matches!(resolver.hook, Hook::Raw { .. })
                && resolver.caps.call_handler() == Some("hbpf-tests"),
            hook: resolver.hook.clone(),
            id: resolver.id,
            maps: resolver.map_set.clone(),
            environment: Arc::clone(resolver.environment),
            programs: Arc::downgrade(resolver.programs),
        }))
    }
}

impl Linked for Loaded {
    fn run(&self, _queues: &mut [QueueState], batch: &mut Batch) {
        self.run_all(batch, &mut trace::Blind);
    }

    fn trace(
        &self,
        _queues: &mut [QueueState],
        batch: &mut Batch,
        observer: &mut dyn Observer,
    ) -> bool {
        self.run_all(batch, &mut trace::Looking { observer });
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Loaded {
    fn run_all<W: trace::Watch>(&self, batch: &mut Batch, watch: &mut W) {
        let programs = self.programs.upgrade();
        batch.arrive(&self.hook, &self.environment);
        let mut calls = Calls::default();
        for index in 0..batch.frames.len() {
            let programs = programs.as_deref();
            machine::run_frame(self, programs, &mut calls, batch, index, watch);
        }
    }
}

/// Puts the NIC's map ids where the code names the program's maps.
fn relocate(image: &Image, resolver: &Resolver<'_>, insns: &mut [Insn]) -> Result<(), LoadError> {
    for relocation in &image.relocations {
        let malformed = |what| LoadError::Malformed {
            offset: relocation.at,
            what,
        };
        let id = |map: usize| -> Result<MapId, LoadError> {
            let id = resolver.maps.get(map).copied();
            id.filter(|id| resolver.map_set.get(*id).is_some())
                .ok_or(malformed(
                    "a relocation names a map that the NIC does not have",
                ))
        };
        let insn = insns
            .get_mut(relocation.at / 8)
            .ok_or(malformed("a relocation lies outside the code"))?;
        let Insn::LoadWide { value, .. } = insn else {
            return Err(malformed("a relocation must lie on a two-slot load"));
        };
        *value = match relocation.symbol {
            Symbol::Map(map) => Wide::Value(address::handle(id(map)?)),
            Symbol::MapValues { map, offset } => {
                let id = id(map)?;
                let first = resolver.map_set.get(id).and_then(|m| m.lookup(&[0; 4], 0));
                let first = first.ok_or(malformed("a map has no value 0"))?;
                Wide::Value(address::map_value(id, first.0) + offset)
            }
            Symbol::Helper(_) | Symbol::Runtime(_) | Symbol::Code(_) => {
                return Err(malformed("this engine has no such symbol"));
            }
        };
    }
    Ok(())
}

/// Every jump and call must land on an instruction, and the last must not fall off the end.
fn check_jumps(insns: &[Insn]) -> Result<(), LoadError> {
    let lands = |target: i64| {
        usize::try_from(target)
            .ok()
            .and_then(|t| insns.get(t))
            .is_some_and(|i| !matches!(i, Insn::WideTail))
    };
    for (pc, insn) in insns.iter().enumerate() {
        let malformed = |what| LoadError::Malformed {
            offset: pc * 8,
            what,
        };
        let target = insn.jump_target(pc).or_else(|| insn.function_target(pc));
        if target.is_some_and(|t| !lands(t)) {
            return Err(malformed("a jump lands where no instruction is"));
        }
        if let Insn::Call(target @ (CallTarget::Kfunc { .. } | CallTarget::Reg(_))) = insn
            && kfunc::callee(*target).is_none()
        {
            return Err(malformed(
                "this engine calls helpers, functions and kernel functions that it knows",
            ));
        }
    }
    match insns.last() {
        Some(Insn::Exit | Insn::Jump { .. }) => Ok(()),
        _ => Err(LoadError::Malformed {
            offset: insns.len().saturating_sub(1) * 8,
            what: "the code falls off its end",
        }),
    }
}
