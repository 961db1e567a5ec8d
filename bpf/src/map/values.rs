//! Copies of values that have special fields (locks, timers): no copy reads or writes those.

use super::{Memory, ValueAt};
use crate::btf::fields::SpecialField;

/// `BPF_F_LOCK`: under the spin lock in the value.
pub(super) const F_LOCK: u64 = 4;

/// Writes a value but for its special fields. What does not fit inside the memory is not written.
pub(super) fn write(memory: &Memory, at: ValueAt, value: &[u8], special: &[SpecialField]) {
    let mut from = 0;
    for field in special {
        let until = (field.offset as usize).clamp(from, value.len());
        memory.write(at.0 + from, &value[from..until]);
        from = (until + field.size as usize).min(value.len());
    }
    memory.write(at.0 + from, &value[from..]);
}

/// Sets the special fields of a value to 0, as those of a new one are.
pub(super) fn clear(memory: &Memory, at: ValueAt, special: &[SpecialField]) {
    for field in special {
        memory.zero(at.0 + field.offset as usize, field.size as usize);
    }
}

/// Sets the special fields to 0 in a copy for the host.
pub(super) fn hide(value: &mut [u8], special: &[SpecialField]) {
    for field in special {
        let start = field.offset as usize;
        if let Some(bytes) = value.get_mut(start..start + field.size as usize) {
            bytes.fill(0);
        }
    }
}
