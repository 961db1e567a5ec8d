//! Linking: one program as the kernel gets it.
//!
//! The entry function comes first. Its instructions are gone through in order, and a function
//! that is called (or whose address is taken) for the first time is appended and gone through
//! at once, before its caller goes on. So pcs are those of libbpf and of the kernel's log.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::elf::{Binding, Elf, Place, Relocation, Symbol};
use super::function::{Functions, SLOT};
use super::maps::{MapPlace, Maps};
use super::notes::{CONFIG_VALUE, bad_relocation, refusal, unresolved_extern};
use crate::btf::ext::LineRecord;
use crate::finding::Finding;
use crate::kfunc;
use crate::program::{LineInfo, Origin, Source, Subprogram};

/// More slots than this are refused for one program: the kernel's own limit of instructions.
const MAX_PROGRAM_SLOTS: usize = 1 << 20;

/// Longer texts of source lines are cut, in bytes.
const MAX_LINE_TEXT: usize = 256;

/// Longer names of source files are cut, in bytes.
const MAX_FILE_NAME: usize = 1024;

const CALL: u8 = 0x85;
const LDDW: u8 = 0x18;
const PSEUDO_CALL: u8 = 1;
const PSEUDO_KFUNC: u8 = 2;
const PSEUDO_FUNC: u8 = 4;
const PSEUDO_MAP_IDX: u8 = 5;
const PSEUDO_MAP_IDX_VALUE: u8 = 6;

/// What libbpf makes a call of when the kernel function it names is weak and absent.
const POISONED_KFUNC: i32 = 2_002_000_000;

/// Everything about the object that linking looks at.
pub(super) struct Linker<'a, 'd> {
    pub(super) elf: &'a Elf<'d>,
    pub(super) functions: &'a Functions,
    pub(super) maps: &'a Maps,
    /// Whether the object carries type information.
    pub(super) has_btf: bool,
    /// Code by section, with CO-RE relocations done.
    pub(super) code: BTreeMap<usize, Vec<u8>>,
    /// CO-RE relocations that could not be done, by (section, byte offset).
    pub(super) failed: BTreeMap<(usize, u64), Finding>,
    /// Line records by section, by ascending offset.
    pub(super) lines: BTreeMap<usize, Vec<LineRecord<'d>>>,
    /// The function that gets the exceptions of a program, by the program's function.
    pub(super) catchers: BTreeMap<usize, usize>,
    /// `.kconfig` variables: their byte offset in the map that holds them.
    pub(super) kconfig: BTreeMap<&'d str, u32>,
    /// Variables that the user gave a value.
    pub(super) configured: BTreeSet<&'a str>,
    /// The map of `.kconfig`.
    pub(super) kconfig_map: Option<usize>,
    /// Slots that were put into programs so far, refused ones included.
    pub(super) slots: Cell<u64>,
}

/// A linked program, still as bytes.
pub(super) struct Linked {
    pub(super) code: Vec<u8>,
    pub(super) subprograms: Vec<Subprogram>,
    pub(super) source: Source,
}

/// One instruction slot as bytes.
#[derive(Clone, Copy)]
struct Slot([u8; 8]);

impl Slot {
    fn code(self) -> u8 {
        self.0[0]
    }

    fn src(self) -> u8 {
        self.0[1] >> 4
    }

    fn set_src(&mut self, src: u8) {
        self.0[1] = self.0[1] & 0x0f | src << 4;
    }

    fn imm(self) -> i32 {
        let [_, _, _, _, imm @ ..] = self.0;
        i32::from_le_bytes(imm)
    }

    fn set_imm(&mut self, imm: i32) {
        let [_, _, _, _, rest @ ..] = &mut self.0;
        *rest = imm.to_le_bytes();
    }
}

/// A function on the way: where it was put, and the next slot to look at.
struct Visit {
    function: usize,
    base: usize,
    next: usize,
}

/// State of linking one program.
struct Work {
    slots: Vec<Slot>,
    /// First slot of each function that was appended.
    bases: BTreeMap<usize, usize>,
    subprograms: Vec<Subprogram>,
    source: Source,
    section_index: BTreeMap<usize, usize>,
    file_index: BTreeMap<String, usize>,
}

impl Linker<'_, '_> {
    /// Links the program that starts with function `entry`.
    pub(super) fn link(&self, entry: usize) -> Result<Linked, Box<Finding>> {
        let mut work = Work {
            slots: Vec::new(),
            bases: BTreeMap::new(),
            subprograms: Vec::new(),
            source: Source::default(),
            section_index: BTreeMap::new(),
            file_index: BTreeMap::new(),
        };
        self.append_all(&mut work, entry)?;
        // Nothing refers to what gets the exceptions.
        if let Some(catcher) = self.catchers.get(&entry)
            && !work.bases.contains_key(catcher)
        {
            self.append_all(&mut work, *catcher)?;
        }
        Ok(Linked {
            code: work.slots.iter().flat_map(|slot| slot.0).collect(),
            subprograms: work.subprograms,
            source: work.source,
        })
    }

    /// Puts a function at the end, and all that it calls and that is not there yet.
    fn append_all(&self, work: &mut Work, index: usize) -> Result<(), Box<Finding>> {
        let mut stack = vec![self.append(work, index)?];
        while let Some(visit) = stack.last_mut() {
            let called = self.resolve_next(work, visit)?;
            match called {
                Step::Appended(visit) => stack.push(visit),
                Step::Done => {
                    stack.pop();
                }
            }
        }
        Ok(())
    }

    /// Puts a function at the end, with its lines and origins.
    fn append(&self, work: &mut Work, index: usize) -> Result<Visit, Box<Finding>> {
        let missing = || Box::new(bad_relocation("", "a function has no code".to_owned()));
        let function = self.functions.all.get(index).ok_or_else(missing)?;
        let code = self
            .code
            .get(&function.section)
            .and_then(|code| code.get(function.start as usize..function.end as usize))
            .ok_or_else(missing)?;
        let base = work.slots.len();
        let slots = self.slots.get() + code.len() as u64 / SLOT;
        self.slots.set(slots);
        if base + code.len() / SLOT as usize > MAX_PROGRAM_SLOTS {
            return Err(Box::new(
                refusal(
                    "object/too-long",
                    &function.name,
                    format!("the linked program is longer than {MAX_PROGRAM_SLOTS} instructions"),
                )
                .why("Linux takes no more in one program")
                .help("split the program with tail calls"),
            ));
        }
        let section = *work
            .section_index
            .entry(function.section)
            .or_insert_with(|| {
                let name = self.elf.sections.get(function.section);
                let name = name.map_or_else(String::new, |s| s.name.clone().into_owned());
                work.source.sections.push(name);
                work.source.sections.len() - 1
            });
        for (slot, bytes) in code.chunks_exact(SLOT as usize).enumerate() {
            if let Ok(bytes) = bytes.try_into() {
                work.slots.push(Slot(bytes));
            }
            work.source.origins.push(Origin {
                section,
                offset: function.start + slot as u64 * SLOT,
            });
        }
        if let Some(records) = self.lines.get(&function.section) {
            let first = records.partition_point(|r| u64::from(r.offset) < function.start);
            for record in records.iter().skip(first) {
                if u64::from(record.offset) >= function.end {
                    break;
                }
                work.line(record, base, function.start);
            }
        }
        work.bases.insert(index, base);
        work.subprograms.push(Subprogram {
            name: function.name.clone(),
            start: base,
            end: work.slots.len(),
            global: function.global,
            btf_type: function.ty,
        });
        Ok(Visit {
            function: index,
            base,
            next: 0,
        })
    }

    /// Resolves the rest of the function, up to the first call of a function that was not yet
    /// appended.
    fn resolve_next(&self, work: &mut Work, visit: &mut Visit) -> Result<Step, Box<Finding>> {
        let Some(function) = self.functions.all.get(visit.function) else {
            return Ok(Step::Done);
        };
        let length = ((function.end - function.start) / SLOT) as usize;
        while visit.next < length {
            let pc = visit.base + visit.next;
            let offset = function.start + visit.next as u64 * SLOT;
            let Some(slot) = work.slots.get(pc).copied() else {
                break;
            };
            visit.next += if slot.code() == LDDW { 2 } else { 1 };
            if let Some(finding) = self.failed.get(&(function.section, offset)) {
                return Err(Box::new(finding.clone()));
            }
            let relocation = self.relocation_at(function.section, offset);
            let target = match slot.code() {
                CALL => self.call_target(function.section, offset, slot, relocation)?,
                LDDW => self.load_target(function.section, offset, slot, relocation)?,
                code => {
                    if let Some((_, symbol)) = relocation {
                        return Err(self.misplaced(
                            function.section,
                            offset,
                            symbol,
                            &format!("an instruction with opcode {code:#04x}"),
                        ));
                    }
                    continue;
                }
            };
            match target {
                Target::AsItIs => {}
                Target::Function(index) => {
                    let known = work.bases.get(&index).copied();
                    let appended = match known {
                        Some(_) => None,
                        None => Some(self.append(work, index)?),
                    };
                    let base = appended.as_ref().map(|visit| visit.base).or(known);
                    let base = base.unwrap_or_default();
                    if let Some(slot) = work.slots.get_mut(pc) {
                        slot.set_imm((base as i64 - pc as i64 - 1) as i32);
                        if slot.code() == LDDW {
                            slot.set_src(PSEUDO_FUNC);
                        }
                    }
                    if slot.code() == LDDW
                        && let Some(tail) = work.slots.get_mut(pc + 1)
                    {
                        tail.set_imm(0);
                    }
                    if let Some(visit) = appended {
                        return Ok(Step::Appended(visit));
                    }
                }
                Target::Load { src, imm, next_imm } => {
                    if let Some(slot) = work.slots.get_mut(pc) {
                        slot.set_src(src);
                        slot.set_imm(imm);
                    }
                    if let Some(tail) = work.slots.get_mut(pc + 1) {
                        tail.set_imm(next_imm);
                    }
                }
                Target::Kfunc(id) => {
                    if let Some(slot) = work.slots.get_mut(pc) {
                        slot.set_src(PSEUDO_KFUNC);
                        slot.set_imm(id);
                    }
                }
                Target::AbsentKfunc => {
                    if let Some(slot) = work.slots.get_mut(pc) {
                        slot.set_src(0);
                        slot.set_imm(POISONED_KFUNC);
                    }
                }
            }
        }
        Ok(Step::Done)
    }

    fn relocation_at(&self, section: usize, offset: u64) -> Option<(&Relocation, &Symbol<'_>)> {
        let relocations = &self.elf.sections.get(section)?.relocations;
        let index = relocations.partition_point(|r| r.offset < offset);
        let relocation = relocations.get(index).filter(|r| r.offset == offset)?;
        Some((relocation, self.elf.symbols.get(relocation.symbol)?))
    }

    /// What a call calls: through a relocation a function symbol, or a section's symbol and the
    /// distance in the immediate; without one a function of the same section.
    fn call_target(
        &self,
        section: usize,
        offset: u64,
        slot: Slot,
        relocation: Option<(&Relocation, &Symbol<'_>)>,
    ) -> Result<Target, Box<Finding>> {
        let (target, place) = match relocation {
            None if slot.src() != PSEUDO_CALL => return Ok(Target::AsItIs),
            None => (
                section,
                (offset as i64).wrapping_add((i64::from(slot.imm()) + 1) * SLOT as i64),
            ),
            Some((relocation, symbol)) => match symbol.place {
                Place::Undefined if let Some(id) = kfunc::id_by_name(&symbol.name) => {
                    return Ok(Target::Kfunc(id));
                }
                Place::Undefined if symbol.binding == Binding::Weak => {
                    return Ok(Target::AbsentKfunc);
                }
                Place::Undefined => {
                    return Err(self.placed(
                        section,
                        offset,
                        unresolved_extern(&symbol.name, "kernel function"),
                    ));
                }
                Place::Section(target) => {
                    let in_place = (i64::from(slot.imm()) + 1) * SLOT as i64;
                    (
                        target,
                        (symbol.value as i64).wrapping_add(relocation.addend.unwrap_or(in_place)),
                    )
                }
                Place::Special => {
                    return Err(self.misplaced(section, offset, symbol, "a call"));
                }
            },
        };
        match self.functions.at(target, place as u64) {
            Some(function) => Ok(Target::Function(function)),
            None => Err(self.placed(
                section,
                offset,
                bad_relocation(
                    relocation.map_or("", |(_, symbol)| symbol.name.as_ref()),
                    format!(
                        "a call in section `{}` goes to byte {place:#x} of section `{}`, where \
                         no function starts",
                        self.section_name(section),
                        self.section_name(target)
                    ),
                ),
            )),
        }
    }

    /// What a 64-bit load of a symbol loads: a function's address, a map, or the address of a
    /// variable.
    fn load_target(
        &self,
        section: usize,
        offset: u64,
        slot: Slot,
        relocation: Option<(&Relocation, &Symbol<'_>)>,
    ) -> Result<Target, Box<Finding>> {
        let Some((relocation, symbol)) = relocation else {
            if matches!(slot.src(), 0) {
                return Ok(Target::AsItIs);
            }
            return Err(self.placed(
                section,
                offset,
                bad_relocation(
                    "",
                    format!(
                        "byte {offset:#x} of section `{}` loads a kernel object by number \
                         (source {}) without a relocation",
                        self.section_name(section),
                        slot.src()
                    ),
                ),
            ));
        };
        let target = match symbol.place {
            Place::Undefined => return self.extern_load(section, offset, symbol),
            Place::Special => {
                return Err(self.misplaced(section, offset, symbol, "a load of its address"));
            }
            Place::Section(target) => target,
        };
        let addend = relocation.addend.unwrap_or(i64::from(slot.imm()));
        let place = symbol.value.wrapping_add_signed(addend);
        if let Some(function) = self.functions.at(target, place) {
            return Ok(Target::Function(function));
        }
        match self.maps.at(self.elf, target, place) {
            MapPlace::Map(map) => Ok(Target::Load {
                src: PSEUDO_MAP_IDX,
                imm: map as i32,
                next_imm: 0,
            }),
            MapPlace::Data(map) => Ok(Target::Load {
                src: PSEUDO_MAP_IDX_VALUE,
                imm: map as i32,
                next_imm: place as i32,
            }),
            MapPlace::Nothing if !self.has_btf => Err(self.placed(
                section,
                offset,
                refusal(
                    "object/no-btf",
                    &symbol.name,
                    format!("map {} is not defined: the object has no BTF", symbol.name),
                )
                .why("section `.maps` says with types what a map is, and the object carries none")
                .help("compile the object with -g (llvm-strip -g keeps BTF)"),
            )),
            MapPlace::Nothing | MapPlace::OtherSection => Err(self.placed(
                section,
                offset,
                bad_relocation(
                    &symbol.name,
                    format!(
                        "byte {offset:#x} of section `{}` loads the address of `{}`, byte \
                         {place:#x} of section `{}`, where there is no function, map or variable",
                        self.section_name(section),
                        symbol.name,
                        self.section_name(target)
                    ),
                ),
            )),
        }
    }

    /// The address of something outside the object. What is weak and absent is 0.
    fn extern_load(
        &self,
        section: usize,
        offset: u64,
        symbol: &Symbol<'_>,
    ) -> Result<Target, Box<Finding>> {
        let kconfig = self.kconfig.get(symbol.name.as_ref());
        let configured = kconfig.is_some() && self.configured.contains(symbol.name.as_ref());
        if kfunc::id_by_name(&symbol.name).is_some() {
            // Its address is only good for being compared with 0.
            return Ok(Target::Load {
                src: 0,
                imm: 1,
                next_imm: 0,
            });
        }
        if symbol.binding != Binding::Weak && !configured {
            let what = if kconfig.is_some() {
                CONFIG_VALUE
            } else {
                "kernel symbol"
            };
            return Err(self.placed(section, offset, unresolved_extern(&symbol.name, what)));
        }
        Ok(match (kconfig, self.kconfig_map) {
            (Some(at), Some(map)) => Target::Load {
                src: PSEUDO_MAP_IDX_VALUE,
                imm: map as i32,
                next_imm: *at as i32,
            },
            _ => Target::Load {
                src: 0,
                imm: 0,
                next_imm: 0,
            },
        })
    }

    fn misplaced(
        &self,
        section: usize,
        offset: u64,
        symbol: &Symbol<'_>,
        what: &str,
    ) -> Box<Finding> {
        self.placed(
            section,
            offset,
            bad_relocation(
                &symbol.name,
                format!(
                    "byte {offset:#x} of section `{}` has a relocation against `{}`, which does \
                     not fit {what}",
                    self.section_name(section),
                    symbol.name
                ),
            ),
        )
    }

    /// The finding with the source line of this place.
    fn placed(&self, section: usize, offset: u64, mut finding: Finding) -> Box<Finding> {
        if let Some(record) = self.line_of(section, offset) {
            finding.file = Some(record.file.to_owned());
            finding.line = Some(record.line);
        }
        Box::new(finding)
    }

    /// The line record that holds for this place.
    pub(super) fn line_of(&self, section: usize, offset: u64) -> Option<&LineRecord<'_>> {
        let records = self.lines.get(&section)?;
        let after = records.partition_point(|r| u64::from(r.offset) <= offset);
        records.get(after.checked_sub(1)?)
    }

    pub(super) fn section_name(&self, section: usize) -> &str {
        self.elf
            .sections
            .get(section)
            .map_or("", |section| section.name.as_ref())
    }

    /// Functions that others of the object call or take the address of.
    pub(super) fn referenced(&self) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for (index, function) in self.functions.all.iter().enumerate() {
            let Some(code) = self
                .code
                .get(&function.section)
                .and_then(|code| code.get(function.start as usize..function.end as usize))
            else {
                continue;
            };
            for (number, bytes) in code.chunks_exact(SLOT as usize).enumerate() {
                let Ok(bytes) = bytes.try_into() else {
                    continue;
                };
                let slot = Slot(bytes);
                let offset = function.start + number as u64 * SLOT;
                let relocation = self.relocation_at(function.section, offset);
                let target = match slot.code() {
                    CALL => self.call_target(function.section, offset, slot, relocation),
                    LDDW if relocation.is_some() => {
                        self.load_target(function.section, offset, slot, relocation)
                    }
                    _ => continue,
                };
                if let Ok(Target::Function(target)) = target
                    && target != index
                {
                    found.insert(target);
                }
            }
        }
        found
    }
}

/// What came of looking at instructions.
enum Step {
    /// A function was appended and must be gone through first.
    Appended(Visit),
    /// The function is done.
    Done,
}

/// What an instruction refers to.
enum Target {
    /// Nothing to resolve.
    AsItIs,
    /// A function of the object.
    Function(usize),
    /// A 64-bit load with these fields.
    Load { src: u8, imm: i32, next_imm: i32 },
    /// A kernel function, by its index in [`kfunc::KFUNCS`].
    Kfunc(i32),
    /// A weak kernel function that is not known.
    AbsentKfunc,
}

impl Work {
    /// Takes over a line record; records without a line say nothing.
    fn line(&mut self, record: &LineRecord<'_>, base: usize, start: u64) {
        let pc = base + ((u64::from(record.offset) - start) / SLOT) as usize;
        if record.line == 0 || self.source.lines.last().is_some_and(|last| last.pc == pc) {
            return;
        }
        let name = cut(record.file, MAX_FILE_NAME);
        let files = &mut self.source.files;
        let file = *self.file_index.entry(name.to_owned()).or_insert_with(|| {
            files.push(name.to_owned());
            files.len() - 1
        });
        self.source.lines.push(LineInfo {
            pc,
            file,
            line: record.line,
            column: record.column,
            text: cut(record.text, MAX_LINE_TEXT).to_owned(),
        });
    }
}

/// At most `limit` bytes of a text.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
