//! One type record, decoded.

use super::{TypeId, string_at, u32_at};

/// One type.
#[derive(Clone, Copy, Debug)]
pub struct Type<'d> {
    /// Name; empty for anonymous types.
    pub name: &'d str,
    /// What it is.
    pub kind: Kind<'d>,
}

/// What a type is (`BTF_KIND_*`). Sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'d> {
    /// `void`.
    Void,
    /// Integer.
    Int {
        /// Size.
        size: u32,
        /// Bits of it that count.
        bits: u8,
        /// Bit offset in it.
        offset: u8,
        /// Signed.
        signed: bool,
        /// A character.
        char: bool,
        /// `bool`.
        bool: bool,
    },
    /// Pointer.
    Pointer {
        /// What to.
        to: TypeId,
    },
    /// Array.
    Array {
        /// Type of the elements.
        element: TypeId,
        /// Number of elements; 0 for a flexible array.
        count: u32,
    },
    /// Structure or union.
    Composite {
        /// Whether it is a union.
        union: bool,
        /// Size.
        size: u32,
        /// Members.
        members: Members<'d>,
    },
    /// Enumeration of 32-bit or 64-bit values.
    Enum {
        /// Size.
        size: u32,
        /// Whether values are signed.
        signed: bool,
        /// Values.
        values: Values<'d>,
    },
    /// Declared but not defined structure or union.
    Forward {
        /// Whether it is a union.
        union: bool,
    },
    /// Typedef.
    Typedef {
        /// Of what.
        to: TypeId,
    },
    /// `const`, `volatile`, `restrict`, or a type tag: no type of its own.
    Modifier {
        /// Of what.
        to: TypeId,
    },
    /// Function.
    Function {
        /// Its prototype.
        prototype: TypeId,
        /// Its linkage.
        linkage: Linkage,
    },
    /// Function prototype.
    Prototype {
        /// Type of the result.
        result: TypeId,
        /// Parameters.
        parameters: Parameters<'d>,
    },
    /// Variable.
    Variable {
        /// Its type.
        ty: TypeId,
        /// Its linkage.
        linkage: Linkage,
    },
    /// Section of variables.
    Section {
        /// Size; 0 where the compiler left it to the loader.
        size: u32,
        /// Variables.
        variables: Variables<'d>,
    },
    /// Floating-point number.
    Float {
        /// Size.
        size: u32,
    },
    /// A tag on a declaration; its text is the type's name.
    DeclarationTag {
        /// What is tagged.
        to: TypeId,
        /// Index of the member or parameter; `None` for the whole.
        component: Option<u32>,
    },
}

/// Linkage of functions and variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// Local to the object.
    Static,
    /// Visible outside.
    Global,
    /// Defined elsewhere.
    Extern,
}

/// One member of a structure or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'d> {
    /// Name; empty for an anonymous structure or union.
    pub name: &'d str,
    /// Type.
    pub ty: TypeId,
    /// Bit offset.
    pub bit_offset: u32,
    /// Bits of a bit field; 0 for a whole member.
    pub bit_size: u32,
}

/// One value of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enumerator<'d> {
    /// Name.
    pub name: &'d str,
    /// Value; sign-extended to 64 bits if the enumeration is signed.
    pub value: u64,
}

/// One parameter of a prototype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'d> {
    /// Name.
    pub name: &'d str,
    /// Type.
    pub ty: TypeId,
}

/// One variable of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VarSecInfo {
    /// The variable.
    pub variable: TypeId,
    /// Byte offset in the section; 0 where the compiler left it to the loader.
    pub offset: u32,
    /// Size in bytes.
    pub size: u32,
}

macro_rules! records {
    ($(#[$doc:meta])* $name:ident, $size:literal, $item:ty, $decode:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'d> {
            bytes: &'d [u8],
            strings: &'d [u8],
            flag: bool,
        }

        impl<'d> $name<'d> {
            /// How many there are.
            pub fn len(&self) -> usize {
                self.bytes.len() / $size
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.bytes.is_empty()
            }

            /// All in order.
            pub fn iter(&self) -> impl ExactSizeIterator<Item = $item> + use<'d> {
                let (strings, flag) = (self.strings, self.flag);
                let decode: fn(&'d [u8], &'d [u8], bool) -> $item = $decode;
                self.bytes
                    .chunks_exact($size)
                    .map(move |record| decode(record, strings, flag))
            }

            /// The one at `index`.
            pub fn get(&self, index: usize) -> Option<$item> {
                let start = index.checked_mul($size)?;
                let record = self.bytes.get(start..start.checked_add($size)?)?;
                let decode: fn(&'d [u8], &'d [u8], bool) -> $item = $decode;
                Some(decode(record, self.strings, self.flag))
            }
        }
    };
}

records!(
    /// Members of a structure or union.
    Members, 12, Member<'d>, |record, strings, bit_fields| {
        let offset = u32_at(record, 8);
        Member {
            name: string_at(strings, u32_at(record, 0)),
            ty: u32_at(record, 4),
            bit_offset: if bit_fields { offset & 0x00ff_ffff } else { offset },
            bit_size: if bit_fields { offset >> 24 } else { 0 },
        }
    }
);
records!(
    /// Parameters of a prototype.
    Parameters, 8, Parameter<'d>, |record, strings, _| Parameter {
        name: string_at(strings, u32_at(record, 0)),
        ty: u32_at(record, 4),
    }
);
records!(
    /// Variables of a section.
    Variables, 12, VarSecInfo, |record, _, _| VarSecInfo {
        variable: u32_at(record, 0),
        offset: u32_at(record, 4),
        size: u32_at(record, 8),
    }
);

/// Values of an enumeration.
#[derive(Clone, Copy, Debug)]
pub struct Values<'d> {
    bytes: &'d [u8],
    strings: &'d [u8],
    signed: bool,
    wide: bool,
}

impl<'d> Values<'d> {
    /// All in order.
    pub fn iter(&self) -> impl Iterator<Item = Enumerator<'d>> + use<'d> {
        let Values {
            bytes,
            strings,
            signed,
            wide,
        } = *self;
        bytes
            .chunks_exact(if wide { 12 } else { 8 })
            .map(move |record| {
                let low = u32_at(record, 4);
                Enumerator {
                    name: string_at(strings, u32_at(record, 0)),
                    value: match (wide, signed) {
                        (true, _) => u64::from(low) | u64::from(u32_at(record, 8)) << 32,
                        (false, true) => low as i32 as i64 as u64,
                        (false, false) => u64::from(low),
                    },
                }
            })
    }

    /// The one at `index`.
    pub fn get(&self, index: usize) -> Option<Enumerator<'d>> {
        self.iter().nth(index)
    }
}

/// The kind of the record that starts here.
pub(super) fn kind_number(record: &[u8]) -> u32 {
    u32_at(record, 4) >> 24 & 0x1f
}

/// Whether the record that starts here describes a section.
pub(super) fn is_section(record: &[u8]) -> bool {
    kind_number(record) == 15
}

/// Bytes that follow the 12 of the record that starts here; `None` for an unknown kind.
pub(super) fn extra_length(record: &[u8]) -> Option<usize> {
    let count = (u32_at(record, 4) & 0xffff) as usize;
    Some(match kind_number(record) {
        1 | 14 | 17 => 4,
        2 | 7..=12 | 16 | 18 => 0,
        3 => 12,
        4 | 5 | 15 | 19 => count * 12,
        6 | 13 => count * 8,
        _ => return None,
    })
}

/// The 32-bit words that follow the 12 bytes of the record that starts here, by `word` of their
/// byte offset.
pub(super) fn map_extra(record: &[u8], word: impl FnMut(usize) -> u32) -> Vec<u32> {
    let bytes = extra_length(record).unwrap_or(0);
    (0..bytes).step_by(4).map(word).collect()
}

/// The type whose record starts here.
pub(super) fn decode<'d>(record: &'d [u8], strings: &'d [u8]) -> Option<Type<'d>> {
    let flag = u32_at(record, 4) >> 31 != 0;
    let third = u32_at(record, 8);
    let extra = record.get(12..12 + extra_length(record)?)?;
    let fourth = u32_at(extra, 0);
    let kind = match kind_number(record) {
        1 => Kind::Int {
            size: third,
            bits: fourth as u8,
            offset: (fourth >> 16) as u8,
            signed: fourth >> 24 & 1 != 0,
            char: fourth >> 24 & 2 != 0,
            bool: fourth >> 24 & 4 != 0,
        },
        2 => Kind::Pointer { to: third },
        3 => Kind::Array {
            element: fourth,
            count: u32_at(extra, 8),
        },
        number @ (4 | 5) => Kind::Composite {
            union: number == 5,
            size: third,
            members: Members {
                bytes: extra,
                strings,
                flag,
            },
        },
        number @ (6 | 19) => Kind::Enum {
            size: third,
            signed: flag,
            values: Values {
                bytes: extra,
                strings,
                signed: flag,
                wide: number == 19,
            },
        },
        7 => Kind::Forward { union: flag },
        8 => Kind::Typedef { to: third },
        9..=11 | 18 => Kind::Modifier { to: third },
        12 => Kind::Function {
            prototype: third,
            linkage: linkage(u32_at(record, 4) & 0xffff),
        },
        13 => Kind::Prototype {
            result: third,
            parameters: Parameters {
                bytes: extra,
                strings,
                flag,
            },
        },
        14 => Kind::Variable {
            ty: third,
            linkage: linkage(fourth),
        },
        15 => Kind::Section {
            size: third,
            variables: Variables {
                bytes: extra,
                strings,
                flag,
            },
        },
        16 => Kind::Float { size: third },
        _ => Kind::DeclarationTag {
            to: third,
            component: (fourth != u32::MAX).then_some(fourth),
        },
    };
    Some(Type {
        name: string_at(strings, u32_at(record, 0)),
        kind,
    })
}

fn linkage(number: u32) -> Linkage {
    match number {
        0 => Linkage::Static,
        2 => Linkage::Extern,
        _ => Linkage::Global,
    }
}
