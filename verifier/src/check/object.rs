//! Arguments that are objects with functions of their own: iterators, dynptrs, locks, timers,
//! functions to call back; and the sections that such functions open.

use bpf::btf::fields::{SpecialField, SpecialKind};
use bpf::helper::{Arg, Prototype};
use bpf::kfunc;

use super::{describe, local};
use crate::domain::{DynptrKind, Kind, StackObject, State, Value};
use crate::platform;
use crate::report::{Problem, Rule};
use crate::transfer::{Context, DYNPTR_SLOTS, SlotAt, dynptr, fields, object_place, slots_of};

/// Whether a function may be called at all in the sections that are open.
pub(super) fn section(state: &State, prototype: &Prototype) -> Result<(), Problem> {
    let held = &state.held;
    if let Some(lock) = &held.lock
        && !platform::allowed_under_lock(prototype.id)
    {
        let second = prototype.id == platform::SPIN_LOCK;
        let message = if second {
            "locking two bpf_spin_locks is not allowed".to_owned()
        } else {
            format!(
                "function calls are not allowed while holding a lock: {}",
                prototype.name
            )
        };
        return Err(Problem::new(Rule::Lock, message)
            .about(prototype.name)
            .why(format!("the lock was taken at insn {}", lock.pc))
            .help("call it before bpf_spin_lock or after bpf_spin_unlock"));
    }
    let unmatched = |what: &str| {
        Problem::new(Rule::Lock, format!("unmatched {what} {}", prototype.name))
            .about(prototype.name)
    };
    match prototype.id {
        platform::SPIN_UNLOCK if held.lock.is_none() => Err(Problem::new(
            Rule::Lock,
            "bpf_spin_unlock without taking a lock",
        )
        .about(prototype.name)),
        kfunc::RCU_READ_UNLOCK if held.rcu == 0 => Err(unmatched("rcu read unlock")),
        kfunc::PREEMPT_ENABLE if held.preempt == 0 => {
            Err(unmatched("attempt to enable preemption"))
        }
        _ => Ok(()),
    }
}

/// Whether all that was opened is closed where control leaves the program; `what` leaves it.
pub(super) fn closed(state: &State, what: &str) -> Result<(), Problem> {
    let held = &state.held;
    let open = if held.lock.is_some() {
        Some("bpf_spin_lock-ed region")
    } else if held.rcu > 0 {
        Some("bpf_rcu_read_lock-ed region")
    } else if held.preempt > 0 {
        Some("bpf_preempt_disable-ed region")
    } else {
        None
    };
    match open {
        None => Ok(()),
        Some(region) => Err(Problem::new(
            Rule::Lock,
            format!("{what} cannot be used inside {region}"),
        )
        .help("close it on every path that leads here")),
    }
}

/// One argument that is such an object.
pub(super) fn argument(
    cx: &Context<'_>,
    state: &State,
    prototype: &'static Prototype,
    reg: usize,
    arg: Arg,
) -> Result<(), Problem> {
    let value = &state.top.regs[reg];
    let problem = |rule, message: String| {
        Problem::new(rule, message)
            .about(prototype.name)
            .why(format!("r{reg} is {}", describe(&cx.platform, value)))
    };
    match arg {
        Arg::SpinLock => {
            field(cx, prototype, reg, value, SpecialKind::SpinLock)?;
            if prototype.id == platform::SPIN_UNLOCK
                && let Some(lock) = &state.held.lock
                && (lock.place != value.kind || lock.id != value.owner)
            {
                return Err(problem(
                    Rule::Lock,
                    "bpf_spin_unlock of different lock".to_owned(),
                ));
            }
            Ok(())
        }
        Arg::Timer => {
            field(cx, prototype, reg, value, SpecialKind::Timer)?;
            let other = match (value.kind, state.top.regs[2].kind) {
                (Kind::MapValue { map, .. }, Kind::Map { map: given, .. }) => map != given,
                _ => false,
            };
            if prototype.args[1] == Arg::ConstMap && other {
                return Err(problem(
                    Rule::HelperArg,
                    "timer pointer in R1 doesn't match map pointer in R2".to_owned(),
                ));
            }
            Ok(())
        }
        Arg::Function => match value.kind {
            Kind::Function { .. } => Ok(()),
            kind => Err(problem(
                Rule::HelperArg,
                format!("R{reg} type={} expected=func", kind.name()),
            )),
        },
        Arg::StackOrNull => {
            if value.is_zero() || matches!(value.kind, Kind::Stack { .. }) {
                return Ok(());
            }
            Err(problem(
                Rule::HelperArg,
                format!("R{reg} type={} expected=fp", value.kind.name()),
            ))
        }
        Arg::Scalar => {
            if value.is_scalar() {
                return Ok(());
            }
            Err(problem(Rule::HelperArg, format!("R{reg} is not a scalar")))
        }
        _ => stack_object(state, reg, arg).map_err(|message| problem(Rule::StackObject, message)),
    }
}

/// The special field of a map's value that an argument points to.
fn field<'a>(
    cx: &Context<'a>,
    prototype: &'static Prototype,
    reg: usize,
    value: &Value,
    kind: SpecialKind,
) -> Result<&'a SpecialField, Problem> {
    let name = kind.name();
    let problem = |message: String| {
        Problem::new(Rule::HelperArg, message)
            .about(prototype.name)
            .why(format!("r{reg} is {}", describe(&cx.platform, value)))
    };
    let lockable = kind == SpecialKind::SpinLock && local::lockable(value);
    if !lockable && !matches!(value.kind, Kind::MapValue { or_null: false, .. }) {
        return Err(problem(format!(
            "R{reg} type={} expected=map_value",
            value.kind.name()
        )));
    }
    if value.range.as_constant().is_none() {
        return Err(problem(format!(
            "R{reg} doesn't have constant offset. {name} has to be at the constant offset"
        )));
    }
    let Some(field) = fields(cx, value.kind).iter().find(|f| f.kind == kind) else {
        let place = match value.kind {
            Kind::MapValue { map, .. } => format!("map '{}'", cx.platform.map_name(map)),
            _ => "the object".to_owned(),
        };
        return Err(
            problem(format!("{place} has no valid {name}")).help(format!(
                "declare a `struct {name}` in the type of the value"
            )),
        );
    };
    if i64::from(field.offset) != value.min_offset() {
        return Err(problem(format!(
            "off {} doesn't point to 'struct {name}' that is at {}",
            value.min_offset(),
            field.offset
        )));
    }
    Ok(field)
}

/// An object on the stack.
pub(super) fn stack_object(state: &State, reg: usize, arg: Arg) -> Result<(), String> {
    let value = &state.top.regs[reg];
    let at = reg - 1;
    let what = match arg {
        Arg::NewDynptr | Arg::Dynptr | Arg::DynptrOrNull | Arg::RecordDynptr => "dynptr",
        Arg::NewInterruptState | Arg::InterruptState => "irq flag",
        _ => "iter_num",
    };
    if value.kind == Kind::Dynptr {
        if value.off != 0 || value.range.as_constant() != Some(0) {
            return Err(format!(
                "dereference of modified dynptr_ptr ptr R{reg} off={} disallowed",
                value.off
            ));
        }
        return match arg {
            Arg::Dynptr | Arg::DynptrOrNull => Ok(()),
            _ => Err(format!("arg#{at} expected pointer to stack for {what}")),
        };
    }
    let Kind::Stack { .. } = value.kind else {
        return Err(format!(
            "arg#{at} expected pointer to {what} on the stack, R{reg} type={}",
            value.kind.name()
        ));
    };
    let slots = slots_of(arg);
    let Some(place) = object_place(value, slots) else {
        return Err(format!(
            "cannot pass in {what} at an offset={}: it has to be at a constant offset, a \
             multiple of 8, inside the frame",
            value.min_offset()
        ));
    };
    let found = object_at(state, place);
    match arg {
        Arg::NewIterator | Arg::NewInterruptState => {
            if (0..slots).any(|back| occupied(state, place, back)) {
                return Err(format!("expected uninitialized {what} as arg #{at}"));
            }
            Ok(())
        }
        Arg::NewDynptr => new_dynptr(state, place),
        Arg::Iterator | Arg::EndIterator => match found {
            Some(StackObject::Iterator { .. }) => Ok(()),
            _ => Err(format!("expected an initialized {what} as arg #{at}")),
        },
        Arg::InterruptState => match found {
            Some(StackObject::Interrupts { reference }) => {
                let last = state.held.references.iter().rev();
                let mut last = last.filter(|r| r.resource == crate::domain::Resource::Interrupts);
                if last.next().is_some_and(|r| r.id == reference) {
                    Ok(())
                } else {
                    Err("cannot restore irq state out of order".to_owned())
                }
            }
            _ => Err(format!("expected an initialized {what} as arg #{at}")),
        },
        _ => match dynptr(state, value) {
            None => Err(format!("expected an initialized dynptr as arg #{at}")),
            Some((kind, ..)) if arg == Arg::RecordDynptr && kind != DynptrKind::Record => {
                Err(format!("expected a dynptr of type ringbuf as arg #{at}"))
            }
            Some(_) => Ok(()),
        },
    }
}

fn object_at(state: &State, SlotAt { frame, slot }: SlotAt) -> Option<StackObject> {
    let stack = &state.frame(usize::from(frame)).stack;
    stack.slot(usize::from(slot))?.object()
}

fn occupied(state: &State, place: SlotAt, back: usize) -> bool {
    let slot = usize::from(place.slot).saturating_sub(back) as u8;
    object_at(state, SlotAt { slot, ..place }).is_some()
}

/// A new dynptr may take the place of one that holds nothing, or of one whose record another
/// dynptr stands for too.
fn new_dynptr(state: &State, place: SlotAt) -> Result<(), String> {
    for back in 0..DYNPTR_SLOTS {
        let slot = usize::from(place.slot).saturating_sub(back) as u8;
        match object_at(state, SlotAt { slot, ..place }) {
            Some(StackObject::Dynptr { reference, .. }) if reference != 0 => {
                let others = state.objects().filter(|(_, _, object)| {
                    matches!(object, StackObject::Dynptr { reference: r, first: true, .. } if *r == reference)
                });
                if others.count() < 2 {
                    return Err("cannot overwrite referenced dynptr".to_owned());
                }
            }
            Some(StackObject::Iterator { .. } | StackObject::Interrupts { .. }) => {
                return Err("dynptr has to be an uninitialized dynptr".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether writing over a place on the stack takes the last dynptr of a record away.
pub(super) fn overwrites(state: &State, frame: u8, min: i32, max: i32) -> Result<(), Problem> {
    if min >= max {
        return Ok(());
    }
    for slot in crate::domain::slot_of(max - 1)..=crate::domain::slot_of(min) {
        let place = SlotAt {
            frame,
            slot: slot as u8,
        };
        if let Some(StackObject::Dynptr { reference, .. }) = object_at(state, place)
            && reference != 0
        {
            let same = state.objects().filter(|(_, _, object)| {
                matches!(object, StackObject::Dynptr { reference: r, first: true, .. } if *r == reference)
            });
            if same.count() < 2 {
                return Err(
                    Problem::new(Rule::StackObject, "cannot overwrite referenced dynptr")
                        .help("submit or discard it first"),
                );
            }
        }
    }
    Ok(())
}
