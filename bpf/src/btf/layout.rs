//! Sizes, and what a type is once typedefs and modifiers are taken off.

use super::{Btf, Kind, Type, TypeId};

/// Deeper chains of types are not followed: real ones are a few deep, cyclic ones have no end.
const MAX_DEPTH: usize = 32;

/// Size of a pointer for BPF programs, in bytes.
pub(crate) const POINTER: u32 = 8;

impl<'d> Btf<'d> {
    /// The type without typedefs, modifiers and type tags, with its id; `None` if there is no
    /// such type or the chain is too long.
    pub fn strip(&self, mut id: TypeId) -> Option<(TypeId, Type<'d>)> {
        for _ in 0..MAX_DEPTH {
            let ty = self.get(id)?;
            match ty.kind {
                Kind::Typedef { to } | Kind::Modifier { to } => id = to,
                _ => return Some((id, ty)),
            }
        }
        None
    }

    /// The type without modifiers and type tags; typedefs stay.
    pub fn strip_modifiers(&self, mut id: TypeId) -> Option<(TypeId, Type<'d>)> {
        for _ in 0..MAX_DEPTH {
            let ty = self.get(id)?;
            match ty.kind {
                Kind::Modifier { to } => id = to,
                _ => return Some((id, ty)),
            }
        }
        None
    }

    /// Size in bytes of a value of this type; `None` if it has none or the type is malformed.
    pub fn size_of(&self, mut id: TypeId) -> Option<u64> {
        let mut count: u64 = 1;
        for _ in 0..MAX_DEPTH {
            let (_, ty) = self.strip(id)?;
            let size = match ty.kind {
                Kind::Int { size, .. }
                | Kind::Composite { size, .. }
                | Kind::Enum { size, .. }
                | Kind::Float { size }
                | Kind::Section { size, .. } => size,
                Kind::Pointer { .. } => POINTER,
                Kind::Array { element, count: n } => {
                    count = count.checked_mul(u64::from(n))?;
                    id = element;
                    continue;
                }
                Kind::Variable { ty, .. } => {
                    id = ty;
                    continue;
                }
                _ => return None,
            };
            return count.checked_mul(u64::from(size));
        }
        None
    }
}
