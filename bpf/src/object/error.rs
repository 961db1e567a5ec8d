//! Why an object cannot be read at all. What concerns one program of several is a
//! [`crate::program::Refused`] instead, so that the others go on.

use thiserror::Error;

use crate::btf::BtfError;

/// An object that cannot be loaded: where, what was expected there, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ObjectError {
    /// The bytes are of no known format.
    #[error(
        "{object}: not a BPF object: {found}; expected an ELF object (clang -target bpf -c), \
         assembly text (.bpf, .s) or raw instructions (.bin, .hex)"
    )]
    UnknownFormat {
        /// The object as the user named it.
        object: String,
        /// What the bytes start with.
        found: String,
    },
    /// The ELF header names another machine, class or kind of file.
    #[error("{object}: offset {offset:#x}: {field} is {found}, expected {expected}; {help}")]
    ElfHeader {
        /// The object as the user named it.
        object: String,
        /// Byte offset in the file.
        offset: u64,
        /// Field of the ELF header.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it must be.
        expected: &'static str,
        /// What to do.
        help: &'static str,
    },
    /// A part of the ELF file lies outside it or contradicts another.
    #[error("{object}: offset {offset:#x}: {what}: {problem}; is the file truncated?")]
    Elf {
        /// The object as the user named it.
        object: String,
        /// Byte offset in the file of what is wrong.
        offset: u64,
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two sections share bytes of the file.
    #[error(
        "{object}: sections `{first}` and `{second}` overlap at offset {offset:#x}; \
         expected every section to have bytes of its own"
    )]
    Overlap {
        /// The object as the user named it.
        object: String,
        /// The section that starts first.
        first: String,
        /// The section that starts inside it.
        second: String,
        /// Where the second starts.
        offset: u64,
    },
    /// A section's contents are malformed.
    #[error("{object}: section `{section}` offset {offset:#x}: {problem}")]
    Section {
        /// The object as the user named it.
        object: String,
        /// The section.
        section: String,
        /// Byte offset in the section.
        offset: u64,
        /// What is wrong.
        problem: SectionProblem,
    },
    /// `.BTF`, `.BTF.ext` or the target's BTF is malformed.
    #[error("{object}: {part}: {error}")]
    Btf {
        /// The object as the user named it.
        object: String,
        /// `.BTF`, `.BTF.ext`, or `target BTF`.
        part: &'static str,
        /// What is wrong.
        error: BtfError,
    },
    /// A map cannot be defined as the object says.
    #[error("{object}: map `{map}`: {problem}")]
    Map {
        /// The object as the user named it.
        object: String,
        /// Name of the map.
        map: String,
        /// What is wrong.
        problem: MapProblem,
    },
    /// A global value (`--global`) cannot be set.
    #[error("{object}: global `{global}`: {problem}")]
    Global {
        /// The object as the user named it.
        object: String,
        /// The variable as the user named it.
        global: String,
        /// What is wrong.
        problem: GlobalProblem,
    },
    /// `--map NAME.max_entries=N` names a map that the object does not have.
    #[error("{object}: no map is called `{map}`; the object has: {}", list(.known))]
    NoSuchMap {
        /// The object as the user named it.
        object: String,
        /// The map as the user named it.
        map: String,
        /// The maps there are.
        known: Vec<String>,
    },
    /// No program has this name.
    #[error("{object}: no program is called `{program}`; the object has: {}", list(.known))]
    NoSuchProgram {
        /// The object as the user named it.
        object: String,
        /// The program as the user named it.
        program: String,
        /// The functions and sections there are.
        known: Vec<String>,
    },
    /// The object holds no instruction.
    #[error(
        "{object}: no program: no executable section holds instructions; \
         put the program's function into a section, for example SEC(\"xdp\")"
    )]
    NoProgram {
        /// The object as the user named it.
        object: String,
    },
    /// A number is beyond what is taken from one object.
    #[error("{object}: {what}: {found} is more than the limit of {limit}")]
    TooLarge {
        /// The object as the user named it.
        object: String,
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Assembly text that does not read.
    #[error("{object}: {error}")]
    Asm {
        /// The object as the user named it.
        object: String,
        /// Line, column, and what is wrong.
        error: isa::ebpf::AsmError,
    },
    /// Raw instructions that do not decode.
    #[error("{object}: {error}")]
    Decode {
        /// The object as the user named it.
        object: String,
        /// Slot, offset, and what is wrong.
        error: isa::ebpf::DecodeError,
    },
    /// A `.hex` file holds something else than hexadecimal digits.
    #[error(
        "{object}: line {line}, column {column}: {found:?} is no hexadecimal digit; \
         expected the 16 digits of one instruction in memory order, spaces between bytes allowed"
    )]
    Hex {
        /// The object as the user named it.
        object: String,
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
        /// The character.
        found: char,
    },
    /// Raw instructions name a map that is not declared.
    #[error(
        "{object}: insn {pc} uses map {index}, but {declared} are declared; \
         declare it with --map NAME=type,key,value,entries"
    )]
    UndeclaredMap {
        /// The object as the user named it.
        object: String,
        /// Slot of the instruction.
        pc: usize,
        /// The map's index or file descriptor in the instruction.
        index: i64,
        /// How many maps are declared.
        declared: usize,
    },
}

impl ObjectError {
    /// Whether the fault lies in what the user asked for (a name that the object does not have,
    /// a value that does not fit) and not in the object.
    pub const fn is_of_options(&self) -> bool {
        matches!(
            self,
            ObjectError::Global { .. }
                | ObjectError::NoSuchMap { .. }
                | ObjectError::NoSuchProgram { .. }
                | ObjectError::UndeclaredMap { .. }
                | ObjectError::Map {
                    problem: MapProblem::Declaration { .. },
                    ..
                }
        )
    }
}

/// What is wrong with a section's contents.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SectionProblem {
    /// A section of code whose size is no whole number of instructions.
    #[error("{size} bytes of code, expected a multiple of 8")]
    CodeSize {
        /// Size in bytes.
        size: u64,
    },
    /// A function reaches beyond its section.
    #[error("function `{function}` of {size} bytes ends outside the section")]
    FunctionBounds {
        /// Symbol.
        function: String,
        /// Its size.
        size: u64,
    },
    /// Two functions share instructions.
    #[error("function `{function}` overlaps `{other}`")]
    FunctionOverlap {
        /// Symbol.
        function: String,
        /// The other symbol.
        other: String,
    },
    /// A relocation names a symbol that does not exist.
    #[error("relocation against symbol {symbol}, but there are {symbols}")]
    RelocationSymbol {
        /// Index of the symbol.
        symbol: u64,
        /// Size of the symbol table.
        symbols: u64,
    },
    /// More global data than is taken.
    #[error("{size} bytes of global data, more than the limit of {limit}; make the map smaller")]
    DataSize {
        /// Size in bytes.
        size: u64,
        /// The limit.
        limit: u64,
    },
}

/// What is wrong with a map's definition.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MapProblem {
    /// The definition does not say the type.
    #[error("no type; say for example __uint(type, BPF_MAP_TYPE_ARRAY)")]
    NoType,
    /// A type number that linux/bpf.h does not have.
    #[error("unknown map type {found}; expected 1 (hash) to 33 (arena)")]
    UnknownType {
        /// The number.
        found: u32,
    },
    /// A type name that is none.
    #[error("unknown map type `{found}`; expected a name such as array, hash or percpu_array")]
    UnknownTypeName {
        /// The name.
        found: String,
    },
    /// The BTF of the definition has another shape than `struct { __uint(...); ... }`.
    #[error("member `{member}`: {problem}; define the map as bpf_helpers.h's macros do")]
    Member {
        /// Member of the definition.
        member: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Key or value size is given twice, differently.
    #[error("{what} is {first} by its size and {second} by its type")]
    SizeConflict {
        /// `key_size` or `value_size`.
        what: &'static str,
        /// The one.
        first: u32,
        /// The other.
        second: u32,
    },
    /// The variable of the definition is not where BTF says.
    #[error("its definition at offset {offset:#x} of section `{section}` lies outside the section")]
    OutsideSection {
        /// Section.
        section: String,
        /// Byte offset.
        offset: u64,
    },
    /// A legacy definition of a size that is none of the known ones.
    #[error(
        "a definition of {size} bytes; expected at least 16 (type, key size, value size, \
         max entries; 20 with flags, 36 for iproute2's bpf_elf_map)"
    )]
    LegacySize {
        /// Size in bytes.
        size: u64,
    },
    /// A legacy definition that goes on with something unknown.
    #[error(
        "byte {offset:#x} of its definition is not zero; no known definition has a field there"
    )]
    LegacyTail {
        /// Byte offset in the definition.
        offset: u64,
    },
    /// The inner map that the definition names does not exist.
    #[error("its inner map {inner} does not exist")]
    NoInner {
        /// How the definition names it.
        inner: String,
    },
    /// The map would take more memory than any machine has.
    #[error(
        "{bytes} bytes (key {key} + value {value}, {entries} entries), more than the limit of \
         {limit}; lower it with --map NAME.max_entries=N"
    )]
    TooLarge {
        /// Bytes it would take.
        bytes: u64,
        /// Key in bytes.
        key: u32,
        /// Value in bytes.
        value: u32,
        /// Entries.
        entries: u32,
        /// The limit.
        limit: u64,
    },
    /// A slot names something that does not exist or is no program or map.
    #[error("slot {slot} names `{target}`, which is no {expected} of the object")]
    Slot {
        /// Index of the slot.
        slot: u64,
        /// What it names.
        target: String,
        /// `program` or `map`.
        expected: &'static str,
    },
    /// Assembly text uses the map (or variable) but does not declare it.
    #[error(
        "it is used but not declared; add a line `.map NAME type=array key=4 value=8 entries=1`, \
         or --map NAME=type,key,value,entries"
    )]
    Undeclared,
    /// A `--map NAME=...` declaration that does not read.
    #[error("`{found}`: expected {expected}")]
    Declaration {
        /// What was given.
        found: String,
        /// What is expected.
        expected: &'static str,
    },
}

/// What is wrong with a value for a global variable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GlobalProblem {
    /// No variable has this name.
    #[error("no such variable; the object has: {}", list(.known))]
    Unknown {
        /// The variables there are.
        known: Vec<String>,
    },
    /// Several variables have this name.
    #[error("{count} variables have this name; rename one in the source")]
    Ambiguous {
        /// How many.
        count: usize,
    },
    /// The value is not of the variable's type.
    #[error("`{value}` does not read as {expected}")]
    Value {
        /// The value as given, shortened.
        value: String,
        /// The type, with its range or size.
        expected: String,
    },
    /// A path such as `config.limit` names a member that does not exist.
    #[error("its type has no `{member}`; it has: {}", list(.known))]
    Member {
        /// The member or index.
        member: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The variable lies outside its section.
    #[error("its {size} bytes at offset {offset:#x} lie outside the section")]
    OutsideSection {
        /// Size in bytes.
        size: u64,
        /// Byte offset in the section.
        offset: u64,
    },
}

/// At most 20 names, by comma.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 20;
    if names.is_empty() {
        return "none".to_owned();
    }
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text = format!("{text} and {} more", names.len() - SHOWN);
    }
    text
}
