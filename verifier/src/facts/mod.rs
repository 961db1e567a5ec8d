//! [`Facts`]: what holds at an instruction over all paths.
//!
//! `visits` keeps what exploration sees as it goes; `join` computes the rest from it by a pass of
//! its own, when somebody asks for the first time. `values` turns what a state holds into facts.

mod join;
mod values;
mod visits;

use bpf::Program;

use crate::domain::Range;
use crate::{Context, cfg, declared, exceptions, platform};

pub(crate) use values::of_state;
pub(crate) use visits::Visits;

/// What holds at each pc of an accepted program.
pub(crate) fn complete(program: &Program, device_bound: bool, visits: &Visits) -> Vec<Facts> {
    let declared = declared::Declared::of(program);
    let platform = platform::Platform {
        program,
        declared: &declared,
        device_bound,
    };
    let catcher = exceptions::catcher(program, &declared).unwrap_or(None);
    match cfg::build(&platform, catcher) {
        Ok(cfg) => join::complete(
            &Context {
                platform,
                cfg: &cfg,
            },
            visits,
        ),
        // Not for an accepted program, whose graph was built before.
        Err(_) => visits.facts(),
    }
}

/// What holds before an instruction, joined over all paths that reach it, and what its access,
/// call or branch does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether any path reaches it.
    pub reachable: bool,
    /// How often exploration looked at it: once for each path that was not cut before. A path
    /// that was cut does not count, so this says what verification cost, not how often it runs.
    pub visits: u64,
    /// The registers before the instruction.
    pub registers: [RegFact; 11],
    /// What of the running function's stack frame is known before the instruction, by ascending
    /// distance from the frame pointer. Of a slot that is not named nothing is known.
    pub stack: Vec<SlotFact>,
    /// What a load, store or atomic touches.
    pub access: Option<Access>,
    /// What a call is given.
    pub call: Option<CallFact>,
    /// Which ways a branch can go.
    pub branch: Option<Ways>,
    /// Whether it may put an address where others than the program see it: into a map's value,
    /// the packet, a record or an event. Where nicbed and the kernel are compared, addresses
    /// differ. `false` is proved.
    pub leaks_pointer: bool,
}

/// Eight bytes of a stack frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotFact {
    /// Offset of the lowest byte from the frame pointer: -8 to -512, a multiple of 8.
    pub offset: i32,
    /// What it holds.
    pub holds: Held,
    /// Bit `i`: byte `offset + i` was written as 0 and is no part of a register's value (in the
    /// kernel's log `0`; a spilled register that is 0 does not count).
    pub zero: u8,
}

/// What eight bytes of a stack frame hold, over all paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The lowest `bytes` bytes of this value; of the others nothing is known.
    Register {
        /// Value.
        value: RegFact,
        /// 1 to 8.
        bytes: u8,
    },
    /// All bytes are 0.
    Zero,
    /// Written in part or as a whole, with anything.
    Bytes,
}

/// What a register holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegFact {
    /// Type.
    pub kind: RegKind,
    /// Range: of the number; for a pointer, of its offset from the start of what it points into
    /// (for the stack: from the frame pointer).
    pub range: Range,
}

/// Type of a register's value, joined over paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegKind {
    /// Not written yet, or of different types on different paths: must not be relied on.
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
    /// Into the stack frame of a function.
    Stack {
        /// Frames up from the running function: 0 is its own.
        up: u32,
    },
    /// A map itself.
    Map {
        /// Index in the program's map list, if it is the same on all paths.
        map: Option<usize>,
    },
    /// Into a value of a map.
    MapValue {
        /// Index in the program's map list, if it is the same on all paths.
        map: Option<usize>,
        /// Whether it may be null.
        or_null: bool,
    },
    /// Into a block of memory (a ring buffer record, `Raw` memory, a global function's
    /// argument).
    Memory {
        /// Size in bytes.
        size: u32,
        /// Whether it may be null.
        or_null: bool,
    },
    /// A socket, of whatever kind.
    Socket {
        /// Whether it may be null.
        or_null: bool,
    },
}

/// Region of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The context.
    Ctx,
    /// The packet.
    Packet,
    /// The metadata before the packet.
    PacketMeta,
    /// A stack frame; `up` frames above the running function's.
    Stack {
        /// Frames up: 0 is its own.
        up: u32,
    },
    /// A map value.
    MapValue {
        /// Index in the program's map list, if it is the same on all paths.
        map: Option<usize>,
    },
    /// A block of memory.
    Memory,
    /// A socket's fields.
    Socket,
    /// A structure of the kernel, or a map itself.
    Kernel,
    /// Different regions on different paths.
    Mixed,
}

/// What a load, store or atomic touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Region.
    pub region: Region,
    /// Smallest byte offset from the region's start (from the frame pointer for the stack: from
    /// -512), inclusive.
    pub min: i64,
    /// Largest byte offset of the first byte touched, inclusive.
    pub max: i64,
    /// Bytes touched.
    pub size: u8,
    /// Largest power of two that divides every possible offset (1 to 8).
    pub align: u8,
}

/// What a call is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFact {
    /// The map argument, if it is the same on all paths.
    pub map: Option<usize>,
    /// Where the key lies: region and constant offset, if the same on all paths.
    pub key: Option<(Region, i64)>,
    /// Where the value lies.
    pub value: Option<(Region, i64)>,
    /// The key as a number, if it is a known constant of at most 8 bytes.
    pub constant_key: Option<u64>,
}

/// Which ways a branch can go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Can be taken.
    pub taken: bool,
    /// Can fall through.
    pub fall_through: bool,
}
