//! Lines that start with a dot: sections, symbols, maps, and what of a compiler's output means
//! nothing here.

use super::Builder;
use super::error::AsmErrorKind;
use super::token::{Cursor, Kind, Parsed, Token};

/// A map declared by `.map NAME type=TYPE key=BYTES value=BYTES entries=N flags=N inner=NAME
/// lock=OFFSET timer=OFFSET`.
///
/// The numbers are as written: whether such a map can exist is the map type's to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDecl {
    /// The name.
    pub name: String,
    /// The name of the type, such as `hash`.
    pub kind: String,
    /// Bytes of a key; 0 where the declaration says none.
    pub key_size: u32,
    /// Bytes of a value; 0 where the declaration says none.
    pub value_size: u32,
    /// Greatest number of entries.
    pub max_entries: u32,
    /// Flags of map creation (`BPF_F_...`); 0 where the declaration says none.
    pub flags: u32,
    /// For a map of maps, the declared map that its inner maps are like.
    pub inner: Option<String>,
    /// Byte offset of a `struct bpf_spin_lock` in a value.
    pub lock: Option<u32>,
    /// Byte offset of a `struct bpf_timer` in a value.
    pub timer: Option<u32>,
    /// Line of the declaration, from 1.
    pub line: usize,
}

/// Directives that emit data.
const DATA: [&str; 20] = [
    ".ascii", ".asciz", ".string", ".byte", ".short", ".hword", ".2byte", ".half", ".value",
    ".int", ".long", ".word", ".4byte", ".quad", ".8byte", ".xword", ".zero", ".skip", ".space",
    ".fill",
];

/// Directives that change nothing about the instructions.
const IGNORED: [&str; 27] = [
    ".file",
    ".loc",
    ".size",
    ".ident",
    ".addrsig",
    ".addrsig_sym",
    ".p2align",
    ".align",
    ".balign",
    ".local",
    ".weak",
    ".hidden",
    ".protected",
    ".internal",
    ".comm",
    ".lcomm",
    ".set",
    ".equ",
    ".equiv",
    ".uleb128",
    ".sleb128",
    ".reloc",
    ".altmacro",
    ".att_syntax",
    ".extern",
    ".line",
    ".end",
];

/// One directive with its arguments.
pub(super) fn directive(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<()> {
    let Some(name) = cursor.peek() else {
        return Ok(());
    };
    match name.text {
        ".section" | ".pushsection" => {
            cursor.advance();
            section(cursor, program)
        }
        ".text" => {
            cursor.skip();
            program.enter(".text", true);
            Ok(())
        }
        ".data" | ".bss" | ".rodata" => {
            cursor.skip();
            program.enter(name.text, false);
            Ok(())
        }
        ".globl" | ".global" => {
            cursor.advance();
            let global = cursor.word("the name to make global")?;
            program.globals.push(global.text.to_owned());
            Ok(())
        }
        ".type" => {
            cursor.advance();
            let symbol = cursor.word("a name")?;
            if cursor.take(",") && (cursor.take("@") || cursor.take("%")) && cursor.take("function")
            {
                program.functions.push(symbol.text.to_owned());
            }
            cursor.skip();
            Ok(())
        }
        ".map" => {
            cursor.advance();
            map(cursor, program)
        }
        ".license" => {
            cursor.advance();
            program.license = Some(text_or_word(cursor, "the licence's name")?);
            Ok(())
        }
        text if program.in_code && DATA.contains(&text) => {
            Err(cursor.error(AsmErrorKind::DataInCode))
        }
        text if program.in_code => {
            if IGNORED.contains(&text) || text.starts_with(".cfi_") {
                cursor.skip();
                Ok(())
            } else {
                Err(cursor.error(AsmErrorKind::UnknownDirective))
            }
        }
        text => {
            cursor.advance();
            let quoted = cursor.peek().filter(|token| token.kind == Kind::Text);
            if let (true, ".asciz" | ".ascii" | ".string", Some(token)) =
                (program.section == "license", text, quoted)
            {
                let name = unquoted(token.text);
                program.license = Some(name.strip_suffix("\\000").unwrap_or(name).to_owned());
            }
            cursor.skip();
            Ok(())
        }
    }
}

/// The words between the quotes, escapes left alone.
fn unquoted(text: &str) -> &str {
    let text = text.strip_prefix('"').unwrap_or(text);
    text.strip_suffix('"').unwrap_or(text)
}

/// A quoted text, or the rest of the line up to a space.
fn text_or_word(cursor: &mut Cursor<'_>, expected: &'static str) -> Parsed<String> {
    match cursor.peek() {
        Some(token) if token.kind == Kind::Text => {
            cursor.advance();
            Ok(unquoted(token.text).to_owned())
        }
        _ => Ok(cursor.word(expected)?.text.to_owned()),
    }
}

/// `NAME` or `NAME,"flags",@type`; a name can hold `/` and other signs.
fn section(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<()> {
    let mut name = String::new();
    let mut end: Option<usize> = None;
    while let Some(token) = cursor.peek() {
        let adjacent = end.is_none_or(|end| end == token.column);
        if token.text == "," || !adjacent {
            break;
        }
        end = Some(token.column + token.text.chars().count());
        name.push_str(if token.kind == Kind::Text {
            unquoted(token.text)
        } else {
            token.text
        });
        cursor.advance();
    }
    if name.is_empty() {
        return cursor.expected("the name of a section");
    }
    let in_code = if cursor.take(",") {
        let Some(flags) = cursor.peek().filter(|token| token.kind == Kind::Text) else {
            return cursor.expected("the section's flags in quotes, such as \"ax\"");
        };
        cursor.skip();
        flags.text.contains('x')
    } else {
        holds_code(&name)
    };
    program.enter(&name, in_code);
    Ok(())
}

/// Whether a section without flags holds code, by its name.
fn holds_code(name: &str) -> bool {
    name == ".text" || !(name.starts_with('.') || matches!(name, "license" | "version" | "maps"))
}

/// `NAME key=value ...`.
fn map(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<()> {
    let name = cursor.word("the name of the map")?;
    let line = cursor.line();
    if let Some(first) = program.map_lines.insert(name.text.to_owned(), line) {
        return Err(cursor.error_at(name, AsmErrorKind::Duplicate { first }));
    }
    let mut kind = None;
    let mut inner = None;
    let mut numbers: [(&'static str, Option<u32>); 6] = [
        ("key", None),
        ("value", None),
        ("entries", None),
        ("flags", None),
        ("lock", None),
        ("timer", None),
    ];
    while !cursor.is_done() {
        cursor.take(",");
        let key = cursor.word(KEYS)?;
        cursor.need("=", "`=`")?;
        match key.text {
            "type" => set(cursor, key, &mut kind, |cursor| {
                word(cursor, "the map's type")
            })?,
            "inner" => set(cursor, key, &mut inner, |cursor| {
                word(cursor, "a map's name")
            })?,
            other => match numbers.iter_mut().find(|(name, _)| *name == other) {
                Some((_, number)) => set(cursor, key, number, |cursor| {
                    Ok(cursor.number("the value", 0, u32::MAX.into())? as u32)
                })?,
                None => return Err(cursor.error_at(key, AsmErrorKind::Expected { expected: KEYS })),
            },
        }
    }
    let [key_size, value_size, max_entries, flags, lock, timer] = numbers.map(|(_, n)| n);
    let missing = |key| cursor.error(AsmErrorKind::MissingKey { key });
    program.maps.push(MapDecl {
        name: name.text.to_owned(),
        kind: kind.ok_or_else(|| missing("type"))?,
        key_size: key_size.unwrap_or(0),
        value_size: value_size.unwrap_or(0),
        max_entries: max_entries.ok_or_else(|| missing("entries"))?,
        flags: flags.unwrap_or(0),
        inner,
        lock,
        timer,
        line,
    });
    Ok(())
}

/// The keys of `.map`.
const KEYS: &str = "one of the keys type, key, value, entries, flags, inner, lock, timer";

fn word(cursor: &mut Cursor<'_>, expected: &'static str) -> Parsed<String> {
    Ok(cursor.word(expected)?.text.to_owned())
}

/// Reads the value of a key that may stand only once.
fn set<'a, T>(
    cursor: &mut Cursor<'a>,
    key: Token<'a>,
    place: &mut Option<T>,
    read: impl FnOnce(&mut Cursor<'a>) -> Parsed<T>,
) -> Parsed<()> {
    if place.is_some() {
        let expected = "each key once";
        return Err(cursor.error_at(key, AsmErrorKind::Expected { expected }));
    }
    *place = Some(read(cursor)?);
    Ok(())
}
