//! Operands and their codes: unrestricted (10 bits) and restricted (8 bits).
//!
//! Facts: `nfp-drv-kmods` 7728618f3622, `src/nfp_asm.{h,c}`.

use std::fmt;

/// What an instruction reads or writes.
///
/// As a source a transfer register is the transfer-in register, as a destination the
/// transfer-out register of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// General-purpose register of bank A, 0 to 31.
    A(u8),
    /// General-purpose register of bank B, 0 to 31.
    B(u8),
    /// As a destination: the register of this number in both banks. As a source of an
    /// instruction still to be placed: in whichever bank fits.
    Both(u8),
    /// Transfer register, 0 to 31.
    Xfer(u8),
    /// Local memory at LM index register `index` (0 to 3), `offset` words further (unrestricted
    /// 0 to 15, restricted 0 to 7). The offset is OR-ed into the address.
    Lm {
        /// Which index register.
        index: u8,
        /// Words.
        offset: u8,
    },
    /// Local memory at an index register, which then moves on by a word.
    LmIncrement(u8),
    /// Local memory at an index register, which then moves back by a word.
    LmDecrement(u8),
    /// Register of the next neighbour, 0 to 127.
    Neighbour(u8),
    /// Immediate, zero-extended: unrestricted 0 to 255, restricted 0 to 127 (255 where the form
    /// has the extra bit).
    Imm(u8),
    /// No destination, or no source.
    None,
}

/// Why operands do not fit an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperandError {
    /// The two sources come from the same place, which has one port.
    #[error("both sources are {0}; one of them must come from elsewhere")]
    SameKind(&'static str),
    /// One source is LM0 or LM1, the other LM2 or LM3.
    #[error("local memory indices 0 and 1 cannot be mixed with 2 and 3")]
    MixedLm,
    /// A number is beyond what its field holds.
    #[error("{what} {value} is beyond {max}")]
    TooLarge {
        /// What the number is.
        what: &'static str,
        /// The number.
        value: u64,
        /// The largest that fits.
        max: u64,
    },
    /// The operand cannot stand in this place.
    #[error("{operand} cannot be {place}")]
    NotHere {
        /// The operand.
        operand: Operand,
        /// The place.
        place: &'static str,
    },
}

impl Operand {
    /// LM2 and LM3 are reached through a flag of the instruction.
    pub(super) fn extended(self) -> Option<bool> {
        match self {
            Operand::Lm { index, .. }
            | Operand::LmIncrement(index)
            | Operand::LmDecrement(index) => Some(index >= 2),
            _ => None,
        }
    }

    /// The port a source is read through; two sources may not share one.
    fn port(self) -> Option<&'static str> {
        match self {
            Operand::A(_) => Some("a bank A register"),
            Operand::B(_) => Some("a bank B register"),
            Operand::Both(_) => Some("a register whose bank is open"),
            Operand::Xfer(_) => Some("a transfer register"),
            Operand::Lm { .. } | Operand::LmIncrement(_) | Operand::LmDecrement(_) => {
                Some("local memory")
            }
            Operand::Neighbour(_) => Some("a neighbour register"),
            Operand::Imm(_) => Some("an immediate"),
            Operand::None => None,
        }
    }
}

/// Which of an instruction's fields an operand is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The A field.
    A,
    /// The B field.
    B,
    /// The destination.
    Destination,
}

/// Two sources as they lie in the A and B fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sources {
    /// In the A field; a GPR is of bank A.
    pub a: Operand,
    /// In the B field; a GPR is of bank B.
    pub b: Operand,
    /// The left operand is in the B field.
    pub swap: bool,
}

impl Sources {
    /// Places the sources: left in A and right in B, or exchanged where a bank demands it.
    ///
    /// # Errors
    /// Both come through the same port, or from both halves of the LM indices.
    pub fn new(left: Operand, right: Operand) -> Result<Sources, OperandError> {
        if let (Some(port), Some(other)) = (left.port(), right.port())
            && port == other
        {
            return Err(OperandError::SameKind(port));
        }
        if let (Some(one), Some(other)) = (left.extended(), right.extended())
            && one != other
        {
            return Err(OperandError::MixedLm);
        }
        let swap = matches!(left, Operand::B(_)) || matches!(right, Operand::A(_));
        let (a, b) = if swap { (right, left) } else { (left, right) };
        Ok(Sources {
            a: match a {
                Operand::Both(n) => Operand::A(n),
                Operand::None => Operand::A(0),
                a => a,
            },
            b: match b {
                Operand::Both(n) => Operand::B(n),
                Operand::None => Operand::B(0),
                b => b,
            },
            swap,
        })
    }

    /// The left operand.
    pub fn left(self) -> Operand {
        if self.swap { self.b } else { self.a }
    }

    /// The right operand.
    pub fn right(self) -> Operand {
        if self.swap { self.a } else { self.b }
    }
}

fn fits(what: &'static str, value: u8, max: u8) -> Result<u64, OperandError> {
    if value > max {
        return Err(OperandError::TooLarge {
            what,
            value: u64::from(value),
            max: u64::from(max),
        });
    }
    Ok(u64::from(value))
}

fn not_here(operand: Operand, place: &'static str) -> OperandError {
    OperandError::NotHere { operand, place }
}

fn bank(operand: Operand, n: u8, place: Place) -> Result<u64, OperandError> {
    match (operand, place) {
        (Operand::A(_), Place::B) => Err(not_here(operand, "in the B field")),
        (Operand::B(_), Place::A) => Err(not_here(operand, "in the A field")),
        (Operand::Both(_), Place::A | Place::B) => Err(not_here(operand, "a source as it is")),
        _ => fits("register", n, 31),
    }
}

/// The 10-bit code.
pub(super) fn unrestricted(operand: Operand, place: Place) -> Result<u64, OperandError> {
    Ok(match operand {
        Operand::A(n) | Operand::B(n) | Operand::Both(n) => bank(operand, n, place)?,
        Operand::Xfer(n) => 0x180 | fits("transfer register", n, 31)?,
        Operand::Lm { index, offset } => {
            fits("LM index", index, 3)?;
            0x200 | u64::from(index & 1) << 5 | fits("LM offset", offset, 15)?
        }
        Operand::LmIncrement(index) => {
            fits("LM index", index, 3)?;
            0x210 | u64::from(index & 1) << 5
        }
        Operand::LmDecrement(index) => {
            fits("LM index", index, 3)?;
            0x211 | u64::from(index & 1) << 5
        }
        Operand::Neighbour(n) => 0x280 | fits("neighbour register", n, 127)?,
        Operand::Imm(_) if place == Place::Destination => {
            return Err(not_here(operand, "a destination"));
        }
        Operand::Imm(v) => 0x300 | u64::from(v),
        Operand::None if place == Place::Destination => 0x300,
        Operand::None => 0,
    })
}

/// The operand of a 10-bit code; none if the code is no operand there.
pub(super) fn from_unrestricted(code: u64, place: Place, extended: bool) -> Option<Operand> {
    let index = (code >> 5 & 1) as u8 + if extended { 2 } else { 0 };
    Some(match code {
        0..=0x1f => match place {
            Place::A => Operand::A(code as u8),
            Place::B => Operand::B(code as u8),
            Place::Destination => Operand::Both(code as u8),
        },
        0x180..=0x19f => Operand::Xfer((code & 0x1f) as u8),
        0x200..=0x20f | 0x220..=0x22f => Operand::Lm {
            index,
            offset: (code & 0xf) as u8,
        },
        0x210 | 0x230 => Operand::LmIncrement(index),
        0x211 | 0x231 => Operand::LmDecrement(index),
        0x280..=0x2ff => Operand::Neighbour((code & 0x7f) as u8),
        0x300 if place == Place::Destination => Operand::None,
        0x300..=0x3ff if place != Place::Destination => Operand::Imm((code & 0xff) as u8),
        _ => return None,
    })
}

/// The 8-bit code and, for an immediate, its bit 7.
pub(super) fn restricted(
    operand: Operand,
    place: Place,
    wide: bool,
) -> Result<(u64, bool), OperandError> {
    let code = match operand {
        Operand::A(n) | Operand::B(n) | Operand::Both(n) => bank(operand, n, place)?,
        Operand::Xfer(n) => 0x80 | fits("transfer register", n, 31)?,
        Operand::Lm { index, offset } => {
            fits("LM index", index, 3)?;
            0x50 | u64::from(index & 1) << 3 | fits("restricted LM offset", offset, 7)?
        }
        Operand::LmIncrement(_) | Operand::LmDecrement(_) => {
            return Err(not_here(operand, "a restricted operand"));
        }
        Operand::Neighbour(_) => return Err(not_here(operand, "a restricted operand")),
        Operand::Imm(_) if place == Place::Destination => {
            return Err(not_here(operand, "a destination"));
        }
        Operand::Imm(v) => {
            fits("restricted immediate", v, if wide { 255 } else { 127 })?;
            let v64 = u64::from(v);
            return Ok((0x20 | v64 & 0x1f | (v64 >> 5 & 3) << 6, v & 0x80 != 0));
        }
        Operand::None if place == Place::Destination => 0x20,
        Operand::None => 0,
    };
    Ok((code, false))
}

/// The operand of an 8-bit code.
pub(super) fn from_restricted(
    code: u64,
    place: Place,
    extended: bool,
    high_bit: bool,
) -> Option<Operand> {
    if code & 0x20 != 0 {
        return match place {
            Place::Destination => (code == 0x20).then_some(Operand::None),
            _ => Some(Operand::Imm(
                (code & 0x1f | (code >> 6 & 3) << 5) as u8 | u8::from(high_bit) << 7,
            )),
        };
    }
    Some(match code {
        0..=0x1f => match place {
            Place::A => Operand::A(code as u8),
            Place::B => Operand::B(code as u8),
            Place::Destination => Operand::Both(code as u8),
        },
        0x50..=0x5f => Operand::Lm {
            index: (code >> 3 & 1) as u8 + if extended { 2 } else { 0 },
            offset: (code & 7) as u8,
        },
        0x80..=0x9f => Operand::Xfer((code & 0x1f) as u8),
        _ => return None,
    })
}

impl fmt::Display for Operand {
    /// As GNU objdump writes it; a register of both banks is named by bank A.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::A(n) | Operand::Both(n) => write!(f, "gprA_{n}"),
            Operand::B(n) => write!(f, "gprB_{n}"),
            Operand::Xfer(n) => write!(f, "$xfer_{n}"),
            Operand::Lm { index, offset: 0 } => write!(f, "*l$index{index}"),
            Operand::Lm { index, offset } => write!(f, "*l$index{index}[{offset}]"),
            Operand::LmIncrement(index) => write!(f, "*l$index{index}++"),
            Operand::LmDecrement(index) => write!(f, "*l$index{index}--"),
            Operand::Neighbour(n) => write!(f, "n$reg_{n}"),
            Operand::Imm(v) => write!(f, "{v:#x}"),
            Operand::None => f.write_str("--"),
        }
    }
}
