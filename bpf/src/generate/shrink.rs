//! Making a program smaller as long as it shows something, and writing it down as a case.

use std::borrow::Cow;
use std::fmt::Write;

use isa::ebpf::{CallTarget, Insn, Symbols, Wide};

use crate::Program;

/// An instruction that does nothing.
const NOTHING: Insn = Insn::Jump {
    offset: 0,
    long: false,
};

/// The smallest program that still `shows` what is looked for: instructions are taken out one by
/// one, then what is left moves together. `program` must show it.
#[must_use]
pub fn shrink(program: &Program, shows: impl Fn(&Program) -> bool) -> Program {
    let mut smallest = program.clone();
    loop {
        let mut changed = false;
        for pc in (0..smallest.insns.len()).rev() {
            let mut insns = smallest.insns.to_vec();
            match insns[pc] {
                Insn::Exit | Insn::WideTail | NOTHING => continue,
                Insn::LoadWide { .. } => insns[pc + 1] = NOTHING,
                _ => {}
            }
            insns[pc] = NOTHING;
            let candidate = Program {
                insns: insns.into(),
                ..smallest.clone()
            };
            if shows(&candidate) {
                smallest = candidate;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let together = compacted(&smallest);
    if shows(&together) { together } else { smallest }
}

/// The program without instructions that do nothing.
fn compacted(program: &Program) -> Program {
    let keeps = |insn: &Insn| *insn != NOTHING;
    // New pc by old one; what is taken out has that of what comes behind it.
    let mut places = Vec::with_capacity(program.insns.len() + 1);
    let mut next = 0usize;
    for insn in program.insns.iter() {
        places.push(next);
        next += usize::from(keeps(insn));
    }
    places.push(next);
    let mut insns = Vec::with_capacity(next);
    for (pc, insn) in program.insns.iter().enumerate().filter(|(_, i)| keeps(i)) {
        let target = insn.jump_target(pc).or_else(|| insn.function_target(pc));
        let distance = target
            .and_then(|target| places.get(usize::try_from(target).ok()?))
            .map(|to| *to as i64 - places[pc] as i64 - 1);
        let mut insn = *insn;
        match (&mut insn, distance) {
            (Insn::Branch { offset, .. } | Insn::MayGoto { offset }, Some(distance)) => {
                *offset = distance as i16;
            }
            (
                Insn::Jump { offset, .. }
                | Insn::Call(CallTarget::Local { offset })
                | Insn::LoadWide {
                    value: Wide::Function { offset },
                    ..
                },
                Some(distance),
            ) => *offset = distance as i32,
            _ => {}
        }
        insns.push(insn);
    }
    let mut subprograms = program.subprograms.clone();
    for function in &mut subprograms {
        function.start = places.get(function.start).copied().unwrap_or(next);
        function.end = places.get(function.end).copied().unwrap_or(next);
    }
    Program {
        insns: insns.into(),
        subprograms,
        ..program.clone()
    }
}

/// Names for a case's text.
struct Names<'p>(&'p Program);

impl Symbols for Names<'_> {
    fn helper_name(&self, id: u32) -> Option<Cow<'_, str>> {
        crate::helper::name(id).map(Cow::from)
    }

    fn map_name(&self, index: u32) -> Option<Cow<'_, str>> {
        let def = self.0.maps.get(index as usize)?;
        Some(Cow::from(def.name.as_str()))
    }
}

/// The text of a case: `header` lines behind `;; `, the maps that are used, the instructions.
#[must_use]
pub fn case_text(program: &Program, header: &[&str]) -> String {
    let mut text = String::new();
    for line in header {
        let _ = writeln!(text, ";; {line}");
    }
    for (index, def) in program.maps.iter().enumerate() {
        let used = program.insns.iter().any(|insn| {
            matches!(insn, Insn::LoadWide { value: Wide::Map(map) | Wide::MapValue { map, .. }, .. }
                if *map as usize == index)
        });
        if used {
            let _ = write!(text, ".map {} type={}", def.name, def.kind);
            let sizes = (def.key_size, def.value_size, def.max_entries);
            let _ = writeln!(
                text,
                " key={} value={} entries={}",
                sizes.0, sizes.1, sizes.2
            );
        }
    }
    for (pc, insn) in program.insns.iter().enumerate() {
        if *insn != Insn::WideTail {
            let _ = writeln!(text, "    {}", insn.display(pc, &Names(program)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use isa::ebpf::{AluOp, Insn, Operand, Reg, parse_asm};

    use super::{case_text, shrink};
    use crate::generate::{Spec, program};

    struct Helpers;

    impl isa::ebpf::Symbols for Helpers {
        fn helper_id(&self, name: &str) -> Option<u32> {
            crate::helper::id_by_name(name)
        }
    }

    fn multiplies(insn: &Insn) -> bool {
        let op = AluOp::Mul;
        matches!(insn, Insn::Alu { op: o, src: Operand::Reg(r), .. } if *o == op && *r != Reg::R0)
    }

    #[test]
    fn only_what_shows_is_left() {
        let shows = |p: &crate::Program| p.insns.iter().any(multiplies);
        let mut shrunk = 0;
        for seed in 0..100 {
            let whole = program(&Spec::default(), seed);
            if shows(&whole) {
                let small = shrink(&whole, shows);
                let others = small.insns.iter().filter(|i| !multiplies(i));
                assert!(
                    others.clone().all(|i| *i == Insn::Exit),
                    "{:?}",
                    small.insns
                );
                shrunk += 1;
            }
        }
        assert!(shrunk > 5, "{shrunk}");
    }

    #[test]
    fn a_case_reads_back_as_the_program() {
        for seed in 0..40 {
            let program = program(&Spec::default(), seed);
            let text = case_text(&program, &["accept"]);
            let read = parse_asm(&text, &Helpers).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(read.insns.len(), program.insns.len(), "{text}");
            for (pc, (a, b)) in read.insns.iter().zip(program.insns.iter()).enumerate() {
                // Maps that are not used are not declared, so the others have other indices.
                let loads_map = matches!(b, Insn::LoadWide { .. });
                assert!(a == b || loads_map, "{pc}: {a:?} {b:?}\n{text}");
            }
        }
    }
}
