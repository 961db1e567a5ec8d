//! What each access goes through: a load of a context's or socket's field is rewritten for what
//! it points into, so an instruction that does one on some path must do the same on all.

use isa::ebpf::Insn;

use crate::domain::{Kind, State};
use crate::report::{Problem, Rule};

/// For each instruction the pointer that it was first met with.
#[derive(Debug)]
pub(super) struct Pointers(Vec<Kind>);

impl Pointers {
    pub(super) fn new(len: usize) -> Pointers {
        Pointers(vec![Kind::Unknown; len])
    }

    /// `insn` is about to be executed.
    ///
    /// # Errors
    /// It was met with another pointer before, and one of the two needs an access of its own.
    pub(super) fn note(&mut self, state: &State, pc: usize, insn: &Insn) -> Result<(), Problem> {
        let (Insn::Load { base, .. }
        | Insn::Store { base, .. }
        | Insn::LoadAcquire { base, .. }
        | Insn::StoreRelease { base, .. }) = *insn
        else {
            return Ok(());
        };
        let met = &state.top.regs[base.index()].kind;
        let first = &mut self.0[pc];
        if *first == Kind::Unknown {
            *first = *met;
        }
        let own = |kind: &Kind| {
            matches!(
                kind,
                Kind::Ctx | Kind::Socket { .. } | Kind::Object { .. } | Kind::Kernel { .. }
            )
        };
        // All structures of the kernel are read by one kind of load.
        let kernel = |kind: &Kind| matches!(kind, Kind::Kernel { .. });
        if kernel(first) && kernel(met) {
            return Ok(());
        }
        if first == met || !own(first) && !own(met) {
            return Ok(());
        }
        Err(Problem::new(
            Rule::WrongType,
            "same insn cannot be used with different pointers",
        )
        .about(base.to_string())
        .why(format!(
            "{base} is {} on this path and {} on another, and each needs a load of its own",
            met.name(),
            first.name()
        ))
        .help("do the access in both branches, before they meet"))
    }
}
