//! What a NIC declares, and whether a program keeps to it.
//!
//! A profile is a TOML file in `profiles/`; [`Caps`] is what it says, typed. [`check`] holds a
//! verified program against it and yields every violation as a finding.
//!
//! * [`schema`] is the table of all facts; reading, writing, [`apply_set`] and the record go by
//!   it.
//! * [`rules`] names what can be violated; [`explain`] has a page for each.
//! * [`record`] is the binary form in which a device serves its facts to its driver.
//!
//! ```
//! let agilio = caps::builtin("agilio-cx")?;
//! assert!(agilio.has("helpers", "bpf_map_lookup_elem"));
//! assert_eq!(agilio.stack_bytes(), caps::Bound::Known(512));
//! let other = caps::apply_set(&agilio, "stack.bytes=256")?;
//! assert_eq!(other.stack_bytes(), caps::Bound::Known(256));
//! // What the device serves is what the driver reads.
//! assert_eq!(agilio.with_record(&other.to_record())?.stack_bytes(), caps::Bound::Known(256));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What does not belong here: what a backend makes of a program, and which backends exist. A
//! profile only names its backend.
#![forbid(unsafe_code)]

mod change;
mod check;
pub mod domain;
mod headroom;
mod profile;
mod read;
pub mod record;
pub mod rules;
pub mod schema;
mod set;
mod typed;
mod usage;
pub mod value;
mod write;

pub use change::changes;
pub use check::check;
pub use headroom::{Headroom, headroom};
pub use profile::{
    Caps, Known, Place, ProfileError, RecordFormat, builtin, builtin_names, builtin_text,
};
pub use record::RecordError;
pub use rules::explain;
pub use set::apply_set;
pub use typed::{CostClass, Costs, Model, Packet};
pub use usage::{Usage, usage};
pub use value::{Bound, By, Fact, Limit, Names, Scope, Trust, Unit, Value};
