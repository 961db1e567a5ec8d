//! Arrays, with one value an element or one for each CPU.

use super::values::{F_LOCK, write};
use super::{Errno, MapDef, Memory, UpdateFlags, ValueAt, index_of};

/// Where the elements of an array lie: element `i` of CPU `c` is at
/// `base + c * cpu_stride + i * stride`. An engine may inline a lookup with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayLayout {
    /// Offset of element 0 of CPU 0 in the map's memory, in bytes.
    pub base: usize,
    /// Bytes from one element to the next: the value size rounded up to 8.
    pub stride: usize,
    /// Bytes from one CPU's elements to the next CPU's; 0 where all CPUs share them.
    pub cpu_stride: usize,
    /// Number of elements.
    pub max_entries: u32,
    /// Size of a value in bytes.
    pub value_size: u32,
    /// CPUs that have values of their own; 1 where they share them.
    pub cpus: u32,
}

impl ArrayLayout {
    /// The layout, and the bytes of memory it needs: up to the last byte of the last value.
    pub(super) fn new(value_size: u32, max_entries: u32, cpus: Option<u32>) -> (Self, u128) {
        let stride = value_size.next_multiple_of(8) as usize;
        let elements = stride as u128 * u128::from(max_entries);
        let block = elements.next_multiple_of(64);
        let layout = ArrayLayout {
            base: super::HEADER,
            stride,
            cpu_stride: if cpus.is_some() { block as usize } else { 0 },
            max_entries,
            value_size,
            cpus: cpus.unwrap_or(1),
        };
        let blocks = block * u128::from(layout.cpus.saturating_sub(1));
        let last = elements.saturating_sub(stride as u128 - u128::from(value_size));
        (layout, super::HEADER as u128 + blocks + last)
    }

    /// Where element `index` of `cpu` lies.
    #[inline]
    pub fn at(&self, index: u32, cpu: u32) -> Option<ValueAt> {
        let cpu = if self.cpu_stride == 0 { 0 } else { cpu };
        (index < self.max_entries && cpu < self.cpus).then(|| {
            ValueAt(self.base + self.cpu_stride * cpu as usize + self.stride * index as usize)
        })
    }

    /// Whether `size` bytes at `offset` lie inside the value of one element and CPU.
    pub(super) fn holds(&self, offset: usize, size: usize) -> bool {
        self.offset_in_value(offset)
            .is_some_and(|inside| inside + size <= self.value_size as usize)
    }

    /// Which byte of an element's value, or of the gap behind it, lies at `offset`.
    pub(super) fn offset_in_value(&self, offset: usize) -> Option<usize> {
        let from_base = offset.checked_sub(self.base)?;
        let cpu = from_base.checked_div(self.cpu_stride).unwrap_or(0);
        let from_cpu = from_base - cpu * self.cpu_stride;
        let stride = self.stride.max(1);
        (cpu < self.cpus as usize && from_cpu / stride < self.max_entries as usize)
            .then_some(from_cpu % stride)
    }

    /// Writes the value of one CPU. Linux looks at the index before it finds that there is no
    /// lock to take for `BPF_F_LOCK`.
    pub(super) fn update(
        &self,
        (memory, def): (&Memory, &MapDef),
        key: &[u8],
        value: &[u8],
        flags: u64,
        cpu: u32,
    ) -> Result<(), Errno> {
        let lock = flags & F_LOCK != 0;
        let flags = UpdateFlags::new(flags & !F_LOCK)?;
        let at = self.place(key, flags, cpu)?;
        if (lock && !def.has_lock()) || value.len() != def.value_size as usize {
            return Err(Errno::Einval);
        }
        write(memory, at, value, &def.special);
        Ok(())
    }

    /// Writes the values of all CPUs, each rounded up to 8 bytes, one after the other.
    pub(super) fn update_all(
        &self,
        memory: &Memory,
        key: &[u8],
        values: &[u8],
        flags: UpdateFlags,
    ) -> Result<(), Errno> {
        for (cpu, value) in values.chunks(self.stride.max(1)).enumerate() {
            let at = self.place(key, flags, cpu as u32)?;
            let bytes = value.get(..self.value_size as usize).ok_or(Errno::Einval)?;
            memory.write(at.0, bytes).ok_or(Errno::Einval)?;
        }
        Ok(())
    }

    fn place(&self, key: &[u8], flags: UpdateFlags, cpu: u32) -> Result<ValueAt, Errno> {
        let at = index_of(key)
            .and_then(|index| self.at(index, cpu))
            .ok_or(Errno::E2big)?;
        if flags == UpdateFlags::NoExist {
            return Err(Errno::Eexist);
        }
        Ok(at)
    }
}
