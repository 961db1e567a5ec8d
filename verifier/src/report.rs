//! The rules of this stage, and how a broken one becomes a finding.

use bpf::{Finding, Program, Stage};

use crate::Stats;

/// One rule of the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Stable id: `verify/…`.
    pub id: &'static str,
    /// What a program that breaks it does, in a line.
    pub summary: &'static str,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $summary:literal;)*) => {
        /// What a program can be rejected for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $summary] $variant,)*
        }

        /// All rules, by id.
        pub const RULES: &[RuleInfo] = &[
            $(RuleInfo { id: concat!("verify/", $id), summary: $summary },)*
        ];

        impl Rule {
            /// Stable id: `verify/…`.
            pub const fn id(self) -> &'static str {
                RULES[self as usize].id
            }
        }
    };
}

rules! {
    AtomicTarget = "atomic-target", "An atomic operation on memory that does not allow one";
    CallStack = "call-stack", "Calls nest too deep, or need more stack than there is";
    CallbackResult = "callback-result", "A function that a helper calls gives back what it may not";
    ControlFlow = "control-flow", "A jump or call leads where no instruction starts, or a function's end is fallen through";
    CtxAccess = "ctx-access", "An access to the context that this hook does not allow";
    DivisionByZero = "division-by-zero", "Division by a constant 0";
    Exception = "exception", "An exception is thrown where none may be, or what is to get it cannot";
    FramePointer = "frame-pointer", "r10, the frame pointer, is written";
    HelperArg = "helper-arg", "A helper or global function is given an argument of a type it does not take";
    HelperMemory = "helper-memory", "A helper is given memory smaller than it may touch, or of unknown length";
    HelperNotAllowed = "helper-not-allowed", "A helper that this hook or this license does not allow";
    Instruction = "instruction", "An instruction that is not valid, or not in this kind of program";
    Kfunc = "kfunc", "A kernel function is called";
    Lock = "lock", "A lock, or a section that a function opens, is used wrongly or not closed";
    MapCompatibility = "map-compatibility", "A helper is given a map of a type it does not work on";
    MapPointer = "map-pointer", "A field that holds a pointer is loaded, stored or exchanged as it may not be";
    MapValueBounds = "map-value-bounds", "An access may lie outside a map's value";
    MemoryBounds = "memory-bounds", "An access may lie outside a block of memory";
    Misaligned = "misaligned", "An access to the stack, or an atomic one, is not aligned to its size";
    NotModelled = "not-modelled", "A feature that nicbed's verifier does not model yet";
    NullPointer = "null-pointer", "A pointer that may be null is used before it is compared with 0";
    PacketBounds = "packet-bounds", "An access may lie outside the packet";
    PointerArithmetic = "pointer-arithmetic", "Arithmetic that a pointer of this type does not allow";
    ReadOnly = "read-only", "A write to memory that the program may only read, or the reverse";
    Reference = "reference", "A ring buffer record or a socket is not given back on every path, or used afterwards";
    SocketAccess = "socket-access", "A field of a socket that cannot be read so, or a write to one";
    StackBounds = "stack-bounds", "An access may lie outside the 512 bytes of the stack frame";
    StackObject = "stack-object", "An iterator or dynptr on the stack is used wrongly";
    StackSpill = "stack-spill", "A pointer on the stack is read or written in part";
    TooComplex = "too-complex", "Verification would take more than a million instructions, or too many pending branches";
    UnboundedLoop = "unbounded-loop", "A loop comes back to where it was with nothing changed";
    UninitRegister = "uninit-register", "A register is read before anything was written to it";
    UnknownHelper = "unknown-helper", "A helper that nicbed does not know";
    Unreachable = "unreachable", "An instruction that no path reaches";
    WrongType = "wrong-type", "Memory is accessed through something that is not a usable pointer";
}

/// A broken rule, before it is tied to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) rule: Rule,
    pub(crate) subject: String,
    pub(crate) message: String,
    pub(crate) why: String,
    pub(crate) help: String,
}

/// A broken rule where it was met.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) pc: usize,
    pub(crate) problem: Problem,
    /// How it came about: places of the failing path, and what happened there.
    pub(crate) path: Vec<(usize, String)>,
    /// What was spent until then.
    pub(crate) stats: Stats,
}

impl Failure {
    /// One that needs no explaining.
    pub(crate) fn new(pc: usize, problem: Problem, stats: Stats) -> Box<Failure> {
        Box::new(Failure {
            pc,
            problem,
            path: Vec::new(),
            stats,
        })
    }
}

impl Problem {
    pub(crate) fn new(rule: Rule, message: impl Into<String>) -> Problem {
        Problem {
            rule,
            subject: String::new(),
            message: message.into(),
            why: String::new(),
            help: String::new(),
        }
    }

    pub(crate) fn about(mut self, subject: impl Into<String>) -> Problem {
        self.subject = subject.into();
        self
    }

    pub(crate) fn why(mut self, why: impl Into<String>) -> Problem {
        self.why = why.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = help.into();
        self
    }

    /// The finding that says it at `pc`.
    pub(crate) fn at(self, pc: usize, program: &Program) -> Finding {
        Finding::error(self.rule.id(), Stage::Verify, self.subject, self.message)
            .why(self.why)
            .help(self.help)
            .at(pc, &program.source)
    }
}

#[cfg(test)]
mod tests {
    use super::{RULES, Rule};

    #[test]
    fn rules_are_sorted_and_found_by_their_variant() {
        assert!(RULES.windows(2).all(|w| w[0].id < w[1].id));
        assert_eq!(Rule::AtomicTarget.id(), "verify/atomic-target");
        assert_eq!(Rule::WrongType.id(), "verify/wrong-type");
    }
}
