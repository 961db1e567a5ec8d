//! The binary record in which a device declares its capabilities, in two formats: encode is the
//! device's side, decode the driver's.

pub mod nfp;
