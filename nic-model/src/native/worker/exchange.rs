//! [`Exchange`]: the memory in which this process and a worker hand each other frames.
//!
//! A page of words, then what goes to the worker, then what comes back; both are sequences of
//! *records*: the length of a header (4 bytes, little-endian) and of a body, the header, and the
//! body at the next multiple of 8. The worker waits until [`GO`] changes, this process until
//! [`DONE`] does.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use bpf::map::Memory;
use rustix::thread::futex;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Raised for each round of frames.
const GO: usize = 0;
/// Raised for each answer.
const DONE: usize = 4;
/// What the answer is, a [`Status`].
const STATUS: usize = 8;
/// Index, in its round, of the frame that is run.
const AT: usize = 12;
/// How many frames the round has.
const FRAMES: usize = 16;
/// How many records the answer has.
const RECORDS: usize = 20;
/// Bytes of the report.
const REPORT_LEN: usize = 24;
/// Where a worker that ends says why.
const REPORT: usize = 64;
/// Room for that in bytes.
const REPORT_BYTES: usize = 4096 - REPORT;
/// What goes to the worker.
const REQUEST: usize = 4096;
/// Room for that in bytes. Pages that nobody touches cost nothing.
const REQUEST_BYTES: usize = 16 << 20;
/// What comes back.
const REPLY: usize = REQUEST + REQUEST_BYTES;
/// Room for that in bytes.
const REPLY_BYTES: usize = 16 << 20;
/// All of it.
const BYTES: usize = REPLY + REPLY_BYTES;

/// What the latest answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// None yet.
    Starting,
    /// The worker has loaded the programs and waits for frames.
    Ready,
    /// All frames of the round are done.
    Done,
    /// The room for the answer is full; there is more.
    More,
    /// The worker ended, and the report says why.
    Ended,
    /// The worker cannot load the programs; the report says why.
    Failed,
}

impl Status {
    const ALL: [Status; 6] = [
        Status::Starting,
        Status::Ready,
        Status::Done,
        Status::More,
        Status::Ended,
        Status::Failed,
    ];
}

/// See the module.
#[derive(Debug)]
pub(super) struct Exchange {
    memory: Memory,
    /// Where the next record is, from the start of each half.
    at: [usize; 2],
    /// Reused for headers.
    header: Vec<u8>,
}

/// One half of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Request,
    Reply,
}

impl Half {
    fn range(self) -> (usize, usize) {
        match self {
            Half::Request => (REQUEST, REQUEST_BYTES),
            Half::Reply => (REPLY, REPLY_BYTES),
        }
    }
}

/// Where the body of a record lies in the exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    at: usize,
    len: usize,
}

impl Body {
    /// Bytes of it.
    pub(super) fn len(self) -> usize {
        self.len
    }
}

impl Exchange {
    /// A new one.
    pub(super) fn new() -> Option<Exchange> {
        Some(Exchange::of(Memory::shared(BYTES)?))
    }

    /// The one that another process made.
    pub(super) fn attach(file: OwnedFd) -> Option<Exchange> {
        Some(Exchange::of(Memory::attach(file, BYTES)?))
    }

    fn of(memory: Memory) -> Exchange {
        Exchange {
            memory,
            at: [0; 2],
            header: Vec::new(),
        }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    fn word(&self, at: usize) -> u32 {
        self.memory.load(at, 4).unwrap_or(0) as u32
    }

    fn set_word(&self, at: usize, value: u32) {
        self.memory.store(at, 4, u64::from(value));
    }

    fn counter(&self, at: usize) -> Option<&AtomicU32> {
        self.memory.atomic32(at)
    }

    fn raise(&self, at: usize) {
        if let Some(counter) = self.counter(at) {
            counter.fetch_add(1, Ordering::Release);
            // The other side looks at the counter whether or not it could be woken.
            let _ = futex::wake(counter, futex::Flags::empty(), 1);
        }
    }

    /// Waits until the counter is no longer `seen`, or for so many milliseconds, and gives it.
    fn wait(&self, at: usize, seen: u32, milliseconds: Option<u32>) -> u32 {
        let timeout = milliseconds.map(|ms| futex::Timespec {
            tv_sec: i64::from(ms / 1000),
            tv_nsec: i64::from(ms % 1000) * 1_000_000,
        });
        let Some(counter) = self.counter(at) else {
            return seen;
        };
        loop {
            let now = counter.load(Ordering::Acquire);
            if now != seen {
                return now;
            }
            match futex::wait(counter, futex::Flags::empty(), seen, timeout.as_ref()) {
                Err(rustix::io::Errno::TIMEDOUT) => return counter.load(Ordering::Acquire),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) | Ok(()) => {}
                Err(_) => return seen,
            }
        }
    }

    // What this process does.

    /// Lets the worker run the `frames` that were written, or write on after [`Status::More`].
    pub(super) fn go(&self, frames: usize) {
        self.set_word(FRAMES, frames as u32);
        self.raise(GO);
    }

    /// How often the worker has answered.
    pub(super) fn answers(&self) -> u32 {
        self.word(DONE)
    }

    /// Waits for an answer after `seen` of them; `None` if there is none within so many
    /// milliseconds.
    pub(super) fn answer(&mut self, seen: u32, milliseconds: u32) -> Option<Status> {
        if self.wait(DONE, seen, Some(milliseconds)) == seen {
            return None;
        }
        self.rewind(Half::Reply);
        Status::ALL.get(self.word(STATUS) as usize).copied()
    }

    /// How many records the answer has.
    pub(super) fn records(&self) -> usize {
        self.word(RECORDS) as usize
    }

    /// Index in its round of the frame that is run, or was last.
    pub(super) fn frame(&self) -> usize {
        self.word(AT) as usize
    }

    /// Why the worker ended or failed.
    pub(super) fn report<T: DeserializeOwned>(&self) -> Option<T> {
        let mut bytes = vec![0; (self.word(REPORT_LEN) as usize).min(REPORT_BYTES)];
        self.memory.read(REPORT, &mut bytes)?;
        postcard::from_bytes(&bytes).ok()
    }

    // What a worker does.

    /// Waits until there are frames after `seen` rounds; gives the number of rounds, and of
    /// frames in this one.
    pub(super) fn round(&self, seen: u32) -> (u32, usize) {
        let round = self.wait(GO, seen, None);
        (round, self.word(FRAMES) as usize)
    }

    /// Says which frame is run.
    pub(super) fn begin(&self, frame: usize) {
        self.set_word(AT, frame as u32);
    }

    /// Answers; the records so far belong to it.
    pub(super) fn tell(&self, status: Status, records: usize) {
        self.set_word(RECORDS, records as u32);
        self.set_word(STATUS, status as u32);
        self.raise(DONE);
    }

    /// Ends with these records and a report, of which nothing is left if it is too long.
    pub(super) fn end(&self, status: Status, records: usize, report: &impl Serialize) {
        let mut bytes = [0; REPORT_BYTES];
        let len = postcard::to_slice(report, &mut bytes).map_or(0, |used| used.len());
        self.memory.write(REPORT, &bytes[..len]);
        self.set_word(REPORT_LEN, len as u32);
        self.tell(status, records);
    }

    // What both do.

    /// Starts a half from its beginning.
    pub(super) fn rewind(&mut self, half: Half) {
        self.at[half as usize] = 0;
    }

    /// Adds a record to a half; false, with nothing added, if there is no room.
    pub(super) fn write(&mut self, half: Half, header: &impl Serialize, body: &[u8]) -> bool {
        self.header.clear();
        let Ok(header) = postcard::to_extend(header, std::mem::take(&mut self.header)) else {
            return false;
        };
        self.header = header;
        let (start, room) = half.range();
        let from = self.at[half as usize];
        let body_at = (from + 8 + self.header.len()).next_multiple_of(8);
        let Some(end) = body_at.checked_add(body.len()).filter(|end| *end <= room) else {
            return false;
        };
        let lengths = self.header.len() as u64 | (body.len() as u64) << 32;
        let written = self
            .memory
            .store(start + from, 8, lengths)
            .and_then(|()| self.memory.write(start + from + 8, &self.header))
            .and_then(|()| self.memory.write(start + body_at, body));
        self.at[half as usize] = end.next_multiple_of(8);
        written.is_some()
    }

    /// The next record of a half; `None` if it is malformed.
    pub(super) fn read<T: DeserializeOwned>(&mut self, half: Half) -> Option<(T, Body)> {
        let (start, room) = half.range();
        let from = self.at[half as usize];
        let lengths = self.memory.load(start + from, 8)?;
        let (header_len, len) = (lengths as u32 as usize, (lengths >> 32) as usize);
        let body_at = (from + 8).checked_add(header_len)?.next_multiple_of(8);
        let end = body_at.checked_add(len).filter(|end| *end <= room)?;
        self.header.resize(header_len, 0);
        self.memory.read(start + from + 8, &mut self.header)?;
        let header = postcard::from_bytes(&self.header).ok()?;
        self.at[half as usize] = end.next_multiple_of(8);
        let at = start + body_at;
        Some((header, Body { at, len }))
    }

    /// Copies the body of a record; `None` if it is not as long as `into`.
    pub(super) fn body(&self, body: Body, into: &mut [u8]) -> Option<()> {
        (body.len == into.len()).then_some(())?;
        self.memory.read(body.at, into)
    }

    /// Whether a part of a body, from `at` on, is `bytes`.
    pub(super) fn body_is(&self, body: Body, at: usize, bytes: &[u8]) -> bool {
        self.memory.equals(body.at + at, bytes)
    }
}
