//! Pointers that fields of map values and of allocated objects hold.

use bpf::btf::fields::{PointerHeld, SpecialKind};

use super::{Context, fields};
use crate::declared::Structure;
use crate::domain::{Ids, Kind, MapRef, Reference, Resource, State, Trust, Value};
use crate::kernel;

/// What a load of 8 bytes at a place of a map's value gives, if a pointer is there.
pub(super) fn loaded(cx: &Context<'_>, ids: &mut Ids, map: MapRef, at: i64) -> Option<Value> {
    let declared = cx.platform.declared;
    let field = declared
        .fields(map)
        .iter()
        .find(|f| f.kind == SpecialKind::KernelPointer && i64::from(f.offset) == at)?;
    let points = declared.pointee(field)?;
    let kind = match points.structure {
        Structure::Kernel(ty) => {
            let kept = points.held == PointerHeld::Owned && kernel::freed_by_rcu(points.name);
            Kind::Kernel {
                ty,
                trust: if kept { Trust::Rcu } else { Trust::Untrusted },
                or_null: true,
            }
        }
        // Objects of the program outlive their release until RCU lets them go.
        Structure::Local(ty) if points.held == PointerHeld::Owned => Kind::Object {
            ty,
            or_null: true,
            owned: false,
        },
        Structure::Local(_) => return Some(Value::UNKNOWN),
    };
    Some(Value {
        id: ids.fresh(),
        ..Value::pointer(kind)
    })
}

/// What was in the field that r1 points to: the program owns it now.
pub(super) fn taken(cx: &Context<'_>, state: &mut State, ids: &mut Ids, pc: usize) -> Value {
    let place = state.top.regs[1];
    let field = fields(cx, place.kind).iter().find(|f| {
        f.kind == SpecialKind::KernelPointer && i64::from(f.offset) == place.min_offset()
    });
    let Some(points) = field.and_then(|f| cx.platform.declared.pointee(f)) else {
        return Value::UNKNOWN;
    };
    let id = ids.fresh();
    state.held.references.push(Reference {
        id,
        pc: pc as u32,
        resource: Resource::Object,
    });
    let kind = match points.structure {
        Structure::Kernel(ty) => Kind::Kernel {
            ty,
            trust: Trust::Trusted,
            or_null: true,
        },
        Structure::Local(ty) => Kind::Object {
            ty,
            or_null: true,
            owned: true,
        },
    };
    Value {
        id,
        reference: id,
        owner: if matches!(kind, Kind::Object { .. }) {
            id
        } else {
            0
        },
        ..Value::pointer(kind)
    }
}

/// The last RCU read section is left: what only RCU kept may be gone.
pub(super) fn section_left(state: &mut State) {
    state.update_all(
        |r| {
            matches!(
                r.kind,
                Kind::Kernel {
                    trust: Trust::Rcu,
                    ..
                }
            )
        },
        |r| {
            if let Kind::Kernel { trust, or_null, .. } = &mut r.kind {
                *trust = Trust::Untrusted;
                *or_null = false;
            }
            r.id = 0;
        },
    );
    super::local::unlocked(state);
}
