//! Abstract values. Domains know order, join and meet, and no instruction.
//!
//! [`Tnum`] holds known bits; [`Range`] adds intervals to them (`arith` and `compare` hold what
//! is computed with ranges); [`Value`] adds a type; [`Stack`] is one frame's memory, and [`State`]
//! all that is known on a path.

mod arith;
pub mod compare;
pub(crate) mod join;
mod range;
mod stack;
mod state;
mod tnum;
mod types;

pub use range::{Empty, Range};
pub use stack::{Byte, FRAME_BYTES, Loaded, Slot, Stack, slot_of};
pub use state::{Frame, Ids, Reference, State};
pub use tnum::Tnum;
pub use types::{Extent, Kind, MapRef, Value};

#[cfg(test)]
mod tests;
