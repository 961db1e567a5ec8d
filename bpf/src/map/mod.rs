//! Maps: definitions, and their contents while something runs.
//!
//! [`MapDef`] is what an object declares. [`Map`] is one map at run time; every byte of its
//! state lies in one [`Memory`], with offsets and indices instead of pointers, so that it can be
//! shared with a worker process and be copied as a whole. Values are preallocated and never
//! move: a pointer to a value stays good until the element is deleted, as the kernel promises for
//! preallocated maps.
//!
//! Two sides use a map. Programs look up *places* ([`ValueAt`]) and read and write values there,
//! several queues at once. The host (loader, test, user) reads and writes whole elements, and
//! for per-CPU maps the values of all CPUs: methods that begin with `host_`. [`MapSet`] holds the
//! maps of a running program set, [`json`] reads and writes their contents, [`watch`] tells
//! whether the order between queues may have mattered.
//!
//! **What is promised.** Results, error numbers and what a program sees under an address it holds
//! are those of Linux 6.18, asked of it in `tests/maps_vs_kernel.rs` and
//! `tests/helpers_vs_kernel.rs`; in particular replacing the value of a key in a hash map leaves
//! the old value under the old address until the next replacement by the same CPU. What depends
//! on an order depends only on the order of operations: no clock, no address, no random seed.
//! Where Linux leaves things open or approximates, this is what happens here:
//!
//! * *LRU maps* evict exactly the least recently used element, when one more than `max_entries`
//!   would be there. A use is a lookup or update by a program, or an update by the host; a lookup
//!   by the host is none. Linux keeps free elements in batches for each CPU and clears reference
//!   bits in batches, so that it evicts earlier, several elements at once, and by an order that
//!   only approximates this one; it may also evict something for an update that is then refused.
//! * *Ring buffers* are one for each CPU, see [`Map::reserve`]: what one queue reserves never
//!   depends on another, and reserved bytes are zero.
//! * *Keys* are listed sorted by their bytes ([`Map::host_keys`]).
//!
//! **Threads.** A change of structure (insert, delete, evict, push, pop) takes the map's spin
//! lock; lookups take none and walk again if a change happened meanwhile. A lookup in an LRU map
//! takes it unless the element is the newest already. Values are read and written with relaxed
//! atomics; a value that two queues write at once is a race in the program, not here.

mod array;
mod bloom;
mod bounds;
mod chunk;
mod def;
mod elements;
mod errno;
mod fifo;
mod host;
pub mod json;
mod layout;
mod limits;
mod lpm;
mod memory;
mod ring;
mod runtime;
mod seqlock;
mod set;
mod slots;
mod table;
mod values;
pub mod watch;

pub use array::ArrayLayout;
pub use def::{DataSection, InitialSlot, MapDef, MapType, SlotValue};
pub use elements::Elements;
pub use errno::{Errno, to_r0};
pub use layout::{Layout, LayoutKind, MemberLayout};
pub use memory::Memory;
pub use runtime::{Map, MapError, MapId, Placement, UpdateFlags, ValueAt};
pub use set::{MapSet, SetError};

use runtime::{HEADER, index_of};
