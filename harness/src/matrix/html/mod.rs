//! The matrix as one self-contained page: the matrix, and for each program C, eBPF and machine
//! code side by side with the findings at their lines.

mod program;

use maud::{Markup, html};

use super::{Cell, Matrix, Row};
use crate::decide::Verdict;
use crate::report::html::page;

/// The page.
pub fn render(matrix: &Matrix) -> String {
    let title = format!(
        "nicbed: {} programs on {}",
        matrix.rows.len(),
        matrix.nics.join(", ")
    );
    let body = html! {
        (grid(matrix))
        @for (i, row) in matrix.rows.iter().enumerate() {
            (program::section(i, row))
        }
    };
    let heading = "Which NIC runs which program";
    page(&title, heading, &summary(matrix), &body)
}

fn summary(matrix: &Matrix) -> Markup {
    let count = |verdict: Verdict| {
        matrix
            .rows
            .iter()
            .flat_map(|row| &row.cells)
            .filter(|cell| cell.verdict == verdict)
            .count()
    };
    html! {
        p {
            (matrix.rows.len()) " programs, " (matrix.nics.len()) " NICs: "
            span.offload { (count(Verdict::Offload)) " offload" } ", "
            span.fallback { (count(Verdict::Fallback)) " fall back" } ", "
            span.rejected { (count(Verdict::Rejected)) " rejected" }
        }
    }
}

fn grid(matrix: &Matrix) -> Markup {
    html! {
        div.wide {
            table.matrix {
                thead {
                    tr {
                        th { "program" }
                        @for nic in &matrix.nics { th { (nic) } }
                    }
                }
                tbody {
                    @for (i, row) in matrix.rows.iter().enumerate() {
                        tr {
                            th { a href={ "#p" (i) } { (row.object) ": " (row.program) } }
                            @if let Some(error) = &row.error {
                                td colspan=(matrix.nics.len()) { (error) }
                            } @else {
                                @for nic in &matrix.nics { (cell(i, row, nic)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(i: usize, row: &Row, nic: &str) -> Markup {
    let Some(cell) = row.cells.iter().find(|cell| cell.nic == nic) else {
        return html! { td {} };
    };
    html! {
        td class=(cell.verdict.name()) {
            a href={ "#p" (i) } { (cell.verdict.name()) }
            @if let Some(binding) = cell.binding() { br; small { (binding.short()) } }
            (rooms(cell))
        }
    }
}

/// The limits that the program uses something of, as bars.
fn rooms(cell: &Cell) -> Markup {
    html! {
        @for room in &cell.rooms {
            @if let (Some(used), Some(available), Some(share)) = (room.used, room.available, room.permille()) {
                @if used > 0 {
                    div.room title={ (room.key) ": " (used) " of " (available) " " (room.unit) } {
                        div.used.over[share > 1000] style={ "width:" (share.min(1000) / 10) "%" } {}
                    }
                }
            }
        }
    }
}
