//! Maps: definitions, and their contents while something runs.
//!
//! [`MapDef`] is what an object declares. [`Map`] is one map at run time; every byte of its
//! state lies in one [`Memory`], so that it can be shared with a worker process and be copied as
//! a whole. Values are preallocated and never move: a pointer to a value stays good until the
//! element is deleted, as the kernel promises for preallocated maps.
//!
//! Two sides use a map. Programs look up *places* ([`ValueAt`]) and read and write values there,
//! several queues at once. The host (loader, test, user) reads and writes whole elements, and
//! for per-CPU maps the values of all CPUs.

mod array;
mod bounds;
mod def;
mod errno;
mod fifo;
mod host;
pub mod json;
mod limits;
mod lpm;
mod memory;
mod ring;
mod runtime;
mod seqlock;
mod set;
mod slots;
mod table;
pub mod watch;

pub use array::ArrayLayout;
pub use def::{DataSection, InitialSlot, MapDef, MapType, SlotValue};
pub use errno::{Errno, to_r0};
pub use memory::Memory;
pub use runtime::{Map, MapError, MapId, Placement, UpdateFlags, ValueAt};
pub use set::{MapSet, SetError};

use runtime::{HEADER, index_of};
