//! Structures of the kernel: which fields may be read, and where they may be given.

use bpf::helper::{Hold, Prototype};

use super::describe;
use super::mem::Place;
use crate::domain::{Kind, MapRef, State, Trust, Value};
use crate::report::{Problem, Rule};
use crate::transfer::Context;

/// A load or store of `size` bytes in a structure.
pub(super) fn access(
    place: &Place<'_>,
    (ty, trust): (u32, Trust),
    writes: bool,
    size: u8,
) -> Result<(), Problem> {
    let kernel = &place.platform.declared.kernel;
    let name = kernel.name(ty);
    let reg = place.reg;
    let problem = |rule, message: String| {
        Problem::new(rule, message)
            .about(format!("r{reg}"))
            .why(format!(
                "r{reg} is {} to the kernel's struct {name}",
                describe(place.platform, place.pointer)
            ))
    };
    if !place.platform.program.is_gpl_compatible() {
        return Err(problem(
            Rule::HelperNotAllowed,
            format!("Cannot access kernel 'struct {name}' from non-GPL compatible program"),
        ));
    }
    if place.pointer.range.as_constant().is_none() {
        return Err(problem(
            Rule::MemoryBounds,
            format!("R{reg} is ptr_{name} invalid variable offset"),
        )
        .help("use a constant offset"));
    }
    let at = place.pointer.min_offset().saturating_add(place.offset);
    if at < 0 {
        return Err(problem(
            Rule::MemoryBounds,
            format!("R{reg} is ptr_{name} invalid negative access: off={at}"),
        ));
    }
    if trust == Trust::Foreign {
        return Err(problem(
            Rule::WrongType,
            format!("R{reg} is ptr_{name} access user or percpu memory: off={at}"),
        )
        .help("read it with bpf_probe_read_user, or through bpf_per_cpu_ptr"));
    }
    if writes {
        if kernel.can_write(ty, at, size) {
            return Ok(());
        }
        return Err(problem(
            Rule::ReadOnly,
            format!("struct {name} can only be read: {size} bytes at offset {at} are written"),
        ));
    }
    match kernel.load(ty, trust, at, size) {
        Ok(_) => Ok(()),
        Err(why) => {
            let problem = problem(
                Rule::MemoryBounds,
                format!("access to struct {name} at off {at} size {size}: {why}"),
            );
            Err(if kernel.is_given() {
                problem
            } else {
                problem.help("give the types of the kernel that it is for with --btf")
            })
        }
    }
}

/// A load of a member of a map itself.
pub(super) fn map(place: &Place<'_>, map: MapRef, writes: bool, size: u8) -> Result<(), Problem> {
    let kernel = &place.platform.declared.kernel;
    let Some(ty) = place.platform.map_structure(map) else {
        return Err(place.unusable());
    };
    let name = kernel.name(ty);
    let at = place.pointer.min_offset().saturating_add(place.offset);
    if at < 0 {
        return Err(place.outside(
            Rule::MemoryBounds,
            format!("R{} is {name} invalid negative access: off={at}", place.reg),
        ));
    }
    if writes {
        return Err(place.outside(
            Rule::ReadOnly,
            format!("only read from {name} is supported"),
        ));
    }
    kernel
        .load(ty, Trust::Seen, at, size)
        .map(|_| ())
        .map_err(|why| {
            place.outside(
                Rule::MemoryBounds,
                format!("access to struct {name} at off {at} size {size}: {why}"),
            )
        })
}

/// The type of what a function gives is known.
pub(super) fn known(cx: &Context<'_>, prototype: &Prototype, name: &str) -> Result<(), Problem> {
    let kernel = &cx.platform.declared.kernel;
    if kernel.named(name).is_some() {
        return Ok(());
    }
    Err(Problem::new(
        Rule::NotModelled,
        format!(
            "{} gives a pointer to the kernel's struct {name}, whose type is not known",
            prototype.name
        ),
    )
    .about(prototype.name)
    .help("give the types of the kernel that the program is for with --btf FILE or --btf kernel"))
}

/// An argument that is such a structure, held well enough.
pub(super) fn argument(
    cx: &Context<'_>,
    prototype: &'static Prototype,
    reg: usize,
    value: &Value,
    (name, hold): (&str, Hold),
) -> Result<(), Problem> {
    let problem = |rule, message: String| {
        Problem::new(rule, message)
            .about(prototype.name)
            .why(format!("r{reg} is {}", describe(&cx.platform, value)))
    };
    if value.kind.or_null() || value.is_zero() {
        return Err(problem(
            Rule::NullPointer,
            format!("Possibly NULL pointer passed to trusted arg{}", reg - 1),
        )
        .help(format!("compare r{reg} with 0 and leave if it is")));
    }
    let kernel = &cx.platform.declared.kernel;
    let (ty, trust) = match value.kind {
        Kind::Kernel { ty, trust, .. } => (ty, trust),
        Kind::Socket { kind, .. } if hold != Hold::Released => {
            use bpf::context::SocketKind;
            let fits = match kind {
                SocketKind::Common => name == "sock_common",
                SocketKind::Full => matches!(name, "sock" | "sock_common"),
                SocketKind::Tcp => matches!(name, "tcp_sock" | "sock" | "sock_common"),
            };
            if fits {
                return Ok(());
            }
            return Err(problem(
                Rule::HelperArg,
                format!("arg#{} expected pointer to STRUCT {name}", reg - 1),
            ));
        }
        _ => {
            return Err(problem(
                Rule::HelperArg,
                format!(
                    "R{reg} type={} expected=ptr_{name}: arg#{} is a pointer to the kernel's \
                     struct {name}",
                    value.kind.name(),
                    reg - 1
                ),
            ));
        }
    };
    let held = value.reference != 0;
    match hold {
        Hold::Released if !held => {
            return Err(problem(
                Rule::Reference,
                format!(
                    "release kernel function {} expects refcounted PTR_TO_BTF_ID",
                    prototype.name
                ),
            )
            .why("nothing acquired it, or it was released already"));
        }
        Hold::Trusted if !held && trust != Trust::Trusted => {
            return Err(problem(
                Rule::Reference,
                format!("R{reg} must be referenced or trusted"),
            ));
        }
        Hold::Rcu if !held && !matches!(trust, Trust::Trusted | Trust::Rcu) => {
            return Err(problem(
                Rule::Reference,
                format!("R{reg} must be a rcu pointer"),
            ));
        }
        Hold::Seen if matches!(trust, Trust::Untrusted | Trust::Foreign) => {
            return Err(problem(
                Rule::HelperArg,
                format!("R{reg} type={} expected=ptr_{name}", value.kind.name()),
            ));
        }
        _ => {}
    }
    if value.range.as_constant().is_none() {
        return Err(problem(
            Rule::HelperArg,
            format!("R{reg} has a variable offset: struct {name} is given as a whole"),
        ));
    }
    let at = value.min_offset();
    if hold == Hold::Released && at != 0 {
        return Err(problem(
            Rule::Reference,
            format!("R{reg} must have zero offset when passed to release func"),
        ));
    }
    // What is not initialised yet is not what it will be, although it starts with it.
    let is_init = kernel.name(ty).ends_with("___init");
    if kernel.starts_with(ty, at, name) && is_init == name.ends_with("___init") {
        return Ok(());
    }
    Err(problem(
        Rule::HelperArg,
        format!(
            "{} args#{} expected pointer to STRUCT {name} but R{reg} has a pointer to STRUCT {}",
            prototype.name,
            reg - 1,
            kernel.name(ty)
        ),
    ))
}

/// Whether a socket that is seen as one of the kernel's may stand for one.
pub(super) fn is_socket(cx: &Context<'_>, value: &Value, releases: bool) -> bool {
    let Kind::Kernel {
        ty,
        trust,
        or_null: false,
    } = value.kind
    else {
        return false;
    };
    matches!(trust, Trust::Trusted | Trust::Seen)
        && value.range.as_constant().is_some()
        && (!releases || value.min_offset() == 0)
        && cx
            .platform
            .declared
            .kernel
            .is_socket(ty, value.min_offset())
}

/// The type that a cast names.
pub(super) fn type_named(
    cx: &Context<'_>,
    state: &State,
    prototype: &'static Prototype,
    reg: usize,
) -> Result<(), Problem> {
    let value = &state.top.regs[reg];
    let problem = |rule, message: String| Problem::new(rule, message).about(prototype.name);
    if !value.is_scalar() {
        return Err(problem(Rule::HelperArg, format!("R{reg} is not a scalar")));
    }
    let Some(ty) = value.as_constant() else {
        return Err(problem(
            Rule::HelperArg,
            format!("R{reg} must be a known constant"),
        ));
    };
    let kernel = &cx.platform.declared.kernel;
    if ty == 0 {
        return Err(problem(
            Rule::NotModelled,
            "a cast to void is not modelled yet".to_owned(),
        ));
    }
    if u32::try_from(ty).is_ok_and(|ty| kernel.is_structure(ty)) {
        return Ok(());
    }
    Err(problem(
        Rule::HelperArg,
        format!(
            "kfunc {} type ID argument must be of a struct or void",
            prototype.name
        ),
    )
    .help("compile with bpf_core_type_id_kernel, and give the kernel's types with --btf"))
}
