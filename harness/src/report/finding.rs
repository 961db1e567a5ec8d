//! A finding as text.

use bpf::Program;
use bpf::finding::{DriverAnswer, Finding, Severity};

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
    for (index, step) in finding.path.iter().enumerate() {
        let label = if index == 0 { "path:" } else { "     " };
        let line = step
            .line
            .map_or_else(String::new, |line| format!(" (line {line})"));
        text.push_str(&format!(
            "  {} {label} insn {}{line}: {}\n",
            style.dim("="),
            step.pc,
            step.text
        ));
    }
    if let Some(answer) = &finding.driver {
        text.push_str(&format!(
            "  {} driver: {}\n",
            style.dim("="),
            answered(answer, &finding.rule)
        ));
    }
    for (label, body) in [("why", &finding.why), ("help", &finding.help)] {
        if !body.is_empty() {
            text.push_str(&format!("  {} {label}: {body}\n", style.dim("=")));
        }
    }
    text
}

/// What the NIC's own driver says, where, and whether it gets further.
fn answered(answer: &DriverAnswer, rule: &str) -> String {
    let mut text = if answer.text.is_empty() {
        format!("{} without a word", answer.errno)
    } else {
        format!(
            "`{}` ({}, {})",
            answer.text,
            answer.errno,
            answer.channel.name()
        )
    };
    if answer.rule != rule {
        text.push_str(&format!(", rule {}", answer.rule));
    }
    if answer.stops {
        text.push_str("; it looks no further");
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

/// Places named for findings that repeat; more are only counted.
const MOST_PLACES: usize = 6;

/// Renders findings in order; those that repeat a rule and its subject are folded into the
/// first, which then names the other places.
pub fn render_findings(
    findings: &[Finding],
    object: &str,
    program: Option<&Program>,
    style: Style,
) -> String {
    let mut text = String::new();
    let mut folded = vec![false; findings.len()];
    for (i, finding) in findings.iter().enumerate() {
        if folded[i] {
            continue;
        }
        text.push_str(&render_finding(finding, object, program, style));
        let mut others = Vec::new();
        for (j, other) in findings.iter().enumerate().skip(i + 1) {
            if other.rule == finding.rule && other.subject == finding.subject {
                folded[j] = true;
                others.push(other);
            }
        }
        if others.is_empty() {
            continue;
        }
        let places: Vec<String> = others
            .iter()
            .take(MOST_PLACES)
            .map(|f| match (f.pc, f.line) {
                (Some(pc), Some(line)) => format!("insn {pc} (line {line})"),
                (Some(pc), None) => format!("insn {pc}"),
                _ => "the program".to_owned(),
            })
            .collect();
        let more = others.len().saturating_sub(MOST_PLACES);
        let tail = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        text.push_str(&format!(
            "  {} also at {}{tail}\n",
            style.dim("="),
            places.join(", ")
        ));
    }
    text
}
