//! The one table of helper prototypes.
//!
//! Sources: linux/bpf.h for ids and the order of arguments; which types and hooks the kernel
//! takes was asked of Linux 6.18 itself (`tests/prototypes_vs_kernel.rs`).

use super::prototype::{Arg, Prototype, Return};

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

    /// Known, but without a body yet.
    const fn later(self) -> Prototype {
        Prototype {
            modelled: false,
            ..self
        }
    }
}

/// All helpers that are known by type, by ascending id.
#[rustfmt::skip]
pub static PROTOTYPES: [Prototype; 40] = {
    use Arg::{Anything, ConstAllocSize, ConstMap, ConstStr, Ctx, Function, MapKey, MapValue, Mem, MemOrNull, MemRw, RingbufRecord, Size, SizeOrZero, SpinLock, StackOrNull, UninitMapValue, UninitMem};
    use Return::{MapValueOrNull, RingbufRecordOrNull, Scalar, Void};
    [
        helper(1, "bpf_map_lookup_elem", [ConstMap, MapKey], MapValueOrNull).packet(),
        helper(2, "bpf_map_update_elem", [ConstMap, MapKey, MapValue, Anything], Scalar).packet(),
        helper(3, "bpf_map_delete_elem", [ConstMap, MapKey], Scalar).packet(),
        helper(5, "bpf_ktime_get_ns", [], Scalar),
        helper(6, "bpf_trace_printk", [Mem, Size], Scalar).gpl(),
        helper(7, "bpf_get_prandom_u32", [], Scalar),
        helper(8, "bpf_get_smp_processor_id", [], Scalar),
        helper(12, "bpf_tail_call", [Ctx, ConstMap, Anything], Void),
        helper(23, "bpf_redirect", [Anything, Anything], Scalar),
        helper(25, "bpf_perf_event_output", [Ctx, ConstMap, Anything, Mem, SizeOrZero], Scalar).gpl(),
        helper(28, "bpf_csum_diff", [MemOrNull, SizeOrZero, MemOrNull, SizeOrZero, Anything], Scalar).packet(),
        helper(42, "bpf_get_numa_node_id", [], Scalar),
        helper(44, "bpf_xdp_adjust_head", [Ctx, Anything], Scalar).only_xdp().moves(),
        helper(51, "bpf_redirect_map", [ConstMap, Anything, Anything], Scalar).only_xdp(),
        helper(54, "bpf_xdp_adjust_meta", [Ctx, Anything], Scalar).only_xdp().moves(),
        helper(65, "bpf_xdp_adjust_tail", [Ctx, Anything], Scalar).only_xdp().moves(),
        helper(69, "bpf_fib_lookup", [Ctx, MemRw, Size, Anything], Scalar).gpl(),
        helper(87, "bpf_map_push_elem", [ConstMap, MapValue, Anything], Scalar).packet(),
        helper(88, "bpf_map_pop_elem", [ConstMap, UninitMapValue], Scalar),
        helper(89, "bpf_map_peek_elem", [ConstMap, UninitMapValue], Scalar),
        helper(93, "bpf_spin_lock", [SpinLock], Void).later(),
        helper(94, "bpf_spin_unlock", [SpinLock], Void).later(),
        helper(118, "bpf_jiffies64", [], Scalar),
        helper(125, "bpf_ktime_get_boot_ns", [], Scalar),
        helper(130, "bpf_ringbuf_output", [ConstMap, Mem, SizeOrZero, Anything], Scalar),
        helper(131, "bpf_ringbuf_reserve", [ConstMap, ConstAllocSize, Anything], RingbufRecordOrNull),
        helper(132, "bpf_ringbuf_submit", [RingbufRecord, Anything], Void),
        helper(133, "bpf_ringbuf_discard", [RingbufRecord, Anything], Void),
        helper(134, "bpf_ringbuf_query", [ConstMap, Anything], Scalar),
        helper(160, "bpf_ktime_get_coarse_ns", [], Scalar),
        helper(164, "bpf_for_each_map_elem", [ConstMap, Function, StackOrNull, Anything], Scalar).later(),
        helper(165, "bpf_snprintf", [UninitMem, SizeOrZero, ConstStr, MemOrNull, SizeOrZero], Scalar).later(),
        helper(177, "bpf_trace_vprintk", [Mem, Size, MemOrNull, SizeOrZero], Scalar).gpl(),
        helper(181, "bpf_loop", [Anything, Function, StackOrNull, Anything], Scalar).later(),
        helper(182, "bpf_strncmp", [Mem, Size, ConstStr], Scalar).later(),
        helper(188, "bpf_xdp_get_buff_len", [Ctx], Scalar).only_xdp(),
        helper(189, "bpf_xdp_load_bytes", [Ctx, Anything, UninitMem, Size], Scalar).only_xdp(),
        helper(190, "bpf_xdp_store_bytes", [Ctx, Anything, Mem, Size], Scalar).only_xdp(),
        helper(195, "bpf_map_lookup_percpu_elem", [ConstMap, MapKey, Anything], MapValueOrNull).packet(),
        helper(208, "bpf_ktime_get_tai_ns", [], Scalar),
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
/// assert_eq!(prototype(9), None);
/// ```
pub fn prototype(id: u32) -> Option<&'static Prototype> {
    let place = *PLACES.get(id as usize)?;
    PROTOTYPES.get(usize::from(place).checked_sub(1)?)
}
