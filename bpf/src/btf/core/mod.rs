//! CO-RE: instructions whose numbers depend on types of the kernel they will run on (kernel
//! documentation, "BPF CO-RE"; `enum bpf_core_relo_kind` in linux/bpf.h).
//!
//! A record names a type of the object and a way into it. [`Resolver`] finds the types of the
//! target that this may mean (`spec`: the way into a type; `compat`: when types agree) and
//! computes what the instruction is to hold (`answer`); `patch` writes it. Rules of naming, of
//! compatibility, and what becomes of records that find nothing are libbpf's.

mod answer;
mod compat;
mod patch;
mod spec;

use std::collections::BTreeMap;
use std::rc::Rc;

use thiserror::Error;

pub use patch::{PatchError, patch};

use super::ext::CoreRecord;
use super::{Btf, Kind, TypeId};
use answer::answer_of;
use spec::Spec;

/// The helper number that libbpf makes a call of where a relocation finds nothing: calling it
/// is an error, but only if it is reached.
pub const POISON: u32 = 195_896_080;

/// What a record asks (`enum bpf_core_relo_kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Byte offset of a field.
    FieldOffset,
    /// Size of a field in bytes.
    FieldSize,
    /// Whether there is such a field.
    FieldExists,
    /// Whether the field is signed.
    FieldSigned,
    /// Shift to the left that brings a bit field to the top of 64 bits.
    FieldShiftLeft,
    /// Shift to the right that brings it down again.
    FieldShiftRight,
    /// The type's id in the object's BTF.
    LocalTypeId,
    /// The type's id in the target's BTF.
    TargetTypeId,
    /// Whether there is such a type.
    TypeExists,
    /// Size of the type in bytes.
    TypeSize,
    /// Whether an enumeration has such a value.
    EnumeratorExists,
    /// The value of an enumerator.
    Enumerator,
    /// Whether there is a type with the same contents.
    TypeMatches,
}

impl Question {
    /// The question with this number in linux/bpf.h.
    pub fn from_number(number: u32) -> Option<Question> {
        Some(match number {
            0 => Question::FieldOffset,
            1 => Question::FieldSize,
            2 => Question::FieldExists,
            3 => Question::FieldSigned,
            4 => Question::FieldShiftLeft,
            5 => Question::FieldShiftRight,
            6 => Question::LocalTypeId,
            7 => Question::TargetTypeId,
            8 => Question::TypeExists,
            9 => Question::TypeSize,
            10 => Question::EnumeratorExists,
            11 => Question::Enumerator,
            12 => Question::TypeMatches,
            _ => return None,
        })
    }

    const fn is_of_field(self) -> bool {
        matches!(
            self,
            Question::FieldOffset
                | Question::FieldSize
                | Question::FieldExists
                | Question::FieldSigned
                | Question::FieldShiftLeft
                | Question::FieldShiftRight
        )
    }

    const fn is_of_enumerator(self) -> bool {
        matches!(self, Question::EnumeratorExists | Question::Enumerator)
    }
}

/// A name for a message: at most 100 characters of it.
fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

/// What a record comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The instruction's number changes.
    Number(Change),
    /// The target has nothing of the kind: the instruction becomes a call of [`POISON`].
    Poison,
}

/// How an instruction's number changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it must be in the object; `None` where compilers differ.
    pub from: Option<u64>,
    /// What it becomes.
    pub to: u64,
    /// For offsets of whole fields, the field's size in the object and in the target; a load
    /// or store is adjusted.
    pub access: Option<FieldSizes>,
}

/// Sizes of a field in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSizes {
    /// In the object.
    pub from: u64,
    /// In the target.
    pub to: u64,
    /// Whether a load of the other size gives the same value: both are pointers, or both
    /// unsigned integers.
    pub adjustable: bool,
}

/// Why a record cannot be resolved at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CoreError {
    /// A question that linux/bpf.h does not have.
    #[error("unknown CO-RE relocation kind {kind}; expected 0 to 12")]
    UnknownKind {
        /// The number.
        kind: u32,
    },
    /// The record's type does not exist in the object or has no name.
    #[error("type {id} of the object does not exist or has no name")]
    LocalType {
        /// The type.
        id: TypeId,
    },
    /// The way into the type does not fit it.
    #[error("access `{access}` does not fit type `{ty}`")]
    Access {
        /// The type.
        ty: String,
        /// The way, shortened.
        access: String,
    },
    /// Several types of the target fit, with different answers.
    #[error("`{ty}` means several types of the target, with different answers")]
    Ambiguous {
        /// The type.
        ty: String,
    },
    /// Types nest too deeply, or comparing them takes too long.
    #[error("the types around `{ty}` are too deeply nested to compare")]
    TooComplex {
        /// The type.
        ty: String,
    },
}

/// Steps of comparing types that one load may take; real objects take some thousands.
const FUEL: u64 = 5_000_000;

/// Finds what records mean in a target.
#[derive(Debug)]
pub struct Resolver<'a, 'd> {
    local: &'a Btf<'d>,
    target: Option<&'a Btf<'d>>,
    /// Types of the target by their name without flavour.
    by_name: BTreeMap<&'d str, Vec<TypeId>>,
    /// Candidates by local type.
    candidates: BTreeMap<TypeId, Rc<[TypeId]>>,
    fuel: u64,
}

/// The name without flavour: what follows a triple underscore tells variants of one type apart.
pub(super) fn essential(name: &str) -> &str {
    // libbpf: the last `___` with something before and after it, which are no underscores.
    let bytes = name.as_bytes();
    for at in (1..bytes.len().saturating_sub(3)).rev() {
        let around = (bytes.get(at - 1), bytes.get(at..at + 3), bytes.get(at + 3));
        if let (Some(before), Some(b"___"), Some(after)) = around
            && *before != b'_'
            && *after != b'_'
        {
            return name.get(..at).unwrap_or(name);
        }
    }
    name
}

impl<'a, 'd> Resolver<'a, 'd> {
    /// A resolver of the object's types `local` against `target`, or against the object's own
    /// types where there is none.
    pub fn new(local: &'a Btf<'d>, target: Option<&'a Btf<'d>>) -> Resolver<'a, 'd> {
        let mut by_name: BTreeMap<&'d str, Vec<TypeId>> = BTreeMap::new();
        for (id, ty) in target.unwrap_or(local).iter() {
            // Of the object's own types, flavours are not what they are flavours of.
            let name = if target.is_some() {
                essential(ty.name)
            } else {
                ty.name
            };
            if !name.is_empty() && has_identity(&ty.kind) {
                by_name.entry(name).or_default().push(id);
            }
        }
        Resolver {
            local,
            target,
            by_name,
            candidates: BTreeMap::new(),
            fuel: FUEL,
        }
    }

    /// What `record` comes to.
    ///
    /// # Errors
    /// [`CoreError`] if the record is malformed or has no single answer. That the target has
    /// nothing of the kind is no error.
    pub fn resolve(&mut self, record: &CoreRecord<'_>) -> Result<Resolution, CoreError> {
        let question = Question::from_number(record.kind)
            .ok_or(CoreError::UnknownKind { kind: record.kind })?;
        let ty = self
            .local
            .get(record.ty)
            .ok_or(CoreError::LocalType { id: record.ty })?;
        let spec =
            Spec::parse(self.local, record.ty, record.access, question).ok_or_else(|| {
                CoreError::Access {
                    ty: short(ty.name),
                    access: short(record.access),
                }
            })?;
        if question == Question::LocalTypeId {
            // A linker that merges BTF renumbers the record's type, not the instruction.
            return Ok(Resolution::Number(Change {
                from: None,
                to: u64::from(record.ty),
                access: None,
            }));
        }
        if essential(ty.name).is_empty() {
            return Err(CoreError::LocalType { id: record.ty });
        }
        let target = self.target.unwrap_or(self.local);
        let mut answer: Option<(Option<u64>, Resolution)> = None;
        let candidates = match self.candidates.get(&record.ty) {
            Some(known) => Rc::clone(known),
            None => self.find_candidates(record.ty, ty.name).into(),
        };
        self.candidates.insert(record.ty, Rc::clone(&candidates));
        for candidate in candidates.iter().copied() {
            let found = spec
                .find(self.local, target, candidate, question, &mut self.fuel)
                .map_err(|_too_complex| CoreError::TooComplex { ty: short(ty.name) })?;
            let Some(found) = found else { continue };
            let resolution = answer_of(self.local, &spec, target, Some(&found), question)
                .ok_or_else(|| CoreError::Access {
                    ty: short(ty.name),
                    access: short(record.access),
                })?;
            let offset = question.is_of_field().then_some(found.bit_offset);
            match answer {
                None => answer = Some((offset, resolution)),
                Some((first_offset, first))
                    if first_offset != offset || !same_answer(first, resolution) =>
                {
                    return Err(CoreError::Ambiguous { ty: short(ty.name) });
                }
                Some(_) => {}
            }
        }
        match answer {
            Some((_, resolution)) => Ok(resolution),
            None => answer_of(self.local, &spec, target, None, question).ok_or_else(|| {
                CoreError::Access {
                    ty: short(ty.name),
                    access: short(record.access),
                }
            }),
        }
    }

    /// What the record is about, in words: `iphdr.saddr`, `bpf_func_id::BPF_FUNC_loop`.
    pub fn describe(&self, record: &CoreRecord<'_>) -> String {
        let name = self.local.get(record.ty).map_or("", |ty| ty.name);
        let mut text = if name.is_empty() {
            "(anonymous)".to_owned()
        } else {
            short(name)
        };
        let spec = Question::from_number(record.kind)
            .and_then(|question| Spec::parse(self.local, record.ty, record.access, question));
        let Some(spec) = spec else { return text };
        if let Some(enumerator) = spec.enumerator_name(self.local) {
            return format!("{text}::{enumerator}");
        }
        for access in spec.accesses.iter().skip(1) {
            if !access.named {
                text = format!("{text}[{}]", access.index);
            } else if let Some(Kind::Composite { members, .. }) =
                self.local.get(access.ty).map(|ty| ty.kind)
                && let Some(member) = members.get(access.index as usize)
            {
                text.push('.');
                text.push_str(&short(member.name));
            }
        }
        text
    }

    /// The types of the target that the local type may mean: of the same name and kind. Where
    /// the object's own types are the target, a type means itself, and a flavour the type it
    /// is a flavour of, if the object has it.
    fn find_candidates(&self, id: TypeId, name: &str) -> Vec<TypeId> {
        let plain = essential(name);
        if self.target.is_none() && plain == name {
            return vec![id];
        }
        let target = self.target.unwrap_or(self.local);
        let Some(local) = self.local.get(id) else {
            return Vec::new();
        };
        let mut found: Vec<TypeId> = self
            .by_name
            .get(plain)
            .into_iter()
            .flatten()
            .copied()
            .filter(|candidate| {
                target
                    .get(*candidate)
                    .is_some_and(|ty| compat::same_kind(&local.kind, &ty.kind))
            })
            .collect();
        if self.target.is_none() {
            found.truncate(1);
            if found.is_empty() {
                found.push(id);
            }
        }
        found
    }
}

/// Whether relocations can name types of this kind.
fn has_identity(kind: &Kind<'_>) -> bool {
    !matches!(
        kind,
        Kind::Void
            | Kind::Pointer { .. }
            | Kind::Array { .. }
            | Kind::Modifier { .. }
            | Kind::Prototype { .. }
            | Kind::Variable { .. }
            | Kind::Section { .. }
            | Kind::DeclarationTag { .. }
    )
}

fn same_answer(first: Resolution, second: Resolution) -> bool {
    match (first, second) {
        (Resolution::Number(first), Resolution::Number(second)) => first.to == second.to,
        (Resolution::Poison, Resolution::Poison) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::essential;

    /// Names as libbpf's documentation of flavours splits them.
    #[test]
    fn flavours_are_cut_off() {
        assert_eq!(essential("task_struct"), "task_struct");
        assert_eq!(essential("task_struct___old"), "task_struct");
        assert_eq!(essential("a___b___c"), "a___b");
        assert_eq!(essential("___x"), "___x");
        assert_eq!(essential("x___"), "x___");
        assert_eq!(essential("a____b"), "a____b");
        assert_eq!(essential(""), "");
    }
}
