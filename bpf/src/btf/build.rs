//! Makes BTF for maps that no compiler described: values with special fields, so that the kernel
//! and the verifier know them.

use super::TypeId;
use super::fields::{SpecialField, SpecialKind};
use crate::map::MapDef;

/// Bytes of a BTF header.
const HEADER_BYTES: u32 = 24;
/// `BTF_KIND_INT`, `BTF_KIND_STRUCT`.
const INT: u32 = 1;
const STRUCT: u32 = 4;

#[derive(Default)]
struct Types {
    records: Vec<u32>,
    strings: Vec<u8>,
    count: TypeId,
}

impl Types {
    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn add(&mut self, name: &str, kind: u32, members: u32, size: u32, rest: &[u32]) -> TypeId {
        let name = self.name(name);
        self.records.extend([name, kind << 24 | members, size]);
        self.records.extend(rest);
        self.count += 1;
        self.count
    }

    fn int(&mut self, bytes: u32) -> TypeId {
        self.add("int", INT, 0, bytes, &[bytes * 8])
    }

    fn structure(&mut self, name: &str, size: u32, members: &[(u32, TypeId, u32)]) -> TypeId {
        let count = members.len() as u32;
        let rest: Vec<u32> = members
            .iter()
            .flat_map(|(name, ty, offset)| [*name, *ty, offset * 8])
            .collect();
        self.add(name, STRUCT, count, size, &rest)
    }

    /// A key of so many bytes: a number where there is one of that size.
    fn key(&mut self, bytes: u32) -> TypeId {
        match bytes {
            1 | 2 | 4 | 8 | 16 => self.int(bytes),
            _ => self.structure("key", bytes, &[]),
        }
    }

    fn special(&mut self, field: &SpecialField) -> TypeId {
        let (size, words): (u32, &[u32]) = match field.kind {
            SpecialKind::SpinLock => (4, &[4]),
            _ => (field.size, &[8, 8]),
        };
        let mut at = 0;
        let mut members = Vec::new();
        for bytes in words {
            let ty = self.int(*bytes);
            let name = self.name(&format!("at{at}"));
            members.push((name, ty, at));
            at += bytes;
        }
        self.structure(field.kind.name(), size, &members)
    }

    fn bytes(&self) -> Vec<u8> {
        let length = self.records.len() as u32 * 4;
        let strings = self.strings.len() as u32;
        let header = [0x0001_eb9f, HEADER_BYTES, 0, length, length, strings];
        let words = header.iter().chain(&self.records);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(&self.strings);
        bytes
    }
}

/// Types for the maps whose values have special fields and no type; they are noted in the
/// definitions. `None` where there is no such map.
pub fn describe<'m>(maps: impl IntoIterator<Item = &'m mut MapDef>) -> Option<Vec<u8>> {
    let mut types = Types {
        strings: vec![0],
        ..Types::default()
    };
    for def in maps {
        if def.special.is_empty() || def.value_type != 0 {
            continue;
        }
        let mut members = Vec::new();
        for field in &def.special {
            let ty = types.special(field);
            let name = types.name(&format!("field{}", field.offset));
            members.push((name, ty, field.offset));
        }
        def.key_type = types.key(def.key_size);
        def.value_type = types.structure("value", def.value_size, &members);
    }
    (types.count > 0).then(|| types.bytes())
}
