//! From an ELF file to a set of programs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use isa::ebpf::{self, Insn, Wide};

use super::elf::{Elf, SectionKind};
use super::error::ObjectError;
use super::function::{Function, Functions};
use super::globals::Variables;
use super::link::{Linked, Linker};
use super::maps::{self, Maps};
use super::notes::{self, Notes};
use super::section::{Hint, hint};
use super::{LoadOptions, core_relocations, types};
use crate::Hook;
use crate::btf::ext::{Ext, LineRecord};
use crate::btf::{Btf, Kind, TypeId};
use crate::finding::Finding;
use crate::map::{InitialSlot, MapDef, MapType, SlotValue};
use crate::program::{Program, ProgramSet, Refused};

/// More slots than this are refused for all programs of one object together.
pub(super) const MAX_OBJECT_SLOTS: u64 = 2 << 20;

pub(super) fn load_elf(
    object: &str,
    bytes: &[u8],
    options: &LoadOptions<'_>,
) -> Result<ProgramSet, ObjectError> {
    let elf = Elf::parse(object, bytes)?;
    let mut notes = Notes::default();
    let btf_error = |part, error| ObjectError::Btf {
        object: object.to_owned(),
        part,
        error,
    };
    let btf = match elf.section_named(".BTF") {
        Some((_, section)) => {
            Some(Btf::parse(section.data).map_err(|error| btf_error(".BTF", error))?)
        }
        None => None,
    };
    let ext = match (&btf, elf.section_named(".BTF.ext")) {
        (Some(btf), Some((_, section))) => {
            Ext::parse(section.data, btf).map_err(|error| btf_error(".BTF.ext", error))?
        }
        _ => Ext::default(),
    };
    let mut functions = Functions::find(object, &elf)?;
    types::of_functions(&elf, &ext.functions, &mut functions);
    if functions.all.is_empty() {
        return Err(ObjectError::NoProgram {
            object: object.to_owned(),
        });
    }
    let mut maps = Maps::find(object, &elf, btf.as_ref(), &functions, &mut notes)?;
    fill_tail_calls(&elf, &functions, &mut maps, &mut notes);
    let mut variables = Variables::find(&elf, btf.as_ref(), &maps);
    let config = maps::config_values(btf.as_ref());
    let kconfig_map = maps.add_config(&config);
    if let (Some(btf), Some(map)) = (&btf, kconfig_map) {
        for value in &config {
            variables.push_typed(btf, value.name, map, (value.offset, value.size), value.ty);
        }
    }
    variables.apply(object, btf.as_ref(), &mut maps.defs, &options.globals)?;
    maps::finish(object, &mut maps.defs, options)?;
    let for_kernel: Option<Arc<[u8]>> = btf
        .as_ref()
        .map(|btf| types::for_kernel(&elf, btf, &functions, &mut maps.defs).into());
    if let Some(bytes) = &for_kernel {
        types::special_data(bytes, &mut maps.defs);
    }

    let mut code: BTreeMap<usize, Vec<u8>> = elf
        .sections
        .iter()
        .enumerate()
        .filter(|(_, section)| section.kind == SectionKind::Code)
        .map(|(index, section)| (index, section.data.to_vec()))
        .collect();
    let target = match options.btf {
        Some(bytes) => {
            Some(Btf::parse(bytes).map_err(|error| btf_error("the target's BTF", error))?)
        }
        None => None,
    };
    let failed = match &btf {
        Some(btf) => core_relocations::apply(
            &elf,
            btf,
            target.as_ref(),
            &ext.relocations,
            &mut code,
            &mut notes,
        ),
        None => BTreeMap::new(),
    };
    let linker = Linker {
        elf: &elf,
        functions: &functions,
        maps: &maps,
        has_btf: btf.is_some(),
        code,
        failed,
        lines: lines(&elf, ext.lines),
        catchers: btf
            .as_ref()
            .map_or_else(BTreeMap::new, |b| catchers(b, &functions)),
        kconfig: config.iter().map(|v| (v.name, v.offset)).collect(),
        configured: options
            .globals
            .iter()
            .map(|(name, _)| name.as_str())
            .collect(),
        kconfig_map,
        slots: Cell::new(0),
    };
    let contexts = contexts(&elf, btf.as_ref(), &ext.functions);
    let chooser = Chooser {
        object,
        linker: &linker,
        options,
        contexts: &contexts,
    };
    let kernel_btf: Option<Arc<[u8]>> = options.btf.map(Arc::from);
    let choices = chooser.choose(&mut notes)?;

    let license = license(&elf);
    let defs: Arc<[MapDef]> = maps.defs.clone().into();
    let globals: Arc<[_]> = variables.list.into();
    let mut set = ProgramSet {
        object: object.to_owned(),
        programs: Vec::new(),
        maps: Arc::clone(&defs),
        refused: Vec::new(),
        notes: Vec::new(),
    };
    for (index, hook) in choices {
        let Some(function) = functions.all.get(index) else {
            continue;
        };
        let section = linker.section_name(function.section).to_owned();
        let program = hook.and_then(|hook| {
            let linked = linker.link(index)?;
            let insns = decode(&linked, function)?;
            Ok((hook, linked, insns))
        });
        let slots = linker.slots.get();
        if slots > MAX_OBJECT_SLOTS {
            return Err(ObjectError::TooLarge {
                object: object.to_owned(),
                what: "instructions of all programs, linked",
                found: slots,
                limit: MAX_OBJECT_SLOTS,
            });
        }
        match program {
            Ok((hook, linked, insns)) => {
                set.programs.push(Program {
                    name: function.name.clone(),
                    section,
                    hook,
                    insns: insns.into(),
                    maps: Arc::clone(&defs),
                    subprograms: linked.subprograms,
                    globals: Arc::clone(&globals),
                    license: license.clone(),
                    source: linked.source,
                    btf: for_kernel.clone(),
                    kernel_btf: kernel_btf.clone(),
                });
            }
            Err(finding) => set.refused.push(Refused {
                name: function.name.clone(),
                section,
                finding: *finding,
            }),
        }
    }
    if set.programs.is_empty() && set.refused.is_empty() {
        return Err(ObjectError::NoProgram {
            object: object.to_owned(),
        });
    }
    set.notes = notes.into_findings();
    Ok(set)
}

/// The linked bytes as instructions, all of whose maps are the object's.
fn decode(linked: &Linked, function: &Function) -> Result<Vec<Insn>, Box<Finding>> {
    let place = |pc: usize| {
        linked.source.origins.get(pc).map_or_else(String::new, |o| {
            let section = linked.source.sections.get(o.section);
            format!("{}+{:#x}", section.map_or("", String::as_str), o.offset)
        })
    };
    let insns = ebpf::decode(&linked.code).map_err(|error| {
        Box::new(
            notes::refusal(
                "object/instruction",
                &function.name,
                format!("{}: {error}", place(error.pc)),
            )
            .why("it is no instruction of RFC 9669 or Linux")
            .help("recompile the object with clang -target bpf")
            .at(error.pc, &linked.source),
        )
    })?;
    for (pc, insn) in insns.iter().enumerate() {
        if let Insn::LoadWide {
            value: Wide::MapFd(_) | Wide::MapFdValue { .. } | Wide::BtfId { .. },
            ..
        } = insn
        {
            return Err(Box::new(
                notes::bad_relocation(
                    "",
                    format!("{}: loads a kernel object by number", place(pc)),
                )
                .at(pc, &linked.source),
            ));
        }
    }
    Ok(insns)
}

fn license(elf: &Elf<'_>) -> Option<String> {
    let (_, section) = elf.section_named("license")?;
    let text = section.data.split(|b| *b == 0).next()?;
    Some(String::from_utf8_lossy(text.get(..128).unwrap_or(text)).into_owned())
}

/// Line records by section, in order of offset.
fn lines<'d>(
    elf: &Elf<'_>,
    groups: Vec<crate::btf::ext::InSection<'d, LineRecord<'d>>>,
) -> BTreeMap<usize, Vec<LineRecord<'d>>> {
    let mut by_section: BTreeMap<usize, Vec<LineRecord<'d>>> = BTreeMap::new();
    for group in groups {
        if let Some((index, _)) = elf.section_named(group.section) {
            by_section.entry(index).or_default().extend(group.records);
        }
    }
    for records in by_section.values_mut() {
        records.sort_by_key(|r| r.offset);
    }
    by_section
}

/// Functions in sections named `ID/SLOT`; fills the slots they name.
fn fill_tail_calls(elf: &Elf<'_>, functions: &Functions, maps: &mut Maps, notes: &mut Notes) {
    for function in &functions.all {
        let Some(section) = elf.sections.get(function.section) else {
            continue;
        };
        let Hint::TailCall { id, slot } = hint(&section.name) else {
            continue;
        };
        let map = maps.with_id(id);
        match map.and_then(|map| maps.defs.get_mut(map)) {
            Some(def) if def.kind == MapType::ProgArray => def.slots.push(InitialSlot {
                index: slot,
                value: SlotValue::Program(function.name.clone()),
            }),
            _ => notes.add(
                notes::note(
                    "object/tail-call-slot",
                    &function.name,
                    format!("section `{}` fills no slot", section.name),
                )
                .why(format!("no prog_array of the object has id {id}"))
                .help("fill the slot with --maps FILE"),
            ),
        }
    }
}

/// The function that gets the exceptions of a program, where its types name one.
fn catchers(btf: &Btf<'_>, functions: &Functions) -> BTreeMap<usize, usize> {
    let programs = functions.all.iter().enumerate();
    programs
        .filter_map(|(index, program)| {
            let name = *btf.exception_callbacks(program.ty).first()?;
            let catcher = functions.all.iter().position(|f| f.name == name)?;
            Some((index, catcher))
        })
        .collect()
}

/// The hook that a function's first parameter tells, by function.
fn contexts(
    elf: &Elf<'_>,
    btf: Option<&Btf<'_>>,
    groups: &[crate::btf::ext::InSection<'_, crate::btf::ext::FunctionRecord>],
) -> BTreeMap<(usize, u64), Hook> {
    let mut found = BTreeMap::new();
    let Some(btf) = btf else {
        return found;
    };
    for group in groups {
        let Some((section, _)) = elf.section_named(group.section) else {
            continue;
        };
        for record in &group.records {
            if let Some(hook) = context_hook(btf, record.ty) {
                found.insert((section, u64::from(record.offset)), hook);
            }
        }
    }
    found
}

fn context_hook(btf: &Btf<'_>, function: TypeId) -> Option<Hook> {
    let Kind::Function { prototype, .. } = btf.get(function)?.kind else {
        return None;
    };
    let Kind::Prototype { parameters, .. } = btf.get(prototype)?.kind else {
        return None;
    };
    let Kind::Pointer { to } = btf.strip(parameters.get(0)?.ty)?.1.kind else {
        return None;
    };
    match btf.strip(to)?.1.name {
        "xdp_md" => Some(Hook::XDP),
        "__sk_buff" => Some(Hook::TC),
        _ => None,
    }
}

/// What is to become of a function that is a program: its hook, or why it is refused.
type Choice = (usize, Result<Hook, Box<Finding>>);

/// Decides which functions are programs, and of which hook.
struct Chooser<'a> {
    object: &'a str,
    linker: &'a Linker<'a, 'a>,
    options: &'a LoadOptions<'a>,
    contexts: &'a BTreeMap<(usize, u64), Hook>,
}

impl Chooser<'_> {
    fn choose(&self, notes: &mut Notes) -> Result<Vec<Choice>, ObjectError> {
        let functions = &self.linker.functions.all;
        let named = self.named()?;
        let referenced = self.linker.referenced();
        let only_text = functions.iter().all(|f| self.section_of(f) == ".text");
        let entry_hook = functions
            .iter()
            .find_map(|f| match hint(self.section_of(f)) {
                Hint::Packet(hook) => Some(self.by_context(f, hook)),
                _ => None,
            });
        let mut choices = Vec::new();
        for (index, function) in functions.iter().enumerate() {
            let section = self.section_of(function);
            let is_named = named == Some(index);
            let context = self.contexts.get(&(function.section, function.start));
            let overridden = |hook: &Hook| self.overridden(hook);
            if !is_named && !function.global && referenced.contains(&index) {
                continue;
            }
            let hook = match hint(section) {
                Hint::Text if is_named => self.options.hook.clone(),
                Hint::Text if only_text && !referenced.contains(&index) => {
                    self.options.hook.clone().or_else(|| context.cloned())
                }
                Hint::Text => continue,
                Hint::Packet(hook) => {
                    let by_context = self.by_context(function, hook.clone());
                    if by_context.name() != hook.name() && self.options.hook.is_none() {
                        notes.add(by_context_note(function, section, &by_context));
                    }
                    Some(overridden(&by_context))
                }
                Hint::TailCall { .. } => {
                    let hook = context.cloned().or_else(|| entry_hook.clone());
                    hook.map(|hook| overridden(&hook))
                        .or_else(|| self.options.hook.clone())
                }
                Hint::Other(kind) => {
                    let taken = self.options.hook.clone().filter(|_| is_named);
                    if taken.is_none() {
                        let refused = notes::not_a_packet_hook(section, kind);
                        choices.push((index, Err(Box::new(refused))));
                        continue;
                    }
                    taken
                }
                Hint::Unknown => self.options.hook.clone().or_else(|| {
                    let hook = context.cloned()?;
                    notes.add(by_context_note(function, section, &hook));
                    Some(hook)
                }),
            };
            let hook = hook.ok_or_else(|| Box::new(notes::unknown_hook(section)));
            choices.push((index, hook));
        }
        Ok(choices)
    }

    /// The function that `--program` names, if `--hook` is meant for it.
    fn named(&self) -> Result<Option<usize>, ObjectError> {
        let (Some(name), Some(_)) = (&self.options.program, &self.options.hook) else {
            return Ok(None);
        };
        let functions = self.linker.functions;
        if let Some(index) = functions.named(name) {
            return Ok(Some(index));
        }
        let mut in_section = functions
            .all
            .iter()
            .enumerate()
            .filter(|(_, f)| self.section_of(f) == name.as_str());
        match (in_section.next(), in_section.next()) {
            (Some((index, _)), None) => Ok(Some(index)),
            _ => Err(ObjectError::NoSuchProgram {
                object: self.object.to_owned(),
                program: name.clone(),
                known: functions.all.iter().map(|f| f.name.clone()).collect(),
            }),
        }
    }

    fn section_of(&self, function: &Function) -> &str {
        self.linker.section_name(function.section)
    }

    /// The hook that the section says, unless the function's context is another's.
    fn by_context(&self, function: &Function, hook: Hook) -> Hook {
        match self.contexts.get(&(function.section, function.start)) {
            Some(context) if context.name() != hook.name() => context.clone(),
            _ => hook,
        }
    }

    /// The user's hook; where it is the section's own but for details, these stay.
    fn overridden(&self, hook: &Hook) -> Hook {
        match &self.options.hook {
            Some(wanted) if wanted.name() != hook.name() => wanted.clone(),
            Some(wanted) if *wanted != Hook::XDP && *wanted != Hook::TC => wanted.clone(),
            _ => hook.clone(),
        }
    }
}

fn by_context_note(function: &Function, section: &str, hook: &Hook) -> Finding {
    notes::note(
        "object/hook-by-context",
        &function.name,
        format!("{} is taken as a program of hook {hook}", function.name),
    )
    .why(format!(
        "its context's type says so; section `{section}` does not"
    ))
    .help("name the hook with --hook to take it otherwise")
}
