//! What a state holds, as facts.

use bpf::helper::Arg;
use isa::ebpf::{CallTarget, Insn};

use super::{Access, CallFact, Facts, Held, RegFact, RegKind, Region, SlotFact};
use crate::domain::{Byte, Kind, Range, State, Tnum, Value};
use crate::transfer::{Context, Given, map_argument};

/// What holds on one path.
pub(crate) fn of_state(cx: &Context<'_>, state: &State, insn: &Insn) -> Facts {
    let mut registers = [RegFact::default(); 11];
    for (fact, value) in registers.iter_mut().zip(&state.top.regs) {
        *fact = register(state, value);
    }
    Facts {
        reachable: true,
        visits: 1,
        registers,
        stack: stack(state),
        access: access_of(state, insn),
        call: call_of(cx, state, insn),
        branch: None,
        leaks_pointer: leaks_pointer(cx, state, insn),
    }
}

/// What is known of the running function's stack frame.
pub(super) fn stack(state: &State) -> Vec<SlotFact> {
    let slots = state.top.stack.slots().iter().enumerate();
    let known = slots.filter_map(|(index, slot)| {
        let holds = match slot.spilled() {
            Some((value, bytes)) => Held::Register {
                value: register(state, value),
                bytes,
            },
            None if slot.is_untouched() => return None,
            None if slot.bytes == [Byte::Zero; 8] => Held::Zero,
            None => Held::Bytes,
        };
        Some(SlotFact {
            offset: -8 * (index as i32 + 1),
            holds,
            zero: zero_bytes(slot.bytes),
        })
    });
    known.collect()
}

fn zero_bytes(bytes: [Byte; 8]) -> u8 {
    let bits = bytes.iter().enumerate();
    bits.filter(|(_, byte)| **byte == Byte::Zero)
        .fold(0, |mask, (i, _)| mask | 1 << i)
}

/// Whether an instruction may put an address where others than the program see it.
pub(super) fn leaks_pointer(cx: &Context<'_>, state: &State, insn: &Insn) -> bool {
    let number = |value: &Value| value.is_scalar();
    let regs = &state.top.regs;
    match *insn {
        Insn::Store {
            base,
            src: isa::ebpf::Operand::Reg(src),
            ..
        }
        | Insn::StoreRelease { base, src, .. }
        | Insn::Atomic { base, src, .. } => {
            let own = matches!(regs[base.index()].kind, Kind::Stack { .. });
            !own && !number(&regs[src.index()])
        }
        Insn::Call(CallTarget::Helper(id)) => cx.platform.helper(id).is_none_or(|prototype| {
            Given::all(&cx.platform, state, prototype)
                .filter(|given| given.reads)
                .any(|given| {
                    let pointer = &regs[given.reg];
                    let Kind::Stack { frame } = pointer.kind else {
                        return pointer.kind == Kind::Unknown;
                    };
                    let from = pointer.min_offset();
                    let to = pointer.max_offset().saturating_add_unsigned(given.bytes);
                    let slots = state.frame(usize::from(frame)).stack.slots().iter();
                    slots.enumerate().any(|(index, slot)| {
                        let end = -8 * index as i64;
                        let given = from < end && to > end - 8;
                        given && slot.spilled().is_some_and(|(value, _)| !number(value))
                    })
                })
        }),
        Insn::Call(CallTarget::Kfunc { .. }) => true,
        _ => false,
    }
}

fn up(state: &State, frame: u8) -> u32 {
    state.depth().saturating_sub(usize::from(frame)) as u32
}

/// A register's value as a fact.
pub(crate) fn register(state: &State, value: &Value) -> RegFact {
    let outer = |map: crate::domain::MapRef| (!map.inner).then_some(usize::from(map.index));
    let kind = match value.kind {
        Kind::Unknown => return RegFact::default(),
        Kind::Scalar => RegKind::Scalar,
        Kind::Ctx => RegKind::Ctx,
        Kind::Packet => RegKind::Packet,
        Kind::PacketMeta => RegKind::PacketMeta,
        Kind::PacketEnd => RegKind::PacketEnd,
        Kind::Stack { frame } => RegKind::Stack {
            up: up(state, frame),
        },
        Kind::Map { or_null: true, .. }
        | Kind::MapKey { .. }
        | Kind::Function { .. }
        | Kind::Dynptr
        | Kind::Object { .. }
        | Kind::Kernel { .. } => RegKind::Unknown,
        Kind::Map { map, .. } => RegKind::Map { map: outer(map) },
        Kind::MapValue { map, or_null } => RegKind::MapValue {
            map: outer(map),
            or_null,
        },
        Kind::Memory { size, or_null, .. } => RegKind::Memory { size, or_null },
        Kind::Socket { or_null, .. } => RegKind::Socket { or_null },
    };
    let range = if value.kind.is_pointer() {
        value
            .range
            .add(&Range::constant(i64::from(value.off) as u64))
    } else {
        value.range
    };
    RegFact { kind, range }
}

fn region(state: &State, kind: Kind) -> Region {
    match kind {
        Kind::Ctx => Region::Ctx,
        Kind::Packet => Region::Packet,
        Kind::PacketMeta => Region::PacketMeta,
        Kind::Stack { frame } => Region::Stack {
            up: up(state, frame),
        },
        Kind::MapValue { map, .. } => Region::MapValue {
            map: (!map.inner).then_some(usize::from(map.index)),
        },
        Kind::Memory { .. } | Kind::MapKey { .. } => Region::Memory,
        Kind::Socket { .. } => Region::Socket,
        Kind::Kernel { .. } | Kind::Map { .. } => Region::Kernel,
        Kind::Unknown
        | Kind::Scalar
        | Kind::PacketEnd
        | Kind::Function { .. }
        | Kind::Dynptr
        | Kind::Object { .. } => Region::Mixed,
    }
}

pub(super) fn access_of(state: &State, insn: &Insn) -> Option<Access> {
    let (base, offset, size) = match *insn {
        Insn::Load {
            base, offset, size, ..
        }
        | Insn::Store {
            base, offset, size, ..
        }
        | Insn::Atomic {
            base, offset, size, ..
        }
        | Insn::LoadAcquire {
            base, offset, size, ..
        }
        | Insn::StoreRelease {
            base, offset, size, ..
        } => (base, offset, size.bytes()),
        _ => return None,
    };
    let pointer = &state.top.regs[base.index()];
    let fixed = i64::from(pointer.off) + i64::from(offset);
    let bits = pointer.range.bits.add(Tnum::constant(fixed as u64));
    Some(Access {
        region: region(state, pointer.kind),
        min: pointer.range.smin.saturating_add(fixed),
        max: pointer.range.smax.saturating_add(fixed),
        size,
        align: bits.alignment(),
    })
}

fn place(state: &State, reg: usize) -> Option<(Region, i64)> {
    let pointer = &state.top.regs[reg];
    pointer.range.as_constant()?;
    match region(state, pointer.kind) {
        Region::Mixed | Region::Kernel => None,
        region => Some((region, pointer.min_offset())),
    }
}

pub(super) fn call_of(cx: &Context<'_>, state: &State, insn: &Insn) -> Option<CallFact> {
    let Insn::Call(CallTarget::Helper(id)) = *insn else {
        return None;
    };
    let prototype = cx.platform.helper(id)?;
    let at = |wanted: Arg| {
        let position = prototype.args.iter().position(|a| *a == wanted)?;
        place(state, position + 1)
    };
    let map = map_argument(state, prototype)
        .filter(|m| !m.inner)
        .map(|m| usize::from(m.index));
    Some(CallFact {
        map,
        key: at(Arg::MapKey),
        value: at(Arg::MapValue),
        constant_key: None,
    })
}
