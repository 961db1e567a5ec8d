//! The driver's side: requests, errors, counters turned, and answers that serve for a while.

use bpf::map::{MapDef, MapType};
use isa::nfp::learned::{Word, note_host_update, swap_atomic_words};

use super::firmware::Firmware;
use super::message::{Alloc, Entry, Fields, MessageError, Op, Reply, Request, Status};

/// How long entries that were read serve for further reads, in nanoseconds.
pub const CACHE_NS: u64 = 250_000;
/// Most entries that the driver asks for in one message.
pub const MOST_ENTRIES: usize = 4;

/// Why host access fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The driver does not start: a message does not fit into the control channel.
    #[error("ctrl channel MTU below min required {mtu} < {needed}")]
    Mtu {
        /// What the channel takes.
        mtu: usize,
        /// What one request or answer takes.
        needed: usize,
    },
    /// An errno of the driver's, by name.
    #[error("{errno}{}{words}", if words.is_empty() { "" } else { ": " })]
    Errno {
        /// The errno.
        errno: &'static str,
        /// What stands in the kernel's log; empty where nothing does.
        words: String,
    },
    /// Bytes from the card that are no answer.
    #[error(transparent)]
    Message(#[from] MessageError),
}

fn errno(errno: &'static str) -> HostError {
    HostError::Errno {
        errno,
        words: String::new(),
    }
}

/// The errno of a status.
fn checked(status: Status) -> Result<(), HostError> {
    Err(match status {
        Status::Ok => return Ok(()),
        Status::NoTable => errno("EBADFD"),
        Status::NoEntry => errno("ENOENT"),
        Status::Invalid => errno("EINVAL"),
        Status::Failed => errno("EIO"),
        Status::Exists => errno("EEXIST"),
        Status::NoMemory => errno("ENOMEM"),
        Status::TooLarge => errno("E2BIG"),
        Status::Unknown(number) => HostError::Errno {
            errno: "EIO",
            words: format!("FW responded with invalid status: {number}"),
        },
    })
}

/// The driver's end of the control channel.
#[derive(Debug)]
pub struct Host {
    fields: Fields,
    /// Entries to ask for in one message.
    entries: usize,
    tag: u16,
    sent: u64,
}

/// A map as the driver keeps it.
#[derive(Debug)]
pub struct HostMap {
    table: u32,
    kind: MapType,
    key_size: usize,
    value_size: usize,
    /// How programs use the words of its values.
    pub words: Vec<Word>,
    cache: Option<Cache>,
}

/// Entries that were read, in order.
#[derive(Debug)]
struct Cache {
    at_ns: u64,
    entries: Vec<Entry>,
}

impl Host {
    /// A channel whose messages have at most `mtu` bytes; with `multi` the firmware takes several
    /// entries in one.
    ///
    /// # Errors
    /// [`HostError::Mtu`].
    pub fn new(fields: Fields, mtu: usize, multi: bool) -> Result<Host, HostError> {
        let needed = fields.message_bytes(1);
        if mtu < needed {
            return Err(HostError::Mtu { mtu, needed });
        }
        let fit = fields.entries_in(mtu).clamp(1, MOST_ENTRIES);
        Ok(Host {
            fields,
            entries: if multi { fit } else { 1 },
            tag: 0,
            sent: 0,
        })
    }

    /// Messages sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Creates a map on the card. What the driver checks before is
    /// `jit_backends::nfp`'s.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn create(&mut self, firmware: &mut Firmware, def: &MapDef) -> Result<HostMap, HostError> {
        let request = Request::Alloc(Alloc {
            key_size: def.key_size,
            value_size: def.value_size,
            max_entries: def.max_entries,
            kind: def.kind.number(),
        });
        let Reply::Alloc { status, table } = self.ask(firmware, &request)? else {
            return Err(errno("EIO"));
        };
        checked(status)?;
        Ok(HostMap {
            table,
            kind: def.kind,
            key_size: def.key_size as usize,
            value_size: def.value_size as usize,
            words: vec![Word::default(); def.value_size.div_ceil(4) as usize],
            cache: None,
        })
    }

    /// Gives a map up; returns how many elements it had.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn free(&mut self, firmware: &mut Firmware, map: &HostMap) -> Result<u32, HostError> {
        let Reply::Free { status, count } =
            self.ask(firmware, &Request::Free { table: map.table })?
        else {
            return Err(errno("EIO"));
        };
        checked(status)?;
        Ok(count)
    }

    /// The value of a key at a time.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn lookup(
        &mut self,
        firmware: &mut Firmware,
        map: &mut HostMap,
        key: &[u8],
        now_ns: u64,
    ) -> Result<Vec<u8>, HostError> {
        let known = map
            .known(now_ns)
            .iter()
            .find(|entry| entry.key.starts_with(key));
        let mut value = if let Some(entry) = known {
            entry.value.clone()
        } else {
            let entries = self.entries(firmware, map, Op::Lookup, entry(key, &[]), 0)?;
            let first = entries.into_iter().next();
            first.ok_or_else(|| errno("EIO"))?.value
        };
        value.truncate(map.value_size);
        swap_atomic_words(&map.words, &mut value);
        Ok(value)
    }

    /// The key behind `key`, or the first; `None` behind the last.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn next(
        &mut self,
        firmware: &mut Firmware,
        map: &mut HostMap,
        key: Option<&[u8]>,
        now_ns: u64,
    ) -> Result<Option<Vec<u8>>, HostError> {
        if let Some(key) = key {
            let known = map.known(now_ns);
            let at = known.iter().position(|entry| entry.key.starts_with(key));
            if let Some(next) = at.and_then(|at| known.get(at + 1)) {
                return Ok(Some(next.key[..map.key_size].to_vec()));
            }
        }
        let op = key.map_or(Op::GetFirst, |_| Op::GetNext);
        let asked = self.entries(firmware, map, op, entry(key.unwrap_or(&[]), &[]), 0);
        let entries = match asked {
            Ok(entries) => entries,
            Err(HostError::Errno {
                errno: "ENOENT", ..
            }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let first = entries.first().map(|e| e.key[..map.key_size].to_vec());
        map.cache = Some(Cache {
            at_ns: now_ns,
            entries,
        });
        Ok(first)
    }

    /// Sets a value.
    ///
    /// # Errors
    /// [`HostError`]; EOPNOTSUPP for flags of more than 32 bits.
    pub fn update(
        &mut self,
        firmware: &mut Firmware,
        map: &mut HostMap,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), HostError> {
        let flags = u32::try_from(flags)
            .ok()
            .ok_or_else(|| errno("EOPNOTSUPP"))?;
        note_host_update(&mut map.words, value);
        let mut value = value.to_vec();
        swap_atomic_words(&map.words, &mut value);
        map.cache = None;
        self.entries(firmware, map, Op::Update, entry(key, &value), flags)?;
        Ok(())
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// [`HostError`]; EINVAL for an array.
    pub fn delete(
        &mut self,
        firmware: &mut Firmware,
        map: &mut HostMap,
        key: &[u8],
    ) -> Result<(), HostError> {
        if map.kind == MapType::Array {
            return Err(errno("EINVAL"));
        }
        map.cache = None;
        self.entries(firmware, map, Op::Delete, entry(key, &[]), 0)?;
        Ok(())
    }

    fn entries(
        &mut self,
        firmware: &mut Firmware,
        map: &HostMap,
        op: Op,
        entry: Entry,
        flags: u32,
    ) -> Result<Vec<Entry>, HostError> {
        let several = matches!(op, Op::GetFirst | Op::GetNext);
        let request = Request::Entries {
            op,
            table: map.table,
            count: if several { self.entries as u32 } else { 1 },
            flags,
            entry,
        };
        let Reply::Entries {
            status, entries, ..
        } = self.ask(firmware, &request)?
        else {
            return Err(errno("EIO"));
        };
        checked(status)?;
        Ok(entries)
    }

    fn ask(&mut self, firmware: &mut Firmware, request: &Request) -> Result<Reply, HostError> {
        self.tag = self.tag.wrapping_add(1);
        self.sent += 1;
        let answer = firmware.answer(&request.encode(self.tag, self.fields))?;
        let (tag, reply) = Reply::decode(&answer, self.fields)?;
        if tag == self.tag {
            Ok(reply)
        } else {
            Err(errno("EIO"))
        }
    }
}

impl HostMap {
    /// Entries that still serve.
    fn known(&self, now_ns: u64) -> &[Entry] {
        match &self.cache {
            Some(cache) if now_ns.saturating_sub(cache.at_ns) <= CACHE_NS => &cache.entries,
            _ => &[],
        }
    }
}

fn entry(key: &[u8], value: &[u8]) -> Entry {
    Entry {
        key: key.to_vec(),
        value: value.to_vec(),
    }
}
