//! Replay: frames to queues, queues to threads, outcomes back in arrival order.
//!
//! The NIC, not the machine, has queues. [`pcaps::rss`] gives each frame a queue, [`order`] tells from
//! facts whether queues may run side by side, [`lanes`] runs a chunk either way, [`watched`] lets
//! queues that share maps try it. The answer is that of arrival order for any number of threads.

pub mod access;
pub mod chunk;
pub mod device;
pub mod lanes;
pub mod meeting;
pub mod order;
pub mod second;
mod stale;
pub mod watched;
