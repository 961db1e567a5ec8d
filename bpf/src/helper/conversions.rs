//! Which format strings helpers take: the verifier asks before `bpf_snprintf`, the helpers when
//! they run. Every byte behind `%`, `%s` and `%p` was asked of Linux 6.18
//! (`tests/formats_vs_kernel.rs`).

/// Whether the kernel takes `format`, which ends at its first NUL, with so many arguments. They
/// may be more than it uses.
///
/// ```
/// use bpf::helper::valid_format;
/// assert!(valid_format(b"%d of %08llx\0", 2));
/// assert!(!valid_format(b"%d of %08llx\0", 1));
/// assert!(!valid_format(b"%f\0", 1));
/// assert!(!valid_format(b"no end", 0));
/// ```
pub fn valid_format(format: &[u8], arguments: usize) -> bool {
    let Some(end) = format.iter().position(|b| *b == 0) else {
        return false;
    };
    let mut rest = &format[..end];
    if !rest.iter().all(|b| is_text(*b)) {
        return false;
    }
    let mut used = 0;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            continue;
        }
        if let Some(after) = rest.strip_prefix(b"%") {
            rest = after;
            continue;
        }
        used += 1;
        let Some(after) = conversion(rest).filter(|_| used <= arguments) else {
            return false;
        };
        rest = after;
    }
    true
}

const fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t'..=b'\r' | 0x80..)
}

/// Whether a conversion that prints text may end before this: at the format's end, a space or
/// punctuation (of Latin-1, which is what the kernel goes by).
const fn ends(next: Option<&u8>) -> bool {
    match next {
        None => true,
        Some(byte) => {
            byte.is_ascii_whitespace()
                || byte.is_ascii_punctuation()
                || matches!(byte, 0x0b | 0xa0..=0xbf | 0xd7 | 0xf7)
        }
    }
}

/// What follows the conversion whose `%` stands right before `rest`.
fn conversion(rest: &[u8]) -> Option<&[u8]> {
    let flags = rest.iter().take_while(|b| b"0+- ".contains(b)).count();
    let rest = &rest[flags..];
    let width = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = &rest[width..];
    match rest {
        [b'p', b'i' | b'I', b'4' | b'6', after @ ..]
        | [b'p', b'K' | b'x' | b's' | b'S' | b'B', after @ ..]
        | [b'c', after @ ..] => Some(after),
        [b'p', b'k' | b'u', b's', after @ ..] | [b's' | b'p', after @ ..] => {
            ends(after.first()).then_some(after)
        }
        [b'l', b'l', number, after @ ..] | [b'l', number, after @ ..] | [number, after @ ..] => {
            b"diuxX".contains(number).then_some(after)
        }
        [] => None,
    }
}
