//! The functions of an object: which instructions belong to which symbol.

use std::collections::BTreeMap;

use super::elf::{Binding, Elf, SectionKind, SymbolKind};
use super::error::{ObjectError, SectionProblem};
use crate::btf::TypeId;

/// Bytes of one instruction slot.
pub(super) const SLOT: u64 = 8;

/// A function in a section of code.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) name: String,
    /// ELF index of its section.
    pub(super) section: usize,
    /// First byte in the section.
    pub(super) start: u64,
    /// First byte after it.
    pub(super) end: u64,
    /// Whether the symbol is visible outside the object.
    pub(super) global: bool,
    /// Its type in the object's BTF; 0 where none is known.
    pub(super) ty: TypeId,
}

/// All functions of an object, by section and place.
#[derive(Debug, Default)]
pub(super) struct Functions {
    pub(super) all: Vec<Function>,
    by_place: BTreeMap<(usize, u64), usize>,
}

impl Functions {
    /// Finds the functions of every section of code by their symbols. A section without symbols
    /// of functions is one function, named as the first global symbol at its start or as the
    /// section itself.
    pub(super) fn find(object: &str, elf: &Elf<'_>) -> Result<Functions, ObjectError> {
        let mut functions = Functions::default();
        for (index, section) in elf.sections.iter().enumerate() {
            if section.kind != SectionKind::Code || section.data.is_empty() {
                continue;
            }
            let size = section.data.len() as u64;
            let problem = |offset, problem| ObjectError::Section {
                object: object.to_owned(),
                section: section.name.clone().into_owned(),
                offset,
                problem,
            };
            if !size.is_multiple_of(SLOT) {
                return Err(problem(size, SectionProblem::CodeSize { size }));
            }
            let here: Vec<_> = elf.symbols_in(index).collect();
            let mut found: Vec<Function> = here
                .iter()
                .filter(|s| s.kind == SymbolKind::Function)
                .map(|s| Function {
                    name: s.name.clone().into_owned(),
                    section: index,
                    start: s.value,
                    end: s.value.saturating_add(s.size),
                    global: s.binding != Binding::Local && !s.hidden,
                    ty: 0,
                })
                .collect();
            if found.is_empty() {
                let label = here
                    .iter()
                    .find(|s| s.value == 0 && s.kind == SymbolKind::None && !s.name.is_empty());
                found.push(Function {
                    name: label
                        .map_or_else(|| section.name.clone(), |s| s.name.clone())
                        .into_owned(),
                    section: index,
                    start: 0,
                    end: size,
                    global: true,
                    ty: 0,
                });
            }
            // Of several symbols for the same place the global one speaks.
            found.sort_by_key(|f| (f.start, !f.global));
            found.dedup_by_key(|f| f.start);
            let starts: Vec<u64> = found
                .iter()
                .skip(1)
                .map(|f| f.start)
                .chain([size])
                .collect();
            for (function, next) in found.iter_mut().zip(starts) {
                if function.end == function.start {
                    function.end = next;
                }
                if function.end > size
                    || function.start >= size
                    || !function.start.is_multiple_of(SLOT)
                    || !function.end.is_multiple_of(SLOT)
                {
                    return Err(problem(
                        function.start,
                        SectionProblem::FunctionBounds {
                            function: function.name.clone(),
                            size: function.end.saturating_sub(function.start),
                        },
                    ));
                }
            }
            for pair in found.windows(2) {
                if let [first, second] = pair
                    && first.end > second.start
                {
                    return Err(problem(
                        second.start,
                        SectionProblem::FunctionOverlap {
                            function: second.name.clone(),
                            other: first.name.clone(),
                        },
                    ));
                }
            }
            for function in found {
                let at = (function.section, function.start);
                functions.by_place.insert(at, functions.all.len());
                functions.all.push(function);
            }
        }
        Ok(functions)
    }

    /// Notes the type of the function that starts at this byte of a section, if there is one.
    pub(super) fn set_type(&mut self, section: usize, offset: u64, ty: TypeId) {
        let function = self.at(section, offset);
        if let Some(function) = function.and_then(|index| self.all.get_mut(index)) {
            function.ty = ty;
        }
    }

    /// The function that starts at this byte of a section.
    pub(super) fn at(&self, section: usize, offset: u64) -> Option<usize> {
        self.by_place.get(&(section, offset)).copied()
    }

    /// The function with this name.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|f| f.name == name)
    }
}
