//! A finding as text.

use bpf::Program;
use bpf::finding::{Finding, Severity};

use super::Style;

/// Renders a finding: rule and message, place, source line, why, help. Ends with a newline.
///
/// `object` is the file the program came from, as the user named it.
pub fn render_finding(
    finding: &Finding,
    object: &str,
    program: Option<&Program>,
    style: Style,
) -> String {
    let head = format!("{}[{}]", finding.severity.name(), finding.rule);
    let head = match finding.severity {
        Severity::Error => style.bad(&head),
        Severity::Warning => style.warn(&head),
        Severity::Note => style.head(&head),
    };
    let mut text = format!("{head}: {}\n", finding.message);
    text.push_str(&format!(
        "  {} {}\n",
        style.dim("-->"),
        place(finding, object, program)
    ));
    if let (Some(pc), Some(program)) = (finding.pc, program)
        && let Some(line) = program
            .source
            .line_at(pc)
            .filter(|l| !l.text.trim().is_empty())
    {
        text.push_str(&format!("   {} {}\n", style.dim("|"), line.text.trim()));
    }
    for (label, body) in [("why", &finding.why), ("help", &finding.help)] {
        if !body.is_empty() {
            text.push_str(&format!("  {} {label}: {body}\n", style.dim("=")));
        }
    }
    text
}

/// `xdp_fwd.o: xdp/main+0x1a8 (insn 53), fwd.c:97`, as far as it is known.
fn place(finding: &Finding, object: &str, program: Option<&Program>) -> String {
    let mut text = object.to_owned();
    if let Some(pc) = finding.pc {
        let origin = program.and_then(|p| {
            let origin = p.source.origins.get(pc)?;
            Some((p.source.sections.get(origin.section)?, origin.offset))
        });
        match origin {
            Some((section, offset)) => {
                text.push_str(&format!(": {section}+{offset:#x} (insn {pc})"));
            }
            None => text.push_str(&format!(": insn {pc}")),
        }
    } else if let Some(program) = program {
        text.push_str(&format!(": {}", program.name));
    }
    if let (Some(file), Some(line)) = (&finding.file, finding.line) {
        text.push_str(&format!(", {file}:{line}"));
    }
    text
}
