//! Assembly text (`.bpf`, `.s`), as [`isa::ebpf::parse_asm`] reads it.
//!
//! A section is that of an ELF object: its name tells the hook, `.text` holds what others call.
//! Where the text names no section but `.text` it is a program itself, of hook XDP unless the
//! options say another. Lines that start with `;;!` (the header of a test case) are comments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isa::ebpf::{Assembly, CallTarget, Insn, MapDecl, Wide, parse_asm};

use super::error::{MapProblem, ObjectError};
use super::notes;
use super::program::MAX_OBJECT_SLOTS;
use super::section::{Hint, hint};
use super::{LoadOptions, maps, raw, stem};
use crate::Hook;
use crate::btf::build;
use crate::btf::fields::{SpecialField, SpecialKind};
use crate::helper::HelperNames;
use crate::map::{InitialSlot, MapDef, MapType, SlotValue};
use crate::program::{LineInfo, Program, ProgramSet, Refused, Source, Subprogram};

/// A stretch of instructions that is called or entered as a whole.
struct Function {
    name: String,
    section: String,
    start: usize,
    end: usize,
    global: bool,
}

pub(super) fn load(
    object: &str,
    bytes: &[u8],
    options: &LoadOptions<'_>,
) -> Result<ProgramSet, ObjectError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ObjectError::UnknownFormat {
        object: object.to_owned(),
        found: format!("byte {:#x} is no UTF-8", error.valid_up_to()),
    })?;
    let assembly = parse_asm(text, &HelperNames).map_err(|error| ObjectError::Asm {
        object: object.to_owned(),
        error,
    })?;
    let functions = functions(object, &assembly);
    if functions.is_empty() {
        return Err(ObjectError::NoProgram {
            object: object.to_owned(),
        });
    }
    let mut defs = define_maps(object, &assembly, options)?;
    fill_tail_calls(&functions, &mut defs);
    maps::finish(object, &mut defs, options)?;
    let btf: Option<Arc<[u8]>> = build::describe(&mut defs).map(Arc::from);
    let defs: Arc<[MapDef]> = defs.into();
    let called: BTreeSet<usize> = assembly
        .insns
        .iter()
        .enumerate()
        .filter_map(|(pc, insn)| insn.function_target(pc))
        .filter_map(|target| usize::try_from(target).ok())
        .collect();
    let only_text = functions.iter().all(|f| f.section == ".text");
    let linker = Linker {
        object,
        assembly: &assembly,
        lines: text.lines().collect(),
        by_start: functions
            .iter()
            .enumerate()
            .map(|(index, f)| (f.start, index))
            .collect(),
        functions: &functions,
    };
    let mut set = ProgramSet {
        object: object.to_owned(),
        programs: Vec::new(),
        maps: Arc::clone(&defs),
        refused: Vec::new(),
        notes: Vec::new(),
    };
    let entry_hook = functions.iter().find_map(|f| match hint(&f.section) {
        Hint::Packet(hook) => Some(hook),
        _ => None,
    });
    let kernel_btf: Option<Arc<[u8]>> = options.btf.map(Arc::from);
    let mut slots = 0;
    for (index, function) in functions.iter().enumerate() {
        let named = options
            .program
            .as_ref()
            .is_some_and(|name| *name == function.name && options.hook.is_some());
        let hook = match hint(&function.section) {
            _ if named => options.hook.clone(),
            _ if called.contains(&function.start) && function.start != 0 => continue,
            Hint::Text if only_text => Some(options.hook.clone().unwrap_or(Hook::XDP)),
            Hint::Text => continue,
            Hint::Packet(hook) => Some(options.hook.clone().unwrap_or(hook)),
            Hint::TailCall { .. } => options.hook.clone().or_else(|| entry_hook.clone()),
            Hint::Unknown => options.hook.clone(),
            Hint::Other(kind) => {
                set.refused.push(Refused {
                    name: function.name.clone(),
                    section: function.section.clone(),
                    finding: notes::not_a_packet_hook(&function.section, kind),
                });
                continue;
            }
        };
        let linked = match hook {
            Some(hook) => linker.link(index).map(|linked| (hook, linked)),
            None => Err(Box::new(notes::unknown_hook(&function.section))),
        };
        slots += linked.as_ref().map_or(0, |(_, linked)| linked.insns.len()) as u64;
        if slots > MAX_OBJECT_SLOTS {
            return Err(ObjectError::TooLarge {
                object: object.to_owned(),
                what: "instructions of all programs, linked",
                found: slots,
                limit: MAX_OBJECT_SLOTS,
            });
        }
        match linked {
            Ok((hook, linked)) => set.programs.push(Program {
                name: function.name.clone(),
                section: function.section.clone(),
                hook,
                insns: linked.insns.into(),
                maps: Arc::clone(&defs),
                subprograms: linked.subprograms,
                globals: Arc::from([]),
                license: assembly.license.clone().or_else(|| Some("GPL".to_owned())),
                source: linked.source,
                btf: btf.clone(),
                kernel_btf: kernel_btf.clone(),
            }),
            Err(finding) => set.refused.push(Refused {
                name: function.name.clone(),
                section: function.section.clone(),
                finding: *finding,
            }),
        }
    }
    Ok(set)
}

/// The functions of the text: those that the assembler knows, and in each section what stands
/// before the first.
fn functions(object: &str, assembly: &Assembly) -> Vec<Function> {
    let mut found = Vec::new();
    let mut labels: BTreeMap<usize, &str> = BTreeMap::new();
    for (name, pc) in &assembly.labels {
        labels.entry(*pc).or_insert(name);
    }
    let globals: BTreeSet<&str> = assembly.globals.iter().map(String::as_str).collect();
    for section in &assembly.sections {
        if section.start >= section.end {
            continue;
        }
        let first = assembly
            .functions
            .partition_point(|(pc, _)| *pc < section.start);
        let mut starts: Vec<(usize, String)> = assembly
            .functions
            .iter()
            .skip(first)
            .take_while(|(pc, _)| *pc < section.end)
            .cloned()
            .collect();
        starts.dedup_by_key(|(pc, _)| *pc);
        if starts.first().is_none_or(|(pc, _)| *pc != section.start) {
            let label = labels.get(&section.start).map(|name| (*name).to_owned());
            let name = label.unwrap_or_else(|| stem(object).to_owned());
            starts.insert(0, (section.start, name));
        }
        let ends: Vec<usize> = starts
            .iter()
            .skip(1)
            .map(|(pc, _)| *pc)
            .chain([section.end])
            .collect();
        for ((start, name), end) in starts.into_iter().zip(ends) {
            found.push(Function {
                global: globals.contains(name.as_str()),
                name,
                section: section.name.clone(),
                start,
                end,
            });
        }
    }
    found
}

/// The maps in the order of their indices: declared in the text, or with the options.
fn define_maps(
    object: &str,
    assembly: &Assembly,
    options: &LoadOptions<'_>,
) -> Result<Vec<MapDef>, ObjectError> {
    let mut given = raw::declared(object, options)?;
    let count = assembly.map_names.len();
    if count > maps::MAX_MAPS {
        return Err(ObjectError::TooLarge {
            object: object.to_owned(),
            what: "maps",
            found: count as u64,
            limit: maps::MAX_MAPS as u64,
        });
    }
    let mut defs = Vec::with_capacity(assembly.map_names.len());
    for name in &assembly.map_names {
        let declared = assembly.maps.iter().find(|decl| decl.name == *name);
        let def = match given.iter().position(|def| def.name == *name) {
            Some(at) => given.swap_remove(at),
            None => match declared {
                Some(decl) => define(object, decl)?,
                None => {
                    return Err(ObjectError::Map {
                        object: object.to_owned(),
                        map: name.clone(),
                        problem: MapProblem::Undeclared,
                    });
                }
            },
        };
        defs.push(def);
    }
    // Maps of the options that no instruction names, such as the inner maps of slots.
    defs.append(&mut given);
    for decl in &assembly.maps {
        let Some(inner) = &decl.inner else { continue };
        let template = defs.iter().find(|def| def.name == *inner).cloned();
        let outer = defs.iter_mut().find(|def| def.name == decl.name);
        match (outer, template) {
            (Some(outer), Some(template)) => outer.inner = Some(Box::new(template)),
            _ => {
                return Err(ObjectError::Map {
                    object: object.to_owned(),
                    map: decl.name.clone(),
                    problem: MapProblem::NoInner {
                        inner: format!("`{inner}`"),
                    },
                });
            }
        }
    }
    Ok(defs)
}

fn define(object: &str, decl: &MapDecl) -> Result<MapDef, ObjectError> {
    let kind = MapType::from_name(&decl.kind).ok_or_else(|| ObjectError::Map {
        object: object.to_owned(),
        map: decl.name.clone(),
        problem: MapProblem::UnknownTypeName {
            found: decl.kind.chars().take(80).collect(),
        },
    })?;
    let field = |kind, size, offset: Option<u32>| {
        offset.map(|offset| SpecialField {
            kind,
            offset,
            size,
            contains: None,
            pointee: None,
        })
    };
    let fields = [
        field(SpecialKind::SpinLock, 4, decl.lock),
        field(SpecialKind::Timer, 16, decl.timer),
    ];
    let mut special: Vec<SpecialField> = fields.into_iter().flatten().collect();
    special.sort_by_key(|field| field.offset);
    Ok(MapDef {
        key_size: decl.key_size,
        value_size: decl.value_size,
        max_entries: decl.max_entries,
        flags: decl.flags,
        special,
        ..maps::blank(&decl.name, kind)
    })
}

/// Fills slots by section names `ID/SLOT`, where ID counts the declared maps from 0.
fn fill_tail_calls(functions: &[Function], defs: &mut [MapDef]) {
    for function in functions {
        if let Hint::TailCall { id, slot } = hint(&function.section)
            && let Some(def) = defs.get_mut(id as usize)
            && def.kind == MapType::ProgArray
        {
            def.slots.push(InitialSlot {
                index: slot,
                value: SlotValue::Program(function.name.clone()),
            });
        }
    }
}

/// What the linker of ELF objects does, on decoded instructions.
struct Linker<'a> {
    object: &'a str,
    assembly: &'a Assembly,
    lines: Vec<&'a str>,
    functions: &'a [Function],
    by_start: BTreeMap<usize, usize>,
}

#[derive(Default)]
struct Linked {
    insns: Vec<Insn>,
    subprograms: Vec<Subprogram>,
    source: Source,
    bases: BTreeMap<usize, usize>,
}

impl Linker<'_> {
    fn link(&self, entry: usize) -> Result<Linked, Box<crate::Finding>> {
        let mut linked = Linked {
            source: Source {
                files: vec![self.object.to_owned()],
                ..Source::default()
            },
            ..Linked::default()
        };
        let mut stack = vec![(entry, self.append(&mut linked, entry), 0)];
        while let Some((index, base, next)) = stack.last_mut() {
            let Some(function) = self.functions.get(*index) else {
                break;
            };
            let pc = *base + *next;
            if *next >= function.end - function.start {
                stack.pop();
                continue;
            }
            let origin = function.start + *next;
            *next += 1;
            let Some(target) = linked
                .insns
                .get(pc)
                .and_then(|insn| insn.function_target(origin))
            else {
                continue;
            };
            let called = usize::try_from(target)
                .ok()
                .and_then(|target| self.by_start.get(&target))
                .ok_or_else(|| {
                    Box::new(
                        notes::bad_relocation(
                            "",
                            "a call goes where no function starts".to_owned(),
                        )
                        .at(pc, &linked.source),
                    )
                })?;
            let known = linked.bases.get(called).copied();
            let place = known.unwrap_or_else(|| self.append(&mut linked, *called));
            if let Some(insn) = linked.insns.get_mut(pc) {
                retarget(insn, place as i64 - pc as i64 - 1);
            }
            if known.is_none() {
                stack.push((*called, place, 0));
            }
        }
        Ok(linked)
    }

    fn append(&self, linked: &mut Linked, index: usize) -> usize {
        let base = linked.insns.len();
        linked.bases.insert(index, base);
        let Some(function) = self.functions.get(index) else {
            return base;
        };
        for pc in function.start..function.end {
            let Some(insn) = self.assembly.insns.get(pc) else {
                break;
            };
            if let Some(line) = self.assembly.lines.get(pc)
                && !matches!(insn, Insn::WideTail)
            {
                let text = line.checked_sub(1).and_then(|at| self.lines.get(at));
                linked.source.lines.push(LineInfo {
                    pc: linked.insns.len(),
                    file: 0,
                    line: *line as u32,
                    column: 0,
                    text: text.map_or("", |t| t.trim()).to_owned(),
                });
            }
            linked.insns.push(*insn);
        }
        linked.subprograms.push(Subprogram {
            name: function.name.clone(),
            start: base,
            end: linked.insns.len(),
            global: function.global && base != 0,
            btf_type: 0,
        });
        base
    }
}

/// Gives a call, or a load of a function's address, its new distance.
fn retarget(insn: &mut Insn, distance: i64) {
    match insn {
        Insn::Call(CallTarget::Local { offset })
        | Insn::LoadWide {
            value: Wide::Function { offset },
            ..
        } => *offset = distance as i32,
        _ => {}
    }
}
