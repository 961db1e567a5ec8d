//! The format strings of `bpf_trace_printk` and `bpf_trace_vprintk`.
//!
//! Known are `%d %i %u %x %X` with `l` or `ll`, `%c %s %pks %pi4 %pI4 %pi6 %pI6 %%`, and the flags
//! `0 + - space` with a width. Addresses differ from engine to engine, so `%p` and the like print
//! no number.

use super::{Machine, valid_format};
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

/// Prints `args` by `format`, which ends at its first NUL, for a place of `room` bytes. All of the
/// text is given, but what `%pks` and `%pI4` print does not even count once that place is full.
pub(super) fn format<M: Machine>(
    machine: &M,
    format: &[u8],
    args: &[u64],
    room: usize,
) -> Result<Vec<u8>, Errno> {
    if !valid_format(format, args.len()) {
        return Err(Errno::Einval);
    }
    let end = format.iter().position(|b| *b == 0).ok_or(Errno::Einval)?;
    let mut rest = &format[..end];
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
        let full = out.len() >= room;
        let before = out.len();
        let copied = one(machine, layout, &mut rest, arg, &mut out)?;
        if copied && full {
            out.truncate(before);
        }
    }
    out.truncate(MAX_TEXT);
    Ok(out)
}

/// Prints one argument; `rest` stands at the conversion. Gives whether it is one that the kernel
/// prints beforehand and copies.
fn one<M: Machine>(
    machine: &M,
    layout: Layout,
    rest: &mut &[u8],
    arg: u64,
    out: &mut Vec<u8>,
) -> Result<bool, Errno> {
    if let Some(after) = rest.strip_prefix(b"p") {
        *rest = after;
        return pointer(machine, layout, rest, arg, out);
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
        _ => return Err(Errno::Einval),
    }
    Ok(false)
}

/// Prints what `%p` and the letters behind it make of an address. Letters and digits that follow
/// are passed over, as in the kernel. Gives what [`one`] gives.
fn pointer<M: Machine>(
    machine: &M,
    layout: Layout,
    rest: &mut &[u8],
    arg: u64,
    out: &mut Vec<u8>,
) -> Result<bool, Errno> {
    let others = rest
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric())
        .count();
    let (kind, after) = rest.split_at(others);
    *rest = after;
    // Text and IP addresses are printed without width.
    match kind {
        [b'k', b's', ..] => out.extend_from_slice(&string(machine, arg)),
        // No process runs on a NIC, so there is no text of one.
        [b'u', b's', ..] => {}
        [] | [b'K' | b'x' | b's' | b'S', ..] => {
            layout.text(out, ADDRESS);
            return Ok(false);
        }
        [b'B', ..] => out.extend_from_slice(ADDRESS),
        [b'i' | b'I', b'4', ..] => {
            let bytes: [u8; 4] = bytes(machine, arg);
            let texts = bytes.iter().map(|byte| match kind[0] {
                b'i' => format!("{byte:03}"),
                _ => byte.to_string(),
            });
            out.extend_from_slice(texts.collect::<Vec<_>>().join(".").as_bytes());
        }
        [b'i' | b'I', b'6', ..] => {
            let bytes: [u8; 16] = bytes(machine, arg);
            let texts = bytes.chunks_exact(2);
            let texts = texts.map(|pair| format!("{:02x}{:02x}", pair[0], pair[1]));
            let between = if kind[0] == b'I' { ":" } else { "" };
            out.extend_from_slice(texts.collect::<Vec<_>>().join(between).as_bytes());
        }
        _ => return Err(Errno::Einval),
    }
    Ok(true)
}

/// What is printed in place of an address.
const ADDRESS: &[u8] = b"(address)";

/// Bytes of the program's memory; zero if they cannot be read.
fn bytes<M: Machine, const N: usize>(machine: &M, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    if machine.read(address, &mut bytes).is_err() {
        bytes = [0; N];
    }
    bytes
}
