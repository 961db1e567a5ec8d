//! Objects that the program allocates, and the lists and trees that keep them.

use bpf::btf::fields::{SpecialField, SpecialKind};
use bpf::helper::{Graph, LocalReturn, Prototype};
use bpf::kfunc;

use super::Context;
use crate::domain::{Ids, Kind, Reference, Resource, State, Value};

/// Special fields of what a pointer points into.
pub(crate) fn fields<'a>(cx: &Context<'a>, kind: Kind) -> &'a [SpecialField] {
    let declared = cx.platform.declared;
    match kind {
        Kind::MapValue { map, .. } => declared.fields(map),
        Kind::Object { ty, .. } => declared.structures.get(ty).map_or(&[], |s| &s.fields),
        _ => &[],
    }
}

/// The list or tree that a pointer points to.
pub(crate) fn root_at<'a>(
    cx: &Context<'a>,
    pointer: &Value,
    graph: Graph,
) -> Option<&'a SpecialField> {
    let kind = match graph {
        Graph::List => SpecialKind::ListHead,
        Graph::Tree => SpecialKind::TreeRoot,
    };
    pointer.range.as_constant()?;
    fields(cx, pointer.kind)
        .iter()
        .find(|f| f.kind == kind && i64::from(f.offset) == pointer.min_offset())
}

/// A node of a list or tree that is seen but not owned.
pub(super) fn seen(cx: &Context<'_>, ids: &mut Ids, root: &Value, graph: Graph) -> Value {
    let Some(contained) = root_at(cx, root, graph).and_then(|f| f.contains) else {
        return Value::UNKNOWN;
    };
    Value {
        off: contained.offset as i32,
        owner: ids.fresh(),
        ..Value::pointer(Kind::Object {
            ty: contained.ty,
            or_null: false,
            owned: false,
        })
    }
}

/// What a function gives.
pub(super) fn result(
    cx: &Context<'_>,
    state: &mut State,
    ids: &mut Ids,
    pc: usize,
    prototype: &Prototype,
    what: LocalReturn,
) -> Value {
    let given = state.top.regs[1];
    let graph = match prototype.args[0] {
        bpf::helper::Arg::Local(bpf::helper::LocalArg::Root(graph)) => graph,
        _ => Graph::List,
    };
    let (ty, offset, or_null) = match (what, given.kind) {
        (LocalReturn::New, _) => match given.as_constant().map(u32::try_from) {
            Some(Ok(ty)) => (ty, 0, true),
            _ => return Value::UNKNOWN,
        },
        (LocalReturn::Again, Kind::Object { ty, owned, .. }) => (ty, 0, !owned),
        (LocalReturn::Again, _) => return Value::UNKNOWN,
        (LocalReturn::Taken | LocalReturn::Seen, _) => {
            match root_at(cx, &given, graph).and_then(|f| f.contains) {
                Some(contained) => (contained.ty, contained.offset as i32, true),
                None => return Value::UNKNOWN,
            }
        }
    };
    let id = ids.fresh();
    let owned = what != LocalReturn::Seen;
    if owned {
        state.held.references.push(Reference {
            id,
            pc: pc as u32,
            resource: Resource::Object,
        });
    }
    Value {
        id: if or_null { id } else { 0 },
        reference: if owned { id } else { 0 },
        owner: id,
        off: offset,
        ..Value::pointer(Kind::Object { ty, or_null, owned })
    }
}

/// An object goes into a list or tree, which owns it from now on: until the lock is given back
/// it is still seen.
pub(super) fn give(state: &mut State, reg: usize) {
    let reference = state.top.regs[reg].reference;
    if reference == 0 {
        return;
    }
    state.held.references.retain(|r| r.id != reference);
    state.update_all(
        |r| r.reference == reference,
        |r| {
            r.reference = 0;
            if let Kind::Object { owned, .. } = &mut r.kind {
                *owned = false;
            }
        },
    );
}

/// The lock is given back: what is not owned may be gone.
pub(super) fn unlocked(state: &mut State) {
    state.update_all(
        |r| matches!(r.kind, Kind::Object { owned: false, .. }),
        |r| *r = Value::SCALAR,
    );
}

/// Whether a tree's comparison is running, which compares and does nothing else.
pub(crate) fn comparing(cx: &Context<'_>, state: &State) -> bool {
    state.frames().any(|frame| {
        frame.callback.is_some()
            && match cx.platform.program.insns.get(frame.call_site as usize) {
                Some(isa::ebpf::Insn::Call(target)) => cx
                    .platform
                    .called(*target)
                    .is_some_and(|p| p.id == kfunc::RBTREE_ADD),
                _ => false,
            }
    })
}
