//! What is wrong with assembly text.

use thiserror::Error;

/// Text that is no assembly: where, what stands there, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {kind}, found {}", Shown(.token))]
pub struct AsmError {
    /// Line, from 1.
    pub line: usize,
    /// Column of the token in characters, from 1.
    pub column: usize,
    /// The offending token, empty at the end of the line; at most [`AsmError::MAX_TOKEN`]
    /// characters of it.
    pub token: String,
    /// What is wrong with it.
    pub kind: AsmErrorKind,
}

impl AsmError {
    /// How much of a long token is kept, in characters.
    pub const MAX_TOKEN: usize = 40;
}

/// A token in quotes, or the words for its absence.
struct Shown<'a>(&'a str);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            f.write_str("the end of the line")
        } else {
            write!(f, "`{}`", self.0)
        }
    }
}

/// What is wrong with a token of assembly text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AsmErrorKind {
    /// Something else must stand there.
    #[error("expected {expected}")]
    Expected {
        /// In words: `a register (r0 to r10)`.
        expected: &'static str,
    },
    /// An instruction that works in place names another register the second time.
    #[error("expected {register} again: the instruction works in place")]
    SameRegister {
        /// The register that must stand there, `r3` or `w3`.
        register: String,
    },
    /// A number does not fit.
    #[error("{what} must be between {min} and {max}")]
    Range {
        /// What the number is.
        what: &'static str,
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// An immediate above 2^31 - 1 in a 64-bit operation, which would sign-extend it.
    #[error(
        "a 64-bit operation sign-extends its 32-bit immediate, so it must be between \
         -2147483648 and 2147483647 (load larger numbers with `ll`)"
    )]
    SignExtended,
    /// No such label in the text.
    #[error("expected a label of this text")]
    UnknownLabel,
    /// `call` of what is neither a label nor a helper.
    #[error("expected a label of this text or the name of a helper")]
    UnknownCallee,
    /// `call kfunc[...]` of no kernel function that is known.
    #[error("expected the name of a kernel function, or `id:` and its number")]
    UnknownKfunc,
    /// A label, or a map, that exists already.
    #[error("expected a new name; this one is in use since line {first}")]
    Duplicate {
        /// The line of the first.
        first: usize,
    },
    /// A target too far away for its field.
    #[error("target is {offset} slots away, further than the {bits} bits of the field reach")]
    TooFar {
        /// Slots from the next instruction.
        offset: i64,
        /// Width of the field.
        bits: u8,
    },
    /// A directive that means nothing here.
    #[error("expected an instruction, a label or a known directive")]
    UnknownDirective,
    /// Data between instructions.
    #[error("expected an instruction; data cannot stand in a code section")]
    DataInCode,
    /// `.map` lacks a key.
    #[error("expected `{key}=...` in this map declaration")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A comment or a string that never ends.
    #[error("expected the end of what begins here")]
    Unterminated,
}
