//! [`Layout`]: what the bytes of a key or value mean, as far as BTF tells.
//!
//! It owns everything it needs, so that a definition lives on without the object's bytes. The
//! object loader makes it; the JSON form of maps reads it. Nothing that runs a program does.

/// The type of a key or value, or of a part of one. Numbers lie in memory little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size in bytes.
    pub size: u32,
    /// What it is.
    pub kind: LayoutKind,
}

/// What a [`Layout`] describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutKind {
    /// Unsigned integer. Types of network order (`__be32`) are such too: BTF does not tell them
    /// from others.
    Unsigned,
    /// Signed integer.
    Signed,
    /// `bool`.
    Bool,
    /// `char`; `__u8`, which is an `unsigned char`, is a number.
    Char,
    /// Enumeration.
    Enum {
        /// Whether its values are signed.
        signed: bool,
        /// Name and value of each, sign-extended to 64 bits where signed.
        values: Vec<(String, u64)>,
    },
    /// Array.
    Array {
        /// What its elements are.
        element: Box<Layout>,
        /// How many there are; 0 for a flexible one.
        count: u32,
    },
    /// Structure or union; in a union members share their bytes.
    Composite {
        /// Members in the order of declaration. Those of anonymous structures and unions inside
        /// stand here as if they were declared here, as in C.
        members: Vec<MemberLayout>,
    },
    /// Something that is read as bytes alone: a pointer, a floating-point number, or what is
    /// nested too deep.
    Opaque,
}

/// One member of a structure or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberLayout {
    /// Name.
    pub name: String,
    /// Bit offset in the structure; of a whole member a multiple of 8.
    pub bit_offset: u32,
    /// Bits of a bit field; `None` for a whole member.
    pub bits: Option<u32>,
    /// Its type; of a bit field the declared one.
    pub layout: Layout,
}

impl MemberLayout {
    /// Bits that the member takes in its structure.
    pub fn bit_size(&self) -> u64 {
        match self.bits {
            Some(bits) => u64::from(bits),
            None => u64::from(self.layout.size) * 8,
        }
    }
}
