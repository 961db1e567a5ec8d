//! Nothing is left without a case: every row of the instruction table, every helper and kernel function with
//! a body,
//! every type of map.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpf::helper::{PROTOTYPES, has_body};
use bpf::kfunc::{self, KFUNCS};
use bpf::map::{Map, MapDef, MapType};
use isa::ebpf::{Insn, table};
use libtest_mimic::{Failed, Trial};

use crate::case::Case;

/// Rows that no loaded program holds: linking turns them into others, or they are refused.
const NO_CASE: [&str; 4] = ["lddw_map_fd", "lddw_map_fd_value", "lddw_btf_id", "callx"];

/// Helpers that take a text in read-only memory, which assembly cannot declare; they are held
/// against the kernel in `bpf/tests/helpers_text_vs_kernel.rs`.
const NO_CASE_HELPERS: [&str; 2] = ["bpf_snprintf", "bpf_strncmp"];

/// The checks, as tests.
pub(crate) fn trials(cases: Vec<Arc<Case>>) -> Vec<Trial> {
    let cases = Arc::new(cases);
    let check = |name: &str, missing: fn(&[Arc<Case>]) -> Vec<String>| {
        let cases = Arc::clone(&cases);
        Trial::test(name.to_owned(), move || {
            let missing = missing(&cases);
            if missing.is_empty() {
                Ok(())
            } else {
                Err(Failed::from(format!(
                    "without a case: {}",
                    missing.join(", ")
                )))
            }
        })
    };
    vec![
        check("coverage::instructions", instructions),
        check("coverage::helpers", helpers),
        check("coverage::map_types", map_types),
    ]
}

/// All instructions of cases that state facts.
fn insns(cases: &[Arc<Case>]) -> impl Iterator<Item = Insn> {
    cases
        .iter()
        .filter(|case| !case.facts.is_empty())
        .flat_map(|case| &case.programs.programs)
        .flat_map(|program| program.insns.iter().copied())
}

fn instructions(cases: &[Arc<Case>]) -> Vec<String> {
    let covered: BTreeSet<&str> = insns(cases).map(|insn| insn.row().mnemonic()).collect();
    table()
        .iter()
        .map(isa::ebpf::Row::mnemonic)
        .filter(|row| !covered.contains(row) && !NO_CASE.contains(row))
        .map(str::to_owned)
        .collect()
}

fn helpers(cases: &[Arc<Case>]) -> Vec<String> {
    let called: BTreeSet<u32> = insns(cases)
        .filter_map(|insn| match insn {
            Insn::Call(target) => kfunc::callee(target),
            _ => None,
        })
        .collect();
    PROTOTYPES
        .iter()
        .chain(&KFUNCS)
        .filter(|p| has_body(p.id) && !called.contains(&p.id))
        .filter(|p| !NO_CASE_HELPERS.contains(&p.name))
        .map(|p| p.name.to_owned())
        .collect()
}

fn map_types(cases: &[Arc<Case>]) -> Vec<String> {
    let used: BTreeSet<MapType> = cases
        .iter()
        .flat_map(|case| case.programs.maps.iter())
        .map(|def| def.kind)
        .collect();
    // A type that cannot be created at any size is not modelled.
    let sizes = [(0, 0, 4096), (0, 4, 1), (4, 4, 1), (8, 4, 1)];
    let modelled = |kind: &MapType| {
        sizes.iter().any(|&(key_size, value_size, max_entries)| {
            let flags = u32::from(*kind == MapType::LpmTrie);
            let def = MapDef {
                key_size,
                value_size,
                max_entries,
                flags,
                ..MapDef::new("m", *kind)
            };
            Map::new(&def, 1).is_ok()
        })
    };
    MapType::ALL
        .iter()
        .filter(|kind| !used.contains(kind) && modelled(kind))
        .map(ToString::to_string)
        .collect()
}
