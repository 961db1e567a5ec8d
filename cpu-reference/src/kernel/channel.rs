//! What programs hand to the host: ring buffers and perf channels, read after each packet.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bpf::map::{MapDef, MapId};
use bpf::run::EventKind;

use super::sys::{self, Pages};

/// Data pages of a perf channel.
const PERF_PAGES: usize = 64;

/// A channel from programs to the host.
#[derive(Debug)]
pub(super) enum Channel {
    /// A ring buffer map: page with the consumer's position; page with the producer's, then the
    /// data, mapped twice in a row.
    Ring {
        map: MapId,
        consumer: Pages,
        producer: Pages,
        size: usize,
    },
    /// The channel of one CPU in a perf event array.
    Perf {
        map: MapId,
        /// Keeps the channel open.
        _fd: OwnedFd,
        pages: Pages,
        size: usize,
    },
}

impl Channel {
    /// Reads a ring buffer map.
    pub(super) fn ring(map: MapId, def: &MapDef, fd: &OwnedFd) -> io::Result<Channel> {
        let page = Pages::page_bytes();
        let size = def.max_entries as usize;
        Ok(Channel::Ring {
            map,
            consumer: Pages::new(fd.as_fd(), 0, page, true)?,
            producer: Pages::new(fd.as_fd(), page, page + 2 * size, false)?,
            size,
        })
    }

    /// Reads what a perf event array's slot for `cpu` gets, once `fd` is put there.
    pub(super) fn perf(map: MapId, fd: OwnedFd) -> io::Result<Channel> {
        let page = Pages::page_bytes();
        let size = PERF_PAGES * page;
        Ok(Channel::Perf {
            map,
            pages: Pages::new(fd.as_fd(), 0, page + size, true)?,
            _fd: fd,
            size,
        })
    }

    /// The descriptor that goes into the map's slot.
    pub(super) fn open(cpu: usize) -> io::Result<OwnedFd> {
        sys::perf_channel(cpu)
    }

    /// Hands over all that was written since the last time.
    pub(super) fn drain(&self, mut each: impl FnMut(EventKind, Vec<u8>)) {
        match self {
            Channel::Ring {
                map,
                consumer,
                producer,
                size,
            } => drain_ring(consumer, producer, *size, |bytes| {
                each(EventKind::Ringbuf { map: *map }, bytes);
            }),
            Channel::Perf {
                map, pages, size, ..
            } => drain_perf(pages, *size, |bytes| {
                each(EventKind::Perf { map: *map }, bytes);
            }),
        }
    }
}

fn drain_ring(consumer: &Pages, producer: &Pages, size: usize, mut each: impl FnMut(Vec<u8>)) {
    /// Header bits: reserved only, discarded.
    const BUSY: u32 = 1 << 31;
    const DISCARD: u32 = 1 << 30;
    let data = Pages::page_bytes();
    let end = producer.u64(0);
    let mut position = consumer.u64(0);
    while position < end {
        let at = data + (position as usize & (size - 1));
        let header = producer.u32(at);
        if header & BUSY != 0 {
            break;
        }
        let len = (header & !DISCARD) as usize;
        if header & DISCARD == 0 {
            each((0..len).map(|i| producer.byte(at + 8 + i)).collect());
        }
        position += (len as u64 + 8).next_multiple_of(8);
        consumer.set_u64(0, position);
    }
}

fn drain_perf(pages: &Pages, size: usize, mut each: impl FnMut(Vec<u8>)) {
    /// Positions in `struct perf_event_mmap_page`.
    const HEAD: usize = 1024;
    const TAIL: usize = 1032;
    /// `PERF_RECORD_SAMPLE`.
    const SAMPLE: u32 = 9;
    let data = Pages::page_bytes();
    let head = pages.u64(HEAD);
    let mut tail = pages.u64(TAIL);
    let byte = |position: u64| pages.byte(data + position as usize % size);
    let number = |position: u64, bytes: u64| {
        (0..bytes)
            .rev()
            .fold(0u64, |value, i| value << 8 | u64::from(byte(position + i)))
    };
    while tail < head {
        // Type, 16 bits of something else, length with this header.
        let kind = number(tail, 4) as u32;
        let len = number(tail + 6, 2);
        if len < 8 {
            break;
        }
        if kind == SAMPLE {
            let raw = number(tail + 8, 4).min(len);
            each((0..raw).map(|i| byte(tail + 12 + i)).collect());
        }
        tail += len;
    }
    pages.set_u64(TAIL, head);
}
