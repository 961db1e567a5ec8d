//! Helpers over text: comparing it, reading numbers from it, printing into memory.

use super::Machine;
use super::map::Copied;
use crate::map::Errno;
use crate::run::TrapCause;

/// Most bytes of a number's text that are looked at.
const MAX_NUMBER: usize = 63;
/// Most arguments of `bpf_snprintf`.
const MAX_ARGS: usize = 12;
/// The lower bits of a conversion's flags: its base. No others are known.
const BASE_MASK: u64 = 0x1f;

/// `bpf_strncmp(s1, s1_size, s2)`: the sign of the first byte that differs, of at most `s1_size`
/// and none behind a NUL.
pub(super) fn strncmp<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [first, size, second, ..] = args;
    let size = size as u32 as usize;
    let first = Copied::new(machine, first, size)?;
    for (i, a) in first.bytes().iter().enumerate() {
        let mut b = [0];
        machine.read(second.wrapping_add(i as u64), &mut b)?;
        match a.cmp(&b[0]) {
            std::cmp::Ordering::Less => return Ok(-1_i64 as u64),
            std::cmp::Ordering::Greater => return Ok(1),
            std::cmp::Ordering::Equal if *a == 0 => break,
            std::cmp::Ordering::Equal => {}
        }
    }
    Ok(0)
}

/// `bpf_snprintf(str, str_size, fmt, data, data_len)`: r0 is the length that the whole text has
/// with its NUL; as much of it as `str` holds is written, with a NUL.
pub(super) fn snprintf<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [out, size, format, data, len] = args;
    let (size, len) = (size as u32 as usize, len as u32 as usize);
    if !len.is_multiple_of(8) || len > 8 * MAX_ARGS || (len > 0 && data == 0) {
        return Ok(Errno::Einval.to_r0());
    }
    let values = super::event::words(machine, data, len)?;
    let mut text = Vec::new();
    loop {
        let mut byte = [0];
        machine.read(format.wrapping_add(text.len() as u64), &mut byte)?;
        text.push(byte[0]);
        if byte[0] == 0 {
            break;
        }
    }
    match super::format::format(machine, &text, &values, size) {
        Ok(mut printed) => {
            let len = printed.len() + 1;
            if size > 0 {
                printed.truncate(size - 1);
                printed.push(0);
                machine.write(out, &printed)?;
            }
            Ok(len as u64)
        }
        Err(errno) => Ok(errno.to_r0()),
    }
}

/// A number at the start of a text.
struct Number {
    negative: bool,
    value: u64,
    /// Bytes up to the first that does not belong to it.
    bytes: usize,
}

/// Reads a number: spaces, a minus sign, the base's prefix, digits.
fn number(text: &[u8], flags: u64) -> Result<Number, Errno> {
    let base = flags & BASE_MASK;
    if text.is_empty() || !matches!(base, 0 | 8 | 10 | 16) || flags & !BASE_MASK != 0 {
        return Err(Errno::Einval);
    }
    let space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r' | 0xa0);
    let mut at = text.iter().take_while(|b| space(b)).count();
    let negative = text.get(at) == Some(&b'-');
    at += usize::from(negative);
    let rest = text.get(at..).unwrap_or(&[]);
    let rest = rest.get(..MAX_NUMBER).unwrap_or(rest);
    let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    let rest = &rest[..end];
    let prefixed = rest.len() > 1 && rest[0] == b'0' && rest[1] | 0x20 == b'x';
    let base = match base {
        0 if prefixed && rest.get(2).is_some_and(u8::is_ascii_hexdigit) => 16,
        0 if rest.first() == Some(&b'0') => 8,
        0 => 10,
        base => base as u32,
    };
    let prefix = if base == 16 && prefixed { 2 } else { 0 };
    let digits = rest[prefix..].iter();
    let digits = digits.map_while(|b| (*b as char).to_digit(base));
    let (mut value, mut count) = (0u64, 0);
    for digit in digits {
        let next = value.checked_mul(u64::from(base));
        let next = next.and_then(|v| v.checked_add(u64::from(digit)));
        value = next.ok_or(Errno::Erange)?;
        count += 1;
    }
    if count == 0 {
        return Err(Errno::Einval);
    }
    Ok(Number {
        negative,
        value,
        bytes: at + prefix + count,
    })
}

/// `bpf_strtol(buf, size, flags, result)` and, unless `signed`, `bpf_strtoul`: r0 is how many bytes
/// the number takes; the result is 0 where there is none.
pub(super) fn strto<M: Machine>(
    machine: &mut M,
    args: [u64; 5],
    signed: bool,
) -> Result<u64, TrapCause> {
    let [text, size, flags, result, _] = args;
    let text = Copied::new(machine, text, size as u32 as usize)?;
    let read = number(text.bytes(), flags).and_then(|number| {
        let value = match (signed, number.negative) {
            (true, false) if number.value > i64::MAX as u64 => return Err(Errno::Erange),
            (true, true) if number.value > 1 << 63 => return Err(Errno::Erange),
            (false, true) => return Err(Errno::Einval),
            (_, false) => number.value,
            (true, true) => number.value.wrapping_neg(),
        };
        Ok((value, number.bytes))
    });
    let value = read.map_or(0, |(value, _)| value);
    machine.write(result, &value.to_le_bytes())?;
    Ok(match read {
        Ok((_, bytes)) => bytes as u64,
        Err(errno) => errno.to_r0(),
    })
}
