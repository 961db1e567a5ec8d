//! The layout of keys and values, from BTF.

use std::sync::Arc;

use crate::btf::{Btf, Kind, Members, TypeId};
use crate::map::{Layout, LayoutKind, MemberLayout};

/// Deeper nesting is left as bytes.
const MAX_DEPTH: usize = 16;

/// Bytes of names, and members, that the layouts of one object may have together: a few
/// crafted types can name an endless tree. What comes after is left as bytes.
const BUDGET: usize = 1 << 20;

/// What one member or enumerator costs besides its name.
const ITEM: usize = 64;

/// Makes layouts out of BTF types.
#[derive(Debug)]
pub(super) struct Layouts<'a, 'd> {
    btf: &'a Btf<'d>,
    left: usize,
}

impl<'a, 'd> Layouts<'a, 'd> {
    pub(super) fn new(btf: &'a Btf<'d>) -> Self {
        Layouts { btf, left: BUDGET }
    }

    /// The layout of this type; `None` if it has no size.
    pub(super) fn of(&mut self, ty: TypeId) -> Option<Arc<Layout>> {
        self.layout(ty, 0).map(Arc::new)
    }

    fn layout(&mut self, ty: TypeId, depth: usize) -> Option<Layout> {
        let size = u32::try_from(self.btf.size_of(ty)?).ok()?;
        let kind = self.kind(ty, depth).unwrap_or(LayoutKind::Opaque);
        Some(Layout { size, kind })
    }

    fn kind(&mut self, ty: TypeId, depth: usize) -> Option<LayoutKind> {
        if depth == MAX_DEPTH {
            return None;
        }
        let (_, ty) = self.btf.strip(ty)?;
        Some(match ty.kind {
            Kind::Int { bool: true, .. } => LayoutKind::Bool,
            // clang marks no characters: `char` is known by its name.
            Kind::Int { char: true, .. } => LayoutKind::Char,
            Kind::Int { size: 1, .. } if ty.name == "char" => LayoutKind::Char,
            Kind::Int { signed: true, .. } => LayoutKind::Signed,
            Kind::Int { .. } => LayoutKind::Unsigned,
            Kind::Enum { signed, values, .. } => {
                let mut known = Vec::new();
                for value in values.iter() {
                    self.pay(value.name)?;
                    known.push((value.name.to_owned(), value.value));
                }
                LayoutKind::Enum {
                    signed,
                    values: known,
                }
            }
            Kind::Array { element, count } => LayoutKind::Array {
                element: Box::new(self.layout(element, depth + 1)?),
                count,
            },
            Kind::Composite { members, .. } => {
                let mut known = Vec::new();
                self.members(members, 0, depth, &mut known)?;
                LayoutKind::Composite { members: known }
            }
            _ => return None,
        })
    }

    /// Adds members; those of an anonymous one inside take its place.
    fn members(
        &mut self,
        members: Members<'d>,
        base: u32,
        depth: usize,
        known: &mut Vec<MemberLayout>,
    ) -> Option<()> {
        if depth == MAX_DEPTH {
            return None;
        }
        for member in members.iter() {
            self.pay(member.name)?;
            let bit_offset = base.checked_add(member.bit_offset)?;
            if member.name.is_empty() {
                // Without a name and no structure either: padding of a bit field.
                if let Kind::Composite { members, .. } = self.btf.strip(member.ty)?.1.kind {
                    self.members(members, bit_offset, depth + 1, known)?;
                }
                continue;
            }
            known.push(MemberLayout {
                name: member.name.to_owned(),
                bit_offset,
                bits: (member.bit_size != 0).then_some(member.bit_size),
                layout: self.layout(member.ty, depth + 1)?,
            });
        }
        Some(())
    }

    fn pay(&mut self, name: &str) -> Option<()> {
        self.left = self.left.checked_sub(ITEM + name.len())?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BTF of these type records (32-bit words) and strings.
    fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let length = types.len() as u32 * 4;
        let header = [0x0001_eb9f, 24, 0, length, length, strings.len() as u32];
        let words = header.iter().chain(types);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(strings);
        bytes
    }

    fn items(layout: &Layout) -> usize {
        match &layout.kind {
            LayoutKind::Composite { members } => members.iter().map(|m| 1 + items(&m.layout)).sum(),
            LayoutKind::Array { element, .. } => items(element),
            _ => 0,
        }
    }

    const INT: [u32; 4] = [1, 1 << 24, 4, 32];
    const STRINGS: &[u8] = b"\0x\0";

    /// Fifteen levels of structures with sixteen members each are 2^60 members.
    #[test]
    fn a_tree_of_types_without_end_is_cut() {
        let mut types = INT.to_vec();
        for level in 1..=15 {
            types.extend([0, 4 << 24 | 16, 4]);
            for _ in 0..16 {
                types.extend([1, level, 0]);
            }
        }
        let bytes = btf(&types, STRINGS);
        let btf = Btf::parse(&bytes).unwrap();
        let layout = Layouts::new(&btf).of(16).unwrap();
        assert_eq!(layout.size, 4);
        assert!(items(&layout) <= BUDGET / ITEM, "{}", items(&layout));
        assert_eq!(items(&Layouts::new(&btf).of(2).unwrap()), 16);
    }

    #[test]
    fn a_structure_inside_itself_is_cut() {
        for name in [0, 1] {
            let mut types = INT.to_vec();
            types.extend([0, 4 << 24 | 1, 4, name, 2, 0]);
            let bytes = btf(&types, STRINGS);
            let btf = Btf::parse(&bytes).unwrap();
            let layout = Layouts::new(&btf).of(2).unwrap();
            assert!(items(&layout) <= MAX_DEPTH, "{layout:?}");
        }
    }

    /// `struct { int x; struct { int x; }; }`: the inner `x` is reached as in C.
    #[test]
    fn members_of_an_anonymous_structure_are_those_of_its_own() {
        let mut types = INT.to_vec();
        types.extend([0, 4 << 24 | 1, 4, 3, 1, 0]);
        types.extend([0, 4 << 24 | 2, 8, 1, 1, 0, 0, 2, 32]);
        let bytes = btf(&types, b"\0x\0y\0");
        let btf = Btf::parse(&bytes).unwrap();
        let layout = Layouts::new(&btf).of(3).unwrap();
        let LayoutKind::Composite { members } = &layout.kind else {
            panic!("{layout:?}");
        };
        let places: Vec<_> = members
            .iter()
            .map(|m| (m.name.as_str(), m.bit_offset, m.layout.size))
            .collect();
        assert_eq!(places, [("x", 0, 4), ("y", 32, 4)]);
    }
}
