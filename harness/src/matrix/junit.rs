//! The matrix as JUnit XML: a suite a NIC, a case a program; a fallback or rejection is a
//! failure, an object that cannot be read an error.

use bpf::finding::Finding;

use super::Matrix;
use crate::decide::Verdict;
use crate::error::Error;
use crate::report::junit::{Case, Outcome, Suite, document};

/// The document.
///
/// # Errors
/// If it cannot be written, which needs memory to run out.
pub fn render(matrix: &Matrix) -> Result<String, Error> {
    let mut suites: Vec<Suite> = matrix
        .nics
        .iter()
        .map(|nic| Suite {
            name: nic.clone(),
            cases: matrix
                .rows
                .iter()
                .filter_map(|row| Some((row, row.cells.iter().find(|cell| cell.nic == *nic)?)))
                .map(|(row, cell)| Case {
                    name: row.program.clone(),
                    class: row.object.clone(),
                    outcome: match cell.verdict {
                        Verdict::Offload => Outcome::Passed,
                        verdict => Outcome::Failed {
                            message: format!(
                                "{}: {}",
                                verdict.name(),
                                cell.binding().map_or_else(String::new, |b| b.short())
                            ),
                            detail: cell
                                .findings
                                .iter()
                                .filter(|f| f.is_error())
                                .map(detail)
                                .collect::<Vec<_>>()
                                .concat(),
                        },
                    },
                })
                .collect(),
        })
        .collect();
    let unreadable: Vec<Case> = matrix
        .rows
        .iter()
        .filter_map(|row| Some((row, row.error.as_ref()?)))
        .map(|(row, error)| Case {
            name: if row.program.is_empty() {
                "object".to_owned()
            } else {
                row.program.clone()
            },
            class: row.object.clone(),
            outcome: Outcome::Error(error.clone()),
        })
        .collect();
    if !unreadable.is_empty() {
        suites.push(Suite {
            name: "objects".to_owned(),
            cases: unreadable,
        });
    }
    document("nicbed check", &suites)
}

fn detail(finding: &Finding) -> String {
    let place = match (&finding.file, finding.line) {
        (Some(file), Some(line)) => format!("{file}:{line}: "),
        _ => String::new(),
    };
    format!("{place}{} [{}]\n", finding.message, finding.rule)
}
