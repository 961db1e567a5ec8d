//! Joins: the smallest that covers two values, slots or states, for the facts alone.
//!
//! A joined value is linked with another only if both were linked in both states, and a pointer
//! that may be null and lost its identity is decided by itself only.

use super::{Byte, Extent, Frame, Kind, Range, Slot, Stack, StackObject, State, Value};

/// Whether a join may grow step by step, or must reach an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Exactly both.
    Join,
    /// A bound that grows is given up.
    Widen,
}

impl Growth {
    fn range(self, old: &Range, new: &Range) -> Range {
        if old.includes(new) {
            return *old;
        }
        match self {
            Growth::Join => old.join(new),
            Growth::Widen => old.widen(new),
        }
    }
}

impl Value {
    /// The fixed part of a pointer's offset moved into the variable part.
    fn flattened(&self) -> Value {
        Value {
            off: 0,
            range: self.range.add(&Range::constant(i64::from(self.off) as u64)),
            ..*self
        }
    }

    /// Covers both.
    #[must_use]
    pub fn join(&self, new: &Value, growth: Growth) -> Value {
        if self == new {
            return *self;
        }
        let kind = match (self.kind, new.kind) {
            (a, b) if a == b => a,
            // Of one place, null or not.
            (a, b) if a.not_null() == b.not_null() => {
                if a.or_null() {
                    a
                } else {
                    b
                }
            }
            _ => return Value::UNKNOWN,
        };
        if kind == Kind::Unknown {
            return Value::UNKNOWN;
        }
        let same_delta = self.same_delta(new);
        let linked = self.id == new.id && (kind != Kind::Scalar || same_delta);
        let (a, b) = if kind == Kind::Scalar || self.off == new.off {
            (*self, *new)
        } else {
            (self.flattened(), new.flattened())
        };
        let mut joined = Value {
            kind,
            extent: Extent::None,
            range: growth.range(&a.range, &b.range),
            reference: if a.reference == b.reference {
                a.reference
            } else {
                0
            },
            owner: if a.owner == b.owner { a.owner } else { 0 },
            ..a
        };
        if !linked {
            joined.id = 0;
            if joined.is_delta {
                joined.is_delta = false;
                joined.is_lower = false;
                joined.off = 0;
            }
            if kind == Kind::Scalar {
                joined.off = 0;
            }
        }
        joined
    }
}

impl StackObject {
    /// Covers both; `None` if there is no such object.
    fn join(self, new: StackObject) -> Option<StackObject> {
        use StackObject as O;
        let same = |a: u32, b: u32| if a == b { a } else { 0 };
        match (self, new) {
            (
                O::Iterator {
                    reference,
                    active,
                    depth,
                },
                O::Iterator {
                    reference: other,
                    active: also,
                    ..
                },
            ) => Some(O::Iterator {
                reference: same(reference, other),
                active: active || also,
                depth,
            }),
            (
                O::Dynptr {
                    kind,
                    id,
                    reference,
                    first,
                },
                O::Dynptr {
                    kind: other,
                    id: its,
                    reference: held,
                    first: also,
                },
            ) if kind == other && first == also => Some(O::Dynptr {
                kind,
                id: same(id, its),
                reference: same(reference, held),
                first,
            }),
            (O::Interrupts { reference }, O::Interrupts { reference: other }) => {
                Some(O::Interrupts {
                    reference: same(reference, other),
                })
            }
            _ => None,
        }
    }
}

impl Slot {
    /// Covers both.
    #[must_use]
    pub fn join(&self, new: &Slot, growth: Growth) -> Slot {
        if self == new {
            return self.clone();
        }
        let mut joined = Slot::default();
        match (self.spilled(), new.spilled()) {
            (Some((a, kept)), Some((b, other))) if kept == other => {
                joined.spill(a.join(b, growth), kept);
            }
            (None, None) => {}
            (a, b) => {
                let pointer = |s: Option<(&Value, u8)>| s.is_some_and(|(v, _)| !v.is_scalar());
                if pointer(a) || pointer(b) {
                    joined.spill(Value::UNKNOWN, 8);
                }
            }
        }
        if let (Some(a), Some(b)) = (self.object(), new.object())
            && let Some(object) = a.join(b)
        {
            joined.place(object);
            return joined;
        }
        for (at, byte) in joined.bytes.iter_mut().enumerate() {
            if *byte != Byte::Spill {
                *byte = match (self.bytes[at], new.bytes[at]) {
                    (Byte::Zero, Byte::Zero) => Byte::Zero,
                    (Byte::Untouched, Byte::Untouched) => Byte::Untouched,
                    _ => Byte::Misc,
                };
            }
        }
        joined
    }
}

impl Stack {
    /// Covers both.
    #[must_use]
    pub fn join(&self, new: &Stack, growth: Growth) -> Stack {
        if self.same(new) || self == new {
            return self.clone();
        }
        let untouched = Slot::default();
        let len = self.slots().len().max(new.slots().len());
        let mut joined = Stack::default();
        for at in (0..len).rev() {
            let (a, b) = (
                self.slot(at).unwrap_or(&untouched),
                new.slot(at).unwrap_or(&untouched),
            );
            *joined.slot_mut(at) = a.join(b, growth);
        }
        joined
    }
}

impl Frame {
    fn join(&self, new: &Frame, growth: Growth) -> Frame {
        let mut joined = self.clone();
        for (reg, other) in joined.regs.iter_mut().zip(&new.regs) {
            *reg = reg.join(other, growth);
        }
        joined.stack = self.stack.join(&new.stack, growth);
        joined
    }
}

impl State {
    /// Covers both; they are of one chain of calls.
    pub fn absorb(&mut self, new: &State, growth: Growth) {
        for depth in 0..=self.depth() {
            if self.same_caller(new, depth) {
                continue;
            }
            let (a, b) = (self.frame(depth), new.frame(depth));
            if a != b {
                let joined = a.join(b, growth);
                *self.frame_mut(depth) = joined;
            }
        }
    }
}
