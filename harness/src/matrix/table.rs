//! The matrix as text: one row a program and one column a NIC, or one row a cell where columns
//! are asked for.

use super::select::{Column, Value};
use super::{Cell, Matrix};
use crate::decide::Verdict;
use crate::report::{Style, Table};

/// The matrix; empty if there is nothing in it.
pub fn render(matrix: &Matrix, columns: &[Column], style: Style) -> String {
    if matrix.rows.iter().all(|row| row.cells.is_empty()) {
        return String::new();
    }
    if columns.is_empty() {
        grid(matrix, style).to_string()
    } else {
        list(matrix, columns, style).to_string()
    }
}

fn grid(matrix: &Matrix, style: Style) -> Table {
    let mut heads = vec!["program"];
    heads.extend(matrix.nics.iter().map(String::as_str));
    let mut table = Table::new(&heads);
    for row in matrix.rows.iter().filter(|row| !row.cells.is_empty()) {
        let mut cells = vec![format!("{}: {}", row.object, row.program)];
        for nic in &matrix.nics {
            let cell = row.cells.iter().find(|cell| cell.nic == *nic);
            cells.push(cell.map_or_else(String::new, |cell| text(cell, style)));
        }
        table.row(cells);
    }
    table
}

/// `offload 517/2560 insns`, `fallback map/type +2`.
fn text(cell: &Cell, style: Style) -> String {
    let more = cell.errors().saturating_sub(1);
    let more = if more > 0 {
        format!(" +{more}")
    } else {
        String::new()
    };
    match cell.binding() {
        Some(binding) => format!(
            "{} {}{more}",
            verdict(cell.verdict, style),
            style.dim(&binding.short())
        ),
        None => verdict(cell.verdict, style),
    }
}

fn verdict(verdict: Verdict, style: Style) -> String {
    match verdict {
        Verdict::Offload => style.good(verdict.name()),
        Verdict::Fallback => style.warn(verdict.name()),
        Verdict::Rejected => style.bad(verdict.name()),
    }
}

fn list(matrix: &Matrix, columns: &[Column], style: Style) -> Table {
    let heads: Vec<_> = columns.iter().map(|column| column.name).collect();
    let mut table = Table::new(&heads);
    let mut numbers = vec![true; columns.len()];
    for row in &matrix.rows {
        for cell in &row.cells {
            table.row(columns.iter().zip(&mut numbers).map(|(column, numeric)| {
                let value = column.value(row, cell);
                *numeric &= !matches!(value, Value::Word(_));
                match column.name {
                    "verdict" => verdict(cell.verdict, style),
                    _ if value == Value::None => "–".to_owned(),
                    _ => value.text(),
                }
            }));
        }
    }
    for (i, numeric) in numbers.into_iter().enumerate() {
        if numeric {
            table.right(i);
        }
    }
    table
}
