//! The contract between code that the x86-64 backend emits and the engine that runs it: entry,
//! run state, calls out of the code, traps. Whatever both sides must know stands here, once.
//!
//! * **Entry.** The image's entry is a System V function `fn(rdi: *mut RunState) -> rax`. It
//!   preserves rbx, rbp, rsp and r12 to r15. rax is r0 at the program's exit.
//! * **Context.** What a program of a packet hook sees as its context is the [`RunState`]
//!   itself: a load of a context field is a load of the member that [`context_member`] (XDP) or
//!   [`skb_member`] (tc) names. The pointers in it are re-read by every such load, so a helper
//!   that moves the packet only has to change them. A `Raw` program gets r1 = [`RunState::data`], r2 =
//!   [`RunState::raw_len`].
//! * **Stack.** eBPF stack frames lie on the machine stack, 512 bytes for each function that
//!   uses r10. The engine calls with at least [`STACK_BYTES`] free.
//! * **Helpers** ([`crate::Symbol::Helper`]) are System V functions with r1 to r5 in rdi, rsi,
//!   rdx, rcx, r8 and the run state in r9; the result is in rax. Before the call the code stores
//!   the pc in [`RunState::pc`]; after it, it leaves if [`RunState::trap`] is not 0.
//! * **Callbacks.** Where a helper takes a function, the register holds the address of one of the
//!   code's functions. The helper calls it like the code does: r1 to r5 in the registers of
//!   [`WITH_CALLS`], the run state in r12; it preserves what System V says, r0 is in rax. A function
//!   that was stopped returns with [`RunState::trap`] set, and the helper then does too.
//! * **Watched maps.** Where the program stores into an array ([`RunState::watched`]), its lookups
//!   are inlined only while that is 0. Arrays that it does not store into are not marked.
//! * **Registers.** Where the code of an instruction begins ([`crate::Image::source_map`]), each
//!   eBPF register is in the machine register that [`registers`] gives; r10 only in functions
//!   that use it. Whoever steps through the code sees the program's registers there.
//! * **Tail calls** go through [`RUNTIME_TAIL_CALL`].

use std::mem::offset_of;

/// For each eBPF register the machine register, as instructions encode it, in images that call
/// functions of the engine, which preserve only the callee-saved registers.
pub const WITH_CALLS: [u8; 11] = [0, 7, 6, 2, 9, 8, 3, 13, 14, 15, 5];

/// The same in images that call none: r6 and r7 cost no saving at entry.
pub const WITHOUT_CALLS: [u8; 11] = [0, 7, 6, 2, 9, 8, 10, 11, 3, 13, 5];

/// Which machine register holds which eBPF register in an image's code.
pub const fn registers(image: &crate::Image) -> [u8; 11] {
    if image.resources.helpers.is_empty() {
        WITHOUT_CALLS
    } else {
        WITH_CALLS
    }
}

/// State of one packet's run, which the emitted code and the engine share. The engine fills it
/// before every packet. Addresses are host addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RunState {
    /// Address of the packet's first byte; of the memory for a `Raw` program.
    pub data: u64,
    /// Address just past the packet's last byte.
    pub data_end: u64,
    /// Address of the metadata before the packet; equals [`RunState::data`] where there is none.
    pub data_meta: u64,
    /// Length in bytes of the memory of a `Raw` program.
    pub raw_len: u64,
    /// Port the packet came in on.
    pub ingress_ifindex: u32,
    /// Receive queue.
    pub rx_queue_index: u32,
    /// Port the packet will leave by, for programs in a devmap.
    pub egress_ifindex: u32,
    /// CPU id: the packet's queue.
    pub cpu: u32,
    /// Tail calls that may still be made; [`TAIL_CALL_LIMIT`] at entry.
    pub tail_calls_left: u32,
    /// pc of the latest helper call.
    pub pc: u32,
    /// 0, or not 0 once a helper has stopped the program: the code then leaves all its functions
    /// at once, with r0 = 0. [`LOAD_OUTSIDE`] leaves only the function that loaded.
    pub trap: u32,
    /// Not 0 while maps are watched for what depends on the order between queues: lookups that
    /// the code inlines are then calls of the helper, which marks the element.
    pub watched: u32,
    /// The engine's own.
    pub host: u64,
    /// Address of [`RunState::sock`].
    pub sk: u64,
    /// The numbers of `struct __sk_buff` at their own places, for tc programs; the code reads and
    /// writes those that are no pointers.
    pub skb: SkbWords,
    /// `struct bpf_sock` of the packet's socket, for tc programs to read.
    pub sock: [u32; 20],
}

/// The numbers of `struct __sk_buff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SkbWords(pub [u32; 48]);

impl Default for SkbWords {
    fn default() -> SkbWords {
        SkbWords([0; 48])
    }
}

/// [`RunState::trap`] after a legacy load outside the packet: the function that loaded returns
/// 0, and `trap` is made 0 again.
pub const LOAD_OUTSIDE: u32 = 2;

/// Most tail calls in one run (`MAX_TAIL_CALL_CNT` in linux/bpf.h).
pub const TAIL_CALL_LIMIT: u32 = 33;

/// Bytes of machine stack that a run can take: eight frames of 512 bytes with what is saved
/// beside them, once more for each tail call made from inside a function.
pub const STACK_BYTES: usize = 8 * (512 + 128) * (TAIL_CALL_LIMIT as usize + 1);

/// Most turns of a `may_goto` loop in one call of a function (`BPF_MAX_LOOPS` in
/// `linux/bpf_verifier.h`).
pub const MAY_GOTO_LIMIT: i32 = 8 * 1024 * 1024;

/// [`crate::Symbol::Runtime`] number of the tail call: a System V function with the context in
/// rdi, the map handle in rsi, the index (32 bits) in edx and the run state in r9. rax is the
/// address to jump to, with rdi = run state and the caller's frame taken down, or 0 where the
/// program goes on.
pub const RUNTIME_TAIL_CALL: u32 = 1;

/// [`crate::RelocationKind::Target`] number of the 4 bytes, little-endian, that hold how many
/// bytes the values of one CPU take in the per-CPU array which a
/// [`crate::Symbol::MapValues`] names.
pub const CPU_STRIDE32: u8 = 1;

/// [`crate::Symbol::Runtime`] number of the legacy load from the packet: a System V function with
/// the signed offset in rdi (its lower 32 bits), the size in bytes in esi and the run state in
/// r9. rax is the number, from network order; outside the packet [`RunState::trap`] is
/// [`LOAD_OUTSIDE`].
pub const RUNTIME_LOAD_PACKET: u32 = 2;

/// Names of the [`crate::Symbol::Runtime`] entries, for listings.
pub const RUNTIME_NAMES: [(u32, &str); 2] = [
    (RUNTIME_TAIL_CALL, "tail_call"),
    (RUNTIME_LOAD_PACKET, "load_packet"),
];

/// A member of [`RunState`] that stands for a context field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Byte offset in the run state.
    pub offset: i32,
    /// Size in bytes, 4 or 8.
    pub size: u8,
    /// The member's name.
    pub name: &'static str,
}

/// The member that holds the context field at byte `offset` of `struct xdp_md`.
pub const fn context_member(offset: i64) -> Option<Member> {
    let (offset, size, name) = match offset {
        0 => (offset_of!(RunState, data), 8, "data"),
        4 => (offset_of!(RunState, data_end), 8, "data_end"),
        8 => (offset_of!(RunState, data_meta), 8, "data_meta"),
        12 => (offset_of!(RunState, ingress_ifindex), 4, "ingress_ifindex"),
        16 => (offset_of!(RunState, rx_queue_index), 4, "rx_queue_index"),
        20 => (offset_of!(RunState, egress_ifindex), 4, "egress_ifindex"),
        _ => return None,
    };
    Some(Member {
        offset: offset as i32,
        size,
        name,
    })
}

/// The member that holds the byte at `offset` of `struct __sk_buff`: of a pointer the whole of
/// it, else `size` is the member's bytes from there on.
pub const fn skb_member(offset: i64) -> Option<Member> {
    /// Bytes of the structure.
    const BYTES: i64 = size_of::<SkbWords>() as i64;
    let (offset, size, name) = match offset {
        76 => (offset_of!(RunState, data), 8, "data"),
        80 => (offset_of!(RunState, data_end), 8, "data_end"),
        140 => (offset_of!(RunState, data_meta), 8, "data_meta"),
        168 => (offset_of!(RunState, sk), 8, "sk"),
        0..BYTES => (
            offset_of!(RunState, skb) + offset as usize,
            8 - (offset % 8) as u8,
            "skb",
        ),
        _ => return None,
    };
    Some(Member {
        offset: offset as i32,
        size,
        name,
    })
}

/// The entry of an image.
#[cfg(target_arch = "x86_64")]
pub type Entry = unsafe extern "sysv64" fn(*mut RunState) -> u64;

/// A helper's entry.
#[cfg(target_arch = "x86_64")]
pub type Helper = unsafe extern "sysv64" fn(u64, u64, u64, u64, u64, *mut RunState) -> u64;
