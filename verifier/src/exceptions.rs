//! Exceptions (`bpf_throw`): which function gets them, and where none may be thrown.

use std::collections::BTreeSet;

use bpf::Program;
use bpf::btf::signature::Parameter;
use isa::ebpf::{CallTarget, Insn};

use crate::cfg::{Cfg, Located};
use crate::check;
use crate::declared::Declared;
use crate::report::{Problem, Rule};

/// The first pc of the function that gets the program's exceptions, if it names one.
///
/// # Errors
/// What is named cannot get them.
pub(crate) fn catcher(
    program: &Program,
    declared: &Declared<'_>,
) -> Result<Option<usize>, Problem> {
    let entry = program.subprograms.first().map_or(0, |s| s.btf_type);
    let names = declared.exception_callbacks(entry);
    let [name] = names[..] else {
        if names.is_empty() {
            return Ok(None);
        }
        return Err(problem(
            "multiple exception callback tags for main subprog".to_owned(),
        ));
    };
    let found = program.subprograms.iter().find(|s| s.name == name);
    let Some(found) = found.filter(|s| s.start != 0) else {
        return Err(problem(format!(
            "exception callback '{name}' could not be found in BTF"
        )));
    };
    let Some(signature) = declared.signature(found.start).filter(|_| found.global) else {
        return Err(problem(format!(
            "exception callback '{name}' must have global linkage"
        )));
    };
    check::suitable(name, signature)?;
    match signature.parameters.as_deref() {
        Ok([Parameter::Number]) => Ok(Some(found.start)),
        _ => Err(problem(
            "exception cb only supports single integer argument".to_owned(),
        )),
    }
}

fn problem(message: String) -> Problem {
    Problem::new(Rule::Exception, message)
}

/// Holds a program against what exceptions forbid: nothing that a helper calls back, and nothing
/// that gets an exception, may throw, since the helper's own frame could not be left.
///
/// # Errors
/// The first call of `bpf_throw` there.
pub(crate) fn check(program: &Program, cfg: &Cfg) -> Result<(), Located> {
    let insns = &program.insns;
    let starts_at = |pc: usize| {
        let target = insns[pc].function_target(pc)?;
        cfg.function_starting(target as usize)
    };
    let taken = (0..insns.len()).filter(|pc| matches!(insns[*pc], Insn::LoadWide { .. }));
    let mut pending: Vec<usize> = taken.filter_map(starts_at).chain(cfg.catcher).collect();
    let mut inside = BTreeSet::new();
    while let Some(function) = pending.pop() {
        if !inside.insert(function) {
            continue;
        }
        for pc in cfg.functions[function].start..cfg.functions[function].end {
            if throws(&insns[pc]) {
                let problem = problem(format!(
                    "bpf_throw kfunc (insn {pc}) cannot be called from a callback"
                ));
                return Err((pc, problem));
            }
            pending.extend(starts_at(pc));
        }
    }
    Ok(())
}

/// Whether an instruction throws.
pub(crate) fn throws(insn: &Insn) -> bool {
    matches!(*insn, Insn::Call(CallTarget::Kfunc { id, module: 0 })
        if bpf::kfunc::prototype(id).is_some_and(|p| p.id == bpf::kfunc::THROW))
}
