//! Whether a helper may be called with what its argument registers hold.

use bpf::Hook;
use bpf::helper::{Arg, Prototype, Return};
use bpf::kfunc::{METADATA_RX_TIMESTAMP, METADATA_RX_VLAN_TAG};
use isa::ebpf::CallTarget;

use super::mem::Place;
use super::text;
use super::{describe, kernel, local, object, pointer, readable, unreleased};
use crate::domain::{Block, Kind, MapRef, State, Tnum, Value};
use crate::platform;
use crate::report::{Problem, Rule};
use crate::transfer::{Context, Given};

/// Largest length of memory given to a helper.
const MAX_LENGTH: u64 = 1 << 29;

/// The call of a helper or kernel function.
pub(super) fn outside(cx: &Context<'_>, state: &State, target: CallTarget) -> Result<(), Problem> {
    let platform = &cx.platform;
    let Some(prototype) = platform.called(target) else {
        return Err(match target {
            CallTarget::Helper(id) => unknown(id),
            _ => Problem::new(Rule::Kfunc, "calls a kernel function that is not known")
                .why("kernel functions are known by name; this one has only a number"),
        });
    };
    let id = prototype.id;
    let name = prototype.name;
    if !prototype.allowed(&platform.program.hook) {
        return Err(Problem::new(
            Rule::HelperNotAllowed,
            format!(
                "program of this type cannot use helper {name}#{id}: {} programs have none",
                platform.program.hook
            ),
        )
        .about(name));
    }
    let raw = matches!(platform.program.hook, Hook::Raw { .. });
    if prototype.gpl_only && !raw && !platform.program.is_gpl_compatible() {
        return Err(Problem::new(
            Rule::HelperNotAllowed,
            format!("cannot call GPL-restricted function {name} from non-GPL compatible program"),
        )
        .about(name)
        .help("declare a license such as \"GPL\" or \"Dual MIT/GPL\""));
    }
    if !prototype.modelled && matches!(target, CallTarget::Kfunc { .. }) {
        return Err(Problem::new(
            Rule::NotModelled,
            format!("kernel function {name} is not modelled yet"),
        )
        .about(name));
    }
    if (METADATA_RX_TIMESTAMP..=METADATA_RX_VLAN_TAG).contains(&id) && !platform.device_bound {
        return Err(Problem::new(
            Rule::HelperNotAllowed,
            format!("{name}: metadata kfuncs require device-bound program"),
        )
        .about(name)
        .help("load the program for a device (--nic)"));
    }
    local::section(cx, state, prototype)?;
    object::section(state, prototype)?;
    let mut map = None;
    for given in Given::all(platform, state, prototype) {
        argument(cx, state, prototype, &given, &mut map)?;
    }
    match prototype.ret {
        Return::Kernel(structure, _) => kernel::known(cx, prototype, structure)?,
        Return::KernelContext => {
            let structure = platform.context_structure();
            kernel::known(cx, prototype, structure)?;
        }
        _ => {}
    }
    if id == platform::SNPRINTF {
        text::format(platform, state)?;
    }
    if id == platform::TAIL_CALL
        && let Some(reference) = state.held.references.first()
    {
        return Err(unreleased(reference));
    }
    if id == platform::TAIL_CALL {
        return object::closed(state, "tail_call");
    }
    if id == bpf::kfunc::THROW {
        if let Some(reference) = state.held.references.first() {
            return Err(unreleased(reference));
        }
        return object::closed(state, "bpf_throw");
    }
    Ok(())
}

/// The calls that a loader leaves where something did not resolve (libbpf's numbers).
const POISONED_RELOCATION: u32 = 195_896_080;
const ABSENT_KFUNC: u32 = 2_002_000_000;

fn unknown(id: u32) -> Problem {
    match id {
        POISONED_RELOCATION => {
            return Problem::new(
                Rule::UnknownHelper,
                "a CO-RE relocation has no target: this instruction cannot be executed",
            )
            .why("the field or type it names is not in the BTF that it was resolved against")
            .help(
                "give the target's BTF with --btf, or guard the access with bpf_core_field_exists",
            );
        }
        ABSENT_KFUNC => {
            return Problem::new(
                Rule::UnknownHelper,
                "calls a weak kernel function that is absent",
            )
            .why("kernel functions exist in a running kernel only")
            .help("guard the call with bpf_ksym_exists");
        }
        _ => {}
    }
    let problem = match bpf::helper::name(id) {
        Some(name) => Problem::new(
            Rule::UnknownHelper,
            format!("helper {name}#{id} is not modelled"),
        )
        .about(name),
        None => Problem::new(
            Rule::UnknownHelper,
            format!("invalid func unknown#{id}: no helper has this number"),
        )
        .about(format!("#{id}")),
    };
    problem.why("the table of helper prototypes does not have it")
}

fn argument(
    cx: &Context<'_>,
    state: &State,
    prototype: &'static Prototype,
    given: &Given,
    map: &mut Option<MapRef>,
) -> Result<(), Problem> {
    let Given { reg, arg, .. } = *given;
    let Some(register) = isa::ebpf::Reg::new(reg as u8) else {
        return Ok(());
    };
    if arg != Arg::Address {
        readable(state, register)?;
    }
    let value = &state.top.regs[reg];
    let platform = &cx.platform;
    let wrong = |expected: &str| {
        let problem = if value.kind.or_null() {
            Problem::new(
                Rule::NullPointer,
                format!(
                    "R{reg} type={} expected={expected}: it may be null",
                    value.kind.name()
                ),
            )
            .help(format!("compare r{reg} with 0 and leave if it is"))
        } else {
            Problem::new(
                Rule::HelperArg,
                format!("R{reg} type={} expected={expected}", value.kind.name()),
            )
        };
        problem
            .about(prototype.name)
            .why(format!("{} takes {expected} in r{reg}", prototype.name))
    };
    if value.kind.is_packet() && !matches!(arg, Arg::Anything) && !prototype.packet_args {
        return Err(Problem::new(
            Rule::HelperArg,
            "helper access to the packet is not allowed",
        )
        .about(prototype.name)
        .help("copy the bytes to the stack first"));
    }
    match arg {
        Arg::None | Arg::Anything | Arg::Address => Ok(()),
        Arg::CtxOrNull | Arg::Scratch | Arg::DynptrOrNull if value.is_zero() => Ok(()),
        Arg::KernelType => kernel::type_named(cx, state, prototype, reg),
        Arg::Kernel(name, hold) => kernel::argument(cx, prototype, reg, value, (name, hold)),
        Arg::Ctx | Arg::CtxOrNull => {
            if value.kind != Kind::Ctx {
                return Err(wrong("ctx"));
            }
            if value.off != 0 || value.range.as_constant() != Some(0) {
                return Err(Problem::new(
                    Rule::HelperArg,
                    format!("dereference of modified ctx ptr R{reg} off={}", value.off),
                )
                .about(prototype.name));
            }
            Ok(())
        }
        Arg::ConstMap => {
            let Kind::Map {
                map: given_map,
                or_null: false,
            } = value.kind
            else {
                return Err(wrong("map_ptr"));
            };
            *map = Some(given_map);
            map_rights(cx, prototype, given_map)
        }
        Arg::MapKey | Arg::MapValue | Arg::MapValueOrNull | Arg::UninitMapValue
            if map.is_none() =>
        {
            Err(
                Problem::new(Rule::HelperArg, "invalid map_ptr to access map->key")
                    .about(prototype.name),
            )
        }
        Arg::MapValueOrNull if value.is_zero() => Ok(()),
        Arg::MapKey
        | Arg::MapValue
        | Arg::MapValueOrNull
        | Arg::UninitMapValue
        | Arg::FixedMemRw(_)
        | Arg::FixedMem(_) => memory(cx, state, prototype, given, false),
        Arg::AlignedOut(bytes) => {
            memory(cx, state, prototype, given, false)?;
            aligned(cx, prototype, reg, value, bytes)
        }
        Arg::Socket => match value.kind {
            Kind::Socket { or_null: false, .. } => Ok(()),
            _ if !platform::reads_socket(prototype) && kernel::is_socket(cx, value, false) => {
                Ok(())
            }
            _ => Err(wrong("sock_common, sock, tcp_sock")),
        },
        Arg::AcquiredSocket => match value.kind {
            Kind::Kernel { .. } if value.reference != 0 && kernel::is_socket(cx, value, true) => {
                Ok(())
            }
            Kind::Socket { or_null: false, .. } if value.reference == 0 => Err(Problem::new(
                Rule::Reference,
                format!("R{reg} must be referenced when passed to release func"),
            )
            .about(prototype.name)
            .why("no helper acquired this socket")
            .help("leave out the release")),
            Kind::Socket { or_null: false, .. } => Ok(()),
            _ => Err(wrong("sock_common, sock, tcp_sock")),
        },
        Arg::Mem | Arg::UninitMem | Arg::MemRw | Arg::MemOrNull | Arg::MemRwOrNull => {
            if matches!(arg, Arg::MemOrNull | Arg::MemRwOrNull) && value.is_zero() {
                return Ok(());
            }
            if is_memory(value.kind) {
                Ok(())
            } else {
                Err(wrong("fp, pkt, pkt_meta, map_value, mem"))
            }
        }
        Arg::Size | Arg::SizeOrZero => size(cx, state, prototype, reg, arg == Arg::SizeOrZero),
        Arg::ConstAllocSize => {
            if !value.is_scalar() {
                return Err(wrong("scalar"));
            }
            if value.as_constant().is_none() {
                return Err(Problem::new(
                    Rule::HelperArg,
                    format!("R{reg} is not a known constant"),
                )
                .about(prototype.name)
                .why(describe(platform, value)));
            }
            Ok(())
        }
        Arg::RingbufRecord => {
            let is_record = matches!(
                value.kind,
                Kind::Memory {
                    block: Block::Record,
                    or_null: false,
                    ..
                }
            );
            if !is_record {
                return Err(wrong("ringbuf_mem"));
            }
            if value.off != 0 || value.range.as_constant() != Some(0) {
                return Err(Problem::new(
                    Rule::Reference,
                    format!("R{reg} must have zero offset when passed to release func"),
                )
                .about(prototype.name));
            }
            Ok(())
        }
        Arg::DynptrMem => match value.kind {
            Kind::MapValue { or_null: false, .. } => Ok(()),
            kind => Err(Problem::new(
                Rule::HelperArg,
                format!(
                    "Unsupported reg type {} for bpf_dynptr_from_mem data",
                    kind.name()
                ),
            )
            .about(prototype.name)),
        },
        Arg::Scratch => {
            if is_memory(value.kind) {
                Ok(())
            } else {
                Err(wrong("fp, pkt, pkt_meta, map_value, mem"))
            }
        }
        Arg::ScratchSize => {
            if value.as_constant().is_none() {
                return Err(Problem::new(
                    Rule::HelperArg,
                    format!("R{reg} must be a known constant"),
                )
                .about(prototype.name)
                .why(describe(platform, value)));
            }
            if state.top.regs[reg - 1].is_zero() {
                return Ok(());
            }
            size(cx, state, prototype, reg, true)
        }
        Arg::Function
        | Arg::StackOrNull
        | Arg::SpinLock
        | Arg::Timer
        | Arg::Scalar
        | Arg::NewIterator
        | Arg::Iterator
        | Arg::EndIterator
        | Arg::NewDynptr
        | Arg::Dynptr
        | Arg::DynptrOrNull
        | Arg::RecordDynptr
        | Arg::NewInterruptState
        | Arg::InterruptState => object::argument(cx, state, prototype, reg, arg),
        Arg::PointerField => pointer::field(cx, prototype, reg, value).map(|_| ()),
        Arg::PointerGiven => pointer::given(cx, state, prototype, reg),
        Arg::Local(what) => local::argument(cx, state, prototype, reg, what),
        Arg::ConstStr => match value.kind {
            Kind::MapValue { or_null: false, .. } => text::constant(platform, reg, value)
                .map(|_| ())
                .map_err(|p| p.about(prototype.name)),
            _ => Err(wrong("map_value")),
        },
    }
}

fn map_rights(cx: &Context<'_>, prototype: &'static Prototype, map: MapRef) -> Result<(), Problem> {
    let Some(def) = cx.platform.map(map) else {
        return Err(Problem::new(Rule::HelperArg, "the map inside is not known")
            .about(prototype.name)
            .help("declare the inner map's definition in the outer map"));
    };
    if !platform::map_suits(prototype.id, def.kind) {
        return Err(Problem::new(
            Rule::MapCompatibility,
            format!(
                "cannot pass map_type {} (map `{}`) into func {}#{}",
                def.kind.number(),
                def.name,
                prototype.name,
                prototype.id
            ),
        )
        .about(def.name.as_str())
        .why(format!(
            "{} does not work on {} maps",
            prototype.name, def.kind
        )));
    }
    if platform::writes_map(prototype.id) && !cx.platform.can_write(map) {
        return Err(Problem::new(
            Rule::ReadOnly,
            format!(
                "write into map forbidden: `{}` is read-only for programs",
                def.name
            ),
        )
        .about(def.name.as_str()));
    }
    Ok(())
}

const fn is_memory(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Stack { .. }
            | Kind::Packet
            | Kind::PacketMeta
            | Kind::MapValue { or_null: false, .. }
            | Kind::Memory { or_null: false, .. }
    )
}

/// A length, and the memory of the register before it.
fn size(
    cx: &Context<'_>,
    state: &State,
    prototype: &'static Prototype,
    reg: usize,
    zero_allowed: bool,
) -> Result<(), Problem> {
    let value = &state.top.regs[reg];
    let problem = |rule, message: String| {
        Problem::new(rule, message)
            .about(prototype.name)
            .why(format!("r{reg} is {}", describe(&cx.platform, value)))
    };
    if !value.is_scalar() {
        return Err(problem(
            Rule::HelperArg,
            format!("R{reg} type={} expected=scalar", value.kind.name()),
        ));
    }
    let range = &value.range;
    if range.smin < 0 {
        return Err(problem(
            Rule::HelperMemory,
            format!("R{reg} min value is negative: the length may be below 0"),
        )
        .help("use an unsigned length, or mask it: `len &= constant`"));
    }
    if range.umin == 0 && !zero_allowed {
        return Err(problem(
            Rule::HelperMemory,
            format!(
                "R{reg} invalid zero-sized read: the length is {} to {}",
                range.umin, range.umax
            ),
        )
        .help("leave if the length is 0"));
    }
    if range.umax >= MAX_LENGTH {
        return Err(problem(
            Rule::HelperMemory,
            format!(
                "R{reg} unbounded memory access: the length may be {}",
                range.umax
            ),
        )
        .help("mask the length (`len &= constant`) or compare it with a bound"));
    }
    let given = Given::all(&cx.platform, state, prototype).nth(reg - 2);
    match given {
        Some(given) => memory(cx, state, prototype, &given, zero_allowed),
        None => Ok(()),
    }
}

/// The memory that one argument stands for.
fn memory(
    cx: &Context<'_>,
    state: &State,
    prototype: &'static Prototype,
    given: &Given,
    zero_allowed: bool,
) -> Result<(), Problem> {
    let reg = given.reg;
    let pointer: &Value = &state.top.regs[reg];
    if zero_allowed && given.bytes == 0 && pointer.is_zero() {
        return Ok(());
    }
    if matches!(given.arg, Arg::MemOrNull | Arg::MemRwOrNull) && pointer.is_zero() {
        return Err(Problem::new(
            Rule::HelperArg,
            format!("R{reg} is null, but the length may be {}", given.bytes),
        )
        .about(prototype.name));
    }
    let place = Place {
        platform: &cx.platform,
        state,
        reg,
        pointer,
        offset: 0,
        size: given.bytes,
    };
    place
        .given(given.reads, given.writes)
        .map_err(|p| p.about(prototype.name))
}

/// Memory that a helper writes as one number.
fn aligned(
    cx: &Context<'_>,
    prototype: &'static Prototype,
    reg: usize,
    pointer: &Value,
    bytes: u32,
) -> Result<(), Problem> {
    let mut offset = i64::from(pointer.off);
    if pointer.kind.is_packet() {
        // Where packets start, the word after an Ethernet header is aligned.
        offset += 2;
    }
    let alignment = pointer
        .range
        .bits
        .add(Tnum::constant(offset as u64))
        .alignment();
    if u32::from(alignment) >= bytes {
        return Ok(());
    }
    Err(Problem::new(
        Rule::Misaligned,
        format!(
            "misaligned access: {} writes {bytes} bytes through r{reg}",
            prototype.name
        ),
    )
    .about(prototype.name)
    .why(format!("r{reg} is {}", describe(&cx.platform, pointer)))
    .help("give it a variable of its own"))
}
