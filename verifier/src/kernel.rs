//! Structures of the kernel: what is in them, and what a pointer that was read from one is worth
//! (kernel documentation, "BPF kernel functions", on trusted pointers).
//!
//! Types come from the BTF of the kernel that the program is for; where the user gave none, from
//! the object's own types, which describe the fields that it reads.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bpf::Program;
use bpf::btf::walk::{Loaded, NoLoad, Tag};
use bpf::btf::{Btf, Kind as TypeKind, TypeId};
use bpf::map::MapType;

use crate::domain::{Kind, Trust};

/// Members that are as good as the trusted structure which they are read from.
const TRUSTED: [(&str, &str); 1] = [("file", "f_inode")];
/// The same, or null.
const TRUSTED_OR_NULL: [(&str, &str); 2] = [("socket", "sk"), ("dentry", "d_inode")];
/// Members that RCU keeps.
const RCU: [(&str, &str); 7] = [
    ("task_struct", "cpus_ptr"),
    ("task_struct", "css_set"),
    ("task_struct", "real_parent"),
    ("task_struct", "group_leader"),
    ("cgroup", "kn"),
    ("css_set", "dfl_cgrp"),
    ("cgroup_subsys_state", "cgroup"),
];
/// The same, or null.
const RCU_OR_NULL: [(&str, &str); 3] = [
    ("mm_struct", "exe_file"),
    ("sk_buff", "sk"),
    ("request_sock", "sk"),
];

/// Structures that start with a `struct sock_common`.
const SOCKETS: [&str; 10] = [
    "sock_common",
    "sock",
    "inet_sock",
    "tcp_sock",
    "tcp6_sock",
    "udp6_sock",
    "unix_sock",
    "mptcp_sock",
    "tcp_timewait_sock",
    "tcp_request_sock",
];

/// Structures that maps may keep owned pointers to: the kernel knows how to release them.
const KEPT_IN_MAPS: [&str; 6] = [
    "prog_test_ref_kfunc",
    "prog_test_member",
    "cgroup",
    "bpf_cpumask",
    "task_struct",
    "bpf_crypto_ctx",
];
/// Those among them that RCU keeps once they are released.
const FREED_BY_RCU: [&str; 5] = [
    "prog_test_ref_kfunc",
    "cgroup",
    "bpf_cpumask",
    "task_struct",
    "bpf_crypto_ctx",
];

/// The kernel's structure of a map of this type.
pub(crate) fn map_structure(kind: MapType) -> &'static str {
    use MapType as M;
    match kind {
        M::Hash | M::PercpuHash | M::LruHash | M::LruPercpuHash | M::HashOfMaps => "bpf_htab",
        M::Array
        | M::PercpuArray
        | M::ProgArray
        | M::PerfEventArray
        | M::CgroupArray
        | M::ArrayOfMaps => "bpf_array",
        M::LpmTrie => "lpm_trie",
        M::Queue | M::Stack => "bpf_queue_stack",
        M::Ringbuf | M::UserRingbuf => "bpf_ringbuf_map",
        M::Devmap | M::DevmapHash => "bpf_dtab",
        M::Cpumap => "bpf_cpu_map",
        M::Xskmap => "xsk_map",
        M::Sockmap => "bpf_stab",
        M::Sockhash => "bpf_shtab",
        M::BloomFilter => "bpf_bloom_filter",
        M::SkStorage | M::TaskStorage | M::CgrpStorage => "bpf_local_storage_map",
        _ => "bpf_map",
    }
}

/// What programs of a packet hook may write: structure, and member, as a whole.
const WRITABLE: [(&str, &str); 2] = [("nf_conn", "mark"), ("nf_conn___init", "mark")];

/// Types of the kernel.
#[derive(Debug)]
pub(crate) struct KernelTypes<'p> {
    /// Whether they are those of a kernel, not what the object says of it.
    given: bool,
    types: Option<Btf<'p>>,
    named: RefCell<BTreeMap<String, Option<TypeId>>>,
}

impl<'p> KernelTypes<'p> {
    /// The types that a program needs: none if it `uses` no structure of the kernel.
    pub(crate) fn of(program: &'p Program, uses: bool) -> KernelTypes<'p> {
        let types = match program.kernel_btf.as_deref() {
            _ if !uses => None,
            Some(bytes) => Btf::parse(bytes).ok(),
            None => program.types(),
        };
        KernelTypes {
            given: program.kernel_btf.is_some(),
            types,
            named: RefCell::default(),
        }
    }

    fn types(&self) -> Option<&Btf<'p>> {
        self.types.as_ref()
    }

    /// Whether they are those of a kernel, not what the object says of it.
    pub(crate) fn is_given(&self) -> bool {
        self.given
    }

    /// The structure of this name.
    pub(crate) fn named(&self, name: &str) -> Option<TypeId> {
        if let Some(known) = self.named.borrow().get(name) {
            return *known;
        }
        let found = self.types().and_then(|types| types.structure(name));
        self.named.borrow_mut().insert(name.to_owned(), found);
        found
    }

    /// The name of a structure.
    pub(crate) fn name(&self, ty: TypeId) -> &'p str {
        let found = self.types().and_then(|types| types.get(ty));
        found.map_or("?", |ty| ty.name)
    }

    /// The structure with this id: the pointer that a cast to it gives.
    pub(crate) fn is_structure(&self, ty: TypeId) -> bool {
        let found = self.types().and_then(|types| types.get(ty));
        found.is_some_and(|ty| matches!(ty.kind, TypeKind::Composite { union: false, .. }))
    }

    /// Whether what lies at an offset of a structure is one of this name, or starts with it.
    pub(crate) fn starts_with(&self, ty: TypeId, offset: i64, name: &str) -> bool {
        let (Some(types), Ok(offset)) = (self.types(), u32::try_from(offset)) else {
            return false;
        };
        if offset == 0 && bare(self.name(ty)) == bare(name) {
            return self.name(ty) == name || !self.is_given() && !name.ends_with("___init");
        }
        self.named(name)
            .is_some_and(|wanted| types.starts_with(ty, offset, wanted))
    }

    /// Whether a structure is a socket that is seen as one of the kernel's.
    pub(crate) fn is_socket(&self, ty: TypeId, offset: i64) -> bool {
        offset == 0 && SOCKETS.contains(&bare(self.name(ty)))
            || self.starts_with(ty, offset, "sock_common")
    }

    /// What a load from a structure gives: `None` is a number. `trust` is what the pointer is
    /// worth; one that carries a reference is trusted.
    pub(crate) fn load(
        &self,
        ty: TypeId,
        trust: Trust,
        offset: i64,
        size: u8,
    ) -> Result<Option<Kind>, NoLoad> {
        let types = self.types().ok_or(NoLoad::Opaque)?;
        let Ok(offset) = u32::try_from(offset) else {
            return Err(NoLoad::Hole { offset: u32::MAX });
        };
        let Loaded::Pointer {
            to,
            member,
            tag,
            in_union,
        } = types.load(ty, offset, u32::from(size))?
        else {
            return Ok(None);
        };
        let named = |list: &[(&str, &str)]| list.contains(&(self.name(ty), member));
        let (trust, or_null) = match trust {
            Trust::Untrusted => (Trust::Untrusted, false),
            _ if matches!(tag, Some(Tag::User | Tag::PerCpu)) => (Trust::Foreign, false),
            _ if in_union => (Trust::Untrusted, false),
            Trust::Trusted | Trust::Rcu if named(&TRUSTED) => (Trust::Trusted, false),
            Trust::Trusted | Trust::Rcu if named(&TRUSTED_OR_NULL) => (Trust::Trusted, true),
            Trust::Trusted | Trust::Rcu if named(&RCU) => (Trust::Rcu, false),
            Trust::Trusted | Trust::Rcu if tag == Some(Tag::Rcu) || named(&RCU_OR_NULL) => {
                (Trust::Rcu, true)
            }
            Trust::Trusted | Trust::Rcu | Trust::Seen | Trust::Foreign => (Trust::Seen, false),
        };
        Ok(Some(Kind::Kernel {
            ty: to,
            trust,
            or_null,
        }))
    }

    /// Whether programs may write so much there.
    pub(crate) fn can_write(&self, ty: TypeId, offset: i64, size: u8) -> bool {
        let name = self.name(ty);
        let Some(types) = self.types() else {
            return false;
        };
        WRITABLE.iter().any(|(structure, member)| {
            *structure == name
                && types
                    .member_bytes(ty, member)
                    .is_some_and(|(start, bytes)| {
                        offset == i64::from(start) && u32::from(size) <= bytes
                    })
        })
    }
}

/// Whether a map may keep an owned pointer to a structure of this name; else it is one of the
/// program's own.
pub(crate) fn keeps(name: &str) -> bool {
    KEPT_IN_MAPS.contains(&name)
}

/// Whether RCU keeps a structure of this name that a map's value points to.
pub(crate) fn freed_by_rcu(name: &str) -> bool {
    FREED_BY_RCU.contains(&name)
}

/// A name without its flavour.
fn bare(name: &str) -> &str {
    name.split_once("___").map_or(name, |(bare, _)| bare)
}
