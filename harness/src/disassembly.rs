//! eBPF as text with the program's own names: helpers, maps, functions.

use std::borrow::Cow;

use bpf::Program;
use isa::ebpf::Symbols;

/// The names that a program knows.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a>(pub &'a Program);

impl Symbols for Names<'_> {
    fn helper_name(&self, id: u32) -> Option<Cow<'_, str>> {
        bpf::helper::name(id).map(Cow::Borrowed)
    }

    fn kfunc_name(&self, id: i32, module: i16) -> Option<Cow<'_, str>> {
        let known = bpf::kfunc::prototype(id).filter(|_| module == 0);
        known.map(|k| Cow::Borrowed(k.name))
    }

    fn map_name(&self, index: u32) -> Option<Cow<'_, str>> {
        self.0
            .maps
            .get(index as usize)
            .map(|m| Cow::Borrowed(m.name.as_str()))
    }

    fn function(&self, pc: usize) -> Option<Cow<'_, str>> {
        let function = self.0.subprograms.iter().find(|s| s.start == pc)?;
        Some(Cow::Borrowed(function.name.as_str()))
    }
}

/// The instruction at `pc`, in the kernel's form.
///
/// # Panics
/// If `pc` is outside the program.
pub fn insn(program: &Program, pc: usize) -> String {
    program.insns[pc].display(pc, &Names(program)).to_string()
}
