//! What the program's BTF declares, read once: signatures of its global functions, and the
//! special fields of its maps' values.

use bpf::Program;
use bpf::btf::fields::{Pointee, PointerHeld, SpecialField, SpecialKind};
use bpf::btf::signature::Signature;
use bpf::btf::{Btf, TypeId};
use bpf::helper::Arg;
use isa::ebpf::{CallTarget, Insn, RegSet, Wide};

use crate::domain::MapRef;
use crate::kernel::KernelTypes;
use crate::objects::Structures;

/// What BTF declares.
#[derive(Debug)]
pub(crate) struct Declared<'p> {
    /// The object's types.
    types: Option<Btf<'p>>,
    /// Structures of the kernel.
    pub(crate) kernel: KernelTypes<'p>,
    /// Global functions that are verified on their own, by their first pc.
    functions: Vec<(usize, Signature)>,
    /// Whether a function gives back a number, by its first pc.
    results: Vec<(usize, bool)>,
    /// Special fields by map and whether it is the map inside.
    fields: Vec<[Vec<SpecialField>; 2]>,
    /// Structures, if the program allocates objects or has them in maps.
    pub(crate) structures: Structures,
}

impl<'p> Declared<'p> {
    pub(crate) fn of(program: &'p Program) -> Declared<'p> {
        let calls = calls_with_structures(program);
        let Some(types) = program.types() else {
            return Declared {
                types: None,
                kernel: KernelTypes::of(program, calls),
                functions: Vec::new(),
                results: Vec::new(),
                fields: Vec::new(),
                structures: Structures::default(),
            };
        };
        // The kernel takes a program's function types all or none.
        let typed = program.subprograms.iter().all(|s| s.btf_type != 0);
        let functions = program
            .subprograms
            .iter()
            .filter(|s| typed && s.global && s.start != 0)
            .filter_map(|s| Some((s.start, types.signature(s.btf_type, &program.hook)?)))
            .collect();
        let fields_of = |ty| match ty {
            0 => Vec::new(),
            ty => types.special_fields(ty),
        };
        let fields: Vec<[Vec<SpecialField>; 2]> = program
            .maps
            .iter()
            .map(|map| {
                let inner = map.inner.as_deref().map_or(0, |m| m.value_type);
                [fields_of(map.value_type), fields_of(inner)]
            })
            .collect();
        let mut all = fields.iter().flatten().flatten();
        let keeps_pointers = all.any(|f: &SpecialField| f.pointee.is_some());
        let results = program
            .subprograms
            .iter()
            .filter(|_| typed)
            .filter_map(|s| {
                let signature = types.signature(s.btf_type, &program.hook)?;
                Some((s.start, signature.returns_number))
            })
            .collect();
        Declared {
            kernel: KernelTypes::of(program, calls || keeps_pointers),
            functions,
            results,
            fields,
            structures: if allocates(program, keeps_pointers) {
                Structures::of(&types)
            } else {
                Structures::default()
            },
            types: Some(types),
        }
    }

    /// Whether the function that starts at `pc` gives back a number; `None` if that is not
    /// declared.
    pub(crate) fn returns_number(&self, pc: usize) -> Option<bool> {
        let found = self.results.iter().find(|(start, _)| *start == pc);
        found.map(|(_, number)| *number)
    }

    /// Names of the functions that are to get the exceptions of the program of this type.
    pub(crate) fn exception_callbacks(&self, program: TypeId) -> Vec<&str> {
        let types = self.types.as_ref();
        types.map_or_else(Vec::new, |types| types.exception_callbacks(program))
    }

    /// The signature of the global function that starts at `pc`; `None` for a static function.
    pub(crate) fn signature(&self, pc: usize) -> Option<&Signature> {
        let at = self.functions.iter().position(|(start, _)| *start == pc)?;
        Some(&self.functions[at].1)
    }

    /// Special fields of a map's value, by ascending offset.
    pub(crate) fn fields(&self, map: MapRef) -> &[SpecialField] {
        self.fields
            .get(usize::from(map.index))
            .map_or(&[], |fields| &fields[usize::from(map.inner)])
    }

    /// What a field that holds a pointer points to.
    pub(crate) fn pointee(&self, field: &SpecialField) -> Option<PointsTo<'p>> {
        let Pointee { ty, held } = field.pointee?;
        let named = self.types.as_ref().and_then(|types| types.get(ty));
        let name = named.map_or("", |ty| ty.name);
        // The kernel looks a name up among its own types first.
        let kernels = if self.kernel.is_given() {
            self.kernel
                .named(name)
                .filter(|ty| self.kernel.name(*ty) == name)
        } else if held == PointerHeld::Untrusted || crate::kernel::keeps(name) {
            Some(ty)
        } else {
            None
        };
        Some(PointsTo {
            held,
            name,
            structure: kernels.map_or(Structure::Local(ty), Structure::Kernel),
        })
    }

    /// The only field of this kind.
    pub(crate) fn field(&self, map: MapRef, kind: SpecialKind) -> Option<&SpecialField> {
        self.fields(map).iter().find(|field| field.kind == kind)
    }
}

/// What a field's pointer points to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointsTo<'p> {
    /// How the field holds it.
    pub(crate) held: PointerHeld,
    /// The structure's name.
    pub(crate) name: &'p str,
    /// The structure.
    pub(crate) structure: Structure,
}

/// A structure, by its BTF id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Structure {
    /// Of the kernel.
    Kernel(TypeId),
    /// Of the program, which allocates objects of it.
    Local(TypeId),
}

/// Whether a program works on objects that programs allocate.
fn allocates(program: &Program, keeps_pointers: bool) -> bool {
    let takes_local = |p: &bpf::helper::Prototype| {
        p.args
            .iter()
            .any(|a| matches!(a, Arg::Local(_) | Arg::PointerField))
    };
    program.insns.iter().any(|insn| match *insn {
        Insn::Call(CallTarget::Kfunc { id, module: 0 }) => {
            bpf::kfunc::prototype(id).is_some_and(takes_local)
        }
        Insn::Call(CallTarget::Helper(id)) => bpf::helper::prototype(id).is_some_and(takes_local),
        _ => false,
    }) || keeps_pointers
}

/// Whether a program calls something that gives or takes structures of the kernel.
fn calls_with_structures(program: &Program) -> bool {
    use bpf::helper::{Prototype, Return};
    let has = |p: &Prototype| {
        let takes = |a: &Arg| matches!(a, Arg::Kernel(..) | Arg::KernelType | Arg::PointerField);
        let gives = matches!(p.ret, Return::Kernel(..) | Return::KernelContext);
        gives || p.args.iter().any(takes)
    };
    reads_maps(program)
        || program.insns.iter().any(|insn| match *insn {
            Insn::Call(CallTarget::Kfunc { id, module: 0 }) => {
                bpf::kfunc::prototype(id).is_some_and(has)
            }
            Insn::Call(CallTarget::Helper(id)) => bpf::helper::prototype(id).is_some_and(has),
            _ => false,
        })
}

/// Whether a program reads a map itself: whether, line by line, a register that a map was loaded
/// into last is what a load or store goes through. Other ways are so rare that the types of the kernel are
/// not read for them.
fn reads_maps(program: &Program) -> bool {
    let mut maps: RegSet = 0;
    for insn in program.insns.iter() {
        match *insn {
            Insn::Load { base, .. } | Insn::Store { base, .. }
                if maps & 1 << base.number() != 0 =>
            {
                return true;
            }
            Insn::LoadWide {
                dst,
                value: Wide::Map(_),
            } => maps |= 1 << dst.number(),
            _ => maps &= !insn.writes(),
        }
    }
    false
}
