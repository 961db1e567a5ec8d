//! What a question comes to, once the way into the target's type is found.

use super::spec::{Access, Spec};
use super::{Change, FieldSizes, Question, Resolution};
use crate::btf::{Btf, Kind, TypeId};

/// What the question comes to for the object's own type, and for what was found in the target.
/// `None` if the question does not fit the way.
pub(super) fn answer_of(
    local: &Btf<'_>,
    spec: &Spec,
    target: &Btf<'_>,
    found: Option<&Spec>,
    question: Question,
) -> Option<Resolution> {
    let number = |to: u64, from: Option<u64>| {
        Some(Resolution::Number(Change {
            from,
            to,
            access: None,
        }))
    };
    match question {
        Question::FieldExists
        | Question::TypeExists
        | Question::TypeMatches
        | Question::EnumeratorExists => number(u64::from(found.is_some()), Some(1)),
        Question::LocalTypeId => number(u64::from(spec.root), None),
        Question::TargetTypeId => number(found.map_or(0, |f| u64::from(f.root)), None),
        Question::TypeSize => {
            let to = match found {
                Some(found) => target.size_of(found.root)?,
                None => 0,
            };
            number(to, Some(local.size_of(spec.root)?))
        }
        Question::Enumerator => match found {
            Some(found) => number(found.enumerator?, spec.enumerator),
            None => Some(Resolution::Poison),
        },
        Question::FieldOffset
        | Question::FieldSize
        | Question::FieldSigned
        | Question::FieldShiftLeft
        | Question::FieldShiftRight => {
            let Some(found) = found else {
                return Some(Resolution::Poison);
            };
            let from = field(local, spec, question)?;
            let to = field(target, found, question)?;
            let access = from.access.zip(to.access).map(|(a, b)| FieldSizes {
                from: a.size,
                to: b.size,
                adjustable: a.size == b.size || a.extends_alike(&b),
            });
            Some(Resolution::Number(Change {
                from: from.certain.then_some(from.number),
                to: to.number,
                access,
            }))
        }
    }
}

/// What a question about a field comes to on one side.
struct FieldAnswer {
    number: u64,
    /// Whether every compiler says the same.
    certain: bool,
    access: Option<FieldAccess>,
}

/// A whole field that is loaded or stored.
#[derive(Clone, Copy)]
struct FieldAccess {
    size: u64,
    pointer: bool,
    unsigned: bool,
}

impl FieldAccess {
    fn extends_alike(&self, other: &FieldAccess) -> bool {
        self.pointer && other.pointer || self.unsigned && other.unsigned
    }
}

fn field_access(btf: &Btf<'_>, ty: TypeId) -> Option<FieldAccess> {
    let (_, stripped) = btf.strip(ty)?;
    Some(FieldAccess {
        size: btf.size_of(ty)?,
        pointer: matches!(stripped.kind, Kind::Pointer { .. }),
        unsigned: matches!(stripped.kind, Kind::Int { signed: false, .. }),
    })
}

fn field(btf: &Btf<'_>, spec: &Spec, question: Question) -> Option<FieldAnswer> {
    let Access { ty, index, named } = *spec.accesses.last()?;
    if !named {
        // An element of an array, or the whole type.
        let size = btf.size_of(ty)?;
        let (number, access) = match question {
            Question::FieldOffset => (spec.bit_offset / 8, field_access(btf, ty)),
            Question::FieldSize => (size, None),
            _ => return None,
        };
        return Some(FieldAnswer {
            number,
            certain: true,
            access,
        });
    }
    let Kind::Composite { members, .. } = btf.get(ty)?.kind else {
        return None;
    };
    let member = members.get(index as usize)?;
    let (member_type, stripped) = btf.strip(member.ty)?;
    let bit_field = member.bit_size > 0;
    let (byte_offset, byte_size, bit_size) = if bit_field {
        let bits = u64::from(member.bit_size);
        let mut size = btf.size_of(member_type)?;
        if !matches!(size, 1 | 2 | 4 | 8) {
            return None;
        }
        let aligned = |size: u64| spec.bit_offset / 8 / size * size;
        while spec.bit_offset + bits - aligned(size) * 8 > size * 8 {
            if size >= 8 {
                return None;
            }
            size *= 2;
        }
        (aligned(size), size, bits)
    } else {
        let size = btf.size_of(member_type)?;
        (spec.bit_offset / 8, size, size.saturating_mul(8))
    };
    let last_bit = (spec.bit_offset - byte_offset * 8).saturating_add(bit_size);
    Some(FieldAnswer {
        number: match question {
            Question::FieldOffset => byte_offset,
            Question::FieldSize => byte_size,
            Question::FieldSigned => u64::from(matches!(
                stripped.kind,
                Kind::Int { signed: true, .. } | Kind::Enum { signed: true, .. }
            )),
            Question::FieldShiftLeft => 64_u64.wrapping_sub(last_bit),
            Question::FieldShiftRight => 64_u64.wrapping_sub(bit_size),
            _ => return None,
        },
        certain: !bit_field
            || matches!(question, Question::FieldSigned | Question::FieldShiftRight),
        access: if question == Question::FieldOffset && !bit_field {
            field_access(btf, member_type)
        } else {
            None
        },
    })
}
