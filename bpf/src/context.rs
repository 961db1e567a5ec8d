//! Contexts: the structure r1 points to at entry, field by field.
//!
//! A program sees the layout of the user-space header (`struct xdp_md`, `struct __sk_buff` in
//! linux/bpf.h). Which accesses are allowed was asked of Linux 6.18, offset by offset and width
//! by width (`tests/context_vs_kernel.rs`). [`load`] and [`store`] give the field of an allowed
//! access: the verifier asks them, and engines may rely on the same table.
//!
//! Bytes of a number are in little-endian order, so that a load of a part gives those bytes of
//! the field; a load of a pointer field gives a whole pointer, whatever its size.

mod sk_buff;
mod socket;

pub use sk_buff::SK_BUFF;
pub use socket::{SOCK, SocketKind, TCP_SOCK, socket_field_at, socket_load};

use crate::hook::{Hook, XdpAttach};

/// What loading a context field gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// A number.
    Scalar,
    /// Pointer to the first byte of the packet.
    Data,
    /// Pointer just past the last linear byte of the packet.
    DataEnd,
    /// Pointer to the first byte of the metadata before the packet.
    DataMeta,
    /// Pointer to the socket (`struct bpf_sock`, its common part) that the packet belongs to,
    /// or null.
    Socket,
}

/// Which accesses within a field are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Widths {
    /// None.
    None,
    /// The field as a whole.
    Whole,
    /// 1, 2, 4 or 8 bytes that lie in the field, at a multiple of that number from the start of
    /// the structure.
    Parts,
    /// 1, 2 or 4 bytes from its start.
    Start,
    /// Parts of its first half, which is the field, and the whole with the padding behind it.
    Half,
}

/// One field of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name in linux/bpf.h.
    pub name: &'static str,
    /// Byte offset in the structure the program sees.
    pub offset: u16,
    /// Size in bytes.
    pub size: u8,
    /// What a load gives.
    pub kind: FieldKind,
    /// What may be loaded.
    pub loads: Widths,
    /// What may be stored.
    pub stores: Widths,
    /// Whether only a program that is bound to a device may store to it.
    pub store_on_device: bool,
    /// Whether only programs in a devmap may read it.
    pub devmap_only: bool,
}

impl Field {
    const fn new(name: &'static str, offset: u16, size: u8, kind: FieldKind) -> Field {
        Field {
            name,
            offset,
            size,
            kind,
            loads: Widths::Whole,
            stores: Widths::None,
            store_on_device: false,
            devmap_only: false,
        }
    }

    /// Whether it covers byte `offset` of the structure.
    pub const fn holds(&self, offset: i64) -> bool {
        offset >= self.offset as i64 && offset < self.offset as i64 + self.size as i64
    }

    /// Whether `size` bytes at `offset` of the structure are an access that `widths` allows.
    const fn allows(&self, widths: Widths, offset: i64, size: u8) -> bool {
        match widths {
            Widths::None => false,
            Widths::Whole => offset == self.offset as i64 && size == self.size,
            Widths::Parts => self.has_part(offset, size, self.size),
            Widths::Start => offset == self.offset as i64 && self.has_part(offset, size, self.size),
            Widths::Half => {
                self.has_part(offset, size, self.size / 2)
                    || offset == self.offset as i64 && size == self.size
            }
        }
    }

    /// Whether `size` bytes at `offset` lie aligned in the field's first `length` bytes.
    const fn has_part(&self, offset: i64, size: u8, length: u8) -> bool {
        matches!(size, 1 | 2 | 4 | 8)
            && self.holds(offset)
            && offset + size as i64 <= self.offset as i64 + length as i64
            && offset % size as i64 == 0
    }
}

/// `struct xdp_md`, 24 bytes.
pub const XDP_MD: [Field; 6] = [
    Field::new("data", 0, 4, FieldKind::Data),
    Field::new("data_end", 4, 4, FieldKind::DataEnd),
    Field::new("data_meta", 8, 4, FieldKind::DataMeta),
    Field::new("ingress_ifindex", 12, 4, FieldKind::Scalar),
    Field {
        stores: Widths::Whole,
        store_on_device: true,
        ..Field::new("rx_queue_index", 16, 4, FieldKind::Scalar)
    },
    Field {
        devmap_only: true,
        ..Field::new("egress_ifindex", 20, 4, FieldKind::Scalar)
    },
];

/// The fields of the context that `hook` gives, by ascending offset; empty where r1 is not a
/// context.
pub const fn fields(hook: &Hook) -> &'static [Field] {
    match hook {
        Hook::Xdp { .. } => &XDP_MD,
        Hook::Tc { .. } => &SK_BUFF,
        Hook::Raw { .. } => &[],
    }
}

/// The field that covers byte `offset` of the context of `hook`, whether it may be accessed or
/// not.
pub fn field_at(hook: &Hook, offset: i64) -> Option<&'static Field> {
    let fields = fields(hook);
    let after = fields.partition_point(|f| i64::from(f.offset) <= offset);
    fields
        .get(after.checked_sub(1)?)
        .filter(|f| f.holds(offset))
}

/// Whether a program of `hook` may read `field`.
pub fn readable(hook: &Hook, field: &Field) -> bool {
    let in_devmap = matches!(
        hook,
        Hook::Xdp {
            attach: XdpAttach::Devmap,
            ..
        }
    );
    field.loads != Widths::None && (!field.devmap_only || in_devmap)
}

/// The field that a load of `size` bytes at `offset` reads, if a program of `hook` may do that.
///
/// ```
/// use bpf::{Hook, context};
/// // The upper half of __sk_buff.mark, and all of xdp_md.data.
/// assert_eq!(context::load(&Hook::TC, 10, 2).map(|f| f.name), Some("mark"));
/// assert_eq!(context::load(&Hook::XDP, 0, 4).map(|f| f.name), Some("data"));
/// assert_eq!(context::load(&Hook::XDP, 0, 2), None);
/// ```
pub fn load(hook: &Hook, offset: i64, size: u8) -> Option<&'static Field> {
    field_at(hook, offset).filter(|f| readable(hook, f) && f.allows(f.loads, offset, size))
}

/// The field that a store of `size` bytes at `offset` writes, if a program of `hook` may do
/// that; `device_bound` says whether the program is bound to a device.
pub fn store(hook: &Hook, offset: i64, size: u8, device_bound: bool) -> Option<&'static Field> {
    field_at(hook, offset)
        .filter(|f| f.allows(f.stores, offset, size) && (device_bound || !f.store_on_device))
}
