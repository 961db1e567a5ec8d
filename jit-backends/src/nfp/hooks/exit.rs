//! Return codes of tc programs. Those of XDP programs the driver does not look at.

use bpf::Hook;
use isa::ebpf::Reg;
use verifier::Visit;

use super::report::Refusal;
use super::{EXIT_CODE, Hooks, kinds};

/// Codes up to this are checked; what lies above passes as "unspecified".
const LARGEST_CODE: u64 = 7;
/// `TC_ACT_SHOT`, `TC_ACT_STOLEN`, `TC_ACT_QUEUED`.
const TAKEN: [u64; 3] = [2, 4, 5];

impl Hooks {
    /// At each exit, also of functions that are called.
    pub(super) fn exit(&self, visit: &Visit<'_>) -> Vec<Refusal> {
        let Some(hook @ Hook::Tc { .. }) = self.hook() else {
            return Vec::new();
        };
        let r0 = &visit.facts.registers[Reg::R0.index()];
        let kind = kinds::number(r0);
        let in_function = self
            .program
            .as_ref()
            .and_then(|program| program.subprogram_at(visit.pc))
            .is_some_and(|function| function > 0);
        let place = if in_function {
            "; the driver checks the exits of called functions too"
        } else {
            ""
        };
        let code = kinds::offset(r0).filter(|_| kind == kinds::SCALAR);
        let refusal = match code.map(|code| code as u64) {
            None => Refusal::new(
                EXIT_CODE,
                "EINVAL",
                format!(
                    "unsupported exit state: {kind}, var_off: {}",
                    kinds::bits(r0)
                ),
            )
            .why(format!("on each path r0 must be one known constant{place}"))
            .help(if in_function {
                "inline the function (__always_inline)"
            } else {
                "branch on the value and return a constant on each way"
            }),
            Some(code) if code > LARGEST_CODE || TAKEN.contains(&code) => return Vec::new(),
            Some(code) => {
                let verdict = bpf::run::Verdict::new(hook, code, false);
                Refusal::new(
                    EXIT_CODE,
                    "EINVAL",
                    format!("unsupported exit state: {kind}, imm: {code:x}"),
                )
                .subject(verdict.name())
                .why(format!(
                    "the card acts on TC_ACT_SHOT, TC_ACT_STOLEN, TC_ACT_QUEUED and TC_ACT_UNSPEC, not on {}{place}",
                    verdict.name()
                ))
                .help(if in_function {
                    "inline the function (__always_inline)"
                } else {
                    "return TC_ACT_UNSPEC to let the frame pass, TC_ACT_SHOT to drop it"
                })
                .means(&["action/not-on-nic"])
            }
        };
        vec![refusal.at(visit.pc)]
    }
}
