//! Applies the CO-RE relocations of an object to its code.

use std::collections::BTreeMap;

use super::elf::Elf;
use super::notes::{self, Notes};
use crate::btf::Btf;
use crate::btf::core::{POISON, Question, Resolution, Resolver, patch};
use crate::btf::ext::{CoreRecord, InSection};
use crate::finding::Finding;

/// Patches `code` (bytes by section). Gives what could not be done, by (section, byte offset):
/// it stops the programs that hold the instruction.
pub(super) fn apply(
    elf: &Elf<'_>,
    local: &Btf<'_>,
    target: Option<&Btf<'_>>,
    groups: &[InSection<'_, CoreRecord<'_>>],
    code: &mut BTreeMap<usize, Vec<u8>>,
    notes: &mut Notes,
) -> BTreeMap<(usize, u64), Finding> {
    let mut failed = BTreeMap::new();
    if groups.iter().all(|group| group.records.is_empty()) {
        return failed;
    }
    let mut resolver = Resolver::new(local, target);
    let mut against_own = 0;
    for group in groups {
        let Some((section, _)) = elf.section_named(group.section) else {
            continue;
        };
        let Some(code) = code.get_mut(&section) else {
            continue;
        };
        for record in &group.records {
            if Question::from_number(record.kind) != Some(Question::LocalTypeId) {
                against_own += 1;
            }
            let resolution = resolver.resolve(record);
            let what = resolver.describe(record);
            let failure = |error: &dyn std::fmt::Display| {
                let message = format!(
                    "{}+{:#x}: CO-RE relocation of `{what}`: {error}",
                    group.section, record.offset
                );
                notes::refusal("object/core-relocation", &what, message)
                    .why("the record and the instruction, or the object's and the target's types, do not fit")
                    .help("recompile the object, or give the BTF of the kernel it is for with --btf")
            };
            let failure = match resolution {
                Ok(resolution) => {
                    if resolution == Resolution::Poison {
                        notes.add(unresolved(group.section, &what, record));
                    }
                    patch(code, record.offset as usize, &resolution)
                        .err()
                        .map(|error| failure(&error))
                }
                Err(error) => Some(failure(&error)),
            };
            if let Some(finding) = failure {
                failed.insert((section, u64::from(record.offset)), finding);
            }
        }
    }
    if target.is_none() && against_own > 0 {
        notes.add(
            notes::note(
                "object/core-own-types",
                "",
                format!(
                    "{against_own} CO-RE relocations are resolved against the object's own types"
                ),
            )
            .why("no BTF of a target was given")
            .help("give one with --btf FILE, or --btf kernel"),
        );
    }
    failed
}

fn unresolved(section: &str, what: &str, record: &CoreRecord<'_>) -> Finding {
    notes::note(
        "object/core-unresolved",
        what,
        format!("{section}+{:#x}: the target has no `{what}`", record.offset),
    )
    .why(format!(
        "no type of the target fits; the instruction becomes a call of {POISON}, as libbpf makes it"
    ))
    .help("test for it with bpf_core_field_exists or bpf_core_type_exists before using it")
}
