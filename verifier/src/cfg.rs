//! The control-flow graph: functions, where jumps lead, and what is live.
//!
//! Knows neither values nor types. What the kernel refuses before it looks at any value is
//! refused here: jumps that leave their function or land inside an instruction, functions that
//! can be fallen out of, instructions that nothing reaches.

use bpf::Program;
use isa::ebpf::{CallTarget, Insn, Reg, RegSet};

use crate::platform::Platform;
use crate::report::{Problem, Rule};

/// Most instructions of a program, as in the kernel.
pub(crate) const MAX_INSNS: usize = 1_000_000;

/// One function's extent.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// First pc.
    pub(crate) start: usize,
    /// First pc after it.
    pub(crate) end: usize,
    /// Whether it makes tail calls.
    pub(crate) tail_calls: bool,
    /// Whether it has packet loads that may end it.
    pub(crate) legacy_loads: bool,
    /// Whether it, or a function it calls, may move the packet.
    pub(crate) moves_packet: bool,
}

/// What the graph tells of each instruction.
#[derive(Debug)]
pub(crate) struct Cfg {
    /// Functions by ascending start, the entry first.
    pub(crate) functions: Vec<Function>,
    /// Index of the function that gets the program's exceptions.
    pub(crate) catcher: Option<usize>,
    /// Whether states are compared before this instruction.
    pub(crate) prune_point: Vec<bool>,
    /// Whether a state is kept there whenever a path comes by: loops turn round there.
    pub(crate) turns: Vec<bool>,
    /// Registers whose value before the instruction may still be read.
    pub(crate) live: Vec<RegSet>,
}

impl Cfg {
    /// Index of the function that starts at `pc`.
    pub(crate) fn function_starting(&self, pc: usize) -> Option<usize> {
        self.functions.binary_search_by_key(&pc, |f| f.start).ok()
    }
}

/// A problem at a pc.
pub(crate) type Located = (usize, Problem);

/// Builds the graph of a program; `catcher` is the first pc of what gets its exceptions.
///
/// # Errors
/// The first thing that the kernel would refuse, with its pc.
pub(crate) fn build(platform: &Platform<'_>, catcher: Option<usize>) -> Result<Cfg, Located> {
    let program = platform.program;
    let insns = &program.insns[..];
    if insns.is_empty() || insns.len() > MAX_INSNS {
        let message = format!(
            "a program has 1 to {MAX_INSNS} instructions, this one has {}",
            insns.len()
        );
        return Err((0, Problem::new(Rule::ControlFlow, message)));
    }
    check_license(platform)?;
    let mut functions = find_functions(program, catcher)?;
    note_moves(platform, &mut functions);
    check_jumps(insns, &functions)?;
    let reached = reach(insns, catcher);
    if let Some(pc) = (0..insns.len()).find(|pc| !reached[*pc] && insns[*pc] != Insn::WideTail) {
        let problem = Problem::new(Rule::Unreachable, format!("unreachable insn {pc}"))
            .why("no path from the entry leads here, and the kernel refuses such code")
            .help("remove the instruction, or the function that nothing calls");
        return Err((pc, problem));
    }
    Ok(Cfg {
        prune_point: prune_points(platform, insns),
        turns: (0..insns.len())
            .map(|pc| turns(platform, &insns[pc]))
            .collect(),
        live: live_registers(platform, insns),
        catcher: catcher.and_then(|pc| functions.binary_search_by_key(&pc, |f| f.start).ok()),
        functions,
    })
}

/// Kernel functions are for programs under a GPL-compatible licence, wherever the call stands;
/// helpers are looked at where a path comes by.
fn check_license(platform: &Platform<'_>) -> Result<(), Located> {
    let raw = matches!(platform.program.hook, bpf::Hook::Raw { .. });
    if raw || platform.program.is_gpl_compatible() {
        return Ok(());
    }
    let mut insns = platform.program.insns.iter();
    let call = |insn: &Insn| matches!(insn, Insn::Call(CallTarget::Kfunc { .. }));
    let Some(pc) = insns.position(call) else {
        return Ok(());
    };
    let message = "cannot call kernel function from non-GPL compatible program";
    let problem = Problem::new(Rule::HelperNotAllowed, message)
        .why("the kernel looks for such calls before it follows any path")
        .help("declare a license such as \"GPL\" or \"Dual MIT/GPL\"");
    Err((pc, problem))
}

fn find_functions(program: &Program, catcher: Option<usize>) -> Result<Vec<Function>, Located> {
    let insns = &program.insns;
    let mut starts: Vec<usize> = catcher.into_iter().chain([0]).collect();
    for (pc, insn) in insns.iter().enumerate() {
        if let Some(target) = insn.function_target(pc) {
            let valid = usize::try_from(target)
                .ok()
                .filter(|t| *t < insns.len() && insns[*t] != Insn::WideTail);
            let Some(start) = valid else {
                let message = format!("call to invalid destination: insn {target}");
                return Err((pc, Problem::new(Rule::ControlFlow, message)));
            };
            starts.push(start);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let ends = starts
        .iter()
        .skip(1)
        .copied()
        .chain(std::iter::once(insns.len()));
    Ok(starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| Function {
            start,
            end,
            tail_calls: insns[start..end]
                .contains(&Insn::Call(CallTarget::Helper(crate::platform::TAIL_CALL))),
            legacy_loads: insns[start..end]
                .iter()
                .any(|i| matches!(i, Insn::LoadPacket { .. })),
            moves_packet: false,
        })
        .collect())
}

/// Notes which functions may move the packet, themselves or by what they call.
fn note_moves(platform: &Platform<'_>, functions: &mut [Function]) {
    let insns = &platform.program.insns;
    let mut callers = vec![Vec::new(); functions.len()];
    let mut pending = Vec::new();
    for index in 0..functions.len() {
        for pc in functions[index].start..functions[index].end {
            let moves = match insns[pc] {
                Insn::Call(target) => platform
                    .called(target)
                    .is_some_and(|p| p.changes_packet || p.id == crate::platform::TAIL_CALL),
                _ => false,
            };
            if moves {
                pending.push(index);
            }
            if let Some(target) = insns[pc].function_target(pc)
                && let Ok(callee) = functions.binary_search_by_key(&(target as usize), |f| f.start)
            {
                callers[callee].push(index);
            }
        }
    }
    while let Some(index) = pending.pop() {
        if !std::mem::replace(&mut functions[index].moves_packet, true) {
            pending.extend(&callers[index]);
        }
    }
}

fn check_jumps(insns: &[Insn], functions: &[Function]) -> Result<(), Located> {
    for function in functions {
        for pc in function.start..function.end {
            if let Some(target) = insns[pc].jump_target(pc) {
                let inside = target >= function.start as i64 && target < function.end as i64;
                if !inside {
                    let message = format!("jump out of range from insn {pc} to {target}");
                    let problem = Problem::new(Rule::ControlFlow, message)
                        .why("a jump stays inside its function");
                    return Err((pc, problem));
                }
                if insns[target as usize] == Insn::WideTail {
                    let message = format!(
                        "jump into the middle of ldimm64 insn {} from insn {pc}",
                        target - 1
                    );
                    return Err((pc, Problem::new(Rule::ControlFlow, message)));
                }
            }
        }
        let last = function.end - 1;
        if !insns[last].is_terminator() {
            let problem = Problem::new(Rule::ControlFlow, "last insn is not an exit or jmp")
                .why("control would run off the end of the function");
            return Err((last, problem));
        }
    }
    Ok(())
}

/// The pcs that control can go to next inside the function; a call goes on after itself.
pub(crate) fn successors(insns: &[Insn], pc: usize) -> impl Iterator<Item = usize> + use<> {
    let insn = &insns[pc];
    let next = (!insn.is_terminator()).then_some(pc + insn.slots());
    let target = insn.jump_target(pc).map(|t| t as usize);
    next.into_iter().chain(target)
}

fn reach(insns: &[Insn], catcher: Option<usize>) -> Vec<bool> {
    let mut reached = vec![false; insns.len()];
    let mut pending: Vec<usize> = catcher.into_iter().chain([0]).collect();
    while let Some(pc) = pending.pop() {
        if std::mem::replace(&mut reached[pc], true) {
            continue;
        }
        pending.extend(successors(insns, pc).filter(|t| !reached[*t]));
        pending.extend(insns[pc].function_target(pc).map(|t| t as usize));
    }
    reached
}

/// Where paths can meet again: jump targets, branches, and calls of functions.
fn prune_points(platform: &Platform<'_>, insns: &[Insn]) -> Vec<bool> {
    let mut points = vec![false; insns.len()];
    for (pc, insn) in insns.iter().enumerate() {
        if let Some(target) = insn.jump_target(pc) {
            points[target as usize] = true;
            if !matches!(insn, Insn::Jump { .. }) {
                points[pc] = true;
            }
        }
        let set_callback = Insn::Call(CallTarget::Helper(crate::platform::TIMER_SET_CALLBACK));
        if matches!(insn, Insn::Call(CallTarget::Local { .. }))
            || turns(platform, insn)
            || *insn == set_callback
        {
            points[pc] = true;
        }
    }
    points
}

/// Whether an instruction is where a loop turns round that is none of jumps: `may_goto`, an
/// iterator's next, a helper that calls back.
fn turns(platform: &Platform<'_>, insn: &Insn) -> bool {
    match *insn {
        Insn::MayGoto { .. } => true,
        Insn::Call(target) => platform.called(target).is_some_and(|p| {
            p.id == bpf::kfunc::ITER_NUM_NEXT || crate::platform::calls_back(p.id)
        }),
        _ => false,
    }
}

/// Backward dataflow over each function.
fn live_registers(platform: &Platform<'_>, insns: &[Insn]) -> Vec<RegSet> {
    let used: Vec<RegSet> = insns.iter().map(|i| reads(platform, i)).collect();
    let mut live = vec![0; insns.len()];
    loop {
        let mut changed = false;
        for pc in (0..insns.len()).rev() {
            if insns[pc] == Insn::WideTail {
                continue;
            }
            let after = successors(insns, pc).fold(0, |set, next| set | live[next]);
            let before = after & !insns[pc].writes() | used[pc];
            changed |= before != live[pc];
            live[pc] = before;
        }
        if !changed {
            return live;
        }
    }
}

/// The registers an instruction reads; a helper reads only the arguments it has.
fn reads(platform: &Platform<'_>, insn: &Insn) -> RegSet {
    match insn {
        Insn::Call(target @ (CallTarget::Helper(_) | CallTarget::Kfunc { .. })) => {
            match platform.called(*target) {
                Some(prototype) => (1..=prototype.arity()).fold(0, |set, n| set | 1 << n),
                None => insn.reads(),
            }
        }
        // What a function is given lives on in its own frame.
        _ => insn.reads() & !(1 << Reg::R10.number()),
    }
}
