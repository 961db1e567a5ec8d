//! Facts as JSON, in the form that `docs/facts.md` describes, and in a line for people.

use bpf::Program;
use isa::ebpf::{CallTarget, Insn};
use serde::Serialize;
use verifier::Verified;
use verifier::facts::{self, Held, RegFact, RegKind};

/// What holds at one pc over all paths.
#[derive(Debug, Serialize)]
pub struct PcFacts {
    /// Slot.
    pub pc: usize,
    /// Whether any path reaches it.
    pub reachable: bool,
    /// How often exploration looked at it.
    pub visits: u64,
    /// r0 to r10 before the instruction; null where nothing is known.
    pub registers: Vec<Option<Value>>,
    /// Slots of the running function's stack frame before it.
    pub stack: Vec<Slot>,
    /// What a load, store or atomic touches.
    pub access: Option<Access>,
    /// What a call is given.
    pub call: Option<Call>,
    /// Which ways a branch goes.
    pub branch: Option<Ways>,
    /// Whether it may put an address where others than the program see it.
    pub leaks_pointer: bool,
}

/// A value over all paths.
#[derive(Debug, Serialize)]
pub struct Value {
    /// Type.
    #[serde(flatten)]
    pub kind: Kind,
    /// Smallest number; for a pointer, of its offset. Unsigned.
    pub umin: u64,
    /// Largest.
    pub umax: u64,
    /// Smallest, signed.
    pub smin: i64,
    /// Largest, signed.
    pub smax: i64,
    /// The same of the lower half.
    pub u32_min: u32,
    /// Largest of the lower half.
    pub u32_max: u32,
    /// Smallest of the lower half, signed.
    pub s32_min: i32,
    /// Largest of the lower half, signed.
    pub s32_max: i32,
    /// Known bits.
    pub bits: Bits,
}

/// Known bits: those that are 0 in the mask are as in the value.
#[derive(Debug, Serialize)]
pub struct Bits {
    /// Values of the known bits; 0 elsewhere.
    pub value: u64,
    /// Bits that are not known.
    pub mask: u64,
}

/// Type of a value.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A number.
    Scalar,
    /// The context.
    Ctx,
    /// Into the packet.
    Packet,
    /// Into the metadata before it.
    PacketMeta,
    /// Just past the packet.
    PacketEnd,
    /// Into a stack frame.
    Stack {
        /// Frames up from the running function's.
        up: u32,
    },
    /// A map.
    Map {
        /// Its name; null where it is not the same on all paths.
        map: Option<String>,
    },
    /// Into a value of a map.
    MapValue {
        /// The map's name.
        map: Option<String>,
        /// Whether it may be null.
        or_null: bool,
    },
    /// Into a block of memory.
    Memory {
        /// Bytes.
        size: u32,
        /// Whether it may be null.
        or_null: bool,
    },
    /// A socket.
    Socket {
        /// Whether it may be null.
        or_null: bool,
    },
}

/// Eight bytes of a stack frame.
#[derive(Debug, Serialize)]
pub struct Slot {
    /// Offset of the lowest byte from the frame pointer.
    pub offset: i32,
    /// `value`, `zero` or `bytes`.
    pub holds: &'static str,
    /// How many of the lowest bytes belong to the value; null without one.
    pub bytes: Option<u8>,
    /// The value, if it is known.
    pub value: Option<Value>,
}

/// What an access touches.
#[derive(Debug, Serialize)]
pub struct Access {
    /// Region.
    #[serde(flatten)]
    pub region: Region,
    /// Smallest byte offset.
    pub min: i64,
    /// Largest byte offset of the first byte.
    pub max: i64,
    /// Bytes.
    pub size: u8,
    /// Power of two that divides every offset.
    pub align: u8,
}

/// A region of memory.
#[derive(Debug, Serialize)]
#[serde(tag = "region", rename_all = "snake_case")]
pub enum Region {
    /// The context.
    Ctx,
    /// The packet.
    Packet,
    /// The metadata before it.
    PacketMeta,
    /// A stack frame.
    Stack {
        /// Frames up from the running function's.
        up: u32,
    },
    /// A map's value.
    MapValue {
        /// The map's name; null where it is not the same on all paths.
        map: Option<String>,
    },
    /// A block of memory.
    Memory,
    /// A socket's fields.
    Socket,
    /// A structure of the kernel, or a map itself.
    Kernel,
    /// Not the same on all paths.
    Mixed,
}

/// A region and an offset that are the same on all paths.
#[derive(Debug, Serialize)]
pub struct Place {
    /// Region.
    #[serde(flatten)]
    pub region: Region,
    /// Byte offset.
    pub offset: i64,
}

/// What a call is given.
#[derive(Debug, Serialize)]
pub struct Call {
    /// The helper's or function's name.
    pub name: String,
    /// r1 and on, as many as it takes; null where nothing is known. A constant is the same on
    /// all paths.
    pub arguments: Vec<Option<Value>>,
    /// Name of the map argument.
    pub map: Option<String>,
    /// Where the key lies.
    pub key: Option<Place>,
    /// Where the value lies.
    pub value: Option<Place>,
    /// The key as a number.
    pub constant_key: Option<u64>,
}

/// Which ways a branch goes.
#[derive(Debug, Serialize)]
pub struct Ways {
    /// Can be taken.
    pub taken: bool,
    /// Can fall through.
    pub fall_through: bool,
}

/// The facts of a program, by pc; second slots of two-slot loads are left out.
pub fn facts(verified: &Verified) -> Vec<PcFacts> {
    let program = verified.program();
    let insns = program.insns.iter().enumerate();
    let insns = insns.filter(|(_, insn)| !matches!(insn, Insn::WideTail));
    insns.map(|(pc, insn)| at(verified, pc, insn)).collect()
}

fn at(verified: &Verified, pc: usize, insn: &Insn) -> PcFacts {
    let program = verified.program();
    let facts = verified.facts(pc);
    let registers: Vec<_> = facts.registers.iter().map(|r| value(program, r)).collect();
    PcFacts {
        pc,
        reachable: facts.reachable,
        visits: facts.visits,
        registers,
        stack: facts.stack.iter().map(|s| slot(program, s)).collect(),
        access: facts.access.map(|access| Access {
            region: region(program, access.region),
            min: access.min,
            max: access.max,
            size: access.size,
            align: access.align,
        }),
        call: call(program, pc, insn, facts),
        branch: facts.branch.map(|ways| Ways {
            taken: ways.taken,
            fall_through: ways.fall_through,
        }),
        leaks_pointer: facts.leaks_pointer,
    }
}

fn map_name(program: &Program, map: Option<usize>) -> Option<String> {
    Some(program.maps.get(map?)?.name.clone())
}

fn value(program: &Program, fact: &RegFact) -> Option<Value> {
    let kind = match fact.kind {
        RegKind::Unknown => return None,
        RegKind::Scalar => Kind::Scalar,
        RegKind::Ctx => Kind::Ctx,
        RegKind::Packet => Kind::Packet,
        RegKind::PacketMeta => Kind::PacketMeta,
        RegKind::PacketEnd => Kind::PacketEnd,
        RegKind::Stack { up } => Kind::Stack { up },
        RegKind::Map { map } => Kind::Map {
            map: map_name(program, map),
        },
        RegKind::MapValue { map, or_null } => Kind::MapValue {
            map: map_name(program, map),
            or_null,
        },
        RegKind::Memory { size, or_null } => Kind::Memory { size, or_null },
        RegKind::Socket { or_null } => Kind::Socket { or_null },
    };
    let range = &fact.range;
    Some(Value {
        kind,
        umin: range.umin,
        umax: range.umax,
        smin: range.smin,
        smax: range.smax,
        u32_min: range.u32_min,
        u32_max: range.u32_max,
        s32_min: range.s32_min,
        s32_max: range.s32_max,
        bits: Bits {
            value: range.bits.value,
            mask: range.bits.mask,
        },
    })
}

fn slot(program: &Program, fact: &facts::SlotFact) -> Slot {
    let (holds, bytes, value) = match &fact.holds {
        Held::Register { value: held, bytes } => ("value", Some(*bytes), value(program, held)),
        Held::Zero => ("zero", None, None),
        Held::Bytes => ("bytes", None, None),
    };
    Slot {
        offset: fact.offset,
        holds,
        bytes,
        value,
    }
}

fn region(program: &Program, region: facts::Region) -> Region {
    match region {
        facts::Region::Ctx => Region::Ctx,
        facts::Region::Packet => Region::Packet,
        facts::Region::PacketMeta => Region::PacketMeta,
        facts::Region::Stack { up } => Region::Stack { up },
        facts::Region::MapValue { map } => Region::MapValue {
            map: map_name(program, map),
        },
        facts::Region::Memory => Region::Memory,
        facts::Region::Socket => Region::Socket,
        facts::Region::Kernel => Region::Kernel,
        facts::Region::Mixed => Region::Mixed,
    }
}

fn call(program: &Program, pc: usize, insn: &Insn, facts: &facts::Facts) -> Option<Call> {
    let Insn::Call(target) = insn else {
        return None;
    };
    let (name, arity) = match *target {
        CallTarget::Helper(id) => {
            let arity = bpf::helper::prototype(id).map_or(5, bpf::helper::Prototype::arity);
            (
                bpf::helper::name(id).map_or_else(|| id.to_string(), str::to_owned),
                arity,
            )
        }
        CallTarget::Local { .. } => {
            let at = insn
                .function_target(pc)
                .and_then(|at| program.subprogram_at(at as usize));
            (
                at.map_or_else(String::new, |n| program.subprograms[n].name.clone()),
                5,
            )
        }
        CallTarget::Kfunc { id, .. } => (id.to_string(), 5),
        CallTarget::Reg(reg) => (reg.to_string(), 5),
    };
    let place = |place: Option<(facts::Region, i64)>| {
        place.map(|(at, offset)| Place {
            region: region(program, at),
            offset,
        })
    };
    let given = facts.call.as_ref();
    Some(Call {
        name,
        arguments: (1..=arity.min(5))
            .map(|n| value(program, &facts.registers[n]))
            .collect(),
        map: map_name(program, given.and_then(|c| c.map)),
        key: place(given.and_then(|c| c.key)),
        value: place(given.and_then(|c| c.value)),
        constant_key: given.and_then(|c| c.constant_key),
    })
}

/// The registers before the instruction at `pc`, for people: `r1=ctx r2=[0, 255]`; `unreachable`
/// if no path reaches it.
pub fn line(verified: &Verified, pc: usize) -> String {
    let facts = verified.facts(pc);
    if !facts.reachable {
        return "unreachable".to_owned();
    }
    facts
        .registers
        .iter()
        .enumerate()
        .filter(|(_, fact)| fact.kind != RegKind::Unknown)
        .map(|(n, fact)| format!("r{n}={}", register_text(fact)))
        .collect::<Vec<_>>()
        .join(" ")
}

fn register_text(fact: &RegFact) -> String {
    let range = match fact.range.as_constant() {
        Some(n) => format!("{}", n as i64),
        None if fact.range == verifier::domain::Range::UNKNOWN => String::new(),
        None => format!("[{}, {}]", fact.range.umin, fact.range.umax),
    };
    match fact.kind {
        RegKind::Scalar if range.is_empty() => "scalar".to_owned(),
        RegKind::Scalar => range,
        kind => format!(
            "{}{}",
            format!("{kind:?}").to_lowercase(),
            if range == "0" {
                String::new()
            } else {
                format!("+{range}")
            }
        ),
    }
}
