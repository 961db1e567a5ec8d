//! Helpers: what programs may call, in two parts that share nothing but ids.
//!
//! [`prototype`] is the table the verifier and the capability checks read: id, name, argument
//! and return types, hooks. The bodies, written once over the small [`Machine`] trait, are what
//! the reference and the engines run.

mod machine;
mod prototype;

pub use machine::{Machine, Window};
pub use prototype::{Arg, Prototype, Return};
