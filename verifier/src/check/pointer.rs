//! Fields of map values and of allocated objects that hold pointers (kernel documentation, "BPF
//! kernel functions", `bpf_kptr_xchg`): what may be put there, and what is loaded from there.

use bpf::btf::fields::{PointerHeld, SpecialField, SpecialKind};
use bpf::helper::Prototype;
use isa::ebpf::Operand;

use super::describe;
use super::mem::Place;
use crate::assertions::Touch;
use crate::declared::{PointsTo, Structure};
use crate::domain::{Kind, State, Trust, Value};
use crate::platform::Platform;
use crate::report::{Problem, Rule};
use crate::transfer::{Context, fields};

/// A load or store of a field by an instruction.
pub(super) fn direct(
    place: &Place<'_>,
    field: &SpecialField,
    touch: Touch,
    size: u8,
) -> Result<(), Problem> {
    let wrong = |message: String| Err(place.outside(Rule::MapPointer, message));
    if place.pointer.range.as_constant().is_none() {
        return wrong("kptr access cannot have variable offset".to_owned());
    }
    let at = place.pointer.min_offset().saturating_add(place.offset);
    if at != i64::from(field.offset) {
        return wrong(format!(
            "kptr access misaligned expected={} off={at}",
            field.offset
        ));
    }
    if size != 8 {
        return wrong("kptr access size must be BPF_DW".to_owned());
    }
    let Some(points) = place.platform.declared.pointee(field) else {
        return wrong("what the pointer there points to is not known".to_owned());
    };
    let stored = match touch {
        Touch::Load { .. } => {
            if points.held == PointerHeld::User {
                return Err(place.outside(
                    Rule::NotModelled,
                    "memory of user space that a map's value points to is not modelled".to_owned(),
                ));
            }
            if matches!((points.held, points.structure), (PointerHeld::PerCpu, _)) {
                return Err(place.outside(
                    Rule::NotModelled,
                    "objects that each CPU has one of are not modelled yet".to_owned(),
                ));
            }
            return Ok(());
        }
        Touch::Atomic | Touch::Acquire | Touch::Release(_) => {
            return wrong("kptr can only be accessed using BPF_MEM instruction mode".to_owned());
        }
        Touch::Store(operand) => operand,
    };
    if points.held != PointerHeld::Untrusted {
        return Err(place
            .outside(
                Rule::MapPointer,
                "store to referenced kptr disallowed".to_owned(),
            )
            .help("use bpf_kptr_xchg"));
    }
    match stored {
        Operand::Imm(0) => Ok(()),
        Operand::Imm(_) => wrong("BPF_ST imm must be 0 when storing to kptr".to_owned()),
        Operand::Reg(reg) => {
            let value = &place.state.top.regs[reg.index()];
            if value.is_zero() {
                return Ok(());
            }
            suits(place.platform, value, &points)
                .map_err(|message| place.outside(Rule::MapPointer, message))
        }
    }
}

/// Whether a pointer is to what a field's pointers point to.
fn suits(platform: &Platform<'_>, value: &Value, points: &PointsTo<'_>) -> Result<(), String> {
    let wrong = || {
        Err(format!(
            "invalid kptr access, {} is not a pointer to struct {}",
            describe(platform, value),
            points.name
        ))
    };
    if value.range.as_constant().is_none() {
        return wrong();
    }
    let at = value.min_offset();
    match (points.structure, value.kind) {
        (Structure::Kernel(_), Kind::Kernel { ty, trust, .. }) => {
            let kernel = &platform.declared.kernel;
            let held = points.held == PointerHeld::Untrusted;
            let worth = match trust {
                Trust::Trusted | Trust::Rcu | Trust::Seen => true,
                Trust::Untrusted => held,
                Trust::Foreign => false,
            };
            let whole = held || at == 0 && kernel.name(ty) == points.name;
            if worth && whole && kernel.starts_with(ty, at, points.name) {
                return Ok(());
            }
            wrong()
        }
        (Structure::Local(wanted), Kind::Object { ty, owned, .. })
            if ty == wanted && at == 0 && owned =>
        {
            Ok(())
        }
        _ => wrong(),
    }
}

/// The field that an argument points to, which owns what it points to.
pub(super) fn field<'a>(
    cx: &Context<'a>,
    prototype: &'static Prototype,
    reg: usize,
    value: &Value,
) -> Result<&'a SpecialField, Problem> {
    let problem = |rule, message: String| {
        Problem::new(rule, message)
            .about(prototype.name)
            .why(format!("r{reg} is {}", describe(&cx.platform, value)))
    };
    if value.kind.or_null() {
        return Err(problem(
            Rule::NullPointer,
            format!("R{reg} type={} expected=map_value", value.kind.name()),
        )
        .help(format!("compare r{reg} with 0 and leave if it is")));
    }
    let holds = match value.kind {
        Kind::MapValue { .. } => true,
        Kind::Object { owned, .. } => owned && value.reference != 0,
        _ => false,
    };
    if !holds {
        return Err(problem(
            Rule::HelperArg,
            format!("R{reg} type={} expected=map_value", value.kind.name()),
        ));
    }
    if value.range.as_constant().is_none() {
        return Err(problem(
            Rule::MapPointer,
            format!("R{reg} doesn't have constant offset. kptr has to be at the constant offset"),
        ));
    }
    let at = value.min_offset();
    let found = fields(cx, value.kind)
        .iter()
        .find(|f| f.kind == SpecialKind::KernelPointer && i64::from(f.offset) == at);
    let Some(found) = found else {
        return Err(problem(
            Rule::MapPointer,
            format!("off={at} doesn't point to kptr"),
        ));
    };
    let held = cx.platform.declared.pointee(found).map(|p| p.held);
    match held {
        Some(PointerHeld::Owned) => Ok(found),
        Some(PointerHeld::PerCpu) => Err(problem(
            Rule::NotModelled,
            "objects that each CPU has one of are not modelled yet".to_owned(),
        )),
        _ => Err(problem(
            Rule::MapPointer,
            format!("off={at} kptr isn't referenced kptr"),
        )),
    }
}

/// What goes into the field that r1 points to: null, or an owned pointer of its type.
pub(super) fn given(
    cx: &Context<'_>,
    state: &State,
    prototype: &'static Prototype,
    reg: usize,
) -> Result<(), Problem> {
    let value = &state.top.regs[reg];
    if value.is_zero() {
        return Ok(());
    }
    let problem = |rule, message: String| {
        Problem::new(rule, message)
            .about(prototype.name)
            .why(format!("r{reg} is {}", describe(&cx.platform, value)))
    };
    if value.kind.or_null() {
        return Err(problem(
            Rule::NullPointer,
            format!("R{reg} type={}: it may be null", value.kind.name()),
        )
        .help(format!("compare r{reg} with 0, and give 0 if it is")));
    }
    let field = field(cx, prototype, 1, &state.top.regs[1])?;
    let Some(points) = cx.platform.declared.pointee(field) else {
        return Err(problem(
            Rule::MapPointer,
            "what the pointer there points to is not known".to_owned(),
        ));
    };
    let owner = &state.top.regs[1];
    if matches!(value.kind, Kind::Kernel { .. } | Kind::Object { .. }) && value.reference == 0 {
        return Err(problem(
            Rule::Reference,
            format!("R{reg} must be referenced when passed to release func"),
        ));
    }
    if value.off != 0 {
        return Err(problem(
            Rule::Reference,
            format!("R{reg} must have zero offset when passed to release func"),
        ));
    }
    if value.reference != 0 && value.reference == owner.reference {
        return Err(problem(
            Rule::MapPointer,
            "an object cannot be put into itself".to_owned(),
        ));
    }
    suits(&cx.platform, value, &points).map_err(|message| problem(Rule::MapPointer, message))
}
