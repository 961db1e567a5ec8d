//! Contexts: the structure r1 points to at entry, field by field.
//!
//! A program sees the layout of the user-space header (`struct xdp_md`, `struct __sk_buff` in
//! linux/bpf.h); a 32-bit load of a pointer field gives a whole pointer.

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
    /// Whether a program that is bound to a device may write it.
    pub writable_on_device: bool,
    /// Whether only programs in a devmap may read it.
    pub devmap_only: bool,
}

const fn field(name: &'static str, offset: u16, kind: FieldKind) -> Field {
    Field {
        name,
        offset,
        size: 4,
        kind,
        writable_on_device: false,
        devmap_only: false,
    }
}

/// `struct xdp_md`, 24 bytes.
pub const XDP_MD: [Field; 6] = [
    field("data", 0, FieldKind::Data),
    field("data_end", 4, FieldKind::DataEnd),
    field("data_meta", 8, FieldKind::DataMeta),
    field("ingress_ifindex", 12, FieldKind::Scalar),
    Field {
        writable_on_device: true,
        ..field("rx_queue_index", 16, FieldKind::Scalar)
    },
    Field {
        devmap_only: true,
        ..field("egress_ifindex", 20, FieldKind::Scalar)
    },
];

/// The fields of the context that `hook` gives; empty where r1 is not a context or where the
/// hook's context is not modelled yet.
pub const fn fields(hook: &Hook) -> &'static [Field] {
    match hook {
        Hook::Xdp { .. } => &XDP_MD,
        Hook::Tc { .. } | Hook::Raw { .. } => &[],
    }
}

/// The field that covers byte `offset` of the context of `hook`.
pub fn field_at(hook: &Hook, offset: i64) -> Option<&'static Field> {
    fields(hook)
        .iter()
        .find(|f| offset >= i64::from(f.offset) && offset < i64::from(f.offset) + i64::from(f.size))
}

/// Whether a program of `hook` may read `field`.
pub fn readable(hook: &Hook, field: &Field) -> bool {
    !field.devmap_only
        || matches!(
            hook,
            Hook::Xdp {
                attach: XdpAttach::Devmap,
                ..
            }
        )
}
