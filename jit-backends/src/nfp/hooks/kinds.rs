//! The kernel's types of registers, as the driver prints them.

use isa::nfp::learned::Visited;
use verifier::facts::{RegFact, RegKind};

use super::Seen;

/// A number.
pub(super) const SCALAR: u32 = 1;
/// The context.
pub(super) const CTX: u32 = 2;
/// Into a map value.
pub(super) const MAP_VALUE: u32 = 4;
/// Into the stack.
pub(super) const STACK: u32 = 6;
/// Into the packet.
pub(super) const PACKET: u32 = 8;
/// A socket.
const SOCKET: u32 = 0xb;
/// A block of memory.
const MEMORY: u32 = 0x11;
/// Flag of a pointer that may be null.
const OR_NULL: u32 = 1 << 8;

/// What a pointer was at a visit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer {
    /// Its type's number.
    pub(super) kind: u32,
    /// Its offset, if that is constant.
    pub(super) offset: Option<i64>,
}

/// The number of a register's type (`enum bpf_reg_type` of Linux 6.18); 0 where it is not known.
pub(super) fn number(fact: &RegFact) -> u32 {
    let null = |or_null: bool| if or_null { OR_NULL } else { 0 };
    match fact.kind {
        RegKind::Unknown => 0,
        RegKind::Scalar => SCALAR,
        RegKind::Ctx => CTX,
        RegKind::Map { .. } => 3,
        RegKind::MapValue { or_null, .. } => MAP_VALUE | null(or_null),
        RegKind::Stack { .. } => STACK,
        RegKind::PacketMeta => 7,
        RegKind::Packet => PACKET,
        RegKind::PacketEnd => 9,
        RegKind::Socket { or_null } => SOCKET | null(or_null),
        RegKind::Memory { or_null, .. } => MEMORY | null(or_null),
    }
}

/// What the kernel calls a type, for explanations.
pub(super) fn name(number: u32) -> &'static str {
    match number & (OR_NULL - 1) {
        SCALAR => "a number",
        CTX => "the context",
        3 => "a map",
        MAP_VALUE => "a map value",
        5 => "a map key",
        STACK => "the stack",
        7 => "the packet's metadata",
        PACKET => "the packet",
        9 => "the packet's end",
        SOCKET => "a socket",
        MEMORY => "a block of memory",
        _ => "something else",
    }
}

/// Known bits as the kernel prints them.
pub(super) fn bits(fact: &RegFact) -> String {
    let bits = fact.range.bits;
    format!("({:#x}; {:#x})", bits.value, bits.mask)
}

/// A pointer's offset, if it is constant.
pub(super) fn offset(fact: &RegFact) -> Option<i64> {
    fact.range.as_constant().map(|offset| offset as i64)
}

impl Seen {
    /// For the translator.
    pub(super) fn visited(&self, pc: usize) -> Visited {
        Visited {
            pc: pc as u32,
            dst: self.dst,
            src: self.src,
            over16: self.over16,
            maybe16: self.maybe16,
            moving_pointer: self.moving_pointer,
            caller_frame: self.caller_frame,
        }
    }
}
