//! What concerns a whole program: its steps as the passes leave them, its functions and their
//! frames, which code the kernel removes, and what the device declares.

use bpf::{Hook, Program};
use caps::{Bound, Caps, Value};
use isa::ebpf::{CallTarget, Insn, Operand, Reg};
use isa::nfp::abi::FRAME_UNIT;
use isa::nfp::learned::{Learned, Visited};
use verifier::{Facts, Verified};

use super::pass::{Copy, Window};
use super::zext;

/// An instruction on its way through the passes.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The instruction; passes may have changed its operation or immediate.
    pub(super) insn: Insn,
    /// Why it has no code, if it has none.
    pub(super) removed: Option<&'static str>,
    /// Whether a jump goes here.
    pub(super) target: bool,
    /// Whether somebody may read the upper half of the 32-bit result.
    pub(super) zext: bool,
    /// A comparison with minus the immediate, made by an addition.
    pub(super) negated: bool,
    /// For a load from the packet: the window of transfer registers it reads.
    pub(super) window: Option<Window>,
    /// For the first load of a copy: all of it.
    pub(super) copy: Option<Copy>,
    /// What a pass has to say of it.
    pub(super) note: Option<&'static str>,
}

/// A function of the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    /// First pc.
    pub(super) start: usize,
    /// First pc after it.
    pub(super) end: usize,
    /// Bytes of its frame: eBPF stack, and for a called function its return address and the
    /// registers it saves.
    pub(super) depth: u32,
    /// Whether r6 to r9 are saved when it is called.
    pub(super) saves: bool,
}

impl Function {
    /// Distance of the eBPF frame pointer from the frame's base, in bytes.
    pub(super) fn pointer(&self) -> u32 {
        self.depth.next_multiple_of(4)
    }

    /// How far a call from here moves the frame's base, in bytes.
    pub(super) fn stride(&self) -> u32 {
        self.depth.next_multiple_of(FRAME_UNIT)
    }
}

/// Least and largest unsigned value of an instruction's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operands {
    pub(super) dst: (u64, u64),
    pub(super) src: (u64, u64),
}

/// The largest addend that goes into the command itself.
const SMALL: u64 = 0xffff;

/// A whole program.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) program: &'a Program,
    pub(super) verified: &'a Verified,
    pub(super) caps: &'a Caps,
    /// Make the driver's own words, its mistakes and guesses included.
    pub(super) exact: bool,
    learned: Learned,
    /// One for each slot.
    pub(super) steps: Vec<Step>,
    pub(super) functions: Vec<Function>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(verified: &'a Verified, caps: &'a Caps) -> Plan<'a> {
        let program: &Program = verified.program();
        let mut steps: Vec<Step> = program
            .insns
            .iter()
            .map(|insn| Step {
                insn: *insn,
                removed: None,
                target: false,
                zext: false,
                negated: false,
                window: None,
                copy: None,
                note: None,
            })
            .collect();
        for (pc, insn) in program.insns.iter().enumerate() {
            let target = insn.jump_target(pc).and_then(|t| usize::try_from(t).ok());
            if let Some(step) = target.and_then(|t| steps.get_mut(t)) {
                step.target = true;
            }
        }
        let mut plan = Plan {
            program,
            verified,
            caps,
            exact: is_exact(caps),
            learned: Learned::decode(&verified.device).unwrap_or_default(),
            steps,
            functions: functions(program, verified),
        };
        plan.remove_dead_code();
        for (step, zext) in plan.steps.iter_mut().zip(zext::flags(program, verified)) {
            step.zext = zext;
        }
        plan
    }

    /// What holds at `pc`.
    pub(super) fn facts(&self, pc: usize) -> &Facts {
        self.verified.facts(pc)
    }

    /// Bounds of the operands of the arithmetic at `pc`: over all paths, or as the driver saw
    /// them.
    pub(super) fn operands(&self, pc: usize, dst: Reg, src: Operand) -> Operands {
        if let Some(seen) = self.visited(pc) {
            return Operands {
                dst: seen.dst,
                src: seen.src,
            };
        }
        let registers = &self.facts(pc).registers;
        let bounds = |reg: Reg| {
            let range = &registers[reg.index()].range;
            (range.umin, range.umax)
        };
        Operands {
            dst: bounds(dst),
            src: match src {
                Operand::Reg(src) => bounds(src),
                Operand::Imm(imm) => (u64::from(imm as u32), u64::from(imm as u32)),
            },
        }
    }

    /// Whether the addend of the atomic at `pc` may be at most 0xffff, and whether it may be
    /// more.
    pub(super) fn addend(&self, pc: usize, src: Reg) -> (bool, bool) {
        if let Some(seen) = self.visited(pc) {
            return (seen.maybe16, seen.over16);
        }
        let bits = self.facts(pc).registers[src.index()].range.bits;
        (bits.value <= SMALL, bits.value | bits.mask > SMALL)
    }

    /// What the driver saw at `pc`, if that decides.
    fn visited(&self, pc: usize) -> Option<&Visited> {
        self.learned.at(pc).filter(|_| self.exact)
    }

    /// The function that holds `pc`, as an index.
    pub(super) fn function_at(&self, pc: usize) -> usize {
        self.functions.partition_point(|f| f.start <= pc).max(1) - 1
    }

    /// Whether it is an XDP program; else it is one of tc.
    pub(super) fn is_xdp(&self) -> bool {
        matches!(self.program.hook, Hook::Xdp { .. })
    }

    /// A number that the device declares, 0 if it does not.
    pub(super) fn declared(&self, key: &str) -> u64 {
        match self.caps.fact(key).map(|fact| &fact.value) {
            Some(Value::Number(Bound::Known(n))) => *n,
            _ => 0,
        }
    }

    /// Bytes of stack over the deepest chain of calls, each frame rounded up.
    pub(super) fn stack_bytes(&self) -> usize {
        self.chain_bytes(0, 0) as usize
    }

    fn chain_bytes(&self, function: usize, depth: usize) -> u32 {
        let Some(f) = self.functions.get(function).filter(|_| depth < 16) else {
            return 0;
        };
        let called = (f.start..f.end)
            .filter(|pc| self.facts(*pc).reachable)
            .filter_map(|pc| match self.program.insns[pc] {
                Insn::Call(CallTarget::Local { .. }) => {
                    let target = self.program.insns[pc].function_target(pc)?;
                    Some(self.function_at(usize::try_from(target).ok()?))
                }
                _ => None,
            })
            .map(|callee| self.chain_bytes(callee, depth + 1));
        f.stride() + called.max().unwrap_or(0)
    }

    /// What the kernel removes before the driver translates: code that no path reaches,
    /// branches that never go, and jumps that go nowhere. A branch that always goes stays as it
    /// is written.
    fn remove_dead_code(&mut self) {
        const DEAD: &str = "no path reaches it";
        let reachable = |pc: usize| self.verified.facts(pc).reachable;
        let mut jumps = Vec::new();
        for (pc, insn) in self.program.insns.iter().enumerate() {
            if matches!(insn, Insn::WideTail) {
                continue;
            }
            if !reachable(pc) {
                self.steps[pc].removed = Some(DEAD);
                if insn.slots() == 2 {
                    self.steps[pc + 1].removed = Some(DEAD);
                }
                continue;
            }
            let target = insn.jump_target(pc).and_then(|t| usize::try_from(t).ok());
            match (insn, target) {
                (Insn::Jump { .. }, Some(target)) => jumps.push((pc, target)),
                (Insn::Branch { .. }, Some(target)) => {
                    if !reachable(pc + 1) {
                        jumps.push((pc, target));
                    } else if !reachable(target) {
                        self.steps[pc].removed = Some("the branch is never taken");
                    }
                }
                _ => {}
            }
        }
        for (pc, target) in jumps {
            let mut between = pc + 1..target.max(pc + 1);
            if target > pc && between.all(|pc| self.steps[pc].removed == Some(DEAD)) {
                self.steps[pc].removed = Some("it goes to the next instruction");
            }
        }
    }
}

/// Whether the profile asks for the driver's own words.
fn is_exact(caps: &Caps) -> bool {
    caps.fact("driver.exact")
        .is_some_and(|fact| fact.value == Value::Flag(true))
}

fn functions(program: &Program, verified: &Verified) -> Vec<Function> {
    let each = program.subprograms.iter().enumerate();
    each.map(|(index, function)| {
        let body = &program.insns[function.start..function.end.min(program.insns.len())];
        let saves = index > 0 && body.iter().any(names_a_saved_register);
        let mut depth = verified.frame_bytes(index);
        if index > 0 {
            depth += 4 + if saves { 32 } else { 0 };
        }
        Function {
            start: function.start,
            end: function.end.min(program.insns.len()),
            depth,
            saves,
        }
    })
    .collect()
}

/// Whether the destination field of the encoding names r6 to r9, as the driver asks: also for
/// stores (the base) and branches.
fn names_a_saved_register(insn: &Insn) -> bool {
    let dst = match *insn {
        Insn::Alu { dst, .. }
        | Insn::Neg { dst, .. }
        | Insn::MovSx { dst, .. }
        | Insn::Swap { dst, .. }
        | Insn::LoadWide { dst, .. }
        | Insn::Load { dst, .. }
        | Insn::LoadAcquire { dst, .. }
        | Insn::Branch { dst, .. } => dst,
        Insn::Store { base, .. } | Insn::Atomic { base, .. } | Insn::StoreRelease { base, .. } => {
            base
        }
        Insn::WideTail
        | Insn::LoadPacket { .. }
        | Insn::Jump { .. }
        | Insn::MayGoto { .. }
        | Insn::Call(_)
        | Insn::Exit => return false,
    };
    (Reg::R6..=Reg::R9).contains(&dst)
}
