//! What a load from the kernel's memory gives: a number, or a pointer to another structure, as
//! the structure's type says. Linux 6.18 was asked what it takes.

use super::{Btf, Kind, TypeId};

/// Deeper nesting is not followed.
const MAX_DEPTH: usize = 32;

/// What a load gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded<'d> {
    /// A number, or an address that is nothing to programs.
    Number,
    /// A pointer to a structure.
    Pointer {
        /// The structure.
        to: TypeId,
        /// Name of the member that was loaded.
        member: &'d str,
        /// What the pointer is said to be.
        tag: Option<Tag>,
        /// Whether it shares its place with other members.
        in_union: bool,
    },
}

/// What the declaration of a pointer says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// It is protected by RCU.
    Rcu,
    /// It is an address of user space.
    User,
    /// It is the place of a variable that each CPU has.
    PerCpu,
}

/// Why a load gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLoad {
    /// The type has no members here.
    #[error("no type data says what is in it")]
    Opaque,
    /// Outside the structure.
    #[error("it has {size} bytes")]
    Beyond {
        /// Its size in bytes.
        size: u32,
    },
    /// No member starts there or reaches there.
    #[error("it has no field at offset {offset}")]
    Hole {
        /// Byte offset in the innermost structure.
        offset: u32,
    },
    /// A pointer is loaded as a whole.
    #[error("the pointer there is loaded as a whole, 8 bytes")]
    PartOfPointer,
    /// It reaches beyond the member that it starts in.
    #[error("the field there ends at offset {end}")]
    PastMember {
        /// Byte offset in the innermost structure.
        end: u32,
    },
}

impl<'d> Btf<'d> {
    /// What a load of `size` bytes at `offset` of a structure gives.
    ///
    /// # Errors
    /// [`NoLoad`] where Linux refuses the load.
    pub fn load(&self, ty: TypeId, offset: u32, size: u32) -> Result<Loaded<'d>, NoLoad> {
        let (mut ty, mut offset) = (ty, offset);
        let mut in_union = false;
        for _ in 0..MAX_DEPTH {
            match self.member_at(ty, offset, size, &mut in_union)? {
                Inside::Loaded(loaded) => return Ok(loaded),
                Inside::Structure(inner, at) => (ty, offset) = (inner, at),
            }
        }
        Err(NoLoad::Opaque)
    }

    fn member_at(
        &self,
        ty: TypeId,
        offset: u32,
        size: u32,
        in_union: &mut bool,
    ) -> Result<Inside<'d>, NoLoad> {
        let Some(Kind::Composite {
            union,
            size: whole,
            members,
        }) = self.strip(ty).map(|(_, ty)| ty.kind)
        else {
            return Err(NoLoad::Opaque);
        };
        *in_union |= union;
        let end = offset.saturating_add(size);
        if end > whole {
            let last = members.len().checked_sub(1).and_then(|at| members.get(at));
            return last
                .and_then(|last| self.flexible(last.ty, last.bit_offset / 8, offset))
                .ok_or(NoLoad::Beyond { size: whole });
        }
        for member in members.iter() {
            let start = member.bit_offset / 8;
            if member.bit_size != 0 {
                let last = (member.bit_offset.saturating_add(member.bit_size)).div_ceil(8);
                if offset <= start && last <= end {
                    return Ok(Inside::Loaded(Loaded::Number));
                }
                continue;
            }
            if offset < start {
                break;
            }
            let Some(bytes) = self.size_of(member.ty).and_then(|s| u32::try_from(s).ok()) else {
                continue;
            };
            if offset >= start.saturating_add(bytes) {
                continue;
            }
            return self.inside(member.ty, member.name, (start, offset, size), *in_union);
        }
        Err(NoLoad::Hole { offset })
    }

    /// An element of an array without an end, if it holds structures.
    fn flexible(&self, ty: TypeId, start: u32, offset: u32) -> Option<Inside<'d>> {
        let Kind::Array { element, count: 0 } = self.strip(ty)?.1.kind else {
            return None;
        };
        let (id, element) = self.strip(element)?;
        let Kind::Composite { size, .. } = element.kind else {
            return None;
        };
        let inside = offset.checked_sub(start)?.checked_rem(size)?;
        Some(Inside::Structure(id, inside))
    }

    /// What is at a place of a member: `place` is the member's start, and offset and size of
    /// what is loaded.
    fn inside(
        &self,
        ty: TypeId,
        name: &'d str,
        place: (u32, u32, u32),
        in_union: bool,
    ) -> Result<Inside<'d>, NoLoad> {
        let (mut start, offset, size) = place;
        let bytes = self.size_of(ty).and_then(|s| u32::try_from(s).ok());
        let end = start.saturating_add(bytes.unwrap_or(0));
        let mut ty = ty;
        for _ in 0..MAX_DEPTH {
            let (id, stripped) = self.strip(ty).ok_or(NoLoad::Opaque)?;
            match stripped.kind {
                Kind::Array { element, .. } => {
                    let bytes = self.size_of(element).and_then(|s| u32::try_from(s).ok());
                    let bytes = bytes.filter(|b| *b > 0).ok_or(NoLoad::Opaque)?;
                    start += (offset - start) / bytes * bytes;
                    ty = element;
                }
                Kind::Composite { .. } => return Ok(Inside::Structure(id, offset - start)),
                Kind::Pointer { to } => {
                    if offset != start || size != 8 {
                        return Err(NoLoad::PartOfPointer);
                    }
                    return Ok(Inside::Loaded(self.pointer(to, name, in_union)));
                }
                _ => {
                    // Elements of one array may be read together.
                    if offset.saturating_add(size) > end {
                        return Err(NoLoad::PastMember { end });
                    }
                    return Ok(Inside::Loaded(Loaded::Number));
                }
            }
        }
        Err(NoLoad::Opaque)
    }

    fn pointer(&self, to: TypeId, member: &'d str, in_union: bool) -> Loaded<'d> {
        let tag = self.get(to).and_then(|ty| match (ty.kind, ty.name) {
            (Kind::Modifier { .. }, "rcu") => Some(Tag::Rcu),
            (Kind::Modifier { .. }, "user") => Some(Tag::User),
            (Kind::Modifier { .. }, "percpu") => Some(Tag::PerCpu),
            _ => None,
        });
        match self.strip(to) {
            Some((to, ty)) if matches!(ty.kind, Kind::Composite { union: false, .. }) => {
                Loaded::Pointer {
                    to,
                    member,
                    tag,
                    in_union,
                }
            }
            _ => Loaded::Number,
        }
    }

    /// Whether what lies at `offset` of a structure is `wanted`, or starts with it. Structures
    /// are the same if they are one, or have one name.
    pub fn starts_with(&self, ty: TypeId, offset: u32, wanted: TypeId) -> bool {
        let (mut ty, mut offset) = (ty, offset);
        let name = self.get(wanted).map_or("", |w| w.name);
        for _ in 0..MAX_DEPTH {
            let Some((id, found)) = self.strip(ty) else {
                return false;
            };
            if offset == 0 && (id == wanted || !name.is_empty() && found.name == name) {
                return true;
            }
            let Kind::Composite { members, .. } = found.kind else {
                return false;
            };
            let member = members.iter().find_map(|member| {
                let start = member.bit_offset / 8;
                let bytes = u32::try_from(self.size_of(member.ty)?).ok()?;
                let within = member.bit_size == 0 && start <= offset && offset < start + bytes;
                within.then_some((member.ty, offset - start))
            });
            match member {
                Some(inner) => (ty, offset) = inner,
                None => return false,
            }
        }
        false
    }

    /// Byte offset and size of the member of this name, in the structure or one that it starts
    /// with.
    pub fn member_bytes(&self, ty: TypeId, name: &str) -> Option<(u32, u32)> {
        let mut ty = ty;
        for _ in 0..MAX_DEPTH {
            let Kind::Composite { members, .. } = self.strip(ty)?.1.kind else {
                return None;
            };
            if let Some(member) = members.iter().find(|m| m.name == name && m.bit_size == 0) {
                let bytes = u32::try_from(self.size_of(member.ty)?).ok()?;
                return Some((member.bit_offset / 8, bytes));
            }
            ty = members.get(0)?.ty;
        }
        None
    }

    /// The structure of this name, else one that is only declared, else one with a flavour
    /// (`name___flavour`).
    pub fn structure(&self, name: &str) -> Option<TypeId> {
        let mut found = (0, None);
        for (id, ty) in self.iter() {
            let bare = ty.name.split_once("___").map_or(ty.name, |(bare, _)| bare);
            let rank = match ty.kind {
                Kind::Composite { union: false, .. } if ty.name == name => 3,
                Kind::Forward { union: false } if ty.name == name => 2,
                Kind::Composite { union: false, .. } if bare == name => 1,
                _ => 0,
            };
            if rank == 3 {
                return Some(id);
            }
            if rank > found.0 {
                found = (rank, Some(id));
            }
        }
        found.1
    }
}

enum Inside<'d> {
    Loaded(Loaded<'d>),
    /// In a structure, at this offset of it.
    Structure(TypeId, u32),
}
