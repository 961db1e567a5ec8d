//! Conditional branches: whether they are decided, and what each way tells.

use isa::ebpf::{Cond, Operand, Reg, Width};

use super::alu;
use crate::domain::{Extent, Kind, Range, State, Value, compare};

/// A conditional branch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branch {
    pub(crate) cond: Cond,
    pub(crate) width: Width,
    pub(crate) dst: Reg,
    pub(crate) src: Operand,
}

/// A value that a branch may tell something about, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A register.
    Reg(u8),
    /// A spilled register.
    Slot(u8),
}

/// Values of one id, each with the depth of its frame.
pub(crate) type Linked = Vec<(u8, Place)>;

/// Largest offset of a packet pointer that comparisons with the packet's end are followed for.
const MAX_PACKET_OFFSET: i64 = 0xffff;

/// The condition with its operands exchanged.
const fn mirror(cond: Cond) -> Cond {
    match cond {
        Cond::Gt => Cond::Lt,
        Cond::Ge => Cond::Le,
        Cond::Lt => Cond::Gt,
        Cond::Le => Cond::Ge,
        Cond::Sgt => Cond::Slt,
        Cond::Sge => Cond::Sle,
        Cond::Slt => Cond::Sgt,
        Cond::Sle => Cond::Sge,
        Cond::Eq => Cond::Eq,
        Cond::Ne => Cond::Ne,
        Cond::Set => Cond::Set,
    }
}

impl Branch {
    fn operands(&self, state: &State) -> (Value, Value) {
        (
            state.top.regs[self.dst.index()],
            alu::operand(state, self.src, Width::W64),
        )
    }

    /// Which way it goes, if that is certain.
    pub(crate) fn decide(&self, state: &State) -> Option<bool> {
        let (a, b) = self.operands(state);
        if a.kind.follows_packet() && b.kind.follows_packet() {
            return self.decide_packet(&a, &b);
        }
        match (a.is_scalar(), b.is_scalar()) {
            (true, true) => compare::decide(self.cond, self.width, &a.range, &b.range),
            (false, true) => self.decide_null(&a, &b),
            (true, false) => self.decide_null(&b, &a),
            (false, false) => None,
        }
    }

    /// A pointer that is surely not null, compared with 0.
    fn decide_null(&self, pointer: &Value, number: &Value) -> Option<bool> {
        if !pointer.kind.surely_not_null() || number.range.as_constant() != Some(0) {
            return None;
        }
        // Linux decides so for the lower halves too, although those of an address may be 0.
        match self.cond {
            Cond::Eq => Some(false),
            Cond::Ne => Some(true),
            _ => None,
        }
    }

    /// A packet pointer that is known to lie at or past the end.
    fn decide_packet(&self, a: &Value, b: &Value) -> Option<bool> {
        if self.width == Width::W32 {
            return None;
        }
        let (pointer, cond) = match (a.kind, b.kind) {
            (_, Kind::PacketEnd) => (a, self.cond),
            (Kind::PacketEnd, _) => (b, mirror(self.cond)),
            _ => return None,
        };
        match (cond, pointer.extent) {
            (Cond::Gt, Extent::PastEnd) | (Cond::Ge, Extent::PastEnd | Extent::AtEnd) => Some(true),
            (Cond::Le, Extent::PastEnd) | (Cond::Lt, Extent::PastEnd | Extent::AtEnd) => {
                Some(false)
            }
            _ => None,
        }
    }

    /// The values linked with an operand: what is learned of it holds for them.
    pub(crate) fn linked(&self, state: &State) -> Linked {
        let (a, b) = self.operands(state);
        let mut ids = [0; 2];
        if a.is_scalar() {
            ids[0] = a.id;
        }
        if b.is_scalar() && matches!(self.src, Operand::Reg(_)) {
            ids[1] = b.id;
        }
        let mut found = Vec::new();
        if ids == [0, 0] {
            return found;
        }
        let picks = |v: &Value| v.is_scalar() && v.id != 0 && ids.contains(&v.id);
        for (depth, frame) in state.frames().enumerate() {
            for (n, reg) in frame.regs.iter().enumerate() {
                if picks(reg) {
                    found.push((depth as u8, Place::Reg(n as u8)));
                }
            }
            for (n, slot) in frame.stack.slots().iter().enumerate() {
                if slot.spilled().is_some_and(|(reg, _)| picks(reg)) {
                    found.push((depth as u8, Place::Slot(n as u8)));
                }
            }
        }
        if found.len() < 2 {
            found.clear();
        }
        found
    }

    /// Narrows `state` to the paths that go this way.
    pub(crate) fn assume(&self, state: &mut State, taken: bool) {
        let (a, b) = self.operands(state);
        match (a.is_scalar(), b.is_scalar()) {
            (true, true) => self.assume_numbers(state, &a, &b, taken),
            (false, true) => self.assume_null(state, &a, &b, taken),
            (true, false) => {}
            (false, false) => {
                self.assume_pointers(state, &a, &b, taken);
            }
        }
    }

    fn assume_numbers(&self, state: &mut State, a: &Value, b: &Value, taken: bool) {
        let same = self.src == Operand::Reg(self.dst);
        let Ok((x, y)) = compare::assume(self.cond, self.width, taken, &a.range, &b.range) else {
            // No values go this way; the path is still followed, with nothing learned.
            return;
        };
        if same {
            return;
        }
        if let Operand::Reg(src) = self.src {
            state.top.regs[src.index()].range = y;
        }
        state.top.regs[self.dst.index()].range = x;
        if let Operand::Reg(src) = self.src {
            propagate(state, src);
        }
        propagate(state, self.dst);
    }

    fn assume_null(&self, state: &mut State, pointer: &Value, number: &Value, taken: bool) {
        let is_immediate = matches!(self.src, Operand::Imm(0));
        if self.width == Width::W32
            || !is_immediate
            || !pointer.kind.or_null()
            || number.range.as_constant() != Some(0)
        {
            return;
        }
        let null = match self.cond {
            Cond::Eq => taken,
            Cond::Ne => !taken,
            _ => return,
        };
        let reg = &mut state.top.regs[self.dst.index()];
        if pointer.id != 0 {
            state.resolve_null(pointer.id, null);
        } else if null {
            // Joined from several: no copies are known.
            *reg = Value::constant(0);
        } else {
            reg.kind = reg.kind.not_null();
        }
    }

    fn assume_pointers(&self, state: &mut State, a: &Value, b: &Value, taken: bool) {
        if self.width == Width::W32 || !a.kind.is_pointer() || !b.kind.is_pointer() {
            return;
        }
        let equal = match self.cond {
            Cond::Eq => taken,
            Cond::Ne => !taken,
            _ => return self.assume_packet(state, a, b, taken),
        };
        // Equal to something that is not null: not null either.
        let object = |v: &Value| matches!(v.kind, Kind::Object { .. });
        if equal && a.kind.or_null() != b.kind.or_null() && !object(a) && !object(b) {
            let id = if a.kind.or_null() { a.id } else { b.id };
            if id != 0 {
                state.resolve_null(id, false);
            }
        }
    }

    fn assume_packet(&self, state: &mut State, a: &Value, b: &Value, taken: bool) {
        let (pointer, reg, cond) = match self.src {
            Operand::Imm(_) => return,
            Operand::Reg(src) => {
                if is_end_of(a, b) {
                    (a, self.dst, self.cond)
                } else if is_end_of(b, a) {
                    (b, src, mirror(self.cond))
                } else {
                    return;
                }
            }
        };
        let cond = if taken {
            Some(cond)
        } else {
            compare::negate(cond)
        };
        let past = |state: &mut State, extent| {
            if pointer.kind == Kind::Packet {
                state.top.regs[reg.index()].extent = extent;
            }
        };
        match cond {
            Some(Cond::Le) => reach(state, pointer, 0),
            Some(Cond::Lt) => reach(state, pointer, 1),
            Some(Cond::Gt) => past(state, Extent::PastEnd),
            Some(Cond::Ge) => past(state, Extent::AtEnd),
            _ => {}
        }
    }
}

/// Whether `end` is where the region that `pointer` points into ends.
fn is_end_of(pointer: &Value, end: &Value) -> bool {
    match (pointer.kind, end.kind) {
        (Kind::Packet, Kind::PacketEnd) => true,
        // The metadata ends where the packet starts.
        (Kind::PacketMeta, Kind::Packet) => {
            end.off == 0 && end.id == 0 && end.range.as_constant() == Some(0)
        }
        _ => false,
    }
}

/// The packet reaches `more` bytes past `pointer`.
fn reach(state: &mut State, pointer: &Value, more: i64) {
    let off = i64::from(pointer.off);
    // The kernel takes nothing from a pointer at the base that lies before the end, although
    // one byte is there.
    if off < 0 || off == 0 && more == 1 {
        return;
    }
    let Ok(variable) = i64::try_from(pointer.range.umax) else {
        return;
    };
    // Beyond that the address could wrap around, and the comparison would tell nothing.
    if variable > MAX_PACKET_OFFSET || variable + off > MAX_PACKET_OFFSET {
        return;
    }
    state.extend_packet(
        pointer.kind,
        pointer.id,
        (off + more).min(MAX_PACKET_OFFSET) as u16,
    );
}

/// Carries what is known of a number to the values linked with it.
fn propagate(state: &mut State, reg: Reg) {
    let known = state.top.regs[reg.index()];
    if known.id == 0 {
        return;
    }
    let changes = |v: &Value| {
        v.is_scalar()
            && v.id == known.id
            && *v != known
            // From a sum cut to its lower half nothing follows but for its copies.
            && (v.same_delta(&known) || !known.is_lower)
    };
    state.update_all(changes, |v| {
        if v.same_delta(&known) {
            v.range = known.range;
            return;
        }
        let delta = i64::from(v.off) - i64::from(known.off);
        let sum = known.range.add(&Range::constant(delta as u64));
        v.range = if v.is_lower { sum.lower() } else { sum };
    });
}
