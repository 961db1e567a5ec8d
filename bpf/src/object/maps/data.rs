//! Sections of global data: each becomes an array of one value.

use super::Maps;
use crate::map::{DataSection, MapDef, MapType};
use crate::object::elf::{Elf, SectionKind};
use crate::object::error::{ObjectError, SectionProblem};

/// More global data than this is refused; it is copied at load.
const MAX_DATA_BYTES: u64 = 64 << 20;

/// `BPF_F_RDONLY_PROG`.
pub(super) const RDONLY_PROG: u32 = 1 << 7;

/// Which global data a section of this name holds.
fn data_section(name: &str, kind: SectionKind) -> Option<DataSection> {
    let is = |base: &str| {
        name.strip_prefix(base)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    match kind {
        SectionKind::Data if is(".rodata") => Some(DataSection::Rodata),
        SectionKind::Data if is(".data") => Some(DataSection::Data),
        SectionKind::NoBits if is(".bss") => Some(DataSection::Bss),
        _ => None,
    }
}

pub(super) fn find(object: &str, elf: &Elf<'_>, maps: &mut Maps) -> Result<(), ObjectError> {
    let mut total: u64 = 0;
    for (index, section) in elf.sections.iter().enumerate() {
        let Some(data) = data_section(&section.name, section.kind) else {
            continue;
        };
        if section.size == 0 {
            continue;
        }
        maps.check_room(object)?;
        total = total.saturating_add(section.size);
        if total > MAX_DATA_BYTES {
            return Err(ObjectError::Section {
                object: object.to_owned(),
                section: section.name.clone().into_owned(),
                offset: 0,
                problem: SectionProblem::DataSize {
                    size: section.size,
                    limit: MAX_DATA_BYTES,
                },
            });
        }
        let initial = match data {
            DataSection::Bss => vec![0; section.size as usize],
            DataSection::Rodata | DataSection::Data => section.data.to_vec(),
        };
        maps.data.insert(index, maps.defs.len());
        maps.defs.push(MapDef {
            key_size: 4,
            value_size: section.size as u32,
            max_entries: 1,
            flags: if data == DataSection::Rodata {
                RDONLY_PROG
            } else {
                0
            },
            data: Some(data),
            initial: Some(initial),
            ..super::blank(&section.name, MapType::Array)
        });
    }
    Ok(())
}
