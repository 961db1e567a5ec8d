//! Worker processes: where native images run that nobody vouches for.
//!
//! [`Workers`] names a program that calls [`serve`]. It is started once and then makes a worker
//! (by fork, it is small) for each NIC and queue, so that many images cost little. A worker has
//! the NIC's maps in shared memory; frames and what becomes of them go through an
//! `exchange`, several at a time. Once it has loaded its programs a filter leaves it no system
//! call but waiting and ending.
//!
//! | file | where it runs | what it does |
//! |---|---|---|
//! | `start` | here | starts the program, asks it for workers |
//! | `session` | here | gives a worker frames, takes outcomes, sees it end |
//! | `exchange`, `wire` | both | the memory between them, and what lies in it |
//! | `serve` | there | makes workers |
//! | `child`, `guarded`, `filter` | there | the worker: its memory, its run, its cage |
//! | `report` | there | the handler that tells how a worker was stopped |
//!
//! **What is found.** A signal that the code causes, a system call, and a packet that takes more
//! than a second of processor time end the worker; its packet is trapped with the place in the
//! image and the registers, and the next packet runs in a new worker. Packet, context, stack and
//! each map lie between inaccessible pages, with a canary behind the last byte that is checked
//! after each packet, as are the room around the packet, the pointers in the context and the
//! registers that a function must preserve.
//!
//! **What is not.** A write into other memory of the worker (the engine's own, or inside a map
//! where no value lies) may show only as a wrong outcome, or as a worker that dies without a word.

mod child;
mod exchange;
mod filter;
mod guarded;
mod report;
mod serve;
mod session;
mod start;
mod wire;

pub use serve::{ServeError, serve};
pub(crate) use session::load;
pub(crate) use start::Spawner;
pub use start::WorkerError;

use crate::Workers;

/// What the program says first, so that another program is not taken for it.
const HELLO: &[u8] = concat!("nicbed worker ", env!("CARGO_PKG_VERSION")).as_bytes();
/// Most files in one message (`SCM_MAX_FD` in the kernel's net/scm.h is 253).
const FILES: usize = 250;
