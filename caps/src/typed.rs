//! The facts that engines and backends need, each in a type of its own.

use isa::ebpf::{AluOp, CallTarget, Insn, MemSize};

use crate::profile::Caps;
use crate::value::{Bound, Limit, Names, Value};

/// What a program can do to a frame, all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// How far from its start a program reaches into a frame.
    pub window: Bound,
    /// Whether longer frames go to the host (else the program is refused).
    pub punt_beyond_window: bool,
    /// Bytes before a frame's first.
    pub headroom: Bound,
    /// Bytes of the headroom that head and metadata can take.
    pub headroom_usable: Bound,
    /// Bytes a program can add behind; unlimited: up to `frame_max`.
    pub tailroom: Bound,
    /// Shortest frame a program sees or leaves.
    pub frame_min: Bound,
    /// Longest frame a program sees or leaves.
    pub frame_max: Bound,
    /// Largest metadata area.
    pub meta: Bound,
}

/// What the NIC is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Whether the device runs programs in reality.
    pub executes: bool,
    /// Cores that run programs.
    pub cores: Bound,
    /// Hardware threads of a core that run programs.
    pub threads_per_core: Bound,
    /// Clock of a core.
    pub clock_hz: Bound,
    /// Ports.
    pub ports: Bound,
    /// Rate of a port.
    pub port_bits_per_second: Bound,
    /// Receive queues unless told otherwise.
    pub queues_default: u32,
    /// Most receive queues.
    pub queues_max: u32,
}

macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident = $key:literal;)*) => {
        /// A class of instructions that cost the same.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CostClass {
            $($(#[$doc])* $class,)*
        }

        impl CostClass {
            /// All classes, in order; a class's place is `class as usize`.
            pub const ALL: &'static [CostClass] = &[$(CostClass::$class,)*];

            /// The key in profiles, below `model.cycles`.
            pub const fn key(self) -> &'static str {
                match self { $(CostClass::$class => $key,)* }
            }
        }
    };
}

classes! {
    /// From a packet's arrival to the first instruction.
    Start = "start";
    /// add, sub, or, and, xor, neg, mov, movsx, byte swaps.
    Alu = "alu";
    /// Multiplication.
    Mul = "mul";
    /// lsh, rsh, arsh.
    Shift = "shift";
    /// div, mod, signed or not.
    Divide = "divide";
    /// Division by zero where it stops the core.
    DivideByZero = "divide_by_zero";
    /// lddw (both slots together).
    Wide = "wide";
    /// Unconditional jump.
    Jump = "jump";
    /// Conditional jump, taken.
    BranchTaken = "branch_taken";
    /// Conditional jump, not taken.
    BranchNotTaken = "branch_not_taken";
    /// Load of 1 byte.
    LoadB = "load_b";
    /// Load of 2 bytes.
    LoadH = "load_h";
    /// Load of 4 bytes.
    LoadW = "load_w";
    /// Load of 8 bytes.
    LoadDw = "load_dw";
    /// Store of 1 byte.
    StoreB = "store_b";
    /// Store of 2 bytes.
    StoreH = "store_h";
    /// Store of 4 bytes.
    StoreW = "store_w";
    /// Store of 8 bytes.
    StoreDw = "store_dw";
    /// Atomic operation.
    Atomic = "atomic";
    /// Legacy packet load.
    LoadPacket = "load_packet";
    /// Helper call, the helper's own work included.
    CallHelper = "call_helper";
    /// Call of a function of the program.
    CallLocal = "call_local";
    /// Return or end of the program.
    Exit = "exit";
}

impl CostClass {
    /// The class of an instruction; a conditional jump's if it is not taken (see
    /// [`CostClass::BranchTaken`]). `None` for what is never executed.
    pub const fn of(insn: &Insn) -> Option<CostClass> {
        Some(match insn {
            Insn::Alu { op, .. } => match op {
                AluOp::Add | AluOp::Sub | AluOp::Or | AluOp::And | AluOp::Xor | AluOp::Mov => {
                    CostClass::Alu
                }
                AluOp::Mul => CostClass::Mul,
                AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => CostClass::Divide,
                AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => CostClass::Shift,
            },
            Insn::Neg { .. } | Insn::MovSx { .. } | Insn::Swap { .. } => CostClass::Alu,
            Insn::LoadWide { .. } => CostClass::Wide,
            Insn::WideTail => return None,
            Insn::Load { size, .. } | Insn::LoadAcquire { size, .. } => match size {
                MemSize::B => CostClass::LoadB,
                MemSize::H => CostClass::LoadH,
                MemSize::W => CostClass::LoadW,
                MemSize::DW => CostClass::LoadDw,
            },
            Insn::Store { size, .. } | Insn::StoreRelease { size, .. } => match size {
                MemSize::B => CostClass::StoreB,
                MemSize::H => CostClass::StoreH,
                MemSize::W => CostClass::StoreW,
                MemSize::DW => CostClass::StoreDw,
            },
            Insn::Atomic { .. } => CostClass::Atomic,
            Insn::LoadPacket { .. } => CostClass::LoadPacket,
            Insn::Jump { .. } => CostClass::Jump,
            Insn::Branch { .. } | Insn::MayGoto { .. } => CostClass::BranchNotTaken,
            Insn::Call(CallTarget::Helper(_) | CallTarget::Kfunc { .. }) => CostClass::CallHelper,
            Insn::Call(CallTarget::Local { .. } | CallTarget::Reg(_)) => CostClass::CallLocal,
            Insn::Exit => CostClass::Exit,
        })
    }
}

/// Cycles of each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Costs {
    cycles: Vec<Option<u64>>,
}

impl Costs {
    /// Cycles of one instruction of this class; `None` where nobody knows.
    pub fn cycles(&self, class: CostClass) -> Option<u64> {
        self.cycles.get(class as usize).copied().flatten()
    }

    /// Whether the cost of any class is known.
    pub fn is_known(&self) -> bool {
        self.cycles.iter().any(Option::is_some)
    }
}

impl Caps {
    /// Stack over the deepest chain of calls, in bytes.
    pub fn stack_bytes(&self) -> Bound {
        self.bound("stack.bytes")
    }

    /// Longest image, in the limit's own unit.
    pub fn image_length(&self) -> Option<Limit> {
        self.layers("image.length")
            .find_map(|(_, fact)| match &fact.value {
                Value::Limit(limit) => Some(*limit),
                _ => None,
            })
    }

    /// Functions in the deepest chain of calls, the entry included.
    pub fn call_frames(&self) -> Bound {
        self.bound("calls.frames")
    }

    /// Whether a division by zero stops the core, instead of giving 0 (RFC 9669 section 4.1).
    pub fn halts_on_division_by_zero(&self) -> bool {
        self.layers("isa.division_by_zero")
            .any(|(_, fact)| matches!(&fact.value, Value::Choice(word) if word == "halt"))
    }

    /// The name of what `call N` reaches in programs without a hook.
    pub fn call_handler(&self) -> Option<&str> {
        self.layers("calls.handler")
            .find_map(|(_, fact)| match &fact.value {
                Value::Choice(word) => Some(word.as_str()),
                _ => None,
            })
    }

    /// What a program can do to a frame.
    pub fn packet(&self) -> Packet {
        Packet {
            window: self.bound("packet.window_bytes"),
            punt_beyond_window: self
                .layers("packet.beyond_window")
                .any(|(_, fact)| matches!(&fact.value, Value::Choice(word) if word == "punt")),
            headroom: self.bound("packet.headroom_bytes"),
            headroom_usable: self.bound("packet.headroom_usable_bytes"),
            tailroom: self.bound("packet.tailroom_bytes"),
            frame_min: self.bound("packet.frame_min_bytes"),
            frame_max: self.bound("packet.frame_max_bytes"),
            meta: self.bound("packet.meta_bytes"),
        }
    }

    /// What the NIC is made of.
    pub fn model(&self) -> Model {
        let queues = |key| {
            self.bound(key)
                .known()
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(1)
        };
        Model {
            executes: !self
                .layers("executes")
                .any(|(_, fact)| fact.value == Value::Flag(false)),
            cores: self.bound("cores"),
            threads_per_core: self.bound("threads_per_core"),
            clock_hz: self.bound("clock_hz"),
            ports: self.bound("ports"),
            port_bits_per_second: self.bound("port_bits_per_second"),
            queues_default: queues("queues_default"),
            queues_max: queues("queues_max"),
        }
    }

    /// Cycles of each class of instructions.
    pub fn costs(&self) -> Costs {
        Costs {
            cycles: CostClass::ALL
                .iter()
                .map(|class| self.bound(&format!("cycles.{}", class.key())).known())
                .collect(),
        }
    }

    /// Whether every layer that has the list of this key has `name` in it. An unknown list has
    /// every name.
    pub fn has(&self, key: &str, name: &str) -> bool {
        self.layers(key).all(|(_, fact)| match &fact.value {
            Value::Names(names) => names.contains(name),
            _ => true,
        })
    }

    /// The names of a list that the first layer that has it holds; `None` if unknown.
    pub fn names(&self, key: &str) -> Option<&Names> {
        self.layers(key).find_map(|(_, fact)| match &fact.value {
            Value::Names(names) => Some(names),
            _ => None,
        })
    }
}
