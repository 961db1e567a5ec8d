//! [`Fault`]: what the machine held when native code was stopped.
//!
//! Addresses differ from run to run, so none stands here: what points into something known is
//! told as the distance from there, and what points anywhere else only as that.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a machine that was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Number of the program whose code was stopped, on its NIC.
    pub program: u32,
    /// The address that could not be accessed, where an access was the reason.
    pub address: Option<Held>,
    /// Names and contents of the registers, in the processor's order; none where they say
    /// nothing.
    pub registers: Vec<(String, Held)>,
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// A number.
    Number(u64),
    /// An address in or just beside something known.
    Near {
        /// In what.
        area: Area,
        /// Distance in bytes from its first byte.
        offset: i64,
    },
    /// An address of the engine's own.
    Engine,
}

/// Something that native code may know the address of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Area {
    /// The packet.
    Packet,
    /// The context.
    Context,
    /// The stack; offset 0 is where the first function was called.
    Stack,
    /// The image's code.
    Code,
    /// The memory of the map with this id.
    Map(u32),
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Area::Packet => f.write_str("packet"),
            Area::Context => f.write_str("context"),
            Area::Stack => f.write_str("stack"),
            Area::Code => f.write_str("code"),
            Area::Map(id) => write!(f, "map {id}"),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Held::Number(number) => write!(f, "{number:#x}"),
            Held::Near { area, offset } if offset < 0 => {
                write!(f, "{area}-{:#x}", offset.unsigned_abs())
            }
            Held::Near { area, offset } => write!(f, "{area}+{offset:#x}"),
            Held::Engine => f.write_str("an address of the engine"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, held)) in self.registers.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name} = {held}")?;
        }
        Ok(())
    }
}

/// The name of a signal that a processor's exception becomes (POSIX; the numbers are Linux's).
pub(crate) const fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        31 => "SIGSYS",
        _ => "a signal",
    }
}
