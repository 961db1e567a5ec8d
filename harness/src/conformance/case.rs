//! One case in the public suite's `.data` form.
//!
//! A file has sections that begin with a line `-- NAME`: `asm` (the suite's assembly) or `raw`
//! (64-bit instruction words), `mem` (bytes in hex), `result` (r0, decimal or `0x…`) or `error`
//! (the program must not run to its end; the text is the runtime's own and is not compared).
//! `c` and `no register offset` are for people. `ticks` is ours: cycles of the whole program, on
//! engines that count them. `#` begins a comment; lines may end in CR LF.
//!
//! A file whose name ends in `.test` is of hBPF's suite (hBPF 23cccc7, `tests/data`), in which
//! words of `raw` stand in the order of memory, `raw` beside `asm` is what that must encode to,
//! a `result` beside `error` is the r0 at which the core stopped, and a case with neither must run
//! to its end. `args` and `expected` are options of its runner: they may not set registers here.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bpf::program::{LineInfo, Source};
use bpf::{Hook, Program};
use isa::ebpf::{AsmError, DecodeError, Group, Insn, decode, encode, parse_suite_asm};

/// Most bytes of a case's memory.
pub const MOST_MEMORY: usize = 1 << 20;
/// Most instruction slots.
pub const MOST_SLOTS: usize = 1 << 16;

/// What the program must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// All 64 bits of r0 at the exit.
    Result(u64),
    /// It is refused, or stopped.
    Error,
    /// It runs to its end, whatever r0 is then.
    End,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file, as the user named it.
    pub file: String,
    /// The program, of hook `Raw`.
    pub program: Arc<Program>,
    /// Its memory.
    pub memory: Vec<u8>,
    /// What it must come to.
    pub expected: Expected,
    /// Cycles that it must take, where the engine counts them.
    pub ticks: Option<u64>,
    /// Why the words of an error case are no instructions: then there is no program, and the
    /// case has come to what it must.
    pub undecodable: Option<DecodeError>,
}

/// Why a file is no case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// It is not text.
    #[error("line {line}: not UTF-8")]
    NotText {
        /// Line, from 1.
        line: usize,
    },
    /// A line `-- NAME` whose name means nothing.
    #[error("line {line}: unknown section `{name}`; there are asm, raw, mem, result, error, ticks")]
    Section {
        /// Line, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// A section that must be there is not.
    #[error("there is no section {what}")]
    Missing {
        /// Which.
        what: &'static str,
    },
    /// Sections that exclude each other, or one of them twice.
    #[error("line {line}: {what}")]
    Twice {
        /// Line, from 1.
        line: usize,
        /// What is there too much.
        what: &'static str,
    },
    /// Something that is not a number of the kind that stands there.
    #[error("line {line}: `{found}` is not {expected}")]
    Number {
        /// Line, from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// An option of the suite's own runner that changes how a program runs.
    #[error("line {line}: `{found}` is not modelled: r1 is the memory, r2 its length")]
    Argument {
        /// Line, from 1.
        line: usize,
        /// The option.
        found: String,
    },
    /// The words of `raw` are not what `asm` encodes to.
    #[error("raw: the words are not those of asm, which encodes to {found}")]
    Encoding {
        /// What the assembly encodes to, in the file's form.
        found: String,
    },
    /// The assembly does not read.
    #[error("{0}")]
    Asm(AsmError),
    /// The instruction words are no instructions.
    #[error("raw: {0}")]
    Decode(#[from] DecodeError),
    /// More than there can be.
    #[error("{what}: {found}, at most {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        limit: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    None,
    Asm,
    Raw,
    Memory,
    Result,
    Error,
    Ticks,
    Arguments,
}

/// The sections of a file, with line numbers.
struct Sections<'t> {
    /// As long as the file up to its last line: lines of other sections are empty.
    asm: Option<String>,
    raw: Vec<(usize, &'t str)>,
    has_raw: bool,
    memory: Vec<(usize, &'t str)>,
    result: Option<(usize, &'t str)>,
    error: bool,
    ticks: Option<(usize, &'t str)>,
}

impl Case {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// [`CaseError`], with the line.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Case, CaseError> {
        let text = std::str::from_utf8(bytes).map_err(|error| CaseError::NotText {
            line: String::from_utf8_lossy(&bytes[..error.valid_up_to()])
                .split('\n')
                .count(),
        })?;
        let is_hbpf = Path::new(file).extension().is_some_and(|e| e == "test");
        let sections = Sections::split(text, is_hbpf)?;
        let expected = match (&sections.result, sections.error) {
            (Some((line, text)), false) => Expected::Result(number(*line, text)?),
            (_, true) if is_hbpf => Expected::Error,
            (None, false) if is_hbpf => Expected::End,
            (None, true) => Expected::Error,
            (Some((line, _)), true) => {
                return Err(CaseError::Twice {
                    line: *line,
                    what: "both a result and an error are expected",
                });
            }
            (None, false) => {
                return Err(CaseError::Missing {
                    what: "result or error",
                });
            }
        };
        let memory = sections.memory()?;
        let ticks = sections.ticks.map(|(line, text)| number(line, text));
        let (insns, lines, undecodable) = match sections.instructions(is_hbpf) {
            Ok((insns, lines)) => (insns, lines, None),
            Err(CaseError::Decode(error)) if expected == Expected::Error => {
                (Vec::new(), Vec::new(), Some(error))
            }
            Err(error) => return Err(error),
        };
        if insns.len() > MOST_SLOTS {
            return Err(CaseError::TooLarge {
                what: "instruction slots",
                found: insns.len(),
                limit: MOST_SLOTS,
            });
        }
        Ok(Case {
            program: Arc::new(raw_program(file, insns, memory.len(), &lines)),
            file: file.to_owned(),
            memory,
            expected,
            ticks: ticks.transpose()?,
            undecodable,
        })
    }

    /// The groups that its instructions are of, in the order of [`Group`].
    pub fn groups(&self) -> BTreeSet<Group> {
        let insns = self.program.insns.iter();
        insns.map(|insn| insn.row().group()).collect()
    }
}

/// A program of hook `Raw` around instructions; `lines` gives for each slot its line, or nothing.
pub fn raw_program(file: &str, insns: Vec<Insn>, memory: usize, lines: &[usize]) -> Program {
    let stem = file.rsplit('/').next().unwrap_or(file);
    let stem = stem.strip_suffix(".data").or(stem.strip_suffix(".test"));
    let stem = stem.unwrap_or(file.rsplit('/').next().unwrap_or(file));
    let mut source = Source::default();
    let mut last = 0;
    for (pc, line) in lines.iter().enumerate().filter(|(_, line)| **line != 0) {
        if *line != last {
            last = *line;
            source.lines.push(LineInfo {
                pc,
                file: 0,
                line: *line as u32,
                column: 0,
                text: String::new(),
            });
        }
    }
    if last != 0 {
        source.files.push(file.to_owned());
    }
    let hook = Hook::Raw {
        memory_bytes: memory as u32,
    };
    Program {
        source,
        ..Program::of_instructions(stem, hook, insns)
    }
}

impl<'t> Sections<'t> {
    fn split(text: &'t str, is_hbpf: bool) -> Result<Sections<'t>, CaseError> {
        let mut sections = Sections {
            asm: None,
            raw: Vec::new(),
            has_raw: false,
            memory: Vec::new(),
            result: None,
            error: false,
            ticks: None,
        };
        let mut section = Section::None;
        let mut asm = String::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            // The assembler's lines are those of the file.
            asm.push('\n');
            let line = line.strip_suffix('\r').unwrap_or(line);
            if let Some(name) = line.trim_start().strip_prefix("--") {
                section = section_of(number, name.trim(), is_hbpf)?;
                sections.begin(section, number, is_hbpf)?;
                continue;
            }
            let content = line.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            match section {
                Section::Arguments if content.starts_with('r') => {
                    return Err(CaseError::Argument {
                        line: number,
                        found: content.to_owned(),
                    });
                }
                Section::None | Section::Arguments => {}
                Section::Asm => asm.push_str(content),
                Section::Raw => sections.raw.push((number, content)),
                Section::Memory => sections.memory.push((number, content)),
                Section::Error => sections.error = true,
                Section::Ticks => sections.ticks = Some((number, content)),
                Section::Result if sections.result.is_some() => {
                    return Err(CaseError::Twice {
                        line: number,
                        what: "a second result",
                    });
                }
                Section::Result => sections.result = Some((number, content)),
            }
        }
        if sections.asm.is_some() {
            // The first line has no line end before it.
            sections.asm = Some(asm.split_off(1.min(asm.len())));
        }
        Ok(sections)
    }

    fn begin(&mut self, section: Section, line: usize, is_hbpf: bool) -> Result<(), CaseError> {
        let twice = |what| Err(CaseError::Twice { line, what });
        let (has_asm, has_raw) = (self.asm.is_some(), self.has_raw);
        match section {
            Section::Asm if has_asm || has_raw && !is_hbpf => {
                return twice("a second program (asm or raw)");
            }
            Section::Raw if has_raw || has_asm && !is_hbpf => {
                return twice("a second program (asm or raw)");
            }
            Section::Asm => self.asm = Some(String::new()),
            Section::Raw => self.has_raw = true,
            Section::Error => self.error = true,
            Section::None
            | Section::Memory
            | Section::Result
            | Section::Ticks
            | Section::Arguments => {}
        }
        Ok(())
    }

    fn memory(&self) -> Result<Vec<u8>, CaseError> {
        let mut bytes = Vec::new();
        for (line, text) in &self.memory {
            for token in text.split_whitespace() {
                let digits = strip_hex(token).unwrap_or(token);
                let byte = u8::from_str_radix(digits, 16);
                bytes.push(byte.map_err(|_e| CaseError::Number {
                    line: *line,
                    found: token.to_owned(),
                    expected: "a byte in hexadecimal",
                })?);
            }
        }
        if bytes.len() > MOST_MEMORY {
            return Err(CaseError::TooLarge {
                what: "bytes of mem",
                found: bytes.len(),
                limit: MOST_MEMORY,
            });
        }
        Ok(bytes)
    }

    /// The instructions, and for each slot its line.
    fn instructions(&self, is_hbpf: bool) -> Result<(Vec<Insn>, Vec<usize>), CaseError> {
        let mut raw = Vec::new();
        for (line, text) in &self.raw {
            for token in text.split_whitespace() {
                let word = number(*line, token)?;
                raw.extend(if is_hbpf {
                    word.to_be_bytes()
                } else {
                    word.to_le_bytes()
                });
            }
        }
        let (insns, lines) = if let Some(asm) = &self.asm {
            let assembly = parse_suite_asm(asm).map_err(CaseError::Asm)?;
            let bytes = encode(&assembly.insns).unwrap_or_default();
            if self.has_raw && bytes != raw {
                let words = bytes.chunks(8).map(|word| {
                    let digits = word.iter().map(|byte| format!("{byte:02x}"));
                    format!("0x{}", digits.collect::<String>())
                });
                return Err(CaseError::Encoding {
                    found: words.collect::<Vec<_>>().join(" "),
                });
            }
            (assembly.insns, assembly.lines)
        } else if self.has_raw {
            (decode(&raw)?, Vec::new())
        } else {
            return Err(CaseError::Missing { what: "asm or raw" });
        };
        if insns.is_empty() {
            return Err(CaseError::Missing {
                what: "asm or raw with an instruction",
            });
        }
        Ok((insns, lines))
    }
}

fn section_of(line: usize, name: &str, is_hbpf: bool) -> Result<Section, CaseError> {
    Ok(match name.split('#').next().unwrap_or_default().trim() {
        "asm" => Section::Asm,
        "raw" => Section::Raw,
        "mem" => Section::Memory,
        "result" => Section::Result,
        "error" => Section::Error,
        "ticks" => Section::Ticks,
        "args" if is_hbpf => Section::Arguments,
        "expected" if is_hbpf => Section::None,
        "c" | "no register offset" => Section::None,
        _ => {
            return Err(CaseError::Section {
                line,
                name: name.to_owned(),
            });
        }
    })
}

fn strip_hex(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

/// A 64-bit number, decimal or hexadecimal, also negative.
fn number(line: usize, text: &str) -> Result<u64, CaseError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let value = match strip_hex(digits) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    match value {
        Ok(value) if negative => Ok(value.wrapping_neg()),
        Ok(value) => Ok(value),
        Err(_) => Err(CaseError::Number {
            line,
            found: text.to_owned(),
            expected: "a number of 64 bits, decimal or 0x…",
        }),
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Result(r0) => write!(f, "r0 = {r0:#x}"),
            Expected::Error => f.write_str("an error"),
            Expected::End => f.write_str("its end"),
        }
    }
}
