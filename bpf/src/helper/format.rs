//! The format strings of `bpf_trace_printk` and `bpf_trace_vprintk`.
//!
//! Known are `%d %i %u %x %X` with `l` or `ll`, `%c %s %p %pks %%`, and the flags `0 + - space`
//! with a width. Addresses differ from engine to engine, so `%p` prints no number; the IP
//! address forms of `%p` are not modelled and refused like unknown ones.

use super::Machine;
use crate::map::Errno;

/// Most bytes that one call prints.
const MAX_TEXT: usize = 1023;
/// Most bytes of one `%s`.
const MAX_STRING: usize = 512;

/// How a number is laid out.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag character of the format"
)]
#[derive(Clone, Copy, Default)]
struct Layout {
    zero: bool,
    plus: bool,
    left: bool,
    space: bool,
    width: usize,
}

impl Layout {
    /// Reads flags and width from the front of `rest`.
    fn read(rest: &mut &[u8]) -> Layout {
        let mut layout = Layout::default();
        while let Some((first, after)) = rest.split_first() {
            match first {
                b'0' => layout.zero = true,
                b'+' => layout.plus = true,
                b'-' => layout.left = true,
                b' ' => layout.space = true,
                _ => break,
            }
            *rest = after;
        }
        while let Some((digit @ b'0'..=b'9', after)) = rest.split_first() {
            layout.width = (layout.width * 10 + usize::from(digit - b'0')).min(MAX_TEXT);
            *rest = after;
        }
        layout
    }

    /// Appends `sign` and `digits`, filled to the width.
    fn number(self, out: &mut Vec<u8>, sign: &str, digits: &str) {
        let fill = self.width.saturating_sub(sign.len() + digits.len());
        if !self.left && !self.zero {
            out.resize(out.len() + fill, b' ');
        }
        out.extend_from_slice(sign.as_bytes());
        if !self.left && self.zero {
            out.resize(out.len() + fill, b'0');
        }
        out.extend_from_slice(digits.as_bytes());
        if self.left {
            out.resize(out.len() + fill, b' ');
        }
    }

    fn signed(self, out: &mut Vec<u8>, value: i64) {
        let sign = match value {
            ..0 => "-",
            _ if self.plus => "+",
            _ if self.space => " ",
            _ => "",
        };
        self.number(out, sign, &value.unsigned_abs().to_string());
    }

    fn text(self, out: &mut Vec<u8>, text: &[u8]) {
        let fill = self.width.saturating_sub(text.len());
        if !self.left {
            out.resize(out.len() + fill, b' ');
        }
        out.extend_from_slice(text);
        if self.left {
            out.resize(out.len() + fill, b' ');
        }
    }
}

/// A NUL-terminated string of the program; empty if it cannot be read, as in the kernel.
fn string<M: Machine>(machine: &M, address: u64) -> Vec<u8> {
    let mut text = Vec::new();
    for i in 0..MAX_STRING as u64 {
        let mut byte = [0];
        if machine.read(address.wrapping_add(i), &mut byte).is_err() {
            return Vec::new();
        }
        if byte[0] == 0 {
            break;
        }
        text.push(byte[0]);
    }
    text
}

/// Prints `args` by `format`, which ends at its first NUL.
pub(super) fn format<M: Machine>(
    machine: &M,
    format: &[u8],
    args: &[u64],
) -> Result<Vec<u8>, Errno> {
    let end = format.iter().position(|b| *b == 0).ok_or(Errno::Einval)?;
    let mut rest = &format[..end];
    let printable = |b: &u8| matches!(b, b' '..=b'~' | b'\t'..=b'\r' | 0x80..);
    if !rest.iter().all(printable) {
        return Err(Errno::Einval);
    }
    let mut args = args.iter().copied();
    let mut out = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        if let Some(after) = rest.strip_prefix(b"%") {
            rest = after;
            out.push(b'%');
            continue;
        }
        let layout = Layout::read(&mut rest);
        let arg = args.next().ok_or(Errno::Einval)?;
        one(machine, layout, &mut rest, arg, &mut out)?;
    }
    out.truncate(MAX_TEXT);
    Ok(out)
}

/// Prints one argument; `rest` stands at the conversion.
fn one<M: Machine>(
    machine: &M,
    layout: Layout,
    rest: &mut &[u8],
    arg: u64,
    out: &mut Vec<u8>,
) -> Result<(), Errno> {
    if let Some(after) = rest.strip_prefix(b"pks") {
        *rest = after;
        layout.text(out, &string(machine, arg));
        return Ok(());
    }
    let wide = rest.starts_with(b"l");
    for _ in 0..2 {
        *rest = rest.strip_prefix(b"l").unwrap_or(rest);
    }
    let (conversion, after) = rest.split_first().ok_or(Errno::Einval)?;
    *rest = after;
    let value = if wide { arg } else { u64::from(arg as u32) };
    match conversion {
        b'd' | b'i' if wide => layout.signed(out, arg as i64),
        b'd' | b'i' => layout.signed(out, i64::from(arg as i32)),
        b'u' => layout.number(out, "", &value.to_string()),
        b'x' => layout.number(out, "", &format!("{value:x}")),
        b'X' => layout.number(out, "", &format!("{value:X}")),
        b'c' if !wide => layout.text(out, &[arg as u8]),
        b's' if !wide => layout.text(out, &string(machine, arg)),
        b'p' if !wide => {
            // Only a plain address: the kernel's extensions begin with a letter or digit.
            if rest.first().is_some_and(u8::is_ascii_alphanumeric) {
                return Err(Errno::Einval);
            }
            layout.text(out, b"(address)");
        }
        _ => return Err(Errno::Einval),
    }
    Ok(())
}
