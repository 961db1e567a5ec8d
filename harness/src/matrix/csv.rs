//! The matrix as comma-separated values (RFC 4180): one line a cell.

use super::Matrix;
use super::select::{COLUMNS, Column};
use crate::error::Error;

/// All columns, or those asked for; objects that cannot be read are left out.
///
/// # Errors
/// If the writer fails, which needs memory to run out.
pub fn render(matrix: &Matrix, columns: &[Column]) -> Result<String, Error> {
    let columns = if columns.is_empty() {
        &COLUMNS[..]
    } else {
        columns
    };
    let fail = |e: csv::Error| Error::input(format!("the table cannot be written as CSV: {e}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(columns.iter().map(|column| column.name))
        .map_err(fail)?;
    for row in &matrix.rows {
        for cell in &row.cells {
            writer
                .write_record(columns.iter().map(|column| column.value(row, cell).text()))
                .map_err(fail)?;
        }
    }
    let bytes = writer
        .into_inner()
        .map_err(|e| Error::input(format!("the table cannot be written as CSV: {e}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
