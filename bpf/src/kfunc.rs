//! Kernel functions (kfuncs) that XDP and tc programs may call, by name.
//!
//! In a kernel they are known by ids of its BTF; here, where there may be none, a linked program
//! names one by its place in [`KFUNCS`]. Their prototypes are those of helpers. Sources: the
//! kernel documentation ("BPF kernel functions"), and Linux 6.18 itself, which was asked what it
//! accepts.

use isa::ebpf::CallTarget;

use crate::btf::{Btf, Kind, TypeId};
use crate::helper::{Arg, Graph, Hold, Kept, LocalArg, LocalReturn, Prototype, Return};

/// [`Prototype::id`] of the first one; the numbers of helpers are below.
pub const BASE: u32 = 1 << 16;

const fn kfunc<const N: usize>(
    id: u32,
    name: &'static str,
    given: [Arg; N],
    ret: Return,
) -> Prototype {
    let mut args = [Arg::None; 5];
    let mut i = 0;
    while i < N {
        args[i] = given[i];
        i += 1;
    }
    Prototype {
        id: BASE + id,
        name,
        args,
        ret,
        xdp: true,
        tc: true,
        gpl_only: true,
        changes_packet: false,
        packet_args: true,
        modelled: true,
    }
}

impl Prototype {
    const fn of_xdp(self) -> Prototype {
        Prototype { tc: false, ..self }
    }

    const fn of_tc(self) -> Prototype {
        Prototype { xdp: false, ..self }
    }

    const fn moves_packet(self) -> Prototype {
        Prototype {
            changes_packet: true,
            ..self
        }
    }

    /// Known by name, so that the verdict can say what is missing.
    const fn named_only(self) -> Prototype {
        Prototype {
            modelled: false,
            ..self
        }
    }
}

/// `bpf_iter_num_new`.
pub const ITER_NUM_NEW: u32 = BASE;
/// `bpf_iter_num_next`.
pub const ITER_NUM_NEXT: u32 = BASE + 1;
/// `bpf_iter_num_destroy`.
pub const ITER_NUM_DESTROY: u32 = BASE + 2;
/// `bpf_rcu_read_lock`.
pub const RCU_READ_LOCK: u32 = BASE + 3;
/// `bpf_rcu_read_unlock`.
pub const RCU_READ_UNLOCK: u32 = BASE + 4;
/// `bpf_preempt_disable`.
pub const PREEMPT_DISABLE: u32 = BASE + 5;
/// `bpf_preempt_enable`.
pub const PREEMPT_ENABLE: u32 = BASE + 6;
/// `bpf_throw`.
pub const THROW: u32 = BASE + 7;
/// `bpf_local_irq_save`.
pub const LOCAL_IRQ_SAVE: u32 = BASE + 8;
/// `bpf_local_irq_restore`.
pub const LOCAL_IRQ_RESTORE: u32 = BASE + 9;
/// `bpf_dynptr_from_skb`.
pub const DYNPTR_FROM_SKB: u32 = BASE + 10;
/// `bpf_dynptr_from_xdp`.
pub const DYNPTR_FROM_XDP: u32 = BASE + 11;
/// `bpf_dynptr_slice`.
pub const DYNPTR_SLICE: u32 = BASE + 12;
/// `bpf_dynptr_slice_rdwr`.
pub const DYNPTR_SLICE_RDWR: u32 = BASE + 13;
/// `bpf_dynptr_adjust`.
pub const DYNPTR_ADJUST: u32 = BASE + 14;
/// `bpf_dynptr_is_null`.
pub const DYNPTR_IS_NULL: u32 = BASE + 15;
/// `bpf_dynptr_is_rdonly`.
pub const DYNPTR_IS_RDONLY: u32 = BASE + 16;
/// `bpf_dynptr_size`.
pub const DYNPTR_SIZE: u32 = BASE + 17;
/// `bpf_dynptr_clone`.
pub const DYNPTR_CLONE: u32 = BASE + 18;

/// `bpf_xdp_metadata_rx_timestamp`, the first of those on what a device tells of a packet.
pub const METADATA_RX_TIMESTAMP: u32 = BASE + 21;
/// `bpf_xdp_metadata_rx_vlan_tag`, the last of those.
pub const METADATA_RX_VLAN_TAG: u32 = BASE + 23;

/// `bpf_obj_new_impl`.
pub const OBJ_NEW: u32 = BASE + 24;
/// `bpf_refcount_acquire_impl`.
pub const REFCOUNT_ACQUIRE: u32 = BASE + 26;
/// `bpf_list_push_front_impl`, the first of those on lists and trees.
pub const LIST_PUSH_FRONT: u32 = BASE + 27;
/// `bpf_rbtree_add_impl`.
pub const RBTREE_ADD: u32 = BASE + 33;
/// `bpf_rbtree_remove`.
pub const RBTREE_REMOVE: u32 = BASE + 34;
/// `bpf_rbtree_right`, the last of those on lists and trees.
pub const RBTREE_RIGHT: u32 = BASE + 38;

/// `bpf_dynptr_from_skb_meta`.
pub const DYNPTR_FROM_SKB_META: u32 = BASE + 51;

/// The functions; a linked program's call names one by its index.
#[rustfmt::skip]
pub static KFUNCS: [Prototype; 93] = {
    use Arg::{Address, Anything, ConstMap, Ctx, Dynptr, DynptrOrNull, EndIterator, FixedMemRw, Function, InterruptState, Iterator, Kernel, KernelType, Local, MemRwOrNull, NewDynptr, NewInterruptState, NewIterator, Scalar as Number, Scratch, ScratchSize, SizeOrZero};
    use Graph::{List, Tree};
    use Hold::{Rcu, Released, Trusted};
    use Kept::Acquired;
    use LocalArg::{Counted, NewNode, Owned, Root, TreeNode, Type};
    use LocalReturn::{Again, New, Seen, Taken};
    use Return::{IteratorNext, Kernel as Structure, KernelContext, Local as Object, ReadOnlyCast, Scalar, SliceOrNull, Void};
    [
        kfunc(0, "bpf_iter_num_new", [NewIterator, Number, Number], Scalar),
        kfunc(1, "bpf_iter_num_next", [Iterator], IteratorNext),
        kfunc(2, "bpf_iter_num_destroy", [EndIterator], Void),
        kfunc(3, "bpf_rcu_read_lock", [], Void),
        kfunc(4, "bpf_rcu_read_unlock", [], Void),
        kfunc(5, "bpf_preempt_disable", [], Void),
        kfunc(6, "bpf_preempt_enable", [], Void),
        kfunc(7, "bpf_throw", [Number], Void),
        kfunc(8, "bpf_local_irq_save", [NewInterruptState], Void),
        kfunc(9, "bpf_local_irq_restore", [InterruptState], Void),
        kfunc(10, "bpf_dynptr_from_skb", [Ctx, Number, NewDynptr], Scalar).of_tc(),
        kfunc(11, "bpf_dynptr_from_xdp", [Ctx, Number, NewDynptr], Scalar).of_xdp(),
        kfunc(12, "bpf_dynptr_slice", [Dynptr, Number, Scratch, ScratchSize], SliceOrNull),
        kfunc(13, "bpf_dynptr_slice_rdwr", [Dynptr, Number, Scratch, ScratchSize], SliceOrNull),
        kfunc(14, "bpf_dynptr_adjust", [Dynptr, Number, Number], Scalar),
        kfunc(15, "bpf_dynptr_is_null", [Dynptr], Scalar),
        kfunc(16, "bpf_dynptr_is_rdonly", [Dynptr], Scalar),
        kfunc(17, "bpf_dynptr_size", [Dynptr], Scalar),
        kfunc(18, "bpf_dynptr_clone", [Dynptr, NewDynptr], Scalar),
        kfunc(19, "bpf_dynptr_copy", [Dynptr, Number, Dynptr, Number, Number], Scalar),
        kfunc(20, "bpf_dynptr_memset", [Dynptr, Number, Number, Number], Scalar),
        kfunc(21, "bpf_xdp_metadata_rx_timestamp", [Ctx, FixedMemRw(8)], Scalar).of_xdp(),
        kfunc(22, "bpf_xdp_metadata_rx_hash", [Ctx, FixedMemRw(4), FixedMemRw(4)], Scalar).of_xdp(),
        kfunc(23, "bpf_xdp_metadata_rx_vlan_tag", [Ctx, FixedMemRw(2), FixedMemRw(2)], Scalar).of_xdp(),
        kfunc(24, "bpf_obj_new_impl", [Local(Type), Anything], Object(New)),
        kfunc(25, "bpf_obj_drop_impl", [Local(Owned), Anything], Void),
        kfunc(26, "bpf_refcount_acquire_impl", [Local(Counted), Anything], Object(Again)),
        kfunc(27, "bpf_list_push_front_impl", [Local(Root(List)), Local(NewNode(List)), Anything, Anything], Scalar),
        kfunc(28, "bpf_list_push_back_impl", [Local(Root(List)), Local(NewNode(List)), Anything, Anything], Scalar),
        kfunc(29, "bpf_list_pop_front", [Local(Root(List))], Object(Taken)),
        kfunc(30, "bpf_list_pop_back", [Local(Root(List))], Object(Taken)),
        kfunc(31, "bpf_list_front", [Local(Root(List))], Object(Seen)),
        kfunc(32, "bpf_list_back", [Local(Root(List))], Object(Seen)),
        kfunc(33, "bpf_rbtree_add_impl", [Local(Root(Tree)), Local(NewNode(Tree)), Function, Anything, Anything], Scalar),
        kfunc(34, "bpf_rbtree_remove", [Local(Root(Tree)), Local(TreeNode)], Object(Taken)),
        kfunc(35, "bpf_rbtree_first", [Local(Root(Tree))], Object(Seen)),
        kfunc(36, "bpf_rbtree_root", [Local(Root(Tree))], Object(Seen)),
        kfunc(37, "bpf_rbtree_left", [Local(Root(Tree)), Local(TreeNode)], Object(Seen)),
        kfunc(38, "bpf_rbtree_right", [Local(Root(Tree)), Local(TreeNode)], Object(Seen)),
        kfunc(39, "bpf_percpu_obj_new_impl", [Number, Anything], Scalar).named_only(),
        kfunc(40, "bpf_percpu_obj_drop_impl", [Anything, Anything], Void).named_only(),
        kfunc(41, "bpf_cast_to_kern_ctx", [Ctx], KernelContext),
        kfunc(42, "bpf_rdonly_cast", [Address, KernelType], ReadOnlyCast),
        kfunc(43, "bpf_skb_set_fou_encap", [Ctx, FixedMemRw(4), Number], Scalar).of_tc(),
        kfunc(44, "bpf_skb_get_fou_encap", [Ctx, FixedMemRw(4)], Scalar).of_tc(),
        kfunc(45, "bpf_sk_assign_tcp_reqsk", [Ctx, Kernel("sock", Trusted), MemRwOrNull, SizeOrZero], Scalar).of_tc(),
        kfunc(46, "bpf_xdp_ct_lookup", [Ctx, MemRwOrNull, SizeOrZero, MemRwOrNull, SizeOrZero], Structure("nf_conn", Acquired)).of_xdp(),
        kfunc(47, "bpf_skb_ct_lookup", [Ctx, MemRwOrNull, SizeOrZero, MemRwOrNull, SizeOrZero], Structure("nf_conn", Acquired)).of_tc(),
        kfunc(48, "bpf_wq_init", [Anything, Anything, Number], Scalar).named_only(),
        kfunc(49, "bpf_wq_start", [Anything, Number], Scalar).named_only(),
        kfunc(50, "bpf_wq_set_callback_impl", [Anything, Anything, Number, Anything], Scalar).named_only(),
        kfunc(51, "bpf_dynptr_from_skb_meta", [Ctx, Number, NewDynptr], Scalar).of_tc(),
        kfunc(52, "bpf_xdp_ct_alloc", [Ctx, MemRwOrNull, SizeOrZero, MemRwOrNull, SizeOrZero], Structure("nf_conn___init", Acquired)).of_xdp(),
        kfunc(53, "bpf_skb_ct_alloc", [Ctx, MemRwOrNull, SizeOrZero, MemRwOrNull, SizeOrZero], Structure("nf_conn___init", Acquired)).of_tc(),
        kfunc(54, "bpf_ct_insert_entry", [Kernel("nf_conn___init", Released)], Structure("nf_conn", Acquired)),
        kfunc(55, "bpf_ct_release", [Kernel("nf_conn", Released)], Void),
        kfunc(56, "bpf_ct_set_timeout", [Kernel("nf_conn___init", Trusted), Number], Void),
        kfunc(57, "bpf_ct_change_timeout", [Kernel("nf_conn", Trusted), Number], Scalar),
        kfunc(58, "bpf_ct_set_status", [Kernel("nf_conn___init", Trusted), Number], Scalar),
        kfunc(59, "bpf_ct_change_status", [Kernel("nf_conn", Trusted), Number], Scalar),
        kfunc(60, "bpf_ct_set_nat_info", [Kernel("nf_conn___init", Trusted), FixedMemRw(16), Number, Number], Scalar),
        kfunc(61, "bpf_crypto_encrypt", [Kernel("bpf_crypto_ctx", Rcu), Dynptr, Dynptr, DynptrOrNull], Scalar),
        kfunc(62, "bpf_crypto_decrypt", [Kernel("bpf_crypto_ctx", Rcu), Dynptr, Dynptr, DynptrOrNull], Scalar),
        kfunc(63, "bpf_xdp_get_xfrm_state", [Ctx, MemRwOrNull, SizeOrZero], Structure("xfrm_state", Acquired)).of_xdp(),
        kfunc(64, "bpf_xdp_xfrm_state_release", [Kernel("xfrm_state", Released)], Void).of_xdp(),
        kfunc(65, "bpf_xdp_pull_data", [Ctx, Number], Scalar).of_xdp().moves_packet(),
        kfunc(66, "bpf_kfunc_call_test_release", [Kernel("prog_test_ref_kfunc", Released)], Void).of_tc(),
        kfunc(67, "bpf_kfunc_call_memb_release", [Kernel("prog_test_member", Released)], Void).of_tc(),
        kfunc(68, "bpf_task_acquire", [Kernel("task_struct", Rcu)], Structure("task_struct", Acquired)),
        kfunc(69, "bpf_task_release", [Kernel("task_struct", Released)], Void),
        kfunc(70, "bpf_task_from_pid", [Number], Structure("task_struct", Acquired)),
        kfunc(71, "bpf_task_from_vpid", [Number], Structure("task_struct", Acquired)),
        kfunc(72, "bpf_task_under_cgroup", [Kernel("task_struct", Rcu), Kernel("cgroup", Rcu)], Scalar),
        kfunc(73, "bpf_task_get_cgroup1", [Kernel("task_struct", Rcu), Number], Structure("cgroup", Acquired)),
        kfunc(74, "bpf_cgroup_acquire", [Kernel("cgroup", Rcu)], Structure("cgroup", Acquired)),
        kfunc(75, "bpf_cgroup_release", [Kernel("cgroup", Released)], Void),
        kfunc(76, "bpf_cgroup_ancestor", [Kernel("cgroup", Rcu), Number], Structure("cgroup", Acquired)),
        kfunc(77, "bpf_cgroup_from_id", [Number], Structure("cgroup", Acquired)),
        kfunc(78, "bpf_lookup_system_key", [Number], Structure("bpf_key", Acquired)),
        kfunc(79, "bpf_key_put", [Kernel("bpf_key", Released)], Void),
        kfunc(80, "bpf_map_sum_elem_count", [ConstMap], Scalar).named_only(),
        kfunc(81, "bpf_strlen", [Address], Scalar),
        kfunc(82, "bpf_strnlen", [Address, Number], Scalar),
        kfunc(83, "bpf_strcmp", [Address, Address], Scalar),
        kfunc(84, "bpf_strcasecmp", [Address, Address], Scalar),
        kfunc(85, "bpf_strchr", [Address, Number], Scalar),
        kfunc(86, "bpf_strchrnul", [Address, Number], Scalar),
        kfunc(87, "bpf_strnchr", [Address, Number, Number], Scalar),
        kfunc(88, "bpf_strrchr", [Address, Number], Scalar),
        kfunc(89, "bpf_strstr", [Address, Address], Scalar),
        kfunc(90, "bpf_strnstr", [Address, Address, Number], Scalar),
        kfunc(91, "bpf_strspn", [Address, Address], Scalar),
        kfunc(92, "bpf_strcspn", [Address, Address], Scalar),
    ]
};

/// The function with this index in [`KFUNCS`].
///
/// ```
/// assert_eq!(bpf::kfunc::prototype(1).map(|p| p.name), Some("bpf_iter_num_next"));
/// assert_eq!(bpf::kfunc::prototype(-1), None);
/// ```
pub fn prototype(id: i32) -> Option<&'static Prototype> {
    KFUNCS.get(usize::try_from(id).ok()?)
}

/// What a call calls, as one number for helpers and kernel functions alike: a helper's id, or the
/// [`Prototype::id`] of a known kernel function. `None` for functions of the program.
pub fn callee(target: CallTarget) -> Option<u32> {
    match target {
        CallTarget::Helper(id) => Some(id),
        CallTarget::Kfunc { id, module: 0 } => prototype(id).map(|k| k.id),
        CallTarget::Kfunc { .. } | CallTarget::Local { .. } | CallTarget::Reg(_) => None,
    }
}

/// The prototype of a [`callee`] that is a kernel function.
pub fn of_callee(callee: u32) -> Option<&'static Prototype> {
    KFUNCS.get(callee.checked_sub(BASE)? as usize)
}

/// The index of the function with this name. What follows three underscores in a row is a
/// flavour and does not count, as in libbpf.
pub fn id_by_name(name: &str) -> Option<i32> {
    let name = name.split_once("___").map_or(name, |(name, _)| name);
    let at = KFUNCS.iter().position(|k| k.name == name)?;
    i32::try_from(at).ok()
}

/// The ids that the functions have in a kernel's BTF, by their index in [`KFUNCS`]; `None` for
/// those that the kernel does not have.
pub fn ids_in(kernel: &Btf<'_>) -> Vec<Option<TypeId>> {
    let mut ids = vec![None; KFUNCS.len()];
    for (id, ty) in kernel.iter() {
        if matches!(ty.kind, Kind::Function { .. })
            && let Some(at) = KFUNCS.iter().position(|k| k.name == ty.name)
            && let Some(found) = ids.get_mut(at)
        {
            *found = Some(id);
        }
    }
    ids
}
