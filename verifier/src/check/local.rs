//! Objects that the program allocates, and the lists and trees that keep them: who owns them,
//! and which lock is held.

use bpf::btf::fields::SpecialKind;
use bpf::helper::{Graph, LocalArg, Prototype};
use bpf::kfunc;

use super::describe;
use super::mem::Place;
use crate::domain::{Kind, State, Value};
use crate::report::{Problem, Rule};
use crate::transfer::{Context, comparing, fields, root_at};

/// Whether a function may be called where a tree's comparison is running.
pub(super) fn section(
    cx: &Context<'_>,
    state: &State,
    prototype: &Prototype,
) -> Result<(), Problem> {
    let counts = matches!(
        prototype.id,
        kfunc::ITER_NUM_NEW | kfunc::ITER_NUM_NEXT | kfunc::ITER_NUM_DESTROY
    );
    if counts || !comparing(cx, state) {
        return Ok(());
    }
    Err(Problem::new(
        Rule::Lock,
        format!("{} not allowed in rbtree cb", prototype.name),
    )
    .about(prototype.name)
    .why("the function that bpf_rbtree_add calls compares two nodes while the tree is locked"))
}

/// One argument of a function on such objects.
pub(super) fn argument(
    cx: &Context<'_>,
    state: &State,
    prototype: &'static Prototype,
    reg: usize,
    arg: LocalArg,
) -> Result<(), Problem> {
    let value = &state.top.regs[reg];
    let problem = |rule, message: String| {
        Problem::new(rule, message)
            .about(prototype.name)
            .why(format!("r{reg} is {}", describe(&cx.platform, value)))
    };
    if value.kind.or_null() {
        return Err(problem(
            Rule::NullPointer,
            format!("Possibly NULL pointer passed to trusted arg{}", reg - 1),
        )
        .help(format!("compare r{reg} with 0 and leave if it is")));
    }
    let constant = value.range.as_constant().is_some();
    let argument = |message: String| Err(problem(Rule::HelperArg, message));
    let at = reg - 1;
    match arg {
        LocalArg::Type => new(cx, value).map_err(|message| problem(Rule::HelperArg, message)),
        LocalArg::Owned => {
            if !matches!(value.kind, Kind::Object { owned: true, .. }) || value.reference == 0 {
                return argument(format!("arg#{at} expected pointer to allocated object"));
            }
            if value.off != 0 || !constant || value.min_offset() != 0 {
                return Err(problem(
                    Rule::Reference,
                    format!("R{reg} must have zero offset when passed to release func"),
                ));
            }
            Ok(())
        }
        LocalArg::Counted => {
            if !matches!(value.kind, Kind::Object { .. }) {
                return argument(format!("arg#{at} is neither owning or non-owning ref"));
            }
            if !fields(cx, value.kind)
                .iter()
                .any(|f| f.kind == SpecialKind::RefCount)
            {
                return argument(format!(
                    "arg#{at} doesn't point to a type with bpf_refcount field"
                ));
            }
            if !constant || value.min_offset() != 0 {
                return Err(problem(
                    Rule::NotModelled,
                    "a reference to a part of an object is not modelled yet".to_owned(),
                ));
            }
            Ok(())
        }
        LocalArg::Root(graph) => locked(cx, state, value, graph)
            .map_err(|(rule, message)| problem(rule, format!("R{reg}: {message}"))),
        LocalArg::NewNode(graph) => {
            if !matches!(value.kind, Kind::Object { owned: true, .. }) || value.reference == 0 {
                return argument(format!("arg#{at} expected pointer to allocated object"));
            }
            node(cx, state, value, graph).map_err(|message| problem(Rule::HelperArg, message))
        }
        LocalArg::TreeNode => {
            let counted = fields(cx, value.kind)
                .iter()
                .any(|f| f.kind == SpecialKind::RefCount);
            match value.kind {
                Kind::Object { owned, .. } if !owned || counted => {}
                _ => {
                    return argument(format!(
                        "{} can only take non-owning or refcounted bpf_rb_node pointer",
                        prototype.name
                    ));
                }
            }
            node(cx, state, value, Graph::Tree).map_err(|message| problem(Rule::HelperArg, message))
        }
    }
}

/// A structure may be allocated.
fn new(cx: &Context<'_>, value: &Value) -> Result<(), String> {
    let Some(id) = value.as_constant() else {
        return Err("the type's id is not a known constant".to_owned());
    };
    let Ok(ty) = u32::try_from(id) else {
        return Err("local type ID argument must be in range [0, U32_MAX]".to_owned());
    };
    let structures = &cx.platform.declared.structures;
    let Some(structure) = structures.get(ty) else {
        return Err(
            "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct".to_owned(),
        );
    };
    structures
        .sound(&structure.fields)
        .map_err(|why| format!("struct {} cannot be allocated: {why}", structure.name))
}

/// A list or tree is there, and its lock is held.
fn locked(
    cx: &Context<'_>,
    state: &State,
    value: &Value,
    graph: Graph,
) -> Result<(), (Rule, String)> {
    let name = match graph {
        Graph::List => SpecialKind::ListHead.name(),
        Graph::Tree => SpecialKind::TreeRoot.name(),
    };
    let argument = |message: String| Err((Rule::HelperArg, message));
    match value.kind {
        Kind::MapValue { or_null: false, .. } => {}
        Kind::Object { owned: true, .. } if value.reference != 0 => {}
        _ => return argument("expected pointer to map value or allocated object".to_owned()),
    }
    if value.range.as_constant().is_none() {
        return argument(format!(
            "doesn't have constant offset. {name} has to be at the constant offset"
        ));
    }
    let Some(field) = root_at(cx, value, graph) else {
        return argument(format!("{name} not found at offset={}", value.min_offset()));
    };
    let structures = &cx.platform.declared.structures;
    let contained = field.contains.and_then(|c| structures.get(c.ty));
    let around = structures.sound(fields(cx, value.kind));
    let inside = contained.map_or(Ok(()), |c| structures.sound(&c.fields));
    if let Err(why) = around.and(inside) {
        return argument(format!("the {name} cannot be used: {why}"));
    }
    let held = state.held.lock.as_ref();
    if held.is_some_and(|lock| lock.place == value.kind && lock.id == value.owner) {
        return Ok(());
    }
    let lock = fields(cx, value.kind).iter();
    let mut lock = lock.filter(|f| f.kind == SpecialKind::SpinLock);
    let offset = lock.next().map_or(0, |f| f.offset);
    Err((
        Rule::Lock,
        format!("bpf_spin_lock at off={offset} must be held for {name}"),
    ))
}

/// A node is one of what the list or tree in r1 has in it.
fn node(cx: &Context<'_>, state: &State, value: &Value, graph: Graph) -> Result<(), String> {
    let (name, kind) = match graph {
        Graph::List => ("bpf_list_node", SpecialKind::ListNode),
        Graph::Tree => ("bpf_rb_node", SpecialKind::TreeNode),
    };
    if value.range.as_constant().is_none() {
        return Err(format!("{name} has to be at the constant offset"));
    }
    let at = value.min_offset();
    let found = fields(cx, value.kind)
        .iter()
        .any(|f| f.kind == kind && i64::from(f.offset) == at);
    if !found {
        return Err(format!("{name} not found at offset={at}"));
    }
    let wanted = root_at(cx, &state.top.regs[1], graph).and_then(|f| f.contains);
    let Some(wanted) = wanted else {
        return Err(format!(
            "what r1 points to does not say which {name} is in it"
        ));
    };
    let structures = &cx.platform.declared.structures;
    let name_of = |ty| structures.get(ty).map_or("?", |s| s.name.as_str());
    match value.kind {
        Kind::Object { ty, .. } if ty == wanted.ty && at == i64::from(wanted.offset) => Ok(()),
        Kind::Object { ty, .. } => Err(format!(
            "expected {name} at offset={} in struct {}, but arg is at offset={at} in struct {}",
            wanted.offset,
            name_of(wanted.ty),
            name_of(ty)
        )),
        _ => Err(format!("expected {name} of an allocated object")),
    }
}

/// A load or store in an object.
pub(super) fn access(place: &Place<'_>, ty: u32) -> Result<(), Problem> {
    let problem = |rule, message: String| {
        Problem::new(rule, message)
            .about(format!("r{}", place.reg))
            .why(format!(
                "r{} is {}",
                place.reg,
                describe(place.platform, place.pointer)
            ))
    };
    if place.pointer.range.as_constant().is_none() {
        return Err(problem(
            Rule::MemoryBounds,
            format!("R{}: variable ptr_ access disallowed", place.reg),
        )
        .help("use a constant offset"));
    }
    let at = place.pointer.min_offset().saturating_add(place.offset);
    let size = i64::try_from(place.size).unwrap_or(i64::MAX);
    let end = at.saturating_add(size);
    let Some(structure) = place.platform.declared.structures.get(ty) else {
        return Err(problem(
            Rule::NotModelled,
            "an object of an unknown type is not modelled".to_owned(),
        ));
    };
    let name = &structure.name;
    if at < 0 || end > i64::from(structure.size) {
        return Err(problem(
            Rule::MemoryBounds,
            format!(
                "access beyond struct {name} at off {at} size {size}: it has {} bytes",
                structure.size
            ),
        ));
    }
    let mut special = structure.fields.iter();
    let touched = |start: u32, size: u32| at < i64::from(start + size) && end > i64::from(start);
    if let Some(field) = special.find(|f| touched(f.offset, f.size)) {
        return Err(problem(
            Rule::Lock,
            format!("direct access to {} is disallowed", field.kind.name()),
        ));
    }
    if structure.is_number(at, place.size) {
        return Ok(());
    }
    Err(problem(
        Rule::NotModelled,
        format!(
            "access to struct {name} at off {at} size {size}: only its whole integers are \
             modelled yet"
        ),
    ))
}

/// Whether the lock in an object may be taken: the program owns the object.
pub(super) fn lockable(value: &Value) -> bool {
    matches!(
        value.kind,
        Kind::Object {
            owned: true,
            or_null: false,
            ..
        }
    ) && value.reference != 0
}
