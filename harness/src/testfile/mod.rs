//! Test files of packet programs: what `nicbed test` reads and runs.
//!
//! [`mod@format`] is the file's form, [`layers`] the table of protocol fields that packets are written
//! and compared by, [`packet`] makes bytes of a packet's text and text of its bytes, [`pattern`] is
//! bytes of which some may be any. [`expect`] holds an outcome against what is expected: [`frames`],
//! [`mod@checksum`], [`context`], [`elements`] of maps. [`run`] runs one test on one NIC, [`coverage`] counts
//! what ran and [`lcov`] shows it, [`report`] tells, and [`update`] writes what was got into the file's text. No file
//! is opened here: the command line reads and writes.

pub mod checksum;
pub mod context;
pub mod coverage;
pub mod elements;
pub mod expect;
pub mod format;
pub mod frames;
pub mod layers;
pub mod lcov;
pub mod packet;
pub mod pattern;
pub mod report;
pub mod run;
pub mod update;

/// How the name of a test file ends.
pub const SUFFIX: &str = ".nicbed.toml";
