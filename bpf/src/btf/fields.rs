//! Fields of map values that programs may use only in their own way: locks, timers, kernel
//! objects (`struct bpf_spin_lock`, `struct bpf_timer`, … in linux/bpf.h).

use super::{Btf, Kind, TypeId};

/// Deeper nesting is not searched.
const MAX_DEPTH: usize = 8;
/// More fields than this are not told (the kernel takes 11).
const MAX_FIELDS: usize = 64;

/// A field with a meaning of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialField {
    /// What it is.
    pub kind: SpecialKind,
    /// Byte offset in the value.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
    /// What a list or tree has in it, if its declaration says so.
    pub contains: Option<Contained>,
    /// For a pointer, what it points to.
    pub pointee: Option<Pointee>,
}

/// What a pointer in a field points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointee {
    /// The structure, as the object declares it.
    pub ty: TypeId,
    /// How the field holds it.
    pub held: PointerHeld,
}

/// How a field holds what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerHeld {
    /// The field owns it (`__kptr`).
    Owned,
    /// The pointer is only stored (`__kptr_untrusted`).
    Untrusted,
    /// The field owns an object that each CPU has one of (`__percpu_kptr`).
    PerCpu,
    /// It is memory of user space (`__uptr`).
    User,
}

/// What a list or tree has in it (`__contains(structure, node)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contained {
    /// The structure.
    pub ty: TypeId,
    /// Byte offset of the node in it.
    pub offset: u32,
}

/// What a special field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialKind {
    /// `struct bpf_spin_lock`.
    SpinLock,
    /// `struct bpf_res_spin_lock`.
    ResilientLock,
    /// `struct bpf_timer`.
    Timer,
    /// `struct bpf_wq`.
    WorkQueue,
    /// `struct bpf_task_work`.
    TaskWork,
    /// A pointer to a kernel object or to one that the program allocated.
    KernelPointer,
    /// `struct bpf_list_head`.
    ListHead,
    /// `struct bpf_list_node`.
    ListNode,
    /// `struct bpf_rb_root`.
    TreeRoot,
    /// `struct bpf_rb_node`.
    TreeNode,
    /// `struct bpf_refcount`.
    RefCount,
}

impl SpecialKind {
    /// The structure's name in C.
    pub const fn name(self) -> &'static str {
        match self {
            SpecialKind::SpinLock => "bpf_spin_lock",
            SpecialKind::ResilientLock => "bpf_res_spin_lock",
            SpecialKind::Timer => "bpf_timer",
            SpecialKind::WorkQueue => "bpf_wq",
            SpecialKind::TaskWork => "bpf_task_work",
            SpecialKind::KernelPointer => "kptr",
            SpecialKind::ListHead => "bpf_list_head",
            SpecialKind::ListNode => "bpf_list_node",
            SpecialKind::TreeRoot => "bpf_rb_root",
            SpecialKind::TreeNode => "bpf_rb_node",
            SpecialKind::RefCount => "bpf_refcount",
        }
    }

    /// The kind whose structure has this name in C.
    pub fn of(name: &str) -> Option<SpecialKind> {
        Some(match name {
            "bpf_spin_lock" => SpecialKind::SpinLock,
            "bpf_res_spin_lock" => SpecialKind::ResilientLock,
            "bpf_timer" => SpecialKind::Timer,
            "bpf_wq" => SpecialKind::WorkQueue,
            "bpf_task_work" => SpecialKind::TaskWork,
            "bpf_list_head" => SpecialKind::ListHead,
            "bpf_list_node" => SpecialKind::ListNode,
            "bpf_rb_root" => SpecialKind::TreeRoot,
            "bpf_rb_node" => SpecialKind::TreeNode,
            "bpf_refcount" => SpecialKind::RefCount,
            _ => return None,
        })
    }
}

impl Btf<'_> {
    /// The special fields of a value of this type, by ascending offset. Nothing for a type that
    /// is malformed.
    pub fn special_fields(&self, ty: TypeId) -> Vec<SpecialField> {
        let mut found = Vec::new();
        self.search(ty, 0, 0, &mut found);
        found.sort_by_key(|field| field.offset);
        found
    }

    fn search(&self, ty: TypeId, base: u32, depth: usize, found: &mut Vec<SpecialField>) {
        if depth > MAX_DEPTH || found.len() >= MAX_FIELDS {
            return;
        }
        let Some((id, stripped)) = self.strip(ty) else {
            return;
        };
        match stripped.kind {
            Kind::Pointer { to } => {
                if let Some(held) = self.pointer_held(to) {
                    found.push(SpecialField {
                        kind: SpecialKind::KernelPointer,
                        offset: base,
                        size: 8,
                        contains: None,
                        pointee: self.strip(to).map(|(ty, _)| Pointee { ty, held }),
                    });
                }
            }
            Kind::Composite { members, size, .. } => {
                if let Some(kind) = SpecialKind::of(stripped.name) {
                    found.push(SpecialField {
                        kind,
                        offset: base,
                        size,
                        contains: None,
                        pointee: None,
                    });
                    return;
                }
                for (index, member) in members.iter().enumerate() {
                    if member.bit_size == 0 {
                        let offset = base.saturating_add(member.bit_offset / 8);
                        let before = found.len();
                        self.search(member.ty, offset, depth + 1, found);
                        self.note_contained(id, Some(index as u32), found.iter_mut().skip(before));
                    }
                }
            }
            Kind::Array { element, count } => {
                let Some(size) = self.size_of(element).and_then(|s| u32::try_from(s).ok()) else {
                    return;
                };
                for index in 0..count.min(MAX_FIELDS as u32) {
                    let before = found.len();
                    let offset = base.saturating_add(index.saturating_mul(size));
                    self.search(element, offset, depth + 1, found);
                    if found.len() == before {
                        return;
                    }
                }
            }
            Kind::Section { variables, .. } => {
                for variable in variables.iter() {
                    let Some(Kind::Variable { ty, .. }) =
                        self.get(variable.variable).map(|ty| ty.kind)
                    else {
                        continue;
                    };
                    let offset = base.saturating_add(variable.offset);
                    let before = found.len();
                    self.search(ty, offset, depth + 1, found);
                    self.note_contained(variable.variable, None, found.iter_mut().skip(before));
                }
            }
            _ => {}
        }
    }

    /// Notes in the lists and trees of one member or variable what its declaration says is in
    /// them.
    fn note_contained<'f>(
        &self,
        declared: TypeId,
        component: Option<u32>,
        found: impl Iterator<Item = &'f mut SpecialField>,
    ) {
        let is_root = |kind| matches!(kind, SpecialKind::ListHead | SpecialKind::TreeRoot);
        let roots = found.filter(|f| is_root(f.kind) && f.contains.is_none());
        for root in roots {
            root.contains = self
                .iter()
                .filter(|(_, ty)| {
                    matches!(ty.kind, Kind::DeclarationTag { to, component: at }
                        if to == declared && at == component)
                })
                .find_map(|(_, tag)| tag.name.strip_prefix("contains:"))
                .and_then(|text| self.contained(text, root.kind));
        }
    }

    /// What `structure:node` names, if the node is one of what goes into such a root.
    fn contained(&self, text: &str, root: SpecialKind) -> Option<Contained> {
        let (structure, node) = text.split_once(':')?;
        let (ty, members) = self.iter().find_map(|(id, ty)| match ty.kind {
            Kind::Composite {
                union: false,
                members,
                ..
            } if ty.name == structure => Some((id, members)),
            _ => None,
        })?;
        let member = members.iter().find(|member| member.name == node)?;
        let (_, stripped) = self.strip(member.ty)?;
        let wanted = match root {
            SpecialKind::ListHead => SpecialKind::ListNode,
            _ => SpecialKind::TreeNode,
        };
        (SpecialKind::of(stripped.name) == Some(wanted)).then_some(Contained {
            ty,
            offset: member.bit_offset / 8,
        })
    }

    /// How a pointer to this is held, if it is tagged so.
    fn pointer_held(&self, mut ty: TypeId) -> Option<PointerHeld> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(ty)?;
            let Kind::Modifier { to } = found.kind else {
                return None;
            };
            match found.name {
                "kptr" | "kptr_ref" => return Some(PointerHeld::Owned),
                "kptr_untrusted" => return Some(PointerHeld::Untrusted),
                "percpu_kptr" => return Some(PointerHeld::PerCpu),
                "uptr" => return Some(PointerHeld::User),
                _ => ty = to,
            }
        }
        None
    }
}
