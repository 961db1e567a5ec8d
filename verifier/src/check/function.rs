//! Calls of the program's own functions, and returning from them.

use bpf::btf::signature::{Parameter, Signature, Unsuitable};
use bpf::helper::Arg;
use isa::ebpf::Reg;

use super::mem::Place;
use super::{MAX_FRAMES, describe, object, readable, unreleased};
use crate::domain::{Callback, Kind, State};
use crate::report::{Problem, Rule};
use crate::transfer::Context;

/// The function that starts at `target` may be called.
pub(super) fn call(cx: &Context<'_>, state: &State, target: usize) -> Result<(), Problem> {
    if let Some(lock) = state.held.lock.as_ref()
        && cx.platform.declared.signature(target).is_some()
    {
        return Err(Problem::new(
            Rule::Lock,
            "global function calls are not allowed while holding a lock, use static function \
             instead",
        )
        .why(format!("the lock was taken at insn {}", lock.pc)));
    }
    if let Some(signature) = cx.platform.declared.signature(target) {
        return by_signature(cx, state, target, signature);
    }
    if state.depth() + 1 >= MAX_FRAMES {
        return Err(Problem::new(
            Rule::CallStack,
            format!("the call stack of {} frames is too deep", state.depth() + 2),
        )
        .why(format!("functions nest at most {MAX_FRAMES} deep")));
    }
    Ok(())
}

/// The name of the function that starts at a pc, for messages.
pub(crate) fn name<'a>(cx: &Context<'a>, start: usize) -> &'a str {
    let found = cx.platform.program.subprograms.iter();
    let mut found = found.filter(|s| s.start == start);
    found.next().map_or("?", |s| s.name.as_str())
}

/// Whether a global function has a signature that can be verified.
pub(crate) fn suitable(name: &str, signature: &Signature) -> Result<(), Problem> {
    let problem = |message| Problem::new(Rule::HelperArg, message).about(name);
    match &signature.parameters {
        Err(Unsuitable::TooMany(count)) => Err(problem(format!(
            "global function {name}() with {count} > 5 args"
        ))),
        Err(Unsuitable::Tag { index }) => Err(problem(format!(
            "arg#{index} of {name}() has a tag that does not go with its type"
        ))),
        Err(Unsuitable::Parameter { index, what }) => Err(problem(format!(
            "arg#{index} of {name}() is not supported: it is {what}"
        ))
        .why("a global function is verified by its signature alone")
        .help("make the function static, or give the parameter a type of known size")),
        Ok(_) if !signature.returns_number => Err(problem(format!(
            "global function {name}() returns no number; only numbers are supported"
        ))
        .help("let it return int, or make it static")),
        Ok(_) => Ok(()),
    }
}

/// The arguments go with the signature.
fn by_signature(
    cx: &Context<'_>,
    state: &State,
    target: usize,
    signature: &Signature,
) -> Result<(), Problem> {
    let name = name(cx, target);
    suitable(name, signature)?;
    for (index, parameter) in signature.parameters.iter().flatten().enumerate() {
        argument(cx, state, name, index, *parameter).map_err(|p| {
            p.about(name).why(format!(
                "global function {name}() is called by its signature"
            ))
        })?;
    }
    Ok(())
}

fn argument(
    cx: &Context<'_>,
    state: &State,
    name: &str,
    index: usize,
    parameter: Parameter,
) -> Result<(), Problem> {
    let reg = index + 1;
    let value = &state.top.regs[reg];
    let problem = |message| Problem::new(Rule::HelperArg, message);
    let held = || describe(&cx.platform, value);
    match parameter {
        Parameter::Number | Parameter::Arena => {
            if value.is_scalar() {
                Ok(())
            } else {
                Err(problem(format!(
                    "R{reg} is not a scalar: {name}() takes a number, and it is {}",
                    held()
                )))
            }
        }
        Parameter::Context => {
            if value.kind != Kind::Ctx {
                return Err(problem(format!(
                    "arg#{index} expected pointer to ctx, but it is {}",
                    held()
                )));
            }
            if value.off != 0 || value.range.as_constant() != Some(0) {
                return Err(problem(format!(
                    "dereference of modified ctx ptr R{reg} off={} disallowed",
                    value.off
                )));
            }
            Ok(())
        }
        Parameter::Memory { bytes, nullable } => {
            if value.is_zero() {
                return Ok(());
            }
            let mut pointer = *value;
            pointer.kind = pointer.kind.not_null();
            Place {
                platform: &cx.platform,
                state,
                reg,
                pointer: &pointer,
                offset: 0,
                size: u64::from(bytes),
            }
            .given(true, true)?;
            if value.kind.or_null() && !nullable {
                return Err(problem(format!("arg#{index} is expected to be non-NULL"))
                    .help(format!("compare r{reg} with 0 before the call")));
            }
            Ok(())
        }
        Parameter::Dynptr => object::stack_object(state, reg, Arg::Dynptr)
            .map_err(|message| Problem::new(Rule::StackObject, message)),
        Parameter::Object { .. } => Err(Problem::new(
            Rule::NotModelled,
            format!("arg#{index} of {name}() is an object of the kernel: not modelled yet"),
        )),
    }
}

/// A function that a helper called gives back what it may.
fn called_back(cx: &Context<'_>, state: &State, callback: &Callback) -> Result<(), Problem> {
    if callback.later {
        if let Some(reference) = state.held.references.first() {
            return Err(unreleased(reference));
        }
        object::closed(state, "BPF_EXIT instruction in callback")?;
    }
    readable(state, Reg::R0)?;
    let result = &state.top.regs[0];
    let (low, high) = callback.result;
    if result.is_scalar() && result.range.smin >= low && result.range.smax <= high {
        return Ok(());
    }
    Err(Problem::new(
        Rule::CallbackResult,
        format!(
            "at callback return the register R0 should have been in [{low}, {high}], and is {}",
            describe(&cx.platform, result)
        ),
    )
    .about("r0"))
}

/// The function may return, or the program end.
pub(super) fn returns(cx: &Context<'_>, state: &State) -> Result<(), Problem> {
    if let Some(callback) = &state.top.callback {
        return called_back(cx, state, callback);
    }
    if state.depth() > 0 {
        if let Kind::Stack { .. } = state.top.regs[0].kind {
            return Err(Problem::new(
                Rule::WrongType,
                "cannot return stack pointer to the caller",
            ));
        }
        return Ok(());
    }
    if let Some(reference) = state.held.references.first() {
        return Err(unreleased(reference));
    }
    object::closed(state, "BPF_EXIT instruction in main prog")?;
    readable(state, Reg::R0)?;
    let result = &state.top.regs[0];
    if state.top.function != 0 && !result.is_scalar() {
        return Err(Problem::new(
            Rule::WrongType,
            format!(
                "at subprogram exit the register R0 is not a scalar value ({})",
                describe(&cx.platform, result)
            ),
        )
        .why("a global function gives back a number"));
    }
    Ok(())
}
