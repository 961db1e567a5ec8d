//! The hash table behind every map with free keys.
//!
//! Buckets are chains of entries; all entries are preallocated, links are indices plus one, and
//! an entry never moves. Replacing the value of a key links a spare entry in place of the old
//! one, as Linux does: a program that still holds the old value's address goes on seeing the old
//! value, until the spare is used again. A table with a value for each CPU writes in place.
//!
//! With eviction the entries also form a list from the newest use to the oldest.

use std::sync::atomic::Ordering::Relaxed;

use super::seqlock::{self, Locked};
use super::values;
use super::watch::Watch;
use super::{Errno, HEADER, Memory, UpdateFlags, ValueAt};
use crate::btf::fields::SpecialField;

/// Number of live entries, in the map's memory.
const USED: usize = 4;
/// First entry of the free list, plus one.
const FREE: usize = 8;
/// Entries below this were used at least once.
const TOUCHED: usize = 12;
/// Most recently used entry, plus one.
const NEWEST: usize = 16;
/// Least recently used entry, plus one.
const OLDEST: usize = 20;

/// Layout of a table in its map's memory; all offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    key_size: usize,
    value_size: usize,
    max_entries: u32,
    cpus: u32,
    /// One value for each CPU.
    percpu: bool,
    buckets: usize,
    bucket_mask: u32,
    /// For each CPU its spare entry plus one; 0 until it is first used.
    spares: usize,
    /// For each CPU the number of the packet it works on.
    clocks: usize,
    entries: usize,
    entry_stride: usize,
    values: usize,
    value_stride: usize,
    cpu_stride: usize,
    /// Uses list, where entries are evicted.
    uses: Option<usize>,
    /// Entries including spares.
    total: u32,
}

/// What a table is asked to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableShape {
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) cpus: u32,
    pub(super) percpu: bool,
    pub(super) evicts: bool,
}

/// What an update sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Update<'a> {
    /// The value of one CPU; with `all` those of every CPU, each rounded up to 8 bytes, one
    /// after the other.
    pub(super) value: &'a [u8],
    /// Fields of a value that are left alone.
    pub(super) special: &'a [SpecialField],
    /// Whether the value of a key that is there is overwritten where it lies.
    pub(super) in_place: bool,
    pub(super) flags: UpdateFlags,
    /// The CPU that does it.
    pub(super) cpu: u32,
    pub(super) all: bool,
    /// What a full table answers, if it does not evict.
    pub(super) full: Errno,
    /// Where it is marked, if a program does it and the map is watched.
    pub(super) watch: Option<&'a Watch>,
}

/// A hash of the key, the same on every machine and in every run.
#[inline]
pub(super) fn hash(key: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(K | 1);
        (product as u64) ^ (product >> 64) as u64
    };
    let mut state = 0x243f_6a88_85a3_08d3 ^ key.len() as u64;
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    state = match *rest {
        [] => state,
        [a, b, c, d] => mix(state, u64::from(u32::from_le_bytes([a, b, c, d]))),
        _ => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            mix(state, u64::from_le_bytes(bytes))
        }
    };
    state = mix(state, state >> 32);
    (state ^ (state >> 32)) as u32
}

/// Notes that a packet used entry `index`, and gives the last packet that had; never goes back.
/// The newest entry's stamp is raised without the lock.
fn raise_stamp(memory: &Memory, uses: usize, index: u32, stamp: u64) -> u64 {
    memory
        .atomic64(uses + 16 * index as usize + 8)
        .map_or(0, |at| at.fetch_max(stamp, Relaxed))
}

/// Puts an entry that is not listed at the front of the uses.
fn put_newest(memory: &Memory, uses: usize, index: u32) {
    let at = uses + 16 * index as usize;
    let newest = memory.word(NEWEST);
    let before = newest.load(Relaxed);
    memory.word(at).store(0, Relaxed);
    memory.word(at + 4).store(before, Relaxed);
    match before.checked_sub(1) {
        Some(older) => memory
            .word(uses + 16 * older as usize)
            .store(index + 1, Relaxed),
        None => memory.word(OLDEST).store(index + 1, Relaxed),
    }
    newest.store(index + 1, Relaxed);
}

impl Table {
    /// The layout, and the bytes of memory it needs.
    pub(super) fn new(shape: TableShape) -> (Table, u128) {
        let cpus = shape.cpus as usize;
        let spares = if shape.percpu { 0 } else { cpus };
        let total = shape.max_entries as u128 + spares as u128;
        let buckets = u128::from(shape.max_entries).next_power_of_two();
        let key_room = shape.key_size.next_multiple_of(8) as u128;
        let value_room = shape.value_size.next_multiple_of(8) as u128;
        let mut end = HEADER as u128;
        let mut take = |bytes: u128| {
            let at = end;
            end = (end + bytes).next_multiple_of(64);
            at
        };
        let spares_at = take(4 * spares as u128);
        let clocks_at = take(if shape.evicts { 8 * cpus as u128 } else { 0 });
        let buckets_at = take(4 * buckets);
        let uses_at = take(if shape.evicts { 16 * total } else { 0 });
        let entry_stride = 8 + key_room + if shape.percpu { 0 } else { value_room };
        let entries_at = take(entry_stride * total);
        let cpu_stride = (value_room * total).next_multiple_of(64);
        let values_at = take(if shape.percpu {
            cpu_stride * cpus as u128
        } else {
            0
        });
        let table = Table {
            key_size: shape.key_size as usize,
            value_size: shape.value_size as usize,
            max_entries: shape.max_entries,
            cpus: shape.cpus,
            percpu: shape.percpu,
            buckets: buckets_at as usize,
            bucket_mask: (buckets - 1) as u32,
            spares: spares_at as usize,
            clocks: clocks_at as usize,
            entries: entries_at as usize,
            entry_stride: entry_stride as usize,
            values: if shape.percpu {
                values_at as usize
            } else {
                (entries_at + 8 + key_room) as usize
            },
            value_stride: if shape.percpu {
                value_room as usize
            } else {
                entry_stride as usize
            },
            cpu_stride: if shape.percpu { cpu_stride as usize } else { 0 },
            uses: shape.evicts.then_some(uses_at as usize),
            total: total.min(u128::from(u32::MAX)) as u32,
        };
        (table, end)
    }

    fn entry(&self, index: u32) -> usize {
        self.entries + self.entry_stride * index as usize
    }

    /// Where the value of entry `index` lies for `cpu`.
    fn value(&self, index: u32, cpu: u32) -> ValueAt {
        ValueAt(self.values + self.cpu_stride * cpu as usize + self.value_stride * index as usize)
    }

    fn bucket(&self, hash: u32) -> usize {
        self.buckets + 4 * (hash & self.bucket_mask) as usize
    }

    /// The entry of `key`: (offset of the link that leads to it, index). Bounded even if the
    /// links are corrupted.
    #[inline]
    fn find(&self, memory: &Memory, key: &[u8], hash: u32) -> Option<(usize, u32)> {
        let mut link = self.bucket(hash);
        for _ in 0..=self.total {
            let index = memory.word(link).load(Relaxed).checked_sub(1)?;
            let entry = self.entry(index);
            if memory.word(entry + 4).load(Relaxed) == hash && memory.equals(entry + 8, key) {
                return Some((link, index));
            }
            link = entry;
        }
        None
    }

    /// How many entries there can be, spares included: one cell each where the map is watched.
    pub(super) fn entries(&self) -> u32 {
        self.total
    }

    /// Where the value of `key` lies for `cpu`. With eviction this counts as a use.
    #[inline]
    pub(super) fn lookup(
        &self,
        memory: &Memory,
        key: &[u8],
        cpu: u32,
        watch: Option<&Watch>,
    ) -> Option<ValueAt> {
        if key.len() != self.key_size || (self.percpu && cpu >= self.cpus) {
            return None;
        }
        let hash = hash(key);
        let found = self.lookup_entry(memory, key, hash, cpu);
        if let Some(watch) = watch {
            match found {
                Some(index) => watch.touch(index, cpu, watch.lookups_write() && !self.percpu),
                None => watch.touch_missing(hash, cpu, false),
            };
        }
        found.map(|index| self.value(index, cpu))
    }

    #[inline]
    fn lookup_entry(&self, memory: &Memory, key: &[u8], hash: u32, cpu: u32) -> Option<u32> {
        let (_, index) = seqlock::read(memory, || self.find(memory, key, hash))?;
        let Some(uses) = self.uses else {
            return Some(index);
        };
        if memory.word(NEWEST).load(Relaxed) == index + 1 {
            raise_stamp(memory, uses, index, self.stamp(memory, cpu));
            return Some(index);
        }
        let _locked = Locked::new(memory);
        // It may have been evicted between the two.
        let (_, index) = self.find(memory, key, hash)?;
        self.use_now(memory, index, cpu);
        Some(index)
    }

    /// The same without counting as a use: the host's look.
    pub(super) fn peek(&self, memory: &Memory, key: &[u8], cpu: u32) -> Option<ValueAt> {
        if key.len() != self.key_size || cpu >= self.cpus {
            return None;
        }
        let hash = hash(key);
        let (_, index) = seqlock::read(memory, || self.find(memory, key, hash))?;
        Some(self.value(index, cpu))
    }

    /// Finds `key` without lock and without counting a use: for a caller that reads under the
    /// version itself.
    pub(super) fn walk(&self, memory: &Memory, key: &[u8]) -> Option<ValueAt> {
        let (_, index) = self.find(memory, key, hash(key))?;
        Some(self.value(index, 0))
    }

    /// Sets the value of `key`, and says whether the key is new.
    pub(super) fn update(
        &self,
        memory: &Memory,
        key: &[u8],
        update: Update<'_>,
    ) -> Result<bool, Errno> {
        let Update {
            value,
            special,
            in_place,
            flags,
            cpu,
            all,
            full,
            watch,
        } = update;
        let room = self.value_size.next_multiple_of(8);
        let expected = if all {
            room * self.cpus as usize
        } else {
            self.value_size
        };
        if key.len() != self.key_size || value.len() != expected || cpu >= self.cpus {
            return Err(Errno::Einval);
        }
        let hash = hash(key);
        let _locked = Locked::new(memory);
        let found = self.find(memory, key, hash);
        if let Some(watch) = watch {
            // What decides between the outcomes is whether the key is there.
            match (found, flags) {
                (Some((_, index)), UpdateFlags::NoExist) => watch.touch(index, cpu, false),
                (Some((_, index)), _) => watch.touch(index, cpu, !self.percpu),
                (None, UpdateFlags::Exist) => watch.touch_missing(hash, cpu, false),
                (None, _) => watch.touch_missing(hash, cpu, true),
            };
        }
        match (found, flags) {
            (Some(_), UpdateFlags::NoExist) => return Err(Errno::Eexist),
            (None, UpdateFlags::Exist) => return Err(Errno::Enoent),
            _ => {}
        }
        let index = match found {
            Some((_, index)) if self.percpu => {
                if self.uses.is_some() {
                    self.use_now(memory, index, cpu);
                }
                index
            }
            Some((_, index)) if in_place => {
                values::write(memory, self.value(index, cpu), value, special);
                return Ok(false);
            }
            Some((link, old)) => {
                let new = self.spare(memory, cpu, old);
                self.unlink(memory, link, old);
                if let Some(watch) = watch {
                    watch.own(new, cpu);
                }
                if self.uses.is_some() {
                    self.forget_use(memory, old);
                    self.note_use(memory, new, cpu);
                }
                new
            }
            None => {
                let allocated = self.allocate(memory, full, watch);
                if let Some(watch) = watch {
                    watch.inserted(cpu, allocated.is_err());
                }
                let index = allocated?;
                if let Some(watch) = watch {
                    watch.own(index, cpu);
                }
                if self.uses.is_some() {
                    self.note_use(memory, index, cpu);
                }
                if self.percpu && !all {
                    for other in (0..self.cpus).filter(|c| *c != cpu) {
                        memory.zero(self.value(index, other).0, self.value_size);
                    }
                }
                index
            }
        };
        if all {
            for (cpu, bytes) in value.chunks(room.max(1)).enumerate() {
                memory.write(self.value(index, cpu as u32).0, &bytes[..self.value_size]);
            }
        } else {
            let at = self.value(index, cpu);
            if found.is_none() || !self.percpu {
                values::clear(memory, at, special);
            }
            values::write(memory, at, value, special);
        }
        if found.is_none() || !self.percpu {
            self.link(memory, index, key, hash);
        }
        Ok(found.is_none())
    }

    /// Takes `key` away.
    pub(super) fn delete(
        &self,
        memory: &Memory,
        key: &[u8],
        cpu: u32,
        watch: Option<&Watch>,
    ) -> Result<(), Errno> {
        if key.len() != self.key_size {
            return Err(Errno::Einval);
        }
        let hash = hash(key);
        let _locked = Locked::new(memory);
        let found = self.find(memory, key, hash);
        if let Some(watch) = watch {
            watch.touch_missing(hash, cpu, found.is_some());
            if let Some((_, index)) = found {
                watch.touch(index, cpu, true);
                watch.deleted(cpu);
            }
        }
        let (link, index) = found.ok_or(Errno::Enoent)?;
        self.unlink(memory, link, index);
        self.release(memory, index);
        Ok(())
    }

    /// All keys, sorted by their bytes.
    pub(super) fn keys(&self, memory: &Memory) -> Vec<Vec<u8>> {
        let _locked = Locked::new(memory);
        let mut keys = Vec::new();
        for bucket in 0..=self.bucket_mask {
            let mut link = self.bucket(bucket);
            for _ in 0..=self.total {
                let Some(index) = memory.word(link).load(Relaxed).checked_sub(1) else {
                    break;
                };
                link = self.entry(index);
                let mut key = vec![0; self.key_size];
                memory.read(link + 8, &mut key);
                keys.push(key);
            }
        }
        keys.sort_unstable();
        keys
    }

    /// The parts of the memory that hold anything: (start, end).
    pub(super) fn live(&self, memory: &Memory) -> Vec<(usize, usize)> {
        let touched = memory.word(TOUCHED).load(Relaxed).min(self.total) as usize;
        let (low, high) = (self.max_entries as usize, self.total as usize);
        let mut parts = vec![(0, self.uses.unwrap_or(self.entries))];
        let mut add = |base: usize, stride: usize| {
            parts.push((base, base + stride * touched));
            parts.push((base + stride * low, base + stride * high));
        };
        add(self.entries, self.entry_stride);
        if let Some(uses) = self.uses {
            add(uses, 16);
        }
        for cpu in 0..if self.percpu { self.cpus as usize } else { 0 } {
            add(self.values + self.cpu_stride * cpu, self.value_stride);
        }
        parts
    }

    /// How many keys there are.
    pub(super) fn len(memory: &Memory) -> u32 {
        memory.word(USED).load(Relaxed)
    }

    /// Notes which packet `cpu` works on, for [`Table::settle`].
    pub(super) fn set_packet(&self, memory: &Memory, cpu: u32, number: u64) {
        if self.uses.is_some() && cpu < self.cpus {
            memory.store(self.clocks + 8 * cpu as usize, 8, number);
        }
    }

    /// Puts the uses since packet `since` into the order of their packets: threads that worked
    /// side by side left them in the order in which they happened to run.
    pub(super) fn settle(&self, memory: &Memory, since: u64) {
        let Some(uses) = self.uses else { return };
        let _locked = Locked::new(memory);
        let mut recent = Vec::new();
        let mut next = memory.word(NEWEST).load(Relaxed);
        while let Some(index) = next.checked_sub(1) {
            let stamp = memory.load(uses + 16 * index as usize + 8, 8).unwrap_or(0);
            if stamp < since || recent.len() >= self.total as usize {
                break;
            }
            recent.push((stamp, index));
            next = memory.word(uses + 16 * index as usize + 4).load(Relaxed);
        }
        recent.reverse();
        recent.sort_by_key(|(stamp, _)| *stamp);
        for &(_, index) in &recent {
            self.forget_use(memory, index);
        }
        for (stamp, index) in recent {
            self.push_use(memory, index, stamp);
        }
    }

    fn link(&self, memory: &Memory, index: u32, key: &[u8], hash: u32) {
        let entry = self.entry(index);
        let bucket = memory.word(self.bucket(hash));
        memory.word(entry + 4).store(hash, Relaxed);
        memory.write(entry + 8, key);
        memory.word(entry).store(bucket.load(Relaxed), Relaxed);
        bucket.store(index + 1, Relaxed);
    }

    fn unlink(&self, memory: &Memory, link: usize, index: u32) {
        let next = memory.word(self.entry(index)).load(Relaxed);
        memory.word(link).store(next, Relaxed);
    }

    /// The spare entry of `cpu`, which `old` replaces.
    fn spare(&self, memory: &Memory, cpu: u32, old: u32) -> u32 {
        let word = memory.word(self.spares + 4 * cpu as usize);
        let spare = word.load(Relaxed);
        word.store(old + 1, Relaxed);
        spare.checked_sub(1).unwrap_or(self.max_entries + cpu)
    }

    /// A free entry, or the one whose last use is longest ago.
    fn allocate(&self, memory: &Memory, full: Errno, watch: Option<&Watch>) -> Result<u32, Errno> {
        let used = memory.word(USED);
        if used.load(Relaxed) >= self.max_entries {
            if self.uses.is_none() {
                return Err(full);
            }
            if let Some(watch) = watch {
                watch.conflict();
            }
            self.evict(memory).ok_or(full)?;
        }
        used.store(used.load(Relaxed) + 1, Relaxed);
        let free = memory.word(FREE);
        if let Some(index) = free.load(Relaxed).checked_sub(1) {
            free.store(memory.word(self.entry(index)).load(Relaxed), Relaxed);
            return Ok(index);
        }
        let touched = memory.word(TOUCHED);
        let index = touched.load(Relaxed);
        touched.store(index + 1, Relaxed);
        Ok(index)
    }

    fn release(&self, memory: &Memory, index: u32) {
        let used = memory.word(USED);
        used.store(used.load(Relaxed).saturating_sub(1), Relaxed);
        if self.uses.is_some() {
            self.forget_use(memory, index);
        }
        let free = memory.word(FREE);
        memory
            .word(self.entry(index))
            .store(free.load(Relaxed), Relaxed);
        free.store(index + 1, Relaxed);
    }

    fn evict(&self, memory: &Memory) -> Option<()> {
        let index = memory.word(OLDEST).load(Relaxed).checked_sub(1)?;
        let hash = memory.word(self.entry(index) + 4).load(Relaxed);
        let mut link = self.bucket(hash);
        for _ in 0..=self.total {
            let next = memory.word(link).load(Relaxed).checked_sub(1)?;
            if next == index {
                self.unlink(memory, link, index);
                self.release(memory, index);
                return Some(());
            }
            link = self.entry(next);
        }
        None
    }

    /// Number of the packet `cpu` works on.
    fn stamp(&self, memory: &Memory, cpu: u32) -> u64 {
        memory.load(self.clocks + 8 * cpu as usize, 8).unwrap_or(0)
    }

    /// Moves a listed entry to the front of the uses. A queue that is behind may use what another
    /// has used for a later packet: that changes nothing.
    fn use_now(&self, memory: &Memory, index: u32, cpu: u32) {
        let Some(uses) = self.uses else { return };
        let stamp = self.stamp(memory, cpu);
        let before = raise_stamp(memory, uses, index, stamp);
        if before <= stamp {
            self.forget_use(memory, index);
            put_newest(memory, uses, index);
        }
    }

    /// Puts an entry that is not listed at the front of the uses.
    fn note_use(&self, memory: &Memory, index: u32, cpu: u32) {
        self.push_use(memory, index, self.stamp(memory, cpu));
    }

    fn push_use(&self, memory: &Memory, index: u32, stamp: u64) {
        let Some(uses) = self.uses else { return };
        memory.store(uses + 16 * index as usize + 8, 8, stamp);
        put_newest(memory, uses, index);
    }

    fn forget_use(&self, memory: &Memory, index: u32) {
        let Some(uses) = self.uses else { return };
        let at = uses + 16 * index as usize;
        let newer = memory.word(at).load(Relaxed);
        let older = memory.word(at + 4).load(Relaxed);
        match newer.checked_sub(1) {
            Some(newer) => memory
                .word(uses + 16 * newer as usize + 4)
                .store(older, Relaxed),
            None => memory.word(NEWEST).store(older, Relaxed),
        }
        match older.checked_sub(1) {
            Some(older) => memory
                .word(uses + 16 * older as usize)
                .store(newer, Relaxed),
            None => memory.word(OLDEST).store(newer, Relaxed),
        }
    }
}

impl Table {
    /// Whether `size` bytes at `offset` lie inside the value of one entry and CPU.
    pub(super) fn holds(&self, offset: usize, size: usize) -> bool {
        self.offset_in_value(offset)
            .is_some_and(|inside| inside + size <= self.value_size)
    }

    /// Which byte of an entry's value, or of the gap behind it, lies at `offset`.
    pub(super) fn offset_in_value(&self, offset: usize) -> Option<usize> {
        let from_values = offset.checked_sub(self.values)?;
        let cpu = from_values.checked_div(self.cpu_stride).unwrap_or(0);
        let from_cpu = from_values - cpu * self.cpu_stride;
        let entry = from_cpu / self.value_stride.max(1);
        (cpu < (self.cpus as usize).max(1) && entry < self.total as usize)
            .then_some(from_cpu % self.value_stride.max(1))
    }
}
