//! An ELF file as the loader needs it: sections with their bytes and relocations, and symbols.
//!
//! All offsets and indices are checked here, so that what follows may rely on them: a
//! relocation's symbol exists, and no two sections share bytes of the file (which bounds what
//! can be copied by the size of the file).

use std::borrow::Cow;
use std::collections::BTreeMap;

use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, Rel as _, Rela as _, SectionHeader as _, Sym as _};
use object::{LittleEndian as Le, SectionIndex};

use super::error::{ObjectError, SectionProblem};

/// Longer names are cut: nothing that clang emits comes near.
const MAX_NAME: usize = 1024;

/// Sections that describe others; their relocations mean nothing here.
const DESCRIPTIVE: [&str; 3] = [".BTF", ".debug", ".eh_frame"];

/// The parts of an ELF object.
pub(super) struct Elf<'d> {
    /// Sections by their ELF index; the first is empty.
    pub(super) sections: Vec<Section<'d>>,
    /// Symbols by their index; the first is empty.
    pub(super) symbols: Vec<Symbol<'d>>,
    /// Symbols by section, section symbols left out.
    by_section: BTreeMap<usize, Vec<usize>>,
    /// The first section of each name.
    by_name: BTreeMap<String, usize>,
}

/// One section.
pub(super) struct Section<'d> {
    pub(super) name: Cow<'d, str>,
    pub(super) kind: SectionKind,
    /// Its bytes; empty without bits.
    pub(super) data: &'d [u8],
    /// Its size; that of `data` but for sections without bits.
    pub(super) size: u64,
    /// Relocations that apply to it, by ascending offset.
    pub(super) relocations: Vec<Relocation>,
}

/// What a section holds, as far as the loader cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    Code,
    Data,
    NoBits,
    Other,
}

/// One symbol.
pub(super) struct Symbol<'d> {
    pub(super) name: Cow<'d, str>,
    pub(super) value: u64,
    pub(super) size: u64,
    pub(super) place: Place,
    pub(super) kind: SymbolKind,
    pub(super) binding: Binding,
    /// Hidden or internal: not to be seen outside the object.
    pub(super) hidden: bool,
}

/// Where a symbol is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Undefined,
    Section(usize),
    /// Absolute, common, or reserved.
    Special,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SymbolKind {
    Function,
    Section,
    None,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    Local,
    Global,
    Weak,
}

/// One relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relocation {
    /// Byte offset in the section it applies to.
    pub(super) offset: u64,
    /// Index in [`Elf::symbols`].
    pub(super) symbol: usize,
    /// The explicit addend (RELA); without, the addend is what stands in the instruction.
    pub(super) addend: Option<i64>,
}

impl<'d> Elf<'d> {
    /// Reads the file.
    pub(super) fn parse(object: &str, bytes: &'d [u8]) -> Result<Elf<'d>, ObjectError> {
        check_ident(object, bytes)?;
        let bad = |offset: u64, what, problem| ObjectError::Elf {
            object: object.to_owned(),
            offset,
            what,
            problem,
        };
        let header = FileHeader64::<Le>::parse(bytes)
            .map_err(|_error| bad(0, "ELF header", "cut short or of another version"))?;
        if header.e_machine(Le) != elf::EM_BPF && header.e_machine(Le) != elf::EM_NONE {
            return Err(ObjectError::ElfHeader {
                object: object.to_owned(),
                offset: 18,
                field: "e_machine",
                found: u64::from(header.e_machine(Le).0),
                expected: "247 (EM_BPF)",
                help: "compile the program with clang -target bpf",
            });
        }
        if header.e_type(Le) != elf::ET_REL {
            return Err(ObjectError::ElfHeader {
                object: object.to_owned(),
                offset: 16,
                field: "e_type",
                found: u64::from(header.e_type(Le).0),
                expected: "1 (ET_REL, a relocatable object)",
                help: "give the object that clang -c writes, unlinked",
            });
        }
        let table_offset = header.e_shoff(Le);
        let headers = header.section_headers(Le, bytes).map_err(|_error| {
            bad(
                table_offset,
                "section header table",
                "lies outside the file or has entries of another size",
            )
        })?;
        let strings = header
            .section_strings(Le, bytes, headers)
            .map_err(|_error| bad(62, "e_shstrndx", "names no string table"))?;
        let mut sections = Vec::with_capacity(headers.len());
        for (index, section) in headers.iter().enumerate() {
            let at = table_offset.saturating_add(index as u64 * 64);
            let name = section
                .name(Le, strings)
                .map_err(|_error| bad(at, "section name", "lies outside the string table"))?;
            let data = section
                .data(Le, bytes)
                .map_err(|_error| bad(at, "section", "its bytes lie outside the file"))?;
            let flags = section.sh_flags(Le);
            let kind = match section.sh_type(Le) {
                elf::SHT_PROGBITS if flags.contains(elf::SHF_EXECINSTR) => SectionKind::Code,
                elf::SHT_PROGBITS => SectionKind::Data,
                elf::SHT_NOBITS => SectionKind::NoBits,
                _ => SectionKind::Other,
            };
            sections.push(Section {
                name: text(name),
                kind,
                data,
                size: section.sh_size(Le),
                relocations: Vec::new(),
            });
        }
        check_overlap(object, headers, &sections)?;
        let symbols = read_symbols(headers, bytes, &bad, table_offset)?;
        read_relocations(object, headers, bytes, &mut sections, symbols.len(), &bad)?;
        let mut by_section: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, symbol) in symbols.iter().enumerate() {
            if let Place::Section(section) = symbol.place
                && symbol.kind != SymbolKind::Section
            {
                by_section.entry(section).or_default().push(index);
            }
        }
        let mut by_name = BTreeMap::new();
        for (index, section) in sections.iter().enumerate() {
            by_name
                .entry(section.name.clone().into_owned())
                .or_insert(index);
        }
        Ok(Elf {
            sections,
            symbols,
            by_section,
            by_name,
        })
    }

    /// The first section of this name, with its index.
    pub(super) fn section_named(&self, name: &str) -> Option<(usize, &Section<'d>)> {
        let index = *self.by_name.get(name)?;
        Some((index, self.sections.get(index)?))
    }

    /// The symbols defined in a section, in the order of the table, section symbols left out.
    pub(super) fn symbols_in(&self, section: usize) -> impl Iterator<Item = &Symbol<'d>> {
        self.by_section
            .get(&section)
            .into_iter()
            .flatten()
            .filter_map(|index| self.symbols.get(*index))
    }
}

/// Class, byte order: what tells a foreign ELF file apart before anything else is read.
fn check_ident(object: &str, bytes: &[u8]) -> Result<(), ObjectError> {
    let field = |offset: usize| bytes.get(offset).copied().unwrap_or(0);
    let wrong = |offset: usize, field_name, expected, help| ObjectError::ElfHeader {
        object: object.to_owned(),
        offset: offset as u64,
        field: field_name,
        found: u64::from(field(offset)),
        expected,
        help,
    };
    if field(4) != 2 {
        return Err(wrong(
            4,
            "EI_CLASS",
            "2 (64-bit)",
            "compile the program with clang -target bpf",
        ));
    }
    match field(5) {
        1 => Ok(()),
        2 => Err(wrong(
            5,
            "EI_DATA",
            "1 (little-endian); this is a big-endian object",
            "compile the program with clang -target bpfel",
        )),
        _ => Err(wrong(
            5,
            "EI_DATA",
            "1 (little-endian)",
            "compile the program with clang -target bpfel",
        )),
    }
}

type Headers<'d> = &'d [elf::SectionHeader64<Le>];

fn check_overlap(
    object: &str,
    headers: Headers<'_>,
    sections: &[Section<'_>],
) -> Result<(), ObjectError> {
    let mut ranges: Vec<(u64, u64, usize)> = headers
        .iter()
        .enumerate()
        .filter(|(_, header)| {
            header.sh_type(Le) != elf::SHT_NULL && header.sh_type(Le) != elf::SHT_NOBITS
        })
        .map(|(index, header)| (header.sh_offset(Le), header.sh_size(Le), index))
        .filter(|(_, size, _)| *size > 0)
        .collect();
    ranges.sort_unstable();
    let name = |index: usize| {
        sections
            .get(index)
            .map_or_else(String::new, |section| section.name.clone().into_owned())
    };
    for pair in ranges.windows(2) {
        if let [(start, size, first), (next, _, second)] = *pair
            && start.saturating_add(size) > next
        {
            return Err(ObjectError::Overlap {
                object: object.to_owned(),
                first: name(first),
                second: name(second),
                offset: next,
            });
        }
    }
    Ok(())
}

fn read_symbols<'d>(
    headers: Headers<'d>,
    bytes: &'d [u8],
    bad: &impl Fn(u64, &'static str, &'static str) -> ObjectError,
    table_offset: u64,
) -> Result<Vec<Symbol<'d>>, ObjectError> {
    let Some((index, header)) = headers
        .iter()
        .enumerate()
        .find(|(_, header)| header.sh_type(Le) == elf::SHT_SYMTAB)
    else {
        return Ok(Vec::new());
    };
    let at = table_offset.saturating_add(index as u64 * 64);
    let table: &[elf::Sym64<Le>] = header
        .data_as_array(Le, bytes)
        .map_err(|_error| bad(at, "symbol table", "is no whole number of symbols"))?;
    let strings = headers
        .get(header.sh_link(Le) as usize)
        .and_then(|strings| strings.strings(Le, bytes).ok().flatten())
        .ok_or_else(|| bad(at, "symbol table", "sh_link names no string table"))?;
    let extended: Option<&[object::U32<Le>]> = headers
        .iter()
        .find(|h| h.sh_type(Le) == elf::SHT_SYMTAB_SHNDX && h.link(Le) == SectionIndex(index))
        .and_then(|h| h.data_as_array(Le, bytes).ok());
    let mut symbols = Vec::with_capacity(table.len());
    for (number, symbol) in table.iter().enumerate() {
        let offset = header.sh_offset(Le).saturating_add(number as u64 * 24);
        let name = symbol
            .name(Le, strings)
            .map_err(|_error| bad(offset, "symbol name", "lies outside the string table"))?;
        let place = match symbol.st_shndx(Le) {
            elf::SHN_UNDEF => Place::Undefined,
            elf::SHN_XINDEX => extended
                .and_then(|table| table.get(number))
                .map_or(Place::Special, |index| {
                    Place::Section(index.get(Le) as usize)
                }),
            other => other
                .index()
                .map_or(Place::Special, |index| Place::Section(usize::from(index))),
        };
        if let Place::Section(section) = place
            && section >= headers.len()
        {
            return Err(bad(
                offset,
                "symbol",
                "is defined in a section that does not exist",
            ));
        }
        let name = text(name);
        let kind = match symbol.st_type() {
            elf::STT_FUNC => SymbolKind::Function,
            elf::STT_SECTION => SymbolKind::Section,
            elf::STT_NOTYPE => SymbolKind::None,
            _ => SymbolKind::Other,
        };
        symbols.push(Symbol {
            name,
            value: symbol.st_value(Le),
            size: symbol.st_size(Le),
            place,
            kind,
            binding: match symbol.st_bind() {
                elf::STB_LOCAL => Binding::Local,
                elf::STB_WEAK => Binding::Weak,
                _ => Binding::Global,
            },
            hidden: matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL),
        });
    }
    Ok(symbols)
}

fn read_relocations(
    object: &str,
    headers: Headers<'_>,
    bytes: &[u8],
    sections: &mut [Section<'_>],
    symbols: usize,
    bad: &impl Fn(u64, &'static str, &'static str) -> ObjectError,
) -> Result<(), ObjectError> {
    for header in headers {
        let at = header.sh_offset(Le);
        let entries: Vec<Relocation> = match header.sh_type(Le) {
            elf::SHT_REL => header
                .rel(Le, bytes)
                .ok()
                .flatten()
                .map(|(table, _)| {
                    table
                        .iter()
                        .map(|r| Relocation {
                            offset: r.r_offset(Le),
                            symbol: r.r_sym(Le) as usize,
                            addend: None,
                        })
                        .collect()
                })
                .ok_or_else(|| bad(at, "relocation section", "is no whole number of entries"))?,
            elf::SHT_RELA => header
                .rela(Le, bytes)
                .ok()
                .flatten()
                .map(|(table, _)| {
                    table
                        .iter()
                        .map(|r| Relocation {
                            offset: r.r_offset(Le),
                            symbol: r.r_sym(Le, false) as usize,
                            addend: Some(r.r_addend(Le)),
                        })
                        .collect()
                })
                .ok_or_else(|| bad(at, "relocation section", "is no whole number of entries"))?,
            _ => continue,
        };
        let target = header.sh_info(Le) as usize;
        let Some(section) = sections.get_mut(target).filter(|_| target != 0) else {
            return Err(bad(
                at,
                "relocation section",
                "sh_info names a section that does not exist",
            ));
        };
        if section.kind == SectionKind::Other {
            return Err(bad(
                at,
                "relocation section",
                "applies to a section of headers, not of code or data",
            ));
        }
        if DESCRIPTIVE
            .iter()
            .any(|prefix| section.name.starts_with(prefix))
        {
            continue;
        }
        for entry in &entries {
            if entry.symbol >= symbols {
                return Err(ObjectError::Section {
                    object: object.to_owned(),
                    section: section.name.clone().into_owned(),
                    offset: entry.offset,
                    problem: SectionProblem::RelocationSymbol {
                        symbol: entry.symbol as u64,
                        symbols: symbols as u64,
                    },
                });
            }
        }
        section.relocations.extend(entries);
    }
    for section in sections {
        section.relocations.sort_by_key(|r| r.offset);
    }
    Ok(())
}

/// A name as text, at most [`MAX_NAME`] bytes of it.
fn text(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name.get(..MAX_NAME).unwrap_or(name))
}
