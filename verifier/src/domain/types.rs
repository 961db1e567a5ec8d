//! What a register or a spilled register holds: a type, and a range.

use bpf::context::SocketKind;

use super::Range;

/// Index of a map in the program's list, or of the map inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MapRef {
    /// Index in the program's map list.
    pub index: u16,
    /// The map in a slot of that map, not the map itself.
    pub inner: bool,
}

/// Type of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Not written yet (or, where paths were joined, of different types).
    #[default]
    Unknown,
    /// A number.
    Scalar,
    /// The context.
    Ctx,
    /// Into the packet.
    Packet,
    /// Into the metadata before the packet.
    PacketMeta,
    /// Just past the packet.
    PacketEnd,
    /// Into the stack of the function at this depth of the call chain, 0 for the entry.
    Stack {
        /// Depth of the frame.
        frame: u8,
    },
    /// A map itself.
    Map {
        /// Which.
        map: MapRef,
        /// Whether it may be null (lookup in a map of maps).
        or_null: bool,
    },
    /// Into a value of a map.
    MapValue {
        /// Which map.
        map: MapRef,
        /// Whether it may be null.
        or_null: bool,
    },
    /// Into a block of memory.
    Memory {
        /// Size in bytes.
        size: u32,
        /// Whether it may be null.
        or_null: bool,
        /// What block it is.
        block: Block,
    },
    /// A socket.
    Socket {
        /// As what it is seen.
        kind: SocketKind,
        /// Whether it may be null.
        or_null: bool,
    },
    /// The key of a map's element, as a callback is given it.
    MapKey {
        /// Which map.
        map: MapRef,
    },
    /// The address of a function of the program.
    Function {
        /// Its first pc.
        pc: u32,
    },
    /// An object that the program allocated.
    Object {
        /// BTF id of its structure.
        ty: u32,
        /// Whether it may be null.
        or_null: bool,
        /// Whether the program owns it; else a list or tree does, and it is only seen until the
        /// lock is given back.
        owned: bool,
    },
    /// A structure of the kernel.
    Kernel {
        /// BTF id of its type.
        ty: u32,
        /// What the pointer is worth.
        trust: Trust,
        /// Whether it may be null.
        or_null: bool,
    },
    /// A dynptr that is not on the stack, as a callback or a global function is given it.
    Dynptr,
}

/// What a pointer to a structure of the kernel is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The structure exists while the program runs, or as long as its reference is held.
    Trusted,
    /// RCU keeps it until the read section ends.
    Rcu,
    /// It was seen in a structure that exists: it can be read, and given to some helpers.
    Seen,
    /// It can be read, no more.
    Untrusted,
    /// An address of user space, or of a variable of each CPU: it cannot even be read.
    Foreign,
}

/// What a block of memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Block {
    /// Memory to read and write.
    #[default]
    Plain,
    /// Memory to read only.
    ReadOnly,
    /// A reserved ring buffer record.
    Record,
    /// A part of what a dynptr stands for.
    Slice {
        /// Whether that is a packet.
        packet: bool,
        /// Whether programs may write it.
        writable: bool,
    },
}

impl Block {
    /// Whether programs may write it.
    pub const fn is_writable(self) -> bool {
        !matches!(
            self,
            Block::ReadOnly
                | Block::Slice {
                    writable: false,
                    ..
                }
        )
    }
}

impl Kind {
    /// Whether it may be null.
    pub const fn or_null(self) -> bool {
        matches!(
            self,
            Kind::Map { or_null: true, .. }
                | Kind::MapValue { or_null: true, .. }
                | Kind::Memory { or_null: true, .. }
                | Kind::Socket { or_null: true, .. }
                | Kind::Object { or_null: true, .. }
                | Kind::Kernel { or_null: true, .. }
        )
    }

    /// Whether it is an address (or null).
    pub const fn is_pointer(self) -> bool {
        !matches!(self, Kind::Unknown | Kind::Scalar)
    }

    /// Whether it points into the packet or its metadata.
    pub const fn is_packet(self) -> bool {
        matches!(self, Kind::Packet | Kind::PacketMeta)
    }

    /// Whether a change of the packet makes it useless.
    pub const fn follows_packet(self) -> bool {
        matches!(self, Kind::Packet | Kind::PacketMeta | Kind::PacketEnd)
    }

    /// Whether it is certainly not null and comparing it with 0 is decided by that.
    pub const fn surely_not_null(self) -> bool {
        matches!(
            self,
            Kind::Map { or_null: false, .. }
                | Kind::MapValue { or_null: false, .. }
                | Kind::Memory { or_null: false, .. }
                | Kind::Socket { or_null: false, .. }
                | Kind::MapKey { .. }
                | Kind::Object {
                    or_null: false,
                    owned: true,
                    ..
                }
                | Kind::Kernel {
                    or_null: false,
                    trust: Trust::Trusted,
                    ..
                }
        )
    }

    /// The same, known not to be null.
    #[must_use]
    pub const fn not_null(self) -> Kind {
        match self {
            Kind::Map { map, .. } => Kind::Map {
                map,
                or_null: false,
            },
            Kind::MapValue { map, .. } => Kind::MapValue {
                map,
                or_null: false,
            },
            Kind::Memory { size, block, .. } => Kind::Memory {
                size,
                or_null: false,
                block,
            },
            Kind::Socket { kind, .. } => Kind::Socket {
                kind,
                or_null: false,
            },
            Kind::Object { ty, owned, .. } => Kind::Object {
                ty,
                or_null: false,
                owned,
            },
            Kind::Kernel { ty, trust, .. } => Kind::Kernel {
                ty,
                trust,
                or_null: false,
            },
            other => other,
        }
    }

    /// The kernel's word for it in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Unknown => "?",
            Kind::Scalar => "scalar",
            Kind::Ctx => "ctx",
            Kind::Packet => "pkt",
            Kind::PacketMeta => "pkt_meta",
            Kind::PacketEnd => "pkt_end",
            Kind::Stack { .. } => "fp",
            Kind::Map { or_null: false, .. } => "map_ptr",
            Kind::Map { or_null: true, .. } => "map_ptr_or_null",
            Kind::MapValue { or_null: false, .. } => "map_value",
            Kind::MapValue { or_null: true, .. } => "map_value_or_null",
            Kind::Memory { block, or_null, .. } => match (block, or_null) {
                (Block::Record, false) => "ringbuf_mem",
                (Block::Record, true) => "ringbuf_mem_or_null",
                (block, false) if block.is_writable() => "mem",
                (block, true) if block.is_writable() => "mem_or_null",
                (_, false) => "rdonly_mem",
                (_, true) => "rdonly_mem_or_null",
            },
            Kind::MapKey { .. } => "map_key",
            Kind::Function { .. } => "func",
            Kind::Dynptr => "dynptr_ptr",
            Kind::Object { or_null: false, .. } => "ptr_",
            Kind::Object { or_null: true, .. } => "ptr_or_null_",
            Kind::Kernel { trust, or_null, .. } => match (trust, or_null) {
                (Trust::Trusted, false) => "trusted_ptr_",
                (Trust::Trusted, true) => "trusted_ptr_or_null_",
                (Trust::Rcu, false) => "rcu_ptr_",
                (Trust::Rcu, true) => "rcu_ptr_or_null_",
                (Trust::Seen | Trust::Foreign, false) => "ptr_",
                (Trust::Seen | Trust::Foreign, true) => "ptr_or_null_",
                (Trust::Untrusted, false) => "untrusted_ptr_",
                (Trust::Untrusted, true) => "untrusted_ptr_or_null_",
            },
            Kind::Socket { kind, or_null } => match (kind, or_null) {
                (SocketKind::Common, false) => "sock_common",
                (SocketKind::Common, true) => "sock_common_or_null",
                (SocketKind::Full, false) => "sock",
                (SocketKind::Full, true) => "sock_or_null",
                (SocketKind::Tcp, false) => "tcp_sock",
                (SocketKind::Tcp, true) => "tcp_sock_or_null",
            },
        }
    }
}

/// How far past a packet pointer's base the packet is known to reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Nothing is known.
    #[default]
    None,
    /// So many bytes past the base (the pointer less its fixed offset) can be accessed.
    Bytes(u16),
    /// The pointer is at the packet's end or past it.
    AtEnd,
    /// The pointer is past the packet's end.
    PastEnd,
}

impl Extent {
    /// Bytes past the base that can be accessed.
    pub const fn bytes(self) -> u16 {
        match self {
            Extent::Bytes(n) => n,
            Extent::None | Extent::AtEnd | Extent::PastEnd => 0,
        }
    }
}

/// Value of a register or of a spilled register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Type.
    pub kind: Kind,
    /// For a pointer, the known part of its offset. For a number with `is_delta`, what it is
    /// above the other numbers of the same `id`.
    pub off: i32,
    /// Values of one id are linked: equal numbers (up to `off`), copies of one pointer that may
    /// be null, or packet pointers with the same variable part. 0: linked with nothing.
    pub id: u32,
    /// The acquired reference that it carries, 0 for none.
    pub reference: u32,
    /// The dynptr that it is a slice of, or which of a map's elements with a lock or allocated
    /// objects it is in; 0 for none.
    pub owner: u32,
    /// For a packet pointer, how far the packet is known to reach.
    pub extent: Extent,
    /// Whether `off` is a difference to the linked numbers.
    pub is_delta: bool,
    /// Whether that sum was cut to its lower half.
    pub is_lower: bool,
    /// Of the number, or of the variable part of a pointer's offset.
    pub range: Range,
}

impl Value {
    /// Nothing written yet.
    pub const UNKNOWN: Value = Value {
        kind: Kind::Unknown,
        off: 0,
        id: 0,
        reference: 0,
        owner: 0,
        extent: Extent::None,
        is_delta: false,
        is_lower: false,
        range: Range::UNKNOWN,
    };

    /// Any number.
    pub const SCALAR: Value = Value {
        kind: Kind::Scalar,
        ..Value::UNKNOWN
    };

    /// A number of this range.
    pub const fn scalar(range: Range) -> Value {
        Value {
            range,
            ..Value::SCALAR
        }
    }

    /// This number.
    pub const fn constant(value: u64) -> Value {
        Value::scalar(Range::constant(value))
    }

    /// A pointer at the start of what it points into.
    pub const fn pointer(kind: Kind) -> Value {
        Value {
            kind,
            range: Range::constant(0),
            ..Value::UNKNOWN
        }
    }

    /// Whether it is a number.
    pub const fn is_scalar(&self) -> bool {
        matches!(self.kind, Kind::Scalar)
    }

    /// Whether it is the number 0.
    pub fn is_zero(&self) -> bool {
        self.is_scalar() && self.range.as_constant() == Some(0)
    }

    /// The number, if it is known.
    pub const fn as_constant(&self) -> Option<u64> {
        if self.is_scalar() {
            self.range.as_constant()
        } else {
            None
        }
    }

    /// The same without its link to other values.
    #[must_use]
    pub const fn unlinked(mut self) -> Value {
        self.id = 0;
        if self.is_delta {
            self.off = 0;
            self.is_delta = false;
            self.is_lower = false;
        }
        self
    }

    /// Whether both differ by the same from the numbers they are linked with.
    pub const fn same_delta(&self, other: &Value) -> bool {
        self.is_delta == other.is_delta && self.is_lower == other.is_lower && self.off == other.off
    }

    /// Smallest offset of the pointer, from the start of what it points into.
    pub const fn min_offset(&self) -> i64 {
        self.range.smin.saturating_add(self.off as i64)
    }

    /// Largest offset of the pointer.
    pub const fn max_offset(&self) -> i64 {
        self.range.smax.saturating_add(self.off as i64)
    }
}
