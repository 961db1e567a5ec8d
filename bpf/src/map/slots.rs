//! Arrays of things that are named by number: programs, inner maps, redirect targets.
//!
//! A slot is 16 bytes: a word that is 1 where something is present, and an 8-byte value, which
//! is what a program sees of a devmap's element.

use std::sync::atomic::Ordering::Relaxed;

use super::{Errno, HEADER, MapType, Memory, UpdateFlags, ValueAt, index_of};

const SLOT: usize = 16;

/// Layout of a map of slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    kind: MapType,
    value_size: usize,
    max_entries: u32,
}

impl Slots {
    /// The layout, and the bytes of memory it needs.
    pub(super) fn new(kind: MapType, value_size: u32, max_entries: u32) -> (Slots, u128) {
        let slots = Slots {
            kind,
            value_size: value_size as usize,
            max_entries,
        };
        (
            slots,
            HEADER as u128 + SLOT as u128 * u128::from(max_entries),
        )
    }

    fn at(&self, index: u32) -> Option<usize> {
        (index < self.max_entries).then(|| HEADER + SLOT * index as usize)
    }

    /// Where the value of slot `index` lies, if something is there.
    #[inline]
    pub(super) fn get(&self, memory: &Memory, index: u32) -> Option<ValueAt> {
        let at = self.at(index)?;
        (memory.word(at).load(Relaxed) != 0).then_some(ValueAt(at + 8))
    }

    /// The number in slot `index`, if something is there.
    #[inline]
    pub(super) fn number(&self, memory: &Memory, index: u32) -> Option<u32> {
        let at = self.get(memory, index)?;
        Some(memory.word(at.0).load(Relaxed))
    }

    /// Fills a slot as bpf(2) does, where `value` holds numbers instead of file descriptors.
    pub(super) fn update(
        &self,
        memory: &Memory,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let index = index_of(key).ok_or(Errno::Einval)?;
        if value.len() != self.value_size {
            return Err(Errno::Einval);
        }
        let at = match self.kind {
            MapType::ProgArray | MapType::ArrayOfMaps | MapType::PerfEventArray => {
                if flags != 0 {
                    return Err(Errno::Einval);
                }
                self.at(index).ok_or(Errno::E2big)?
            }
            _ => {
                let flags = UpdateFlags::new(flags)?;
                let at = self.at(index).ok_or(Errno::E2big)?;
                let present = memory.word(at).load(Relaxed) != 0;
                // The socket that is there already may be put there whatever the flags.
                if self.kind == MapType::Xskmap && present && memory.equals(at + 8, value) {
                    return Ok(());
                }
                match (self.kind, flags) {
                    (MapType::Xskmap, UpdateFlags::NoExist) if present => {
                        return Err(Errno::Eexist);
                    }
                    (MapType::Xskmap, UpdateFlags::Exist) if !present => {
                        return Err(Errno::Enoent);
                    }
                    // Linux refuses this flag for every slot of these, empty or not.
                    (MapType::Devmap | MapType::Cpumap, UpdateFlags::NoExist) => {
                        return Err(Errno::Eexist);
                    }
                    _ => {}
                }
                at
            }
        };
        let number = index_of(value.get(..4).unwrap_or(value)).unwrap_or(0);
        if self.kind == MapType::Cpumap && number > 16384 {
            return Err(Errno::Eoverflow);
        }
        // Interface 0 and a queue of no length empty the slot.
        let empties = matches!(self.kind, MapType::Devmap | MapType::Cpumap) && number == 0;
        if empties
            && self.kind == MapType::Devmap
            && value.get(4..).is_some_and(|p| p != [0; 4])
            && value.len() > 4
        {
            return Err(Errno::Einval);
        }
        memory.word(at).store(0, Relaxed);
        memory.zero(at + 8, 8);
        if !empties {
            memory.write(at + 8, value);
            memory.word(at).store(1, Relaxed);
        }
        Ok(())
    }

    /// Empties a slot.
    pub(super) fn delete(&self, memory: &Memory, key: &[u8]) -> Result<(), Errno> {
        let index = index_of(key).ok_or(Errno::Einval)?;
        let unconditional = matches!(
            self.kind,
            MapType::Devmap | MapType::Cpumap | MapType::Xskmap
        );
        let at = self.at(index).ok_or(if unconditional {
            Errno::Einval
        } else {
            Errno::E2big
        })?;
        let before = memory.word(at).swap(0, Relaxed);
        if before == 0 && !unconditional {
            return Err(Errno::Enoent);
        }
        Ok(())
    }
}

impl Slots {
    /// Whether `size` bytes at `offset` lie inside the value of one slot.
    pub(super) fn holds(&self, offset: usize, size: usize) -> bool {
        offset.checked_sub(HEADER).is_some_and(|from| {
            let inside = from % SLOT;
            from / SLOT < self.max_entries as usize
                && inside >= 8
                && inside - 8 + size <= self.value_size.min(8)
        })
    }
}
