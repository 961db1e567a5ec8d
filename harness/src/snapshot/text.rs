//! The text of a snapshot.

use std::fmt::Write as _;

use bpf::Program;
use isa::Image;
use jit_backends::Listing;

use crate::disassembly;
use crate::pipeline::Assessment;

/// What a NIC makes of a program: the decision, every finding in a line, and the code.
pub fn of(assessment: &Assessment) -> String {
    let (program, nic) = (&assessment.program, &assessment.nic);
    let outcome = assessment.decision.outcome.name();
    let mut text = format!("{} on {}: {outcome}\n", program.name, nic.name);
    for finding in &assessment.decision.findings {
        let at = finding
            .pc
            .map_or_else(String::new, |pc| format!(" (insn {pc})"));
        let _ = writeln!(
            text,
            "{}[{}]: {}{at}",
            finding.severity.name(),
            finding.rule,
            finding.message
        );
    }
    if let (Some(image), Some(backend)) = (&assessment.image, jit_backends::by_name(&nic.backend)) {
        text.push('\n');
        text.push_str(&code(program, &backend.disassemble(image), image));
    }
    text
}

/// Each eBPF instruction with the code that it became, and what was removed with the reason.
/// Places are told by pc, so that what stands elsewhere in the image does not change a line.
pub fn code(program: &Program, listing: &Listing, image: &Image) -> String {
    let mut text = String::new();
    let mut shown: &[usize] = &[];
    for line in &listing.lines {
        let first = if line.pcs == shown {
            None
        } else {
            line.pcs.first()
        };
        shown = &line.pcs;
        let ebpf = first
            .map(|pc| format!("{pc}: {}", disassembly::insn(program, *pc)))
            .unwrap_or_default();
        let _ = writeln!(text, "{:<44} | {}", ebpf, line.text);
    }
    for (pc, why) in &image.removed {
        let _ = writeln!(text, "{:<44} | removed: {why}", format!("{pc}:"));
    }
    text
}
