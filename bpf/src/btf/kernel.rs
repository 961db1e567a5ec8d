//! Type information as the kernel takes it: some types rewritten, none moved.

use super::types::{kind_number, map_extra};
use super::{Btf, Linkage, TypeId, u32_at};

/// What becomes of a type on the way to the kernel. Ids stay what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It stays.
    Keep,
    /// A pointer to nothing stands in its place, because the kernel would refuse it.
    Blank,
    /// A function gets this linkage.
    Linkage(Linkage),
    /// A section gets its size, and its variables their places: type, byte offset, size.
    Section(u32, Vec<(TypeId, u32, u32)>),
}

const DECLARATION_TAG: u32 = 17;
/// The record of a pointer to `void`.
const BLANK: [u32; 3] = [0, 2 << 24, 0];

impl Btf<'_> {
    /// The bytes of a `.BTF` section with every type as `change` says. A tag on a blanked type
    /// is blanked too.
    pub(crate) fn rewritten(&self, mut change: impl FnMut(TypeId) -> Change) -> Vec<u8> {
        let changes: Vec<Change> = (1..self.len()).map(&mut change).collect();
        let is_blank = |id: u32| {
            let change = changes.get((id as usize).wrapping_sub(1));
            change == Some(&Change::Blank)
        };
        let mut types = Vec::with_capacity(self.types.len());
        let mut words = |words: &[u32]| {
            let bytes = words.iter().flat_map(|word| word.to_le_bytes());
            types.extend(bytes);
        };
        for (at, change) in self.offsets.iter().zip(&changes) {
            let record = self.types.get(*at as usize..).unwrap_or_default();
            let (name, info, third) = (u32_at(record, 0), u32_at(record, 4), u32_at(record, 8));
            let extra = map_extra(record, |at| u32_at(record, 12 + at));
            match change {
                Change::Blank => words(&BLANK),
                Change::Keep if kind_number(record) == DECLARATION_TAG && is_blank(third) => {
                    words(&BLANK);
                }
                Change::Keep => {
                    words(&[name, info, third]);
                    words(&extra);
                }
                Change::Linkage(linkage) => {
                    let number = match linkage {
                        Linkage::Static => 0,
                        Linkage::Global => 1,
                        Linkage::Extern => 2,
                    };
                    words(&[name, info & !0xffff | number, third]);
                }
                Change::Section(size, variables) => {
                    words(&[name, info & !0xffff | variables.len() as u32, *size]);
                    for (ty, offset, size) in variables {
                        words(&[*ty, *offset, *size]);
                    }
                }
            }
        }
        let header = [
            0x0001_eb9f,
            super::HEADER as u32,
            0,
            types.len() as u32,
            types.len() as u32,
            self.strings.len() as u32,
        ];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(types);
        bytes.extend(self.strings);
        bytes
    }
}
