//! [`Kind`] and [`Mutator`]: how an instruction can be wrong.

use std::fmt;

use isa::Isa;
use serde::Serialize;

use super::ebpf::Ebpf;
use super::x86_64::X86_64;

/// A way in which a backend goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A branch is taken where it must not be: negated, of the other signedness, or wrong at
    /// equality.
    Condition,
    /// An operation of 32 bits instead of 64, or a memory access of another size.
    Width,
    /// Sign-extended where it must be zero-extended, or the other way round.
    SignExtension,
    /// The upper half is not cleared.
    ZeroExtension,
    /// Another operation: a sum for a difference.
    Operation,
    /// Another register.
    Operand,
    /// Another constant or displacement.
    Constant,
    /// The instruction is missing.
    Drop,
    /// A packet pointer is not read again.
    BoundsReload,
    /// An argument of a helper is taken from, or put into, another register.
    HelperRegister,
}

impl Kind {
    /// All, in order.
    pub const ALL: [Kind; 10] = [
        Kind::Condition,
        Kind::Width,
        Kind::SignExtension,
        Kind::ZeroExtension,
        Kind::Operation,
        Kind::Operand,
        Kind::Constant,
        Kind::Drop,
        Kind::BoundsReload,
        Kind::HelperRegister,
    ];

    /// Its name, as in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Condition => "condition",
            Kind::Width => "width",
            Kind::SignExtension => "sign-extension",
            Kind::ZeroExtension => "zero-extension",
            Kind::Operation => "operation",
            Kind::Operand => "operand",
            Kind::Constant => "constant",
            Kind::Drop => "drop",
            Kind::BoundsReload => "bounds-reload",
            Kind::HelperRegister => "helper-register",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an instruction stands.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// Whether loading fills a part of it, so that its constants are not its own.
    pub relocated: bool,
    /// Whether it was made of a helper call.
    pub of_call: bool,
    /// Whether the eBPF program calls a helper within the next five instructions: it may move
    /// arguments.
    pub before_call: bool,
}

/// Breaks instructions of one set.
pub trait Mutator: Sync {
    /// Every way in which this instruction can be wrong: other bytes, as many.
    fn changes(&self, bytes: &[u8], around: Surroundings) -> Vec<(Kind, Vec<u8>)>;
}

/// The mutator of a set, if there is one.
pub fn mutator(isa: Isa) -> Option<&'static dyn Mutator> {
    match isa {
        Isa::Ebpf => Some(&Ebpf),
        Isa::X86_64 => Some(&X86_64),
        Isa::Rv64 | Isa::Nfp | Isa::Hxdp => None,
    }
}
