//! Bytes of which some need not be known.

use super::packet::TextError;

/// Bytes, and which of their bits count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    /// The bytes; bits that do not count are 0.
    pub bytes: Vec<u8>,
    /// As many; a bit that counts is 1.
    pub mask: Vec<u8>,
}

impl Pattern {
    /// These bytes and no others.
    pub fn exactly(bytes: Vec<u8>) -> Pattern {
        let mask = vec![0xff; bytes.len()];
        Pattern { bytes, mask }
    }

    /// Pairs of hexadecimal digits, with spaces where one likes; a `?` is a digit that may be any.
    ///
    /// # Errors
    /// If they are anything else.
    pub fn parse(text: &str) -> Result<Pattern, TextError> {
        let wrong = || TextError::Hex {
            text: text.to_owned(),
        };
        let digit = |c: char| match c {
            '?' => Some((0, 0)),
            c => Some((c.to_digit(16)? as u8, 0xf)),
        };
        let digits: Vec<(u8, u8)> = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(digit)
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(wrong());
        }
        Ok(Pattern {
            bytes: pairs.iter().map(|[a, b]| a.0 << 4 | b.0).collect(),
            mask: pairs.iter().map(|[a, b]| a.1 << 4 | b.1).collect(),
        })
    }

    /// Whether a text is one, and not layers.
    pub fn is_written(text: &str) -> bool {
        let mut chars = text.chars();
        chars.all(|c| c.is_ascii_hexdigit() || c.is_whitespace() || c == '?')
    }

    /// Whether bytes are these, as far as they count.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let known = self.bytes.iter().zip(&self.mask);
        let holds = |(got, (byte, mask)): (&u8, (&u8, &u8))| got & mask == *byte;
        bytes.len() == self.bytes.len() && bytes.iter().zip(known).all(holds)
    }

    /// The bytes and others to be shown side by side: what does not count is equal.
    pub fn beside(&self, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let others = bytes.iter().copied().chain(std::iter::repeat(0));
        let known = self.bytes.iter().zip(&self.mask);
        let filled = known
            .zip(others)
            .map(|((byte, mask), other)| byte | other & !mask);
        (filled.collect(), bytes.to_vec())
    }

    /// As it is written.
    pub fn text(&self) -> String {
        let digit = |value: u8, mask: u8| match mask {
            0 => '?',
            _ => char::from_digit(u32::from(value & 0xf), 16).unwrap_or('?'),
        };
        let pairs = self.bytes.iter().zip(&self.mask);
        pairs
            .flat_map(|(byte, mask)| [digit(byte >> 4, mask >> 4), digit(*byte, mask & 0xf)])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_is_any_digit() {
        let pattern = Pattern::parse("01 ?2 ??").unwrap();
        assert!(pattern.holds(&[0x01, 0x92, 0xff]));
        assert!(!pattern.holds(&[0x01, 0x93, 0xff]), "the 2 counts");
        assert!(!pattern.holds(&[0x01, 0x92]), "all bytes must be there");
        assert!(!pattern.holds(&[0x01, 0x92, 0, 0]), "and no others");
        assert_eq!(pattern.text(), "01?2??");
    }
}
