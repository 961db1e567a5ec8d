//! What the verifier must know of a helper: the types, and the table.

use crate::Hook;
use crate::context::SocketKind;

/// One helper as the verifier sees it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one table row"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prototype {
    /// `BPF_FUNC_*` number in linux/bpf.h.
    pub id: u32,
    /// Full name: `bpf_map_lookup_elem`.
    pub name: &'static str,
    /// Types of r1 to r5; [`Arg::None`] from the first unused on.
    pub args: [Arg; 5],
    /// What r0 holds afterwards.
    pub ret: Return,
    /// Whether XDP programs may call it.
    pub xdp: bool,
    /// Whether tc programs may call it.
    pub tc: bool,
    /// Reserved for GPL-compatible programs.
    pub gpl_only: bool,
    /// May move or change the packet, so that packet pointers become invalid.
    pub changes_packet: bool,
    /// Whether memory arguments may point into the packet.
    pub packet_args: bool,
    /// Whether nicbed has its body; without one, no engine of nicbed can run it.
    pub modelled: bool,
}

/// Type of a helper's argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Not used.
    None,
    /// The context as it was given at entry.
    Ctx,
    /// The same, or null.
    CtxOrNull,
    /// A map known at verification.
    ConstMap,
    /// Readable memory of the map's key size.
    MapKey,
    /// Readable memory of the map's value size.
    MapValue,
    /// The same, or null.
    MapValueOrNull,
    /// Writable memory of the map's value size, may be uninitialised (pop, peek).
    UninitMapValue,
    /// Readable memory; its length is the next argument.
    Mem,
    /// The same, or null if the length is 0.
    MemOrNull,
    /// Writable memory that the helper fills; its length is the next argument.
    UninitMem,
    /// Readable and writable, initialised memory; its length is the next argument.
    MemRw,
    /// The same, or null if the length is 0.
    MemRwOrNull,
    /// Readable memory of so many bytes.
    FixedMem(u32),
    /// Memory of so many bytes, to be read and written.
    FixedMemRw(u32),
    /// Writable memory of so many bytes, aligned to that number.
    AlignedOut(u32),
    /// Length of the memory of the argument before; not 0.
    Size,
    /// Length of the memory of the argument before; may be 0.
    SizeOrZero,
    /// Any value that may be read.
    Anything,
    /// A number known at verification: bytes to reserve in a ring buffer.
    ConstAllocSize,
    /// A reserved ring buffer record, as the reserving helper gave it; released by the call.
    RingbufRecord,
    /// A socket of any kind.
    Socket,
    /// A socket that was acquired; released by the call.
    AcquiredSocket,
    /// A pointer to this kernel structure, which the program holds at least so well.
    Kernel(&'static str, Hold),
    /// An address that nothing is asked of, or null: the function copies what it may read there.
    Address,
    /// A constant that is the id of a type of the kernel, or 0.
    KernelType,
    /// A field of a map's value, or of an allocated object, that holds a pointer.
    PointerField,
    /// What goes into such a field: a pointer that the program owns, which is released, or null.
    PointerGiven,
    /// A function of the program (callbacks).
    Function,
    /// A stack address or null (context of a callback).
    StackOrNull,
    /// A spin lock in a map value.
    SpinLock,
    /// A NUL-terminated string in read-only memory.
    ConstStr,
    /// A number.
    Scalar,
    /// A `struct bpf_timer` in a map value.
    Timer,
    /// An object that the program allocated, or what such objects are kept in.
    Local(LocalArg),
    /// Stack for a new iterator.
    NewIterator,
    /// An iterator.
    Iterator,
    /// An iterator, which ends.
    EndIterator,
    /// Stack for a new dynptr.
    NewDynptr,
    /// A dynptr.
    Dynptr,
    /// A dynptr, or null.
    DynptrOrNull,
    /// A dynptr on a ring buffer record, which is released.
    RecordDynptr,
    /// Memory of a map value that a dynptr is to stand for; its length is the next argument.
    DynptrMem,
    /// Memory that may take a copy of what a dynptr stands for, or null; its length is the next
    /// argument.
    Scratch,
    /// Length of the memory of the argument before, known at verification.
    ScratchSize,
    /// Stack for the state of interrupts.
    NewInterruptState,
    /// The state of interrupts, which is restored.
    InterruptState,
}

/// What a helper leaves in r0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// A number of which nothing is known (32-bit results are sign-extended `int`).
    Scalar,
    /// Nothing: r0 is unreadable.
    Void,
    /// Address of a map value (or, for map-in-map, an inner map), or null.
    MapValueOrNull,
    /// Address of a new ring buffer record of the size given, or null; must be released.
    RingbufRecordOrNull,
    /// A socket of this kind, or null; not held.
    SocketOrNull(SocketKind),
    /// The socket that was given, seen as of this kind, or null: releasing one ends both.
    SameSocketOrNull(SocketKind),
    /// A socket of this kind, or null; must be released.
    AcquiredSocketOrNull(SocketKind),
    /// A pointer to this kernel structure, or null.
    Kernel(&'static str, Kept),
    /// A pointer to the kernel's own structure of the context.
    KernelContext,
    /// The address that was given, to be read as the type that the constant argument names.
    ReadOnlyCast,
    /// The pointer that was in a field, owned now, or null.
    PointerTaken,
    /// Address of the iterator's next number, or null at its end.
    IteratorNext,
    /// Address of so many bytes as the constant argument says, or null.
    SliceOrNull,
    /// An object that the program allocated.
    Local(LocalReturn),
}

/// How well a program must hold a structure of the kernel that it gives to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It need not be more than seen.
    Seen,
    /// RCU keeps it, or better.
    Rcu,
    /// It surely exists while the program runs.
    Trusted,
    /// It was acquired; the call releases it.
    Released,
}

/// How a program holds a structure of the kernel that a function gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Seen, or null: as long as the socket that was given, which it is, is held.
    Seen,
    /// It surely exists while the program runs, and is not null.
    Trusted,
    /// The program must release it, unless it is null.
    Acquired,
    /// RCU keeps it, unless it is null.
    Rcu,
}

/// What keeps objects that a program allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graph {
    /// `struct bpf_list_head`, of `struct bpf_list_node`.
    List,
    /// `struct bpf_rb_root`, of `struct bpf_rb_node`.
    Tree,
}

/// What a function that works on allocated objects is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalArg {
    /// BTF id of the structure to allocate, known at verification.
    Type,
    /// A whole object that the program owns; released by the call.
    Owned,
    /// A whole object that counts its references.
    Counted,
    /// A list's head or a tree's root, whose lock is held.
    Root(Graph),
    /// The node of an object that the program owns; the list or tree owns it after the call.
    NewNode(Graph),
    /// The node of an object that is in a tree or may be.
    TreeNode,
}

/// Which object a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalReturn {
    /// A new one, owned, or null.
    New,
    /// The one that was given, owned once more; null if it was given without being owned.
    Again,
    /// One that was in a list or tree, owned, by its node, or null.
    Taken,
    /// One that stays in the tree, not owned, by its node, or null.
    Seen,
}

impl Prototype {
    /// Whether programs of `hook` may call it.
    pub const fn allowed(&self, hook: &Hook) -> bool {
        match hook {
            Hook::Xdp { .. } => self.xdp,
            Hook::Tc { .. } => self.tc,
            Hook::Raw { .. } => true,
        }
    }

    /// How many arguments it takes.
    pub fn arity(&self) -> usize {
        self.args.iter().take_while(|a| **a != Arg::None).count()
    }
}
