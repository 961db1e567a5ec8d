//! The matrix as Markdown, for a comment in a pull request: a table, and the errors folded below.

use std::fmt::Write as _;

use super::Matrix;
use super::select::Column;
use crate::decide::Verdict;

/// A table of programs and NICs, or of the columns asked for; then every error.
pub fn render(matrix: &Matrix, columns: &[Column]) -> String {
    let mut text = String::new();
    if columns.is_empty() {
        grid(&mut text, matrix);
    } else {
        line(&mut text, columns.iter().map(|c| c.name.to_owned()));
        line(&mut text, columns.iter().map(|_| "---".to_owned()));
        for row in &matrix.rows {
            for cell in &row.cells {
                line(
                    &mut text,
                    columns.iter().map(|c| escape(&c.value(row, cell).text())),
                );
            }
        }
    }
    for row in &matrix.rows {
        if let Some(error) = &row.error {
            let _ = write!(
                text,
                "\n`{}` {}: {}\n",
                row.object,
                row.program,
                escape(error)
            );
        }
        for cell in row.cells.iter().filter(|cell| cell.errors() > 0) {
            let _ = write!(
                text,
                "\n<details><summary>{} on {}: {}, {} error{}</summary>\n\n",
                escape(&row.program),
                cell.nic,
                cell.verdict.name(),
                cell.errors(),
                if cell.errors() == 1 { "" } else { "s" }
            );
            for finding in cell.findings.iter().filter(|f| f.is_error()) {
                let place = match (&finding.file, finding.line) {
                    (Some(file), Some(line)) => format!("{file}:{line}: "),
                    _ => finding
                        .pc
                        .map_or_else(String::new, |pc| format!("insn {pc}: ")),
                };
                let _ = writeln!(
                    text,
                    "* {place}{} (`{}`){}",
                    escape(&finding.message),
                    finding.rule,
                    if finding.help.is_empty() {
                        String::new()
                    } else {
                        format!(". {}", escape(&finding.help))
                    }
                );
            }
            text.push_str("\n</details>\n");
        }
    }
    text
}

fn grid(text: &mut String, matrix: &Matrix) {
    line(
        text,
        std::iter::once("program".to_owned()).chain(matrix.nics.iter().cloned()),
    );
    line(text, (0..=matrix.nics.len()).map(|_| "---".to_owned()));
    for row in matrix.rows.iter().filter(|row| !row.cells.is_empty()) {
        let name = format!("{}: {}", escape(&row.object), escape(&row.program));
        let cells = matrix.nics.iter().map(|nic| {
            row.cells
                .iter()
                .find(|cell| cell.nic == *nic)
                .map_or_else(String::new, |cell| {
                    let verdict = match cell.verdict {
                        Verdict::Offload => "offload".to_owned(),
                        other => format!("**{}**", other.name()),
                    };
                    match cell.binding() {
                        Some(binding) => format!("{verdict}<br>{}", binding.short()),
                        None => verdict,
                    }
                })
        });
        line(text, std::iter::once(name).chain(cells));
    }
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    text.push('|');
    for cell in cells {
        let _ = write!(text, " {cell} |");
    }
    text.push('\n');
}

/// Characters that would end a cell or begin markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
