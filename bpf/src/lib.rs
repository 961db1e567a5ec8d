//! eBPF programs as data, and everything around them that both a CPU and a NIC must share:
//! objects, hooks and contexts, maps, helpers, frames and outcomes, findings.
//!
//! * [`object`] reads what people have (ELF, assembly text, raw instructions) into a
//!   [`ProgramSet`].
//! * [`Program`], [`Hook`] and [`context`] say what a program is and what it is given.
//! * [`map`] and [`helper`] hold semantics that are written once, for every engine and for the
//!   reference alike; the Linux kernel is what judges them.
//! * [`run`] holds the values that go through an engine: [`run::Batch`], [`run::Frame`],
//!   [`run::Outcome`]; [`skb`] what a tc packet has beside its bytes.
//! * [`trace`] holds the same instruction by instruction, for whoever wants to look.
//! * [`fault`] is what the machine held where native code was stopped.
//! * [`finding`] is the one value in which every stage says what is wrong.
//!
//! What does not belong here: what an instruction does (engines), whether a program is safe
//! (`verifier`), what a NIC can do (`caps`).
#![deny(unsafe_code)]

pub mod area;
pub mod btf;
pub mod context;
pub mod fault;
pub mod finding;
pub mod generate;
pub mod helper;
pub mod hook;
pub mod kfunc;
pub mod map;
pub mod object;
pub mod program;
pub mod run;
pub mod skb;
pub mod trace;

pub use finding::{Finding, Severity, Stage};
pub use hook::Hook;
pub use program::{Global, Program, ProgramSet, Refused, Subprogram};
