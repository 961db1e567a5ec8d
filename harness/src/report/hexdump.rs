//! Two frames side by side, with the bytes that differ marked.

use std::fmt::Write as _;

use super::Style;

/// A NIC's frame and the reference's, as [`hexdump_of`] shows them.
pub fn hexdump_difference(nic: &[u8], reference: &[u8], style: Style) -> String {
    hexdump_of(["nic", "reference"], nic, reference, style)
}

/// Rows of 16 bytes of both frames, with these names of at most 9 characters; rows that are equal
/// are left out but for one before and after. Differing bytes are marked by `^^` below, and by
/// colour.
pub fn hexdump_of(names: [&str; 2], nic: &[u8], reference: &[u8], style: Style) -> String {
    let rows = nic.len().max(reference.len()).div_ceil(16);
    let differs = |row: usize| slice(nic, row) != slice(reference, row);
    let mut text = String::new();
    let mut skipped = false;
    for row in 0..rows {
        let near =
            differs(row) || (row > 0 && differs(row - 1)) || (row + 1 < rows && differs(row + 1));
        if !near {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            text.push_str("        …\n");
        }
        let (a, b) = (slice(nic, row), slice(reference, row));
        if a == b {
            let _ = writeln!(
                text,
                "  {:04x}  both       {}",
                row * 16,
                line(a, b, Style::PLAIN)
            );
            continue;
        }
        let _ = writeln!(
            text,
            "  {:04x}  {:9}  {}",
            row * 16,
            names[0],
            line(a, b, style)
        );
        let _ = writeln!(text, "        {:9}  {}", names[1], line(b, a, style));
        let marks: String = (0..16)
            .map(|i| if a.get(i) == b.get(i) { "   " } else { "^^ " })
            .collect();
        let _ = writeln!(text, "                   {}", marks.trim_end());
    }
    text
}

fn slice(bytes: &[u8], row: usize) -> &[u8] {
    let start = (row * 16).min(bytes.len());
    &bytes[start..(start + 16).min(bytes.len())]
}

fn line(bytes: &[u8], other: &[u8], style: Style) -> String {
    let mut text = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        let hex = format!("{byte:02x}");
        text.push_str(&if other.get(i) == Some(byte) {
            hex
        } else {
            style.bad(&hex)
        });
        text.push(' ');
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_bytes_are_marked_and_equal_rows_left_out() {
        let nic = [0u8; 80];
        let mut reference = nic;
        reference[65] = 0xff;
        let text = hexdump_difference(&nic, &reference[..79], Style::PLAIN);
        let zeros = |n: usize| vec!["00"; n].join(" ");
        assert_eq!(
            text,
            format!(
                "        …\n  0030  both       {}\n  0040  nic        {}\n        reference  00 ff {}\n                   {:3}^^{:40}^^\n",
                zeros(16),
                zeros(16),
                zeros(13),
                "",
                ""
            )
        );
    }
}
