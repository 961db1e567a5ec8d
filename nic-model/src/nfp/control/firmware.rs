//! The card's side: tables, and answers to messages about them.

use std::sync::Arc;

use bpf::map::{Errno, Map, MapDef, MapType};
use isa::nfp::learned::{Word, swap_atomic_words};

use super::message::{Alloc, Entry, Fields, MessageError, Op, Reply, Request, Status};

/// The firmware's tables.
#[derive(Debug)]
pub struct Firmware {
    fields: Fields,
    tables: Vec<Option<Table>>,
}

#[derive(Debug)]
struct Table {
    map: Arc<Map>,
    /// Words of its values that lie big-endian on the card.
    words: Vec<Word>,
}

impl Firmware {
    /// Without tables.
    pub fn new(fields: Fields) -> Firmware {
        Firmware {
            fields,
            tables: Vec::new(),
        }
    }

    /// Takes a map of the NIC as a table; returns its number.
    pub fn adopt(&mut self, map: Arc<Map>) -> u32 {
        self.tables.push(Some(Table {
            map,
            words: Vec::new(),
        }));
        self.tables.len() as u32
    }

    /// Programs add to these words of a table's values, so that they lie big-endian.
    pub fn count_in(&mut self, table: u32, words: &[Word]) {
        if let Some(table) = self.table(table) {
            table.words = words.to_vec();
        }
    }

    /// The answer to a message.
    ///
    /// # Errors
    /// [`MessageError`] for bytes that are no request: the card drops them.
    pub fn answer(&mut self, message: &[u8]) -> Result<Vec<u8>, MessageError> {
        let (tag, request) = Request::decode(message, self.fields)?;
        let reply = match request {
            Request::Alloc(alloc) => self.alloc(alloc),
            Request::Free { table } => self.free(table),
            Request::Entries {
                op,
                table,
                count,
                flags,
                entry,
            } => {
                let done = self.entries(op, table, count, flags, &entry);
                let (status, entries) = match done {
                    Ok(entries) => (Status::Ok, entries),
                    Err(status) => (status, Vec::new()),
                };
                Reply::Entries {
                    op,
                    status,
                    entries,
                }
            }
        };
        Ok(reply.encode(tag, self.fields))
    }

    fn table(&mut self, number: u32) -> Option<&mut Table> {
        let index = (number as usize).checked_sub(1)?;
        self.tables.get_mut(index)?.as_mut()
    }

    fn alloc(&mut self, alloc: Alloc) -> Reply {
        let kind = MapType::ALL.iter().find(|k| k.number() == alloc.kind);
        let made = match kind {
            Some(kind @ (MapType::Array | MapType::Hash)) => {
                let mut def = MapDef::new("table", *kind);
                def.key_size = alloc.key_size;
                def.value_size = alloc.value_size;
                def.max_entries = alloc.max_entries;
                Map::new(&def, 1).ok().ok_or(Status::NoMemory)
            }
            _ => Err(Status::Invalid),
        };
        match made {
            Ok(map) => Reply::Alloc {
                status: Status::Ok,
                table: self.adopt(Arc::new(map)),
            },
            Err(status) => Reply::Alloc { status, table: 0 },
        }
    }

    fn free(&mut self, number: u32) -> Reply {
        let Some(table) = self.table(number) else {
            return Reply::Free {
                status: Status::NoTable,
                count: 0,
            };
        };
        let count = table.map.host_len() as u32;
        if let Some(slot) = self.tables.get_mut(number as usize - 1) {
            *slot = None;
        }
        Reply::Free {
            status: Status::Ok,
            count,
        }
    }

    fn entries(
        &mut self,
        op: Op,
        table: u32,
        count: u32,
        flags: u32,
        entry: &Entry,
    ) -> Result<Vec<Entry>, Status> {
        let most = count.max(1) as usize;
        let table = self.table(table).ok_or(Status::NoTable)?;
        let def = table.map.def();
        let (key_size, value_size) = (def.key_size as usize, def.value_size as usize);
        let key = entry.key.get(..key_size).ok_or(Status::TooLarge)?;
        match op {
            Op::Lookup => Ok(vec![table.read(key)?]),
            Op::Update => {
                let mut value = entry
                    .value
                    .get(..value_size)
                    .ok_or(Status::TooLarge)?
                    .to_vec();
                swap_atomic_words(&table.words, &mut value);
                let done = table.map.host_update(key, &value, u64::from(flags));
                done.map_err(status)?;
                Ok(Vec::new())
            }
            Op::Delete => {
                table.map.host_delete(key).map_err(status)?;
                Ok(Vec::new())
            }
            Op::GetFirst | Op::GetNext => {
                let keys = table.map.host_keys();
                // As in Linux a key that is not there is followed by the first.
                let at = match op {
                    Op::GetNext => keys.iter().position(|k| k == key).map_or(0, |at| at + 1),
                    _ => 0,
                };
                let rest = keys.get(at..).unwrap_or_default();
                if rest.is_empty() {
                    return Err(Status::NoEntry);
                }
                rest.iter().take(most).map(|key| table.read(key)).collect()
            }
        }
    }
}

impl Table {
    /// A key and its value, as they lie on the card.
    fn read(&self, key: &[u8]) -> Result<Entry, Status> {
        let mut value = self.map.host_lookup(key).map_err(status)?;
        swap_atomic_words(&self.words, &mut value);
        Ok(Entry {
            key: key.to_vec(),
            value,
        })
    }
}

fn status(errno: Errno) -> Status {
    match errno {
        Errno::Enoent => Status::NoEntry,
        Errno::Eexist => Status::Exists,
        Errno::Enomem | Errno::Enospc => Status::NoMemory,
        Errno::E2big => Status::TooLarge,
        _ => Status::Invalid,
    }
}
