//! Calls of helpers.

use bpf::btf::fields::SpecialKind;
use bpf::btf::signature::{Parameter, Signature};
use bpf::helper::{Arg, Hold, Kept, LocalArg, Prototype, Return};

use super::mem::{slots, smear_all, window};
use super::{Context, Effects, SlotAt, local, object, pointer};
use isa::ebpf::CallTarget;

use crate::domain::{
    Block, Byte, DynptrKind, Ids, Kind, MapRef, Range, Reference, Resource, State, Trust, Value,
    slot_of,
};
use crate::platform::{self, Platform};

/// Forgets r0 to r5.
pub(super) fn clobber(state: &mut State) {
    for reg in &mut state.top.regs[0..=5] {
        *reg = Value::UNKNOWN;
    }
}

/// What one argument of a helper is, with the memory it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// Register number.
    pub(crate) reg: usize,
    /// What the helper wants.
    pub(crate) arg: Arg,
    /// Most bytes of memory that the helper touches there; 0 if it is no memory.
    pub(crate) bytes: u64,
    /// Whether that is the exact number.
    pub(crate) exact: bool,
    /// Whether it reads them.
    pub(crate) reads: bool,
    /// Whether it writes them.
    pub(crate) writes: bool,
}

impl Given {
    /// The arguments of a call, as the registers are.
    pub(crate) fn all<'s>(
        platform: &'s Platform<'_>,
        state: &'s State,
        prototype: &'static Prototype,
    ) -> impl Iterator<Item = Given> + 's {
        let map = map_argument(state, prototype);
        (1..=prototype.arity()).map(move |reg| {
            let arg = match prototype.args[reg - 1] {
                Arg::MapValue if map.is_some_and(|m| platform::holds_sockets(platform, m)) => {
                    Arg::Socket
                }
                // A Bloom filter is asked about the value, others fill it.
                Arg::UninitMapValue if map.is_some_and(|m| platform::is_asked(platform, m)) => {
                    Arg::MapValue
                }
                arg => arg,
            };
            let size = state.top.regs.get(reg + 1).filter(|r| r.is_scalar());
            let sized = || {
                size.map_or((u64::MAX, false), |r| {
                    (r.range.umax, r.range.as_constant().is_some())
                })
            };
            let key = || map.and_then(|m| platform.map(m)).map_or(0, |m| m.key_size);
            let value = || map.map_or(0, |m| platform.value_size(m));
            let ((bytes, exact), reads, writes) = match arg {
                Arg::Mem | Arg::MemOrNull => (sized(), true, false),
                Arg::UninitMem => (sized(), false, true),
                Arg::MemRw | Arg::MemRwOrNull | Arg::Scratch => (sized(), true, true),
                Arg::FixedMem(bytes) => ((u64::from(bytes), true), true, false),
                Arg::FixedMemRw(bytes) | Arg::AlignedOut(bytes) => {
                    ((u64::from(bytes), true), true, true)
                }
                Arg::MapKey => ((u64::from(key()), true), true, false),
                Arg::MapValue | Arg::MapValueOrNull => ((u64::from(value()), true), true, false),
                Arg::UninitMapValue => ((u64::from(value()), true), false, true),
                _ => ((0, true), false, false),
            };
            Given {
                reg,
                arg,
                bytes,
                exact,
                reads,
                writes,
            }
        })
    }
}

/// The map that a call names, if it is known.
pub(crate) fn map_argument(state: &State, prototype: &Prototype) -> Option<MapRef> {
    let position = prototype.args.iter().position(|a| *a == Arg::ConstMap)?;
    match state.top.regs[position + 1].kind {
        Kind::Map { map, .. } => Some(map),
        _ => None,
    }
}

/// The key of a lookup as a number, if the stack holds it as one, and the slot whose spilled
/// register it is.
pub(crate) fn constant_key(
    state: &State,
    key: &Value,
    bytes: u32,
) -> Option<(u64, Option<SlotAt>)> {
    let Kind::Stack { frame } = key.kind else {
        return None;
    };
    if !(1..=8).contains(&bytes) {
        return None;
    }
    let w = window(key, 0, i64::from(bytes));
    if !w.exact || slot_of(w.min) != slot_of(w.max - 1) {
        return None;
    }
    let stack = &state.frame(usize::from(frame)).stack;
    if (w.min..w.max).all(|at| stack.byte(at) == Byte::Zero) {
        return Some((0, None));
    }
    let index = slot_of(w.min);
    let (reg, kept) = stack.slot(index)?.spilled()?;
    if w.min % 8 != 0 || u32::from(kept) != bytes {
        return None;
    }
    let mask = if bytes == 8 {
        u64::MAX
    } else {
        (1 << (8 * bytes)) - 1
    };
    Some((
        reg.as_constant()? & mask,
        Some(SlotAt {
            frame,
            slot: index as u8,
        }),
    ))
}

/// Executes a call of a helper or kernel function.
pub(super) fn outside(
    cx: &Context<'_>,
    state: &mut State,
    ids: &mut Ids,
    effects: &mut Effects,
    pc: usize,
    target: CallTarget,
) {
    let Some(prototype) = cx.platform.called(target) else {
        smear_all(state);
        clobber(state);
        return;
    };
    let given: Vec<Given> = Given::all(&cx.platform, state, prototype).collect();
    for argument in &given {
        touch(state, effects, argument);
    }
    let result = result(cx, state, ids, pc, prototype);
    for argument in &given {
        if matches!(
            argument.arg,
            Arg::RingbufRecord
                | Arg::AcquiredSocket
                | Arg::Kernel(_, Hold::Released)
                | Arg::PointerGiven
                | Arg::Local(LocalArg::Owned)
        ) {
            let reference = state.top.regs[argument.reg].reference;
            if reference != 0 {
                state.release(reference);
            }
        }
    }
    for argument in &given {
        if matches!(argument.arg, Arg::Local(LocalArg::NewNode(_))) {
            local::give(state, argument.reg);
        }
    }
    let writes_packet = prototype.id == platform::DYNPTR_WRITE
        && object::dynptr(state, &state.top.regs[1]).is_some_and(|d| d.0 == DynptrKind::Skb);
    object::call(state, ids, effects, pc, prototype, &given);
    if platform::calls_back(prototype.id) {
        state.top.calls_back = 0;
    }
    clobber(state);
    if prototype.changes_packet || writes_packet {
        state.forget_packet();
    }
    state.top.regs[0] = result;
}

/// Calls a global function, of which only the signature is known.
pub(super) fn by_signature(
    cx: &Context<'_>,
    state: &mut State,
    effects: &mut Effects,
    target: usize,
    signature: &Signature,
) {
    for (index, parameter) in signature.parameters.iter().flatten().enumerate() {
        if let Parameter::Memory { bytes, .. } = *parameter {
            let given = Given {
                reg: index + 1,
                arg: Arg::FixedMem(bytes),
                bytes: u64::from(bytes),
                exact: true,
                reads: true,
                writes: true,
            };
            touch(state, effects, &given);
        }
    }
    clobber(state);
    state.top.regs[0] = Value::SCALAR;
    let callee = cx.cfg.function_starting(target);
    if callee.is_some_and(|index| cx.cfg.functions[index].moves_packet) {
        state.forget_packet();
    }
}

/// What r1 to r5 hold where a global function begins, by its signature alone.
pub(crate) fn arguments_by_signature(ids: &mut Ids, signature: &Signature) -> [Value; 5] {
    let mut values = [Value::UNKNOWN; 5];
    for (value, parameter) in values.iter_mut().zip(signature.parameters.iter().flatten()) {
        *value = match *parameter {
            Parameter::Number | Parameter::Arena => Value::SCALAR,
            Parameter::Context => Value::pointer(Kind::Ctx),
            Parameter::Memory { bytes, nullable } => Value {
                id: if nullable { ids.fresh() } else { 0 },
                ..Value::pointer(Kind::Memory {
                    size: bytes,
                    or_null: nullable,
                    block: Block::Plain,
                })
            },
            Parameter::Dynptr => Value::pointer(Kind::Dynptr),
            Parameter::Object { .. } => Value::UNKNOWN,
        };
    }
    values
}

/// Notes what a helper reads and writes of the stack through one argument.
fn touch(state: &mut State, effects: &mut Effects, given: &Given) {
    if !given.reads && !given.writes {
        return;
    }
    let pointer = state.top.regs[given.reg];
    match pointer.kind {
        Kind::Stack { frame } => {
            let bytes = i64::try_from(given.bytes).unwrap_or(i64::MAX);
            let w = window(&pointer, 0, bytes);
            let (touched, covered) = slots(w.min, w.max);
            effects.touches.push((frame, touched));
            if given.reads || !w.exact || !given.exact {
                effects.reads.push((frame, touched));
            }
            if given.writes {
                object::destroy_dynptrs(state, frame, w.min, w.max);
                let stack = &mut state.frame_mut(usize::from(frame)).stack;
                stack.smear(w.min, w.max, false);
                if w.exact && given.exact {
                    effects.writes.push((frame, covered));
                }
            }
        }
        Kind::Unknown if given.writes => smear_all(state),
        _ => {}
    }
}

/// What r0 holds after the call.
fn result(
    cx: &Context<'_>,
    state: &mut State,
    ids: &mut Ids,
    pc: usize,
    prototype: &Prototype,
) -> Value {
    match prototype.ret {
        Return::Scalar if prototype.id == platform::GET_SMP_PROCESSOR_ID => {
            Value::scalar(Range::unsigned(0, platform::MAX_CPUS - 1))
        }
        Return::Scalar => Value::SCALAR,
        Return::Void => Value::UNKNOWN,
        Return::Kernel(name, kept) => structure(cx, state, ids, pc, prototype, (name, kept)),
        Return::KernelContext => {
            let name = cx.platform.context_structure();
            structure(cx, state, ids, pc, prototype, (name, Kept::Trusted))
        }
        Return::ReadOnlyCast => match state.top.regs[2].as_constant().map(u32::try_from) {
            Some(Ok(ty)) => Value::pointer(Kind::Kernel {
                ty,
                trust: Trust::Untrusted,
                or_null: false,
            }),
            _ => Value::UNKNOWN,
        },
        Return::PointerTaken => pointer::taken(cx, state, ids, pc),
        Return::SocketOrNull(kind) | Return::SameSocketOrNull(kind) => Value {
            id: ids.fresh(),
            reference: if prototype.ret == Return::SameSocketOrNull(kind) {
                given_reference(state, prototype)
            } else {
                0
            },
            ..Value::pointer(Kind::Socket {
                kind,
                or_null: true,
            })
        },
        Return::AcquiredSocketOrNull(kind) => {
            let id = ids.fresh();
            state.held.references.push(Reference {
                id,
                pc: pc as u32,
                resource: Resource::Object,
            });
            Value {
                id,
                reference: id,
                ..Value::pointer(Kind::Socket {
                    kind,
                    or_null: true,
                })
            }
        }
        // The way on which it gives something is a fork.
        Return::IteratorNext => Value::constant(0),
        Return::Local(what) => local::result(cx, state, ids, pc, prototype, what),
        Return::SliceOrNull => object::slice(state, ids, prototype),
        Return::MapValueOrNull => {
            let Some(map) = map_argument(state, prototype) else {
                return Value::UNKNOWN;
            };
            let mut kind = platform::lookup_result(&cx.platform, map);
            let key_size = cx.platform.map(map).map_or(0, |m| m.key_size);
            let key = constant_key(state, &state.top.regs[2], key_size);
            if prototype.id == platform::MAP_LOOKUP
                && key.is_some_and(|(key, _)| platform::always_found(&cx.platform, map, key))
            {
                kind = kind.not_null();
            }
            let id = if kind.or_null() { ids.fresh() } else { 0 };
            let mut reference = 0;
            if matches!(kind, Kind::Socket { .. }) {
                state.held.references.push(Reference {
                    id,
                    pc: pc as u32,
                    resource: Resource::Object,
                });
                reference = id;
            }
            let is_locked = matches!(kind, Kind::MapValue { map, .. }
                if cx.platform.declared.field(map, SpecialKind::SpinLock).is_some());
            Value {
                id,
                reference,
                owner: if is_locked { ids.fresh() } else { 0 },
                ..Value::pointer(kind)
            }
        }
        Return::RingbufRecordOrNull => {
            let size = prototype
                .args
                .iter()
                .position(|a| *a == Arg::ConstAllocSize)
                .and_then(|at| state.top.regs[at + 1].as_constant());
            let Some(size) = size.and_then(|s| u32::try_from(s).ok()) else {
                return Value::UNKNOWN;
            };
            let id = ids.fresh();
            state.held.references.push(Reference {
                id,
                pc: pc as u32,
                resource: Resource::Record,
            });
            Value {
                id,
                reference: id,
                ..Value::pointer(Kind::Memory {
                    size,
                    or_null: true,
                    block: Block::Record,
                })
            }
        }
    }
}

/// A structure of the kernel that a function gives.
fn structure(
    cx: &Context<'_>,
    state: &mut State,
    ids: &mut Ids,
    pc: usize,
    prototype: &Prototype,
    (name, kept): (&str, Kept),
) -> Value {
    let Some(ty) = cx.platform.declared.kernel.named(name) else {
        return Value::UNKNOWN;
    };
    let id = ids.fresh();
    let (trust, or_null, reference) = match kept {
        Kept::Seen => (Trust::Seen, true, given_reference(state, prototype)),
        Kept::Trusted => (Trust::Trusted, false, 0),
        Kept::Rcu => (Trust::Rcu, true, 0),
        Kept::Acquired => {
            state.held.references.push(Reference {
                id,
                pc: pc as u32,
                resource: Resource::Object,
            });
            (Trust::Trusted, true, id)
        }
    };
    Value {
        id: if or_null { id } else { 0 },
        reference,
        ..Value::pointer(Kind::Kernel { ty, trust, or_null })
    }
}

/// The reference that the socket given to a helper carries.
fn given_reference(state: &State, prototype: &Prototype) -> u32 {
    let at = prototype.args.iter().position(|a| *a == Arg::Socket);
    at.map_or(0, |at| state.top.regs[at + 1].reference)
}
