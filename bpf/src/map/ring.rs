//! Ring buffers to the host.
//!
//! The host drains a ring after each packet, so a packet finds it empty. Each CPU has a ring of
//! its own of the full size: what one queue's packet reserves never depends on another queue.
//! Positions count per CPU for the same reason, where Linux counts once a map. Reserved bytes
//! are zero, where Linux leaves what was there.

use super::{Errno, HEADER, Memory, ValueAt};

/// Bytes before each record: length with flags, and a page offset that is not used here.
const RECORD_HEADER: u64 = 8;
/// The record is reserved, not yet submitted.
const BUSY: u64 = 1 << 31;
/// The host skips the record.
const DISCARD: u64 = 1 << 30;
/// No record is longer.
const MAX_RECORD: u64 = (u32::MAX / 4) as u64;
/// Bytes of a CPU's positions.
const POSITIONS: usize = 64;
/// Next byte to be reserved, within a CPU's positions.
const PRODUCER: usize = 0;
/// Next byte the host reads.
const CONSUMER: usize = 8;
/// Position that lies at the start of the CPU's data.
const ORIGIN: usize = 16;

/// Layout of a ring buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    size: u64,
    cpus: u32,
    data: usize,
}

impl Ring {
    /// The layout, and the bytes of memory it needs.
    pub(super) fn new(size: u32, cpus: u32) -> (Ring, u128) {
        let data = HEADER + POSITIONS * cpus as usize;
        let ring = Ring {
            size: u64::from(size),
            cpus,
            data,
        };
        (ring, data as u128 + u128::from(size) * u128::from(cpus))
    }

    fn position(memory: &Memory, cpu: u32, which: usize) -> u64 {
        memory
            .load(HEADER + POSITIONS * cpu as usize + which, 8)
            .unwrap_or(0)
    }

    fn set_position(memory: &Memory, cpu: u32, which: usize, value: u64) {
        memory.store(HEADER + POSITIONS * cpu as usize + which, 8, value);
    }

    /// Where the record's header at `position` lies.
    fn header(&self, memory: &Memory, cpu: u32, position: u64) -> usize {
        let offset = position.wrapping_sub(Ring::position(memory, cpu, ORIGIN));
        self.data + (self.size * u64::from(cpu) + offset.min(self.size)) as usize
    }

    /// Reserves a record of `size` bytes.
    pub(super) fn reserve(&self, memory: &Memory, size: u64, cpu: u32) -> Option<ValueAt> {
        if size > MAX_RECORD || cpu >= self.cpus {
            return None;
        }
        let len = (size + RECORD_HEADER).next_multiple_of(8);
        let producer = Ring::position(memory, cpu, PRODUCER);
        let consumer = Ring::position(memory, cpu, CONSUMER);
        // The ring is never filled to the last byte; data that is drained only in part is not
        // wrapped around.
        let used = producer.wrapping_sub(consumer);
        let offset = producer.wrapping_sub(Ring::position(memory, cpu, ORIGIN));
        if used.saturating_add(len) >= self.size || offset.saturating_add(len) > self.size {
            return None;
        }
        let header = self.header(memory, cpu, producer);
        memory.zero(header, len as usize)?;
        memory.store(header, 4, size | BUSY)?;
        Ring::set_position(memory, cpu, PRODUCER, producer + len);
        Some(ValueAt(header + RECORD_HEADER as usize))
    }

    /// Hands a reserved record to the host, or lets the host skip it.
    pub(super) fn finish(&self, memory: &Memory, at: ValueAt, discard: bool) -> Result<(), Errno> {
        let header =
            at.0.checked_sub(RECORD_HEADER as usize)
                .filter(|header| *header >= self.data)
                .ok_or(Errno::Einval)?;
        let word = memory.load(header, 4).ok_or(Errno::Einval)?;
        if word & BUSY == 0 {
            return Err(Errno::Einval);
        }
        let flags = if discard { DISCARD } else { 0 };
        memory.store(header, 4, (word & !BUSY) | flags);
        Ok(())
    }

    /// A number about the ring (`bpf_ringbuf_query`); 0 for an unknown question.
    pub(super) fn query(&self, memory: &Memory, what: u64, cpu: u32) -> u64 {
        let producer = Ring::position(memory, cpu, PRODUCER);
        let consumer = Ring::position(memory, cpu, CONSUMER);
        match what {
            0 => producer.wrapping_sub(consumer),
            1 => self.size,
            2 => consumer,
            3 => producer,
            _ => 0,
        }
    }

    /// The host reads all that `cpu` submitted, in the order of reservation.
    pub(super) fn drain(&self, memory: &Memory, cpu: u32, mut each: impl FnMut(&[u8])) {
        if cpu >= self.cpus {
            return;
        }
        let producer = Ring::position(memory, cpu, PRODUCER);
        let mut consumer = Ring::position(memory, cpu, CONSUMER);
        if producer == consumer {
            return;
        }
        if producer.wrapping_sub(consumer) > self.size {
            // Positions that buggy native code wrote: nothing here can be read.
            consumer = producer;
        }
        let mut bytes = Vec::new();
        while consumer < producer {
            let header = self.header(memory, cpu, consumer);
            let word = memory.load(header, 4).unwrap_or(BUSY);
            if word & BUSY != 0 {
                break;
            }
            let size = word & !DISCARD;
            if word & DISCARD == 0 && size <= self.size {
                bytes.resize(size as usize, 0);
                if memory
                    .read(header + RECORD_HEADER as usize, &mut bytes)
                    .is_some()
                {
                    each(&bytes);
                }
            }
            consumer += (size + RECORD_HEADER).next_multiple_of(8);
        }
        Ring::set_position(memory, cpu, CONSUMER, consumer);
        if consumer == producer {
            Ring::set_position(memory, cpu, ORIGIN, producer);
        }
    }

    /// The parts of the memory that hold anything: (start, end).
    pub(super) fn live(&self, memory: &Memory) -> Vec<(usize, usize)> {
        let mut parts = vec![(0, self.data)];
        for cpu in 0..self.cpus {
            let start = self.header(memory, cpu, Ring::position(memory, cpu, ORIGIN));
            let end = self.header(memory, cpu, Ring::position(memory, cpu, PRODUCER));
            parts.push((start, end));
        }
        parts
    }
}

impl Ring {
    /// Whether `size` bytes at `offset` lie inside the data of one CPU.
    pub(super) fn holds(&self, offset: usize, size: usize) -> bool {
        let ring = (self.size as usize).max(1);
        offset
            .checked_sub(self.data)
            .is_some_and(|at| at / ring < self.cpus as usize && at % ring + size <= ring)
    }
}
