//! Structures that a program allocates objects of, as its BTF declares them.

use bpf::btf::fields::{SpecialField, SpecialKind};
use bpf::btf::{Btf, Kind, TypeId};

/// Deeper nesting is not followed.
const MAX_DEPTH: usize = 8;
/// More numbers of one structure are not told apart: access to the others is not modelled.
const MAX_NUMBERS: usize = 256;

/// A structure.
#[derive(Debug)]
pub(crate) struct Structure {
    ty: TypeId,
    /// Its name.
    pub(crate) name: String,
    /// Size in bytes.
    pub(crate) size: u32,
    /// Fields with functions of their own, by ascending offset.
    pub(crate) fields: Vec<SpecialField>,
    /// Offset and size of its integers and enumerations.
    numbers: Vec<(u32, u32)>,
}

impl Structure {
    /// Whether an access lies in one number.
    pub(crate) fn is_number(&self, offset: i64, size: u64) -> bool {
        let end = offset.saturating_add(i64::try_from(size).unwrap_or(i64::MAX));
        self.numbers
            .iter()
            .any(|(at, bytes)| i64::from(*at) <= offset && end <= i64::from(at + bytes))
    }
}

/// All structures of a program's BTF, by id.
#[derive(Debug, Default)]
pub(crate) struct Structures(Vec<Structure>);

impl Structures {
    pub(crate) fn of(types: &Btf<'_>) -> Structures {
        let structure = |(ty, found): (TypeId, bpf::btf::Type<'_>)| {
            let Kind::Composite {
                union: false, size, ..
            } = found.kind
            else {
                return None;
            };
            let mut numbers = Vec::new();
            collect(types, ty, 0, 0, &mut numbers);
            Some(Structure {
                ty,
                name: found.name.to_owned(),
                size,
                fields: types.special_fields(ty),
                numbers,
            })
        };
        Structures(types.iter().filter_map(structure).collect())
    }

    pub(crate) fn get(&self, ty: TypeId) -> Option<&Structure> {
        let at = self.0.binary_search_by_key(&ty, |s| s.ty).ok()?;
        Some(&self.0[at])
    }

    /// Whether the kernel takes a type with these special fields (kernel documentation, "Graph
    /// kfuncs"): lists and trees say what is in them and have one lock beside them, an object
    /// that may be in both a list and a tree counts its references, and ownership nests once.
    ///
    /// # Errors
    /// What it does not take.
    pub(crate) fn sound(&self, fields: &[SpecialField]) -> Result<(), &'static str> {
        let count = |kind| fields.iter().filter(|f| f.kind == kind).count();
        let is_root = |f: &&SpecialField| is_root(f.kind);
        if count(SpecialKind::SpinLock) > 1 || count(SpecialKind::RefCount) > 1 {
            return Err("it has two locks, or two reference counts");
        }
        if fields.iter().any(|f| {
            matches!(
                f.kind,
                SpecialKind::ResilientLock
                    | SpecialKind::Timer
                    | SpecialKind::WorkQueue
                    | SpecialKind::TaskWork
            )
        }) {
            return Err("it has a timer, work, or a resilient lock");
        }
        let nodes = (
            count(SpecialKind::ListNode) > 0,
            count(SpecialKind::TreeNode) > 0,
        );
        if nodes == (true, true) && count(SpecialKind::RefCount) == 0 {
            return Err("it may be in a list and a tree, but has no struct bpf_refcount");
        }
        for root in fields.iter().filter(is_root) {
            if count(SpecialKind::SpinLock) == 0 {
                return Err("a list or tree has no struct bpf_spin_lock beside it");
            }
            let contained = root.contains.and_then(|c| self.get(c.ty));
            let Some(contained) = contained else {
                return Err("a list or tree does not say what is in it");
            };
            let owner = contained.fields.iter().any(|f| is_root(&f));
            if owner && nodes != (false, false) {
                return Err("lists and trees are nested too deep");
            }
        }
        Ok(())
    }
}

fn is_root(kind: SpecialKind) -> bool {
    matches!(kind, SpecialKind::ListHead | SpecialKind::TreeRoot)
}

fn collect(types: &Btf<'_>, ty: TypeId, base: u32, depth: usize, numbers: &mut Vec<(u32, u32)>) {
    if depth > MAX_DEPTH || numbers.len() >= MAX_NUMBERS {
        return;
    }
    match types.strip(ty).map(|(_, ty)| ty.kind) {
        Some(Kind::Int { size, .. } | Kind::Enum { size, .. }) => numbers.push((base, size)),
        Some(Kind::Composite {
            union: false,
            members,
            ..
        }) => {
            for member in members.iter() {
                // Bit fields are left out: what may be read of them depends on their words.
                if member.bit_size == 0 {
                    let offset = base.saturating_add(member.bit_offset / 8);
                    collect(types, member.ty, offset, depth + 1, numbers);
                }
            }
        }
        Some(Kind::Array { element, count }) => {
            let Some(size) = types.size_of(element).and_then(|s| u32::try_from(s).ok()) else {
                return;
            };
            for index in 0..count.min(MAX_NUMBERS as u32) {
                let offset = base.saturating_add(index.saturating_mul(size));
                collect(types, element, offset, depth + 1, numbers);
            }
        }
        _ => {}
    }
}
