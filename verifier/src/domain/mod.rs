//! Abstract values. Domains know order, join and meet, and no instruction.
//!
//! [`Tnum`] holds known bits; [`Range`] adds intervals to them (`arith` and `compare` hold what
//! is computed with ranges); [`Value`] adds a type; [`Stack`] is one frame's memory, and [`State`]
//! all that is known on a path.

mod arith;
pub mod compare;
mod held;
pub(crate) mod join;
mod range;
mod stack;
mod state;
mod tnum;
mod types;

pub use held::{Held, Lock, Reference, Resource};
pub use range::{Empty, Range};
pub use stack::{Byte, DynptrKind, FRAME_BYTES, Loaded, Slot, Stack, StackObject, slot_of};
pub use state::{Callback, Frame, Ids, State};
pub use tnum::Tnum;
pub use types::{Block, Extent, Kind, MapRef, Trust, Value};

#[cfg(test)]
mod tests;
