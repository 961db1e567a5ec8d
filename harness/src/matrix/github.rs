//! The errors and warnings as GitHub's workflow commands, which annotate the lines of a pull
//! request (docs.github.com, "Workflow commands for GitHub Actions").

use std::fmt::Write as _;

use bpf::finding::Severity;

use super::Matrix;

/// One line an error or warning; notes are left out.
pub fn render(matrix: &Matrix) -> String {
    let mut text = String::new();
    for row in &matrix.rows {
        if let Some(error) = &row.error {
            let _ = writeln!(
                text,
                "::error file={}::{}",
                property(&row.object),
                data(error)
            );
        }
        for cell in &row.cells {
            for finding in &cell.findings {
                let command = match finding.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                    Severity::Note => continue,
                };
                let file = finding.file.as_deref().unwrap_or(&row.object);
                let file = file.strip_prefix("./").unwrap_or(file);
                let line = finding
                    .line
                    .map_or_else(String::new, |line| format!(",line={line}"));
                let mut message = format!("{} on {}: {}", row.program, cell.nic, finding.message);
                if !finding.help.is_empty() {
                    let _ = write!(message, "\nhelp: {}", finding.help);
                }
                let _ = writeln!(
                    text,
                    "::{command} file={}{line},title={}::{}",
                    property(file),
                    property(&finding.rule),
                    data(&message)
                );
            }
        }
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_command_is_escaped() {
        assert_eq!(data("100%\nnext"), "100%25%0Anext");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
    }
}
