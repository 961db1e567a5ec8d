//! The one table of helper prototypes.
//!
//! Sources: linux/bpf.h for ids and the order of arguments; which types and hooks the kernel
//! takes was asked of Linux 6.18 itself (`tests/prototypes_vs_kernel.rs`).

use super::prototype::{Arg, Hold, Kept, Prototype, Return};
use crate::Hook;
use crate::context::SocketKind;

/// How many ids there are, counting 0, which is none.
const IDS: usize = 212;

/// One row: XDP and tc may call it, no licence needed, packet stays, no packet memory.
const fn helper<const N: usize>(
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
        id,
        name,
        args,
        ret,
        xdp: true,
        tc: true,
        gpl_only: false,
        changes_packet: false,
        packet_args: false,
        modelled: true,
    }
}

impl Prototype {
    /// Reserved for GPL-compatible programs.
    const fn gpl(self) -> Prototype {
        Prototype {
            gpl_only: true,
            ..self
        }
    }

    /// For XDP programs only.
    const fn only_xdp(self) -> Prototype {
        Prototype { tc: false, ..self }
    }

    /// For tc programs only.
    const fn only_tc(self) -> Prototype {
        Prototype { xdp: false, ..self }
    }

    /// Moves the packet.
    const fn moves(self) -> Prototype {
        Prototype {
            changes_packet: true,
            ..self
        }
    }

    /// Takes packet memory.
    const fn packet(self) -> Prototype {
        Prototype {
            packet_args: true,
            ..self
        }
    }

    /// Known, but without a body here.
    const fn later(self) -> Prototype {
        Prototype {
            modelled: false,
            ..self
        }
    }
}

/// All helpers that are known by type, by ascending id.
#[rustfmt::skip]
pub static PROTOTYPES: [Prototype; 143] = {
    use Arg::{AcquiredSocket, AlignedOut, Anything, ConstAllocSize, ConstMap, ConstStr, Ctx, CtxOrNull, Dynptr, DynptrMem, FixedMem, Function, MapKey, MapValue, Mem, MemOrNull, MemRw, NewDynptr, RecordDynptr, RingbufRecord, Size, SizeOrZero, Socket, SpinLock, StackOrNull, Timer, UninitMapValue, UninitMem};
    use Return::{AcquiredSocketOrNull, MapValueOrNull, RingbufRecordOrNull, SameSocketOrNull, Scalar, SliceOrNull, SocketOrNull, Void};
    [
        helper(1, "bpf_map_lookup_elem", [ConstMap, MapKey], MapValueOrNull).packet(),
        helper(2, "bpf_map_update_elem", [ConstMap, MapKey, MapValue, Anything], Scalar).packet(),
        helper(3, "bpf_map_delete_elem", [ConstMap, MapKey], Scalar).packet(),
        helper(5, "bpf_ktime_get_ns", [], Scalar),
        helper(6, "bpf_trace_printk", [Mem, Size], Scalar).gpl(),
        helper(7, "bpf_get_prandom_u32", [], Scalar),
        helper(8, "bpf_get_smp_processor_id", [], Scalar),
        helper(9, "bpf_skb_store_bytes", [Ctx, Anything, Mem, Size, Anything], Scalar).only_tc().moves(),
        helper(10, "bpf_l3_csum_replace", [Ctx, Anything, Anything, Anything, Anything], Scalar).only_tc().moves(),
        helper(11, "bpf_l4_csum_replace", [Ctx, Anything, Anything, Anything, Anything], Scalar).only_tc().moves(),
        helper(12, "bpf_tail_call", [Ctx, ConstMap, Anything], Void),
        helper(13, "bpf_clone_redirect", [Ctx, Anything, Anything], Scalar).only_tc().moves(),
        helper(14, "bpf_get_current_pid_tgid", [], Scalar).later(),
        helper(15, "bpf_get_current_uid_gid", [], Scalar).later(),
        helper(16, "bpf_get_current_comm", [UninitMem, Size], Scalar).later(),
        helper(17, "bpf_get_cgroup_classid", [Ctx], Scalar),
        helper(18, "bpf_skb_vlan_push", [Ctx, Anything, Anything], Scalar).only_tc().moves(),
        helper(19, "bpf_skb_vlan_pop", [Ctx], Scalar).only_tc().moves(),
        helper(20, "bpf_skb_get_tunnel_key", [Ctx, UninitMem, Size, Anything], Scalar).only_tc(),
        helper(21, "bpf_skb_set_tunnel_key", [Ctx, Mem, Size, Anything], Scalar).only_tc(),
        helper(22, "bpf_perf_event_read", [ConstMap, Anything], Scalar).gpl().later(),
        helper(23, "bpf_redirect", [Anything, Anything], Scalar),
        helper(24, "bpf_get_route_realm", [Ctx], Scalar).only_tc(),
        helper(25, "bpf_perf_event_output", [Ctx, ConstMap, Anything, Mem, SizeOrZero], Scalar).gpl(),
        helper(26, "bpf_skb_load_bytes", [Ctx, Anything, UninitMem, Size], Scalar).only_tc(),
        helper(28, "bpf_csum_diff", [MemOrNull, SizeOrZero, MemOrNull, SizeOrZero, Anything], Scalar).packet(),
        helper(29, "bpf_skb_get_tunnel_opt", [Ctx, UninitMem, Size], Scalar).only_tc(),
        helper(30, "bpf_skb_set_tunnel_opt", [Ctx, Mem, Size], Scalar).only_tc(),
        helper(31, "bpf_skb_change_proto", [Ctx, Anything, Anything], Scalar).only_tc().moves(),
        helper(32, "bpf_skb_change_type", [Ctx, Anything], Scalar).only_tc(),
        helper(33, "bpf_skb_under_cgroup", [Ctx, ConstMap, Anything], Scalar).only_tc().later(),
        helper(34, "bpf_get_hash_recalc", [Ctx], Scalar).only_tc(),
        helper(35, "bpf_get_current_task", [], Scalar).gpl().later(),
        helper(37, "bpf_current_task_under_cgroup", [ConstMap, Anything], Scalar).later(),
        helper(38, "bpf_skb_change_tail", [Ctx, Anything, Anything], Scalar).only_tc().moves(),
        helper(39, "bpf_skb_pull_data", [Ctx, Anything], Scalar).only_tc().moves(),
        helper(40, "bpf_csum_update", [Ctx, Anything], Scalar).only_tc(),
        helper(41, "bpf_set_hash_invalid", [Ctx], Scalar).only_tc(),
        helper(42, "bpf_get_numa_node_id", [], Scalar),
        helper(43, "bpf_skb_change_head", [Ctx, Anything, Anything], Scalar).only_tc().moves(),
        helper(44, "bpf_xdp_adjust_head", [Ctx, Anything], Scalar).only_xdp().moves(),
        helper(46, "bpf_get_socket_cookie", [Ctx], Scalar).only_tc(),
        helper(47, "bpf_get_socket_uid", [Ctx], Scalar).only_tc(),
        helper(48, "bpf_set_hash", [Ctx, Anything], Scalar).only_tc(),
        helper(50, "bpf_skb_adjust_room", [Ctx, Anything, Anything, Anything], Scalar).only_tc().moves(),
        helper(51, "bpf_redirect_map", [ConstMap, Anything, Anything], Scalar).only_xdp(),
        helper(54, "bpf_xdp_adjust_meta", [Ctx, Anything], Scalar).only_xdp().moves(),
        helper(55, "bpf_perf_event_read_value", [ConstMap, Anything, UninitMem, Size], Scalar).gpl().later(),
        helper(65, "bpf_xdp_adjust_tail", [Ctx, Anything], Scalar).only_xdp().moves(),
        helper(66, "bpf_skb_get_xfrm_state", [Ctx, Anything, UninitMem, Size, Anything], Scalar).only_tc(),
        helper(68, "bpf_skb_load_bytes_relative", [Ctx, Anything, UninitMem, Size, Anything], Scalar).only_tc(),
        helper(69, "bpf_fib_lookup", [Ctx, MemRw, Size, Anything], Scalar).gpl(),
        helper(79, "bpf_skb_cgroup_id", [Ctx], Scalar).only_tc(),
        helper(80, "bpf_get_current_cgroup_id", [], Scalar).later(),
        helper(83, "bpf_skb_ancestor_cgroup_id", [Ctx, Anything], Scalar).only_tc(),
        helper(84, "bpf_sk_lookup_tcp", [Ctx, Mem, SizeOrZero, Anything, Anything], AcquiredSocketOrNull(SocketKind::Full)).packet(),
        helper(85, "bpf_sk_lookup_udp", [Ctx, Mem, SizeOrZero, Anything, Anything], AcquiredSocketOrNull(SocketKind::Full)).packet(),
        helper(86, "bpf_sk_release", [AcquiredSocket], Scalar),
        helper(87, "bpf_map_push_elem", [ConstMap, MapValue, Anything], Scalar).packet(),
        helper(88, "bpf_map_pop_elem", [ConstMap, UninitMapValue], Scalar),
        helper(89, "bpf_map_peek_elem", [ConstMap, UninitMapValue], Scalar),
        helper(93, "bpf_spin_lock", [SpinLock], Void),
        helper(94, "bpf_spin_unlock", [SpinLock], Void),
        helper(95, "bpf_sk_fullsock", [Socket], SameSocketOrNull(SocketKind::Full)).only_tc(),
        helper(96, "bpf_tcp_sock", [Socket], SameSocketOrNull(SocketKind::Tcp)).only_tc(),
        helper(97, "bpf_skb_ecn_set_ce", [Ctx], Scalar).only_tc(),
        helper(98, "bpf_get_listener_sock", [Socket], SocketOrNull(SocketKind::Full)).only_tc(),
        helper(99, "bpf_skc_lookup_tcp", [Ctx, Mem, SizeOrZero, Anything, Anything], AcquiredSocketOrNull(SocketKind::Common)).packet(),
        helper(100, "bpf_tcp_check_syncookie", [Socket, Mem, Size, Mem, Size], Scalar).packet().gpl(),
        helper(105, "bpf_strtol", [Mem, Size, Anything, AlignedOut(8)], Scalar),
        helper(106, "bpf_strtoul", [Mem, Size, Anything, AlignedOut(8)], Scalar),
        helper(107, "bpf_sk_storage_get", [ConstMap, Socket, Arg::MapValueOrNull, Anything], MapValueOrNull).only_tc().later(),
        helper(108, "bpf_sk_storage_delete", [ConstMap, Socket], Scalar).only_tc().later(),
        helper(109, "bpf_send_signal", [Anything], Scalar).later(),
        helper(110, "bpf_tcp_gen_syncookie", [Socket, Mem, Size, Mem, Size], Scalar).packet().gpl(),
        helper(112, "bpf_probe_read_user", [UninitMem, SizeOrZero, Anything], Scalar).gpl().later(),
        helper(113, "bpf_probe_read_kernel", [UninitMem, SizeOrZero, Anything], Scalar).gpl().later(),
        helper(114, "bpf_probe_read_user_str", [UninitMem, SizeOrZero, Anything], Scalar).gpl().later(),
        helper(115, "bpf_probe_read_kernel_str", [UninitMem, SizeOrZero, Anything], Scalar).gpl().later(),
        helper(117, "bpf_send_signal_thread", [Anything], Scalar).later(),
        helper(118, "bpf_jiffies64", [], Scalar),
        helper(120, "bpf_get_ns_current_pid_tgid", [Anything, Anything, UninitMem, Size], Scalar).later(),
        helper(122, "bpf_get_netns_cookie", [CtxOrNull], Scalar).only_tc().later(),
        helper(123, "bpf_get_current_ancestor_cgroup_id", [Anything], Scalar).later(),
        helper(124, "bpf_sk_assign", [Ctx, Socket, Anything], Scalar).only_tc(),
        helper(125, "bpf_ktime_get_boot_ns", [], Scalar),
        helper(130, "bpf_ringbuf_output", [ConstMap, Mem, SizeOrZero, Anything], Scalar),
        helper(131, "bpf_ringbuf_reserve", [ConstMap, ConstAllocSize, Anything], RingbufRecordOrNull),
        helper(132, "bpf_ringbuf_submit", [RingbufRecord, Anything], Void),
        helper(133, "bpf_ringbuf_discard", [RingbufRecord, Anything], Void),
        helper(134, "bpf_ringbuf_query", [ConstMap, Anything], Scalar),
        helper(135, "bpf_csum_level", [Ctx, Anything], Scalar).only_tc(),
        helper(136, "bpf_skc_to_tcp6_sock", [Socket], Return::Kernel("tcp6_sock", Kept::Seen)).later(),
        helper(137, "bpf_skc_to_tcp_sock", [Socket], Return::Kernel("tcp_sock", Kept::Seen)).later(),
        helper(138, "bpf_skc_to_tcp_timewait_sock", [Socket], Return::Kernel("tcp_timewait_sock", Kept::Seen)).later(),
        helper(139, "bpf_skc_to_tcp_request_sock", [Socket], Return::Kernel("tcp_request_sock", Kept::Seen)).later(),
        helper(140, "bpf_skc_to_udp6_sock", [Socket], Return::Kernel("udp6_sock", Kept::Seen)).later(),
        helper(141, "bpf_get_task_stack", [Arg::Kernel("task_struct", Hold::Seen), UninitMem, SizeOrZero, Anything], Scalar).later(),
        helper(149, "bpf_snprintf_btf", [MemRw, Size, Mem, Size, Anything], Scalar).later(),
        helper(151, "bpf_skb_cgroup_classid", [Ctx], Scalar).only_tc(),
        helper(152, "bpf_redirect_neigh", [Anything, MemOrNull, SizeOrZero, Anything], Scalar).only_tc(),
        helper(153, "bpf_per_cpu_ptr", [Arg::Kernel("percpu_variable", Hold::Seen), Anything], Return::Kernel("percpu_variable", Kept::Seen)).later(),
        helper(154, "bpf_this_cpu_ptr", [Arg::Kernel("percpu_variable", Hold::Seen)], Return::Kernel("percpu_variable", Kept::Seen)).later(),
        helper(155, "bpf_redirect_peer", [Anything, Anything], Scalar).only_tc(),
        helper(156, "bpf_task_storage_get", [ConstMap, Arg::Kernel("task_struct", Hold::Seen), Arg::MapValueOrNull, Anything], MapValueOrNull).later(),
        helper(157, "bpf_task_storage_delete", [ConstMap, Arg::Kernel("task_struct", Hold::Seen)], Scalar).later(),
        helper(158, "bpf_get_current_task_btf", [], Return::Kernel("task_struct", Kept::Trusted)).gpl().later(),
        helper(160, "bpf_ktime_get_coarse_ns", [], Scalar),
        helper(163, "bpf_check_mtu", [Ctx, Anything, AlignedOut(4), Anything, Anything], Scalar).gpl(),
        helper(164, "bpf_for_each_map_elem", [ConstMap, Function, StackOrNull, Anything], Scalar),
        helper(165, "bpf_snprintf", [UninitMem, SizeOrZero, ConstStr, MemOrNull, SizeOrZero], Scalar).gpl(),
        helper(169, "bpf_timer_init", [Timer, ConstMap, Anything], Scalar).gpl().later(),
        helper(170, "bpf_timer_set_callback", [Timer, Function], Scalar).gpl().later(),
        helper(171, "bpf_timer_start", [Timer, Anything, Anything], Scalar).gpl().later(),
        helper(172, "bpf_timer_cancel", [Timer], Scalar).gpl().later(),
        helper(175, "bpf_task_pt_regs", [Arg::Kernel("task_struct", Hold::Seen)], Return::Kernel("pt_regs", Kept::Trusted)).gpl().later(),
        helper(176, "bpf_get_branch_snapshot", [UninitMem, SizeOrZero, Anything], Scalar).gpl().later(),
        helper(177, "bpf_trace_vprintk", [Mem, Size, MemOrNull, SizeOrZero], Scalar).gpl(),
        helper(178, "bpf_skc_to_unix_sock", [Socket], Return::Kernel("unix_sock", Kept::Seen)).later(),
        helper(181, "bpf_loop", [Anything, Function, StackOrNull, Anything], Scalar),
        helper(182, "bpf_strncmp", [Mem, Size, ConstStr], Scalar),
        helper(188, "bpf_xdp_get_buff_len", [Ctx], Scalar).only_xdp(),
        helper(189, "bpf_xdp_load_bytes", [Ctx, Anything, UninitMem, Size], Scalar).only_xdp(),
        helper(190, "bpf_xdp_store_bytes", [Ctx, Anything, Mem, Size], Scalar).only_xdp(),
        helper(192, "bpf_skb_set_tstamp", [Ctx, Anything, Anything], Scalar).only_tc(),
        helper(194, "bpf_kptr_xchg", [Arg::PointerField, Arg::PointerGiven], Return::PointerTaken).later(),
        helper(195, "bpf_map_lookup_percpu_elem", [ConstMap, MapKey, Anything], MapValueOrNull).packet(),
        helper(196, "bpf_skc_to_mptcp_sock", [Socket], Return::Kernel("mptcp_sock", Kept::Seen)).later(),
        helper(197, "bpf_dynptr_from_mem", [DynptrMem, SizeOrZero, Anything, NewDynptr], Scalar),
        helper(198, "bpf_ringbuf_reserve_dynptr", [ConstMap, Anything, Anything, NewDynptr], Scalar),
        helper(199, "bpf_ringbuf_submit_dynptr", [RecordDynptr, Anything], Void),
        helper(200, "bpf_ringbuf_discard_dynptr", [RecordDynptr, Anything], Void),
        helper(201, "bpf_dynptr_read", [UninitMem, SizeOrZero, Dynptr, Anything, Anything], Scalar),
        helper(202, "bpf_dynptr_write", [Dynptr, Anything, Mem, SizeOrZero, Anything], Scalar),
        helper(203, "bpf_dynptr_data", [Dynptr, Anything, ConstAllocSize], SliceOrNull),
        helper(204, "bpf_tcp_raw_gen_syncookie_ipv4", [FixedMem(20), Mem, SizeOrZero], Scalar).packet().gpl(),
        helper(205, "bpf_tcp_raw_gen_syncookie_ipv6", [FixedMem(40), Mem, SizeOrZero], Scalar).packet().gpl(),
        helper(206, "bpf_tcp_raw_check_syncookie_ipv4", [FixedMem(20), FixedMem(20)], Scalar).packet().gpl(),
        helper(207, "bpf_tcp_raw_check_syncookie_ipv6", [FixedMem(40), FixedMem(20)], Scalar).packet().gpl(),
        helper(208, "bpf_ktime_get_tai_ns", [], Scalar),
        helper(209, "bpf_user_ringbuf_drain", [ConstMap, Function, StackOrNull, Anything], Scalar).later(),
        helper(210, "bpf_cgrp_storage_get", [ConstMap, Arg::Kernel("cgroup", Hold::Seen), Arg::MapValueOrNull, Anything], MapValueOrNull).later(),
        helper(211, "bpf_cgrp_storage_delete", [ConstMap, Arg::Kernel("cgroup", Hold::Seen)], Scalar).later(),
    ]
};

/// For each id its place in [`PROTOTYPES`] plus one; 0 where there is none.
static PLACES: [u8; IDS] = {
    let mut places = [0; IDS];
    let mut i = 0;
    while i < PROTOTYPES.len() {
        places[PROTOTYPES[i].id as usize] = i as u8 + 1;
        i += 1;
    }
    places
};

/// The prototype of helper `id`, if it is in the table.
///
/// ```
/// use bpf::helper::{prototype, Arg};
/// assert_eq!(prototype(44).map(|p| p.name), Some("bpf_xdp_adjust_head"));
/// assert_eq!(prototype(4), None);
/// ```
pub fn prototype(id: u32) -> Option<&'static Prototype> {
    let place = *PLACES.get(id as usize)?;
    PROTOTYPES.get(usize::from(place).checked_sub(1)?)
}

/// `bpf_get_cgroup_classid` of XDP programs, which asks for the current task's.
static CLASSID_OF_TASK: Prototype = Prototype {
    tc: false,
    ..helper(17, "bpf_get_cgroup_classid", [], Return::Scalar).later()
};

/// The prototype that helper `id` has for programs of `hook`, whether they may call it or not.
pub fn prototype_on(hook: &Hook, id: u32) -> Option<&'static Prototype> {
    if id == CLASSID_OF_TASK.id && matches!(hook, Hook::Xdp { .. }) {
        return Some(&CLASSID_OF_TASK);
    }
    prototype(id)
}
