//! Which bytes of a map's memory a program may touch: for engines that check every access.

use super::runtime::Layout;
use super::{DataSection, Map};

/// `BPF_F_RDONLY_PROG`: programs may only read.
const F_RDONLY_PROG: u32 = 1 << 7;

impl Map {
    /// Whether `size` bytes at `offset` of the map's memory lie inside one value of one CPU (of
    /// a ring buffer: inside one CPU's data). Types without values that programs reach by
    /// address hold none.
    pub fn holds(&self, offset: usize, size: usize) -> bool {
        match &self.layout {
            Layout::Array(array) => array.holds(offset, size),
            Layout::Table(table) => table.holds(offset, size),
            Layout::Lpm(lpm) => lpm.holds(offset, size),
            Layout::Ring(ring) => ring.holds(offset, size),
            Layout::Slots(slots) => slots.holds(offset, size),
            Layout::Fifo(_) | Layout::Bloom(_) => false,
        }
    }

    /// The byte of a value that lies at `offset` of the map's memory. `None` outside values, and
    /// for types whose values have no fixed places.
    pub fn offset_in_value(&self, offset: usize) -> Option<usize> {
        match &self.layout {
            Layout::Array(array) => array.offset_in_value(offset),
            Layout::Table(table) => table.offset_in_value(offset),
            _ => None,
        }
    }

    /// Whether programs may only read its values.
    pub fn is_read_only(&self) -> bool {
        self.def().flags & F_RDONLY_PROG != 0 || self.def().data == Some(DataSection::Rodata)
    }
}
