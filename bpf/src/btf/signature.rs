//! What a global function takes and gives back, as its BTF says it (kernel documentation, "BPF
//! kernel functions" and `bpf_helpers.h`: `__arg_ctx`, `__arg_nonnull`, …).

use super::{Btf, Kind, TypeId};
use crate::Hook;

/// Most parameters of a function: r1 to r5.
pub const MAX_PARAMETERS: usize = 5;

/// The signature of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its parameters, or why the function cannot be verified by its signature.
    pub parameters: Result<Vec<Parameter>, Unsuitable>,
    /// Whether it gives back a number (an integer or enumeration).
    pub returns_number: bool,
}

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A number.
    Number,
    /// The program's context.
    Context,
    /// Memory that the function may read and write.
    Memory {
        /// Size in bytes.
        bytes: u32,
        /// Whether the caller may give null.
        nullable: bool,
    },
    /// A dynptr.
    Dynptr,
    /// A pointer into an arena.
    Arena,
    /// An object of the kernel.
    Object {
        /// Whether the caller may give null.
        nullable: bool,
    },
}

/// Why a function cannot be verified by its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsuitable {
    /// It takes more than five arguments.
    TooMany(usize),
    /// A parameter has a tag that its type does not go with.
    Tag {
        /// Index of the parameter.
        index: usize,
    },
    /// A parameter has a type that cannot be passed.
    Parameter {
        /// Index of the parameter.
        index: usize,
        /// What its type is.
        what: &'static str,
    },
}

/// Tags of one parameter.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "tags are independent")]
struct Tags {
    context: bool,
    trusted: bool,
    nonnull: bool,
    nullable: bool,
    arena: bool,
    untrusted: bool,
}

impl Tags {
    fn any(self) -> bool {
        self.context
            || self.trusted
            || self.nonnull
            || self.nullable
            || self.arena
            || self.untrusted
    }
}

impl Btf<'_> {
    /// The signature of a function (`BTF_KIND_FUNC`) in a program of `hook`; `None` if the type
    /// is no function.
    pub fn signature(&self, function: TypeId, hook: &Hook) -> Option<Signature> {
        let Kind::Function { prototype, .. } = self.get(function)?.kind else {
            return None;
        };
        let Kind::Prototype { result, parameters } = self.get(prototype)?.kind else {
            return None;
        };
        let returns_number = self
            .strip(result)
            .is_some_and(|(_, ty)| matches!(ty.kind, Kind::Int { .. } | Kind::Enum { .. }));
        let parameters = if parameters.len() > MAX_PARAMETERS {
            Err(Unsuitable::TooMany(parameters.len()))
        } else {
            let tags = self.parameter_tags(function);
            parameters
                .iter()
                .zip(tags)
                .enumerate()
                .map(|(index, (parameter, tags))| self.parameter(index, parameter.ty, tags, hook))
                .collect()
        };
        Some(Signature {
            parameters,
            returns_number,
        })
    }

    /// Names of the functions that a program says are to get its exceptions
    /// (`__exception_cb`); the kernel takes one.
    pub fn exception_callbacks(&self, program: TypeId) -> Vec<&str> {
        let of_program = |to: TypeId| program != 0 && to == program;
        self.iter()
            .filter(|(_, ty)| {
                matches!(ty.kind, Kind::DeclarationTag { to, component: None } if of_program(to))
            })
            .filter_map(|(_, tag)| tag.name.strip_prefix("exception_callback:"))
            .collect()
    }

    fn parameter_tags(&self, function: TypeId) -> [Tags; MAX_PARAMETERS] {
        let mut tags = [Tags::default(); MAX_PARAMETERS];
        for (_, ty) in self.iter() {
            let Kind::DeclarationTag {
                to,
                component: Some(index),
            } = ty.kind
            else {
                continue;
            };
            if to != function {
                continue;
            }
            let Some(tags) = tags.get_mut(index as usize) else {
                continue;
            };
            match ty.name {
                "arg:ctx" => tags.context = true,
                "arg:trusted" => tags.trusted = true,
                "arg:nonnull" => tags.nonnull = true,
                "arg:nullable" => tags.nullable = true,
                "arg:arena" => tags.arena = true,
                "arg:untrusted" => tags.untrusted = true,
                _ => {}
            }
        }
        tags
    }

    fn parameter(
        &self,
        index: usize,
        ty: TypeId,
        tags: Tags,
        hook: &Hook,
    ) -> Result<Parameter, Unsuitable> {
        let unfit = |what| Unsuitable::Parameter { index, what };
        let (_, stripped) = self.strip(ty).ok_or(unfit("malformed"))?;
        let Kind::Pointer { to } = stripped.kind else {
            if tags.any() {
                return Err(Unsuitable::Tag { index });
            }
            return match stripped.kind {
                Kind::Int { .. } | Kind::Enum { .. } => Ok(Parameter::Number),
                _ => Err(unfit("neither a number nor a pointer")),
            };
        };
        if tags.context || self.is_context(to, hook) {
            return Ok(Parameter::Context);
        }
        if self
            .strip(to)
            .is_some_and(|(_, ty)| ty.name == "bpf_dynptr")
        {
            return if tags.any() {
                Err(Unsuitable::Tag { index })
            } else {
                Ok(Parameter::Dynptr)
            };
        }
        if tags.trusted || tags.untrusted {
            return Ok(Parameter::Object {
                nullable: tags.nullable,
            });
        }
        if tags.arena {
            return if tags.nonnull || tags.nullable {
                Err(Unsuitable::Tag { index })
            } else {
                Ok(Parameter::Arena)
            };
        }
        let bytes = self
            .size_of(to)
            .and_then(|size| u32::try_from(size).ok())
            .ok_or(unfit("a pointer to something without a size"))?;
        Ok(Parameter::Memory {
            bytes,
            nullable: !tags.nonnull,
        })
    }

    /// Whether the type is the context of the hook. It is known by name: C has no other way.
    fn is_context(&self, ty: TypeId, hook: &Hook) -> bool {
        let Some((_, ty)) = self.strip(ty) else {
            return false;
        };
        let name = match hook {
            Hook::Xdp { .. } => "xdp_md",
            Hook::Tc { .. } => "__sk_buff",
            Hook::Raw { .. } => return false,
        };
        matches!(ty.kind, Kind::Composite { .. }) && ty.name == name
    }
}
