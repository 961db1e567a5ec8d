//! Assembly text: the kernel's and LLVM's form ([`parse_asm`]) and the conformance suite's
//! ([`parse_suite_asm`]).
//!
//! `token` splits a line, `kernel` and `suite` read one instruction of their form, `directive`
//! what starts with a dot, and this module joins lines to an [`Assembly`] and resolves names.

mod directive;
mod error;
mod kernel;
mod suite;
mod token;

pub use directive::MapDecl;
pub use error::{AsmError, AsmErrorKind};

use super::insn::{CallTarget, Insn, Wide};
use super::text::Symbols;
use std::collections::{BTreeMap, BTreeSet};
use token::{Cursor, Kind, Parsed, Token};

/// Assembled text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assembly {
    /// The instructions of all code sections in the order of the text, slot-indexed.
    pub insns: Vec<Insn>,
    /// Line of each slot, from 1; as long as `insns`.
    pub lines: Vec<usize>,
    /// Labels of code and their pc. A label at the end of the code has the pc after the last.
    pub labels: BTreeMap<String, usize>,
    /// Functions by ascending pc: labels that are called, that a `.type NAME,@function` names,
    /// or that are global.
    pub functions: Vec<(usize, String)>,
    /// Names made global, in the order of the text.
    pub globals: Vec<String>,
    /// Code sections in the order of the text; a section the text returns to is there twice.
    pub sections: Vec<Section>,
    /// Declared maps, in the order of the text.
    pub maps: Vec<MapDecl>,
    /// What [`Wide::Map`] and [`Wide::MapValue`] of `insns` index: the names of `maps`, then the
    /// names that are used but not declared here (as in clang's output, where a map or a global
    /// variable is data), by first use.
    pub map_names: Vec<String>,
    /// The licence, from `.license NAME` or from the data of section `license`.
    pub license: Option<String>,
}

/// A stretch of a code section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name, `.text` where the text says none.
    pub name: String,
    /// First slot.
    pub start: usize,
    /// Slot after the last.
    pub end: usize,
}

/// Reads the kernel's and LLVM's assembly, as `llvm-objdump` and the kernel's log print it and
/// `clang -S` writes it.
///
/// One instruction a line. Comments run from `;`, `#` or `//` to the end of the line, or from
/// `/*` to `*/`; only in a compiler's inline assembly (between `#APP` and `#NO_APP`) does `;`
/// separate instructions, as it does for LLVM. Jump targets are labels, `+3`, `-3` or `pc+3`; numeric labels (`1:`, `goto 1b`)
/// are local. `call` takes a number, a label, or a helper's name that `symbols` knows; a label
/// comes first. A 64-bit load takes a number, `map[NAME]`, `map[NAME][0]+8`, or any name: that of
/// a label is the function's address, another is a map (see [`Assembly::map_names`]).
///
/// ```text
/// .map counter type=array key=4 value=8 entries=1
/// .section xdp
/// count:
///     *(u32 *)(r10 - 4) = 0
///     r2 = r10
///     r2 += -4
///     r1 = map[counter] ll
///     call bpf_map_lookup_elem
///     if r0 == 0 goto out
///     r1 = 1
///     lock *(u64 *)(r0 + 0) += r1
/// out:
///     r0 = 2
///     exit
/// ```
///
/// Sections that hold data (`.maps`, `license`, `.BTF`, `.rodata`, everything with flags but
/// without `x`) are skipped.
///
/// # Errors
/// The first line that does not read so, then the first name that does not resolve.
pub fn parse_asm(text: &str, symbols: &dyn Symbols) -> Result<Assembly, AsmError> {
    let mut program = Builder::default();
    let clean = token::without_comments(text)?;
    for (index, line) in clean.lines().enumerate() {
        let mut cursor = Cursor::new(line, index + 1);
        while !cursor.is_done() {
            program.labels(&mut cursor)?;
            statement(&mut cursor, &mut program)?;
            if !cursor.take(";") {
                cursor.end()?;
            }
        }
    }
    program.finish(symbols, None)
}

/// Reads the assembly of the conformance suite's `.data` files: `mov32 %r0, 1`,
/// `ldxw %r0, [%r1+4]`, `jeq %r0, 5, +2`, `lock fetch add [%r1], %r2`, `call local f`.
///
/// The text is that of the `-- asm` section alone. Mnemonics are [`Row::suite`] of the table,
/// also with `64` appended where there is a 32-bit twin; registers are written with or without
/// `%`. A jump to `exit` without such a label goes to the last `exit` instruction.
///
/// [`Row::suite`]: super::Row::suite
///
/// # Errors
/// As [`parse_asm`].
pub fn parse_suite_asm(text: &str) -> Result<Assembly, AsmError> {
    let mut program = Builder::default();
    let clean = token::without_comments(text)?;
    for (index, line) in clean.lines().enumerate() {
        let mut cursor = Cursor::new(line, index + 1);
        program.labels(&mut cursor)?;
        if !cursor.is_done() {
            suite::instruction(&mut cursor, &mut program)?;
            cursor.end()?;
        }
    }
    let last_exit = program.insns.iter().rposition(|insn| *insn == Insn::Exit);
    program.finish(&super::text::NoSymbols, last_exit)
}

/// An instruction, a directive, or nothing before `;` or the end of the line.
fn statement(cursor: &mut Cursor<'_>, program: &mut Builder) -> Parsed<()> {
    match cursor.peek() {
        None => Ok(()),
        Some(token) if token.text == ";" => Ok(()),
        Some(token) if token.text.starts_with('.') && token.kind == Kind::Word => {
            directive::directive(cursor, program)
        }
        Some(_) if program.in_code => kernel::instruction(cursor, program),
        Some(_) => cursor.expected("a data directive; this section is not code"),
    }
}

/// What an instruction refers to by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// A label, for a jump.
    Jump,
    /// A label, or a helper.
    Call,
    /// A label, for a local call.
    CallLocal,
    /// A kernel function.
    CallKfunc,
    /// A label, else a map, for a two-slot load.
    Load,
    /// A map, for a two-slot load.
    Map,
}

/// A name in an instruction, to be resolved once all labels are known.
#[derive(Clone, Debug)]
struct Reference {
    pc: usize,
    name: String,
    at: (usize, usize),
    used: Use,
}

/// The assembly while it is read.
#[derive(Debug)]
struct Builder {
    insns: Vec<Insn>,
    lines: Vec<usize>,
    references: Vec<Reference>,
    /// Label to (pc, line).
    labels: BTreeMap<String, (usize, usize)>,
    /// Pcs of each numeric label, ascending.
    local_labels: BTreeMap<String, Vec<usize>>,
    sections: Vec<Section>,
    functions: Vec<String>,
    globals: Vec<String>,
    maps: Vec<MapDecl>,
    /// Line of each map's declaration.
    map_lines: BTreeMap<String, usize>,
    license: Option<String>,
    section: String,
    in_code: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            insns: Vec::new(),
            lines: Vec::new(),
            references: Vec::new(),
            labels: BTreeMap::new(),
            local_labels: BTreeMap::new(),
            sections: Vec::new(),
            functions: Vec::new(),
            globals: Vec::new(),
            maps: Vec::new(),
            map_lines: BTreeMap::new(),
            license: None,
            section: ".text".into(),
            in_code: true,
        }
    }
}

impl Builder {
    /// Takes the labels at the start of a line; those of data sections are dropped.
    fn labels(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        while let (Some(name), Some(colon)) = (cursor.peek(), cursor.ahead(1)) {
            if colon.text != ":" || !matches!(name.kind, Kind::Word | Kind::Number) {
                break;
            }
            let pc = self.insns.len();
            if !self.in_code {
            } else if name.kind == Kind::Number {
                if !name.text.bytes().all(|digit| digit.is_ascii_digit()) {
                    return cursor.expected("a label: a name, or decimal digits");
                }
                self.local_labels
                    .entry(name.text.into())
                    .or_default()
                    .push(pc);
            } else if let Some(&(_, first)) = self.labels.get(name.text) {
                return Err(cursor.error(AsmErrorKind::Duplicate { first }));
            } else {
                self.labels.insert(name.text.into(), (pc, cursor.line()));
            }
            cursor.advance();
            cursor.advance();
        }
        Ok(())
    }

    /// Changes to a section.
    fn enter(&mut self, name: &str, in_code: bool) {
        self.section = name.into();
        self.in_code = in_code;
    }

    /// Appends an instruction.
    fn push(&mut self, insn: Insn, line: usize) {
        let start = self.insns.len();
        self.insns.push(insn);
        if insn.slots() == 2 {
            self.insns.push(Insn::WideTail);
        }
        let end = self.insns.len();
        self.lines.resize(end, line);
        match self.sections.last_mut() {
            Some(last) if last.name == self.section && last.end == start => last.end = end,
            _ => self.sections.push(Section {
                name: self.section.clone(),
                start,
                end,
            }),
        }
    }

    /// Notes that the instruction about to be pushed refers to a name.
    fn refer(&mut self, name: Token<'_>, line: usize, used: Use) {
        self.references.push(Reference {
            pc: self.insns.len(),
            name: name.text.into(),
            at: (line, name.column),
            used,
        });
    }

    /// The pc of a label as seen from `pc`; numeric labels carry `b` or `f`.
    fn find(&self, name: &str, pc: usize) -> Option<usize> {
        if let Some(&(target, _)) = self.labels.get(name) {
            return Some(target);
        }
        let (digits, direction) = name.split_at_checked(name.len().checked_sub(1)?)?;
        let all = self.local_labels.get(digits)?;
        let after = all.partition_point(|&target| target <= pc);
        match direction {
            "b" => all[..after].last().copied(),
            "f" => all.get(after).copied(),
            _ => None,
        }
    }

    /// Resolves names. `exit` is where a jump to a label of that name goes if there is none.
    fn finish(mut self, symbols: &dyn Symbols, exit: Option<usize>) -> Parsed<Assembly> {
        let mut map_names: Vec<String> = self.maps.iter().map(|map| map.name.clone()).collect();
        let mut map_index: BTreeMap<String, u32> = map_names.iter().cloned().zip(0..).collect();
        let mut called = Vec::new();
        for reference in std::mem::take(&mut self.references) {
            let Reference {
                pc, ref name, used, ..
            } = reference;
            let target = match (self.find(name, pc), used) {
                (_, Use::Map | Use::CallKfunc) => None,
                (None, Use::Jump) if name == "exit" => exit,
                (found, _) => found,
            };
            let offset = target.map(|target| target as i64 - pc as i64 - 1);
            if target.is_some() && used != Use::Jump {
                called.push(name.clone());
            }
            let insn = &mut self.insns[pc];
            match (insn, offset) {
                (
                    Insn::Jump {
                        offset: field,
                        long: false,
                    },
                    Some(offset),
                ) => {
                    *field = i32::from(reference.fit16(offset)?);
                }
                (
                    Insn::Branch { offset: field, .. } | Insn::MayGoto { offset: field },
                    Some(offset),
                ) => {
                    *field = reference.fit16(offset)?;
                }
                (
                    Insn::Jump {
                        offset: field,
                        long: true,
                    }
                    | Insn::Call(CallTarget::Local { offset: field })
                    | Insn::LoadWide {
                        value: Wide::Function { offset: field },
                        ..
                    },
                    Some(offset),
                ) => {
                    *field = reference.fit32(offset)?;
                }
                (Insn::LoadWide { value, .. }, _) => match (used, offset) {
                    (Use::Load, Some(offset)) if matches!(value, Wide::Map(_)) => {
                        *value = Wide::Function {
                            offset: reference.fit32(offset)?,
                        };
                    }
                    _ => {
                        let index = *map_index.entry(name.clone()).or_insert_with(|| {
                            map_names.push(name.clone());
                            map_names.len() as u32 - 1
                        });
                        match value {
                            Wide::MapValue { map, .. } => *map = index,
                            _ => *value = Wide::Map(index),
                        }
                    }
                },
                (Insn::Call(target), None) if used == Use::Call => match symbols.helper_id(name) {
                    Some(id) => *target = CallTarget::Helper(id),
                    None => return Err(reference.error(AsmErrorKind::UnknownCallee)),
                },
                (Insn::Call(target), None) if used == Use::CallKfunc => {
                    let Some(id) = symbols.kfunc_id(name) else {
                        return Err(reference.error(AsmErrorKind::UnknownKfunc));
                    };
                    *target = CallTarget::Kfunc { id, module: 0 };
                }
                _ => return Err(reference.error(AsmErrorKind::UnknownLabel)),
            }
        }
        let mut seen = BTreeSet::new();
        self.globals.retain(|name| seen.insert(name.clone()));
        let mut functions: Vec<(usize, String)> = Vec::new();
        for name in self.functions.iter().chain(&self.globals).chain(&called) {
            if let Some(&(pc, _)) = self.labels.get(name) {
                functions.push((pc, name.clone()));
            }
        }
        functions.sort();
        functions.dedup();
        Ok(Assembly {
            insns: self.insns,
            lines: self.lines,
            labels: self
                .labels
                .into_iter()
                .map(|(name, (pc, _))| (name, pc))
                .collect(),
            functions,
            globals: self.globals,
            sections: self.sections,
            maps: self.maps,
            map_names,
            license: self.license,
        })
    }
}

impl Reference {
    fn error(&self, kind: AsmErrorKind) -> AsmError {
        let (line, column) = self.at;
        let token = self.name.chars().take(AsmError::MAX_TOKEN).collect();
        AsmError {
            line,
            column,
            token,
            kind,
        }
    }

    /// The offset, if 16 bits can hold it.
    fn fit16(&self, offset: i64) -> Parsed<i16> {
        i16::try_from(offset)
            .ok()
            .ok_or_else(|| self.error(AsmErrorKind::TooFar { offset, bits: 16 }))
    }

    /// The offset, if 32 bits can hold it.
    fn fit32(&self, offset: i64) -> Parsed<i32> {
        i32::try_from(offset)
            .ok()
            .ok_or_else(|| self.error(AsmErrorKind::TooFar { offset, bits: 32 }))
    }
}
