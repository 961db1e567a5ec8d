//! What the x86-64 backend and the native engine agree on. Encoding is dynasmrt's job.

pub mod abi;
