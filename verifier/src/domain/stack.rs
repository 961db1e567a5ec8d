//! One function's stack frame: 64 slots of 8 bytes below the frame pointer.
//!
//! A slot that was written as a whole holds a register; otherwise each byte is zero, something,
//! or untouched. Offsets count from the frame pointer: -512 to -1.

use std::rc::Rc;

use super::{Range, Value};

/// Bytes of a frame.
pub const FRAME_BYTES: i32 = 512;

/// What one byte of the stack holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Byte {
    /// Never written.
    #[default]
    Untouched,
    /// Any value.
    Misc,
    /// Zero.
    Zero,
    /// Part of the slot's spilled register.
    Spill,
    /// Part of an object that only its own functions may touch.
    Object,
}

/// What a dynptr stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynptrKind {
    /// Memory of a map value.
    Local,
    /// A reserved ring buffer record.
    Record,
    /// A tc packet.
    Skb,
    /// An XDP packet.
    Xdp,
}

impl DynptrKind {
    /// Whether it stands for a packet.
    pub const fn is_packet(self) -> bool {
        matches!(self, DynptrKind::Skb | DynptrKind::Xdp)
    }
}

/// An object that lives on the stack, or one slot of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackObject {
    /// An open-coded iterator over numbers.
    Iterator {
        /// The reference that it holds.
        reference: u32,
        /// Whether it may give more.
        active: bool,
        /// How often it gave something on this path.
        depth: u32,
    },
    /// A dynptr.
    Dynptr {
        /// What it stands for.
        kind: DynptrKind,
        /// Its identity, for its slices.
        id: u32,
        /// The reference that it holds, 0 for none.
        reference: u32,
        /// Whether this is its first slot.
        first: bool,
    },
    /// What interrupts were before they were switched off.
    Interrupts {
        /// The reference that it holds.
        reference: u32,
    },
}

impl StackObject {
    /// The reference that it holds, 0 for none.
    pub const fn reference(self) -> u32 {
        match self {
            StackObject::Iterator { reference, .. }
            | StackObject::Dynptr { reference, .. }
            | StackObject::Interrupts { reference } => reference,
        }
    }

    /// The same with ids and the progress of loops forgotten, which two states may differ in.
    #[must_use]
    pub const fn without_ids(self) -> StackObject {
        match self {
            StackObject::Iterator { active, .. } => StackObject::Iterator {
                reference: 0,
                active,
                depth: 0,
            },
            StackObject::Dynptr { kind, first, .. } => StackObject::Dynptr {
                kind,
                id: 0,
                reference: 0,
                first,
            },
            StackObject::Interrupts { .. } => StackObject::Interrupts { reference: 0 },
        }
    }
}

/// Eight bytes of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Its bytes by ascending address.
    pub bytes: [Byte; 8],
    /// The register whose lower bytes are the slot's [`Byte::Spill`] bytes.
    spill: Option<Rc<Value>>,
    /// The object whose [`Byte::Object`] bytes these are.
    object: Option<StackObject>,
}

impl Slot {
    /// The spilled register, and how many of its bytes are kept.
    pub fn spilled(&self) -> Option<(&Value, u8)> {
        let reg = self.spill.as_deref()?;
        let kept = self.bytes.iter().filter(|b| **b == Byte::Spill).count();
        Some((reg, kept as u8))
    }

    /// The spilled register for writing.
    pub fn spilled_mut(&mut self) -> Option<&mut Value> {
        self.spill.as_mut().map(Rc::make_mut)
    }

    /// Whether both hold the very same allocation of a spilled register.
    pub fn same_spill(&self, other: &Slot) -> bool {
        match (&self.spill, &other.spill) {
            (Some(a), Some(b)) => Rc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    /// The object in it.
    pub fn object(&self) -> Option<StackObject> {
        self.object
    }

    /// Puts (a part of) an object there.
    pub fn place(&mut self, object: StackObject) {
        *self = Slot {
            bytes: [Byte::Object; 8],
            spill: None,
            object: Some(object),
        };
    }

    /// Whether nothing was written to it.
    pub fn is_untouched(&self) -> bool {
        self.bytes == [Byte::Untouched; 8]
    }

    /// Makes it hold `reg`'s lower `size` bytes; other bytes keep only being zero or untouched.
    pub fn spill(&mut self, reg: Value, size: u8) {
        self.forget_object();
        for (i, byte) in self.bytes.iter_mut().enumerate() {
            if i < usize::from(size) {
                *byte = Byte::Spill;
            } else if *byte == Byte::Spill {
                *byte = Byte::Misc;
            }
        }
        self.spill = Some(Rc::new(reg));
    }

    /// Turns a spilled register into bytes of any value.
    pub fn scatter(&mut self) {
        self.forget_object();
        if self.spill.take().is_some() {
            for byte in &mut self.bytes {
                if *byte == Byte::Spill {
                    *byte = Byte::Misc;
                }
            }
        }
    }

    fn forget_object(&mut self) {
        if self.object.take().is_some() {
            self.bytes = [Byte::Misc; 8];
        }
    }

    /// The slot read as a whole number, if it is one: a spilled number, or bytes of any value.
    pub fn as_number(&self) -> Option<Value> {
        match self.spilled() {
            Some((reg, 8)) if reg.is_scalar() => Some(*reg),
            Some(_) => None,
            None => self
                .bytes
                .iter()
                .all(|b| matches!(b, Byte::Misc | Byte::Untouched))
                .then_some(Value::SCALAR),
        }
    }
}

/// The value that a load from the stack gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Value before it is truncated or extended to the width of the load.
    pub reg: Value,
    /// The slot whose spilled register it was made from, if it was.
    pub slot: Option<u8>,
}

/// A stack frame's contents. Cloning it shares the slots until one is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    slots: Rc<Vec<Slot>>,
}

/// The slot that holds the byte at `offset`: 0 for -8 to -1, 63 for -512 to -505.
pub const fn slot_of(offset: i32) -> usize {
    ((-1 - offset) / 8) as usize
}

const fn byte_of(offset: i32) -> usize {
    (offset + FRAME_BYTES) as usize % 8
}

impl Stack {
    /// The slots from the frame pointer down, as far as the stack was written.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot, if it was ever written.
    pub fn slot(&self, index: usize) -> Option<&Slot> {
        self.slots.get(index)
    }

    /// Whether both share their slots.
    pub fn same(&self, other: &Stack) -> bool {
        Rc::ptr_eq(&self.slots, &other.slots)
    }

    /// All slots for writing.
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        Rc::<Vec<Slot>>::make_mut(&mut self.slots).as_mut_slice()
    }

    /// The slot for writing; slots up to it come into being. `index` is below 64.
    pub fn slot_mut(&mut self, index: usize) -> &mut Slot {
        debug_assert!(index < (FRAME_BYTES / 8) as usize);
        let slots = Rc::make_mut(&mut self.slots);
        if slots.len() <= index {
            slots.resize(index + 1, Slot::default());
        }
        &mut slots[index]
    }

    /// What the byte at `offset` holds.
    pub fn byte(&self, offset: i32) -> Byte {
        self.slots
            .get(slot_of(offset))
            .map_or(Byte::Untouched, |s| s.bytes[byte_of(offset)])
    }

    /// Whether storing `size` bytes at `offset` keeps a register as such.
    pub const fn keeps_register(offset: i32) -> bool {
        offset % 8 == 0
    }

    /// Stores the lower `size` bytes of `reg` at `offset`; the bytes lie in one slot.
    pub fn store(&mut self, offset: i32, size: u8, reg: &Value) {
        let zero = reg.is_zero();
        let slot = self.slot_mut(slot_of(offset));
        if Stack::keeps_register(offset) && (reg.is_scalar() || size == 8) {
            let mut kept = *reg;
            if reg.is_scalar() && reg.range.width() > 8 * u32::from(size) {
                kept = kept.unlinked();
            }
            slot.spill(kept, size);
            return;
        }
        slot.scatter();
        let byte = if zero { Byte::Zero } else { Byte::Misc };
        let first = byte_of(offset);
        slot.bytes[first..first + usize::from(size)].fill(byte);
    }

    /// Something is written somewhere in `min..max`, whole bytes or not: what was known there is
    /// lost. With `zero`, what is zero stays so.
    pub fn smear(&mut self, min: i32, max: i32, zero: bool) {
        for offset in min..max {
            let slot = self.slot_mut(slot_of(offset));
            if zero && slot.spilled().is_some_and(|(reg, _)| reg.is_zero()) {
                continue;
            }
            slot.scatter();
            let byte = &mut slot.bytes[byte_of(offset)];
            if !(zero && *byte == Byte::Zero) {
                *byte = Byte::Misc;
            }
        }
    }

    /// Whether `size` bytes at `offset` can be read as a spilled register, whole or in part.
    fn narrows(offset: i32, size: u8, kept: u8) -> bool {
        byte_of(offset) == 0 && size <= kept
    }

    /// Whether a load of `size` bytes at `offset` would take a pointer apart.
    pub fn splits_pointer(&self, offset: i32, size: u8) -> bool {
        match self.slots.get(slot_of(offset)).and_then(Slot::spilled) {
            Some((reg, kept)) => !reg.is_scalar() && (size != 8 || kept != 8),
            None => false,
        }
    }

    /// Loads `size` bytes at `offset`; the bytes lie in one slot.
    pub fn load(&self, offset: i32, size: u8) -> Loaded {
        let index = slot_of(offset);
        let unknown = Loaded {
            reg: Value::SCALAR,
            slot: None,
        };
        let Some(slot) = self.slots.get(index) else {
            return unknown;
        };
        let first = byte_of(offset);
        let bytes = &slot.bytes[first..first + usize::from(size)];
        if let Some((reg, kept)) = slot.spilled() {
            if size == 8 && kept == 8 || reg.is_scalar() && Stack::narrows(offset, size, kept) {
                let mut reg = *reg;
                if reg.is_scalar() && reg.range.width() > 8 * u32::from(size) {
                    reg = reg.unlinked();
                }
                return Loaded {
                    reg,
                    slot: Some(index as u8),
                };
            }
            if !reg.is_scalar() {
                return Loaded {
                    reg: Value::UNKNOWN,
                    slot: None,
                };
            }
            if reg.is_zero() && bytes.iter().all(|b| *b == Byte::Spill) {
                return Loaded {
                    reg: Value::constant(0),
                    slot: Some(index as u8),
                };
            }
        }
        if bytes.iter().all(|b| *b == Byte::Zero) {
            return Loaded {
                reg: Value::scalar(Range::constant(0)),
                slot: None,
            };
        }
        unknown
    }

    /// Loads a number from somewhere in `min..max`.
    pub fn load_somewhere(&self, min: i32, max: i32) -> Value {
        if (min..max).all(|offset| self.byte(offset) == Byte::Zero) {
            Value::constant(0)
        } else if (slot_of(max - 1)..=slot_of(min)).any(|i| {
            self.slots
                .get(i)
                .and_then(Slot::spilled)
                .is_some_and(|(reg, _)| !reg.is_scalar())
        }) {
            Value::UNKNOWN
        } else {
            Value::SCALAR
        }
    }

    /// Lowest offset that was written, as a number of bytes (a multiple of 8).
    pub fn depth(&self) -> u32 {
        self.slots.len() as u32 * 8
    }
}
