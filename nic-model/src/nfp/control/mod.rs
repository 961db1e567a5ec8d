//! How the host reaches maps on the card: control messages, and what the driver keeps of their
//! answers.
//!
//! `message` is the bytes, `firmware` the card's side, `host` the driver's, with its errors, the
//! turning of counters, and the 250 µs for which it answers from what it read before. Facts:
//! `nfp-drv-kmods` 7728618f3622, `src/bpf/cmsg.c` and `src/bpf/fw.h`.
//!
//! A run does not go this way: the host reads the NIC's maps where they lie, which shows the same
//! values. This is for looking at the messages themselves, their number and the age of what is
//! read.
//!
//! ```
//! use bpf::map::{MapDef, MapType};
//! use nic_model::nfp::control::{Fields, Firmware, Host};
//! let fields = Fields { key_bytes: 64, value_bytes: 64 };
//! let mut firmware = Firmware::new(fields);
//! let mut host = Host::new(fields, 640, true)?;
//! let mut def = MapDef::new("counters", MapType::Array);
//! (def.key_size, def.value_size, def.max_entries) = (4, 8, 4);
//! let mut map = host.create(&mut firmware, &def)?;
//! let first = host.next(&mut firmware, &mut map, None, 0)?;
//! assert_eq!(first, Some(vec![0; 4]));
//! let sent = host.sent();
//! // Within 250 µs the rest of the answer serves.
//! host.lookup(&mut firmware, &mut map, &[1, 0, 0, 0], 249_999)?;
//! assert_eq!(host.sent(), sent);
//! host.lookup(&mut firmware, &mut map, &[1, 0, 0, 0], 250_001)?;
//! assert_eq!(host.sent(), sent + 1);
//! # Ok::<(), nic_model::nfp::control::HostError>(())
//! ```

mod firmware;
mod host;
mod message;

pub use firmware::Firmware;
pub use host::{CACHE_NS, Host, HostError, HostMap, MOST_ENTRIES};
pub use message::{Alloc, Entry, Fields, MessageError, Op, Reply, Request, Status};
