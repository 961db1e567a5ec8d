//! When two types agree, in three grades: fields that may be read as one another, types that
//! are the same but for their contents, and types whose contents match.

use super::essential;
use crate::btf::{Btf, Kind, Type, TypeId};

/// Comparing took too many steps, or types nest too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooComplex;

/// Types nest less deeply than this, as for libbpf.
const MAX_DEPTH: u32 = 32;

/// Spends one step.
pub(super) fn step(fuel: &mut u64) -> Result<(), TooComplex> {
    *fuel = fuel.checked_sub(1).ok_or(TooComplex)?;
    Ok(())
}

/// Whether two types are of one kind; enumerations of 32 and of 64 bits are one kind.
pub(super) fn same_kind(first: &Kind<'_>, second: &Kind<'_>) -> bool {
    match (first, second) {
        (Kind::Composite { union: a, .. }, Kind::Composite { union: b, .. }) => a == b,
        _ => std::mem::discriminant(first) == std::mem::discriminant(second),
    }
}

fn same_name(first: &str, second: &str) -> bool {
    essential(first) == essential(second)
}

fn whole_integer(kind: &Kind<'_>) -> bool {
    matches!(kind, Kind::Int { offset: 0, .. })
}

/// The two types without typedefs and modifiers.
fn strip_both<'a, 'b>(
    first: &Btf<'a>,
    local_id: TypeId,
    second: &Btf<'b>,
    target_id: TypeId,
) -> Option<(Type<'a>, Type<'b>)> {
    Some((first.strip(local_id)?.1, second.strip(target_id)?.1))
}

/// Whether a local field may be read as the target's: structures always, arrays by
/// their elements, enumerations by name, integers of any size.
pub(super) fn fields_compatible(
    local: &Btf<'_>,
    mut local_id: TypeId,
    target: &Btf<'_>,
    mut target_id: TypeId,
    fuel: &mut u64,
) -> Result<bool, TooComplex> {
    for _ in 0..MAX_DEPTH {
        step(fuel)?;
        let Some((first, second)) = strip_both(local, local_id, target, target_id) else {
            return Ok(false);
        };
        return Ok(match (&first.kind, &second.kind) {
            (Kind::Composite { .. }, Kind::Composite { .. })
            | (Kind::Pointer { .. }, Kind::Pointer { .. })
            | (Kind::Float { .. }, Kind::Float { .. }) => true,
            (Kind::Forward { .. }, Kind::Forward { .. })
            | (Kind::Enum { .. }, Kind::Enum { .. }) => {
                first.name.is_empty()
                    || second.name.is_empty()
                    || same_name(first.name, second.name)
            }
            (Kind::Int { .. }, Kind::Int { .. }) => {
                whole_integer(&first.kind) && whole_integer(&second.kind)
            }
            (Kind::Array { element: x, .. }, Kind::Array { element: y, .. }) => {
                (local_id, target_id) = (*x, *y);
                continue;
            }
            _ => false,
        });
    }
    Err(TooComplex)
}

/// Whether the types are the same, whatever structures and enumerations contain.
pub(super) fn types_compatible(
    local: &Btf<'_>,
    local_id: TypeId,
    target: &Btf<'_>,
    target_id: TypeId,
    fuel: &mut u64,
) -> Result<bool, TooComplex> {
    match (local.get(local_id), target.get(target_id)) {
        (Some(first), Some(second)) if same_kind(&first.kind, &second.kind) => {
            compatible(local, local_id, target, target_id, fuel, MAX_DEPTH)
        }
        _ => Ok(false),
    }
}

fn compatible(
    local: &Btf<'_>,
    mut local_id: TypeId,
    target: &Btf<'_>,
    mut target_id: TypeId,
    fuel: &mut u64,
    depth: u32,
) -> Result<bool, TooComplex> {
    for left in (0..depth).rev() {
        step(fuel)?;
        let Some((first, second)) = strip_both(local, local_id, target, target_id) else {
            return Ok(false);
        };
        if !same_kind(&first.kind, &second.kind) {
            return Ok(false);
        }
        match (&first.kind, &second.kind) {
            (Kind::Void | Kind::Composite { .. } | Kind::Enum { .. } | Kind::Forward { .. }, _) => {
                return Ok(true);
            }
            (Kind::Int { .. }, Kind::Int { .. }) => {
                return Ok(whole_integer(&first.kind) && whole_integer(&second.kind));
            }
            (Kind::Pointer { to: x }, Kind::Pointer { to: y })
            | (Kind::Array { element: x, .. }, Kind::Array { element: y, .. }) => {
                (local_id, target_id) = (*x, *y);
            }
            (
                Kind::Prototype {
                    result: x,
                    parameters: p,
                },
                Kind::Prototype {
                    result: y,
                    parameters: q,
                },
            ) => {
                if p.len() != q.len() {
                    return Ok(false);
                }
                for (p, q) in p.iter().zip(q.iter()) {
                    if !compatible(local, p.ty, target, q.ty, fuel, left)? {
                        return Ok(false);
                    }
                }
                (local_id, target_id) = (*x, *y);
            }
            _ => return Ok(false),
        }
    }
    Err(TooComplex)
}

/// Whether the types' contents match: every member and enumerator of the local type is in the
/// target's with a matching type, and sizes of integers agree. Behind a pointer structures are
/// compared by name only.
pub(super) fn types_match(
    local: &Btf<'_>,
    local_id: TypeId,
    target: &Btf<'_>,
    target_id: TypeId,
    fuel: &mut u64,
) -> Result<bool, TooComplex> {
    matching(local, local_id, target, target_id, false, fuel, MAX_DEPTH)
}

fn matching(
    local: &Btf<'_>,
    mut local_id: TypeId,
    target: &Btf<'_>,
    mut target_id: TypeId,
    mut behind_pointer: bool,
    fuel: &mut u64,
    depth: u32,
) -> Result<bool, TooComplex> {
    for left in (0..depth).rev() {
        step(fuel)?;
        let Some((first, second)) = strip_both(local, local_id, target, target_id) else {
            return Ok(false);
        };
        if !same_name(first.name, second.name) {
            return Ok(false);
        }
        match (&first.kind, &second.kind) {
            (Kind::Void, Kind::Void) => return Ok(true),
            (
                Kind::Forward { union: x },
                Kind::Forward { union: y } | Kind::Composite { union: y, .. },
            ) => {
                return Ok(x == y);
            }
            (
                Kind::Enum {
                    size: x, values: p, ..
                },
                Kind::Enum {
                    size: y, values: q, ..
                },
            ) => {
                if x != y {
                    return Ok(false);
                }
                for value in p.iter() {
                    let mut found = false;
                    for other in q.iter() {
                        step(fuel)?;
                        if same_name(value.name, other.name) {
                            found = true;
                            break;
                        }
                    }
                    if !found {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            (
                Kind::Composite { union: x, .. },
                Kind::Composite { union: y, .. } | Kind::Forward { union: y },
            ) if behind_pointer => {
                return Ok(x == y);
            }
            (
                Kind::Composite {
                    union: x,
                    members: p,
                    ..
                },
                Kind::Composite {
                    union: y,
                    members: q,
                    ..
                },
            ) => {
                if x != y || p.len() > q.len() {
                    return Ok(false);
                }
                for member in p.iter() {
                    let mut found = false;
                    for other in q.iter() {
                        step(fuel)?;
                        if same_name(member.name, other.name)
                            && matching(
                                local,
                                member.ty,
                                target,
                                other.ty,
                                behind_pointer,
                                fuel,
                                left,
                            )?
                        {
                            found = true;
                            break;
                        }
                    }
                    if !found {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            (
                Kind::Int {
                    size: x, signed: s, ..
                },
                Kind::Int {
                    size: y, signed: t, ..
                },
            ) => return Ok(x == y && s == t),
            (Kind::Pointer { to: x }, Kind::Pointer { to: y }) => {
                behind_pointer = true;
                (local_id, target_id) = (*x, *y);
            }
            (
                Kind::Array {
                    element: x,
                    count: m,
                },
                Kind::Array {
                    element: y,
                    count: n,
                },
            ) => {
                if m != n {
                    return Ok(false);
                }
                (local_id, target_id) = (*x, *y);
            }
            (
                Kind::Prototype {
                    result: x,
                    parameters: p,
                },
                Kind::Prototype {
                    result: y,
                    parameters: q,
                },
            ) => {
                if p.len() != q.len() {
                    return Ok(false);
                }
                for (p, q) in p.iter().zip(q.iter()) {
                    if !matching(local, p.ty, target, q.ty, behind_pointer, fuel, left)? {
                        return Ok(false);
                    }
                }
                (local_id, target_id) = (*x, *y);
            }
            _ => return Ok(false),
        }
    }
    Err(TooComplex)
}
