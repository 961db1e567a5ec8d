//! What the program's BTF declares, read once: signatures of its global functions, and the
//! special fields of its maps' values.

use bpf::Program;
use bpf::btf::Kind;
use bpf::btf::fields::{SpecialField, SpecialKind};
use bpf::btf::signature::Signature;
use isa::ebpf::{CallTarget, Insn};

use crate::domain::MapRef;
use crate::objects::Structures;

/// What BTF declares.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// Global functions that are verified on their own, by their first pc.
    functions: Vec<(usize, Signature)>,
    /// Whether a function gives back a number, by its first pc.
    results: Vec<(usize, bool)>,
    /// Special fields by map and whether it is the map inside.
    fields: Vec<[Vec<SpecialField>; 2]>,
    /// Structures, if the program allocates objects or has them in maps.
    pub(crate) structures: Structures,
}

impl Declared {
    pub(crate) fn of(program: &Program) -> Declared {
        let Some(types) = program.types() else {
            return Declared::default();
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
        let fields = program
            .maps
            .iter()
            .map(|map| {
                let inner = map.inner.as_deref().map_or(0, |m| m.value_type);
                [fields_of(map.value_type), fields_of(inner)]
            })
            .collect();
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
            functions,
            results,
            fields,
            structures: if allocates(program) {
                Structures::of(&types)
            } else {
                Structures::default()
            },
        }
    }

    /// Whether the function that starts at `pc` gives back a number; `None` if that is not
    /// declared.
    pub(crate) fn returns_number(&self, pc: usize) -> Option<bool> {
        let found = self.results.iter().find(|(start, _)| *start == pc);
        found.map(|(_, number)| *number)
    }

    /// Whether the program names a function that gets its exceptions.
    pub(crate) fn catches(program: &Program) -> bool {
        let Some(types) = program.types() else {
            return false;
        };
        let entry = program.subprograms.first().map_or(0, |s| s.btf_type);
        let mut tags = types.iter().filter(|(_, ty)| {
            matches!(ty.kind, Kind::DeclarationTag { to, .. } if to == entry && entry != 0)
        });
        tags.any(|(_, ty)| ty.name.starts_with("exception_callback:"))
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

    /// The only field of this kind.
    pub(crate) fn field(&self, map: MapRef, kind: SpecialKind) -> Option<&SpecialField> {
        self.fields(map).iter().find(|field| field.kind == kind)
    }
}

/// Whether a program works on objects that programs allocate.
fn allocates(program: &Program) -> bool {
    let takes_local = |p: &bpf::helper::Prototype| {
        p.args
            .iter()
            .any(|a| matches!(a, bpf::helper::Arg::Local(_)))
    };
    program.insns.iter().any(|insn| {
        let Insn::Call(CallTarget::Kfunc { id, module: 0 }) = *insn else {
            return false;
        };
        bpf::kfunc::prototype(id).is_some_and(takes_local)
    })
}
