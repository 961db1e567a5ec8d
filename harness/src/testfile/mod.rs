//! Test files of packet programs: what `nicbed test` reads and runs.
//!
//! [`mod@format`] is the file's form, [`layers`] the table of protocol fields that packets are written
//! and compared by, [`packet`] makes bytes of a packet's text, [`expect`] holds an outcome against
//! what is expected, [`run`] runs one test on one NIC, [`report`] tells. No file is opened here:
//! the command line reads.

pub mod checksum;
pub mod expect;
pub mod format;
pub mod layers;
pub mod packet;
pub mod report;
pub mod run;

/// How the name of a test file ends.
pub const SUFFIX: &str = ".nicbed.toml";
