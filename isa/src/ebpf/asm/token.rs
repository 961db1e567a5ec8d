//! Tokens of a line, and the cursor that the parsers move over them.

use super::error::{AsmError, AsmErrorKind};
use crate::ebpf::insn::{MemSize, Reg, Width};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name: letters, digits, `_`, `.`, `$`, not starting with a digit.
    Word,
    /// Starts with a digit.
    Number,
    /// Between double quotes, which the text includes.
    Text,
    /// An operator or another single character.
    Sign,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// In characters, from 1.
    pub(super) column: usize,
}

/// Signs of more than one character, longest first.
const SIGNS: [&str; 14] = [
    "<<=", ">>=", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "==", "!=", "<=", ">=",
];

/// Text without comments (`;`, `//`, `#`, `/* */`). What they hold before the end of a line is
/// replaced by spaces, so that columns stay.
///
/// Between the lines `#APP` and `#NO_APP`, where a compiler writes inline assembly as it stands in
/// the source, `;` separates statements as LLVM has it, and stays.
///
/// # Errors
/// A block comment that never ends.
pub(super) fn without_comments(text: &str) -> Result<String, AsmError> {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let (mut line, mut column) = (1, 0);
    let mut in_text = false;
    let mut inline = false;
    let mut block: Option<(usize, usize)> = None;
    while let Some(c) = rest.next() {
        column += 1;
        if c == '\n' {
            clean.push(c);
            (line, column, in_text) = (line + 1, 0, false);
        } else if block.is_some() {
            clean.push(' ');
            if c == '*' && rest.next_if_eq(&'/').is_some() {
                clean.push(' ');
                column += 1;
                block = None;
            }
        } else if in_text {
            clean.push(c);
            if c == '\\' {
                if let Some(escaped) = rest.next_if(|&c| c != '\n') {
                    clean.push(escaped);
                    column += 1;
                }
            } else if c == '"' {
                in_text = false;
            }
        } else if c == '/' && rest.next_if_eq(&'*').is_some() {
            block = Some((line, column));
            clean.push_str("  ");
            column += 1;
        } else if (c == ';' && !inline) || c == '#' || (c == '/' && rest.peek() == Some(&'/')) {
            let mut comment = String::new();
            while let Some(c) = rest.next_if(|&c| c != '\n') {
                comment.push(c);
            }
            match (c, comment.trim_end()) {
                ('#', "APP") => inline = true,
                ('#', "NO_APP") => inline = false,
                _ => {}
            }
        } else {
            in_text = c == '"';
            clean.push(c);
        }
    }
    match block {
        Some((line, column)) => Err(AsmError {
            line,
            column,
            token: "/*".into(),
            kind: AsmErrorKind::Unterminated,
        }),
        None => Ok(clean),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$')
}

/// The tokens of a line without comments.
fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = line;
    let mut column = 1;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            column += 1;
            continue;
        } else if is_name(first) {
            let kind = if first.is_ascii_digit() {
                Kind::Number
            } else {
                Kind::Word
            };
            (kind, rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
        } else if first == '"' {
            (Kind::Text, text_length(rest))
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            (Kind::Sign, sign.map_or(first.len_utf8(), |sign| sign.len()))
        };
        let (text, after) = rest.split_at(length);
        tokens.push(Token { kind, text, column });
        column += text.chars().count();
        rest = after;
    }
    tokens
}

/// Bytes up to and with the closing quote, or all.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Moves over the tokens of one line.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
    line: usize,
    end_column: usize,
}

/// Short for the result of a parsing step.
pub(super) type Parsed<T> = Result<T, AsmError>;

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, line: usize) -> Cursor<'a> {
        let end_column = text.trim_end().chars().count() + 1;
        Cursor {
            tokens: tokens(text),
            next: 0,
            line,
            end_column,
        }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.ahead(0)
    }

    /// The token `by` after the next.
    pub(super) fn ahead(&self, by: usize) -> Option<Token<'a>> {
        self.tokens.get(self.next + by).copied()
    }

    pub(super) fn advance(&mut self) -> Option<Token<'a>> {
        let token = self.peek()?;
        self.next += 1;
        Some(token)
    }

    pub(super) fn is_done(&self) -> bool {
        self.next >= self.tokens.len()
    }

    /// Skips the rest of the line.
    pub(super) fn skip(&mut self) {
        self.next = self.tokens.len();
    }

    /// An error at the next token.
    pub(super) fn error(&self, kind: AsmErrorKind) -> AsmError {
        match self.peek() {
            Some(token) => self.error_at(token, kind),
            None => AsmError {
                line: self.line,
                column: self.end_column,
                token: String::new(),
                kind,
            },
        }
    }

    /// An error at a token already taken.
    pub(super) fn error_at(&self, token: Token<'_>, kind: AsmErrorKind) -> AsmError {
        let text = token.text.chars().take(AsmError::MAX_TOKEN).collect();
        AsmError {
            line: self.line,
            column: token.column,
            token: text,
            kind,
        }
    }

    pub(super) fn expected<T>(&self, expected: &'static str) -> Parsed<T> {
        Err(self.error(AsmErrorKind::Expected { expected }))
    }

    /// Takes the next token if it reads so.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.text == text);
        if found {
            self.next += 1;
        }
        found
    }

    /// Takes the next token, which must read so; `expected` is the same in backquotes.
    pub(super) fn need(&mut self, text: &str, expected: &'static str) -> Parsed<()> {
        if self.take(text) {
            Ok(())
        } else {
            self.expected(expected)
        }
    }

    /// A name.
    pub(super) fn word(&mut self, expected: &'static str) -> Parsed<Token<'a>> {
        match self.peek() {
            Some(token) if token.kind == Kind::Word => {
                self.next += 1;
                Ok(token)
            }
            _ => self.expected(expected),
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Parsed<()> {
        if self.is_done() {
            Ok(())
        } else {
            self.expected("the end of the line")
        }
    }

    /// A register if one is next: `r3`, `w3`, also in capitals.
    pub(super) fn take_register(&mut self) -> Option<(Width, Reg)> {
        let found = register(self.peek()?.text)?;
        self.next += 1;
        Some(found)
    }

    /// A 64-bit register.
    pub(super) fn register64(&mut self) -> Parsed<Reg> {
        match self.peek().and_then(|token| register(token.text)) {
            Some((Width::W64, reg)) => {
                self.next += 1;
                Ok(reg)
            }
            _ => self.expected("a 64-bit register (r0 to r10)"),
        }
    }

    /// A register of this width.
    pub(super) fn register_of(&mut self, width: Width) -> Parsed<Reg> {
        match self.peek().and_then(|token| register(token.text)) {
            Some((found, reg)) if found == width => {
                self.next += 1;
                Ok(reg)
            }
            _ => self.expected(match width {
                Width::W32 => "a 32-bit register (w0 to w10)",
                Width::W64 => "a 64-bit register (r0 to r10)",
            }),
        }
    }

    /// A register that holds what an access of this size moves: `r0` always, `w0` up to 4 bytes.
    pub(super) fn register_for(&mut self, size: MemSize) -> Parsed<(Width, Reg)> {
        match self.peek().and_then(|token| register(token.text)) {
            Some((width, reg)) if width == Width::W64 || size != MemSize::DW => {
                self.next += 1;
                Ok((width, reg))
            }
            Some(_) => self.expected("a 64-bit register (r0 to r10)"),
            None => self.expected("a register (r0 to r10, w0 to w10)"),
        }
    }

    /// This very register again.
    pub(super) fn register_again(&mut self, width: Width, reg: Reg) -> Parsed<()> {
        match self.peek().and_then(|token| register(token.text)) {
            Some(found) if found == (width, reg) => {
                self.next += 1;
                Ok(())
            }
            _ => Err(self.error(AsmErrorKind::SameRegister {
                register: format!("{}{}", width.letter(), reg.number()),
            })),
        }
    }

    /// Whether a number, with or without a sign, is next.
    pub(super) fn at_number(&self) -> bool {
        let number = |token: Option<Token<'_>>| token.is_some_and(|t| t.kind == Kind::Number);
        match self.peek() {
            Some(token) if matches!(token.text, "-" | "+") => number(self.ahead(1)),
            token => number(token),
        }
    }

    /// A number with an optional sign; `what` and the bounds are for the message.
    pub(super) fn number(&mut self, what: &'static str, min: i128, max: i128) -> Parsed<i128> {
        let start = self.peek();
        let negative = match start {
            Some(token) if matches!(token.text, "-" | "+") => {
                self.next += 1;
                token.text == "-"
            }
            _ => false,
        };
        let Some(token) = self.peek().filter(|token| token.kind == Kind::Number) else {
            return self.expected("a number");
        };
        let Some(magnitude) = magnitude(token.text) else {
            return self.expected("a number, decimal or after 0x, without leading zeros");
        };
        self.next += 1;
        let value = if negative { -magnitude } else { magnitude };
        if (min..=max).contains(&value) {
            return Ok(value);
        }
        let bound = |bound: i128| i64::try_from(bound).unwrap_or(i64::MAX);
        let kind = AsmErrorKind::Range {
            what,
            min: bound(min),
            max: bound(max),
        };
        Err(self.error_at(
            Token {
                column: start.map_or(1, |s| s.column),
                ..token
            },
            kind,
        ))
    }

    /// The 16-bit byte offset after a base register: `+ 4`, `-8`, or nothing.
    pub(super) fn offset(&mut self) -> Parsed<i16> {
        match self.peek() {
            Some(token) if matches!(token.text, "+" | "-") => {
                Ok(self.number("the offset", i16::MIN.into(), i16::MAX.into())? as i16)
            }
            _ => Ok(0),
        }
    }

    /// A 32-bit immediate of an operation that wide. A 64-bit operation sign-extends it: there
    /// numbers from 2^31 on are refused, but for those of 64 bits that sign extension gives.
    pub(super) fn immediate(&mut self, width: Width) -> Parsed<i32> {
        let start = self.next;
        let value = self.number("the immediate", i128::MIN, i128::MAX)?;
        let extended = i32::try_from(value as i64);
        let kind = match (
            i32::try_from(value).or(extended),
            u32::try_from(value),
            width,
        ) {
            (Ok(value), _, _) => return Ok(value),
            (_, Ok(value), Width::W32) => return Ok(value as i32),
            (_, Ok(_), Width::W64) => AsmErrorKind::SignExtended,
            (_, Err(_), _) => AsmErrorKind::Range {
                what: "the immediate",
                min: i32::MIN.into(),
                max: if width == Width::W32 {
                    u32::MAX.into()
                } else {
                    i32::MAX.into()
                },
            },
        };
        self.next = start;
        Err(self.error(kind))
    }
}

/// `r3` or `w3`, also in capitals.
pub(super) fn register(text: &str) -> Option<(Width, Reg)> {
    let width = match text.as_bytes().first()? {
        b'r' | b'R' => Width::W64,
        b'w' | b'W' => Width::W32,
        _ => return None,
    };
    let digits = &text[1..];
    let plain = digits == "0" || !digits.starts_with('0');
    if !plain || digits.len() > 2 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((width, Reg::new(digits.parse().ok()?)?))
}

/// Decimal, or hexadecimal after `0x`; no leading zeros, which other assemblers read as octal.
/// What is too large for any field comes out as `i128::MAX`.
fn magnitude(text: &str) -> Option<i128> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((text, 10), |digits| (digits, 16));
    let octal = hex.is_none() && text != "0" && text.starts_with('0');
    if digits.is_empty() || octal || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    Some(i128::from_str_radix(digits, radix).unwrap_or(i128::MAX))
}
