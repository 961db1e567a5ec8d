//! A linked program and the set of programs that one object yields.

use std::collections::BTreeMap;
use std::sync::Arc;

use isa::ebpf::{Insn, Wide};

use crate::Hook;
use crate::btf::{Btf, TypeId};
use crate::finding::Finding;
use crate::map::MapDef;

/// What one object yields: its programs, and the maps they share.
#[derive(Clone, Debug)]
pub struct ProgramSet {
    /// Where the object was read from, as the user named it.
    pub object: String,
    /// Programs of a packet hook, in the order of their sections and of their place in them.
    pub programs: Vec<Program>,
    /// The object's maps. Instructions name a map by its index here.
    pub maps: Arc<[MapDef]>,
    /// Programs that are listed but cannot be taken.
    pub refused: Vec<Refused>,
    /// Remarks of the loader (for example CO-RE resolved against the object's own types).
    pub notes: Vec<Finding>,
}

impl ProgramSet {
    /// The program with this function name, else the only one in the section of this name.
    pub fn find(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|p| p.name == name).or_else(|| {
            let mut in_section = self.programs.iter().filter(|p| p.section == name);
            let only = in_section.next()?;
            in_section.next().is_none().then_some(only)
        })
    }
}

/// A program that an object holds but nicbed does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Function name.
    pub name: String,
    /// Section name.
    pub section: String,
    /// Why, as a finding of the load stage.
    pub finding: Finding,
}

/// A program ready to be verified: linked, with maps by index and global values applied.
///
/// Instructions are indexed by slot (see [`isa::ebpf`]): first the entry function, then the
/// functions it calls, in the order in which libbpf appends them.
#[derive(Clone, Debug)]
pub struct Program {
    /// Symbol of the entry function, or the file's stem where there is none.
    pub name: String,
    /// Section of the entry function; empty for raw instructions.
    pub section: String,
    /// Where it is attached.
    pub hook: Hook,
    /// Slot-indexed instructions of all functions. Maps appear as `Wide::Map` and
    /// `Wide::MapValue` only.
    pub insns: Arc<[Insn]>,
    /// The object's maps; shared by all its programs.
    pub maps: Arc<[MapDef]>,
    /// The functions, by ascending start; the first is the entry and starts at 0.
    pub subprograms: Vec<Subprogram>,
    /// Global variables of the object that BTF or symbols name.
    pub globals: Arc<[Global]>,
    /// The object's `license`, if it has one.
    pub license: Option<String>,
    /// Where each instruction came from.
    pub source: Source,
    /// The object's type information as libbpf hands it to the kernel: the bytes of a `.BTF`
    /// section whose type ids are the object's own, with the places of variables filled in,
    /// hidden functions static, and what the kernel does not take blanked. `None` where the
    /// object has none.
    pub btf: Option<Arc<[u8]>>,
    /// Type information of the kernel that the program is for: what structures of the kernel are,
    /// and with them which fields programs may read. `None` where the user gave none; then the
    /// object's own types say it, as far as it describes them.
    pub kernel_btf: Option<Arc<[u8]>>,
}

impl Program {
    /// A program of instructions alone, with functions as calls tell them, no maps and a licence
    /// that lets it call everything.
    pub fn of_instructions(name: &str, hook: Hook, insns: Vec<Insn>) -> Program {
        Program {
            name: name.to_owned(),
            section: String::new(),
            hook,
            subprograms: functions(name, &insns),
            insns: insns.into(),
            maps: Arc::from([]),
            globals: Arc::from([]),
            license: Some("GPL".to_owned()),
            source: Source::default(),
            btf: None,
            kernel_btf: None,
        }
    }

    /// The maps that the code refers to, reached or not: each index with the first pc that does,
    /// by ascending index.
    pub fn referenced_maps(&self) -> BTreeMap<usize, usize> {
        let mut maps = BTreeMap::new();
        for (pc, insn) in self.insns.iter().enumerate() {
            if let Insn::LoadWide {
                value: Wide::Map(map) | Wide::MapValue { map, .. },
                ..
            } = insn
            {
                maps.entry(*map as usize).or_insert(pc);
            }
        }
        maps
    }

    /// Whether helpers reserved for GPL-compatible programs may be called, judged from the
    /// license string as the kernel does.
    pub fn is_gpl_compatible(&self) -> bool {
        matches!(
            self.license.as_deref(),
            Some(
                "GPL"
                    | "GPL v2"
                    | "GPL and additional rights"
                    | "Dual BSD/GPL"
                    | "Dual MIT/GPL"
                    | "Dual MPL/GPL"
            )
        )
    }

    /// The object's type information, parsed; `None` where there is none, or it is malformed.
    pub fn types(&self) -> Option<Btf<'_>> {
        Btf::parse(self.btf.as_deref()?).ok()
    }

    /// The function that holds `pc`, as an index in [`Program::subprograms`].
    pub fn subprogram_at(&self, pc: usize) -> Option<usize> {
        let index = self
            .subprograms
            .partition_point(|s| s.start <= pc)
            .checked_sub(1)?;
        (pc < self.subprograms[index].end).then_some(index)
    }
}

/// Functions as calls tell them: the entry, and what is called.
fn functions(entry: &str, insns: &[Insn]) -> Vec<Subprogram> {
    let mut starts: Vec<usize> = insns
        .iter()
        .enumerate()
        .filter_map(|(pc, insn)| insn.function_target(pc))
        .filter_map(|target| usize::try_from(target).ok())
        .filter(|target| *target < insns.len())
        .chain([0])
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([insns.len()]);
    let bounds = starts.iter().copied().zip(ends);
    bounds
        .map(|(start, end)| Subprogram {
            name: if start == 0 {
                entry.to_owned()
            } else {
                format!("sub_{start}")
            },
            start,
            end,
            global: false,
            btf_type: 0,
        })
        .collect()
}

/// One function of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subprogram {
    /// Symbol, or `sub_PC` where none is known.
    pub name: String,
    /// First pc.
    pub start: usize,
    /// First pc after it.
    pub end: usize,
    /// Whether the symbol is global (verified on its own by its BTF signature).
    pub global: bool,
    /// Its type (`BTF_KIND_FUNC`) in [`Program::btf`]; 0 where none is known.
    pub btf_type: TypeId,
}

/// A global variable in .rodata, .data or .bss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Variable name.
    pub name: String,
    /// Index of the map that holds its section.
    pub map: usize,
    /// Byte offset in the section.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
    /// How its bytes are to be read, by BTF; `None` where BTF does not tell.
    pub kind: GlobalKind,
}

/// How the bytes of a global variable are read and written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalKind {
    /// Unsigned integer, little-endian.
    Unsigned,
    /// Signed integer, little-endian.
    Signed,
    /// `bool`.
    Bool,
    /// Characters, NUL-terminated.
    Text,
    /// Anything else: written as hex.
    Bytes,
}

/// Where the instructions of a program came from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Source files, as the compiler named them.
    pub files: Vec<String>,
    /// Line records by ascending pc; a record holds up to the next one's pc.
    pub lines: Vec<LineInfo>,
    /// For each pc the (section, byte offset) in the object; empty for raw instructions.
    pub origins: Vec<Origin>,
    /// Names of the object's sections that origins refer to.
    pub sections: Vec<String>,
}

/// One line record of `.BTF.ext`, or of assembly text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// First pc it holds for.
    pub pc: usize,
    /// Index in [`Source::files`].
    pub file: usize,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 where unknown.
    pub column: u32,
    /// Text of the line as the object carries it; empty where it does not.
    pub text: String,
}

/// Place of an instruction in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Index in [`Source::sections`].
    pub section: usize,
    /// Byte offset in the section, which is what llvm-objdump shows.
    pub offset: u64,
}

impl Source {
    /// The line record that holds for `pc`.
    pub fn line_at(&self, pc: usize) -> Option<&LineInfo> {
        let index = self.lines.partition_point(|l| l.pc <= pc).checked_sub(1)?;
        self.lines.get(index)
    }

    /// `file:line` for `pc`.
    pub fn place_at(&self, pc: usize) -> Option<(&str, u32)> {
        let line = self.line_at(pc)?;
        Some((self.files.get(line.file)?.as_str(), line.line))
    }
}
